#!/usr/bin/env python3
"""`ingot data shard`: raw text to NVIDIA's pre-training shards, as a user calls it.

Rule: the files are read by h5py where it is installed (else their own numbers are checked through --json only).
"""
import json
import os
import random
import signal
import sys

try:
    import h5py
except ImportError:
    h5py = None
    source = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    venv = os.path.join(source, "..", "main", ".venv", "bin", "python")
    if os.path.exists(venv) and "INGOT_VENV_TRIED" not in os.environ:
        os.execve(venv, [venv, os.path.abspath(__file__), *sys.argv[1:]], dict(os.environ, INGOT_VENV_TRIED="1"))
    print("h5py is not installed: the files' contents are not looked at")

import ingot_cli as cli
from ingot_cli import answer, expect, refused, run, test

TEXT = os.path.join(cli.WORK, "text")
VOCAB = os.path.join(cli.WORK, "vocab.txt")


def make():
    rng = random.Random(1)
    words = ["".join(rng.choice("abcdefgh") for _ in range(rng.randint(2, 6))) for _ in range(300)]
    with open(VOCAB, "w") as f:
        f.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."] + sorted(set(words))) + "\n")
    os.makedirs(TEXT, exist_ok=True)
    for name in "ab":
        with open(os.path.join(TEXT, name + ".txt"), "w") as f:
            for _ in range(40):
                for _ in range(rng.randint(1, 9)):
                    sentence = " ".join(rng.choice(words) for _ in range(rng.randint(3, 15)))
                    f.write(sentence.capitalize() + ".\n")
                f.write("\n")


def shard(out, *more):
    return run("data", "shard", "data=" + TEXT, "tokenizer=" + VOCAB, "out=" + out, "max_length=48", "--json", *more)


@test
def writes_what_it_says():
    out = os.path.join(cli.WORK, "shards")
    r = answer(shard(out, "rows=50", "epochs=2"))
    files = sorted(os.listdir(out))
    assert files == [f"training_{i:05d}.hdf5" for i in range(r["files"])], files
    assert r["documents"] == 80 and r["unknown"] == 0 and r["max_masked"] == 8, r
    assert r["rows"] > 100 and r["bytes"] == sum(os.path.getsize(os.path.join(out, f)) for f in files)
    if not h5py:
        return
    seen = dict(rows=0, tokens=0, masked=0, random_next=0)
    first = {}
    for name in files:
        with h5py.File(os.path.join(out, name), "r") as f:
            ids, mask, segments = f["input_ids"][:], f["input_mask"][:], f["segment_ids"][:]
            positions, labels, following = f["masked_lm_positions"][:], f["masked_lm_ids"][:], f["next_sentence_labels"][:]
        assert ids.shape[1] == 48 and positions.shape[1] == 8 and len(ids) <= 50
        for i in range(len(ids)):
            n = int(mask[i].sum())
            assert (mask[i][:n] == 1).all() and (ids[i][n:] == 0).all() and (segments[i][n:] == 0).all()
            assert ids[i][0] == 2 and ids[i][n - 1] == 3
            # as NVIDIA's reader: the first position 0 ends the list
            end = int((positions[i] == 0).argmax()) if (positions[i] == 0).any() else 8
            row = ids[i].copy()
            for p, label in zip(positions[i][:end], labels[i][:end]):
                assert 0 < p < n and label > 4
                row[p] = label
            assert (row[:n] == 3).sum() == 2 and (row[:n] == 4).sum() == 0
            seen["tokens"] += n
            seen["masked"] += end
            seen["rows"] += 1
            first.setdefault(row[:8].tobytes(), set()).add(ids[i].tobytes())
        seen["random_next"] += int(following.sum())
    assert all(seen[k] == r[k] for k in seen), (seen, r)
    assert 0.3 < seen["random_next"] / seen["rows"] < 0.7
    assert max(len(v) for v in first.values()) > 1, "the second epoch has other masks"


@test
def the_same_words_give_the_same_files():
    a, b = os.path.join(cli.WORK, "a"), os.path.join(cli.WORK, "b")
    assert answer(shard(a, "seed=5", "threads=1"))["rows"] == answer(shard(b, "seed=5", "threads=2"))["rows"]
    for name in os.listdir(a):
        assert open(os.path.join(a, name), "rb").read() == open(os.path.join(b, name), "rb").read()


@test
def pairs_and_lengths():
    r = answer(shard(os.path.join(cli.WORK, "none"), "pairs=none", "max_masked=3"))
    assert r["random_next"] == 0 and r["max_masked"] == 3
    assert answer(shard(os.path.join(cli.WORK, "order"), "pairs=order", "whole_word=1"))["random_next"] > 0


