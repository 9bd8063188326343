"""What the rivals' scripts share: weights in, the line protocol with ingot-bench, peak memory.

Rule: a rival does exactly what it is told by a line on standard input, answers with one JSON line, and sleeps between.
Protocol: argument 1 is the specification (JSON). The script says {"ready": true, "version": ...}, then answers each
line "WORD [NUMBER]" until standard input ends.
"""
import json
import os
import re
import sys
import warnings

import torch
from torch import nn
from torch.nn import functional as F

warnings.filterwarnings("ignore")  # of deprecations: standard error is for people


def read_safetensors(path):
    """Tensors of a .safetensors file by name (F32 and I64 are all that ingot writes)."""
    with open(path, "rb") as f:
        raw = bytearray(f.read())
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    kinds = {"F32": torch.float32, "I64": torch.int64}
    tensors = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        part = raw[8 + n + begin:8 + n + end]
        tensors[name] = torch.frombuffer(part, dtype=kinds[t["dtype"]]).reshape(t["shape"]).clone() if part else \
            torch.empty(t["shape"], dtype=kinds[t["dtype"]])
    return tensors


class CifarBlock(nn.Module):
    """Shortcut A: every second pixel, channels padded with zeros on both sides."""

    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.stride, self.pad = stride, (width - width_in) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x, inplace=True)


class CifarResnet(nn.Module):
    """He et al. 2015, section 4.2, depth 6n+2; names of the published pytorch_resnet_cifar10 weights."""

    def __init__(self, depth, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        width = 16
        for stage in range(3):
            blocks = []
            for i in range((depth - 2) // 6):
                blocks.append(CifarBlock(width, 16 << stage, 2 if stage and not i else 1))
                width = 16 << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def make_model(name, classes):
    """torchvision's own model where it has one."""
    cifar = re.fullmatch(r"resnet(20|32|44|56|110)", name)
    if cifar:
        return CifarResnet(int(cifar.group(1)), classes)
    from torchvision import models
    return models.get_model(name, num_classes=classes)


def load_weights(model, path):
    have = read_safetensors(path)
    missing, extra = model.load_state_dict(have, strict=False)
    missing = [m for m in missing if not m.endswith("num_batches_tracked")]
    if missing or extra:
        raise SystemExit(f"weights do not fit: missing {missing[:3]}, extra {extra[:3]}")


def reset_peak():
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    except OSError:
        pass  # then the peak since the start is told


def memory_bytes(field="VmHWM"):
    """VmHWM: the peak, VmRSS: now."""
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


IDLE_BYTES = memory_bytes("VmRSS")  # the libraries, before any model


def say(**answer):
    print(json.dumps(answer), flush=True)


def serve(handlers):
    """handlers: word -> function of the rest of the line, giving a dict."""
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        say(**handlers[word](rest))


def environment():
    """The settings that make a difference, for the row."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD",
             "GLIBC_TUNABLES", "OMP_NUM_THREADS")
    return " ".join(f"{n}={os.environ[n]}" for n in names if n in os.environ)
