#!/usr/bin/env python3
"""Slips that must not pass in silence or cost the user a file: tasks of texts on pictures, names that nothing has,
results written over inputs, links that lead in a circle, names that a terminal would obey.

Rule and helpers: ingot_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import codecs
import stat

from ingot_cli import *  # noqa: F403 - the tests' own words

TINY = ["model=resnet8_mlperf", "image_size=16", "threads=1", "seed=1", "augment=none", "steps=1", "batch=4"]
FIRST = os.path.join(WORK, "first")


def place(*names):
    return os.path.join(WORK, *names)


@test
def trains_once():
    expect(run("train", *TINY, "data=" + DATA, "out=" + FIRST), 0)


@test
def tasks_of_texts_are_refused_on_pictures():
    for task in ("tag", "mlm"):
        for verb in ("train", "plan"):
            refused(2, [f"task={task}", "for texts", "classify, regress or multilabel"], verb, *TINY, "data=" + DATA,
                    "task=" + task, *(["out=" + place("never")] if verb == "train" else []))
    assert not os.path.exists(place("never"))


@test
def names_that_nothing_has_are_refused():
    train = ["train", *TINY, "data=" + DATA, "out=" + place("never")]
    refused(2, ["no_decay=zzz*", "matches no tensor of resnet8_mlperf", "the first is "], *train, "no_decay=zzz*")
    refused(2, ["no_decay=zzz*"], *train, "no_decay=*.bias,zzz*")
    # cuda:2^32 was cuda:0; verbs that compute nothing took any word.
    for device in ("foo", "cuda:", "cuda:-1", "cuda:4294967296", "cuda:1x", "CPU"):
        for words in (train, ["doctor"], ["keys"], ["checkpoint", "list", FIRST]):
            refused(2, [f"device={device}: expected auto, cpu, cuda or cuda:N"], *words, "device=" + device)
    refused(2, ["impl", '"xyz"', "list=1"], *train, "impl=xyz=ref")
    refused(2, ["impl", '"xyz"', "list=1"], *train, "impl=conv2d=xyz")
    refused(2, ["impl", '"xyz"', "list=1"], *train, "impl=xyz")
    refused(2, ["impl", '"xyz"'], "predict", "weights=" + FIRST, DATA, "impl=conv2d=auto,xyz")
    assert not os.path.exists(place("never"))
    expect(run(*train[:-1], "out=" + place("named"), "no_decay=*.bias", "impl=conv2d=ref,add=auto"), 0)


@test
def bounds_of_a_key_are_told_in_whole():
    words = ["plan", "model=resnet8_mlperf", "data=" + DATA]
    refused(2, ["seed", '"-1"', "0 to 9007199254740992"], *words, "seed=-1")
    # What 0 means.
    rows = {row["key"]: row["meaning"] for row in answer(run("keys", "train", "--json"))["keys"]}
    for name in ("memory", "time_limit"):
        assert rows[name].endswith("; 0: no limit"), rows[name]
    expect(run("train", *TINY, "data=" + DATA, "memory=0", "time_limit=0", "out=" + place("unlimited")), 0)


@test
def inputs_are_no_place_for_results():
    picture, other = place("mine.png"), place("other.png")
    shutil.copy(os.path.join(DATA, "test", "rows", "001.png"), picture)
    shutil.copy(os.path.join(DATA, "test", "rows", "002.png"), other)
    weights = os.path.join(FIRST, "model.safetensors")
    before = [content(p) for p in (picture, other, weights)]
    refused(2, ["out=", "this command reads"], "predict", "weights=" + FIRST, picture, "out=" + picture)
    refused(2, ["out=", "no result of ingot's"], "predict", "weights=" + FIRST, picture, "out=" + other)
    refused(2, ["logits=", "this command reads"], "eval", "weights=" + weights, "data=" + DATA, "logits=" + weights)
    refused(2, ["logits=", "no result of ingot's"], "eval", "weights=" + FIRST, "data=" + DATA, "logits=" + weights)
    assert before == [content(p) for p in (picture, other, weights)]
    for _ in range(2):  # what a call wrote, the next one may replace
        expect(run("predict", "weights=" + FIRST, picture, "out=" + place("answers.csv")), 0)
        expect(run("eval", "weights=" + FIRST, "data=" + DATA, "logits=" + place("logits.npy")), 0)


@test
def links_and_what_is_no_file_stay():
    """A rename would put a file in their place: once /dev/null was one."""
    picture, fifo, link, behind = (place(n) for n in ("p.png", "fifo.csv", "link.csv", "behind.csv"))
    shutil.copy(os.path.join(DATA, "test", "rows", "001.png"), picture)
    os.mkfifo(fifo)
    open(behind, "w").close()
    os.symlink("behind.csv", link)
    for words in (["predict", "weights=" + FIRST, picture, "out=" + fifo], ["data", DATA, "out=" + fifo],
                  ["eval", "weights=" + FIRST, "data=" + DATA, "logits=" + fifo], ["report", FIRST, "out=" + fifo]):
        refused(2, ["a FIFO; a regular file is expected"], *words)
        assert stat.S_ISFIFO(os.stat(fifo).st_mode), words
    expect(run("predict", "weights=" + FIRST, picture, "out=" + link), 0)
    assert os.path.islink(link) and picture.encode() in content(behind), content(behind)


@test
def paths_of_standard_input_are_lines():
    """Of find's -print0 only the first was answered."""
    picture = os.path.join(DATA, "test", "rows", "001.png")
    refused(2, ["standard input holds a NUL byte"], "predict", "weights=" + FIRST, "-", stdin=f"{picture}\0{picture}\0".encode())


