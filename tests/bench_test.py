#!/usr/bin/env python3
"""`ingot bench` from outside: the keys of its answers, its refusals, and that rivals are held to equal losses.

Rule: no time is judged, for other work may run beside this. The protocol with rivals is tested on a rival of our own
making (standard library only); PyTorch itself where it is installed (INGOT_RIVALS_PYTHON or .venv).
Prints `N passed, N skipped, N failed`; exit code 1 where one failed.
"""
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

BIN = os.environ.get("INGOT_BIN", os.path.join(os.path.dirname(__file__), "..", "build", "ingot"))
SOURCE = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
WORK = tempfile.mkdtemp(prefix="ingot-bench-test-")
ENV = dict(os.environ, XDG_CACHE_HOME=os.path.join(WORK, "cache"), OMP_WAIT_POLICY="passive", TMPDIR=WORK)
STEP = ["step", "model=resnet20", "batch=4", "steps=2", "rounds=2", "--json", "--quiet"]
TEXT = ["step", "model=bert_tiny", "batch=4", "max_length=32", "steps=1", "rounds=1", "--json", "--quiet"]
tests = []


class Skip(Exception):
    pass


def test(function):
    tests.append(function)
    return function


def run(*words, env=None):
    p = subprocess.run([BIN, "bench", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=500, text=True,
                       cwd=WORK, env=dict(ENV, **(env or {})))
    return p


def answer(*words, code=0, env=None):
    p = run(*words, env=env)
    assert p.returncode == code, f"exit {p.returncode}: {p.stderr[-800:]}"
    lines = p.stdout.splitlines()
    assert len(lines) == 1, f"{len(lines)} lines"
    value = json.loads(lines[0])
    value["stderr"] = p.stderr
    return value


def has(row, *keys):
    missing = [k for k in keys if k not in row]
    assert not missing, f"{missing} missing in {row}"


def in_order(row):
    assert 0 < row["ns_min"] <= row["ns_low"] <= row["ns"] <= row["ns_high"], row


# ---- refusals ----
@test
def refusals():
    for words, said in (([], "usage: ingot bench"), (["nonsense"], "none of kernels, step, loader, tokenizer"),
                        (["step", "kernels"], "one word too many"), (["step", "modle=resnet18"], "did you mean model"),
                        (["step", "model=resnet17"], "resnet18"), (["step", "rivals=tensorflow"], "pytorch"),
                        (["step", "model=bert_tiny", "max_length=513"], "512 positions"),
                        (["step", "model=bert_tiny", "lengths=short"], "banking77"),
                        (["step", "model=bert_tiny", "task=tag"], "classify"),
                        (["kernels", "op=conv9d"], "names no row"), (["loader"], "data= is missing"),
                        (["kernels", "op=sgd", "model=none", "against=no.json"], "no.json"),
                        # What another bench measures, and a file that could not be written at the end.
                        (["kernels", "op=sgd", "rivals=pytorch"], "rivals=pytorch belongs to bench step, loader"),
                        (["step", "op=sgd"], "op=sgd belongs to bench kernels"), (["step", "data=absent"], "data=absent"),
                        (["loader", "data=absent", "trace=x"], "trace=x belongs to bench step"),
                        (["step", "trace=absent/x"], "trace=absent/x cannot be written"),
                        (["kernels", "list=1", "shape=4x*"], "leave shape=4x* out"),
                        (["kernels", "list=1", "against=first.json"], "leave against=first.json out")):
        p = run(*words, "--quiet")
        assert p.returncode == 2 and said in p.stderr and p.stdout == "", (words, p.returncode, p.stderr)


@test
def a_rival_that_is_not_installed():
    p = run(*STEP, "rivals=pytorch", env={"INGOT_RIVALS_PYTHON": "/nowhere/python"})
    assert p.returncode == 2 and "./dev rivals" in p.stderr and p.stdout == "", p.stderr


# ---- kernels ----
@test
def list_names_every_row():
    rows = answer("kernels", "list=1", "--json")["rows"]
    names = {r["name"] for r in rows}
    assert {"conv2d", "conv2d_bwd_data", "conv2d_bwd_weights", "linear", "sgd", "picture"} <= names, names
    for r in rows:
        has(r, "name", "device", "precision", "implementations")
        assert "ns" not in r
        if r["precision"] == "fp32":
            assert r["implementations"], f"{r['name']}: no implementation in fp32"
        if r["device"] == "cpu":  # what is on a CPU has more than its oracle there
            fast = [i for i in r["implementations"] if not i.endswith("_ref")]
            assert fast, f"{r['name']} {r['precision']}: {r['implementations']}"
    types = {n: {r["precision"] for r in rows if r["name"] == n and r["device"] == "cpu"} for n in names}
    with open("/proc/cpuinfo") as f:
        here = {"fp32", "bf16"} if "avx512_bf16" in f.read() else {"fp32"}
    assert types["softmax_xent"] == types["adam"] == {"fp32"} and types["linear"] == here, types
    assert types["bn_apply_mask"] == set(), types["bn_apply_mask"]  # decision 49: GPUs keep bits, a CPU keeps y
    conv = {(r["device"], r["precision"]): set(r["implementations"]) for r in rows if r["name"] == "conv2d"}
    assert {"conv2d_dnnl", "conv2d_ref"} <= conv["cpu", "fp32"], conv
    assert {"conv2d_cudnn", "conv2d_cuda"} <= conv["cuda", "fp16"], conv  # with and without a GPU
    here = answer("kernels", "list=1", "device=cpu", "op=conv2d", "--json")["rows"]
    assert {r["device"] for r in here} == {"cpu"}, here


@test
def kernels_have_rates_and_no_references():
    value = answer("kernels", "op=bn_apply,relu", "model=none", "--json", "--quiet")
    has(value, "rows", "machine", "environment")
    machine = value["machine"]
    assert machine["copy_gbps"] > 0 and machine["fp32_gflops"] > 0
    doctor = json.loads(subprocess.run([BIN, "doctor", "--json"], stdout=subprocess.PIPE, check=True).stdout)
    assert (doctor["auto_precision"] == "bf16") == (machine["bf16_gflops"] > machine["fp32_gflops"]), machine
    assert {r["name"] for r in value["rows"]} == {"bn_apply", "relu"}
    for r in value["rows"]:
        has(r, "name", "shape", "precision", "impl", "ns", "gbps", "gflops", "roofline", "threads", "samples")
        in_order(r)
        assert not r["impl"].endswith("_ref") and r["gbps"] > 0, r
    reference = answer("kernels", "op=softmax_xent", "impl=ref", "model=none", "--json", "--quiet")
    assert all(r["impl"] == "softmax_xent_ref" for r in reference["rows"])


@test
def kernels_of_a_model_and_against():
    words = ["kernels", "op=conv2d*", "shape=4x32x32x16*", "model=resnet20", "batch=4", "--json", "--quiet"]
    first = answer(*words)
    assert all(r["model"] == "resnet20" and r["uses"] >= 1 and r["shape"].startswith("4x32x32x16") for r in
               first["rows"]), first["rows"]
    assert {r["name"] for r in first["rows"]} >= {"conv2d", "conv2d_bwd_weights"}
    with open(os.path.join(WORK, "first.json"), "w") as f:
        json.dump(first, f)
    second = answer(*words, "against=first.json", "cold=0")
    assert second["against"]["matched"] == len(first["rows"]) == len(second["rows"])
    for a, b in zip(first["rows"], second["rows"]):
        assert b["against_ns"] == a["ns"] and abs(b["against_ratio"] - a["ns"] / b["ns"]) < 1e-6
    with open(os.path.join(WORK, "other.json"), "w") as f:
        json.dump({"rows": []}, f)
    p = run(*words, "against=other.json")
    assert p.returncode == 2 and "against=" in p.stderr, p.stderr


@test
def launches_time_nothing():
    rows = answer("kernels", "op=relu", "model=none", "launches=2", "cold=1", "--json", "--quiet")["rows"]
    assert rows and all(r["launches"] == 2 and r["cold"] and "ns" not in r for r in rows), rows


@test
def kernels_end_when_the_time_is_over():
    value = answer("kernels", "op=conv2d*,linear*,bn_*,relu*", "model=none", "seconds=1", "--json", "--quiet")
    assert value["rows"] and value["left_out"] > 0, (len(value["rows"]), value.get("left_out"))


# ---- step ----
@test
def step_with_detail_and_trace():
    value = answer(*STEP, "detail=1", "trace=t.json")
    row = value["rows"][0]
    has(row, "name", "shape", "precision", "ns", "gbps", "gflops", "roofline", "samples_per_second", "plan_bytes",
        "peak_bytes", "losses")
    in_order(row)
    assert row["name"] == "resnet20 train" and row["shape"] == "4x32x32x3" and row["samples"] == 4
    assert all(map(math.isfinite, row["losses"])) and row["losses"][-1] < row["losses"][0], row["losses"]
    nodes, ops = value["nodes"], value["ops"]
    for n in nodes:
        has(n, "node", "op", "impl", "phase", "ns", "share", "gflops", "gbps", "roofline")
    assert {n["phase"] for n in nodes} == {"forward", "backward", "update"}
    assert abs(sum(n["share"] for n in nodes) - 1) < 1e-6 and abs(sum(o["share"] for o in ops) - 1) < 1e-6
    assert sum(o["nodes"] for o in ops) == len(nodes)
    assert [o["ns"] for o in ops] == sorted((o["ns"] for o in ops), reverse=True)
    with open(os.path.join(WORK, "t.json")) as f:
        events = json.load(f)["traceEvents"]
    assert len(events) == len(nodes) and all(e["ph"] == "X" and e["dur"] >= 0 for e in events)
    assert all(a["ts"] <= b["ts"] for a, b in zip(events, events[1:]))


@test
def inference():
    row = answer(*STEP, "mode=infer")["rows"][0]
    assert row["name"] == "resnet20 infer" and row["ns"] > 0 and len(set(row["losses"])) == 1, row


# ---- step of texts ----
@test
def texts():
    value = answer(*TEXT, "detail=1")
    row = value["rows"][0]
    has(row, "ns", "gflops", "samples_per_second", "plan_bytes", "peak_bytes", "losses", "dropout")
    assert row["name"] == "bert_tiny train" and row["shape"] == "4x32" and row["task"] == "mlm", row
    assert row["tokens"] == row["capacity"] == 128 and row["masked"] == 20, row  # 15 % of each text, rounded up
    # The mean over a vocabulary of 30,522 and that over two answers, of weights that know nothing; learned then.
    assert abs(row["losses"][0] - math.log(30522) - math.log(2)) < 0.3 and row["losses"][2] < row["losses"][0], row
    used = {o["op"] for o in value["ops"]}
    assert {"attention", "attention_bwd", "layernorm", "embedding_bwd", "linear_xent", "adam"} <= used, used
    again = answer(*TEXT)["rows"][0]["losses"]
    assert again == row["losses"] and answer(*TEXT, "seed=1")["rows"][0]["losses"] != again


@test
def texts_of_real_lengths():
    rows = {}
    for lengths, batch, longest, tokens in (("banking77", 32, 48, 514), ("corpus", 32, 128, 2819)):
        rows[lengths] = row = answer("step", "model=bert_tiny", f"batch={batch}", f"lengths={lengths}", "steps=1",
                                     "rounds=1", "task=classify", "classes=77", "--json", "--quiet")["rows"][0]
        assert row["shape"] == f"{batch}x{longest} {lengths}" and row["tokens"] == tokens, row
        assert tokens <= row["capacity"] < tokens + batch + 16 and row["masked"] == 0, row
        assert abs(row["losses"][0] - math.log(77)) < 0.3, row
    long = answer("step", "model=bert_tiny", "batch=4", "lengths=corpus", "max_length=512", "steps=1", "rounds=1",
                  "mode=infer", "--json", "--quiet")["rows"][0]
    assert long["shape"] == "4x504 corpus" and abs(long["losses"][0] - math.log(30522) - math.log(2)) < 0.3, long


@test
def kernels_of_a_text_model():
    rows = answer("kernels", "op=attention*,embedding", "model=bert_tiny", "batch=2", "max_length=16", "--json",
                  "--quiet")["rows"]
    mine = [r for r in rows if r.get("model") == "bert_tiny"]
    assert {r["name"] for r in mine} == {"attention", "attention_bwd", "embedding"}, mine


@test
def startup_cold_and_warm():
    row = answer(*STEP, "startup=1")["rows"][0]
    has(row, "start_ns", "start_cold_ns", "first_step_ns", "first_step_cold_ns")
    assert 0 < row["start_ns"] < row["first_step_ns"] and 0 < row["start_cold_ns"] < row["first_step_cold_ns"], row


# ---- rivals ----
RIVAL = r'''
import json, os, struct, sys
spec = json.loads(sys.argv[1])
log = open(os.environ["RIVAL_LOG"], "a")
weights = open(spec["weights"], "rb").read()
n = struct.unpack("<Q", weights[:8])[0]
assert "conv1.weight" in json.loads(weights[8:8 + n])
assert os.path.getsize(spec["pictures"]) == spec["batch"] * spec["image_size"] ** 2 * 3
assert os.path.getsize(spec["labels"]) == spec["batch"] * 4
log.write(f"{spec['variant']} {os.environ.get('GOMP_SPINCOUNT', 'none')} {spec['precision']}\n")
print("a library says hello", flush=True)
print(json.dumps({"ready": True, "version": "1.2", "recipe": "none", "environment": "", "idle_bytes": 1000}), flush=True)
for line in sys.stdin:
    log.write(f"{spec['variant']} {line}")
    log.flush()
    word, _, count = line.strip().partition(" ")
    if word == "peak":
        print(json.dumps({"peak_bytes": 10 ** 9}), flush=True)
        continue
    if os.environ.get("RIVAL_DIES") and int(count) != 3:
        sys.exit(3)
    losses = json.loads(os.environ["RIVAL_LOSSES"])
    print(json.dumps({"ns": [7000000] * int(count), "cpu_ns": [9000000] * int(count), "losses": (losses * 9)[:int(count)]}), flush=True)
'''


TEXT_CHECKS = r'''
assert "bert.encoder.layer.1.output.dense.weight" in json.loads(weights[8:8 + n])
sizes = {k: os.path.getsize(spec[k]) // 4 for k in ("ids", "types", "cu_seqlens", "labels", "masked", "masked_labels")}
assert sizes == {"ids": 128, "types": 128, "cu_seqlens": 5, "labels": 4, "masked": 20, "masked_labels": 20}, sizes
assert spec["config"]["hidden_size"] == 128 and spec["config"]["vocab_size"] == 30522 and spec["betas"] == [0.9, 0.999]
assert spec["config"]["hidden_dropout_prob"] == spec["config"]["attention_probs_dropout_prob"]
log.write(f"dropout {spec['config']['hidden_dropout_prob']}\n")
'''


def with_rival(*words, losses, code, dies=False, step=STEP):
    folder = os.path.join(WORK, "rivals")
    os.makedirs(folder, exist_ok=True)
    lines = RIVAL.split("\n")
    pictures = [i for i, line in enumerate(lines) if line.startswith("assert")]
    text = lines[:pictures[0]] + [TEXT_CHECKS] + lines[pictures[-1] + 1:]
    for name, script in (("pytorch_step.py", lines), ("pytorch_text_step.py", text)):
        with open(os.path.join(folder, name), "w") as f:
            f.write("\n".join(script))
    log = os.path.join(WORK, "rival.log")
    if os.path.exists(log):
        os.remove(log)
    env = {"INGOT_RIVALS": folder, "INGOT_RIVALS_PYTHON": sys.executable, "RIVAL_LOG": log,
           "RIVAL_LOSSES": json.dumps(losses)}
    if dies:
        p = run(*step, *words, env=dict(env, RIVAL_DIES="1"))
        assert p.returncode == code and "rival pytorch ended" in p.stderr, (p.returncode, p.stderr)
        return None, None
    value = answer(*step, *words, code=code, env=env)
    with open(log) as f:
        return value, f.read().splitlines()


@test
def unequal_losses_are_a_failure():
    value, log = with_rival("rivals=pytorch,pytorch-tuned", losses=[1.0, 2.0, 4.0], code=1)
    assert "not the same work" in value["stderr"], value["stderr"]
    assert [r["rival"] for r in value["rows"]] == ["pytorch", "pytorch-tuned"]
    for r in value["rows"]:
        has(r, "rival", "rival_version", "rival_ns", "ratio", "ratio_low", "ratio_high", "loss_difference",
            "rival_peak_bytes", "memory_ratio", "memory_ratio_net", "rival_start_ns")
        worst = max(abs(a - b) / abs(a) for a, b in zip(r["losses"], [1.0, 2.0, 4.0]))
        assert abs(r["loss_difference"] - worst) < 1e-6 * worst, (r["loss_difference"], worst)
        assert r["rival_ns"] == 7000000 and r["rival_version"] == "1.2"
        assert abs(r["ratio"] - 7000000 / r["ns"]) < 1e-6 * r["ratio"]
        assert r["rival_cpu_ns"] == 9000000 and abs(r["cpu_ratio"] - 9000000 / r["cpu_ns"]) < 1e-6 * r["cpu_ratio"]
        assert abs(r["memory_ratio"] - r["peak_bytes"] / 1e9) < 1e-6
    # The tuned one alone has our settings; both warm up, then take turns, and never at once.
    assert log == ["pytorch none fp32", "pytorch run 3", "pytorch-tuned 10000 fp32", "pytorch-tuned run 3",
                   "pytorch run 2", "pytorch-tuned run 2", "pytorch run 2", "pytorch-tuned run 2", "pytorch peak",
                   "pytorch-tuned peak"], log


@test
def equal_losses_pass():
    ours = answer(*STEP)["rows"][0]["losses"]
    value, _ = with_rival("rivals=pytorch", losses=ours, code=0)
    assert value["rows"][0]["loss_difference"] < 1e-4


@test
def a_rival_that_dies():
    with_rival("rivals=pytorch", losses=[1.0], code=1, dies=True)


@test
def texts_beside_a_rival():
    ours = answer(*TEXT)["rows"][0]["losses"]
    value, log = with_rival("rivals=pytorch", losses=ours, code=0, step=TEXT)
    assert value["rows"][0]["loss_difference"] < 1e-4 and log[0] == "dropout 0.0", log
    value, _ = with_rival("rivals=pytorch", losses=[1.0], code=1, step=TEXT)
    assert "not the same work" in value["stderr"], value["stderr"]
    value, log = with_rival("rivals=pytorch", "dropout=0.1", losses=[1.0], code=0, step=TEXT)  # masks of their own
    assert log[0] == "dropout 0.1" and value["rows"][0]["losses"] != ours, value["rows"]


def torch_python(*more):
    python = os.environ.get("INGOT_RIVALS_PYTHON") or os.path.join(SOURCE, ".venv", "bin", "python")
    if not os.path.exists(python):
        raise Skip(f"there is no {python}: ./dev rivals installs PyTorch")
    needed = ("torch", *(more or ("torchvision",)))
    look = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {needed})))"
    if subprocess.run([python, "-c", look]).returncode:
        raise Skip(f"{python} has no {' and '.join(needed)}")
    return python


