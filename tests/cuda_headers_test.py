#!/usr/bin/env python3
"""Heads of the CUDA kernels' files say what a block, a warp or a thread owns, bytes moved, registers, shared memory and
whether they are deterministic.

Rule: a head may point at a file of kernels (kernels/....cuh, or NAME_cuda.cu beside it) that says the rest; what is said
is read by people, and registers are checked against the compiler by cuda_registers_test.py, bytes by
cuda_traffic_test.cc.
"""
import glob
import os
import re
import sys

ROOT = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
SAYS = {
    "who owns what": r"(?i)\b(blocks?|warps?|threads?|lanes?)\b[^.]*\bowns?\b|one thread|\w a (block|thread)\b",
    "bytes moved": r"(?i)\bbytes?\b|\bread(s and writes \w+)? once\b|is written once",
    "registers": r"(?i)\bregisters?\b",
    "shared memory": r"(?i)shared memory",
    "deterministic or not": r"(?i)deterministic|no atomics|order of (a|every) sum",
}
# No kernel that computes: it says whether there is machine code.
BARE = {"kernels/cuda_common/cuda_probe.cu"}


def head(path):
    lines = []
    for line in open(os.path.join(ROOT, path)):
        if not line.startswith("//"):
            break
        lines.append(line[2:].strip())
    return " ".join(lines)


def with_pointers(path):
    text = head(path)
    for name in re.findall(r"[\w/]+\.cuh?\b", text):
        for at in (name, os.path.join(os.path.dirname(path), name), os.path.join("kernels", name)):
            if at != path and os.path.exists(os.path.join(ROOT, at)):
                text += " " + head(at)
                break
    return text


def main():
    files = sorted(os.path.relpath(p, ROOT) for p in glob.glob(os.path.join(ROOT, "kernels/*/*.cu*")))
    with_kernels = [p for p in files if p.endswith("_cuda.cu") or "__global__" in open(os.path.join(ROOT, p)).read()]
    failures = []
    for path in with_kernels:
        text = with_pointers(path)
        if path not in BARE:
            failures += [f"{path}: its head does not say: {what}" for what, words in SAYS.items() if not re.search(words, text)]
    print("\n".join(failures) or f"{len(with_kernels)} files of kernels say what they must")
    if len(with_kernels) < 30:
        failures.append("files are missing")
        print(failures[-1])
    return 1 if failures else 0


sys.exit(main())