@test
def a_folder_is_predicted_as_train_would_read_it():
    folder = place("walk")
    for name in "ab":
        os.makedirs(os.path.join(folder, name))
        shutil.copy(os.path.join(DATA, "test", "rows", "001.png"), os.path.join(folder, name, "0.png"))
        os.symlink("..", os.path.join(folder, name, "up"))  # two of them: 2 to the power of the depth paths
    shutil.copy(os.path.join(folder, "a", "0.png"), os.path.join(folder, "a", "1.jfif"))
    with open(os.path.join(folder, "a", "2.gif"), "wb") as f:
        f.write(b"GIF89a" + b"\0" * 32)
    p = run("predict", "weights=" + FIRST, folder, "--json", timeout=60)
    rows = answers(p, 1)
    assert [os.path.relpath(r["path"], folder) for r in rows] == ["a/0.png", "a/1.jfif", "a/2.gif", "b/0.png"], rows
    assert ["error" in r for r in rows] == [False, False, True, False], rows


@test
def a_yaml_file_may_begin_with_a_byte_order_mark():
    with open(place("mark.yaml"), "wb") as f:
        f.write(codecs.BOM_UTF8 + b"steps: 1\nlr: 0.125\n")
    found = answer(run("plan", *TINY[:-2], "batch=4", "data=" + DATA, "config=" + place("mark.yaml"), "--json"))
    assert found, found


@test
def what_was_skipped_is_counted():
    data = shutil.copytree(DATA, place("skips"))
    for name in ("x.png", "y.png"):
        with open(os.path.join(data, "train", "rows", name), "w") as f:
            f.write("junk")
    assert answer(run("train", *TINY, "data=" + data, "out=" + place("skipped"), "--json"))["unreadable"] == 2


def write_tiff(path, kinds, side=32):
    """A grey page for each kind: 0 a page, 1 a thumbnail."""
    data, ifds, n = b"", b"", 9
    for i, kind in enumerate(kinds):
        at, here = 8 + len(kinds) * (2 + 12 * n + 4) + len(data), 8 + len(ifds)
        following = here + 2 + 12 * n + 4 if i + 1 < len(kinds) else 0
        tags = ((254, kind), (256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, at), (278, side), (279, side * side))
        ifds += struct.pack("<H", n) + b"".join(struct.pack("<HHII", t, 4 if t != 258 else 3, 1, v) for t, v in tags)
        ifds += struct.pack("<I", following)
        data += bytes(range(side)) * side
    with open(path, "wb") as f:
        f.write(b"II*\0" + struct.pack("<I", 8) + ifds + data)


