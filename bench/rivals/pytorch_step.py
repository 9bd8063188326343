"""PyTorch's side of `ingot bench step`: the same weights, pictures, labels and optimizer.

Variants: pytorch          as it comes: NCHW, torch.optim.SGD
          pytorch-tuned    channels_last, fused SGD; inference: convolutions and BatchNorm folded where that is faster
          pytorch-compile  the same through torch.compile
On a GPU (device=cuda) all train by autocast (bf16, fp16 with GradScaler) or in fp32 or tf32, the tuned ones with
cudnn.benchmark. The environment (allocator, spinning) is set by ingot-bench before the start. Pictures arrive
normalised, on the device: PyTorch is spared the pass and the copy that ingot's step contains.
"""
import copy
import json
import sys

import torch
from torch.nn import functional as F

import common

SPEC = json.loads(sys.argv[1])
TRAIN, TUNED = SPEC["mode"] == "train", SPEC["variant"] != "pytorch"
FORMAT = torch.channels_last if TUNED else torch.contiguous_format
DEVICE = common.open_device(SPEC, TUNED)


def load_batch():
    shape = (SPEC["batch"], SPEC["image_size"], SPEC["image_size"], 3)
    with open(SPEC["pictures"], "rb") as f:
        x = torch.frombuffer(bytearray(f.read()), dtype=torch.uint8).reshape(shape)
    with open(SPEC["labels"], "rb") as f:
        y = torch.frombuffer(bytearray(f.read()), dtype=torch.int32).long()
    x = (x.float() - torch.tensor(SPEC["mean"])) / torch.tensor(SPEC["std"])
    return x.permute(0, 3, 1, 2).contiguous(memory_format=FORMAT).to(DEVICE), y.to(DEVICE)


def forward(model, x):
    with common.autocast(SPEC):
        return model(x)


def folded(model, x):
    """Ways to make inference faster, each with its name; those that this PyTorch lacks are left out."""
    found = [("eager", model)]
    try:
        from torch.fx.experimental import optimization
        found.append(("fx fuse", optimization.fuse(copy.deepcopy(model))))
    except Exception as e:  # noqa: BLE001  a rival's recipe that fails is one fewer
        print(f"fx fuse: {e}", file=sys.stderr)
    try:
        with common.autocast(SPEC):
            traced = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(copy.deepcopy(model), x)))
        traced(x)
        found.append(("jit freeze", traced))
    except Exception as e:  # noqa: BLE001
        print(f"jit freeze: {str(e)[:200]}", file=sys.stderr)
    return found


def fastest(found, x):
    times = []
    for name, model in found:
        common.seconds_of(lambda: forward(model, x), DEVICE, 2)
        times.append((common.seconds_of(lambda: forward(model, x), DEVICE, 3), name, model))
    times.sort(key=lambda t: t[0])
    return times[0][2], ", ".join(f"{name} {ns / 1e6:.1f} ms" for ns, name, _ in times)


def main():
    torch.set_num_threads(SPEC["threads"])
    torch.manual_seed(0)
    model = common.make_model(SPEC["model"], SPEC["classes"])
    common.load_weights(model, SPEC["weights"])
    model = model.to(DEVICE, memory_format=FORMAT).train(TRAIN)
    x, y = load_batch()
    recipe = "channels_last, fused SGD" if TUNED and TRAIN else "channels_last" if TUNED else "as it comes"
    recipe += f", autocast {SPEC['precision']}" if SPEC["precision"] in common.NARROW else ""
    optimizer, scaler = None, common.make_scaler(SPEC)
    if TRAIN:
        wide = [p for p in model.parameters() if p.ndim > 1]
        narrow = [p for p in model.parameters() if p.ndim <= 1]
        optimizer = torch.optim.SGD([{"params": wide, "weight_decay": SPEC["weight_decay"]},
                                     {"params": narrow, "weight_decay": 0.0}],
                                    lr=SPEC["lr"], momentum=SPEC["momentum"], **({"fused": True} if TUNED else {}))
    if SPEC["variant"] == "pytorch-compile":
        model = torch.compile(model)
        recipe += ", torch.compile"
    elif TUNED and not TRAIN:
        with torch.inference_mode():
            model, tried = fastest(folded(model, x), x)
        recipe += f", fastest of {tried}"

    def train_step():
        optimizer.zero_grad(set_to_none=True)
        with common.autocast(SPEC):
            loss = F.cross_entropy(model(x).float(), y)
        common.update(loss, optimizer, scaler)
        return loss

    def infer_step():
        with torch.inference_mode():
            return F.cross_entropy(forward(model, x).float(), y)

    def run(count):
        return common.run_steps(int(count), train_step if TRAIN else infer_step, DEVICE, ahead=TRAIN)

    def peak(_):
        return common.peak_memory(DEVICE)

    common.begin_peak(DEVICE)
    common.say(ready=True, version=torch.__version__, recipe=recipe, environment=common.environment(),
               idle_bytes=common.idle_bytes(DEVICE))
    common.serve({"run": run, "peak": peak})


if __name__ == "__main__":
    main()
