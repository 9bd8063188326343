#!/usr/bin/env python3
"""The compiler's reports on the CUDA kernels (build/cuda/*.o.txt): no spills but those excused here, and the tables of
docs/cuda.md say what the reports say.

Rule: spills are judged for every architecture that was built; the tables only for the compiler and the architecture
that they name. `cuda_registers_test.py --write` puts the generated table into the document. Skipped (77) without reports.
"""
import glob
import os
import re
import subprocess
import sys

ROOT = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
BUILD = os.path.dirname(os.path.abspath(os.environ.get("INGOT_BIN", os.path.join(ROOT, "build", "ingot"))))
DOCUMENT = os.path.join(ROOT, "docs", "cuda.md")
ARCH = "sm_90a"
BEGIN, END = "<!-- registers: written by tests/cuda_registers_test.py --write -->", "<!-- end of registers -->"

# (architecture, report, start of the kernel's name, bytes of stores at most, why)
EXCUSED = [
    ("sm_90a", "losses_cuda", "kd_kernel<float>", 8,
     "around the calls of double exp; a row costs microseconds beside its logits (losses_cuda.cu)"),
    ("sm_75", "cuda_gemm_f16", "gemm_kernel", 4, "the data gradient's 128x128; not the architecture that is tuned for"),
    ("sm_75", "attention_f16", "", 96, "one kernel; known, not the architecture that is tuned for"),
    ("sm_100", "attention_cuda", "fma_", 24, "heads of 256, which no model here has"),
    ("sm_120", "attention_cuda", "fma_", 24, "heads of 256, which no model here has"),
    # 90a is what is tuned for; what the compiler spills for others is left until one of them is measured.
    ("sm_80", "attention_tf32", "backward_kernel<float, 128, true>", 4, "a word a thread; 16 bits are what is fast"),
    ("sm_80", "batchnorm_cuda", "stats_kernel<float, 1>", 4, "the form for channels that fill no vector"),
    ("sm_80", "linear_xent_cuda", "dz_kernel", 8, "the form for widths that fill no vector"),
    ("sm_80", "pool2d_cuda", "bwd_kernel<__half, 1", 4, "the form for channels that fill no vector"),
    ("sm_100", "pool2d_cuda", "bwd_kernel<__", 8, "the form for channels that fill no vector"),
    ("sm_120", "pool2d_cuda", "bwd_kernel<__", 4, "the form for channels that fill no vector"),
    ("sm_86", "layernorm_cuda", "rows_kernel<__", 16, "four words a thread beside the rows that it keeps in registers"),
    ("sm_89", "layernorm_cuda", "rows_kernel<__", 16, "four words a thread beside the rows that it keeps in registers"),
    ("sm_100", "layernorm_cuda", "rows_bwd_kernel<float, 4>", 48, "fp32; twelve words a thread beside its rows"),
    ("sm_100", "losses_cuda", "kd_kernel<float>", 12, "around the calls of double exp, as above"),
    ("sm_100", "losses_cuda", "value_kernel<float, smooth_l1>", 4, "a word a thread; why was not looked for"),
    ("sm_120", "losses_cuda", "kd_bwd_kernel<float>", 4, "around the calls of double exp, as above"),
    ("sm_86", "rmsprop_cuda", "ig_update_kernel", 4, "centred with momentum: a word beside five streams"),
    ("sm_89", "rmsprop_cuda", "ig_update_kernel", 4, "centred with momentum: a word beside five streams"),
]
ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
                   r"(\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)", re.S)


def parse(report, text):
    """The kernels of a compiler's report as dictionaries."""
    found = list(ENTRY.finditer(text))
    assert len(found) == text.count("Compiling entry function"), f"{report}: not understood"
    kernels = []
    for m in found:
        shared = re.search(r"(\d+) bytes smem", m.group(7))
        kernels.append({"report": report, "symbol": m.group(1), "arch": m.group(2), "stack": int(m.group(3)),
                        "spill": int(m.group(4)), "loads": int(m.group(5)), "registers": int(m.group(6)),
                        "shared": int(shared.group(1)) if shared else 0})
    return kernels


def named(kernels):
    names = subprocess.run(["c++filt"], input="\n".join(k["symbol"] for k in kernels), stdout=subprocess.PIPE,
                           text=True, check=True).stdout.splitlines()
    for k, name in zip(kernels, names):
        plain = re.sub(r"\(\w+\)(-?\d)", r"\1", re.sub(r"^void ", "", name))  # (ig_conv_pass)2 is 2
        k["name"] = plain.split("(", 1)[0]
    return kernels


def read_reports():
    """All kernels; reports of sources that are gone are no evidence."""
    sources = {os.path.basename(p)[:-3] for p in glob.glob(os.path.join(ROOT, "kernels", "*", "*.cu"))}
    kernels = []
    for path in sorted(glob.glob(os.path.join(BUILD, "cuda", "*.o.txt"))):
        report = os.path.basename(path)[:-6]
        if report not in sources:
            continue
        with open(path) as f:
            kernels += parse(report, f.read())
    return named(kernels)


def excuse(k):
    for arch, report, start, most, why in EXCUSED:
        if (k["arch"], k["report"]) == (arch, report) and k["name"].startswith(start) and k["spill"] <= most:
            return why
    return None


