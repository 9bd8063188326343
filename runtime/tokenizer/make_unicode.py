#!/usr/bin/env python3
"""Writes unicode_tables.c: what Hugging Face's tokenizers does with each code point, asked of the installed package.

    python make_unicode.py > unicode_tables.c      (tokenizers 0.23.3 gave the file that is committed)

Why not a Unicode library: the package mixes tables of several Unicode versions, and a library differs by distribution;
ids must not. Rule: only the package's answers count; Python's own tables merely split decompositions into pairs.
"""
import unicodedata

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)
OFF = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)


def bert(**flags):
    return normalizers.BertNormalizer(**{**OFF, **flags}).normalize_str


def chosen(test):
    return [c for c in CODES if test(chr(c))]


def runs(codes):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c:
            out[-1][1] = c + 1
        else:
            out.append([c, c + 1])
    return out


def table(name, numbers, kind="uint16_t", per_line=0):
    """numbers as a C array, 120 columns."""
    print(f"static const {kind} {name}[] = {{")
    line = " "
    for i, n in enumerate(numbers):
        word = f" {n},"
        if len(line) + len(word) > 120 or (per_line and i % per_line == 0 and i):
            print(line)
            line = " "
        line += word
    print(line)
    print("};")


def gaps(pairs):
    """[first, end) -> gap, length: each at most 65535 (a length of 0 goes on with the gap)."""
    at, out = 0, []
    for first, end, *more in pairs:
        while first - at > 65535:
            out += [65535, 0] + more
            at += 65535
        while end - first > 65535:
            out += [first - at, 65535] + more
            at = first = first + 65535
        out += [first - at, end - first] + more
        at = end
    return out


def classes():
    """ccc by comparison: marks of a higher class move behind those of a lower one."""
    nfd = normalizers.NFD().normalize_str
    stays = lambda a, b: nfd("a" + chr(a) + chr(b)) == "a" + chr(a) + chr(b)
    marks = [c for c in CODES if nfd(chr(c)) == chr(c) and not (stays(c, 0x334) and stays(0x345, c))]
    reference = {}
    for c in marks:
        reference.setdefault(unicodedata.combining(chr(c)), c)
    out = {}
    for c in marks:
        same = [k for k, r in reference.items() if stays(c, r) and stays(r, c)]
        assert len(same) == 1 and same[0], hex(c)
        out[c] = same[0]
    triples = []
    for c in sorted(out):
        if triples and triples[-1][1] == c and triples[-1][2] == out[c]:
            triples[-1][1] = c + 1
        else:
            triples.append([c, c + 1, out[c]])
    return triples


def lowered():
    lower = bert(lowercase=True)
    out = []  # first, n, step, delta
    for c in CODES:
        r = lower(chr(c))
        if r == chr(c):
            continue
        if len(r) > 1:
            assert (c, r) == (0x130, "i\u0307"), hex(c)  # written out in unicode.c
            continue
        delta = ord(r) - c
        if out and out[-1][3] == delta:
            first, n, step, _ = out[-1]
            distance = c - (first + (n - 1) * step)
            if (n == 1 and distance <= 2) or distance == step:
                out[-1] = [first, n + 1, distance, delta]
                continue
        out.append([c, 1, 1, delta])
    return [x for run in out for x in run]


def decompositions():
    nfd = normalizers.NFD().normalize_str
    pairs, singles = [], []
    whole = lambda s: "".join(nfd(x) for x in s)
    for c in CODES:
        if c in HANGUL or nfd(chr(c)) == chr(c):
            continue
        parts = [int(x, 16) for x in unicodedata.decomposition(chr(c)).split()]
        assert 1 <= len(parts) <= 2 and whole(map(chr, parts)) == nfd(chr(c)), hex(c)
        if len(parts) == 2:
            pairs += [c, *parts]
        else:
            singles += [c, *parts]
    # singles: runs of consecutive code points: first, n, then n targets
    packed = []
    i = 0
    while i < len(singles):
        j = i
        while j + 2 < len(singles) and singles[j + 2] == singles[j] + 1:
            j += 2
        packed += [singles[i], (j - i) // 2 + 1] + singles[i + 1 : j + 2 : 2]
        i = j + 2
    return pairs, packed


def main():
    clean, cjk, strip = bert(clean_text=True), bert(handle_chinese_chars=True), bert(strip_accents=True)
    split = lambda s: [x for x, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(f"a{s}b")]
    word = Tokenizer(models.WordLevel({"X": 0, "u": 1}, unk_token="u"))
    word.add_tokens([AddedToken("X", single_word=True)])
    sets = {
        "dropped": chosen(lambda s: clean(f"a{s}b") == "ab"),
        "space": chosen(lambda s: split(s) == ["a", "b"]),
        "punctuation": chosen(lambda s: split(s) == ["a", s, "b"]),
        "cjk": chosen(lambda s: cjk(s) == f" {s} "),
        "mark": chosen(lambda s: strip(s) == ""),
        "word": chosen(lambda s: word.encode("X" + s).ids[0] != 0),
    }
    for s in map(chr, CODES):  # what is white space and not dropped becomes a space; nothing else changes
        kept = "" if clean(f"a{s}b") == "ab" else " " if split(s) == ["a", "b"] else s
        assert clean(f"a{s}b") == f"a{kept}b", hex(ord(s))
    print(f"// Made by make_unicode.py from Hugging Face's tokenizers {tokenizers.__version__}; do not edit. Rule: see unicode.h.")
    print('#include "runtime/tokenizer/unicode.h"\n\n// clang-format off')
    for name, codes in sets.items():
        table(name, gaps(runs(codes)))
    table("combining", gaps(classes()))
    table("lower", lowered(), "int32_t")
    pairs, singles = decompositions()
    table("pairs", pairs, "int32_t")
    table("singles", singles, "int32_t")
    print("\n#define SET(name) {name, sizeof name / sizeof *name}\n// clang-format on\n")
    print("const ig_unicode_tables ig_unicode_data = {")
    for name in [*sets, "combining", "lower", "pairs", "singles"]:
        print(f"    .{name} = SET({name}),")
    print("};")


main()