@test
def pytorch_does_the_same_work():
    env = {"INGOT_RIVALS_PYTHON": torch_python()}
    for mode in ("train", "infer"):
        row = answer("step", "model=resnet20", "batch=4", "steps=1", "rounds=1", "--json", "--quiet", f"mode={mode}",
                     "rivals=pytorch-tuned" if mode == "train" else "rivals=pytorch", env=env)["rows"][0]
        assert row["loss_difference"] < 1e-4, row
        assert row["rival_ns"] > 0 and row["ratio"] > 0 and row["rival_peak_bytes"] > row["rival_idle_bytes"] > 0


@test
def transformers_does_the_same_work():
    env = {"INGOT_RIVALS_PYTHON": torch_python("transformers")}
    for words in (("rivals=pytorch",), ("rivals=pytorch-tuned", "lengths=banking77"),
                  ("rivals=pytorch-tuned", "lengths=corpus", "task=classify", "mode=infer"),
                  ("rivals=pytorch-tuned", "dropout=0.1")):
        row = answer(*TEXT, *words, env=env)["rows"][0]
        assert "dropout=0.1" in words or row["loss_difference"] < 1e-4, row
        assert row["rival_ns"] > 0 and row["ratio"] > 0 and "transformers" in row["rival_version"], row


# ---- loader ----
def write_png(path, side, shade):
    rows = b"".join(b"\0" + bytes((shade + x * y) % 256 for x in range(side) for _ in range(3)) for y in range(side))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def pictures():
    folder = os.path.join(WORK, "pictures")
    for kind in ("a", "b"):
        os.makedirs(os.path.join(folder, kind), exist_ok=True)
        for i in range(12):
            write_png(os.path.join(folder, kind, f"{i}.png"), 48, 10 * i + (100 if kind == "b" else 0))
    return folder


