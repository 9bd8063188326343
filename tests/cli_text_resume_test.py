#!/usr/bin/env python3
"""Texts: a run that was stopped or killed goes on bit for bit, and what the keys of training do.

Rule and helpers: ingot_cli.py, text_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import json
import os
import shutil
import signal
import struct

from ingot_cli import *  # noqa: F403 - the tests' own words
from text_cli import *  # noqa: F403

DROP = [w if not w.startswith("dropout") else "dropout=0.1" for w in LEARN]  # masks are part of what must come again
CLASSIFY, MLM = ["data=" + SINGLE], ["data=" + CORPUS, "task=mlm", "max_length=32"]


def tensors(path):
    """Names and values of a .safetensors file of fp32 numbers."""
    data = content(path)
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    return {name: struct.unpack(f"<{(t['data_offsets'][1] - t['data_offsets'][0]) // 4}f",
                                data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            for name, t in header.items() if name != "__metadata__"}


def last_weights(folder):
    """The newest checkpoint's weights as a file's bytes."""
    steps = sorted(int(n[5:]) for n in os.listdir(place(folder + "/checkpoints")) if n.startswith("step-"))
    answer(run("convert", f"{folder}/checkpoints/step-{steps[-1]}", "last.safetensors", "ema=0", "--json"))
    return content("last.safetensors")


def same(a, b):
    assert last_weights(a) == last_weights(b)
    assert content(a, "model.safetensors") == content(b, "model.safetensors")
    for x, y in zip(log_of(a), log_of(b)):
        for key in ["step", "split", "loss", "lr", "grad_norm"]:
            assert x.get(key) == y.get(key), (key, x, y)
    assert len(log_of(a)) == len(log_of(b))


def by_single_steps(words, out, steps):
    """A run that is stopped after every step and called again."""
    for i in range(steps):
        p = run("train", *DROP, *words, f"steps={steps}", "resume=auto", "out=" + out, "time_limit=1ms")
        assert p.returncode == (75 if i < steps - 1 else 0), p.err[-500:]
    assert f"resumed at step {steps - 1}" in p.err, p.err


@test
def stopped_at_every_step():
    make_texts()
    for name, words in [("classify", CLASSIFY), ("mlm", MLM)]:
        for kind, more in [("", []), ("-deterministic", ["deterministic=1", "threads=1", "accumulate=2", "ema=0.9"])]:
            words_now = [*words, *more, "batch=12"]
            answer(run("train", *DROP, *words_now, "steps=5", "out=" + name + kind, "--json"))
            by_single_steps(words_now, name + kind + "-by-steps", 5)
            same(name + kind, name + kind + "-by-steps")
    # Another number of threads changes nothing where deterministic=1 says so.
    words = [w for w in DROP if not w.startswith("threads")]
    answer(run("train", *words, *MLM, "deterministic=1", "threads=2", "batch=12", "accumulate=2", "ema=0.9", "steps=5",
               "out=mlm-2", "--json"))
    same("mlm-deterministic", "mlm-2")


@test
def killed_and_gone_on():
    for name, words in [("classify", CLASSIFY), ("mlm", MLM)]:
        words = [*DROP, *words, "batch=8", "steps=200", "save_every=25", "keep=9"]
        answer(run("train", *words, "out=whole-" + name, "--json"))
        p = start(*words, "out=killed-" + name)
        wait_for(lambda: os.path.exists(place(f"killed-{name}/checkpoints/step-75/MANIFEST")), p)
        p.kill()
        p.communicate()
        assert not os.path.exists(place(f"killed-{name}/result.json")), "killed too late"
        p = run("train", *words, "out=killed-" + name, "resume=auto", "--json")
        answer(p)
        assert "resumed at step" in p.err
        same("whole-" + name, "killed-" + name)


@test
def two_lengths_in_one_run():
    words = ["task=mlm", "data=" + CORPUS, "max_length=24", "batch=12", "accumulate=2"]
    second = ["max_length2=60", "phase2=0.4"]
    p = run("train", *DROP, *words, *second, "steps=10", "out=two", "--json")
    answer(p)
    assert "second phase from here: windows of up to 60 tokens" in p.err, p.err
    answer(run("train", *DROP, *words, "steps=10", "out=one", "--json"))
    losses = [[r["loss"] for r in log_of(f) if r["split"] == "train"] for f in ("two", "one")]
    assert losses[0][:6] == losses[1][:6] and losses[0][6] != losses[1][6], losses  # the switch is at step 6
    epochs = [r["epoch"] for r in log_of("two")]
    assert epochs == sorted(epochs)
    for i in range(10):
        p = run("train", *DROP, *words, *second, "steps=10", "resume=auto", "out=two-by-steps", "time_limit=1ms")
        assert p.returncode == (75 if i < 9 else 0), p.err[-500:]
    same("two", "two-by-steps")
    # From the second phase back into the first: an older step is the present from then on.
    answer(run("train", *DROP, *words, *second, "steps=10", "save_every=2", "keep=9", "out=two-kept", "--json"))
    for step in (4, 8):
        answer(run("train", *DROP, *words, *second, "save_every=2", "keep=9", "resume=two-kept/checkpoints/step-%d" % step, "--json"))
        assert last_weights("two-kept") == last_weights("two"), step
    # More steps would move the switch, which is passed.
    refused(2, ["max_length2", "12 steps in place of 10"], "train", *DROP, *words, *second, "steps=12", "resume=auto", "out=two")
    refused(2, ["64 positions"], "train", *DROP, *words, "max_length2=65", "steps=10", "out=no1")
    refused(2, ["max_length2=4", "expected 5 to"], "train", *DROP, *words, "max_length2=4", "steps=10", "out=no1")
    refused(2, ["needs its length"], "train", *DROP, *words, "phase2=0.5", "steps=10", "out=no2")
    refused(2, ["leaves no step"], "train", *DROP, *words, *second, "steps=1", "out=no3")
    refused(2, ["task=mlm"], "train", *DROP, *CLASSIFY, "batch=8", "max_length2=60", "steps=10", "out=no4")
    # What was learned at the longer length is used at it.
    assert answer(run("plan", *DROP, *words, *second, "steps=10", "--json"))["bytes"]["total"] > 0
    assert b"60" in content("two", "tokenizer_config.json")


@test
def a_resume_with_other_words_is_refused():
    base = ["train", *DROP, *CLASSIFY, "batch=8", "steps=200", "out=whole-classify", "resume=auto"]
    refused(2, ["max_length: (not set) -> 20"], *base, "max_length=20")
    refused(2, ["layer_decay: 0 -> 0.5"], *base, "layer_decay=0.5")
    refused(2, ["pairs: next -> none"], "train", *DROP, *MLM, "batch=8", "steps=200", "out=whole-mlm", "resume=auto", "pairs=none")
    text = content(SINGLE)
    with open(SINGLE, "ab") as f:
        f.write(b"kkl jj,apple\n")
    refused(2, ["data"], *[w for w in base if w != "steps=200"], "steps=201")
    with open(SINGLE, "wb") as f:
        f.write(text)
    corpus = os.path.join(CORPUS, "b.txt")
    shutil.copy(corpus, place("kept.txt"))
    with open(corpus, "a") as f:
        f.write("\nOne more sentence. And another.\n")
    refused(2, ["data set has changed", "or changed under"], "train", *DROP, *MLM, "batch=8", "steps=201", "out=whole-mlm", "resume=auto")
    shutil.move(place("kept.txt"), corpus)
    # Another vocabulary in the model's folder.
    vocabulary = {name: content(MODEL, name) for name in ("vocab.txt", "tokenizer.json")}
    for name, data in vocabulary.items():
        with open(os.path.join(MODEL, name), "wb") as f:
            f.write(data.replace(WORDS[0].encode(), b"other"))
    refused(2, ["the tokenizer must be"], *[w for w in base if w != "steps=200"], "steps=201")
    for name, data in vocabulary.items():
        with open(os.path.join(MODEL, name), "wb") as f:
            f.write(data)
    # The tokens of a corpus that were lost are made again.
    shutil.rmtree(place("cache/ingot/corpora"))
    answer(run("train", *DROP, *MLM, "batch=8", "steps=201", "out=whole-mlm", "resume=auto", "--json"))


def one_step(out, *more):
    """Weights after a step of plain SGD: differences are gradients times rates."""
    answer(run("train", *BASE, *CLASSIFY, "batch=96", "steps=1", "optimizer=sgd", "momentum=0", "weight_decay=0", "clip=0",
               "schedule=constant", "warmup=0", "lr=0.1", "deterministic=1", "out=" + out, "--json", *more))
    return tensors(out + "/model.safetensors")


def change(a, b, name):
    return max(abs(x - y) for x, y in zip(a[name], b[name]))


@test
def keys_of_training():
    query, word, head = "bert.encoder.layer.{}.attention.self.query.weight", "bert.embeddings.word_embeddings.weight", "classifier.weight"
    begin, plain = one_step("begin", "lr=1e-30"), one_step("plain")
    assert all(change(begin, plain, n) > 0 for n in (head, word, query.format(0)))
    # Two and four micro-batches make the same step.
    for n in (2, 4):
        parts = one_step(f"accumulate{n}", f"accumulate={n}")
        assert max(change(plain, parts, name) for name in plain) < 2e-6 and parts != plain
    frozen = one_step("frozen", "freeze=bert.embeddings.*,*layer.0.*")
    assert change(begin, frozen, word) == 0 == change(begin, frozen, query.format(0))
    assert change(plain, frozen, query.format(1)) < 1e-6 < change(begin, frozen, head)
    scaled = one_step("scaled", "lr_scale=classifier.*:3")
    assert abs(change(begin, scaled, head) / change(begin, plain, head) - 3) < 1e-2
    far, decayed = one_step("far", "lr=10"), one_step("decayed", "lr=10", "layer_decay=0.5")  # far above the weights' last digits
    for name, factor in [(head, 1), (query.format(1), 0.5), (query.format(0), 0.25), (word, 0.125)]:
        assert abs(change(begin, decayed, name) / change(begin, far, name) - factor) < 1e-2 * factor, name
    again = one_step("again", "recompute=1")
    assert max(change(plain, again, name) for name in plain) < 1e-6
    ema = one_step("ema", "ema=0.999")  # the first step's decay is (1 + 1) / (10 + 1) or less: between both
    assert 0 < change(begin, ema, head) < change(begin, plain, head)
    weights = write("weights.csv", ["class,weight", "apple,0", "berry,1", "cherry,1"])
    weighted = one_step("weighted", "class_weights=" + weights)
    assert change(plain, weighted, head) > 1e-6
    refused(2, ["no weight of class", "cherry"], "train", *BASE, *CLASSIFY, "epochs=1", "out=w1",
            "class_weights=" + write("few.csv", ["apple,1", "berry,1"]))
    refused(2, ["matches no tensor"], "train", *BASE, *CLASSIFY, "epochs=1", "out=w2", "lr_scale=conv*:2")
    # Balanced weights of classes that are balanced are no weights.
    balanced = one_step("balanced", "class_weights=balanced")
    assert max(change(plain, balanced, name) for name in plain) < 1e-6


@test
def the_model_folder_may_be_gone():
    # What a run needs of it is in its own folder: config.json and tokenizer, and of weights the checkpoint.
    for weights in ("none", "its own"):
        source = place("folder-" + weights[:4])
        if weights == "none":
            shutil.copytree(MODEL, source)
        else:
            answer(run("convert", "with-none", source, "--json"))
        words = ["model=" + source if w.startswith("model=") else w for w in DROP]
        words = [w for w in words if weights == "none" or w != "weights=none"] + [*CLASSIFY, "batch=12", "steps=6"]
        name = "with-" + weights.replace(" ", "-")
        answer(run("train", *words, "out=" + name, "--json"))
        assert run("train", *words, "out=" + name + "-gone", "time_limit=1ms").returncode == 75
        os.rename(source, source + "-elsewhere")
        p = run("train", f"resume={name}-gone", "time_limit=0", "--json")
        answer(p)
        assert f"model={source} is no longer there" in p.err and "resumed at step 1" in p.err, p.err
        same(name, name + "-gone")


@test
def stops_early():
    p = run("train", *BASE, *CLASSIFY, "batch=8", "epochs=60", "lr=1e-30", "patience=3", "out=early", "--json")
    assert answer(p)["epochs"] < 10 and "stopped early (patience=3)" in p.err, p.err


@test
def every_precision_of_this_machine():
    for precision in ("fp32", "bf16"):
        words = [w for w in LEARN if not w.startswith("precision")]
        p = run("train", *words, *CLASSIFY, "epochs=16", "precision=" + precision, "out=p-" + precision, "--json")
        if p.returncode == 2 and "bf16" in p.err:
            print("bf16: skipped, this processor has none")
            continue
        assert answer(p)["accuracy"] > 0.9, p.err


main(needed=["stopped_at_every_step", "killed_and_gone_on"])
