#!/usr/bin/env python3
"""Fine-tuning of a BERT-like encoder on a CSV file of labelled texts beside a plain PyTorch + Transformers loop: seconds
of one epoch's steps on both sides, and, where asked for, accuracy after all epochs. Run on an idle machine:

  bench/rivals/text_finetune.py --model FOLDER --data FOLDER [--steps 100] [--epochs 0] [--precision fp32] [--out FILE.json]

Rule: the same model, batch, optimizer, schedule, order of size and number of epochs on both sides; FOLDER has train.csv
and test.csv with the columns text and a label. PyTorch: padded to the longest of each batch, attention by SDPA, AdamW
(fused), linear schedule with 10 % warm-up, clipping at 1. --steps measures that many steps of each side in turns and
scales to an epoch; --epochs N trains PyTorch to the end and tells its accuracy on test.csv.
"""
import argparse
import csv
import json
import os
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
INGOT = os.path.join(HERE, "..", "..", "build", "ingot")
TUNED = {"GOMP_SPINCOUNT": "10000", "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_MMAP_THRESHOLD_": str(1 << 34)}


def rows(path):
    with open(path, newline="", encoding="utf-8") as f:
        table = list(csv.DictReader(f))
    label = next(k for k in table[0] if k != "text")
    return [r["text"] for r in table], [r[label] for r in table]


class Torch:
    def __init__(self, a):
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        self.torch, self.a = torch, a
        torch.set_num_threads(a.threads)
        torch.manual_seed(0)
        texts, labels = rows(os.path.join(a.data, "train.csv"))
        self.names = sorted(set(labels))
        tokenizer = AutoTokenizer.from_pretrained(a.model)
        self.encode = lambda t: tokenizer(t, truncation=True, max_length=128, padding=True, return_tensors="pt")
        self.texts, self.labels = texts, [self.names.index(x) for x in labels]
        self.model = AutoModelForSequenceClassification.from_pretrained(a.model, num_labels=len(self.names),
                                                                        attn_implementation="sdpa").train()
        self.per_epoch = (len(texts) + a.batch - 1) // a.batch
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=a.lr, weight_decay=0.01, fused=True)
        total = self.per_epoch * (a.epochs or 5)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda s: min((s + 1) / (0.1 * total), max(0.0, (total - s) / (0.9 * total))))
        self.order = torch.randperm(len(texts)).tolist()
        self.at = 0

    def step(self):
        torch = self.torch
        if self.at + self.a.batch > len(self.order):
            self.order, self.at = torch.randperm(len(self.texts)).tolist(), 0
        take = self.order[self.at:self.at + self.a.batch]
        self.at += self.a.batch
        batch = self.encode([self.texts[i] for i in take])
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.a.precision == "bf16"):
            loss = self.model(**batch, labels=torch.tensor([self.labels[i] for i in take])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()

    def run(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return time.perf_counter() - start

    def accuracy(self):
        torch, right = self.torch, 0
        texts, labels = rows(os.path.join(self.a.data, "test.csv"))
        self.model.eval()
        with torch.inference_mode():
            for i in range(0, len(texts), 64):
                best = self.model(**self.encode(texts[i:i + 64])).logits.argmax(1).tolist()
                right += sum(self.names[b] == y for b, y in zip(best, labels[i:i + 64]))
        return right / len(texts)


def ours(a, steps):
    """Seconds a step of ingot train, its start left out, and its rate of waiting."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "run")
        subprocess.run([INGOT, "train", f"model={a.model}", f"data={a.data}", f"batch={a.batch}", f"steps={steps}",
                        f"lr={a.lr}", f"precision={a.precision}", f"threads={a.threads}", "split=0.01", f"out={out}",
                        "--quiet", "--json"], check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(out, "log.jsonl")) as f:
            log = [r for r in map(json.loads, f) if r["split"] == "train"]
    first, last = log[max(1, len(log) // 10)], log[-1]
    return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--lr", type=float, default=3e-4)
    p.add_argument("--steps", type=int, default=40)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--epochs", type=int, default=0)
    p.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--out")
    a = p.parse_args()
    os.environ.update({k: v for k, v in TUNED.items() if k not in os.environ})
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    rival = Torch(a)
    rival.run(3)
    mine, theirs = [], []
    for _ in range(a.rounds):
        mine.append(ours(a, a.steps))
        theirs.append(rival.run(a.steps) / a.steps)
    mine.sort()
    theirs.sort()
    m, t = mine[len(mine) // 2], theirs[len(theirs) // 2]
    result = {"model": os.path.basename(a.model), "data": os.path.basename(a.data), "precision": a.precision, "batch": a.batch, "threads": a.threads,
              "torch": torch.__version__, "transformers": transformers.__version__, "steps_per_epoch": rival.per_epoch,
              "ingot_step": m, "torch_step": t, "ingot_epoch": m * rival.per_epoch, "torch_epoch": t * rival.per_epoch,
              "share_of_time": m / t, "all": {"ingot": mine, "torch": theirs}}
    if a.epochs:
        result["torch_seconds"] = rival.run(rival.per_epoch * a.epochs)
        result["torch_accuracy"] = rival.accuracy()
    text = json.dumps(result, indent=1)
    print(text)
    if a.out:
        with open(a.out, "w") as f:
            f.write(text + "\n")


if __name__ == "__main__":
    main()
