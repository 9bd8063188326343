#!/usr/bin/env python3
"""The program from outside: verbs, keys, exit codes, streams, and one whole life of a run. Standard library only.

Rule: only what cli.md promises is tested, on the real program (INGOT_BIN), with data drawn here.
Prints `N passed, N failed`; exit code 1 where one failed.
"""
import csv
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib

BIN = os.environ.get("INGOT_BIN", os.path.join(os.path.dirname(__file__), "..", "build", "ingot"))
SOURCE = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
WORK = tempfile.mkdtemp(prefix="ingot-cli-")
ENV = dict(os.environ, XDG_CACHE_HOME=os.path.join(WORK, "cache"), OMP_WAIT_POLICY="passive")
tests = []


def test(function):
    tests.append(function)
    return function


def run(*words, timeout=300, stdin=None, env=None, cwd=WORK):
    p = subprocess.run([BIN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, cwd=cwd,
                       input=stdin, env=env or ENV)
    p.out, p.err = p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")
    return p


def expect(p, code, *texts):
    """Exit code, and every text in the message; a refusal writes nothing to standard output."""
    assert p.returncode == code, f"exit {p.returncode}, {code} expected: {p.err[-700:]}"
    for text in texts:
        assert text in p.err, f"{text!r} expected in: {p.err[-1500:]}"
    if code == 2:
        assert p.stdout == b"", f"standard output of a refusal: {p.out[:300]}"
    return p


def answer(p):
    """Standard output is one JSON object on one line and nothing else."""
    assert p.returncode == 0, f"exit {p.returncode}: {p.err[-700:]}"
    lines = p.out.splitlines()
    assert len(lines) == 1, f"{len(lines)} lines: {p.out[:300]}"
    value = json.loads(lines[0])
    assert isinstance(value, dict)
    return value


def refused(code, texts, *words, **more):
    return expect(run(*words, **more), code, *texts)


# ---- pictures: three classes that a small model tells apart ----
def pixels(cls, rng, side):
    phase, rows = rng.randrange(8), []
    for y in range(side):
        row = bytearray()
        for x in range(side):
            on = ((x + phase) // 4 % 2, (y + phase) // 4 % 2, ((x + phase) // 4 + (y + phase) // 4) % 2)[cls]
            for channel in range(3):
                row.append(max(0, min(255, (190 if on else 60) + rng.randrange(-25, 26) + 10 * channel)))
        rows.append(bytes(row))
    return rows


def write_png(path, rows, side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows), 1)) + chunk(b"IEND", b""))


def write_bmp(path, rows, side):
    data = b"".join(b"".join(r[3 * x:3 * x + 3][::-1] for x in range(side)) + b"\0" * (-3 * side % 4)
                    for r in reversed(rows))
    with open(path, "wb") as f:
        f.write(b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) +
                struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, len(data), 2835, 2835, 0, 0) + data)


CLASSES = ["checks", "rows", "stripes"]  # sorted


def make_data(folder, parts, seed=1, side=32):
    rng = random.Random(seed)
    for part, count in parts.items():
        for number, name in enumerate(CLASSES):
            place = os.path.join(folder, part, name) if part else os.path.join(folder, name)
            os.makedirs(place)
            for i in range(count):
                rows = pixels({"stripes": 0, "rows": 1, "checks": 2}[name], rng, side)
                (write_bmp if i % 3 == 0 else write_png)(os.path.join(place, f"{i:03d}" + (".bmp", ".png", ".png")[i % 3]),
                                                         rows, side)
    return folder


DATA = os.path.join(WORK, "data")
SMALL = ["model=resnet20", "data=" + DATA, "batch=12", "augment=light", "crop_scale=1", "lr=0.02", "ema=0", "seed=3", "winograd=0", "cache=64MB"]
RUN = os.path.join(WORK, "run")


# ---- usage ----
@test
def unknown_words_have_nearest_names():
    refused(2, ["unknown verb", "train"], "trian")
    refused(2, ["unknown key", "lr"], "train", "lrr=3")
    refused(2, ["resnet18"], "train", "model=resnet81", "data=" + DATA)
    refused(2, ["list, verify or show", "verify"], "checkpoint", "verfy", DATA)
    refused(2, ["unknown verb", "train"], "keys", "trai")
    refused(2, ["bash and zsh"], "completion", "fish")


