#!/usr/bin/env python3
"""`ingot bench` on a GPU, proven on the simulator of one: keys of the answers, rivals that refuse, failures that leave
the other rows.

Rule: the simulator's times follow its own model and are never judged; what is judged is that they come from events and
that every figure stands where it should. Skipped without the simulator (no nvcc).
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bench_test as base  # noqa: E402
from bench_test import answer, has, in_order, run, test  # noqa: E402

BUILD = os.path.dirname(os.path.abspath(base.BIN))
SIM = os.path.join(BUILD, "libingot_cuda_sim.so")
base.tests.clear()
base.ENV.update(INGOT_CUDA_LIBRARY=SIM, INGOT_CUDA_LIBRARIES=os.path.join(BUILD, "fake_libraries"),
                INGOT_SIM_MEMORY=str(1 << 30))
TINY = ["kernels", "device=cuda", "model=resnet20", "batch=1", "image_size=8", "--json", "--quiet"]
STEP = ["step", "device=cuda", "model=resnet20", "batch=2", "image_size=8", "steps=3", "rounds=2", "--json", "--quiet"]


@test
def list_names_the_implementations_of_a_gpu():
    rows = answer("kernels", "device=cuda", "list=1", "op=conv2d,linear,relu", "--json")["rows"]
    assert {r["precision"] for r in rows} == {"fp32", "bf16", "fp16"} and {r["device"] for r in rows} == {"cuda"}, rows
    names = {(r["name"], r["precision"]): r["implementations"] for r in rows}
    assert set(names["linear", "fp16"]) == {"linear_cublaslt", "linear_cuda"}, names
    assert {"conv2d_cudnn", "conv2d_cuda"} == set(names["conv2d", "bf16"]), names


@test
def implementations_are_each_others_rivals():
    value = answer(*TINY, "op=conv2d*,bn_apply", "shape=1x2x2x64*", "precision=fp16")
    machine = value["machine"]
    assert machine["architecture"] == 90 and machine["copy_gbps"] > 0, machine
    # 132 processors, 4096 operations a clock each, as peak.h's table has it.
    assert abs(machine["bf16_gflops"] - 132 * 4096 * machine["clock_mhz"] / 1e3) < 1, machine
    by_case = {}
    for r in value["rows"]:
        has(r, "ns", "gbps", "gflops", "roofline", "device", "uses", "workspace_bytes")
        in_order(r)
        assert r["precision"] == "fp16" and r["cold"], r  # auto: operands rotate
        rate = r["gflops"] / machine["bf16_gflops"]
        assert abs(r["roofline"] - max(rate, r["gbps"] / machine["copy_gbps"])) < 0.01 * r["roofline"], r
        by_case.setdefault((r["name"], r["case"], r["shape"]), []).append(r)
    pairs = [rows for rows in by_case.values() if len(rows) == 2]
    assert {rows[0]["name"] for rows in pairs} == {"conv2d", "conv2d_bwd_data", "conv2d_bwd_weights"}, by_case
    for a, b in pairs:
        assert {a["impl"].rsplit("_", 1)[1], b["impl"].rsplit("_", 1)[1]} == {"cuda", "cudnn"}, (a, b)
        for mine, other in ((a, b), (b, a)):
            assert mine["rival"] == other["impl"] and mine["rival_ns"] == other["ns"], mine
            assert abs(mine["ratio"] - other["ns"] / mine["ns"]) < 1e-6, mine


@test
def one_implementation_and_against():
    words = [*TINY, "op=linear*", "shape=1x64*", "impl=cublaslt", "cold=0"]
    first = answer(*words)
    assert first["rows"] and all(r["impl"].endswith("_cublaslt") and not r["cold"] and "rival" not in r
                                 for r in first["rows"]), first["rows"]
    with open(os.path.join(base.WORK, "gpu.json"), "w") as f:
        json.dump(first, f)
    second = answer(*words, "against=gpu.json")
    assert second["against"]["matched"] == len(first["rows"]), second["against"]
    for r in first["rows"]:
        r["device"] = "another GPU"
    with open(os.path.join(base.WORK, "gpu.json"), "w") as f:
        json.dump(first, f)
    p = run(*words, "against=gpu.json")
    assert p.returncode == 2 and "against=" in p.stderr, p.stderr


@test
def a_failure_leaves_the_other_rows():
    # cudaErrorLaunchOutOfResources (701) of the first recording
    value = answer(*TINY, "op=softmax_xent,bn_apply", "shape=1x*", code=1,
                   env={"INGOT_SIM_FAIL": "cudaStreamBeginCapture:1:701"})
    assert len(value["failures"]) == 1 and value["rows"], value
    has(value["failures"][0], "name", "case", "impl", "error")
    assert "cudaStreamBeginCapture" in value["failures"][0]["error"] and "1 of the implementations" in value["stderr"]


@test
def launches_for_profilers():
    rows = answer(*TINY, "op=bn_apply", "shape=1x8x8x16*", "launches=2", "cold=0")["rows"]
    assert rows and all(r["launches"] == 2 and "ns" not in r for r in rows), rows


@test
def steps():
    value = answer(*STEP, "precision=fp16", "detail=1")
    row = value["rows"][0]
    has(row, "samples_per_second", "plan_bytes", "peak_bytes", "host_peak_bytes", "roofline", "device", "cpu_ns")
    in_order(row)
    assert row["precision"] == "fp16" and row["samples"] == 6, row
    # What the plan counts, and beside it inputs and scalars, no more.
    assert row["plan_bytes"] <= row["peak_bytes"] < row["plan_bytes"] + (1 << 20) < row["host_peak_bytes"], row
    assert row["losses"][2] < row["losses"][0] and {n["phase"] for n in value["nodes"]} == {"forward", "backward",
                                                                                            "update"}
    assert answer(*STEP, "mode=infer", "steps=1", "rounds=1")["rows"][0]["ns"] > 0
    text = answer("step", "device=cuda", "model=bert_tiny", "batch=2", "max_length=16", "steps=1", "rounds=1",
                  "task=classify", "precision=bf16", "--json", "--quiet")["rows"][0]
    assert text["precision"] == "bf16" and text["peak_bytes"] > 0, text


# One event a node, in the order of the step, its length what the device's events measured: the same in the answer and
# in a second process, since the simulator's clock follows its model alone. A host's clock differs from run to run, and
# is ahead of a model of a GPU by far.
@test
def a_trace_is_on_the_clock_of_the_device():
    traces = []
    for name in ("gpu_first.json", "gpu_second.json"):
        value = answer(*STEP, "steps=1", "rounds=1", "precision=fp16", "impl=cuda", "detail=1", f"trace={name}")
        with open(os.path.join(base.WORK, name)) as f:
            text = json.load(f)
        events, nodes = text["traceEvents"], value["nodes"]
        assert text["displayTimeUnit"] == "ms" and len(events) == len(nodes) > 100, (len(events), len(nodes))
        at = 0
        for e, n in zip(events, nodes):
            assert (e["ph"], e["name"], e["cat"], e["args"]["impl"], e["args"]["phase"]) == (
                "X", n["node"], n["op"], n["impl"], n["phase"]), (e, n)
            assert abs(e["ts"] - at) < 1e-3 and e["dur"] > 0 and abs(1e3 * e["dur"] - n["ns"]) <= 2, (e, n, at)
            at = e["ts"] + e["dur"]
        assert {e["args"]["phase"] for e in events} == {"forward", "backward", "update"}
        assert {e["tid"] for e in events} == {0, 1, 2} and any(e["args"]["impl"] == "conv2d_cuda" for e in events)
        traces.append(events)
    for a, b in zip(*traces):
        assert a["name"] == b["name"] and abs(a["dur"] - b["dur"]) <= 0.002, (a, b)


# A profiler sees the parts of a step, and under them the nodes where they are launched one by one.
@test
def ranges_for_profilers():
    listener, log = os.path.join(BUILD, "fake_libraries", "libnvtx.so"), os.path.join(base.WORK, "ranges.txt")
    if not os.path.exists(listener):
        print("skipped: no nvtx3/nvToolsExt.h where this was built")
        return
    answer(*STEP, env={"NVTX_INJECTION64_PATH": listener, "NVTX_LOG": log})
    with open(log) as f:
        lines = f.read().splitlines()
    parts = [line for line in lines if not line.startswith(" ")]
    assert parts.index("inputs") < parts.index("forward and backward") < parts.index("update"), parts[:20]
    assert parts.count("step, captured") == 1 and parts.count("step, replayed") >= 6, parts
    first = lines[lines.index("forward and backward") + 1:]
    nodes = [line for line in first[:first.index("update")] if line.startswith("  ")]
    assert "  conv1" in nodes and any(n.endswith("/dw") for n in nodes), nodes[:10]


REFUSES = 'import json\nprint(json.dumps({"refused": "device=cuda: no GPU for me"}), flush=True)\n'


def with_script(text, *words, code=0, **env):
    folder = os.path.join(base.WORK, "gpu_rivals")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "pytorch_step.py"), "w") as f:
        f.write(text)
    return answer(*STEP, *words, code=code,
                  env=dict(env, INGOT_RIVALS=folder, INGOT_RIVALS_PYTHON=sys.executable,
                           RIVAL_LOG=os.path.join(base.WORK, "rival.log")))


@test
def a_rival_without_a_gpu_is_skipped():
    value = with_script(REFUSES, "rivals=pytorch,pytorch-compile")
    assert [s["rival"] for s in value["skipped"]] == ["pytorch", "pytorch-compile"], value
    assert value["skipped"][0]["reason"] == "device=cuda: no GPU for me" and "rival" not in value["rows"][0]
    words = [w for w in STEP if w != "--quiet"]
    p = run(*words, "rivals=pytorch", env={"INGOT_RIVALS": os.path.join(base.WORK, "gpu_rivals"),
                                           "INGOT_RIVALS_PYTHON": sys.executable})
    assert "pytorch: skipped: device=cuda: no GPU for me" in p.stderr, p.stderr


@test
def a_rival_gets_the_device():
    log = os.path.join(base.WORK, "rival.log")
    script = base.RIVAL.replace("{spec['precision']}", "{spec['precision']} on {spec['device']}").replace(
        '"peak_bytes": 10 ** 9', '"peak_bytes": 10 ** 9, "reserved_bytes": 2 * 10 ** 9')
    ours = answer(*STEP, "precision=fp16")["rows"][0]["losses"]
    row = with_script(script, "rivals=pytorch", "precision=fp16", RIVAL_LOSSES=json.dumps(ours))["rows"][0]
    with open(log) as f:
        assert f.readline() == "pytorch none fp16 on cuda\n"
    assert row["rival_reserved_bytes"] == 2 * 10 ** 9 and abs(row["memory_ratio"] - row["peak_bytes"] / 1e9) < 1e-6
    assert row["loss_difference"] < 1e-6 and row["ratio"] > 0, row


@test
def pytorch_without_cuda_says_so():
    python = base.torch_python()
    value = answer(*STEP, "rivals=pytorch", env={"INGOT_RIVALS_PYTHON": python, "CUDA_VISIBLE_DEVICES": ""})
    reason = value["skipped"][0]["reason"]
    assert "PyTorch" in reason and reason.endswith("finds no GPU"), reason


if __name__ == "__main__":
    if not os.path.exists(SIM):
        print(f"skipped: there is no {SIM} (the CUDA simulator needs nvcc)")
        sys.exit(77)
    sys.exit(base.main())