@test
def pages_behind_the_first_are_told_once():
    data = make_data(place("paged"), {"train": 4, "val": 2})
    for name, kinds in (("a.tif", (0, 0, 0)), ("b.tif", (0,)), ("c.tif", (0, 1)), ("d.tif", (0, 1, 0))):
        write_tiff(os.path.join(data, "train", "rows", name), kinds)
    told = 'ignored all pages but the first of 2 pictures (the first such: "train/rows/a.tif")\n'
    for words in (["train", "model=resnet20", "data=" + data, "out=paged-run", "epochs=2", "batch=4"], ["data", data]):
        p = expect(run(*words), 0, told)
        assert p.err.count("pages") == 1 and "skipped" not in p.err, p.err
    assert answer(run("data", data, "--json", "--quiet"))["warnings"] == [told[:-1]]


@test
def an_answer_that_is_not_finite_is_an_error():
    weights = with_overflow("first/model.safetensors", "first/inf.safetensors", "fc.weight")
    picture = os.path.join(DATA, "test", "rows", "001.png")
    p = expect(run("predict", "weights=" + weights, picture, "none.png", "--json"), 1, "2 of 2 pictures could not be read or answered\n")
    lines = answers(p, 1)
    assert "not finite" in lines[0]["error"] and "precision=fp32" in lines[0]["error"] and "none.png" in lines[1]["error"], lines


@test
def a_terminal_obeys_no_name():
    p = run("predict", "weights=" + FIRST, "no\033[31m\nx.png")
    assert p.returncode == 1 and "\033" not in p.out + p.err, (p.out, p.err)
    assert len(p.out.splitlines()) == 1, p.out
    p = refused(2, ["cannot"], "predict", "weights=" + place("no\033[31mweights.safetensors"), DATA)
    assert "\033" not in p.err, p.err


def with_classes(names, out):
    """The first run's weights, their rows said to be of these classes (as long a text as the own names)."""
    path = os.path.join(FIRST, "model.safetensors")
    old, new = (json.dumps(json.dumps(n, separators=(",", ":")))[1:-1].encode() for n in (CLASSES, names))
    data = content(path)
    assert len(old) == len(new) and data.count(old) == 1, (old, new)
    with open(place(out), "wb") as f:
        f.write(data.replace(old, new))
    return place(out)


@test
def a_loaded_classifier_keeps_its_classes():
    order = ["rows", "stripes", "checks"]
    turned = with_classes(order, "turned.safetensors")
    p = expect(run("train", *TINY, "data=" + DATA, "weights=" + turned, "lr=1e-9", "out=" + place("kept")), 0)
    assert "does not start from theirs" not in p.err, p.err
    header = content("kept", "model.safetensors")
    assert json.dumps(json.dumps(order, separators=(",", ":")))[1:-1].encode() in header[:8192]
    others = with_classes(["chicks", "rows", "stripes"], "others.safetensors")
    p = expect(run("train", *TINY, "data=" + DATA, "weights=" + others, "lr=1e-9", "out=" + place("afresh")), 0,
               'class 0: "chicks" there, "checks" here', "does not start from theirs", "with a new head")


@test
def a_loaded_head_of_numbers_keeps_its_units():
    def table(name, scale, shift):
        with open(place(name), "w") as f:
            f.write("file,split,size\n")
            for part, n in (("train", 20), ("val", 5)):
                for c, label in enumerate(CLASSES):
                    for i in range(n):
                        f.write(f"{part}/{label}/{i:03d}{('.bmp', '.png', '.png')[i % 3]},{part},{scale * (c + 0.5) + shift}\n")
        return ["data=" + DATA, "split=" + place(name), "label_column=size", "task=regress"]
    one, other = table("one.csv", 1, 0), table("other.csv", 10, 300)
    expect(run("train", *TINY, *one, "out=" + place("one")), 0)
    far = answer(run("eval", "weights=" + place("one"), *other[:3], "part=val", "--json"))["rmse"]
    assert far > 250, far  # answers near 1.5 where 315 is meant
    expect(run("train", *TINY, *other, "weights=" + place("one"), "lr=1e-12", "ema=0", "out=" + place("two")), 0)
    still = answer(run("eval", "weights=" + place("two"), *other[:3], "part=val", "--json"))["rmse"]
    assert abs(still - far) < 0.1 * far, (far, still)


