#!/usr/bin/env python3
"""Weights of classes, and losses that are not finite: skipped, gone back from, and at last a clear stop.

Rule and helpers: ingot_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import os
import shutil

from ingot_cli import *  # noqa: F403 - the tests' own words

RARE = os.path.join(WORK, "rare")  # two training pictures of checks, twenty of the others
BASE = ["train", "model=resnet20", "data=" + RARE, "batch=4", "augment=none", "lr=0.01", "ema=0", "threads=2",
        "winograd=0", "label_smoothing=0"]


def weights_file(name, **weights):
    path = os.path.join(WORK, name + ".csv")
    with open(path, "w") as f:
        f.write("class,weight\n" + "".join(f"{c},{w}\n" for c, w in weights.items()))
    return "class_weights=" + path


def make_once():
    if os.path.exists(RARE):
        return
    shutil.copytree(DATA, RARE)
    for name in sorted(os.listdir(os.path.join(RARE, "train", "checks")))[2:]:
        os.remove(os.path.join(RARE, "train", "checks", name))


@test
def a_file_of_weights_is_a_table():
    make_once()
    words = [*BASE, "steps=1", "seed=1"]

    def of(text):
        path = os.path.join(WORK, "table.csv")
        with open(path, "wb") as f:
            f.write(text)
        return "class_weights=" + path

    answer(run(*words, weights_file("plain", checks=2.5, rows=1, stripes=0.5), "out=plain", "--json"))
    for i, text in enumerate((b'"checks",2.5\r\n"rows",1\r\n"stripes",0.5\r\n',
                              b"\xef\xbb\xbfchecks,2.5\nrows,1\nstripes,0.5\n", b"name;factor;;\n checks ; 2.5;;\nrows;1;;\nstripes;0.5;;\n;;;\n",
                              b"sep=;\rWeight;Class\r2.5;checks\r1;rows\r0.5;stripes\r")):
        answer(run(*words, of(text), f"out=table{i}", "--json"))
        assert content(f"table{i}", "model.safetensors") == content("plain", "model.safetensors"), text
    for text, parts in ((b"class,weight\nchecks,1\nrows,1\nstripes,1\nchecks,9\n", ["table.csv:5:1", "checks", "row 2 already"]),
                        (b"class;weight\nchecks;2,5\n", ["table.csv:2:2", '"2,5" found', "such as 2.5"]),
                        (b"class,weight\nchecks,1,2\n", ["table.csv:2:3", "the header has 2"]), (b"class\nchecks\n", ["table.csv:1:1", "class,weight"]),
                        (b"", ["table.csv:1:1", "class,weight"])):
        refused(2, parts, *words, of(text), "out=never")


@test
def balanced_is_what_it_says():
    make_once()
    words = [*BASE, "epochs=1", "seed=1"]
    n, classes = 42, {"checks": 2, "rows": 20, "stripes": 20}
    by_hand = weights_file("balanced", **{c: repr(n / (3 * k)) for c, k in classes.items()})
    for name, more in (("none", []), ("balanced", ["class_weights=balanced"]), ("hand", [by_hand])):
        answer(run(*words, *more, "out=" + name, "--json"))
    assert content("balanced", "model.safetensors") == content("hand", "model.safetensors")
    assert content("balanced", "model.safetensors") != content("none", "model.safetensors")
    # What is averaged is the weighted loss: a constant weight changes it by rounding only.
    answer(run(*words, weights_file("fours", checks=4, rows=4, stripes=4), "out=fours", "--json"))
    for a, b in zip(log_of("none"), log_of("fours")):
        assert abs(a["loss"] - b["loss"]) < 2e-3 * max(1, a["loss"]), (a, b)


@test
def a_class_of_weight_0_is_not_learned():
    result = answer(run(*BASE[:2], "data=" + DATA, *BASE[3:], "epochs=4", "seed=2",
                        weights_file("ignored", checks=1, rows=0, stripes=1), "out=ignored", "--json"))
    by_name = {row["name"]: row for row in result["per_class"]}
    assert by_name["rows"]["support"] == 5 and by_name["rows"]["predicted"] == 0, by_name
    assert by_name["checks"]["predicted"] > 0 and by_name["stripes"]["predicted"] > 0, by_name


@test
def weights_that_cannot_be_used_are_refused():
    words = [*BASE, "epochs=1", "out=never"]
    refused(2, ["bad.csv:3", "weight"], *words, weights_file("bad", checks=1, rows="heavy", stripes=1))
    refused(2, ["huge.csv:2", "weight"], *words, weights_file("huge", checks="1e39", rows=1, stripes=1))
    refused(2, ["negative.csv:2"], *words, weights_file("negative", checks=-1, rows=1, stripes=1))
    refused(2, ["few.csv", "stripes"], *words, weights_file("few", checks=1, rows=1))
    refused(2, ["zeros.csv", "above 0"], *words, weights_file("zeros", checks=0, rows=0, stripes=0))


# A weight of 3e38 makes the loss of every batch with one of the two pictures of checks overflow.
POISON = dict(checks="3e38", rows=1, stripes=1)


@test
def one_bad_batch_is_skipped():
    p = expect(run(*BASE, weights_file("poison", **POISON), "nan_limit=3", "epochs=1", "seed=1", "out=skipped"), 0,
               "is not finite; the step is skipped (batch: ")
    assert "back to the last checkpoint" not in p.err
    logged = [r for r in log_of("skipped") if r["split"] == "train"]
    assert len(logged) == 11 and any(r["loss"] is None for r in logged) and any(r["loss"] for r in logged)
    assert "checks/" in p.err.split("(batch: ")[1].split(")")[0], p.err[-900:]


@test
def several_in_a_row_return_to_the_checkpoint():
    words = [*BASE, weights_file("poison", **POISON), "nan_limit=1", "save_every=1", "epochs=2", "seed=2"]
    p = expect(run(*words, "out=returned"), 0, "the loss was not finite 2 times in a row",
               "back to the last checkpoint")
    steps = [(r["split"], r["step"]) for r in log_of("returned")]
    assert len(steps) == len(set(steps)), "a step stands twice in log.jsonl"
    assert [s for split, s in steps if split == "train"] == list(range(1, 22)), steps
    assert p.err.count("back to the last checkpoint") <= 2
    found = answer(run("checkpoint", "verify", "returned", "--json"))["checkpoints"]
    assert all(c["valid"] for c in found) and found[-1]["step"] == 21
    assert answer(run("eval", "weights=returned", "data=" + RARE, "--json"))["n"] == 24


@test
def without_end_the_run_stops_and_names_the_batch():
    poison = weights_file("poison2", checks=1, rows="3e38", stripes="3e38")
    p = expect(run(*BASE, poison, "nan_limit=2", "epochs=2", "seed=1", "out=stopped"), 1,
               "the loss was not finite 3 times in a row (last batch: ", ".png")
    assert "back to" not in p.err  # there is no checkpoint yet
    # With one, from weights that were good: three returns, then the end; the checkpoint stays valid.
    answer(run(*BASE, "epochs=1", "seed=1", "out=good", "--json"))
    p = run(*BASE, "weights=good", "epochs=40", "seed=1", "save_every=1", "nan_limit=1", "out=exploded",
            "schedule=linear", "warmup=400", "lr=1e6")
    expect(p, 1, "back to the last checkpoint", "the last checkpoint is", "last batch: ")
    assert p.err.count("back to the last checkpoint") == 3
    assert all(c["valid"] for c in answer(run("checkpoint", "verify", "exploded", "--json"))["checkpoints"])


main(needed=["balanced_is_what_it_says"])
