#!/usr/bin/env python3
"""The program from outside: tokenizer train, encode, decode; beside Hugging Face's where it is installed.

Rule and helpers: ingot_cli.py. INGOT_DATA: vocabularies and texts (absent: skipped). INGOT_RIVALS_PYTHON or .venv:
tokenizers and transformers (absent: skipped). Prints `N passed, N failed`; exit code 1 where one failed.
"""
import json
import os
import random
import shutil
import subprocess

from ingot_cli import *  # noqa: F403 - the tests' own words

PUBLISHED = os.environ.get("INGOT_DATA") or os.path.join(SOURCE, "..", "shared", "data")
BERT = os.path.join(PUBLISHED, "bert_vocab")
TEXT = """The quick brown fox jumps over the lazy dog.
A quick fox, a lazy dog: the dog sleeps, the fox jumps!

Caf\u00e9s and na\u00efve fa\u00e7ades are where the quick foxes sleep.
"""


def rivals(look):
    python = os.environ.get("INGOT_RIVALS_PYTHON") or os.path.join(SOURCE, ".venv", "bin", "python")
    if not os.path.exists(python) or subprocess.run([python, "-c", look], stderr=subprocess.DEVNULL).returncode:
        print(f"     skipped: {python} cannot {look} (./dev rivals installs it)")
        return None
    return python


