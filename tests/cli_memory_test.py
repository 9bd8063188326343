#!/usr/bin/env python3
"""What `ingot plan` says of memory and time, against whole runs of `train`.

Rule and helpers: ingot_cli.py. The peak is the kernel's (VmHWM); the program's own is what bench calls idle_bytes.
"""
from ingot_cli import *  # noqa: F403 - the tests' own words

SIDE, ZOOM = 32, 12
BIG = os.path.join(WORK, "big")  # 60 training pictures of 384 x 384: 25 MiB decoded


def make_big_pictures():
    rng = random.Random(7)
    for part, count in {"train": 20, "val": 4}.items():
        for number, name in enumerate(CLASSES):
            place = os.path.join(BIG, part, name)
            os.makedirs(place)
            for i in range(count):
                rows = [b"".join(r[3 * x:3 * x + 3] * ZOOM for x in range(SIDE)) for r in pixels(number, rng, SIDE)]
                write_bmp(os.path.join(place, f"{i:03d}.bmp"), [r for r in rows for _ in range(ZOOM)], SIDE * ZOOM)


# 120 sentences of ten words out of 64, in two classes by their first word; 8 to 12 tokens each.
TEXTS, VOCAB = os.path.join(WORK, "texts.csv"), os.path.join(WORK, "vocab.txt")