@test
def are_trained_on():
    """As raw text would be: the same loss falls, a resume is bit for bit, what contradicts the files is refused."""
    out = os.path.join(cli.WORK, "to-train")
    assert answer(shard(out, "rows=60", "epochs=3"))["files"] > 3
    base = ["train", "model=bert_tiny", "task=mlm", "tokenizer=" + VOCAB, "batch=16", "lr=3e-3", "seed=2", "threads=2"]
    words = [*base, "data=" + out, "steps=8"]
    found = answer(run(*words, "out=whole", "--json"))
    assert found["samples"] == "text windows" and found["perplexity"] < 300 and 0 <= found["pair_accuracy"] <= 1, found
    for _ in range(3):
        expect(run(*words, "out=parts", "resume=auto", "time_limit=1ms"), 75)
    answer(run(*words, "out=parts", "resume=auto", "time_limit=1h", "--json"))
    assert cli.content("whole", "model.safetensors") == cli.content("parts", "model.safetensors")
    assert answer(run(*base, "data=" + out, "steps=2", "pairs=none", "out=none2", "--json")).get("pair_accuracy") is None
    whole = answer(run("eval", "weights=whole", "data=" + out, "part=all", "--json"))
    one = answer(run("eval", "weights=whole", "data=" + os.path.join(out, "training_00000.hdf5"), "part=all", "--json"))
    assert whole["perplexity"] < 300 and one["perplexity"] != whole["perplexity"]
    refused(2, ["masked and cut already"], *words, "out=x", "max_length=32")
    refused(2, ["pairs=order"], *words, "out=x", "pairs=order")
    for split in (VOCAB, "0,1", "1.5", "nan"):
        refused(2, ["split=", split + ": pre-training holds out a share"], *words, "out=x", "split=" + split)
    refused(2, ["task=classify"], *[w for w in words if w != "task=mlm"], "task=classify", "out=x")
    short = os.path.join(cli.WORK, "short")
    os.makedirs(short)
    with open(os.path.join(short, "config.json"), "w") as f:
        json.dump(dict(model_type="bert", vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                       intermediate_size=64, max_position_embeddings=24, type_vocab_size=2), f)
    refused(2, ["48 tokens", "24 positions"], "train", "model=" + short, "weights=none", *base[2:], "data=" + out, "steps=2", "out=x")
    small = os.path.join(cli.WORK, "small.txt")
    with open(VOCAB) as f:
        words_of = f.read().split("\n")[:100]
    with open(small, "w") as f:
        f.write("\n".join(words_of) + "\n")
    refused(2, ["vocabulary"], *[w for w in base if "tokenizer" not in w], "tokenizer=" + small, "data=" + out, "steps=2", "out=x")


@test
def stops_when_asked():
    """Exit code 75 with whole files: nothing of another name is left."""
    for number, name in ((signal.SIGTERM, "term"), (signal.SIGINT, "int")):
        out = os.path.join(cli.WORK, "stopped-" + name)
        p = cli.start("shard", "data=" + TEXT, "tokenizer=" + VOCAB, "out=" + out, "max_length=48", "epochs=100000", "rows=64", verb="data")
        cli.wait_for(lambda: os.path.isdir(out) and len(os.listdir(out)) > 2, p)
        p.send_signal(number)
        said = p.communicate()[1].decode()
        assert p.returncode == 75 and "rows; " + out + " holds whole files" in said, (p.returncode, said[-300:])
        files = sorted(os.listdir(out))
        assert files == [f"training_{i:05d}.hdf5" for i in range(len(files))], files


@test
def refusals():
    out = os.path.join(cli.WORK, "refused")
    refused(2, ["data shard needs", "tokenizer="], "data", "shard", "data=" + TEXT)
    refused(2, ["no such file"], "data", "shard", "data=/nowhere.txt", "tokenizer=" + VOCAB, "out=" + out)
    refused(2, [".txt only"], "data", "shard", "data=" + cli.BIN, "tokenizer=" + VOCAB, "out=" + out)
    refused(2, ["vocab"], "data", "shard", "data=" + TEXT, "tokenizer=/nowhere/vocab.txt", "out=" + out)
    for share in ("0", "1"):
        refused(2, [f'mask_share is "{share}"', "above 0, below 1"], "data", "shard", "data=" + TEXT, "tokenizer=" + VOCAB,
                "out=" + out, "mask_share=" + share)
    refused(2, ["max_length=3"], "data", "shard", "data=" + TEXT, "tokenizer=" + VOCAB, "out=" + out, "max_length=3")
    refused(2, ["goes with `ingot data shard`"], "data", TEXT, "data=" + TEXT)
    assert not os.path.exists(out), "a refusal leaves nothing"
    filled = os.path.join(cli.WORK, "filled")
    answer(shard(filled))
    expect(shard(filled), 2, "holds shards already")


if __name__ == "__main__":
    make()
    sys.exit(cli.main())
