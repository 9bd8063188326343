#!/usr/bin/env python3
"""Texts from outside: train, eval and predict of every task, and what is refused before the start.

Rule and helpers: ingot_cli.py, text_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import csv
import json
import math
import os
import re
import shutil

from ingot_cli import *  # noqa: F403 - the tests' own words
from text_cli import *  # noqa: F403

FOLDER = {"args.yaml", "environment.json", "log.jsonl", "best", "model.safetensors", "predictions.csv", "report.html",
          "checkpoints", "config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json"}


def learn(data, out, *more):
    """A run, and its answer; the folder holds all that cli.md names and is a model's folder too."""
    result = answer(run("train", *LEARN, "data=" + data, "out=" + out, "--json", *more))
    missing = FOLDER - set(os.listdir(place(out))) - ({"predictions.csv"} if "task=mlm" in more else set())
    assert not missing and result["run"] == out, missing
    return result


def texts_of(name, n):
    with open(place(name), newline="") as f:
        return [row["text"] for row in csv.DictReader(f)][:n]


@test
def classes():
    make_texts()
    result = learn(SINGLE, "single", "epochs=16")
    assert result["accuracy"] > 0.9 and result["n"] == 24, result
    with open(place("single/config.json")) as f:
        config = json.load(f)
    assert config["architectures"] == ["BertForSequenceClassification"] and config["layer_norm_eps"] == 1e-12
    assert config["id2label"] == {str(i): name for i, name in enumerate(FRUIT)}, config
    logits = place("logits.npy")
    found = answer(run("eval", "weights=single", "data=" + SINGLE, "logits=" + logits, "--json"))
    for key in ["n", "loss", "accuracy", "top5", "precision", "recall", "f1", "micro", "weighted", "accuracy_interval",
                "per_class", "confusion", "seconds", "samples_per_second"]:
        assert key in found, key
    assert found["n"] == 120 and found["accuracy"] > 0.9 and found["part"] == "all"
    assert b"(120, 3)" in content(logits)[:128]
    table = run("eval", "weights=single", "data=" + SINGLE).out
    assert "accuracy" in table and "cherry" in table
    lines = answers(run("predict", "weights=single", SINGLE, "--json", "out=said.csv"))
    right = sum(line["label"] == FRUIT[i % 3] for i, line in enumerate(lines))
    assert len(lines) == 120 and right / 120 == found["accuracy"], (right, found["accuracy"])
    assert [line["text"] for line in lines] == texts_of("single.csv", 120)
    assert lines[0]["path"] == "single.csv:2" and abs(sum(t["p"] for t in lines[0]["top"]) - 1) < 1e-6
    with open(place("said.csv"), newline="") as f:
        rows = list(csv.DictReader(f))
    assert [r["label"] for r in rows] == [line["label"] for line in lines] and "" == rows[0]["error"]
    assert {line["label"] for line in answers(run("predict", "weights=single", SINGLE, "--json", "reject=1"))
            if line["p"] < 1} == {"unsure"}
    # A checkpoint, the file alone, and the run folder say the same.
    step = "single/checkpoints/step-%d" % max(int(n[5:]) for n in os.listdir(place("single/checkpoints")))
    for weights in ["single/model.safetensors", step]:
        p = run("predict", "weights=" + weights, SINGLE, "--json")
        assert [line["label"] for line in answers(p)] == [line["label"] for line in lines], weights


@test
def given_weights_are_averaged_by_default():
    def optimizer(*more):
        return answer(run("plan", "model=" + MODEL, "data=" + SINGLE, *more, "--json"))["bytes"]["optimizer"]

    two = optimizer("weights=none", "steps=100")  # moments alone
    assert optimizer("weights=single", "steps=100") * 2 == two * 3
    assert optimizer("weights=single", "steps=99") == optimizer("weights=single", "steps=100", "ema=0") == two


