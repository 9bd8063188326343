#!/usr/bin/env python3
"""The instructions of the kernels as they were built (build/cuda/*.o): tensor cores, asynchronous copies and 128-bit
access where docs/cuda.md says that they are used.

Rule: the PTX in the objects is always read; machine code too where a cuobjdump is found (INGOT_CUOBJDUMP, PATH, the
Python package triton), and it is said where not. Skipped (77) without objects.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

ROOT = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
BUILD = os.path.dirname(os.path.abspath(os.environ.get("INGOT_BIN", os.path.join(ROOT, "build", "ingot"))))
# Sources whose every function multiplies on tensor cores, but for those that match: (source, what may not, why).
MATRIX = [("cuda_gemm_bf16", None), ("cuda_gemm_f16", None), ("cuda_gemm_f32", "ig_gemm_math0E"),  # 0: exact fp32
          ("attention_bf16", None), ("attention_f16", None), ("attention_tf32", None)]
# Sources that are bound by memory: some function of each loads and stores 128 bits at a time.
MEMORY = ["batchnorm_cuda", "eltwise_cuda", "layernorm_cuda", "bias_gelu_cuda", "pool2d_cuda", "reorder_cuda", "adam_cuda",
          "sgd_cuda", "embedding_cuda", "rows_cuda", "optim_util_cuda", "cuda_bias"]
PTX = {"mma": r"\bmma\.sync", "copy": r"\bcp\.async\.c[ag]", "matrix": r"\bldmatrix",
       "load": r"\bld\.global(\.nc)?\.v4\.(u32|b32|f32)", "store": r"\bst\.global\.v4\.(u32|b32|f32)"}
SASS = {"mma": r"\bHMMA\.", "copy": r"\bLDGSTS\.", "matrix": r"\bLDSM\.", "load": r"\bLDG\.E(\.\w+)*\.128",
        "store": r"\bSTG\.E(\.\w+)*\.128"}


def ptx_of(path):
    """Functions of the PTX in an object: name -> text."""
    with open(path, "rb") as f:
        text = f.read().decode("latin-1")
    parts = re.split(r"\.(?:visible )?\.?entry (\w+)\(", text)
    return {name: body.split("\0", 1)[0] for name, body in zip(parts[1::2], parts[2::2])}


def sass_of(path, program):
    said = subprocess.run([program, "-sass", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    parts = re.split(r"Function : (\w+)", said)
    return dict(zip(parts[1::2], parts[2::2]))


def find_cuobjdump():
    found = [os.environ.get("INGOT_CUOBJDUMP"), shutil.which("cuobjdump"), "/usr/local/cuda/bin/cuobjdump"]
    for folder in (os.path.join(ROOT, ".venv"), os.path.join(ROOT, "..", "main", ".venv"), sys.prefix):
        found += glob.glob(os.path.join(folder, "lib/python3*/site-packages/triton/backends/nvidia/bin/cuobjdump"))
    return next((p for p in found if p and os.access(p, os.X_OK)), None)


def check(read, kind, words, failures):
    n = 0
    for source, exact in MATRIX:
        path = os.path.join(BUILD, "cuda", source + ".o")
        functions = read(path)
        assert functions, f"{path}: no functions in its {kind}"
        for name, text in functions.items():
            n += 1
            if exact and exact in name:
                if re.search(words["mma"], text):
                    failures.append(f"{source}: {name}: tensor cores in an exact product ({kind})")
                continue
            for what in ("mma", "copy") if "float" in name or "If" in name or "f32" in source else ("mma", "copy", "matrix"):
                if not re.search(words[what], text):
                    failures.append(f"{source}: {name}: no {words[what]} ({kind})")
    for source in MEMORY:
        functions = read(os.path.join(BUILD, "cuda", source + ".o"))
        for what in ("load", "store"):
            n += 1
            if not any(re.search(words[what], text) for text in functions.values()):
                failures.append(f"{source}: no function has {words[what]} ({kind})")
    return n


def main():
    missing = [s for s in [m[0] for m in MATRIX] + MEMORY if not os.path.exists(os.path.join(BUILD, "cuda", s + ".o"))]
    if missing:
        print(f"skipped: no {missing[0]}.o in {BUILD}/cuda (no CUDA toolkit, or the back end is not built)")
        return 77
    failures = []
    n = check(ptx_of, "PTX", PTX, failures)
    program = find_cuobjdump()
    if program:
        n += check(lambda path: sass_of(path, program), "SASS", SASS, failures)
    for f in failures:
        print("FAIL:", f)
    print(f"{n} checks, {len(failures)} failures; " +
          (f"machine code by {program}" if program else "machine code not read: there is no cuobjdump here"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