@test
def loader():
    row = answer("loader", f"data={pictures()}", "batch=4", "image_size=32", "steps=3", "rounds=2", "--json",
                 "--quiet")["rows"][0]
    has(row, "name", "shape", "precision", "ns", "gbps", "gflops", "roofline", "samples_per_second",
        "samples_per_second_per_thread", "cpu_ns", "wait")
    in_order(row)
    assert 0 <= row["wait"] <= 1, row
    assert row["shape"] == "48x48 to 32x32" and row["samples"] == 2


def labelled():
    """A table and raw text of the same words, beside texts()."""
    folder = os.path.dirname(texts()[1][len("tokenizer="):])
    with open(os.path.join(folder, "rows.csv"), "w") as f:
        f.write("text,label\n" + "a ab,x\nc a c ab,y\n" * 20)
    with open(os.path.join(folder, "raw.txt"), "w") as f:
        f.write("a ab c a. c a ab c.\n\n" * 40)
    return folder


@test
def loader_of_texts():
    folder = labelled()
    words = ["loader", "batch=4", "steps=6", "rounds=2", "max_length=8", "threads=2", "--json", "--quiet"]
    vocabulary = f"tokenizer={folder}/mask.txt"
    with open(os.path.join(folder, "mask.txt"), "w") as f:
        f.write("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\nc\n.\n")
    for data in ("rows.csv", "raw.txt"):
        value = answer(*words, f"data={folder}/{data}", vocabulary)
        batches, once = value["rows"]
        for row in value["rows"]:
            assert ROW <= set(row), ROW - set(row)
            in_order(row)
            assert row["samples_per_second"] > 0 and row["tokens_per_second"] > row["samples_per_second"], row
        has(batches, "wait", "filled", "cpu_ns", "samples_per_second_per_thread")
        assert 0 <= batches["wait"] <= 1 and 0 < batches["filled"] <= 1, batches
        assert batches["shape"] == "4 texts of up to 8 tokens" and once["samples"] == 1, value["rows"]
        assert abs(batches["samples_per_second"] - 4e9 / batches["ns"]) < 1e-6 * batches["samples_per_second"]
        assert set(value["libraries"]) == {"ingot"}, value["libraries"]
        if data == "rows.csv":  # [CLS] a a ##b [SEP], and [CLS] c a c a ##b [SEP]
            mean = batches["tokens_per_second"] / batches["samples_per_second"]
            assert 5 <= mean <= 7 and once["shape"] == "40 texts of up to 8 tokens", (mean, once)
            assert abs(once["tokens_per_second"] / once["samples_per_second"] - 6) < 1e-9, once
    assert not [name for name in os.listdir(WORK) if name.startswith("ingot-bench-")]
    for more, said in [([], "tokenizer=PATH"), (["rivals=torchvision", vocabulary], "bench loader has none for texts")]:
        p = run(*words, f"data={folder}/rows.csv", *more)
        assert p.returncode == 2 and said in p.stderr, p.stderr


