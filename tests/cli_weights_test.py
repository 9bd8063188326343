#!/usr/bin/env python3
"""Weights of others in the program, and the program's in others: published networks from .safetensors and .h5 with their
known numbers of right answers, torchvision on what a run wrote.

Rule and helpers: ingot_cli.py. INGOT_DATA: published weights (absent: skipped). INGOT_RIVALS_PYTHON or .venv: torchvision
(absent: skipped). Prints `N passed, N failed`; exit code 1 where one failed.
"""
import array
import os
import subprocess

from ingot_cli import *  # noqa: F403 - the tests' own words

PUBLISHED = os.environ.get("INGOT_DATA") or os.path.join(SOURCE, "..", "shared", "data")
PICTURES = os.path.join(PUBLISHED, "cifar10_exact200")


def npy(path):
    """Shape and numbers of a file of 32-bit floats."""
    data = open(path, "rb").read()
    assert data[:6] == b"\x93NUMPY"
    start = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:start].decode()
    assert "'<f4'" in header and "'fortran_order': False" in header, header
    shape = tuple(int(n) for n in header.split("(")[1].split(")")[0].split(",") if n.strip())
    numbers = array.array("f")
    numbers.frombytes(data[start:])
    return shape, numbers


def expect_right(right, weights, model, logits):
    out = os.path.join(WORK, "logits.npy")
    found = answer(run("eval", "model=" + model, "weights=" + os.path.join(PUBLISHED, weights),
                       "data=" + os.path.join(PICTURES, "test200.bin"), "logits=" + out, "--json"))
    assert found["n"] == 200 and round(found["accuracy"] * 200) == right, (weights, found["accuracy"] * 200)
    (shape, ours), (wanted_shape, wanted) = npy(out), npy(os.path.join(PUBLISHED, logits))
    assert shape == wanted_shape, (shape, wanted_shape)
    worst = max(abs(a - b) for a, b in zip(ours, wanted))
    assert worst <= 1e-4, f"{weights}: logits differ by {worst}"


@test
def published_weights_give_their_answers():
    if not os.path.isdir(PICTURES):
        print(f"     skipped: no published weights at {PUBLISHED} (INGOT_DATA)")
        return
    for n, name, right in [(20, "12fca82f", 180), (56, "4bfd9763", 182)]:
        expect_right(right, f"resnet_cifar_weights/resnet{n}-{name}.safetensors", f"resnet{n}",
                     f"cifar10_exact200/expected_logits_resnet{n}-{name}.npy")
    for ending in ["safetensors", "h5"]:
        expect_right(171, "mlperf_tiny_resnet8/pretrainedResnet." + ending, "resnet8_mlperf",
                     "mlperf_tiny_resnet8/expected_logits_on_cifar10_exact200.npy")
    h5 = os.path.join(PUBLISHED, "mlperf_tiny_resnet8", "pretrainedResnet.h5")
    refused(2, ["model=NAME"], "convert", h5, "x.safetensors")
    made = answer(run("convert", h5, "tiny.safetensors", "model=resnet8_mlperf", "--json"))
    assert {"from": "conv2d/kernel:0", "to": "conv1.weight"} in made["renamed"] and made["extra"] == [], made
    picture = os.path.join(DATA, "test", "rows", "001.png")
    one, two = (answers(run("predict", "weights=" + w, picture, "--json", *more))
                for w, more in [("tiny.safetensors", []), (h5, ["model=resnet8_mlperf"])])
    assert one == two, (one, two)


TORCH = """
import json, struct, sys
import torch, torchvision
from safetensors import safe_open
from safetensors.torch import load_file
weights, pictures, out = sys.argv[1:]
with safe_open(weights, "pt") as f:
    about = f.metadata()
classes, how = json.loads(about["ingot.classes"]), json.loads(about["ingot.preprocessing"])
net = getattr(torchvision.models, about["ingot.model"])(num_classes=len(classes))
net.load_state_dict(load_file(weights), strict=True)
net.eval()
x = [torchvision.io.read_image(line) for line in open(pictures).read().split("\\n")]
assert all(list(p.shape) == [3, how["image_size"], how["image_size"]] for p in x), "no resize is wanted here"
mean, std = (torch.tensor(how[k]).reshape(1, 3, 1, 1) for k in ("mean", "std"))
with torch.no_grad():
    z = net((torch.stack(x).float() - mean) / std)
json.dump(z.tolist(), open(out, "w"))
"""


@test
def torchvision_takes_what_a_run_wrote():
    python = os.environ.get("INGOT_RIVALS_PYTHON") or os.path.join(SOURCE, ".venv", "bin", "python")
    look = "import torch, torchvision, safetensors"
    if not os.path.exists(python) or subprocess.run([python, "-c", look], stderr=subprocess.DEVNULL).returncode:
        print(f"     skipped: {python} has no torch, torchvision and safetensors (./dev rivals installs them)")
        return
    data = make_data(os.path.join(WORK, "large"), {"train": 8, "test": 3}, side=64)
    for folder, _, files in os.walk(data):  # torchvision reads no BMP
        for name in files:
            if name.endswith(".bmp"):
                os.remove(os.path.join(folder, name))
    for model in ["resnet18", "resnet50"]:
        out = os.path.join(WORK, "of-" + model)
        answer(run("train", "model=" + model, "data=" + data, "batch=8", "steps=2", "image_size=64", "precision=fp32",
                   "out=" + out, "--json"))
        found = answer(run("eval", "weights=" + out, "data=" + data, "part=test", "logits=ours.npy", "--json"))
        paths = sorted(os.path.join(folder, name) for folder, _, files in os.walk(os.path.join(data, "test"))
                       for name in files)
        with open(os.path.join(WORK, "paths"), "w") as f:
            f.write("\n".join(paths))
        theirs = os.path.join(WORK, "theirs.json")
        subprocess.run([python, "-c", TORCH, os.path.join(out, "model.safetensors"), os.path.join(WORK, "paths"), theirs],
                       check=True, timeout=300)
        wanted = [v for row in json.load(open(theirs)) for v in row]
        shape, ours = npy(os.path.join(WORK, "ours.npy"))
        assert shape == (found["n"], 3) and len(wanted) == len(ours), (shape, len(wanted))
        scale = max(map(abs, wanted))
        assert max(abs(a - b) for a, b in zip(ours, wanted)) <= 1e-4 * scale, model


main()
