#!/usr/bin/env python3
"""Whole training of ResNet-18 on NEU-CLS beside PyTorch: time until a stated accuracy, total time, accuracy on the test
part. Run on an idle machine, for it takes half an hour or more:

  bench/rivals/neu_to_accuracy.py [--target 0.98] [--epochs N] [--seed 0] [--threads 2] [--out FILE.json]

Rule: one recipe, ingot's resolved defaults (its args.yaml), for both sides: crops, flips, transposition, colours, label
smoothing, mixed pairs, SGD with Nesterov momentum, warm-up and cosine, averaged weights, an evaluation an epoch or
about 40 in all; the same three parts of the data. PyTorch's side is the best loop we know how to write: pictures
decoded once and kept in memory, colours and flips on whole batches, channels_last, fused SGD, foreach averages, memory
that is not returned, short spins. The clock runs from the first batch; evaluations count, start-up is told apart.
"""
import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TUNED = {"GOMP_SPINCOUNT": "10000", "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_MMAP_THRESHOLD_": str(1 << 34),
         "MALLOC_TOP_PAD_": str(1 << 28), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


# ---- data and recipe: one for both ----
def write_split(folder, data, share, seed):
    """The published training part in two, by class, every k-th picture of a seeded order; the test part as it is."""
    import random
    with open(os.path.join(data, "split.csv")) as f:
        rows = list(csv.DictReader(f))
    kinds = sorted({r["class"] for r in rows})
    held = set()
    for kind in kinds:
        names = sorted(r["file"] for r in rows if r["class"] == kind and r["split"] == "train")
        random.Random(f"{seed} {kind}").shuffle(names)
        held.update(names[:round(share * len(names))])
    path = os.path.join(folder, "split.csv")
    with open(path, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["file", "class", "split"])
        for r in rows:
            w.writerow([os.path.join(data, r["file"]), r["class"], "val" if r["file"] in held else r["split"]])
    return path


def read_yaml(path):
    """args.yaml is one flat mapping of scalars and lists."""
    values = {}
    with open(path) as f:
        for line in f:
            key, colon, text = line.split("#")[0].strip().partition(": ")
            if colon:
                text = text.strip()
                try:
                    values[key] = json.loads(text)
                except ValueError:
                    values[key] = text.strip('"')
    return values


# ---- ingot's side ----
def run_ingot(options, folder, split):
    run, start = os.path.join(folder, "run"), time.monotonic()
    words = ["train", "model=resnet18", f"data={options.data}", f"split={split}", f"out={run}",
             f"seed={options.seed}", f"threads={options.threads}", f"precision={options.precision}", "--json"]
    if options.epochs:
        words.append(f"epochs={options.epochs}")
    env = {k: v for k, v in os.environ.items() if k not in TUNED}
    subprocess.run([options.ingot, *words], check=True, stdout=subprocess.DEVNULL, env=env)
    total = time.monotonic() - start
    with open(os.path.join(run, "log.jsonl")) as f:
        evaluations = [e for e in map(json.loads, f) if e.get("split") == "val"]
    curve = [(e["seconds"], e["accuracy"]) for e in evaluations]
    test = subprocess.run([options.ingot, "eval", f"weights={run}", f"data={options.data}", f"split={split}",
                           "part=test", "--json"], check=True, stdout=subprocess.PIPE, env=env)
    version = subprocess.run([options.ingot, "--version"], stdout=subprocess.PIPE, text=True).stdout.strip()
    recipe = read_yaml(os.path.join(run, "args.yaml"))
    return summary(options, curve, total, json.loads(test.stdout)["accuracy"], version), recipe


def summary(options, curve, total, test, version):
    reached = [s for s, a in curve if a >= options.target]
    return {"seconds_to_target": reached[0] if reached else None, "seconds_trained": curve[-1][0],
            "seconds_in_all": total, "best_validation": max(a for _, a in curve), "test_accuracy": test,
            "evaluations": [[round(s, 2), a] for s, a in curve], "version": version}


# ---- PyTorch's side: this file again, under the rivals' Python ----
def run_pytorch(options, folder, split, recipe):
    spec = {"split": split, "recipe": recipe, "seed": options.seed, "threads": options.threads,
            "precision": options.precision, "out": os.path.join(folder, "pytorch.json")}
    python = os.environ.get("INGOT_RIVALS_PYTHON", os.path.join(ROOT, ".venv", "bin", "python"))
    start = time.monotonic()
    subprocess.run([python, os.path.abspath(__file__), "--pytorch", json.dumps(spec)], check=True,
                   env=dict(os.environ, **TUNED))
    total = time.monotonic() - start
    with open(spec["out"]) as f:
        said = json.load(f)
    return summary(options, said["curve"], total, said["test"], said["version"])


def pytorch(spec):
    import copy

    import torch
    import torchvision
    from torch.nn import functional as F
    from torchvision import io
    from torchvision.transforms import v2
    recipe = spec["recipe"]
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(spec["seed"])
    size, batch, layout = recipe["image_size"], recipe["batch"], torch.channels_last
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    grey_of = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)

    with open(spec["split"]) as f:
        rows = list(csv.DictReader(f))
    kinds = sorted({r["class"] for r in rows})
    parts = {}
    for part in ("train", "val", "test"):
        mine = [r for r in rows if r["split"] == part]
        parts[part] = ([io.decode_image(io.read_file(r["file"]), mode=io.ImageReadMode.RGB) for r in mine],
                       torch.tensor([kinds.index(r["class"]) for r in mine]))

    def resize(picture):
        return v2.functional.resize(picture, [size, size], antialias=True)

    whole = {p: torch.stack([resize(x) for x in parts[p][0]]) for p in ("val", "test")}  # made once
    crop = v2.RandomResizedCrop(size, scale=tuple(recipe["crop_scale"]), antialias=True)

    def augmented(index):
        x = torch.stack([crop(parts["train"][0][i]) for i in index]).float()
        for flag, axes in (("flip", (3,)), ("vflip", (2,))):
            if recipe[flag]:
                chosen = torch.rand(len(x)) < 0.5
                x[chosen] = x[chosen].flip(axes)
        if recipe["transpose"]:
            chosen = torch.rand(len(x)) < 0.5
            x[chosen] = x[chosen].transpose(2, 3)
        if recipe["jitter"]:
            b, c, s = (1 + recipe["jitter"] * (2 * torch.rand(3, len(x), 1, 1, 1) - 1))
            grey = (x * grey_of).sum(1, keepdim=True)
            x = (c * b * (s * x + (1 - s) * grey) + (1 - c) * b * grey.mean((2, 3), keepdim=True)).clamp_(0, 255)
        return ((x - mean) / std).contiguous(memory_format=layout)

    model = torchvision.models.resnet18(num_classes=len(kinds), zero_init_residual=bool(recipe["zero_init_residual"]))
    model = model.to(memory_format=layout).train()
    average = copy.deepcopy(model).eval()
    wide = [p for p in model.parameters() if p.ndim > 1]
    narrow = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD([{"params": wide, "weight_decay": float(recipe["weight_decay"])},
                                 {"params": narrow, "weight_decay": 0.0}], lr=recipe["lr"],
                                momentum=recipe["momentum"], nesterov=bool(recipe["nesterov"]), fused=True)
    pairs = [(a, m) for a, m in zip(average.state_dict().values(), model.state_dict().values())
             if a.dtype.is_floating_point]
    averages, weights = [a for a, _ in pairs], [m for _, m in pairs]
    bf16 = spec["precision"] == "bf16"

    def evaluate(part):
        right = 0
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            for i in range(0, len(whole[part]), 64):
                x = ((whole[part][i:i + 64].float() - mean) / std).contiguous(memory_format=layout)
                right += (average(x).argmax(1) == parts[part][1][i:i + 64]).sum().item()
        return right / len(whole[part])

    n, labels = len(parts["train"][0]), parts["train"][1]
    total = math.ceil(recipe["epochs"] * n / batch)
    warmup = round(recipe["warmup"] * total) if recipe["warmup"] < 1 else recipe["warmup"]
    order, curve, best, epoch = torch.empty(0, dtype=torch.long), [], (-1, None), 0
    interval = max(1, recipe["epochs"] // 40)
    mixed = torch.distributions.Beta(recipe["mixup"], recipe["mixup"]) if recipe["mixup"] else None
    start = time.monotonic()
    for step in range(total):
        if len(order) < batch:  # a batch may cross the end of an epoch
            order = torch.cat([order, torch.randperm(n)])
        index, order = order[:batch], order[batch:]
        lr = recipe["lr"] * ((step + 1) / warmup if step < warmup else
                             0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))))
        for group in optimizer.param_groups:
            group["lr"] = lr
        x, target = augmented(index.tolist()), labels[index]
        if recipe["mixup"]:  # one turn for the whole batch, a share for each pair
            partner = torch.arange(batch).roll(-int(torch.randint(1, batch, (1,))))
            share = mixed.sample((batch,))
            x = torch.lerp(x[partner], x, share.view(-1, 1, 1, 1)).contiguous(memory_format=layout)
            target = torch.lerp(*(F.one_hot(y, len(kinds)).float() for y in (target[partner], target)), share[:, None])
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(x)
        F.cross_entropy(logits.float(), target, label_smoothing=recipe["label_smoothing"]).backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1 - min(recipe["ema"], (1 + step) / (10 + step)))
        if (step + 1) * batch // n >= epoch + interval or step + 1 == total:
            epoch = (step + 1) * batch // n
            accuracy = evaluate("val")
            curve.append((time.monotonic() - start, accuracy))
            print(f"pytorch epoch {epoch} of {recipe['epochs']}: {100 * accuracy:.2f} % after {curve[-1][0]:.0f} s",
                  file=sys.stderr, flush=True)
            if accuracy >= best[0]:
                best = (accuracy, copy.deepcopy(average.state_dict()))
    average.load_state_dict(best[1])
    with open(spec["out"], "w") as f:
        json.dump({"curve": curve, "test": evaluate("test"), "version": torch.__version__}, f)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data = os.environ.get("INGOT_DATA", os.path.join(ROOT, "..", "shared", "data"))
    p.add_argument("--target", type=float, default=0.98, help="validation accuracy that the clock is stopped at")
    p.add_argument("--epochs", type=int, help="default: ingot's own for these data")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    p.add_argument("--data", default=os.path.abspath(os.path.join(data, "neu_cls")))
    p.add_argument("--ingot", default=os.path.join(ROOT, "build", "ingot"))
    p.add_argument("--out", help="file for the result (default: standard output alone)")
    p.add_argument("--pytorch", help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.pytorch:
        return pytorch(json.loads(options.pytorch))
    with tempfile.TemporaryDirectory(prefix="ingot-neu-") as folder:
        split = write_split(folder, options.data, 0.15, options.seed)
        ingot, recipe = run_ingot(options, folder, split)
        rival = run_pytorch(options, folder, split, recipe)
    result = {"target": options.target, "precision": options.precision, "threads": options.threads,
              "seed": options.seed, "recipe": recipe, "ingot": ingot, "pytorch": rival}
    for what in ("seconds_to_target", "seconds_trained", "seconds_in_all"):
        if ingot[what] and rival[what]:
            result["ratio_" + what] = rival[what] / ingot[what]
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        with open(options.out, "w") as f:
            f.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
