#!/usr/bin/env python3
"""In bf16 on a CPU nothing runs on reference code: what `ingot bench kernels list=1` names as fp32 only (losses,
statistics, parameters, moments: ig_on_cpu in runtime/graph/op.h) is fp32 in real trainings of every task, loss and
optimizer, and all else has fast code of 16 bit.

Rule and helpers: ingot_cli.py. Exit 77 where this processor has no bf16. Prints `N passed, N failed`.
"""
from ingot_cli import *  # noqa: F403 - the tests' own words

BASE = ["train", "model=resnet8_mlperf", "image_size=16", "batch=6", "steps=1", "threads=1", "seed=1", "ema=0.9",
        "clip=1", "cache=0", "precision=bf16"]
TEXTS = ["train", "model=bert_tiny", "batch=4", "steps=1", "threads=1", "seed=1", "max_length=32", "precision=bf16"]
SLOW = "reference code"
made = 0


def place(name):
    return os.path.join(WORK, name)


def write(name, *lines):
    with open(place(name), "w") as f:
        f.write("\n".join(lines) + "\n")
    return place(name)


def trained(*words, slow=False):
    global made
    made += 1
    p = expect(run(*words, f"out={place(f'run{made}')}"), 0)
    assert (SLOW in p.err) == slow, f"{words}: {p.err[-900:]}"
    return p


def table():
    """Pictures with numbers and with labels of their own."""
    if not os.path.exists(place("numbers.csv")):
        rng = random.Random(3)
        os.makedirs(place("free"))
        for i in range(24):
            write_png(place(f"free/{i:02d}.png"), pixels(i % 3, rng, 16), 16)
        write("numbers.csv", "file,width", *(f"free/{i:02d}.png,{i % 5 + 0.5}" for i in range(24)))
        write("labels.csv", "file,a,b", *(f"free/{i:02d}.png,{i % 2},{i // 2 % 2}" for i in range(24)))
        make_data(place("classes"), {"train": 8, "val": 2}, side=16)


@test
def references_are_told():  # else the tests below could not fail
    table()
    data = "data=" + place("classes")
    p = trained(*BASE, data, "impl=softmax_xent=softmax_xent_ref", slow=True)
    assert "loss" in p.err.split(SLOW)[1].splitlines()[0], p.err[-600:]
    trained(*BASE, data, "impl=sgd=sgd_ref", "optimizer=sgd", slow=True)  # of the update, too


@test
def pictures_of_every_loss():
    table()
    classes = "data=" + place("classes")
    for more in (["loss=ce"], ["label_smoothing=0.1", "mixup=0.2", "cutmix=1"], ["loss=focal", "dropout=0.2"]):
        trained(*BASE, classes, *more)
    for loss in ("mse", "l1", "huber"):
        trained(*BASE, "data=" + place("numbers.csv"), "task=regress", "loss=" + loss)
    for loss in ("bce", "focal"):
        trained(*BASE, "data=" + place("labels.csv"), "task=multilabel", "label_column=a,b", "loss=" + loss)


@test
def every_optimizer():
    table()
    for name in ("sgd", "adam", "adamw", "rmsprop", "lars", "lamb"):
        trained(*BASE, "data=" + place("classes"), "optimizer=" + name, "accumulate=2")


@test
def texts_of_every_task():
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocab = "tokenizer=" + write("vocab.txt", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters,
                                 *("##" + c for c in letters))
    rng = random.Random(4)
    words = ["".join(rng.choice(letters) for _ in range(rng.randint(2, 6))) for _ in range(60)]
    lines = [" ".join(rng.choice(words) for _ in range(9)) for _ in range(40)]
    trained(*TEXTS, vocab, "data=" + write("kinds.csv", "text,label", *(f"{t},{'xy'[i % 2]}" for i, t in enumerate(lines))))
    trained(*TEXTS, vocab, "data=" + write("rates.csv", "text,label", *(f"{t},{i / 7:.2f}" for i, t in enumerate(lines))),
            "task=regress")
    tagged = [f"{w} {'ON'[i % 2]}" if w else "" for t in lines for i, w in enumerate([*t.split(), ""])]
    trained(*TEXTS, vocab, "data=" + write("tags.conll", *tagged), "task=tag")
    corpus = []
    for i, t in enumerate(lines * 4):
        corpus += [t.capitalize() + "."] + ([""] if i % 8 == 7 else [])
    trained(*TEXTS, vocab, "data=" + write("corpus.txt", *corpus), "task=mlm")


table()
first = run(*BASE, "data=" + place("classes"), "out=" + place("first"))
if first.returncode == 2 and "bf16" in first.err:
    print("skipped: no bf16 here: " + first.err.strip().splitlines()[-1])
    sys.exit(77)
main()