@test
def libraries_are_named():
    value = answer("loader", f"data={pictures()}", "batch=4", "image_size=32", "steps=1", "rounds=1", "--json", "--quiet")
    assert {"ingot", "libpng", "libtiff", "libwebp"} < set(value["libraries"]), value["libraries"]
    assert any(name.startswith("libjpeg") for name in value["libraries"]) and all(value["libraries"].values())
    assert value["libraries"]["libpng"] == value["environment"]["libraries"]["libpng"]
    p = run("loader", f"data={pictures()}", "batch=4", "image_size=32", "steps=1", "rounds=1", "--quiet")
    assert f"libpng {value['libraries']['libpng']}" in p.stdout and "libraries ," not in p.stdout, p.stdout
    folder = os.path.join(WORK, "tokenizer-rivals")
    os.makedirs(folder, exist_ok=True)
    us = answer("tokenizer", *texts(), "rounds=1", "--json", "--quiet")
    assert set(us["libraries"]) == {"ingot"}, us["libraries"]
    tokens = round(us["rows"][0]["tokens_per_second"] * us["rows"][0]["ns"] / 1e9)
    with open(os.path.join(folder, "tokenizers_rate.py"), "w") as f:
        f.write("import json, sys\nprint(json.dumps(dict(ready=True, version='tokenizers 9.9', recipe='none')), flush=True)\n"
                f"for line in sys.stdin:\n    print(json.dumps(dict(ns=1000, tokens={tokens})), flush=True)\n")
    value = answer("tokenizer", *texts(), "rounds=1", "--json", "--quiet", "rivals=tokenizers",
                   env={"INGOT_RIVALS": folder, "INGOT_RIVALS_PYTHON": sys.executable})
    assert value["libraries"]["tokenizers"] == "tokenizers 9.9", value["libraries"]


