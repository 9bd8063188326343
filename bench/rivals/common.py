"""What the rivals' scripts share: weights in, the line protocol with ingot-bench, peak memory.

Rule: a rival does exactly what it is told by a line on standard input, answers with one JSON line, and sleeps between.
Protocol: argument 1 is the specification (JSON). The script says {"ready": true, "version": ...}, then answers each
line "WORD [NUMBER]" until standard input ends. A script that cannot do what is asked says {"refused": reason} instead.
"""
import json
import os
import re
import sys
import time
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


def open_device(spec, tuned):
    """The specification's device, set up; refuses where this PyTorch has none."""
    device = torch.device(spec["device"])
    if device.type == "cuda":
        if not torch.cuda.is_available():
            build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
            say(refused=f"device={spec['device']}: PyTorch {torch.__version__} ({build}) finds no GPU")
            sys.exit(0)
        torch.cuda.set_device(device)
        # PyTorch lets convolutions round to tf32 by itself; fp32 is fp32 on both sides.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = spec["precision"] == "tf32"
        torch.backends.cudnn.benchmark = tuned
    return device


NARROW = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(spec, on=True):
    dtype = NARROW.get(spec["precision"])
    return torch.autocast(torch.device(spec["device"]).type, dtype or torch.bfloat16, enabled=on and dtype is not None)


def make_scaler(spec):
    """The loss scale of fp16, as PyTorch has it: from 65536, as Ingot's; of other precisions nothing."""
    return torch.amp.GradScaler(torch.device(spec["device"]).type, enabled=spec["precision"] == "fp16")


def update(loss, optimizer, scaler):
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()


def run_steps(count, step, device, ahead):
    """Runs and times steps; step() gives the loss as a tensor. ahead: on a GPU the host does not wait for a step before
    it starts the next, and a step's time is from the end of the one before to its own, by events."""
    times, cpu, losses = [], [], []
    if device.type == "cuda" and ahead:
        ends = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        torch.cuda.synchronize()
        cpu_start = time.process_time_ns()
        ends[0].record()
        for i in range(count):
            losses.append(step().detach())
            ends[i + 1].record()
        torch.cuda.synchronize()
        cpu = [(time.process_time_ns() - cpu_start) // count] * count
        times = [int(a.elapsed_time(b) * 1e6) for a, b in zip(ends, ends[1:])]
        return {"ns": times, "cpu_ns": cpu, "losses": [loss.item() for loss in losses]}
    for _ in range(count):
        start, cpu_start = time.perf_counter_ns(), time.process_time_ns()
        losses.append(step().item())  # waits for a GPU
        times.append(time.perf_counter_ns() - start)
        cpu.append(time.process_time_ns() - cpu_start)
    return {"ns": times, "cpu_ns": cpu, "losses": losses}


def seconds_of(work, device, tries):
    """The least time of `tries` calls."""
    taken = []
    for _ in range(tries):
        start = time.perf_counter_ns()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter_ns() - start)
    return min(taken)


def begin_peak(device):
    reset_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def idle_bytes(device):
    """What is no tensor's: on a GPU nothing is counted but what PyTorch's allocator gave out."""
    return 0 if device.type == "cuda" else IDLE_BYTES


def peak_memory(device):
    if device.type == "cuda":
        return {"peak_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved(),
                "host_peak_bytes": memory_bytes()}
    return {"peak_bytes": memory_bytes()}


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
