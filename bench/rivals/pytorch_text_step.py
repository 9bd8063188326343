"""PyTorch's and Transformers' side of `ingot bench step` for texts: the same weights, texts, labels and optimizer.

Variants: pytorch          as it comes: BertForPreTraining or BertForSequenceClassification (SDPA) with labels, AdamW;
                           padded to the longest text, attention mask; every position is decoded
          pytorch-tuned    fused AdamW; the decoder sees masked rows alone (Transformers' own modules, called one by
                           one); no attention mask where nothing is padded; inference in bf16: weights in bf16 where
                           that is faster than autocast
          pytorch-compile  the same through torch.compile
Texts of different lengths are padded in every variant: Transformers computes packed texts with flash-attn alone, which
needs a GPU and is no part of PyTorch. On a GPU all train by autocast (bf16, fp16 with GradScaler) or in fp32 or tf32.
The environment (allocator, spinning) is set by ingot-bench before the start.
"""
import copy
import json
import sys

import torch
from torch import nn
from torch.nn import functional as F

import common

SPEC = json.loads(sys.argv[1])
TRAIN, TUNED = SPEC["mode"] == "train", SPEC["variant"] != "pytorch"
MLM, NARROW = SPEC["task"] == "mlm", common.NARROW.get(SPEC["precision"])
DEVICE = common.open_device(SPEC, TUNED)
IGNORED = -100


def numbers(name):
    with open(SPEC[name], "rb") as f:
        return torch.frombuffer(bytearray(f.read()), dtype=torch.int32).long()


def make_model():
    import transformers
    transformers.logging.set_verbosity_error()
    kind = transformers.BertForPreTraining if MLM else transformers.BertForSequenceClassification
    config = transformers.BertConfig(**SPEC["config"])
    config._attn_implementation = "sdpa"
    model = kind(config)
    missing, extra = model.load_state_dict(common.read_safetensors(SPEC["weights"]), strict=False)
    missing = [m for m in missing if not m.startswith("cls.predictions.decoder.")]  # tied
    if missing or extra:
        raise SystemExit(f"weights do not fit: missing {missing[:3]}, extra {extra[:3]}")
    if MLM and model.cls.predictions.decoder.weight is not model.bert.embeddings.word_embeddings.weight:
        raise SystemExit("the decoder is not tied to the embeddings")
    return model, transformers.__version__


def load_batch():
    """Packed texts, padded to the longest: [B, S]."""
    ends, ids, types = numbers("cu_seqlens").tolist(), numbers("ids"), numbers("types")
    size = (len(ends) - 1, max(b - a for a, b in zip(ends, ends[1:])))
    batch = {"input_ids": torch.zeros(size, dtype=torch.long), "token_type_ids": torch.zeros(size, dtype=torch.long),
             "attention_mask": torch.zeros(size, dtype=torch.long)}
    place = torch.zeros(len(ids), dtype=torch.long)  # of a packed row among the padded ones
    for i, (a, b) in enumerate(zip(ends, ends[1:])):
        batch["input_ids"][i, :b - a] = ids[a:b]
        batch["token_type_ids"][i, :b - a] = types[a:b]
        batch["attention_mask"][i, :b - a] = 1
        place[a:b] = torch.arange(b - a) + i * size[1]
    target = {"labels": numbers("labels")}
    if MLM:
        target["rows"], target["words"] = place[numbers("masked")], numbers("masked_labels")
        dense = torch.full((size[0] * size[1],), IGNORED)
        dense[target["rows"]] = target["words"]
        target["dense"] = dense.view(size)
    if TUNED and bool(batch["attention_mask"].all()):
        batch["attention_mask"] = None
    def there(values):
        return {k: v if v is None else v.to(DEVICE) for k, v in values.items()}
    return there(batch), there(target)


class MaskedRows(nn.Module):
    """BertForPreTraining's loss with the decoder on masked rows alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch, target):
        hidden, pooled = self.model.bert(**batch, return_dict=False)[:2]
        words, pairs = self.model.cls(hidden.flatten(0, 1).index_select(0, target["rows"]), pooled)
        return F.cross_entropy(words.float(), target["words"]) + F.cross_entropy(pairs.float(), target["labels"])


class AsItComes(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch, target):
        if MLM:
            return self.model(**batch, labels=target["dense"], next_sentence_label=target["labels"]).loss
        return F.cross_entropy(self.model(**batch).logits.float(), target["labels"])


def fastest(ways, batch, target):
    """ways: name -> (model, is narrow by autocast). Returns the fastest and what all took."""
    taken = []
    for name, (model, cast) in ways.items():
        with common.autocast(SPEC, cast):
            taken.append((common.seconds_of(lambda: model(batch, target), DEVICE, 4), name, (model, cast)))
    taken.sort(key=lambda t: t[0])
    return taken[0][2], ", ".join(f"{name} {ns / 1e6:.1f} ms" for ns, name, _ in taken)


def main():
    torch.set_num_threads(SPEC["threads"])
    torch.manual_seed(0)
    model, version = make_model()
    model = model.to(DEVICE).train(TRAIN)
    batch, target = load_batch()
    recipe = f"SDPA, padded to {batch['input_ids'].shape[1]}"
    recipe += f", autocast {SPEC['precision']}" if NARROW else ""
    optimizer, cast, scaler = None, NARROW is not None, common.make_scaler(SPEC)
    if TRAIN:
        wide = [p for p in model.parameters() if p.ndim > 1]
        narrow = [p for p in model.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW([{"params": wide, "weight_decay": SPEC["weight_decay"]},
                                       {"params": narrow, "weight_decay": 0.0}],
                                      lr=SPEC["lr"], betas=tuple(SPEC["betas"]), eps=SPEC["eps"],
                                      **({"fused": True} if TUNED else {}))
        recipe += ", fused AdamW" if TUNED else ", AdamW"
    step = MaskedRows(model) if MLM and TUNED else AsItComes(model)
    if MLM and TUNED:
        recipe += ", masked rows alone are decoded"
    if SPEC["variant"] == "pytorch-compile":
        step = torch.compile(step)
        recipe += ", torch.compile"
    elif TUNED and not TRAIN and NARROW:
        ways = {"autocast": (step, True), f"{SPEC['precision']} weights": (copy.deepcopy(step).to(NARROW), False)}
        with torch.inference_mode():
            (step, cast), tried = fastest(ways, batch, target)
        recipe += f", fastest of {tried}"

    def train_step():
        optimizer.zero_grad(set_to_none=True)
        with common.autocast(SPEC):
            loss = step(batch, target)
        common.update(loss, optimizer, scaler)
        return loss

    def infer_step():
        with torch.inference_mode(), common.autocast(SPEC, cast):
            return step(batch, target)

    def run(count):
        return common.run_steps(int(count), train_step if TRAIN else infer_step, DEVICE, ahead=TRAIN)

    def peak(_):
        return common.peak_memory(DEVICE)

    common.begin_peak(DEVICE)
    common.say(ready=True, version=f"{torch.__version__}, transformers {version}", recipe=recipe,
               environment=common.environment(), idle_bytes=common.idle_bytes(DEVICE))
    common.serve({"run": run, "peak": peak})


if __name__ == "__main__":
    main()
