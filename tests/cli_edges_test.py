#!/usr/bin/env python3
"""What a user meets at the edges: nothing to hold out, lists that name a part of what is there, rows that climb out of
the data, comparisons of runs, the first line of progress, closed standard files, figures of what was trained on.

Rule and helpers: ingot_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import re

from ingot_cli import *  # noqa: F403 - the tests' own words

TINY = ["model=resnet8_mlperf", "image_size=16", "threads=1", "seed=1", "augment=none"]


def place(*names):
    return os.path.join(WORK, *names)


def pictures(name, counts, side=16):
    """A folder of class folders c0, c1, ... with so many pictures each."""
    rng = random.Random(5)
    for c, n in enumerate(counts):
        folder = place(name, f"c{c}")
        os.makedirs(folder, exist_ok=True)
        for i in range(n):
            write_png(os.path.join(folder, f"{i:02d}.png"), pixels(c % 3, rng, side), side)
    return place(name)


def text(path):
    with open(path) as f:
        return f.read()


def nothing_was_held_out(words, out, noun):
    p = expect(run(*words, "out=" + out), 0, f"no {noun} is held out", "the weights of the last epoch are kept", "val=")
    said = p.out + p.err
    assert "kept: the weights of the last epoch" in said and "epoch 0" not in said, said[-900:]
    assert json.loads(text(out + "/result.json"))["best_epoch"] is None
    page = text(out + "/report.html")
    for wrong in ("Incomplete", "predictions.csv is missing", "has not finished"):
        assert wrong not in page, wrong
    assert "How good it is, is not known." in page and "weights of the last epoch" in page
    assert os.path.getsize(out + "/model.safetensors") > 1000


@test
def one_picture_a_class_holds_nothing_out():
    data = pictures("ones", [1, 1, 1])
    nothing_was_held_out(["train", *TINY, "data=" + data, "epochs=2", "batch=3", "label_smoothing=0"],
                         place("ones-run"), "picture")


def vocabulary():
    with open(place("vocab.txt"), "w") as f:
        f.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz",
                           *("##" + c for c in "abcdefghijklmnopqrstuvwxyz")]) + "\n")
    return place("vocab.txt")


@test
def one_text_a_class_holds_nothing_out():
    with open(place("texts.csv"), "w") as f:
        f.write("text,label\nthe apple is red,fruit\nthe dog barks loudly,animal\nan iron nail,thing\n")
    nothing_was_held_out(["train", "model=bert_tiny", "tokenizer=" + vocabulary(), "data=" + place("texts.csv"),
                          "epochs=1", "batch=3", "threads=1", "max_length=32"], place("texts-run"), "text")


@test
def a_run_inside_of_its_data_is_resumed():
    data = pictures("home", [6, 6])
    words = ["train", *TINY, "data=.", "batch=4", "label_smoothing=0"]
    for out in (["out=run"], []):  # by default in a folder of runs/
        expect(run(*words, *out, "steps=2", cwd=data), 0)
        expect(run(*words, *out, "steps=3", "resume=auto", cwd=data), 0, "resumed at step 2", "ignored ")
    assert len(os.listdir(place("home", "runs"))) == 1
    expect(run("eval", "weights=run", "data=.", cwd=data), 0, "ignored 2 folders of runs (first: \"run\")")


@test
def data_without_a_training_part_are_named():
    for part, counts in (("val", "train 0, val 12, test 0"), ("test", "train 0, val 0, test 12")):
        pictures(os.path.join("lone-" + part, part), [6, 6])
        data = place("lone-" + part)
        texts = [f"has no training pictures ({counts})", "a folder train", "data="]
        refused(2, texts, "plan", *TINY, "data=" + data)
        refused(2, texts, "train", *TINY, "data=" + data, "out=" + place("lone-run"))
        with open(place("lone.csv"), "w") as f:
            f.write("text,label,split\n" + "".join(f"word {i},{'ab'[i % 2]},{part}\n" for i in range(12)))
        words = ["model=bert_tiny", "tokenizer=" + vocabulary(), "data=" + place("lone.csv"), "max_length=32"]
        refused(2, [f"has no training texts ({counts})", "column split"], "plan", *words)
        refused(2, [f"has no training texts ({counts})"], "train", *words, "out=" + place("lone-run"))
    assert not os.path.exists(place("lone-run"))


def split_of(name, rows):
    with open(place(name), "w") as f:
        f.write("file,split\n" + "".join(f"{path},{part}\n" for path, part in rows))
    return "split=" + place(name)


@test
def pictures_that_a_split_file_leaves_out_are_counted():
    data = pictures("listed", [24, 24, 24])
    rows = [(f"c{c}/{i:02d}.png", "val" if i > 7 else "train") for c in range(3) for i in range(10)]
    split = split_of("thirty.csv", rows)
    note = f"42 pictures of {data} are not listed in the split file and left out (the first is \"c0/10.png\")"
    expect(run("train", *TINY, "data=" + data, split, "steps=1", "batch=8", "out=" + place("thirty")), 0, note)
    expect(run("data", data, split), 0, note)
    every = split_of("all.csv", [(f"c{c}/{i:02d}.png", "train") for c in range(3) for i in range(24)])
    p = expect(run("data", data, every), 0)
    assert "not listed" not in p.err, p.err
    os.symlink(data, os.path.join(data, "c0", "loop"))  # leads back up: counted once
    expect(run("data", data, split), 0, "42 pictures")
    os.remove(os.path.join(data, "c0", "loop"))


@test
def a_class_whose_name_is_not_utf8_is_refused_before_any_work():
    data = pictures("latin", [6, 6])
    words = ["train", *TINY, "data=" + data, "steps=1", "batch=4", "label_smoothing=0", "out=" + place("latin-run")]
    with open(place("latin.csv"), "wb") as f:
        f.write("file,class\n".encode() + b"".join(b"c%d/%02d.png,%s\n" % (c, i, [b"caf\xe9", b"tea"][c])
                                                  for c in range(2) for i in range(6)))
    refused(2, ["latin.csv:2:2: class \"caf\\xe9\" is not UTF-8", "save the file as UTF-8"], *words,
            "split=" + place("latin.csv"))
    os.rename(os.path.join(data, "c0"), os.path.join(data.encode(), b"caf\xe9"))
    refused(2, ["class folder \"caf\\xe9\"", "not UTF-8", "rename the folder"], *words)
    refused(2, ["class folder \"caf\\xe9\"", "not UTF-8"], "plan", *TINY, "data=" + data)
    assert not os.path.exists(place("latin-run"))
    expect(run("data", data), 0, "class folder \"caf\\xe9\"")


@test
def rows_that_leave_the_data_are_named():
    data = pictures("inside", [6, 6])
    pictures("elsewhere", [2])
    rows = [(f"c{c}/{i:02d}.png", "train") for c in range(2) for i in range(6)]
    os.makedirs(place("lists"), exist_ok=True)
    words = ["train", *TINY, "data=" + data, "steps=1", "batch=4", "label_smoothing=0"]
    climb = "../" * 20
    for row, more in (("../elsewhere/c0/00.png", ["lies outside", "data="]),
                      (climb + "etc/passwd", ["lies outside", "data="])):
        split = split_of("lists/climbs.csv", [*rows, (row, "train")])
        expect(run(*words, split, "out=" + place("never")), 2, "climbs.csv:14:1: ", row[-20:], *more)
    found = answer(run("data", data, split, "--json"))  # reads as far as it goes, and names it
    assert "passwd" in json.dumps(found) and "outside" in json.dumps(found), found
    # Inside by a detour, and through a link that the user set, is inside.
    os.symlink(place("elsewhere", "c0"), os.path.join(data, "c2"))
    split = split_of("inside/here.csv", [*rows, ("c1/../c2/00.png", "train"), ("c1/../c2/01.png", "val")])
    expect(run(*words, split, "out=" + place("detour")), 0)
    # A file that is no picture, and alone in its class: row and file, not a folder that nobody made.
    os.makedirs(os.path.join(data, "etc"), exist_ok=True)
    with open(os.path.join(data, "etc", "passwd"), "w") as f:
        f.write("no picture\n")
    split = split_of("inside/odd.csv", [*rows, ("etc/passwd", "train")])
    expect(run(*words, split, "out=" + place("never")), 2, "odd.csv:14: no file of class \"etc\" is a picture",
           "the first is \"etc/passwd\"", "remove their rows")
    assert not os.path.exists(place("never", "log.jsonl"))


@test
def a_comparison_stays_in_the_first_run():
    data, runs = pictures("compared", [6, 6]), [place("run-a"), place("run-b")]
    for run_folder in runs:
        expect(run("train", *TINY, "data=" + data, "steps=1", "batch=4", "label_smoothing=0", "out=" + run_folder), 0)
    own, here = [text(r + "/report.html") for r in runs], place("here")
    os.makedirs(here)
    p = expect(run("report", *runs, cwd=here), 0)
    found = os.path.join(runs[0], "comparison.html")
    assert found in p.out, p.out
    assert "2 runs compared" in text(found) and os.listdir(here) == [], os.listdir(here)
    assert answer(run("report", *runs, "--json", cwd=here))["path"] == found
    expect(run("report", *runs, "out=there.html", cwd=here), 0)
    assert os.listdir(here) == ["there.html"], os.listdir(here)
    refused(2, ["own report", "comparison.html"], "report", *runs, "out=" + runs[1] + "/report.html")
    refused(2, ["own report"], "report", *runs, "out=report.html", cwd=runs[0])
    assert own == [text(r + "/report.html") for r in runs], "a run's own report was replaced"
    # Nor are a run's other files, by whatever verb.
    before = {name: content(runs[0], name) for name in os.listdir(runs[0]) if os.path.isfile(os.path.join(runs[0], name))}
    for name in ("log.jsonl", "args.yaml", "result.json", "predictions.csv"):
        refused(2, [name, "of that run", "another"], "report", runs[0], "out=" + os.path.join(runs[0], name))
    refused(2, ["predictions.csv", "of that run"], "predict", "weights=" + runs[1], data, "out=predictions.csv", cwd=runs[0])
    refused(2, ["report.html", "of that run"], "data", data, "out=" + runs[0] + "/report.html")
    refused(2, ["log.jsonl", "of that run"], "eval", "weights=" + runs[0], "data=" + data, "logits=" + runs[0] + "/log.jsonl")
    assert before == {name: content(runs[0], name) for name in before}, "a run's file was replaced"
    expect(run("report", runs[0], "out=" + runs[0] + "/report.html"), 0)


@test
def names_of_classes_reach_no_terminal_raw():
    data = pictures("raw", [6, 6])
    os.rename(place("raw", "c0"), place("raw", "\x1b[2Jclear"))
    os.rename(place("raw", "c1"), place("raw", "new\nline"))
    out = place("raw-run")
    expect(run("train", *TINY, "data=" + data, "steps=1", "batch=4", "out=" + out), 0)
    for words in (("eval", "data=" + data), ("predict", data)):
        p = run(*words, "weights=" + out)
        assert p.returncode == 0 and "\x1b" not in p.out, p.out
        assert '"\\x1b[2Jclear"' in p.out or '"new\\x0aline"' in p.out, p.out
    labels = {a["label"] for a in answers(run("predict", data, "weights=" + out, "--json"))}
    assert labels <= {"\x1b[2Jclear", "new\nline"}, labels


@test
def a_class_without_a_sample_is_told():
    run_folder = place("three-run")
    expect(run("train", *TINY, "data=" + pictures("three", [6, 6, 6]), "steps=1", "batch=6", "out=" + run_folder), 0)
    whole = run("eval", "weights=" + run_folder, "data=" + place("three"))
    assert whole.returncode == 0 and "no sample" not in whole.out, whole.out
    words = ["eval", "weights=" + run_folder, "data=" + pictures("two", [6, 6])]
    p = run(*words)
    assert "note: 1 of 3 classes has no sample here and counts as 0 in the means of F1, precision, recall" in p.out, p.out
    row = next(line for line in p.out.splitlines() if line.startswith("c2 "))
    assert re.match(r"c2 +0 +no sample  ", row), row
    assert answer(run(*words, "--json"))["per_class"][2]["recall"] == 0  # as scikit-learn has it


def on_a_terminal(*words):
    """Standard error of the program on a terminal of 200 columns: progress rewrites its line there."""
    import fcntl
    import pty
    import termios
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    p = subprocess.Popen([BIN, *words], cwd=WORK, env=dict(ENV, TERM="xterm"), stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert p.wait() == 0, seen[-900:]
    return seen.decode(errors="replace")


def raw_text(name):
    """A folder with a.txt, and a vocabulary beside it."""
    os.makedirs(place(name))
    with open(place(name, "a.txt"), "w") as f:
        f.write("The cat sat. It was dark.\n\n" * 60)
    with open(place(name + ".vocab.txt"), "w") as f:
        f.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "it", "was", "dark", "."]))
    return place(name), place(name + ".vocab.txt")


@test
def what_cannot_be_written_is_refused():
    """Exit 2 before any work, whichever verb it is."""
    data, run_folder = pictures("whole", [6, 6]), place("whole-run")
    texts, vocab = raw_text("whole-texts")
    train = ["train", *TINY, "data=" + data, "batch=4"]
    expect(run(*train, "steps=1", "out=" + run_folder), 0)
    for at in ("/sys/ingot", "/sys/ingot/deep/er", place("whole", "c0", "00.png", "x")):  # not even root may
        for words in ([*train, "steps=1", "out=" + at], ["demo", "out=" + at], ["demo", "text", "out=" + at],
                      ["predict", "weights=" + run_folder, data, "out=" + at + ".csv"],
                      ["eval", "weights=" + run_folder, "data=" + data, "logits=" + at + ".npy"],
                      ["data", data, "out=" + at + ".html"], ["report", run_folder, "out=" + at + ".html"],
                      ["convert", run_folder, at], ["convert", run_folder, at + ".safetensors"], ["convert", run_folder, at + "/step-1"],
                      ["tokenizer", "train", texts, "out=" + at],
                      ["data", "shard", "data=" + texts, "tokenizer=" + vocab, "out=" + at]):
            p = refused(2, [" cannot be "], *words)
            assert "loss" not in p.err and "writes" not in p.err, p.err
    # Of a run folder, a single file.
    os.remove(os.path.join(run_folder, "log.jsonl"))
    os.makedirs(os.path.join(run_folder, "log.jsonl"))
    p = refused(2, ["log.jsonl: Is a directory"], *train, "steps=2", "out=" + run_folder, "resume=auto")
    assert "loss" not in p.err, p.err
    os.makedirs(os.path.join(run_folder, "comparison.html"))
    refused(2, ["comparison.html", "another file by out="], "report", run_folder, run_folder)


@test
def what_may_not_be_read_is_refused():
    """Exit 2, as of what is not there: nothing was begun, and no checkpoint was written."""
    data, run_folder = pictures("secret", [6, 6]), place("secret-run")
    expect(run("train", *TINY, "data=" + data, "steps=1", "batch=4", "out=" + run_folder), 0)
    long = "x" * 300
    for words in (["eval", "weights=" + long, "data=" + data], ["convert", long, "y.safetensors"], ["train", "--config", long],
                  ["tokenizer", "encode", "tokenizer=" + long, "-"], ["train", *TINY, "data=" + data, "weights=" + long]):
        refused(2, ["File name too long" if words[1:2] != TINY[:1] else "does not exist"], *words)
    if os.geteuid() == 0:  # who may read everything
        return
    texts, vocab = raw_text("secret-texts")
    mlm = ["train", "model=bert_tiny", "task=mlm", "tokenizer=" + vocab, "steps=1", "out=never"]
    for secret, words in ((run_folder + "/model.safetensors", ["eval", "weights=" + run_folder, "data=" + data]),
                          (data, ["train", *TINY, "data=" + data, "steps=1", "out=never"]),
                          (data, ["predict", "weights=" + run_folder, data]),
                          (run_folder + "/checkpoints", ["checkpoint", "list", run_folder]),
                          (run_folder + "/checkpoints", ["train", "resume=" + run_folder, *TINY, "data=" + data, "steps=2"]),
                          (texts, [*mlm, "data=" + texts]), (texts + "/a.txt", [*mlm, "data=" + texts]),
                          (texts, ["tokenizer", "train", texts, "out=never"])):
        os.chmod(secret, 0)
        refused(2, ["Permission denied"], *words)
        os.chmod(secret, 0o700)


@test
def closed_standard_files_take_no_messages():
    """Of a program whose standard files are closed no other file gets their numbers, and so its messages."""
    words = f'train {" ".join(TINY)} data={pictures("closed", [6, 6])} batch=6 epochs=100000'
    p = subprocess.Popen(["sh", "-c", f'exec "$0" {words} out={place("closed-run")} <&- >&- 2>&-', BIN], cwd=WORK, env=ENV)
    while p.poll() is None and not os.path.exists(place("closed-run/log.jsonl")):
        time.sleep(0.02)
    assert p.poll() is None, f"exit {p.returncode}"
    held = [os.readlink(f"/proc/{p.pid}/fd/{n}") for n in range(3)]
    p.terminate()
    assert p.wait(LIMIT) == 75 and held == ["/dev/null"] * 3, (p.returncode, held)
    p = subprocess.run(["sh", "-c", 'exec "$0" help >&-', BIN], cwd=WORK, env=ENV, stderr=subprocess.PIPE)
    assert p.returncode == 1 and b"standard output: Bad file descriptor" in p.stderr, p.stderr


@test
def eval_tells_what_was_trained_on():
    """A figure of the pictures that a model was trained on is no figure of new ones, and says so."""
    data, copy, out = pictures("known", [12, 12]), pictures("known-copy", [12, 12]), place("known-run")
    expect(run("train", *TINY, "data=" + data, "split=0.25", "steps=1", "batch=8", "out=" + out), 0)
    note = "the weights were trained on pictures of this part"
    for seen, words in [(True, []), (True, ["part=train", "split=0.25", "seed=1"]),
                        (False, ["part=val", "split=0.25", "seed=1"]), (True, ["part=val", "split=0.25", "seed=2"]),
                        (True, ["part=val", "split=0.5", "seed=1"]), (False, ["data=" + copy])]:
        p = expect(run("eval", "weights=" + out, "data=" + data, *words, "--json"), 0)
        assert (note in p.err) == seen and json.loads(p.out).get("trained_on", False) == seen, (words, p.err)
    step = os.path.join(out, "checkpoints", "step-1")
    expect(run("eval", "weights=" + step, "data=" + data), 0, note)
    expect(run("train", *TINY, "data=" + data, "val=" + copy, "steps=1", "batch=8", "out=" + out + "2"), 0)
    expect(run("eval", "weights=" + out + "2", "data=" + data, "part=val", "split=0.25", "seed=1"), 0, note)
    expect(run("eval", "weights=" + out + "2", "data=" + data, "part=val", "seed=1"), 0, note)
    shutil.copy(os.path.join(out, "model.safetensors"), place("known.safetensors"))  # of what, is not known
    p = expect(run("eval", "weights=" + place("known.safetensors"), "data=" + data), 0)
    assert note not in p.err, p.err
    os.rename(os.path.join(data, "c0"), place("c0"))
    os.makedirs(os.path.join(data, "test"))
    os.rename(place("c0"), os.path.join(data, "test", "c0"))
    os.rename(os.path.join(data, "c1"), os.path.join(data, "test", "c1"))
    p = expect(run("eval", "weights=" + out, "data=" + data), 0)
    assert note not in p.err, p.err


@test
def progress_does_not_count_the_start():
    data = pictures("rates", [64, 64], side=32)
    # The line is rewritten at most twice a second; the first and the last step are always told.
    seen = on_a_terminal("train", "model=resnet20", "image_size=32", "threads=1", "data=" + data, "steps=7", "batch=64",
                         "val=" + pictures("rates-val", [2, 2], side=32), "augment=none", "out=" + place("rates-run"))
    log = {r["step"]: r for r in map(json.loads, text(place("rates-run/log.jsonl")).splitlines()) if r["split"] == "train"}
    lines = {int(m[2]): m[1] for m in re.finditer(r"(epoch \d+ of \d+[^\r\n]*?step (\d+) of 7[^\r\n]*)", seen)}
    assert 1 in lines and 7 in lines, lines
    assert "/s" not in lines[1] and "left" not in lines[1] and "waiting" not in lines[1], lines[1]
    for step, line in lines.items():
        if step == 1:
            continue
        rate = float(re.search(r"([0-9.]+) pictures/s", line)[1])
        assert abs(rate - log[step]["samples_per_second"]) <= 0.02 * rate + 0.1, (line, log[step])
        left = int(re.search(r"0:(\d\d) left", line)[1])
        expected = (log[step]["seconds"] - log[1]["seconds"]) / (step - 1) * (7 - step)
        assert abs(left - expected) <= 1, (line, expected)


main()