@test
def no_verb_is_help_and_exit_2():
    p = run()
    assert p.returncode == 2 and "verbs" in p.out, p.out


@test
def every_verb_refuses_usage_errors():
    for verb in ["train", "eval", "predict", "plan", "convert", "checkpoint", "report", "demo", "doctor", "keys",
                 "completion", "help", "version"]:
        refused(2, ["no_such_key"], verb, "no_such_key=1")
        refused(2, ["threads"], verb, "threads=many")
        refused(2, ["json"], verb, "json=perhaps")
    for verb in ["train", "eval", "predict", "plan", "convert", "checkpoint", "report", "completion"]:
        refused(2, ["usage: ingot " + verb], verb)
    for verb in ["train", "plan", "doctor", "version", "demo"]:
        refused(2, ["one word too many"], verb, "a/word", *(["model=resnet18", "data=."] if verb == "train" else []))
    refused(2, ["model="], "train", "data=" + DATA)
    refused(2, ["weights="], "predict", DATA)
    refused(2, ["belongs to"], "eval", "epochs=3")
    refused(2, ["epochs"], "train", *SMALL, "epochs=0")
    refused(2, ["contradict"], "train", *SMALL, "epochs=1", "steps=3", "out=" + WORK + "/never")
    assert not os.path.exists(WORK + "/never")


@test
def devices_and_precisions_that_are_not_there():
    refused(2, ["cuda", "cpu"], "train", *SMALL, "device=cuda", "out=" + WORK + "/never")
    refused(2, ["precision"], "train", *SMALL, "precision=fp8", "out=" + WORK + "/never")


@test
def keys_from_files_and_precedence():
    path = os.path.join(WORK, "keys.yaml")
    with open(path, "w") as f:
        f.write("format: markdown\nthreads: 1\n")
    assert run("keys", "--config", path).out.startswith("# Keys")
    assert run("keys", "--config", path, "format=text").out.startswith("key ")
    with open(path, "w") as f:
        f.write("lrr: 1\n")
    refused(2, ["keys.yaml:1", "lrr"], "train", "--config", path)
    refused(2, ["absent.yaml"], "train", "--config", "absent.yaml")


# ---- verbs without data ----
@test
def help_version_doctor_keys():
    assert "train" in run("help").out and "label_smoothing" in run("help", "train").out
    assert run("train", "--help").out == run("help", "train").out
    version = answer(run("version", "--json"))
    assert version["version"].count(".") == 2 and version["git"] and "cpu" in version["back_ends"]
    assert version["version"] in run("--version").out
    doctor = answer(run("doctor", "--json"))
    for key in ["processor", "threads", "memory", "libraries", "folders", "missing", "instruction_sets", "bf16"]:
        assert key in doctor, key
    assert "no CUDA back end" in doctor["gpu"]
    assert "oneDNN" in run("doctor").out
    keys = answer(run("keys", "train", "--json"))["keys"]
    assert {"model", "data", "lr", "epochs", "resume"} <= {k["key"] for k in keys}
    assert all(k["meaning"] and k["type"] for k in keys)
    for verb in version:
        assert verb
    assert "ema" in run("keys").out
    assert answer(run("help", "--json"))["help"]


@test
def keys_document_is_current():
    with open(os.path.join(SOURCE, "docs", "keys.md"), encoding="utf-8") as f:
        assert f.read() == run("keys", "format=markdown").out, "write it anew: ingot keys format=markdown > docs/keys.md"