@test
def standard_input_and_bad_lines():
    words = f"{sentence(0)}\n\n{sentence(1)}\n\xff\xfe oops\n".encode("latin-1")
    lines = answers(run("predict", "weights=single", "-", "--json", stdin=words))
    assert [line["path"] for line in lines] == ["-:1", "-:3", "-:4"], lines
    assert [line["label"] for line in lines[:2]] == FRUIT[:2] and lines[2]["label"] in FRUIT
    write("holes.csv", ["text,label", sentence(0) + ",apple", '"  ",berry', sentence(2) + ",cherry"])
    p = run("predict", "weights=single", "holes.csv", "--json", "out=holes-said.csv")
    lines = answers(expect(p, 1, "1 of 3 texts"), 1)
    assert ["error" in line for line in lines].count(True) == 1 and "empty" in str(lines), lines
    with open(place("holes-said.csv"), newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 3 and sum(r["error"] != "" for r in rows) == 1, rows
    found = answer(run("eval", "weights=single", "data=holes.csv", "--json"))
    assert found["n"] == 2 and found["unreadable"] == 1
    refused(2, ["strict=0", "holes.csv:3"], "eval", "weights=single", "data=holes.csv", "strict=1")
    # The table shows the beginning of each text.
    assert "| " + texts_of("single.csv", 1)[0][:20] in run("predict", "weights=single", SINGLE).out


@test
def a_bad_path_keeps_no_text_from_its_answer():
    good, picture = write("good.txt", [sentence(0), sentence(1)]), os.path.join(DATA, "test", "rows", "000.bmp")
    os.makedirs(place("hollow"))
    bad = {"nope.txt": "no such folder or file", write("ragged.csv", ["text,label", "a,b", "c"]): "found 1 cell",
           picture: "NUL byte", "hollow": "found no text", write("blank.csv", ["text,label", '" ",a']): "the text is empty"}
    for path, reason in bad.items():
        for paths in ([path, good], [good, path]):
            p = run("predict", "weights=single", *paths, "--json", "out=bad-paths.csv")
            lines = answers(expect(p, 1, "1 of 3 texts could not be read; the others have their answers\n"), 1)
            at = 0 if paths[0] == path else 2
            assert reason in lines.pop(at)["error"] and [line["label"] for line in lines] == FRUIT[:2], (paths, lines)
            with open(place("bad-paths.csv"), newline="") as f:
                rows = list(csv.DictReader(f))
            assert reason in rows.pop(at)["error"] and [row["label"] for row in rows] == FRUIT[:2], (paths, rows)
    table = expect(run("predict", "weights=single", "nope.txt", good, "hollow"), 1, "2 of 4 texts could not be read").out
    assert table.count("------  error: ") == 2 and len(table.splitlines()) == 4, table
    lines = answers(expect(run("predict", "weights=single", *bad, "--json"), 1, "5 of 5 texts could not be read\n"), 1)
    assert [reason in line["error"] for reason, line in zip(bad.values(), lines)] == [True] * 5, lines
    # Of vectors the file holds rows for those that have one; the line says which path has none.
    p = run("predict", "weights=single", "task=embed", "nope.txt", good, *list(bad)[1:3], "out=bad-paths.npy", "--json")
    lines = answers(expect(p, 1, "3 of 5 texts could not be read"), 1)
    assert ["embedding" in line for line in lines] == [False, True, True, False, False], lines
    assert all("bad-paths.npy" in line["error"] and "no row" in line["error"] for line in lines if "error" in line), lines
    assert len(npy("bad-paths.npy")) == 2


@test
def standard_input_may_hold_no_text():
    """As for pictures: nothing was asked, so that there is no answer and nothing failed."""
    for nothing in (b"", b"\n\n", b" \r\n\t", b"\xef\xbb\xbf"):
        p = run("predict", "weights=single", "-", "--json", "out=nothing.csv", stdin=nothing)
        assert answers(p) == [] and content("nothing.csv").startswith(b"path,") and p.err == "", (nothing, p.out, p.err)
    assert len(answers(run("predict", "weights=single", "-", write("one.txt", [sentence(0)]), "--json", stdin=b""))) == 1
    answers(run("predict", "weights=single", "task=embed", "-", "--json", "out=nothing.npy", stdin=b""))
    assert npy("nothing.npy") == []


@test
def nul_and_bytes_that_are_no_utf8():
    """Input 41: each such place is U+FFFD in what is read and shown, and is counted, whatever the file's form."""
    first, second = sentence(0), sentence(1)
    bad = [first.encode() + b"\0" + second.encode(), b"caf\xe9 " + first.encode(), second.encode()]
    shown = [f"{first}\ufffd{second}", f"caf\ufffd {first}", second]
    table = b"text,label\n" + b"".join(b + b"," + f.encode() + b"\n" for b, f in zip(bad, FRUIT))
    escaped = json.dumps(first)[:-1].encode() + b"\\u0000" + second.encode() + b'"'
    files = {"bad.csv": table, "bad.txt": b"\n".join(bad), "-": b"\n".join(bad),
             "bad.jsonl": b'{"text": %s, "label": "apple"}\n' % escaped +
                          b'{"text": "caf\\ud800 %s", "label": "berry"}\n' % first.encode() +
                          b'{"text": "%s", "label": "cherry"}\n' % second.encode()}
    for name, data in files.items():
        with open(place("bad.out" if name == "-" else name), "wb") as f:
            f.write(data)
        p = run("predict", "weights=single", name, "--json", "out=bad-said.csv", stdin=data if name == "-" else None)
        lines = answers(p)
        assert [line["text"] for line in lines] == shown, (name, lines)
        assert [line.get("invalid") for line in lines] == [1, 1, None], (name, lines)
        assert "2 places of " in p.err and "U+FFFD" in p.err, (name, p.err)
    table = run("predict", "weights=single", "bad.csv").out
    assert f"| {shown[1][:40]}" in table and shown[0][:len(first) + 4] in table, table
    for name in ("bad.csv", "bad.jsonl"):
        p = run("eval", "weights=single", "data=" + name, "--json")
        assert answer(p)["invalid"] == 2 and "2 places of " in p.err, p.err
    clean = run("eval", "weights=single", "data=" + SINGLE, "--json")
    assert answer(clean)["invalid"] == 0 and "U+FFFD" not in clean.err, clean.err
    with open(place("latin.csv"), "wb") as f:
        f.write(b"text,label\n" + b"".join(f"{sentence(i % 3)} \xe9,{FRUIT[i % 3]}\n".encode("latin-1") for i in range(60)))
    p = run("train", *LEARN, "data=latin.csv", "out=latin", "epochs=1", "--json")
    found = answer(p)
    assert found["invalid"] == 60 == found["tokens"]["invalid"] and "60 places of " in p.err, p.err
    with open(place("latin/predictions.csv"), encoding="utf-8", newline="") as f:
        assert all("\ufffd" in row["text"] for row in csv.DictReader(f))
    # Raw text, too.
    os.makedirs(place("raw"))
    with open(place("raw/a.txt"), "wb") as f:
        f.write(b"\n\n".join(b"%s \0 %s \xff." % (first.encode(), second.encode()) for _ in range(40)))
    p = run("train", *LEARN, "data=raw", "task=mlm", "steps=2", "max_length=32", "out=rawrun", "--json")
    assert answer(p)["invalid"] == 80 and "80 places of " in p.err, p.err
    p = run("eval", "weights=rawrun", "data=raw", "--json")
    assert answer(p)["invalid"] == 80 and "80 places of " in p.err, p.err
    # UTF-16 is no UTF-8 with many faults: an error.
    lines = answers(run("predict", "weights=single", "-", "--json", stdin=first.encode("utf-16")), 1)
    assert [line["path"] for line in lines] == ["-"] and "UTF-16" in lines[0]["error"], lines


@test
def pairs_of_texts():
    result = learn(PAIRS, "pairs", "epochs=2")
    assert "accuracy" in result and result["n"] == 32
    lines = answers(run("predict", "weights=pairs", PAIRS, "--json"))
    assert len(lines) == 160 and all(line["text"] and line["text2"] for line in lines)
    # The order of the two texts is seen: types of tokens travel.
    swapped = ["sentence1\tsentence2"] + [f"{line['text2']}\t{line['text']}" for line in lines[:20]]
    other = answers(run("predict", "weights=pairs", write("swapped.tsv", swapped), "--json"))
    assert [x["p"] for x in other] != [x["p"] for x in lines[:20]]
    # What is read as one text where two were learned, or the reverse, would be answered all the same.
    one = write("one.csv", ["text,label", "a b,same", "c d,other"])
    two = write("two.csv", ["text,text2,label", f"a,b,{FRUIT[0]}", f"c,d,{FRUIT[1]}", f"e,f,{FRUIT[2]}"])
    learn(SINGLE, "of-one", "epochs=1")
    for weights, data, texts in [("pairs", one, ["one text a sample", "text2_column="]), ("of-one", two, ["two texts a sample", "text_column="])]:
        refused(2, texts + [data], "eval", "weights=" + weights, "data=" + data)
        refused(2, texts + [data], "data", data, "weights=" + weights)
        line = answers(run("predict", "weights=" + weights, data, "--json"), 1)[0]
        assert all(text in line["error"] for text in texts), line
    assert answer(run("eval", "weights=of-one", "data=" + two, "text_column=text", "--json"))["n"] == 3
    answer(run("convert", "pairs", "said.safetensors", "--json"))
    refused(2, ["one text a sample"], "eval", "weights=said.safetensors", "model=" + MODEL, "data=" + one)


@test
def numbers():
    result = learn(NUMBERS, "numbers", "epochs=25")
    assert result["r2"] > 0.6 and result["rmse"] < 12, result
    found = answer(run("eval", "weights=numbers", "data=" + NUMBERS, "--json"))
    for key in ["mse", "rmse", "mae", "r2"]:
        assert key in found, key
    lines = answers(run("predict", "weights=numbers", NUMBERS, "--json", "out=numbers-said.csv"))
    with open(NUMBERS) as f:
        truth = [json.loads(line)["label"] for line in f]
    error = math.sqrt(sum((line["label"] - t) ** 2 for line, t in zip(lines, truth)) / len(truth))
    assert abs(error - found["rmse"]) < 1e-3, (error, found["rmse"])
    refused(2, ["reject="], "predict", "weights=numbers", NUMBERS, "reject=0.9")
    # For people: what is off by how much, and no key of the JSON.
    table = run("eval", "weights=numbers", "data=" + NUMBERS).out
    assert table.startswith("bert (numbers/model.safetensors) on part all") and "typical error (rmse)" in table, table
    assert f"{found['rmse']:.5g}" in table and f"{found['r2']:.5g}" in table and "samples_per_second" not in table, table
    table = run("train", *LEARN, "data=" + NUMBERS, "steps=2", "out=numbers2").out
    assert "explained (r2)" in table and "next " in table and "tokens" not in table and "bar_width" not in table, table


@test
def several_labels():
    result = learn(LABELS, "labels", "epochs=20")
    assert result["average_precision"] > 0.8, result
    lines = answers(run("predict", "weights=labels", LABELS, "--json", "out=labels-said.csv"))
    assert all(set(line["label"]) <= set(FRUIT) and len(line["top"]) == 3 for line in lines)
    with open(place("labels-said.csv"), newline="") as f:
        rows = list(csv.DictReader(f))
    assert [r["label"] for r in rows] == [";".join(line["label"]) for line in lines]
    found = answer(run("eval", "weights=labels", "data=" + LABELS, "--json"))
    table = run("eval", "weights=labels", "data=" + LABELS).out
    assert f"all labels right {100 * found['accuracy']:.2f} %" in table and "bar_width" not in table, table
    assert [line.split()[0] for line in table.splitlines()[-4:]] == ["label", *FRUIT], table
    assert abs(float(rows[0]["p_apple"]) - next(t["p"] for t in lines[0]["top"] if t["label"] == "apple")) < 1e-4


@test
def tags():
    result = learn(TAGS, "tags", "epochs=10")
    assert result["accuracy"] > 0.9, result
    with open(place("tags/config.json")) as f:
        assert json.load(f)["architectures"] == ["BertForTokenClassification"]
    assert answer(run("eval", "weights=tags", "data=" + TAGS, "--json"))["accuracy"] > 0.9
    lines = answers(run("predict", "weights=tags", TAGS, "--json", "out=tags-said.csv"))
    with open(TAGS) as f:
        sentences = [[w.split() for w in block.splitlines()] for block in f.read().strip().split("\n\n")]
    for line, s in zip(lines, sentences):
        assert [t["word"] for t in line["tags"]] == [w for w, _ in s], (line, s)
    assert len(lines) == len(sentences)
    right = [t["label"] == want for line, s in zip(lines, sentences) for t, (_, want) in zip(line["tags"], s)]
    assert sum(right) / len(right) > 0.9
    with open(place("tags-said.csv"), newline="") as f:
        assert len(list(csv.DictReader(f))) == len(right)
    # What has no tags yet: a text a line, a table, standard input; the words lie between blanks.
    want = [[t["label"] for t in line["tags"]] for line in lines]
    plain = [" ".join(w for w, _ in s) for s in sentences]
    write("plain.txt", plain)
    write("plain.csv", ["text", *plain])
    for path, text in [("plain.txt", None), ("plain.csv", None), ("-", "\n".join(plain).encode())]:
        said = answers(run("predict", "weights=tags", path, "--json", stdin=text))
        assert [[t["label"] for t in line["tags"]] for line in said] == want, path
        assert [line["text"] for line in said] == plain
    refused(2, ["a word and its tag"], "eval", "weights=tags", "data=plain.csv")
    p = run("predict", "weights=tags", "-", "--json", stdin=" ".join(plain[:20]).encode())
    assert "max_length=64" in p.err and 20 < len(answers(p)[0]["tags"]) <= 64, p.err
    # A tokenizer that cuts the first tokens: the last words are those that are answered.
    shutil.copytree(place("tags"), place("tags-left"))
    with open(place("tags/tokenizer_config.json")) as f:
        config = json.load(f)
    with open(place("tags-left/tokenizer_config.json"), "w") as f:
        json.dump(dict(config, truncation_side="left"), f)
    words = " ".join(plain[:20]).split()
    said = answers(run("predict", "weights=tags-left", "-", "--json", stdin=" ".join(words).encode()))[0]["tags"]
    assert 20 < len(said) < len(words) and [t["word"] for t in said] == words[-len(said):], said
    alone = answers(run("predict", "weights=tags", "-", "--json", stdin=" ".join(words[-len(said):]).encode()))[0]["tags"]
    assert [t["label"] for t in said[1:]] == [t["label"] for t in alone[1:]], (said, alone)


@test
def words_without_tokens_have_no_tag():
    # Of a zero-width space the tokenizer leaves nothing; its neighbours keep their tags.
    with open(TAGS) as f:
        sentences = [[w.split() for w in block.splitlines()] for block in f.read().strip().split("\n\n")][:8]
    plain, odd = ([" ".join(gap + w for w, _ in s) for s in sentences] for gap in ("", "\u200b "))
    want, said = (answers(run("predict", "weights=tags", "-", "--json", stdin="\n".join(lines).encode()))
                  for lines in (plain, odd))
    assert [line["tags"] for line in said] == [line["tags"] for line in want]
    # predictions.csv names the words that were scored: behind such ones, and where the first ones were cut off.
    write("odd.conll", [line for s in sentences for w, tag in s for line in ("\u200b " + tag, w + " " + tag)] + [""])
    words = [w for s in sentences for w, _ in s]
    for weights, more in (("tags", []), ("tags-left", ["max_length=12"])):
        learn(TAGS, "odd-" + weights, "weights=" + weights, "tokenizer=" + weights, "val=odd.conll", "steps=1", *more)
        with open(place(f"odd-{weights}/predictions.csv"), newline="") as f:
            scored = [row["text"] for row in csv.DictReader(f)]
        assert scored == (words[-len(scored):] if more else words) and len(scored) > 5, (scored, words)


@test
def tags_are_weighted_by_their_words():
    tags = [line.split()[1] for line in content(TAGS).decode().splitlines() if line.strip()]
    names = sorted(set(tags))
    by_hand = write("by_hand.csv", ["class,weight"] + [f"{t},{len(tags) / (len(names) * tags.count(t))!r}" for t in names])
    shutil.copy(TAGS, place("tags-val.conll"))
    for name, more in (("none", "none"), ("balanced", "balanced"), ("hand", by_hand)):
        result = learn(TAGS, "tags-" + name, "val=tags-val.conll", "steps=2", "class_weights=" + more)
        assert result["train_loss"] > 0, result
    assert content("tags-balanced/model.safetensors") == content("tags-hand/model.safetensors")
    assert content("tags-balanced/model.safetensors") != content("tags-none/model.safetensors")


@test
def masked_words_then_a_task():
    result = learn(CORPUS, "mlm", "task=mlm", "epochs=8", "max_length=48")
    for key in ["loss", "masked_loss", "perplexity", "pair_accuracy"]:
        assert isinstance(result[key], float), key
    assert result["perplexity"] < 190, result
    with open(place("mlm/config.json")) as f:
        assert json.load(f)["architectures"] == ["BertForPreTraining"]
    found = answer(run("eval", "weights=mlm", "data=" + CORPUS, "--json"))
    assert found["task"] == "mlm" and found["perplexity"] < 190 and "perplexity" in run("eval", "weights=mlm", "data=" + CORPUS).out
    # Without pairs the head is another, and what is pre-trained starts a task; the classifier is fresh.
    learn(CORPUS, "mlm2", "task=mlm", "steps=6", "pairs=none", "whole_word=1", "mask_share=0.2")
    with open(place("mlm2/config.json")) as f:
        assert json.load(f)["architectures"] == ["BertForMaskedLM"]
    refused(2, ["seq_relationship", "pairs=none"], "train", "weights=mlm2", "model=mlm2", *LEARN[2:], "task=mlm", "steps=2",
            "data=" + CORPUS, "out=paired")
    for start, out in [("mlm", "after"), ("mlm2", "after2")]:
        p = run("train", "weights=" + start, "model=" + start, *LEARN[2:], "data=" + SINGLE, "out=" + out, "epochs=5", "--json")
        assert answer(p)["accuracy"] > 0.5 and "tensors loaded, with a new head" in p.err, p.err
    # Measured on the part that the run held out, by the pairs that it learned: its own figures.
    for pairs in ("next", "order"):
        words = ["data=" + CORPUS, "seed=9", "split=0.3", "threads=2", "batch=8"]
        here = answer(run("train", *BASE[:-2], *words, "task=mlm", "steps=4", "max_length=48", "pairs=" + pairs, "out=of-" + pairs, "--json"))
        for weights in ("of-" + pairs, f"of-{pairs}/checkpoints/step-4"):
            found = answer(run("eval", "weights=" + weights, *words, "part=val", "--json"))
            assert all(abs(found[k] - here[k]) < 1e-5 * here[k] for k in ("loss", "perplexity", "pair_accuracy")), (pairs, found, here)
    # The next step as train says it.
    p = run("train", *LEARN[1:], "data=" + CORPUS, "model=" + MODEL, "task=mlm", "steps=3", "out=told")
    words = p.out.split("next     ingot ")[1].split("data=")[0].split()
    assert answer(run(*words, "data=" + SINGLE, "epochs=1", "out=told2", "--json"))["epochs"] == 1
    expect(run("predict", "weights=mlm", SINGLE), 2, "pre-trained", "task=embed")


@test
def the_share_of_documents_that_is_held_out():
    """Of pre-training it is a number; a file, or a number that is none, had held out nothing without a word."""
    words = [*LEARN, "task=mlm", "steps=2", "max_length=32", "data=" + CORPUS]
    parts = write("parts.csv", ["file,split", "a.txt,train", "b.txt,val"])
    for split in (parts, "0,1", "0.3abc", "10%", "1", "-0.1", "nan"):
        for call in (["train", *words, "out=no-share"], ["plan", *words], ["eval", "weights=mlm", "data=" + CORPUS]):
            refused(2, ["split=", split + ": pre-training holds out a share", "0.05"], *call, "split=" + split)
    assert not os.path.exists(place("no-share"))
    p = run("train", *words, "split=0", "out=no-val", "--json")
    assert "perplexity" not in answer(p) and "no text window is held out (split=0)" in p.err and "labelled" not in p.err, p.err


@test
def texts_with_nothing_to_mask_are_refused():
    """Another language's vocabulary, or nothing but special tokens: no loss of 0.0000, and no 0/0 at the end."""
    base = [*LEARN, "task=mlm", "steps=2", "max_length=32", "out=unmasked"]
    japanese = "\n\n".join(["日本語のテキスト" * 3] * 60)
    for name, text, share in (("japanese", japanese, "100.0 % of all tokens are [UNK]"), ("special", "[MASK] [SEP]\n\n" * 60, "")):
        os.makedirs(place(name))
        with open(place(name + "/a.txt"), "w", encoding="utf-8") as f:
            f.write(text)
        for words in (["train", *base], ["plan", *base[:-1]], ["eval", "weights=mlm"]):
            said = ["nothing to mask", share, "tokenizer of the texts' language", "windows: they" if words[0] == "eval" else "train part"]
            refused(2, said, *words, "data=" + name)
        refused(2, ["nothing to mask"], "data", "shard", "tokenizer=" + MODEL, "data=" + name, "out=unshards")
    assert not os.path.exists(place("unmasked/args.yaml"))
    # A part of them only is masked where there is something to mask, with the hint that labelled texts get.
    with open(place("japanese/b.txt"), "w") as f:
        f.write("\n\n".join(sentence(0) for _ in range(60)))
    p = run("train", *base, "data=japanese", "pairs=none", "split=0.4", "--json")
    assert answer(p)["loss"] > 0 and " % of the tokens are unknown to the tokenizer" in p.err, p.err
    with open(place("mixed.txt"), "w", encoding="utf-8") as f:
        f.write(japanese + "\n\n" + sentence(0, 30))
    refused(2, ["nothing to mask", "val part", "split=, seed="], "train", *base[:-1], "data=mixed.txt", "pairs=none", "out=x18")


@test
def a_vocabulary_of_its_own():
    words = ["model=bert_tiny", "task=mlm", "data=" + CORPUS, "batch=8", "max_length=32", "steps=2", "threads=2"]
    p = run("train", *words, "vocabulary=290", "out=own", "--json")
    assert answer(p) and "no tokenizer= was given: a vocabulary of 290 lower-case tokens" in p.err, p.err
    # What the verb learns, and what a resume goes on with.
    answer(run("tokenizer", "train", CORPUS, "vocabulary=290", "out=learned", "--json"))
    assert content("own/vocab.txt") == content("learned/vocab.txt")
    again = run("train", *words[:-2], "steps=2", "vocabulary=290", "out=own", "resume=auto", "--json")
    # A narrow encoder is tuned for 20 epochs.
    tuned = answer(run("train", "weights=own", "model=bert_tiny", "data=" + SINGLE, "threads=2", "out=tuned", "--json"))
    assert tuned["epochs"] == 20, tuned
    assert answer(again)["steps"] == 2 and "vocabulary" not in again.err, again.err
    refused(2, ["vocabulary=290", "leave one"], "train", *words, "vocabulary=290", "tokenizer=" + MODEL, "out=own2")
    refused(2, ["vocabulary=290", "task=mlm"], "train", *LEARN, "data=" + SINGLE, "vocabulary=290", "out=own2")
    refused(2, ["absent"], "train", *words[:2], "data=absent", "out=own2")
    refused(2, ["tokenizer=PATH"], "train", "model=bert_tiny", "data=" + SINGLE, "out=own2")


def npy(path):
    data = content(path)
    assert data[:6] == b"\x93NUMPY"
    shape = tuple(int(x) for x in re.search(rb"'shape': \((\d+), (\d+)", data[:128]).groups())
    values = struct.unpack(f"<{shape[0] * shape[1]}f", data[128:])
    return [values[i * shape[1]:(i + 1) * shape[1]] for i in range(shape[0])]


@test
def vectors():
    rows = {}
    for pooling in ("mean", "cls"):
        lines = answers(run("predict", "weights=single", "task=embed", SINGLE, "pooling=" + pooling, "out=v.npy", "--json"))
        rows[pooling] = npy("v.npy")
        assert len(rows[pooling]) == 120 and len(rows[pooling][0]) == 32
        for row, line in zip(rows[pooling], lines):
            assert abs(math.sqrt(sum(x * x for x in row)) - 1) < 1e-5
            assert max(abs(a - b) for a, b in zip(row, line["embedding"])) < 1e-6
    assert rows["mean"] != rows["cls"]
    # Texts of one class are nearer to each other; batches and their order change little.
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    own = sum(dot(rows["cls"][0], rows["cls"][i]) for i in range(3, 120, 3)) / 39
    other = sum(dot(rows["cls"][0], rows["cls"][i]) for i in range(1, 120, 3)) / 40
    assert own > other + 0.1, (own, other)
    answers(run("predict", "weights=single", "task=embed", SINGLE, "pooling=cls", "out=v1.npy", "batch=1", "--json"))
    assert max(abs(a - b) for x, y in zip(npy("v1.npy"), rows["cls"]) for a, b in zip(x, y)) < 1e-4
    refused(2, ["reject="], "predict", "weights=single", "task=embed", SINGLE, "reject=0.5")
    refused(2, ["out=v.csv", "ends in .npy"], "predict", "weights=single", "task=embed", SINGLE, "out=v.csv")
    refused(2, ["out=v.npy", "ends in .csv"], "predict", "weights=single", SINGLE, "out=v.npy")
    # A folder of sentence-transformers says which; what is not built is refused, unless the key says otherwise.
    shutil.copytree(place("single"), place("sentences"))
    os.makedirs(place("sentences/1_Pooling"))
    embed = ["predict", "weights=sentences", "task=embed", SINGLE]
    for said in (["cls_token"], ["mean_tokens"], ["max_tokens"], ["cls_token", "mean_tokens"], []):
        with open(place("sentences/1_Pooling/config.json"), "w") as f:
            json.dump({"word_embedding_dimension": 32,
                       **{"pooling_mode_" + m: m in said for m in ("cls_token", "mean_tokens", "max_tokens")}}, f)
        if said in (["cls_token"], ["mean_tokens"]):
            answers(run(*embed, "out=v2.npy", "--json"))
            assert npy("v2.npy") == rows["cls" if "cls_token" in said else "mean"], said
            answer(run("convert", "sentences", "copy-" + said[0], "--json"))
            answers(run("predict", "weights=copy-" + said[0], *embed[2:], "out=v2.npy", "--json"))
            assert npy("v2.npy") == rows["cls" if "cls_token" in said else "mean"], said
        else:
            refused(2, ["1_Pooling/config.json", "pooling="], *embed)
    answers(run(*embed, "pooling=mean", "out=v2.npy", "--json"))
    assert npy("v2.npy") == rows["mean"]
    # And how long a text may be.
    with open(place("sentences/sentence_bert_config.json"), "w") as f:
        json.dump({"max_seq_length": 6, "do_lower_case": False}, f)
    mean = [*embed, "pooling=mean"]
    assert "sentence_bert_config.json" in run(*mean, "out=v3.npy").err
    answers(run("predict", "weights=single", *mean[2:], "out=v4.npy", "max_length=6", "--json"))
    assert npy("v3.npy") == npy("v4.npy") != rows["mean"]
    answers(run(*mean, "out=v3.npy", "max_length=64", "--json"))
    assert npy("v3.npy") == rows["mean"]
    with open(place("sentences/sentence_bert_config.json"), "w") as f:
        json.dump({"max_seq_length": "6"}, f)
    refused(2, ["sentence_bert_config.json", "max_seq_length"], *mean)
    os.remove(place("sentences/sentence_bert_config.json"))
    os.remove(place("sentences/1_Pooling/config.json"))
    write("sentences/modules.json", [json.dumps([{"type": "sentence_transformers.models." + t} for t in ("Transformer", "Dense")])])
    refused(2, ["modules.json", "Dense", "pooling="], *embed)


POSITIONS = "bert.embeddings.position_embeddings.weight"


@test
def answers_that_are_not_finite_are_errors():
    """NaN is no answer: an error line in every form, and no word of memory."""
    said = "the model's answer is not finite: output 1 of "
    for data in (SINGLE, NUMBERS, LABELS, TAGS):
        name = "nan-" + os.path.basename(data)
        answer(run("train", *LEARN, "data=" + data, "steps=1", "out=" + name, "--json"))
        weights = with_overflow(name + "/model.safetensors", name + "/nan.safetensors", POSITIONS)
        p = run("predict", "weights=" + weights, data, "--json", "out=nan.csv")
        lines = answers(p, 1)
        assert p.err.endswith(f"error: {len(lines)} of {len(lines)} texts could not be answered\n"), p.err[-300:]
        assert "memory" not in p.err and all(said in line["error"] and "label" not in line for line in lines), lines[:2]
        with open(place("nan.csv"), newline="") as f:
            assert [r["error"] for r in csv.DictReader(f)] == [line["error"] for line in lines]
        table = run("predict", "weights=" + weights, data).out
        assert table.count("error: " + said) == len(lines) == len(table.splitlines()), table[:300]
    # Only texts that reach the 31st token are concerned; what cannot be read is another failure.
    weights = with_overflow("single/model.safetensors", "single/late.safetensors", POSITIONS, 30)
    texts = write("late.txt", [sentence(0, 3), sentence(1, 60), sentence(2, 3)])
    for more in ([], ["task=embed", "pooling=mean", "out=late.npy"]):
        lines = answers(expect(run("predict", "weights=" + weights, texts, "nope.txt", "--json", "threads=1", *more), 1,
                               "2 of 4 texts could not be read or answered; the others have their answers\n"), 1)
        assert ["error" in line for line in lines] == [False, True, False, True] and "NaN" in lines[1]["error"], lines
        if more:
            assert len(npy("late.npy")) == 2 and all(len(lines[i]["embedding"]) == 32 for i in (0, 2)), lines
            assert "late.npy" in lines[1]["error"] and all(x == x for row in npy("late.npy") for x in row), lines


@test
def what_contradicts_itself_is_refused():
    base = ["train", *LEARN, "epochs=1"]
    small = dict(CONFIG, vocab_size=100)
    shutil.copytree(MODEL, place("small"))
    with open(place("small/config.json"), "w") as f:
        json.dump(small, f)
    refused(2, [" tokens", "only 100", "another model's"], *base, "model=small", "data=" + SINGLE, "out=x1")
    few = write("few.txt", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"])
    for words in [("eval", "data=" + SINGLE), ("predict", SINGLE), ("train", *LEARN[:1], *LEARN[2:], "data=" + SINGLE, "epochs=1", "out=x16")]:
        refused(2, ["few.txt has 7 tokens", "304", "another model's"], words[0], "weights=single", "tokenizer=" + few, *words[1:])
    refused(2, ["lacks", "[SEP]"], *base, "tokenizer=" + write("none.txt", ["[PAD]", "[UNK]", "[CLS]", "a"]), "data=" + SINGLE, "out=x16")
    refused(2, ["max_length=65", "64 positions"], *base, "max_length=65", "data=" + SINGLE, "out=x2")
    refused(2, ["needs tokenizer=", "ingot tokenizer train"], *base, "model=bert_tiny", "data=" + SINGLE, "out=x3")
    refused(2, ["a table of texts goes with a text model"], "train", "model=resnet20", "data=" + SINGLE, "out=x4", "epochs=1")
    refused(2, ["text"], *base, "data=" + DATA, "out=x5")
    refused(2, ["texts"], "eval", "weights=single", "data=" + DATA)
    refused(2, ["picture"], "train", "model=resnet20", "data=" + CORPUS, "out=x6", "epochs=1")
    refused(2, ["96 training texts", "batch=97"], *base, "data=" + SINGLE, "batch=97", "out=x7")
    wide = dict(CONFIG, hidden_size=48, num_attention_heads=3)
    shutil.copytree(MODEL, place("wide"))
    with open(place("wide/config.json"), "w") as f:
        json.dump(wide, f)
    refused(2, ["[304, 32]", "[304, 48]"], *base, "model=wide", "weights=single", "data=" + SINGLE, "out=x8")
    refused(2, ["config.json"], *base, "model=" + CORPUS, "data=" + SINGLE, "out=x9")
    refused(2, ["weights=none"], *[w for w in base if w != "weights=none"], "data=" + SINGLE, "out=x10")
    refused(2, ["wrong"], *base, "data=" + SINGLE, "text_column=wrong", "out=x11")
    refused(2, ["memory=", "batch"], *base, "data=" + SINGLE, "memory=30MB", "out=x12")
    two = write("two.csv", ["text,label"] + [f"{sentence(i % 2)},{('x', 'y')[i % 2]}" for i in range(40)])
    refused(2, ["head=new"], *[w for w in base if w != "weights=none"], "weights=single", "data=" + two, "out=x13")
    assert answer(run("train", "weights=single", *LEARN[:1], *LEARN[2:], "head=new", "epochs=1", "data=" + two, "out=x14",
                      "--json"))["epochs"] == 1
    refused(2, ["two.csv"], "eval", "weights=single", "data=" + two)
    # A column's name twice; a folder of PyTorch's form; what its config.json asks for and no weights=none would mend.
    refused(2, ["double.csv:1:2", '"text"', "twice"], *base, "data=" + write("double.csv", ["text,text,label", "a,b,x"]), "out=x17")
    shutil.copytree(MODEL, place("torch"))
    with open(place("torch/pytorch_model.bin"), "wb") as f:
        f.write(b"PK\3\4" + bytes(60))
    plain = [w for w in base if w not in ("weights=none", "model=" + MODEL)]
    for words in [(*plain, "model=torch", "data=" + SINGLE, "out=x17"), ("eval", "weights=torch", "data=" + SINGLE)]:
        p = refused(2, ["torch/pytorch_model.bin is ", "python3 -c", "torch.load(", "torch/model.safetensors"], *words)
        assert "weights=none" not in p.err and "MANIFEST" not in p.err, p.err
    shutil.copytree(MODEL, place("relu"))
    with open(place("relu/config.json"), "w") as f:
        json.dump(dict(CONFIG, hidden_act="relu"), f)
    for more in ([], ["weights=none"]):
        p = refused(2, ["relu/config.json", 'hidden_act is "relu"', "gelu"], *plain, *more, "model=relu", "data=" + SINGLE, "out=x17")
        assert "weights=none" not in p.err, p.err
    # Keys of the other kind, and raw text without its task.
    refused(2, ["mixup=0.2", "pictures"], *base, "data=" + SINGLE, "mixup=0.2", "out=x15")
    refused(2, ["whole_word=1", "task=mlm"], *base, "data=" + SINGLE, "whole_word=1", "out=x15")
    refused(2, ["max_length=9", "texts"], "train", "model=resnet20", "data=" + DATA, "max_length=9", "epochs=1", "out=x15")
    refused(2, ["image_size=64"], "eval", "weights=single", "data=" + SINGLE, "image_size=64")
    refused(2, ["image_size=64"], "predict", "weights=single", SINGLE, "image_size=64")
    refused(2, ["task=mlm"], *base, "data=" + CORPUS, "out=x15")
    # What was refused has left nothing but an empty folder at most.
    for i in [*range(1, 14), 15, 16, 17]:
        assert not os.path.exists(place(f"x{i}/args.yaml")), i


@test
def unknown_words_and_long_texts():
    odd = ["text,label"] + [f"{sentence(i % 3)} {'ΩΨ' * 3} {'z' * 300} {sentence(i % 3, 100)},{FRUIT[i % 3]}" for i in range(30)]
    p = run("train", *LEARN, "data=" + write("odd.csv", odd), "epochs=1", "out=odd", "--json")
    about = answer(p)["tokens"]
    assert about["truncated"] == 30 and about["longest"] == 64 and about["unknown_share"] > 0.01, about
    assert "of the tokens are unknown" in p.err and "30 of 30 texts are longer than max_length=64" in p.err, p.err
    assert len(answers(run("predict", "weights=odd", "odd.csv", "--json"))) == 30


main(needed=["classes"])
