#!/usr/bin/env python3
"""`ingot data` of texts: what it finds in sets with known faults, as JSON, for people and as a page.

Rule and helpers: ingot_cli.py, text_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import os
import re
import shutil

from ingot_cli import *  # noqa: F403 - the tests' own words
from text_cli import *  # noqa: F403


def report(path, *more):
    return answer(run("data", path, "--json", *more))


def codes(r):
    return {f["code"]: f["count"] for f in r["findings"]}


@test
def a_sound_table():
    make_texts()
    r = report(SINGLE, "tokenizer=" + MODEL)
    assert r["texts"] == 120 and r["parts"] == {"train": 96, "val": 24, "test": 0} and r["held_out"], r
    assert r["task"] == "classify" and r["findings"] == r["duplicates"] == r["unreadable"] == [], r
    assert [(c["class"], c["all"]) for c in r["classes"]] == [(name, 40) for name in FRUIT]
    assert r["unit"] == "tokens" and sum(b["train"] + b["val"] for b in r["lengths"]) == 120
    assert r["tokens"]["truncated"] == 0 and r["tokens"]["unknown_share"] == 0 and r["tokens"]["longest"] > 10
    table = run("data", SINGLE).out
    assert "nothing was found" in table and "cherry" in table and "bytes" in table, table
    for path, task in [(PAIRS, "classify"), (NUMBERS, "regress"), (LABELS, "multilabel"), (TAGS, "tag")]:
        r = report(path)
        assert r["task"] == task and r["unit"] == "bytes" and r["texts"] > 100, r
    words = sum(1 for line in content(TAGS).splitlines() if line.strip())
    assert sum(c["all"] for c in report(TAGS)["classes"]) == words


@test
def every_fault_is_named():
    os.makedirs(place("parts"))
    lines = content(SINGLE).decode().splitlines()
    odd = "Ωmega Ψ " * 30
    write("parts/train.csv", lines[:60] + [lines[3], "", '" ",apple', "same here,apple", "same here,berry"] +
          [f"{i} {odd},cherry" for i in range(20)])
    write("parts/test.csv", [lines[0], lines[5], lines[80], lines[81], lines[82]])
    r = report(place("parts"), "tokenizer=" + MODEL, "max_length=32", "out=page.html")
    found = codes(r)
    assert found["leak"] == 1 and found["label_conflict"] == 1 and found["unreadable"] == 1, found
    assert found["duplicates"] >= 1 and found["truncated"] >= 1 and found["unknown"] > 20, found
    assert r["serious"] == 3 and r["unreadable"][0]["path"].startswith("train.csv:"), r
    groups = {tuple(t["path"] for t in g["texts"]): g for g in r["duplicates"]}
    leak = groups[("train.csv:6", "test.csv:2")]
    assert leak["parts"] == ["train", "test"] and not leak["labels_differ"], groups
    assert [g for g in r["duplicates"] if g["labels_differ"]][0]["texts"][0]["label"] == "apple"
    page = content("page.html").decode()
    assert r["report"] == "page.html"
    for words in ["train.csv:6", "labels differ", "stand in the training part"]:
        assert words in page, page[-3000:]
    assert "://" not in page and "<script" not in page
    text = run("data", place("parts")).out
    assert "labels differ" in text and "serious" in text and "the text is empty" in text
    # The same set under the threads and again: the same answer.
    again = report(place("parts"), "tokenizer=" + MODEL, "max_length=32", "threads=1")
    assert {k: v for k, v in again.items() if k not in ("seconds", "report")} == {k: v for k, v in r.items() if k not in ("seconds", "report")}


@test
def what_is_no_set_of_texts():
    write("bare.csv", ["text"] + [sentence(i % 3) for i in range(20)])
    p = run("data", "bare.csv", "--json")
    assert answer(p)["texts"] == 20 and "without labels" in p.err
    refused(2, ["task=mlm"], "data", CORPUS)
    refused(2, ["absent"], "data", "absent.csv")
    refused(2, ["weights="], "data", SINGLE, "weights=" + MODEL)
    refused(2, ["no column"], "data", SINGLE, "text_column=words")
    # Pictures stay pictures, a note and a list beside them or not.
    shutil.copytree(os.path.join(DATA, "train"), place("pictures"))
    write("pictures/README.txt", ["a note"])
    write("pictures/notes.csv", ["text,label", "a,b"])
    assert report(place("pictures"))["pictures"] == 60
    # A folder a class with a file a text.
    for name in FRUIT:
        os.makedirs(place("classes/" + name))
        for i in range(25):
            write(f"classes/{name}/{i}.txt", [sentence(FRUIT.index(name))])
    r = report(place("classes"))
    assert r["texts"] == 75 and [c["all"] for c in r["classes"]] == [25] * 3 and not r["serious"], r


main(needed=["a_sound_table"])