def put(name, text):
    path = os.path.join(WORK, name)
    with open(path, "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    return path


def lines(p):
    assert p.returncode == 0, p.err[-700:]
    return [json.loads(x) for x in p.out.splitlines()]


def vocabulary():
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c ##a ##b hello world un ##believ ##able .".split()
    return put("vocab.txt", "\n".join(words) + "\n")


@test
def encode_answers_a_line_a_text():
    v = vocabulary()
    got = lines(run("tokenizer", "encode", "tokenizer=" + v, stdin="Hello W\u00f6rld.\r\n\nunbelievable [MASK]".encode()))
    assert got == [
        {"ids": [2, 10, 11, 15, 3], "tokens": ["[CLS]", "hello", "world", ".", "[SEP]"],
         "offsets": [[0, 0], [0, 5], [6, 11], [11, 12], [0, 0]]},
        {"ids": [2, 3], "tokens": ["[CLS]", "[SEP]"], "offsets": [[0, 0], [0, 0]]},
        {"ids": [2, 12, 13, 14, 4, 3], "tokens": ["[CLS]", "un", "##believ", "##able", "[MASK]", "[SEP]"],
         "offsets": [[0, 0], [0, 2], [2, 8], [8, 12], [13, 19], [0, 0]]},
    ], got
    one, two = put("one.txt", "a\nb\n"), put("two.txt", "c")
    got = lines(run("tokenizer", "encode", one, two, "tokenizer=" + v, "special=0", "--json"))
    assert [g["ids"] for g in got] == [[5], [6], [7]], got
    p = run("tokenizer", "encode", "tokenizer=" + v, "max_length=4", stdin=b"a b \xff c\n")
    assert lines(p)[0]["ids"] == [2, 5, 6, 3] and lines(p)[0]["truncated"] and lines(p)[0]["invalid"] == 1, p.out
    assert "1 byte sequence was not UTF-8" in p.err, p.err
    p = run("tokenizer", "encode", "tokenizer=" + v, "pairs=1", "max_length=6", "truncation=only_second",
            stdin=b"a a\tb b b\n")
    assert lines(p)[0]["ids"] == [2, 5, 5, 3, 6, 3] and lines(p)[0]["types"] == [0, 0, 0, 0, 1, 1], p.out


@test
def decode_is_the_way_back():
    v = vocabulary()
    p = run("tokenizer", "decode", "tokenizer=" + v, "special=0", stdin=b"2 10 11 15 3\n[2, 12, 13, 14, 3]\n\n")
    assert p.out == "hello world.\nunbelievable\n\n", p.out
    p = run("tokenizer", "decode", "tokenizer=" + v, stdin=b"2,10,3")
    assert p.out == "[CLS] hello [SEP]\n", p.out
    p = run("tokenizer", "decode", "tokenizer=" + v, "--json", stdin=b"10\n99\nx\n11\n")
    assert p.returncode == 1, p.returncode
    got = [json.loads(x) for x in p.out.splitlines()]
    assert got[0] == {"text": "hello"} and got[3] == {"text": "world"}, got
    assert "id 99" in got[1]["error"] and '"x"' in got[2]["error"], got
    assert "line 2" in p.err and "2 of 4" in p.err, p.err


@test
def train_writes_a_folder_that_opens():
    text, out = put("text.txt", TEXT * 3), os.path.join(WORK, "trained")
    a = answer(run("tokenizer", "train", text, "vocabulary=120", "out=" + out, "max_length=64", "--json"))
    assert a["vocabulary"] <= 120 and a["files"] == 1 and a["invalid"] == 0 and len(a["fingerprint"]) == 64, a
    p = run("tokenizer", "train", put("latin1.txt", b"caf\xe9 na\xefve\n" * 9), "vocabulary=120", "out=" + out + "-latin1", "--json")
    assert answer(p)["invalid"] == 18 and "18 byte sequences were not UTF-8" in p.err, p.err
    assert sorted(os.listdir(out)) == ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    with open(os.path.join(out, "vocab.txt"), encoding="utf-8") as f:
        words = f.read().split("\n")
    assert words[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] and "quick" in words and "e" in words, words
    assert "\u00e9" not in words
    for name in ["", "vocab.txt", "tokenizer.json"]:
        got = lines(run("tokenizer", "encode", "tokenizer=" + os.path.join(out, name), stdin=b"The QUICK fox"))
        assert got[0]["tokens"] == ["[CLS]", "the", "quick", "fox", "[SEP]"], got
    folder = os.path.join(WORK, "texts", "deep")
    os.makedirs(folder)
    for name in ["texts/a.txt", "texts/deep/b.TXT", "texts/c.md"]:
        put(name, TEXT)
    cased = os.path.join(WORK, "cased")
    a = answer(run("tokenizer", "train", os.path.join(WORK, "texts"), "lowercase=0", "out=" + cased, "--json"))
    assert a["files"] == 2, a
    with open(os.path.join(cased, "vocab.txt"), encoding="utf-8") as f:
        assert "\u00e9" in f.read()


@test
def refusals():
    # A table is no raw text: what would be learned of it are ids, commas and quotes, too.
    for name in ("t.csv", "t.TSV", "t.jsonl", "t.conll"):
        with open(os.path.join(WORK, name), "w") as f:
            f.write("id,text\n1,some words\n")
        p = refused(2, [name, "Raw text is .txt only"], "tokenizer", "train", name, "out=table-vocab")
        assert not os.path.exists(os.path.join(WORK, "table-vocab"))
        assert (".csv > FILE.txt" in p.err) == name.endswith("csv"), p.err
        refused(2, [name, "Raw text is .txt only"], "train", "model=bert_tiny", "task=mlm", "data=" + name, "out=table-run")
    v, text = vocabulary(), put("text.txt", TEXT)
    refused(2, ["tokenizer=", "usage"], "tokenizer", "encode")
    refused(2, ["train, encode and decode"], "tokenizer", "vocab")
    refused(2, ["none.json"], "tokenizer", "encode", "tokenizer=none.json")
    refused(2, ["none.txt"], "tokenizer", "encode", "none.txt", "tokenizer=" + v)
    refused(2, ["no tab", "line 1"], "tokenizer", "encode", "tokenizer=" + v, "pairs=1", stdin=b"a b\n")
    refused(2, ["special tokens alone"], "tokenizer", "encode", "tokenizer=" + v, "max_length=1", stdin=b"a\n")
    refused(2, ["out="], "tokenizer", "train", text)
    refused(2, ["is there already"], "tokenizer", "train", text, "out=" + WORK)
    refused(2, ["name files"], "tokenizer", "train", "out=" + os.path.join(WORK, "x"))
    refused(2, ["no .txt file"], "tokenizer", "train", os.path.join(WORK, "nothing"), "out=" + os.path.join(WORK, "x"))
    refused(2, ["wide.txt", "UTF-16", "iconv"], "tokenizer", "train", put("wide.txt", TEXT.encode("utf-16")), "out=" + os.path.join(WORK, "x"))
    refused(2, ["raise vocabulary="], "tokenizer", "train", text, "vocabulary=20", "out=" + os.path.join(WORK, "x"))
    assert not os.path.exists(os.path.join(WORK, "x"))


RIVAL = """
import json, sys
from tokenizers import BertWordPieceTokenizer, Tokenizer
path = sys.argv[1]
t = Tokenizer.from_file(path) if path.endswith(".json") else BertWordPieceTokenizer(path, lowercase=True)._tokenizer
for line in sys.stdin.buffer.read().decode().split("\\n")[:-1]:
    e = t.encode(line)
    print(json.dumps({"ids": e.ids, "tokens": e.tokens, "offsets": e.offsets}))
"""


def strange_lines(n):
    rng = random.Random(7)
    pools = [range(32, 127)] * 4 + [range(0xA0, 0x250), range(0x300, 0x370), range(0x370, 0x600), range(0x900, 0xE80),
             range(0x1B00, 0x2070), range(0x2000, 0x2C00), range(0x3000, 0x3400), range(0x4E00, 0x4F00),
             range(0xA900, 0xAD00), range(0xF900, 0x10000), range(0x1D150, 0x1D1B0), range(0x1F300, 0x1F700),
             range(0x2B700, 0x2BA00), range(0x2F800, 0x2FA20), range(0xE0000, 0xE0200), range(0x10000, 0x110000)]
    words = ["the", "unbelievable", "[MASK]", "[SEP]", "don't", "\u00c9t\u00e9", "\u0130", "\u03a3", "\ufb01"]
    out = []
    for _ in range(n):
        some = [rng.choice(pools) for _ in range(rng.randint(1, 4))]
        text = ""
        for _ in range(rng.randint(0, 25)):
            kind = rng.random()
            c = rng.choice(rng.choice(some))
            text += " " if kind < 0.15 else rng.choice(words) if kind < 0.25 else \
                "" if 0xD800 <= c < 0xE000 or c in (10, 13) else chr(c)
        out.append(text)
    return out


@test
def same_as_hugging_face():
    python = rivals("import tokenizers")
    if not python:
        return
    if not os.path.isdir(BERT):
        print(f"     skipped: no {BERT} (INGOT_DATA)")
        return
    texts = strange_lines(8000)
    for name in ["corpus/wiki_sentences.txt", "banking77/test.csv", "sst2/dev.tsv"]:
        path = os.path.join(PUBLISHED, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                texts += f.read().split("\n")[:1500]
    stdin = ("\n".join(x.rstrip("\r") for x in texts) + "\n").encode()
    for name in ["bert-base-uncased.vocab.txt", "bert-base-uncased.tokenizer.json"]:
        path = os.path.join(BERT, name)
        ours = run("tokenizer", "encode", "tokenizer=" + path, stdin=stdin).out.splitlines()
        theirs = subprocess.run([python, "-c", RIVAL, path], input=stdin, stdout=subprocess.PIPE,
                                check=True).stdout.decode().splitlines()
        assert len(ours) == len(theirs) == len(texts), (len(ours), len(theirs), len(texts))
        for text, a, b in zip(texts, ours, theirs):
            a = json.loads(a)
            a.pop("invalid", None)
            assert a == json.loads(b), (ascii(text), a, b)
    print(f"     {len(texts)} texts, both kinds of file")


TRAIN_RIVAL = """
import json, sys
from tokenizers import BertWordPieceTokenizer
t = BertWordPieceTokenizer(lowercase=True)
t.train(sys.argv[2:], vocab_size=int(sys.argv[1]), show_progress=False)
print(json.dumps(t.get_vocab()))
"""


@test
def same_vocabulary_as_hugging_face():
    python = rivals("import tokenizers")
    files = [os.path.join(PUBLISHED, "corpus", "gutenberg", n + ".txt") for n in ["carroll-alice", "milton-paradise"]]
    if not python:
        return
    if not os.path.exists(files[0]):
        print(f"     skipped: no {files[0]} (INGOT_DATA)")
        return
    for size in [500, 4000]:
        out = os.path.join(WORK, f"v{size}")
        assert run("tokenizer", "train", *files, f"vocabulary={size}", "out=" + out).returncode == 0
        theirs = json.loads(subprocess.run([python, "-c", TRAIN_RIVAL, str(size), *files], stdout=subprocess.PIPE,
                                           check=True).stdout)
        with open(os.path.join(out, "vocab.txt"), encoding="utf-8") as f:
            ours = f.read().split("\n")[:-1]
        other = set(ours) ^ set(theirs)
        print(f"     {size}: {len(other) // 2} tokens differ, ties at the border")
        # Theirs orders equal counts by the order of a hash table: two of its runs differ as much.
        assert len(ours) == len(theirs) == size and len(other) <= 0.01 * size, sorted(other)[:20]


AUTO = """
import io, json, logging, sys, warnings
warnings.simplefilter("error")
import transformers
log = io.StringIO()
transformers.logging.get_logger().addHandler(logging.StreamHandler(log))
t = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
assert not log.getvalue(), log.getvalue()
print(json.dumps({"ids": t(sys.argv[2])["input_ids"], "max": t.model_max_length, "pad": t.pad_token,
                  "text": t.decode(t(sys.argv[2])["input_ids"], skip_special_tokens=True)}))
"""


@test
def auto_tokenizer_takes_what_was_trained():
    python = rivals("import transformers")
    if not python:
        return
    text = put("text.txt", TEXT * 3)
    line = "The QUICK caf\u00e9 [MASK] zz, foxes!"
    for lower in ["1", "0"]:
        out = os.path.join(WORK, "auto" + lower)
        assert run("tokenizer", "train", text, "vocabulary=150", "lowercase=" + lower, "max_length=77", "out=" + out).returncode == 0
        p = subprocess.run([python, "-c", AUTO, out, line], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert p.returncode == 0 and not p.stderr, p.stderr.decode()[-1500:]
        theirs = json.loads(p.stdout)
        ours = lines(run("tokenizer", "encode", "tokenizer=" + out, stdin=line.encode()))[0]["ids"]
        assert theirs["ids"] == ours and theirs["max"] == 77 and theirs["pad"] == "[PAD]", (theirs, ours)
        back = run("tokenizer", "decode", "tokenizer=" + out, "special=0", stdin=" ".join(map(str, ours)).encode()).out
        assert back == theirs["text"] + "\n", (back, theirs)


@test
def files_that_contradict_each_other_are_told():
    text, out = put("text.txt", TEXT * 3), os.path.join(WORK, "two-minds")
    assert run("tokenizer", "train", text, "vocabulary=150", "out=" + out).returncode == 0
    assert "do_lower_case" not in run("tokenizer", "encode", "tokenizer=" + out, stdin=b"The fox").err
    path = os.path.join(out, "tokenizer_config.json")
    with open(path) as f:
        config = json.load(f)
    put(path, json.dumps(dict(config, do_lower_case=False)))
    csv = put("labels.csv", "text,label\n" + "The fox,a\nThe dog,b\n" * 20)
    for words in [("tokenizer", "encode"), ("tokenizer", "decode"), ("data", csv), ("data", "shard", "data=" + text, "out=" + out + "-shards"),
                  ("train", "model=bert_tiny", "data=" + csv, "epochs=1", "weights=none", "max_length=16", "out=" + out + "-run")]:
        p = run(*words, "tokenizer=" + out, stdin=b"")
        told = [x for x in p.err.splitlines() if path in x]
        assert p.returncode == 0 and len(told) == 1, (words, p.err)
        assert "do_lower_case is false" in told[0] and os.path.join(out, "tokenizer.json") + ": true" in told[0], told
    assert "do_lower_case" not in run("predict", "weights=" + out + "-run", csv).err  # the run folder is of one mind


SAVED = """
import json, sys
import transformers
transformers.logging.set_verbosity_error()
for folder in sys.argv[2:]:
    print(json.dumps(transformers.AutoTokenizer.from_pretrained(folder)(sys.argv[1])["input_ids"]))
"""


@test
def same_as_auto_tokenizer_beside_a_vocabulary():
    """What Transformers 4 saves beside vocab.txt: added tokens, names of special tokens."""
    python = rivals("import transformers")
    if not python:
        return
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] a b new ##tok foo <s> </s> [ ] mask < > x".split()
    cases = {
        "added": {"added_tokens.json": {"NEWTOK": 18, "foo": 9, "<Y>": 19}},
        "special": {"added_tokens.json": {"NEWTOK": 18}, "special_tokens_map.json": {"eos_token": "NEWTOK"}},
        "map": {"special_tokens_map.json": {"cls_token": "<s>", "sep_token": {"content": "</s>", "lstrip": True}}},
        "map-new": {"special_tokens_map.json": {"cls_token": "<y>", "additional_special_tokens": ["<x>"]}},
        "decoder": {"tokenizer_config.json": {"added_tokens_decoder": {
            "18": {"content": "<x>", "lstrip": True, "rstrip": False, "single_word": False, "normalized": False, "special": True},
            "19": {"content": "Foo", "lstrip": False, "rstrip": False, "single_word": True, "normalized": True, "special": False}}},
            "special_tokens_map.json": {"cls_token": "<s>"}, "added_tokens.json": {"b": 77}},
        "further": {"tokenizer_config.json": {"do_lower_case": False, "additional_special_tokens": ["<x>", "NEWTOK"],
                                              "mask_token": {"__type": "AddedToken", "content": "[MASK]", "lstrip": True}}},
    }
    folders = []
    for name, files in cases.items():
        folders.append(os.path.join(WORK, "saved-" + name))
        os.makedirs(folders[-1])
        for file, value in {"config.json": {"model_type": "bert"}, **files}.items():
            put(os.path.join("saved-" + name, file), json.dumps(value))
        put(os.path.join("saved-" + name, "vocab.txt"), "\n".join(words) + "\n")
    text = "a NEWTOK newtok  <x>b foo FOO foox <y> <s>[MASK] [mask]</s> x"
    theirs = subprocess.run([python, "-c", SAVED, text, *folders], stdout=subprocess.PIPE, check=True).stdout.splitlines()
    assert len(theirs) == len(folders)
    for folder, want in zip(folders, theirs):
        ours = lines(run("tokenizer", "encode", "tokenizer=" + folder, stdin=text.encode()))[0]["ids"]
        assert ours == json.loads(want), (folder, ours, want)


SIDES = """
import json, sys
import transformers
transformers.logging.set_verbosity_error()
for folder in sys.argv[1:]:
    t = transformers.AutoTokenizer.from_pretrained(folder)
    for n in range(3, 15):
        print(json.dumps([t("a b a b b a", truncation=True, max_length=n)["input_ids"],
                          t("a b a b b a", "b a hello world", truncation=True, max_length=n)["input_ids"]]))
"""


@test
def the_side_that_is_cut_is_hugging_faces():
    python = rivals("import transformers")
    if not python:
        return
    text = put("sides.txt", "a b hello world\n" * 20)
    assert run("tokenizer", "train", text, "vocabulary=60", "out=side-none").returncode == 0
    folders = []
    for name, config, direction in [("config", "left", None), ("json", None, "Left"), ("both", "right", "Left")]:
        folders.append(os.path.join(WORK, "side-" + name))
        shutil.copytree(os.path.join(WORK, "side-none"), folders[-1])
        for file, key, value in [("tokenizer_config.json", "truncation_side", config), ("tokenizer.json", "truncation", direction and dict(
                direction=direction, max_length=512, strategy="LongestFirst", stride=0))]:
            with open(os.path.join(folders[-1], file)) as f:
                whole = json.load(f)
            put(os.path.join(folders[-1], file), json.dumps(dict(whole, **({key: value} if value else {}))))
    theirs = iter(subprocess.run([python, "-c", SIDES, *folders], stdout=subprocess.PIPE, check=True).stdout.splitlines())
    for folder in folders:
        for n in range(3, 15):
            call = ("tokenizer", "encode", "tokenizer=" + folder, f"max_length={n}")
            ours = [lines(run(*call, stdin=b"a b a b b a"))[0]["ids"],
                    lines(run(*call, "pairs=1", stdin=b"a b a b b a\tb a hello world"))[0]["ids"]]
            assert ours == json.loads(next(theirs)), (folder, n, ours)


main()