def span(values):
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def table(kernels, compiler):
    groups = {}
    for k in kernels:
        if k["arch"] == ARCH:
            groups.setdefault((k["report"], k["name"].split("<")[0]), []).append(k)
    lines = [f"nvcc {compiler}, {ARCH}:", "",
             "| source | kernel | variants | registers | spills, bytes | static shared memory, bytes |",
             "|---|---|---|---|---|---|"]
    for (report, name), group in sorted(groups.items()):
        lines.append(f"| `{report}.cu` | `{name}` | {len(group)} | {span([k['registers'] for k in group])} | "
                     f"{span([max(k['spill'], k['loads']) for k in group])} | {span([k['shared'] for k in group])} |")
    return "\n".join(lines)


def compiler():
    for program in ("nvcc", "/usr/local/cuda/bin/nvcc"):
        try:
            said = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
            return re.search(r"release (\d+\.\d+)", said).group(1)
        except OSError:
            continue
    return "unknown"


def attention_rows(kernels):
    """What the section Attention says of registers: label -> "32, 64, 128" in this order."""
    registers = {(k["report"], k["name"]): k["registers"] for k in kernels if k["arch"] == ARCH}
    rows = {}
    for label, pattern in (("forward", "forward_kernel<{t}, {w}>"), ("dq", "backward_kernel<{t}, {w}, false>"),
                           ("dk and dv", "backward_kernel<{t}, {w}, true>")):
        rows[f"{label}, 16 bit"] = [max(registers["attention_f16", pattern.format(t="__half", w=w)],
                                        registers["attention_bf16", pattern.format(t="__nv_bfloat16", w=w)])
                                    for w in (32, 64, 128)]
        rows[f"{label}, tf32"] = [registers["attention_tf32", pattern.format(t="float", w=w)] for w in (32, 64, 128)]
    return rows


def check_document(kernels, version, failures):
    with open(DOCUMENT) as f:
        text = f.read()
    if BEGIN not in text or END not in text:
        failures.append(f"{DOCUMENT}: the marks around the table are gone")
        return "nothing"
    inside = text.split(BEGIN)[1].split(END)[0].strip()
    fresh = table(kernels, version)
    if "--write" in sys.argv:
        with open(DOCUMENT, "w") as f:
            f.write(text.replace(inside, fresh) if inside else text.replace(BEGIN, f"{BEGIN}\n{fresh}"))
        return "written"
    head = re.match(r"nvcc (\S+), (\S+):", inside)
    if not head or head.group(1) != version or not any(k["arch"] == ARCH for k in kernels):
        return f"not compared: it is of {head.group(0) if head else 'nothing'} this build of nvcc {version}"
    for a, b in zip(inside.splitlines() + [""] * 99, fresh.splitlines()):
        if a != b:
            failures.append(f"docs/cuda.md says\n    {a}\n  the compiler\n    {b}\n  (--write mends it)")
    if len(inside.splitlines()) != len(fresh.splitlines()):
        failures.append("docs/cuda.md: the table has more or fewer rows than there are kernels (--write mends it)")
    for label, values in attention_rows(kernels).items():
        row = re.search(rf"^\| {label} \|[^|]*\| ([^|]*) \|", text, re.M)
        want = ", ".join(map(str, values))
        if not row or row.group(1) != want:
            failures.append(f"docs/cuda.md, Attention, {label}: {row.group(1) if row else 'no row'}, the compiler: {want}")
    return "compared"


def judge(kernels):
    """What is wrong with the kernels alone, and the number of spills that are excused."""
    failures, excused = [], 0
    for k in kernels:
        if k["spill"] or k["loads"]:
            if excuse(k):
                excused += 1
            else:
                failures.append(f"{k['report']}: {k['name']} ({k['arch']}) spills {k['spill']} bytes, loads "
                                f"{k['loads']}")
        if k["registers"] > 255:
            failures.append(f"{k['report']}: {k['name']}: {k['registers']} registers")
    return failures, excused


PLANTED = """ptxas info    : Compiling entry function '{symbol}' for '{arch}'
ptxas info    : Function properties for {symbol}
    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 128 bytes smem, 420 bytes cmem[0]
"""


def check_itself():
    """Planted reports: a spill that is not excused fails and stands in the table, one that is excused does not fail,
    a word more than is excused does."""
    def planted(report, symbol, stores, loads):
        return named(parse(report, PLANTED.format(symbol=symbol, arch=ARCH, stack=8, stores=stores, loads=loads)))
    kd = "_Z9kd_kernelIfEvPfi"
    for report, symbol, stores, loads, wrong in (
            ("adam_cuda", "_Z6kernelPf", 0, 0, 0), ("adam_cuda", "_Z6kernelPf", 4, 0, 1),
            ("adam_cuda", "_Z6kernelPf", 0, 4, 1), ("losses_cuda", kd, 8, 8, 0), ("losses_cuda", kd, 12, 8, 1),
            ("adam_cuda", kd, 8, 8, 1)):
        kernels = planted(report, symbol, stores, loads)
        failures, _ = judge(kernels)
        assert len(failures) == wrong, (report, symbol, stores, loads, failures)
        assert table(kernels, "1.0").endswith(f"| 1 | 40 | {max(stores, loads)} | 128 |"), table(kernels, "1.0")


def main():
    check_itself()
    kernels = read_reports()
    if not kernels:
        print(f"skipped: no reports in {BUILD}/cuda (no CUDA toolkit, or the back end is not built)")
        return 77
    failures, excused = judge(kernels)
    state = check_document(kernels, compiler(), failures)
    for f in failures:
        print("FAIL:", f)
    print(f"{len(kernels)} kernels, {excused} excused spills, table {state}, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
