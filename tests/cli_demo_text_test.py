#!/usr/bin/env python3
"""The program from outside: demo text with tiny settings: what it writes, that it goes on, what it refuses.

Rule and helpers: ingot_cli.py. Prints `N passed, N failed`; exit code 1 where one failed. That pre-training helps is
measured with the demo's own settings, which take minutes.
"""
import os
import shutil

from ingot_cli import *  # noqa: F403 - the tests' own words

OUT = os.path.join(WORK, "demo")
WORDS = ["demo", "text", "out=" + OUT, "samples=120", "epochs=1"]


@test
def demo_text_from_nothing():
    result = answer(run(*WORDS, "--json"))
    assert result["pretrained"]["epochs"] == 1 and result["pretrained"]["masked_loss"] > 0
    for name in ["tuned", "fresh"]:
        assert result[name]["test"]["n"] == 600, result[name]["test"]
        assert len(result[name]["test"]["accuracy_interval"]) == 2
    for path in ["tuned/report.html", "fresh/report.html", "report.html", "data/corpus/documents.txt",
                 "data/messages/train.csv", "data/shown.txt", "data/vocabulary/tokenizer.json"]:
        assert os.path.getsize(os.path.join(OUT, path)) > 100, path
    # Both trainings got the same words but for the weights.
    args = [[x for x in content(OUT, name, "args.yaml").splitlines() if not x.startswith((b"weights:", b"lr_", b"#"))]
            for name in ["tuned", "fresh"]]
    assert args[0] == args[1], set(args[0]) ^ set(args[1])
    assert b"\nweights:" in content(OUT, "tuned", "args.yaml")
    assert b"\nweights:" not in content(OUT, "fresh", "args.yaml")


@test
def what_is_done_is_not_done_again():
    files = [os.path.join(OUT, run, "model.safetensors") for run in ["pretrained", "tuned", "fresh"]]
    before = [os.stat(f).st_mtime_ns for f in files]
    again = run(*WORDS)
    assert again.returncode == 0, again.err[-700:]
    assert before == [os.stat(f).st_mtime_ns for f in files]
    for text in ["pre-trained    accuracy", "fresh weights  accuracy", "95 % interval", "pre-training ",
                 OUT + "/tuned/report.html"]:
        assert text in again.out, text
    assert "by a grammar" in again.err and again.err.count(" % sure") == 10, again.err[-3000:]


@test
def a_vocabulary_that_a_kill_cut_short_is_made_again():
    folder = os.path.join(OUT, "data", "vocabulary")
    before = content(folder, "vocab.txt")
    os.remove(os.path.join(folder, "tokenizer_config.json"))
    with open(os.path.join(folder, "vocab.txt"), "w") as f:
        f.write("[PAD]\n")
    assert run(*WORDS).returncode == 0
    assert content(folder, "vocab.txt") == before


@test
def the_same_seed_gives_the_same_bytes():
    def data(out, seed):
        run("demo", "text", "out=" + os.path.join(WORK, out), "samples=120", "epochs=1", "seed=" + seed, "model=none")
        return [content(WORK, out, "data", f) for f in ["corpus/documents.txt", "messages/train.csv",
                                                        "messages/test.csv", "vocabulary/vocab.txt"]]
    first = data("a", "7")
    assert first == data("b", "7")
    assert all(x != y for x, y in zip(first[:3], data("c", "8")))
    for name in "abc":
        shutil.rmtree(os.path.join(WORK, name))


@test
def refusals():
    refused(2, ["one word too many"], "demo", "text", "more")
    refused(2, ["one word too many", "ingot demo [text]"], "demo", "texts")
    refused(2, ["samples"], "demo", "text", "samples=3")
    os.makedirs(os.path.join(WORK, "mine", "data", "corpus"))
    refused(2, ["not made by the demo"], "demo", "text", "out=" + os.path.join(WORK, "mine"))


main(["demo_text_from_nothing"])