@test
def completion_is_a_script():
    bash = run("completion", "bash").out
    assert subprocess.run(["bash", "-n"], input=bash.encode()).returncode == 0
    offered = subprocess.run(
        ["bash", "-c", bash + "\nCOMP_WORDS=(ingot train label_); COMP_CWORD=2; compopt() { :; }; _ingot; "
         "echo ${COMPREPLY[@]}\nCOMP_WORDS=(ingot tr); COMP_CWORD=1; _ingot; echo ${COMPREPLY[@]}\n"
         "COMP_WORDS=(ingot train optimizer = ad); COMP_CWORD=4; _ingot; echo ${COMPREPLY[@]}"],
        stdout=subprocess.PIPE, cwd=WORK).stdout.decode().split("\n")
    assert offered[0] == "label_smoothing=", offered
    assert offered[1] == "train", offered
    assert offered[2].split() == ["adam", "adamw"], offered
    assert "compdef" in run("completion", "zsh").out
    if shutil.which("zsh"):
        assert subprocess.run(["zsh", "-n"], input=run("completion", "zsh").stdout).returncode == 0


@test
def colours_only_where_wanted():
    assert "\033" not in run("nonsense").err


# ---- the life of a run ----
@test
def plan_says_what_a_train_takes():
    plan = answer(run("plan", *SMALL, "epochs=2", "--json"))
    for key in ["parameters", "bytes", "flops_per_step", "seconds_per_step", "layers"]:
        assert plan[key], key
    for key in ["weights", "gradients", "optimizer", "activations", "workspace", "total"]:
        assert key in plan["bytes"], key
    assert plan["bytes"]["total"] >= plan["bytes"]["weights"] >= 4 * plan["parameters"] > 0
    assert "layers" in run("plan", *SMALL, "epochs=2").out
    refused(1, ["memory"], "plan", *SMALL, "epochs=2", "memory=1MB")


@test
def train_eval_predict():
    p = run("train", *SMALL, "epochs=6", "out=" + RUN, "--json")
    result = answer(p)
    for key in ["run", "steps", "epochs", "seconds", "train_loss", "best_epoch", "accuracy", "loss", "f1"]:
        assert key in result, key
    assert result["epochs"] == 6 and result["accuracy"] > 0.6, result
    for name in ["args.yaml", "environment.json", "log.jsonl", "best", "model.safetensors", "predictions.csv",
                 "report.html", "checkpoints"]:
        assert os.path.exists(os.path.join(RUN, name)), name
    environment = json.load(open(os.path.join(RUN, "environment.json")))
    assert environment["libraries"] and environment["git"] and environment["start"]
    steps = [(r["split"], r["step"]) for r in map(json.loads, open(os.path.join(RUN, "log.jsonl")))]
    assert len(steps) == len(set(steps)) > 6

    logits = os.path.join(WORK, "logits.npy")
    found = answer(run("eval", "weights=" + RUN, "data=" + DATA, "logits=" + logits, "--json"))
    for key in ["n", "loss", "accuracy", "top5", "precision", "recall", "f1", "micro", "weighted", "accuracy_interval",
                "per_class", "confusion", "seconds", "samples_per_second"]:
        assert key in found, key
    assert found["part"] == "test" and found["n"] == 24 and found["accuracy"] > 0.6, found
    assert sum(map(sum, found["confusion"])) == 24
    with open(logits, "rb") as f:
        data = f.read()
    assert data[:6] == b"\x93NUMPY" and b"(24, 3)" in data[:128] and len(data) == 128 + 24 * 3 * 4
    assert answer(run("eval", "weights=" + RUN, "data=" + DATA, "part=val", "--json"))["n"] == 15
    assert answer(run("eval", "weights=" + RUN, "data=" + DATA, "part=all", "--json"))["n"] == 24 + 15 + 60
    assert "accuracy" in run("eval", "weights=" + RUN, "data=" + DATA, "--quiet").out

    test_folder = os.path.join(DATA, "test")
    p = run("predict", "weights=" + RUN, test_folder, "--json")
    assert p.returncode == 0, p.err
    lines = [json.loads(line) for line in p.out.splitlines()]
    right = sum(line["label"] == os.path.basename(os.path.dirname(line["path"])) for line in lines)
    assert len(lines) == 24 and abs(right / 24 - found["accuracy"]) < 1e-9, (right, found["accuracy"])
    for line in lines:
        assert 1 / 3 <= line["p"] <= 1 and line["top"][0] == {"label": line["label"], "p": line["p"]}
        assert len(line["top"]) == 3 and abs(sum(t["p"] for t in line["top"]) - 1) < 1e-6
    p = run("predict", "weights=" + RUN, test_folder, "--json", "reject=1")
    assert {json.loads(line)["label"] for line in p.out.splitlines() if json.loads(line)["p"] < 1} <= {"unsure"}