def make_texts():
    rng, words = random.Random(9), [chr(97 + i // 26) + chr(97 + i % 26) for i in range(64)]
    with open(VOCAB, "w") as f:
        f.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    with open(TEXTS, "w") as f:
        f.write("text,category\n")
        for i in range(120):
            f.write(" ".join([words[i % 2], *rng.choices(words[2:], k=rng.randrange(5, 10))]) + f",class{i % 2}\n")


CASES = {
    "kept": ["model=resnet18", "image_size=96", "batch=12", "cache=0", "recompute=0"],
    "cached": ["model=resnet18", "image_size=96", "batch=12", "cache=200MB"],
    "deep": ["model=resnet50", "image_size=64", "batch=10", "cache=0", "recompute=1"],
    "texts": ["model=bert_mini", "data=" + TEXTS, "tokenizer=" + VOCAB, "batch=8"],
    "averaged": ["model=resnet20", "image_size=128", "batch=30", "cache=200MB", "optimizer=adamw", "ema=0.99"],
}


# Small batches: what libraries and the heap take weighs most there.
CASES_BF16 = {
    "small bf16": ["model=resnet18", "image_size=96", "batch=4", "cache=0"],
    "texts bf16": ["model=bert_mini", "data=" + TEXTS, "tokenizer=" + VOCAB, "batch=4"],
}


def plan_and_run(name, words, precision="fp32"):
    if not any(w.startswith("data=") for w in words):
        words = ["data=" + BIG, *words]
    words = ["epochs=1", "seed=3", "precision=" + precision, *words]
    plan = answer(run("plan", *words, "--json"))
    result = answer(run("train", *words, "out=" + os.path.join(WORK, "memory-" + name), "--json"))
    idle = answer(run("bench", "step", "model=resnet20", "batch=1", "steps=1", "rounds=1", "--json"))["rows"][0]
    return plan, result["peak_memory"] - idle["idle_bytes"]


def check(cases, precision):
    failed = []
    for name, words in cases.items():
        plan, used = plan_and_run(name, words, precision)
        total = plan["bytes"]["total"]
        print(f"     {name}: plan {total / 1e6:.1f} MB, measured {used / 1e6:.1f} MB, {plan['bytes']}", flush=True)
        if abs(total - used) > 0.05 * used:
            failed.append(name)
    assert not failed, failed
    return plan


@test
def the_plan_says_the_peak():
    make_big_pictures()
    make_texts()
    plan = check(CASES, "fp32")
    assert plan["bytes"]["cache"] == 60 * 3 * (SIDE * ZOOM) ** 2


@test
def the_plan_says_the_peak_in_bf16():
    p = run("plan", "data=" + BIG, "model=resnet20", "batch=4", "precision=bf16", "--json")
    if p.returncode and "no bf16 arithmetic" in p.err:
        print("     skipped: this processor has no bf16 arithmetic")
        return
    check(CASES_BF16, "bf16")


@test
def copies_of_weights_are_not_kept():
    words = ["data=" + DATA, "model=resnet50", "batch=16", "image_size=224", "precision=bf16", "deterministic=1", "--json"]
    p = run("plan", *words)
    if p.returncode and "no bf16 arithmetic" in p.err:
        print("     skipped: this processor has no bf16 arithmetic")
        return
    names = [layer["name"] for layer in answer(p)["layers"]]
    copies = {n for n in names if n.endswith(".weight/bf16")}
    again = {n[:-len("/again")] for n in names if n.endswith(".weight/bf16/again")}
    # fc reads its weights in fp32; the first convolution's data gradient is not asked for.
    assert len(copies) >= 50 and copies - again == {"conv1.weight/bf16"}, (len(copies), sorted(copies - again))


@test
def a_budget_is_kept():
    words = ["model=resnet18", "image_size=96", "batch=24", "cache=0", "recompute=0", "precision=fp32"]
    most = answer(run("plan", "data=" + BIG, "epochs=1", *words, "--json"))["bytes"]["total"]
    budget = most - (8 << 20)
    plan, used = plan_and_run("budget", [*words, f"memory={budget}"])
    assert plan["bytes"]["total"] <= budget and used <= 1.05 * budget, (most, plan["bytes"], used)
    refused(2, ["memory="], "plan", "data=" + BIG, "epochs=1", *words, f"memory={budget // 2}")


@test
def a_few_large_pictures_count():
    """One in four is 144 times as large; the median says nothing of what the cache takes."""
    rng = random.Random(9)
    mixed = os.path.join(WORK, "mixed")
    for part in ("train", "val"):
        for number, name in enumerate(CLASSES):
            place = os.path.join(mixed, part, name)
            os.makedirs(place)
            rows = pixels(number, rng, SIDE)
            large = [r for r in [b"".join(r[3 * x:3 * x + 3] * ZOOM for x in range(SIDE)) for r in rows] for _ in range(ZOOM)]
            for i in range(8):
                write_bmp(os.path.join(place, f"{i}.bmp"), *((large, SIDE * ZOOM) if i % 4 == 0 else (rows, SIDE)))
    plan = answer(run("plan", "data=" + mixed, "model=resnet20", "batch=8", "epochs=1", "cache=200MB", "--json"))
    assert plan["bytes"]["cache"] == 3 * 3 * (2 * (SIDE * ZOOM) ** 2 + 6 * SIDE ** 2), plan["bytes"]


@test
def many_classes_take_room_at_the_end():
    """The matrix of a thousand classes is a million cells, in result.json and again as the report reads it."""
    with open(VOCAB) as f:
        words = f.read().split()[5:]
    for name in ("classes.csv", "classes-val.csv"):
        with open(os.path.join(WORK, name), "w") as f:
            f.write("text,category\n" + "".join(f"{words[i % 60]} {words[i % 7]},class{i}\n" for i in range(1200)))
    model = os.path.join(WORK, "narrow")
    os.makedirs(model)
    with open(os.path.join(model, "config.json"), "w") as f:
        json.dump(dict(model_type="bert", vocab_size=72, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                       intermediate_size=64, max_position_embeddings=32, type_vocab_size=2), f)
    words = ["model=" + model, "weights=none", "tokenizer=" + VOCAB, "data=classes.csv", "val=classes-val.csv",
             "batch=16", "epochs=1", "precision=fp32"]
    plan = answer(run("plan", *words, "--json"))["bytes"]
    p = subprocess.Popen([BIN, "train", *words, "out=many", "--quiet"], cwd=WORK, env=ENV, stdout=subprocess.DEVNULL)
    used = 0
    while p.poll() is None:  # result.json says the peak before it is written itself
        try:
            with open(f"/proc/{p.pid}/status") as f:
                used = max([used] + [1024 * int(line.split()[1]) for line in f if line.startswith("VmHWM")])
        except OSError:
            break
        time.sleep(0.001)
    assert p.wait() == 0
    used -= answer(run("bench", "step", "model=resnet20", "batch=1", "steps=1", "rounds=1", "--json"))["rows"][0]["idle_bytes"]
    print(f"     plan {plan['total'] / 1e6:.1f} MB, measured {used / 1e6:.1f} MB, {plan}", flush=True)
    assert -0.05 < plan["total"] / used - 1 < 0.1, (plan, used)


@test
def the_time_has_a_source():
    words = ["data=" + BIG, "model=resnet18", "image_size=64", "batch=12", "epochs=1"]
    plan = answer(run("plan", *words, "--json"))
    assert plan["seconds_per_step"] > 0 and 0 < plan["timed"] <= 1, plan
    untimed = answer(run("plan", *words, "deterministic=1", "--json", env=dict(ENV, XDG_CACHE_HOME=WORK + "/empty")))
    assert untimed["seconds_per_step"] > 0 and untimed["timed"] == 0, untimed


if SANITIZED:
    print("skipped: a sanitizer takes memory of its own")
    sys.exit(77)
main(needed=["the_plan_says_the_peak"])
