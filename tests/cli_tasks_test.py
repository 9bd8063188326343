#!/usr/bin/env python3
"""Numbers and labels learned from pictures: task=regress and task=multilabel through train, eval, predict and report.

Rule and helpers: ingot_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import csv
import json
import os
import random
import re
import shutil

from ingot_cli import *  # noqa: F403 - the tests' own words

PICTURES = os.path.join(WORK, "pictures")
SIDE, COUNT = 32, 150
BASE = ["model=resnet20", "data=" + PICTURES, "image_size=32", "winograd=0", "seed=5", "threads=2"]
LABELS = ["bar", "dark", "spot"]
NUMBERS, MANY, LISTS, BITS = (os.path.join(WORK, f) for f in ("numbers.csv", "many.csv", "lists.csv", "bits.csv"))
facts = []


def draw(rng):
    """A grey square with noise; a bright spot of some size, a bar across, a dark ground: each or none."""
    spot, bar, dark = rng.random() < 0.6, rng.random() < 0.4, rng.random() < 0.5
    radius, ground, line = rng.uniform(2, 12), 60 if dark else 130, rng.randrange(4, SIDE - 4)
    rows = []
    for y in range(SIDE):
        row = bytearray()
        for x in range(SIDE):
            v = ground + rng.randrange(-12, 13)
            if spot and (x - 15.5) ** 2 + (y - 15.5) ** 2 <= radius ** 2:
                v = 235
            if bar and abs(y - line) < 2:
                v = 10
            row += bytes([max(0, min(255, v))] * 3)
        rows.append(bytes(row))
    names = [n for n, on in zip(LABELS, (bar, dark, spot)) if on]
    return rows, (radius if spot else 0), names


def make():
    rng = random.Random(11)
    os.makedirs(PICTURES)
    for i in range(COUNT):
        rows, radius, names = draw(rng)
        write_png(os.path.join(PICTURES, f"{i:03d}.png"), rows, SIDE)
        part = "test" if i % 5 == 0 else "train"  # validation is held out
        facts.append((f"{i:03d}.png", part, 1000 + 12.5 * radius, names))
    with open(NUMBERS, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["file", "split", "label"])
        w.writerows([name, part, f"{x:.3f}"] for name, part, x, _ in facts)
    with open(MANY, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["file", "part", "size", "brightness"])
        w.writerows([name, part, f"{x:.3f}", 60 if "dark" in n else 130] for name, part, x, n in facts)
    with open(LISTS, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["file", "split", "label"])
        w.writerows([name, part, "; ".join(n)] for name, part, _, n in facts)
    with open(BITS, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["file", "split", *LABELS])
        w.writerows([name, part, *(int(x in n) for x in LABELS)] for name, part, _, n in facts)


def tests_of(*kinds):
    return [f for f in facts if f[1] in kinds]


@test
def one_number():
    make()
    result = answer(run("train", *BASE, "split=" + NUMBERS, "epochs=12", "out=numbers", "--json"))  # by the data
    for key in ["rmse", "mae", "mse", "r2", "loss", "train_loss", "best_epoch"]:
        assert isinstance(result[key], (int, float)), key
    assert result["r2"] > 0.8, result
    args = open(os.path.join(WORK, "numbers", "args.yaml")).read()
    for line in ["task: regress", "loss: mse", "monitor: rmse", "flip: 0"]:
        assert line in args, line
    logged = [r for r in log_of("numbers") if r["split"] == "val"]
    assert logged and all({"mse", "rmse", "mae", "r2"} <= set(r) for r in logged)
    best = min(r["rmse"] for r in logged)
    assert abs(best - result["rmse"]) < 1e-3 * best, (best, result["rmse"])
    # Targets are told as they were given, and no column has the name of another.
    rows = list(csv.DictReader(open(os.path.join(WORK, "numbers", "predictions.csv"))))
    assert list(rows[0]) == ["path", "label", "predicted", "p", "loss", "predicted_label"], list(rows[0])
    given = {f[0]: f"{f[2]:.3f}" for f in facts}
    for r in rows:
        assert abs(float(r["label"]) - float(given[os.path.basename(r["path"])])) < 1e-4, r
        assert abs(float(r["predicted"]) - float(r["predicted_label"])) < 1e-2, r

    found = answer(run("eval", "weights=numbers", "data=" + PICTURES, "split=" + NUMBERS, "--json"))
    assert found["n"] == len(tests_of("test")) and found["part"] == "test" and found["task"] == "regress"
    lines = answers(run("predict", "weights=numbers", *(os.path.join(PICTURES, f[0]) for f in tests_of("test")), "--json",
                        "out=numbers.out.csv"))
    errors = [line["label"] - f[2] for line, f in zip(lines, tests_of("test"))]
    rmse = (sum(e * e for e in errors) / len(errors)) ** 0.5
    assert abs(rmse - found["rmse"]) < 1e-3 * rmse, (rmse, found["rmse"])
    assert abs(found["mse"] - rmse ** 2) < 1e-2 * rmse ** 2 and found["r2"] > 0.8, found
    assert set(lines[0]) == {"path", "label"}
    rows = list(csv.DictReader(open(os.path.join(WORK, "numbers.out.csv"))))
    assert len(rows) == len(lines) and abs(float(rows[3]["label"]) - lines[3]["label"]) < 1e-3
    table = run("predict", "weights=numbers", os.path.join(PICTURES, "000.png")).out
    assert re.search(r"000\.png +\d{3,4}\.?\d*$", table.strip()), table
    # Pictures that cannot be read, beside others and alone.
    with open(os.path.join(WORK, "none.png"), "w") as f:
        f.write("no picture")
    good = os.path.join(PICTURES, "000.png")
    for paths, said in [(["none.png"], "1 of 1 picture could not be read\n"),
                        (["none.png", "none.png"], "2 of 2 pictures could not be read\n"),
                        (["none.png", good], "1 of 2 pictures could not be read; the other has its answer\n"),
                        (["none.png", good, good], "1 of 3 pictures could not be read; the others have their answers\n")]:
        p = run("predict", "weights=numbers", *paths, "--json")
        answers(p, 1)
        assert p.err.endswith("error: " + said), p.err
    # For people: how far off, and no key of the JSON.
    table = run("eval", "weights=numbers", "data=" + PICTURES, "split=" + NUMBERS).out
    assert f"typical error (rmse) {found['rmse']:.5g}" in table and "samples_per_second" not in table, table
    # A checkpoint tells the same as model.safetensors; so does what convert writes.
    answer(run("convert", "numbers", "numbers.safetensors", "--json"))
    again = answer(run("eval", "weights=numbers.safetensors", "data=" + PICTURES, "split=" + NUMBERS, "--json"))
    assert again["rmse"] == found["rmse"]
    step = sorted(os.listdir(os.path.join(WORK, "numbers", "checkpoints")))[-1]
    last = answer(run("eval", f"weights=numbers/checkpoints/{step}", "data=" + PICTURES, "split=" + NUMBERS, "--json"))
    assert last["r2"] > 0.5
    refused(2, ["reject", "numbers"], "predict", "weights=numbers", PICTURES, "reject=0.5")


@test
def several_numbers_and_robust_losses():
    for loss in ["huber", "l1"]:
        result = answer(run("train", *BASE, "split=" + MANY, "task=regress", "loss=" + loss, "epochs=8", "ema=0",
                            "out=many-" + loss, "--json"))
        assert [row["name"] for row in result["per_target"]] == ["size", "brightness"], result
        assert result["r2"] > 0.2, result
    line = answers(run("predict", "weights=many-l1", os.path.join(PICTURES, "001.png"), "--json"))[0]
    assert set(line["label"]) == {"size", "brightness"} and 700 < line["label"]["size"] < 1400, line
    one = answer(run("train", *BASE, "split=" + MANY, "task=regress", "label_column=brightness", "epochs=4", "out=one",
                     "--json"))
    assert "per_target" not in one and one["rmse"] < 100


@test
def labels_as_lists_and_as_columns():
    result = answer(run("train", *BASE, "split=" + LISTS, "epochs=14", "out=lists", "--json"))  # by the data
    for key in ["accuracy", "accuracy_interval", "f1", "micro", "weighted", "roc_auc", "average_precision", "per_class"]:
        assert result[key] is not None, key
    assert [row["name"] for row in result["per_class"]] == LABELS and result["average_precision"] > 0.8, result
    found = answer(run("eval", "weights=lists", "data=" + PICTURES, "split=" + LISTS, "--json"))
    same = answer(run("eval", "weights=lists", "data=" + PICTURES, "split=" + BITS, "--json"))
    assert found["per_class"] == same["per_class"] and found["loss"] == same["loss"]
    lines = answers(run("predict", "weights=lists", *(os.path.join(PICTURES, f[0]) for f in tests_of("test")), "--json"))
    right = sum(line["label"] == f[3] for line, f in zip(lines, tests_of("test")))
    assert abs(right / len(lines) - found["accuracy"]) < 1e-9, (right, found["accuracy"])
    assert all([t["label"] for t in line["top"]] == LABELS for line in lines)
    doubtful = answers(run("predict", "weights=lists", PICTURES, "--json", "reject=1", "out=lists.out.csv"))
    assert any(line["unsure"] for line in doubtful) and not any(line["label"] for line in doubtful
                                                               if len(line["unsure"]) == len(LABELS))
    assert "p_spot" in open(os.path.join(WORK, "lists.out.csv")).readline()
    for more in (["class_weights=balanced"], ["loss=focal"], ["mixup=0.2", "cutmix=1"]):
        name = "bits-" + more[0].split("=")[0]
        result = answer(run("train", *BASE, "split=" + BITS, "task=multilabel", "epochs=3", "out=" + name, *more,
                            "--json"))
        assert result["n"] > 10, more


@test
def reports_of_other_tasks():
    for name, words in (("numbers", ["typical error", "Largest errors", "aria-label=\"RMSE\""]), ("lists", ["spot", "every label"])):
        page = open(os.path.join(WORK, name, "report.html")).read()
        for word in words:
            assert word in page, (name, word)
        assert "What it confuses" not in page and " nan" not in page.lower(), name
    assert "both" in run("report", "numbers", "lists", "out=both.html").out


@test
def losses_that_do_not_fit_are_refused():
    base = ["train", *BASE, "epochs=1", "out=never"]
    refused(2, ["loss=ce", "task=regress", "mse, l1 or huber"], *base, "split=" + NUMBERS, "loss=ce")
    refused(2, ["loss=mse", "task=multilabel", "bce or focal"], *base, "split=" + LISTS, "loss=mse")
    refused(2, ["loss=bce", "task=classify", "ce or focal"], *base[:2], "data=" + DATA, "image_size=32", "epochs=1",
            "out=never", "loss=bce")
    refused(2, ["monitor=accuracy", "rmse"], *base, "split=" + NUMBERS, "monitor=accuracy")
    refused(2, ["class_weights", "regress"], *base, "split=" + NUMBERS, "class_weights=balanced")
    refused(2, ["label_smoothing", "multilabel"], *base, "split=" + LISTS, "label_smoothing=0.1")
    refused(2, ["task=regress", "split=FILE.csv"], *base[:2], "data=" + DATA, "epochs=1", "out=never", "task=regress")
    assert not os.path.exists(os.path.join(WORK, "never", "args.yaml"))


@test
def cells_that_do_not_fit_are_refused():
    def table(text):
        path = os.path.join(WORK, "bad.csv")
        open(path, "w").write(text)
        return "split=" + path
    rows = "".join(f"{name},{i}.5\n" for i, (name, *_) in enumerate(facts[:40]))
    base = ["train", *BASE, "epochs=1", "out=never", "batch=8"]
    refused(2, ["bad.csv:42:2", "abc", "number"], *base, table("file,label\n" + rows + "041.png,abc\n"), "task=regress")
    for bad in ["nan", "1e400", "inf", ""]:
        refused(2, ["bad.csv:42:2"], *base, table("file,label\n" + rows + f"041.png,{bad}\n"), "task=regress")
    refused(2, ["bad.csv:3:3", "0 or 1"], *base, table("file,a,b\n000.png,1,0\n001.png,0,2\n"), "task=multilabel")
    refused(2, ["nothing to learn"], *base, table("file,label\n" + "".join(f"{f[0]},7\n" for f in facts[:40])),
            "task=regress")
    refused(2, ["header has no column", "label"], *base, table("file,label\n" + rows), "label_column=lable")
    refused(2, ["weights know"], "eval", "weights=lists", "data=" + PICTURES, table("file,label\n000.png,crack\n"))
    answer(run(*base, table("file,label\n" + rows), "--json"))  # no column split: a part is held out
    assert len(list(csv.reader(open(os.path.join(WORK, "never", "predictions.csv"))))) == 1 + 8


@test
def resume_of_a_regression_is_bitwise():
    words = ["train", *BASE, "split=" + NUMBERS, "save_every=3", "ema=0.9"]
    assert run(*words, "epochs=3", "out=whole").returncode == 0
    assert run(*words, "epochs=3", "out=parts", "time_limit=1ms").returncode == 75
    assert run(*words, "epochs=3", "out=parts", "resume=auto", "time_limit=1h").returncode == 0
    assert content("whole", "model.safetensors") == content("parts", "model.safetensors")
    # Other numbers are other data.
    shutil.copy(NUMBERS, NUMBERS + ".old")
    text = open(NUMBERS).read()
    open(NUMBERS, "w").write(text.replace("1000.000", "1000.001"))
    p = run(*words, "epochs=4", "out=parts", "resume=auto", "time_limit=1h")
    shutil.move(NUMBERS + ".old", NUMBERS)
    expect(p, 2, "data set has changed")


main(needed=["one_number"])
