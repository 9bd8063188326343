#!/usr/bin/env python3
"""Every test that the table of docs/reliability.md names exists, and README's "Read on" leads to every document. Rule: a
`name` belongs to the ..._test before it."""
import os
import re
import sys

ROOT = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
missing, n, rows = [], 0, 0
with open(os.path.join(ROOT, "docs", "reliability.md")) as f:
    for line in filter(lambda line: re.match(r"\| \d", line), f):
        source, rows = "", rows + 1
        for word in re.findall(r"`\w+`|\b\w+_test\b", line):
            if word[0] == "`":
                n += 1
                if not re.search(rf"\b{word[1:-1]}\b", source):
                    missing.append(f"{word} in: {line.strip()}")
                continue
            paths = [os.path.join(ROOT, "tests", word + end) for end in (".cc", ".py", ".sh")]
            source = "".join(open(p).read() for p in paths if os.path.exists(p))
            if not source:
                missing.append(f"{word} in: {line.strip()}")
# README leads to every document, and to none that is not there.
with open(os.path.join(ROOT, "README.md")) as f:
    linked = set(re.findall(r"\]\((docs/[^)#]+)\)", f.read().split("## Read on")[1]))
there = {"docs/" + name for name in os.listdir(os.path.join(ROOT, "docs")) if name.endswith(".md")}
for name in sorted(linked ^ there):
    missing.append(f"{name}: " + ("README.md's \"Read on\" lacks it" if name in there else "README.md links it"))
for text in missing:
    print("not there:", text)
print(f"{n} tests named in {rows} rows, {len(missing)} missing")
sys.exit(1 if missing or n < 80 or rows < 55 else 0)
