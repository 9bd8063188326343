#!/usr/bin/env python3
"""Messages that count samples, files and the like say "1 text", not "1 texts": such a word behind a number comes from
ig_plural (runtime/base/text.h). Rule: an exception stands below with its reason."""
import glob
import os
import re
import sys

ROOT = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
NOUNS = ("texts|pictures|classes|samples|files|steps|epochs|rows|lines|documents|tensors|checkpoints|words|sentences|"
         "places|names|columns|cells|windows|messages|groups|shards|evaluations|operations|findings|labels|seconds|"
         "runs|fields|numbers|records|sequences|characters")
COUNT = re.compile(r"%[-*0-9]*(?:zu|d|u|i|\.0f|lld|llu|ld|lu|\" PRI[a-z]\d+ \")((?: (?:other|training|more|different|labelled|text|byte))?"
                   r" (?:" + NOUNS + r")\b)")
# file, part of the line -> why a count of one cannot be, or is right
ALLOWED = {
    ("bindings/c/demo_text.c", ""): "the demo's own constants",
    ("bindings/c/demo_verb.c", ""): "the demo's own constants",
    ("runtime/train/report.c", "classes"): "only where they are too many to show",
    ("runtime/train/report_summary.c", "classes were judged on"): "two at least",
    ("runtime/train/report_compare.c", "runs compared"): "two at least",
    ("runtime/train/report_compare.c", "a comparison of"): "an internal misuse",
    ("runtime/train/data_report.c", "The first %d of %d classes"): "only where they are too many to show",
    ("runtime/train/shards.c", "rows a file"): "a refusal of a 0",
    ("runtime/train/schedule.c", "a length of %lld steps"): "a refusal of less than 0",
    ("runtime/ckpt/bert_shard.c", "a shard of"): "an internal misuse",
    ("runtime/ckpt/save.c", "checkpoints are kept"): "two at least",
    ("bindings/c/data_json.c", "pictures a second"): "a rate",
    ("runtime/train/train_state.c", "in a row"): "several",
    ("runtime/train/weights_info.c", "at most %d are possible"): "more than the most",
    ("runtime/data/cifar.c", "CIFAR-%zu with %zu classes"): "10 or 100",
    ("runtime/data/cifar.c", "more than %zu names"): "a limit",
    ("runtime/data/dataset_columns.c", "more than %d names"): "a limit",
    ("runtime/data/dataset_labels.c", "at most %d are possible"): "more than the most",
    ("runtime/data/dataset_labels.c", "lacks %lld of the %d classes"): "two at least",
    ("runtime/data/split.c", "lacks %d of the %d classes"): "two at least",
    ("runtime/data/dataset_targets.c", "1 to %d are possible"): "none, or more than the most",
    ("runtime/data/loader.c", "more than %d files of records"): "a limit",
    ("runtime/data/mlm_batch.c", "ascending ones of 1 to %d rows"): "a limit",
    ("runtime/data/text_batch.c", "ascending ones of 1 to %d rows"): "a limit",
    ("runtime/data/quality.c", "at most %u can be compared"): "more than the most",
    ("runtime/data/quality_judge.c", "%zu of %d classes ha%s"): "of several",
    ("runtime/data/quality_judge.c", "fewer than %d pictures"): "a limit",
    ("runtime/data/text_quality.c", "fewer than %d training texts"): "a limit",
    ("runtime/tokenizer/count.c", "different words"): "a limit",
    ("runtime/tokenizer/train.c", ""): "a vocabulary is larger",
}


found, n, used = [], 0, set()
for folder in ("bindings", "runtime/base", "runtime/tokenizer", "runtime/data", "runtime/ckpt", "runtime/train"):
    for path in sorted(glob.glob(os.path.join(ROOT, folder, "**", "*.c"), recursive=True)):
        name = os.path.relpath(path, ROOT)
        n += 1
        with open(path) as f:
            for i, line in enumerate(f, 1):
                if not COUNT.search(line) or line.lstrip().startswith("//") or "IG_ERR_INTERNAL" in line:
                    continue
                hits = {k for k in ALLOWED if k[0] == name and k[1] in line}
                used |= hits
                if not hits:
                    found.append(f"{name}:{i}: {line.strip()}")
for text in found:
    print("a plural for one:", text)
stale = set(ALLOWED) - used
for path, part in sorted(stale):
    print("an exception for nothing:", path, part)
print(f"{n} files, {len(found)} found, {len(ALLOWED)} exceptions")
sys.exit(1 if found or stale or n < 100 else 0)
