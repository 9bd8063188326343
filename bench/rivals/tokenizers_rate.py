"""Hugging Face's side of `ingot bench tokenizer`: the same lines to ids by the Rust package tokenizers.

Variants: tokenizers        encode_batch, which gives offsets
          tokenizers-fast   encode_batch_fast, which gives none
Ids stay in the package's own objects: making Python lists of them is not timed. Protocol: see common.py, which is not
used here since it takes PyTorch.
"""
import json
import os
import sys
import time

SPEC = json.loads(sys.argv[1])
os.environ["RAYON_NUM_THREADS"] = os.environ["TOKENIZERS_NUM_THREADS"] = str(SPEC["threads"])
os.environ["TOKENIZERS_PARALLELISM"] = "true" if SPEC["threads"] > 1 else "false"

import tokenizers  # noqa: E402 (after the settings that it reads)


def load(path):
    if os.path.isdir(path):
        path = next(p for p in (os.path.join(path, n) for n in ("tokenizer.json", "vocab.txt")) if os.path.exists(p))
    if path.endswith(".json"):
        t = tokenizers.Tokenizer.from_file(path)
        t.no_truncation()
        t.no_padding()
        return t
    return tokenizers.BertWordPieceTokenizer(path, lowercase=SPEC["lowercase"])._tokenizer


def main():
    tokenizer = load(SPEC["tokenizer"])
    lines = []
    for path in SPEC["files"]:
        with open(path, encoding="utf-8", errors="replace", newline="") as f:
            lines += [x[:-1] if x.endswith("\r") else x for x in f.read().split("\n")]
    encode = tokenizer.encode_batch_fast if SPEC["variant"].endswith("-fast") else tokenizer.encode_batch
    batches = [lines[i:i + 1000] for i in range(0, len(lines), 1000)]

    def run(_):
        n = 0
        start = time.perf_counter_ns()
        for batch in batches:
            n += sum(map(len, encode(batch)))
        return {"ns": time.perf_counter_ns() - start, "tokens": n}

    def say(**answer):
        print(json.dumps(answer), flush=True)

    say(ready=True, version=f"tokenizers {tokenizers.__version__}",
        recipe=f"{encode.__name__} of 1000 lines, {SPEC['threads']} threads")
    for line in sys.stdin:
        assert line.strip() == "run"
        say(**run(None))


if __name__ == "__main__":
    main()