@test
def two_texts_need_two_token_types():
    model, words = place("types"), ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue"]
    os.makedirs(model)
    with open(os.path.join(model, "vocab.txt"), "w") as f:
        f.write("\n".join(words) + "\n")
    with open(os.path.join(model, "config.json"), "w") as f:
        json.dump({"model_type": "bert", "vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1,
                   "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32,
                   "type_vocab_size": 1}, f)
    with open(place("pairs.csv"), "w") as f:
        f.write("text,text2,label\n" + "red,green,a\nblue,red,b\n" * 8)
    with open(place("lines.txt"), "w") as f:
        f.write("red green. blue red.\n\ngreen blue. red red.\n\n" * 20)
    words = ["train", "model=" + model, "weights=none", "threads=1", "steps=1", "batch=4", "out=" + place("types-run")]
    refused(2, ["two texts", "type_vocab_size"], *words, "data=" + place("pairs.csv"))
    refused(2, ["type_vocab_size", "pairs=none"], *words, "task=mlm", "data=" + place("lines.txt"))


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


@test
def heads_and_models_that_are_not_ours_are_named():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue"]
    with open(place("heads.txt"), "w") as f:
        f.write("\n".join(words) + "\n")
    with open(place("heads.csv"), "w") as f:
        f.write("text,label\n" + "red green,a\nblue red,b\n" * 8)
    expect(run("train", "model=bert_tiny", "threads=1", "steps=1", "batch=4", "tokenizer=" + place("heads.txt"),
               "data=" + place("heads.csv"), "out=" + place("heads")), 0)
    # As Transformers would write it: no metadata of ours, so config.json speaks.
    weights = content("heads", "model.safetensors")
    n = struct.unpack("<Q", weights[:8])[0]
    header = json.loads(weights[8:8 + n])
    del header["__metadata__"]
    os.remove(place("heads", "model.safetensors"))
    write_safetensors(place("heads", "model.safetensors"), header, weights[8 + n:])
    config = json.loads(content("heads", "config.json"))

    def predict(**more):
        with open(place("heads", "config.json"), "w") as f:
            json.dump({**config, **more}, f)
        return run("predict", "weights=" + place("heads"), place("heads.csv"), "--json")
    named = predict(_name_or_path="me/BertForTokenClassification-x")
    assert all(row["label"] in "ab" for row in answers(named)), named.out
    for names, found in ({"0": "a", "1": "b", "2": "c"}, "3 names"), ({"0": "a"}, "1 name"):
        expect(predict(id2label=names), 2, f"heads/config.json: id2label: {found} found", "heads/model.safetensors has 2 classes", "mend it")
    assert all(row["label"] in "01" for row in answers(predict(id2label={})))
    expect(predict(id2label=["a", "b"]), 2, "heads/config.json: id2label: an object", '{"0": "no"}')
    expect(predict(architectures=["BertForMultipleChoice"]), 2, "BertForMultipleChoice", "BertForSequenceClassification")
    # A tokenizer that is another model's is told and left behind.
    expect(predict(), 0)
    os.remove(place("heads", "tokenizer.json"))
    with open(place("heads", "vocab.txt"), "a") as f:
        f.write("one\ntoo\nmany\n")
    expect(run("convert", place("heads"), place("heads-out")), 0, "no tokenizer is written", "it is another model's")
    assert sorted(os.listdir(place("heads-out"))) == ["config.json", "model.safetensors"], os.listdir(place("heads-out"))
    os.makedirs(place("roberta"))
    write_safetensors(place("roberta", "model.safetensors"),
                      {"roberta.x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4)
    with open(place("roberta", "config.json"), "w") as f:
        json.dump({"model_type": "roberta"}, f)
    for verb, word in (("predict", place("heads.csv")), ("eval", "data=" + place("heads.csv"))):
        refused(2, ['model_type "roberta"', "only bert"], verb, "weights=" + place("roberta"), word)


main(needed=["trains_once"])