@test
def loader_beside_torchvision():
    env = {"INGOT_RIVALS_PYTHON": torch_python()}
    row = answer("loader", f"data={pictures()}", "batch=4", "image_size=32", "steps=3", "rounds=1", "--json", "--quiet",
                 "rivals=torchvision", "threads=1", env=env)["rows"][0]
    has(row, "rival", "rival_version", "rival_ns", "ratio", "rival_cpu_ns", "cpu_ratio")
    assert row["rival_ns"] > 0 and "torchvision" in row["rival_version"]


# What every answer and every row has, whatever was measured; and what stands there beside a rival.
ANSWER = {"rows", "machine", "environment"}
ROW = {"name", "shape", "precision", "threads", "ns", "ns_min", "ns_low", "ns_high", "samples", "gflops", "gbps",
       "roofline"}
BESIDE = {"rival", "rival_version", "rival_recipe", "rival_ns", "rival_ns_min", "ratio", "ratio_low", "ratio_high"}
LOADER = ["loader", "batch=4", "image_size=32", "steps=3", "--json", "--quiet"]


@test
def one_layout_for_all():
    for words in (STEP, LOADER + [f"data={pictures()}", "rounds=1"], ["tokenizer", *texts(), "rounds=1", "--json", "--quiet"],
                  ["kernels", "op=relu", "model=none", "--json", "--quiet"]):
        value = answer(*words)
        assert ANSWER <= set(value) and value["rows"], (words, sorted(value))
        for row in value["rows"]:
            assert ROW <= set(row), (words, ROW - set(row))
            types = {k: type(row[k]) for k in ROW}
            assert all(types[k] is int for k in ("ns", "ns_min", "ns_low", "ns_high", "samples", "threads")), (words, row)
            assert all(types[k] is str for k in ("name", "shape", "precision")), (words, row)
            assert not BESIDE & set(row), (words, row)


