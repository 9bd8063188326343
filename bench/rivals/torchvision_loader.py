"""torchvision's side of `ingot bench loader`: the same files to normalised fp32 batches by a DataLoader.

Variants: torchvision        the usual recipe: PIL pictures, transforms, a worker process a thread
          torchvision-tuned  torchvision.io decoding and transforms.v2 on uint8 tensors
The pass ends with a batch in the main process. Batches that workers made ahead are taken before the clock starts.
"""
import json
import os
import sys
import time

import torch
import torchvision
from torch.utils.data import DataLoader, Dataset
from torchvision import io, transforms
from torchvision.transforms import v2

import common

SPEC = json.loads(sys.argv[1])
TUNED = SPEC["variant"] != "torchvision"
AHEAD = 8
TICK = 1e9 / os.sysconf("SC_CLK_TCK")


def recipe():
    size, scale, jitter = SPEC["image_size"], (SPEC["scale_min"], SPEC["scale_max"]), SPEC["jitter"]
    mean, std = [m / 255 for m in SPEC["mean"]], [s / 255 for s in SPEC["std"]]
    t = v2 if TUNED else transforms
    common_part = [t.RandomResizedCrop(size, scale=scale, antialias=True), t.RandomHorizontalFlip(),
                   t.RandomVerticalFlip(), t.ColorJitter(jitter, jitter, jitter)]
    if TUNED:
        return v2.Compose(common_part + [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    return transforms.Compose(common_part + [transforms.ToTensor(), transforms.Normalize(mean, std)])


class Pictures(Dataset):
    """torchvision.datasets.ImageFolder's reading, over a list of files."""

    def __init__(self, path):
        with open(path) as f:
            rows = [line.rstrip("\n").rsplit("\t", 1) for line in f]
        self.samples = [(name, int(label)) for name, label in rows]
        self.transform = recipe()

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        path, label = self.samples[i]
        if TUNED:
            picture = io.decode_image(io.read_file(path), mode=io.ImageReadMode.RGB)
        else:
            picture = torchvision.datasets.folder.pil_loader(path)
        return self.transform(picture), label


def cpu_ns(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) * TICK
    return int(total)


def main():
    torch.set_num_threads(SPEC["threads"])
    loader = DataLoader(Pictures(SPEC["list"]), batch_size=SPEC["batch"], shuffle=True, drop_last=True,
                        num_workers=SPEC["threads"], persistent_workers=True)
    state = {"batches": iter(loader)}

    def take(count):
        for _ in range(count):
            batch = next(state["batches"], None)
            if batch is None:
                state["batches"] = iter(loader)
                batch = next(state["batches"])
            assert batch[0].shape[0] == SPEC["batch"]

    def run(count):
        pids = [os.getpid()] + [w.pid for w in state["batches"]._workers]
        take(AHEAD)
        start, cpu = time.perf_counter_ns(), cpu_ns(pids)
        take(int(count))
        return {"ns": time.perf_counter_ns() - start, "cpu_ns": cpu_ns(pids) - cpu}

    take(1)
    common.say(ready=True, version=f"torchvision {torchvision.__version__}, torch {torch.__version__}",
               recipe=("transforms.v2 on tensors" if TUNED else "transforms on PIL pictures") +
               f", {SPEC['threads']} workers")
    common.serve({"run": run})


if __name__ == "__main__":
    main()