@test
def predict_goes_on_past_bad_pictures():
    good = os.path.join(DATA, "test", "rows", "000.bmp")
    bad, strange = os.path.join(WORK, "bad.png"), os.path.join(WORK, "odd,\xe4\n.bmp").encode("latin-1")
    open(bad, "wb").write(b"\x89PNG\r\n\x1a\nnonsense")
    shutil.copy(good.encode(), strange)
    table = os.path.join(WORK, "answers.csv")
    p = run("predict", "weights=" + RUN, good, bad, "absent.png", strange, "--json", "out=" + table)
    expect(p, 1, "2 of 4")
    lines = [json.loads(line) for line in p.out.splitlines()]
    assert [("error" in line) for line in lines] == [False, True, True, False], lines
    assert lines[0]["label"] == lines[3]["label"] and "\\xe4" in lines[3]["path"]
    rows = list(csv.DictReader(open(table, encoding="latin-1", newline="")))
    assert len(rows) == 4 and rows[0]["label"] == lines[0]["label"] and rows[1]["error"] and not rows[1]["label"]
    p = run("predict", "weights=" + RUN, "-", "--json", stdin=(good + "\n\n" + bad + "\n").encode())
    expect(p, 1, "1 of 2")
    assert [("error" in json.loads(line)) for line in p.out.splitlines()] == [False, True]
    assert "rows" in run("predict", "weights=" + RUN, good).out
    refused(2, ["no picture"], "predict", "weights=" + RUN, "nothing")
    refused(2, ["absent"], "predict", "weights=absent", good)