LOADER_RIVAL = r'''
import json, sys
spec = json.loads(sys.argv[1])
with open(spec["list"]) as f:
    rows = [line.rstrip("\n").split("\t") for line in f]
assert len(rows) == 20 and all(path.endswith(".png") and label in "01" for path, label in rows), rows
print(json.dumps({"ready": True, "version": "3.4", "recipe": "none"}), flush=True)
times = iter((2000000, 4000000, 1000000))
for line in sys.stdin:
    word, count = line.split()
    assert word == "run" and count == "3", line
    print(json.dumps({"ns": 12 * next(times), "cpu_ns": 12 * 5000000}), flush=True)
'''


@test
def loader_beside_a_rival():
    folder = os.path.join(WORK, "loader-rivals")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "torchvision_loader.py"), "w") as f:
        f.write(LOADER_RIVAL)
    row = answer(*LOADER, f"data={pictures()}", "rounds=3", "rivals=torchvision",
                 env={"INGOT_RIVALS": folder, "INGOT_RIVALS_PYTHON": sys.executable})["rows"][0]
    assert ROW | BESIDE <= set(row), (ROW | BESIDE) - set(row)
    assert (row["rival"], row["rival_version"], row["rival_recipe"]) == ("torchvision", "3.4", "none"), row
    assert (row["rival_ns"], row["rival_ns_min"], row["rival_cpu_ns"]) == (2000000, 1000000, 5000000), row
    assert abs(row["ratio"] - 2e6 / row["ns"]) < 1e-6 * row["ratio"]
    # Round by round: the extremes of 2, 4 and 1 ms by our own rounds, which lie between ns_min and the largest.
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"], row
    assert row["ratio_high"] <= 4e6 / row["ns_min"] * 1.000001 and row["ratio_low"] <= 1e6 / row["ns_min"] * 1.000001, row
    assert row["ratio_high"] >= 4e6 / row["ns_high"] * 0.999999, row


