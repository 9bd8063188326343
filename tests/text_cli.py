"""What the tests of texts from outside (cli_text*_test.py) share: a small language, a vocabulary of it, a tiny model.

Rule: everything is made here, from a seed, so that each test knows what can be learned.
"""
import json
import os
import random

from ingot_cli import WORK, answer, run

FRUIT = ["apple", "berry", "cherry"]
MODEL = os.path.join(WORK, "model")  # a folder as Hugging Face has them, but without weights
CORPUS = os.path.join(WORK, "corpus")
CONFIG = dict(model_type="bert", vocab_size=304, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
              intermediate_size=64, hidden_act="gelu", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
              max_position_embeddings=64, type_vocab_size=2, initializer_range=0.02, layer_norm_eps=1e-12, pad_token_id=0)
rng = random.Random(7)
WORDS = sorted({"".join(rng.choice("abcdefghijkl") for _ in range(rng.randint(2, 6))) for _ in range(130)})
rng.shuffle(WORDS)
TOPICS, COMMON = [WORDS[0:30], WORDS[30:60], WORDS[60:90]], WORDS[90:]


def sentence(topic, n=None):
    """Words of which 6 in 10 are the topic's; the others belong to none."""
    return " ".join(rng.choice(TOPICS[topic] if rng.random() < 0.6 else COMMON) for _ in range(n or rng.randint(4, 12)))


def place(name):
    return os.path.join(WORK, name)


def write(name, lines, end="\n"):
    with open(place(name), "w", newline="") as f:
        f.write(end.join(lines) + end)
    return place(name)


def make_texts():
    os.makedirs(CORPUS)
    for name in ("a", "b"):
        with open(os.path.join(CORPUS, name + ".txt"), "w") as f:
            for d in range(30):
                f.write("".join(f"{sentence(d % 3).capitalize()}, {sentence(d % 3)}.\n" for _ in range(rng.randint(3, 6))) + "\n")
    answer(run("tokenizer", "train", CORPUS, "vocabulary=300", "out=" + MODEL, "--json"))
    with open(os.path.join(MODEL, "config.json"), "w") as f:
        json.dump(CONFIG, f)
    write("single.csv", ["text,label"] + [f'"{sentence(i % 3)}, {sentence(i % 3)}",{FRUIT[i % 3]}' for i in range(120)])
    pairs = []
    for i in range(160):
        t = i // 2 % 3
        pairs.append(f"{sentence(t)}\t{sentence(t if i % 2 else (t + 1) % 3)}\t{('other', 'same')[i % 2]}")
    write("pairs.tsv", ["sentence1\tsentence2\tlabel"] + pairs)
    rows = []
    for i in range(160):
        k = rng.randint(0, 8)
        words = [rng.choice(TOPICS[0]) for _ in range(k)] + [rng.choice(COMMON) for _ in range(9 - k)]
        rng.shuffle(words)
        rows.append(json.dumps({"text": " ".join(words), "label": 100 + 5.5 * k}))
    write("numbers.jsonl", rows)
    rows = ["text,label"]
    for _ in range(160):
        held = [t for t in range(3) if rng.random() < 0.5]
        words = [w for t in held for w in sentence(t, 4).split()] + [rng.choice(COMMON) for _ in range(3)]
        rng.shuffle(words)
        rows.append(f"{' '.join(words)},{';'.join(FRUIT[t] for t in held)}")
    write("labels.csv", rows)
    lines = []
    for _ in range(120):
        for _ in range(rng.randint(3, 9)):
            t = rng.randrange(4)
            lines.append(f"{rng.choice(TOPICS[t] if t < 2 else COMMON)} {('B-FIRST', 'B-SECOND', 'O', 'O')[t]}")
        lines.append("")
    write("tags.conll", lines)


# By this seed the small model learns whatever the processor rounds; by 3 or 5 it may never tell apple from berry.
BASE = ["model=" + MODEL, "weights=none", "dropout=0", "precision=fp32", "seed=7", "threads=2"]
LEARN = [*BASE, "batch=8", "lr=5e-3"]
SINGLE, PAIRS, NUMBERS, LABELS, TAGS = (place(n) for n in ("single.csv", "pairs.tsv", "numbers.jsonl", "labels.csv", "tags.conll"))