@test
def checkpoints_and_convert():
    found = answer(run("checkpoint", "list", RUN, "--json"))["checkpoints"]
    assert found and all(c["valid"] and c["bytes"] > 0 for c in found)
    assert answer(run("checkpoint", "verify", RUN, "--json"))["checkpoints"] == found
    shown = answer(run("checkpoint", "show", RUN, "--json"))
    assert shown["step"] == found[-1]["step"] and any(t["group"] == "weights" for t in shown["tensors"])
    refused(2, ["no checkpoint"], "checkpoint", "list", os.path.join(WORK, "nothing"))
    refused(2, ["absent"], "checkpoint", "list", "absent")

    out = os.path.join(WORK, "converted.safetensors")
    for source in [RUN, os.path.join(RUN, "checkpoints", f"step-{found[-1]['step']}")]:
        made = answer(run("convert", source, out, "--json"))
        assert made["mapped"] > 0 and made["missing"] == 0 and made["classes"] == 3, made
    a = answer(run("eval", "weights=" + RUN, "data=" + DATA, "--json"))
    assert answer(run("convert", RUN, out, "--json"))["model"] == "resnet20"
    b = answer(run("eval", "weights=" + out, "data=" + DATA, "--json"))
    assert a["confusion"] == b["confusion"] and a["loss"] == b["loss"]
    refused(2, [".safetensors"], "convert", RUN, "x.h5")
    refused(2, ["resnet20", "resnet8_mlperf"], "eval", "weights=" + out, "data=" + DATA, "model=resnet8_mlperf")

    # A flipped byte is found, named, and passed over.
    copy = os.path.join(WORK, "copy")
    shutil.copytree(RUN, copy)
    shard = os.path.join(copy, "checkpoints", f"step-{found[-1]['step']}", "shard-00000.h5")
    data = bytearray(open(shard, "rb").read())
    data[len(data) // 2] ^= 1
    open(shard, "wb").write(data)
    p = run("checkpoint", "verify", copy, "--json")
    assert p.returncode == 2 and not json.loads(p.out)["checkpoints"][-1]["valid"], p.err


@test
def report_of_a_run():
    path = os.path.join(WORK, "report.html")
    assert answer(run("report", RUN, "out=" + path, "--json"))["path"] == path
    assert os.path.getsize(path) > 1000
    refused(2, ["absent"], "report", "absent")
    assert answer(run("report", RUN, os.path.join(WORK, "copy"), "out=" + path, "--json"))["path"] == path


# ---- stopping and going on ----
@test
def existing_run_is_refused_and_continued():
    refused(2, ["holds a run already", "resume=auto"], "train", *SMALL, "epochs=6", "out=" + RUN)
    before = open(os.path.join(RUN, "model.safetensors"), "rb").read()
    p = run("train", *SMALL, "epochs=6", "out=" + RUN, "resume=auto", "--json")
    assert answer(p)["epochs"] == 6 and "finished" in p.err
    assert open(os.path.join(RUN, "model.safetensors"), "rb").read() == before
    p = refused(2, ["another configuration", "lr: ", "-> 0.5", "seed: 3 -> 4"], "train", *SMALL, "epochs=6",
                "out=" + RUN, "resume=auto", "lr=0.5", "seed=4")
    assert "threads" not in p.err.split("(")[1].split(")")[0]
    refused(2, ["epochs: 6 -> 2"], "train", *SMALL, "epochs=2", "out=" + RUN, "resume=auto")
    os.makedirs(os.path.join(WORK, "full", "x"))
    refused(2, ["not empty"], "train", *SMALL, "out=" + os.path.join(WORK, "full"))


LONG = ["epochs=6", "save_every=7", "threads=2", "ema=0.9"]


def start(*words):
    return subprocess.Popen([BIN, "train", *SMALL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=WORK,
                            env=ENV)


def wait_for(check, process):
    end = time.monotonic() + 120
    while not check():
        assert time.monotonic() < end and process.poll() is None, process.communicate()[1].decode()[-1500:]
        time.sleep(0.01)


@test
def sigterm_and_resume_give_the_same_weights():
    whole, parts = os.path.join(WORK, "whole"), os.path.join(WORK, "parts")
    assert run("train", *SMALL, *LONG, "out=" + whole).returncode == 0
    p = start(*LONG, "out=" + parts)
    wait_for(lambda: os.path.exists(os.path.join(parts, "checkpoints", "step-7")), p)
    second = run("train", *SMALL, *LONG, "out=" + parts, "resume=auto")
    if p.poll() is None:
        expect(second, 2, str(p.pid))  # two runs, one folder
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 75 and b"resume=auto" in err and out == b"", (p.returncode, err[-800:])
    assert json.loads(run("checkpoint", "verify", parts, "--json").out)["checkpoints"][-1]["valid"]
    # The same command; also from a checkpoint, and with keys that may change.
    result = answer(run("train", *SMALL, *LONG, "out=" + parts, "resume=auto", "save_every=30s", "--json"))
    assert result["epochs"] == 6
    a, b = (open(os.path.join(f, "model.safetensors"), "rb").read() for f in (whole, parts))
    assert a == b, "weights differ from those of the uninterrupted run"
    steps = [(r["split"], r["step"]) for r in map(json.loads, open(os.path.join(parts, "log.jsonl")))]
    assert len(steps) == len(set(steps)), "a step stands twice in log.jsonl"


@test
def ctrl_c_twice_and_time_limit():
    folder = os.path.join(WORK, "twice")
    p = start("epochs=1000", "out=" + folder)
    wait_for(lambda: os.path.exists(os.path.join(folder, "log.jsonl")), p)
    p.send_signal(signal.SIGINT)
    p.send_signal(signal.SIGINT)
    time.sleep(0.05)
    if p.poll() is None:
        p.send_signal(signal.SIGINT)
    p.communicate(timeout=60)
    assert p.returncode in (75, 130), p.returncode
    p = run("train", *SMALL, "epochs=1000", "time_limit=500ms", "out=" + os.path.join(WORK, "limit"))
    expect(p, 75, "time_limit", "resume=auto")


@test
def default_run_folder():
    words = ["train", *SMALL, "steps=2"]
    assert run(*words, "--quiet").returncode == 0
    made = os.listdir(os.path.join(WORK, "runs"))
    assert len(made) == 1 and made[0].startswith("resnet20-data-"), made
    assert "finished" in run(*words, "resume=auto").err
    assert os.listdir(os.path.join(WORK, "runs")) == made
    again = run("train", "--config", os.path.join(WORK, "runs", made[0], "args.yaml"), "out=" + WORK + "/again")
    assert again.returncode == 0, again.err
    a, b = (open(os.path.join(f, "model.safetensors"), "rb").read()
            for f in (os.path.join(WORK, "runs", made[0]), WORK + "/again"))
    assert a == b, "args.yaml does not give the same run"


# ---- bad data ----
@test
def bad_data_sets():
    def folder(name, files):
        for path, content in files.items():
            place = os.path.join(WORK, name, path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if content is not None:
                open(place, "wb").write(content)
        return "data=" + os.path.join(WORK, name)
    picture = open(os.path.join(DATA, "test", "rows", "001.png"), "rb").read()
    base = ["train", "model=resnet20", "epochs=1", "out=" + WORK + "/never"]
    refused(2, ["absent"], *base, "data=absent")
    os.makedirs(os.path.join(WORK, "empty"))
    refused(2, ["empty"], *base, "data=empty")
    refused(2, ["class"], *base, folder("one", {f"a/{i}.png": picture for i in range(8)}))
    refused(2, ["hollow"], *base, folder("hole", {**{f"{c}/{i}.png": picture for c in "ab" for i in range(8)},
                                                  "hollow/x": None}))
    refused(2, ["batch"], *base, "data=" + DATA, "batch=512")
    refused(2, ["nosuch"], *base, "data=" + DATA, "weights=nosuch.safetensors")
    empty = os.path.join(WORK, "zero.safetensors")
    open(empty, "wb").close()
    refused(2, ["zero.safetensors"], *base, "data=" + DATA, "weights=" + empty)
    pickle = os.path.join(WORK, "pickle.safetensors")
    open(pickle, "wb").write(b"\x80\x02}q\x00." + bytes(100))
    refused(2, ["pickle"], *base, "data=" + DATA, "weights=" + pickle)
    with open(os.path.join(WORK, "cw.csv"), "w") as f:
        f.write("class,weight\nnobody,2\n")
    refused(2, ["cw.csv:2", "nobody"], *base, "data=" + DATA,
            "class_weights=cw.csv")
    assert not os.path.exists(WORK + "/never/model.safetensors")


@test
def fine_tuning_with_a_fresh_head():
    two = os.path.join(WORK, "two")
    for part in ["train", "val"]:
        for name in CLASSES[:2]:
            shutil.copytree(os.path.join(DATA, part, name), os.path.join(two, part, name))
    base = ["train", "model=resnet20", "data=" + two, "weights=" + RUN, "epochs=1", "batch=8"]
    refused(2, ["head=new"], *base, "out=" + WORK + "/head1")
    result = answer(run(*base, "head=new", "freeze=*conv*", "lr_scale=*:0.5", "class_weights=balanced", "loss=focal",
                        "optimizer=adamw", "out=" + WORK + "/head2", "--json"))
    assert result["epochs"] == 1
    refused(2, ["freeze"], *base, "head=new", "freeze=nothing*", "out=" + WORK + "/head3")


@test
def demo_from_nothing():
    out = os.path.join(WORK, "demo")
    words = ["demo", "out=" + out, "samples=120", "epochs=1", "--json"]
    result = answer(run(*words))
    assert result["epochs"] == 1 and result["test"]["n"] == 24 and os.path.exists(os.path.join(out, "run", "report.html"))
    assert answer(run(*words))["accuracy"] == result["accuracy"]  # what is done is not done again


def main():
    wanted = sys.argv[1:]
    os.makedirs(os.path.join(WORK, "nothing"))
    make_data(DATA, {"train": 20, "val": 5, "test": 8})
    failed = []
    for function in tests:
        if wanted and function.__name__ not in wanted and "train_eval_predict" != function.__name__:
            continue
        began = time.monotonic()
        try:
            function()
            print(f"ok   {function.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as e:  # a failed check or a timeout: the others still run
            failed.append(function.__name__)
            print(f"FAIL {function.__name__}: {type(e).__name__}: {e} (line {e.__traceback__.tb_next.tb_lineno})", flush=True)
    n = len(failed)
    print(f"{len(tests if not wanted else wanted) - n} passed, {n} failed")
    shutil.rmtree(WORK, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
