#!/usr/bin/env python3
"""One whole life of a run from outside: train, eval, predict, checkpoints, stopping and going on.

Rule and helpers: ingot_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import csv
import json
import os
import shutil
import signal
import time

from ingot_cli import *  # noqa: F403 - the tests' own words


@test
def plan_says_what_a_train_takes():
    plan = answer(run("plan", *SMALL, "epochs=2", "--json"))
    for key in ["parameters", "bytes", "flops_per_step", "seconds_per_step", "layers"]:
        assert plan[key], key
    for key in ["weights", "gradients", "optimizer", "activations", "workspace", "total"]:
        assert key in plan["bytes"], key
    assert plan["bytes"]["total"] >= plan["bytes"]["weights"] >= 4 * plan["parameters"] > 0
    assert plan["bytes"]["total"] == sum(n for part, n in plan["bytes"].items() if part != "total"), plan["bytes"]
    assert "layers" in run("plan", *SMALL, "epochs=2").out
    # torchvision's counts, with three classes in place of a thousand.
    for model, parameters in (("vgg11", 132863336), ("vgg19_bn", 143678248)):
        plan = answer(run("plan", "model=" + model, "data=" + DATA, "batch=2", "image_size=64", "deterministic=1", "--json"))
        assert plan["parameters"] == parameters - 997 * 4097, (model, plan["parameters"])
    refused(2, ["image_size=31 is too small for model=vgg11; expected at least 32"],
            "plan", "model=vgg11", "data=" + DATA, "batch=2", "image_size=31")
    for verb in (["plan"], ["train", "out=" + os.path.join(WORK, "too-large")]):  # a configuration that is refused
        refused(2, ["memory"], *verb, *SMALL, "epochs=2", "memory=1MB")


@test
def small_sets_are_shown_larger():
    free = ["plan", "data=" + DATA, "threads=2", "--json"]
    assert answer(run(*free, "model=resnet18"))["image_size"] == 96  # of pictures of 32
    assert answer(run(*free, "model=resnet20"))["image_size"] == 32
    assert answer(run(*free, "model=resnet18", "image_size=64"))["image_size"] == 64


@test
def epochs_follow_the_precision():  # so many pixels are shown, where that is neither under 20 nor over 300 epochs
    shown, doctor = {"fp32": 550000000}, answer(run("doctor", "--json"))
    if doctor["bf16"]:
        shown["bf16"] = 1300000000
    shown["auto"] = shown[doctor["auto_precision"]]
    for precision, pixels in shown.items():
        expect(run("train", "model=resnet8_mlperf", "data=" + DATA, "image_size=272", "batch=4", "precision=" + precision,
                   "time_limit=0.1s", "out=" + os.path.join(WORK, "shown-" + precision)), 75,
               f"epoch 1 of {pixels // 272 ** 2 // 60} ")


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
    refused(2, ["logits=absent/logits.npy", "cannot be written"], "eval", "weights=" + RUN, "data=" + DATA,
            "logits=absent/logits.npy")
    refused(2, [WORK, "is a folder"], "predict", "weights=" + RUN, DATA, "out=" + WORK)
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
    table = run("checkpoint", "show", RUN).out
    assert "conv1.weight" in table and "total_steps" in table and "optimizer:" not in table, table[:600]
    refused(2, ["no checkpoint"], "checkpoint", "list", os.path.join(WORK, "nothing"))
    refused(2, ["absent"], "checkpoint", "list", "absent")

    out = os.path.join(WORK, "converted.safetensors")
    for source in [RUN, os.path.join(RUN, "checkpoints", f"step-{found[-1]['step']}")]:
        made = answer(run("convert", source, out, "--json"))
        assert made["mapped"] > 0 and made["classes"] == 3, made
        assert made["renamed"] == made["missing"] == made["extra"] == [], made
    a = answer(run("eval", "weights=" + RUN, "data=" + DATA, "--json"))
    assert answer(run("convert", RUN, out, "--json"))["model"] == "resnet20"
    b = answer(run("eval", "weights=" + out, "data=" + DATA, "--json"))
    assert a["confusion"] == b["confusion"] and a["loss"] == b["loss"]
    refused(2, [".safetensors"], "convert", RUN, "x.h5")
    # Into a checkpoint, a folder like a run's, and back: the same file.
    step = f"there/step-{found[-1]['step']}"
    for source, to in [(RUN, "folder"), ("folder", step), (step, "back.safetensors")]:
        assert answer(run("convert", source, to, "--json"))["out"] == to
    assert content("back.safetensors") == content(RUN, "model.safetensors") == content("folder", "model.safetensors")
    assert answer(run("checkpoint", "verify", "there", "--json"))["checkpoints"][0]["valid"]
    refused(2, ["there already"], "convert", RUN, step)
    refused(2, ["there already"], "convert", RUN, "folder")
    refused(2, ["step-N"], "convert", RUN, "there/step-x")
    # A file may be called like a checkpoint; what cannot be written, or would replace what is read, is refused first.
    assert answer(run("convert", step, "step-9.safetensors", "--json"))["mapped"] > 0
    before = content("back.safetensors")
    os.makedirs(os.path.join(WORK, "taken.safetensors"))
    for texts, words in [(["back.safetensors", "reads"], ["back.safetensors", "back.safetensors"]),
                         (["folder/model.safetensors", "reads"], ["folder", "folder/model.safetensors"]),
                         (["OUT is empty", "usage"], [RUN, ""]), (["IN is empty", "usage"], ["", "new"]),
                         (["taken.safetensors", "folder"], [RUN, "taken.safetensors"]),
                         (["no/such.safetensors", "cannot be written"], [RUN, "no/such.safetensors"]),
                         (["tokenizer=absent", "texts"], [RUN, "new", "tokenizer=absent"])]:
        refused(2, texts, "convert", *words)
    assert content("back.safetensors") == before and not os.path.exists(os.path.join(WORK, "new"))
    # Only the very name step-N is a checkpoint's: another way to write N replaced the checkpoint of that number.
    was = content(step, "MANIFEST")
    for name in ["0" + step.split("-")[1], "+" + step.split("-")[1], "", "9" * 19]:
        refused(2, ["step-N"], "convert", RUN, "there/step-" + name)
    refused(2, ["there already"], "convert", RUN, step + "/")
    answer(run("convert", RUN, "there/step-99999/", "--json"))
    assert [c["valid"] for c in answer(run("checkpoint", "verify", "there", "--json"))["checkpoints"]] == [True, True]
    assert content(step, "MANIFEST") == was
    # A run keeps its weights, and what is no file of weights stays; a folder is written whole or not at all.
    with open(os.path.join(WORK, "letter.safetensors"), "w") as f:
        f.write("Dear all,\n")
    for texts, to in [(["file of that run"], os.path.join(RUN, "model.safetensors")), (["no .safetensors"], "letter.safetensors"),
                      (["a run's own checkpoints"], os.path.join(RUN, "checkpoints", "step-99999")),
                      (["another ending"], "slash.safetensors/"), (["there already"], "..")]:
        refused(2, texts, "convert", step, to)
    assert content("letter.safetensors") == b"Dear all,\n"
    p = subprocess.run(["sh", "-c", 'ulimit -f 16; exec "$0" "$@"', BIN, "convert", RUN, "half"], cwd=WORK, env=ENV,
                       stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"File too large" in p.stderr and not os.path.exists(os.path.join(WORK, "half")), p
    refused(2, ["lies in no run folder", "weights="], "train", *SMALL, "steps=1", "resume=" + step)
    assert answer(run("train", *SMALL, "steps=1", "weights=" + step, "out=" + WORK + "/from", "--json"))["steps"] == 1
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


@test
def sigterm_and_resume_give_the_same_weights():
    whole, parts = os.path.join(WORK, "whole"), os.path.join(WORK, "parts")
    assert run("train", *SMALL, *LONG, "out=" + whole).returncode == 0
    p = start(*SMALL, *LONG, "out=" + parts)
    wait_for(lambda: os.path.exists(os.path.join(parts, "checkpoints", "step-7")), p)
    second = run("train", *SMALL, *LONG, "out=" + parts, "resume=auto")
    if p.poll() is None:
        expect(second, 2, str(p.pid))  # two runs, one folder
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=300)
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
def a_launcher_with_many_processes_is_told():
    for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        refused(2, [name + "=2", "in one"], "train", *SMALL, "epochs=1", "out=many", env=dict(ENV, **{name: "2"}))
    assert not os.path.exists(os.path.join(WORK, "many"))
    answer(run("train", *SMALL, "epochs=1", "out=many", "--json", env=dict(ENV, WORLD_SIZE="1")))


@test
def a_closed_terminal_stops_in_good_order():
    words = ["train", *SMALL, "epochs=1000"]
    for name, ignored in (("hangup", False), ("nohup", True)):  # nohup: goes on until SIGTERM
        p = subprocess.Popen([BIN, *words, "out=" + name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=WORK, env=ENV,
                             preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignored else None)
        log = os.path.join(WORK, name, "log.jsonl")
        wait_for(lambda: os.path.exists(log) and os.path.getsize(log) > 0, p)
        p.send_signal(signal.SIGHUP)
        if ignored:
            size = os.path.getsize(log)
            wait_for(lambda: os.path.getsize(log) > size, p)
            p.send_signal(signal.SIGTERM)
        assert p.wait(timeout=LIMIT) == 75, (name, p.returncode)
        assert json.loads(run("checkpoint", "list", name, "--json").out)["checkpoints"][-1]["valid"], name
        p.stderr.close()


@test
def ctrl_c_twice_and_time_limit():
    folder = os.path.join(WORK, "twice")
    p = start(*SMALL, "epochs=1000", "out=" + folder)
    wait_for(lambda: os.path.exists(os.path.join(folder, "log.jsonl")), p)
    p.send_signal(signal.SIGINT)
    p.send_signal(signal.SIGINT)
    time.sleep(0.05)
    if p.poll() is None:
        p.send_signal(signal.SIGINT)
    p.communicate(timeout=300)
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


@test
def oblong_pictures_are_not_transposed():
    """They are seen whole, in a square: rows are stretched, columns are not."""
    rng, found = random.Random(4), []
    for name, height in ("square", 64), ("oblong", 40):
        for number, label in enumerate(("bright", "dark")):
            place = os.path.join(WORK, name, label)
            os.makedirs(place)
            for i in range(5):
                rows = [bytes(120 * number + rng.randrange(60) for _ in range(3 * 64)) for _ in range(height)]
                write_png(os.path.join(place, f"{i}.png"), rows, 64)
    for name, crop in ("square", 0), ("oblong", 0), ("oblong", 0.875):
        out = os.path.join(WORK, f"turned-{name}-{crop}")
        p = run("train", "model=resnet18", "data=" + os.path.join(WORK, name), "image_size=64", "batch=4", "steps=1",
                f"crop_ratio={crop}", "out=" + out, "--quiet")
        assert p.returncode == 0, p.err
        args = content(out, "args.yaml").decode()
        assert "\nvflip: 1\n" in args, args
        found.append("\ntranspose: 1\n" in args)
    assert found == [True, False, True], found


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


main(needed=["train_eval_predict"])