# ---- tokenizer ----
def texts():
    folder = os.path.join(WORK, "texts")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "vocab.txt"), "w") as f:
        f.write("[UNK]\n[CLS]\n[SEP]\na\n##b\nc\n")
    with open(os.path.join(folder, "lines.txt"), "w") as f:
        f.write("a ab abb\nc C zz\n" * 50)
    return f"data={folder}/lines.txt", f"tokenizer={folder}/vocab.txt"


@test
def tokenizer():
    for more in [], ["offsets=1", "threads=3"]:
        row = answer("tokenizer", *texts(), "rounds=2", "--json", "--quiet", *more)["rows"][0]
        has(row, "name", "shape", "precision", "ns", "gbps", "gflops", "roofline", "mb_per_second", "tokens_per_second")
        in_order(row)
        # 100 lines and what stands behind the last line feed; 5 + 3 tokens and the special ones
        assert row["shape"] == "101 lines, 800 bytes" and row["samples"] == 2, row
        assert abs(row["tokens_per_second"] * row["ns"] / 1e9 / (50 * (6 + 3) + 2 * 101) - 1) < 0.05, row


@test
def tokenizer_beside_tokenizers():
    env = {"INGOT_RIVALS_PYTHON": torch_python()}
    row = answer("tokenizer", *texts(), "rounds=1", "--json", "--quiet", "rivals=tokenizers-fast", "threads=1",
                 env=env)["rows"][0]
    has(row, "rival", "rival_version", "rival_ns", "ratio", "rival_mb_per_second")
    assert row["rival_ns"] > 0 and "tokenizers" in row["rival_version"]


def main():
    passed = failed = skipped = 0
    chosen = sys.argv[1:]
    for t in tests:
        if chosen and t.__name__ not in chosen:
            continue
        try:
            t()
            passed += 1
        except Skip as e:
            skipped += 1
            print(f"{t.__name__}: skipped: {e}")
        except Exception as e:  # noqa: BLE001  every failure is counted and named
            failed += 1
            print(f"{t.__name__}: FAILED: {type(e).__name__}: {e}")
    left = [n for n in os.listdir(WORK) if n.startswith("ingot-bench-") and os.path.isdir(os.path.join(WORK, n))]
    if left:
        failed += 1
        print(f"folders that were left behind: {left}")
    shutil.rmtree(WORK, ignore_errors=True)
    print(f"{passed} passed, {skipped} skipped, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
