#!/usr/bin/env python3
"""Folders of Hugging Face's form in both directions: what is written here loads in Transformers with no warning and the
same logits, and what Transformers writes loads here.

Rule: Transformers is the oracle; where it is not installed this says skipped (77). Helpers: ingot_cli.py, text_cli.py.
"""
import json
import logging
import os
import shutil
import sys
import warnings

try:
    import h5py
    import torch
    import transformers
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    source = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    venv = os.path.join(source, "..", "main", ".venv", "bin", "python")
    if os.path.exists(venv) and "INGOT_VENV_TRIED" not in os.environ:
        os.execve(venv, [venv, os.path.abspath(__file__), *sys.argv[1:]], dict(os.environ, INGOT_VENV_TRIED="1"))
    print(f"skipped: {missing} (./dev rivals installs it)")
    sys.exit(77)

from ingot_cli import *  # noqa: F403 - the tests' own words
from text_cli import *  # noqa: F403

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()


def npy(path):
    data = content(path)
    shape = tuple(int(x) for x in data[:128].split(b"'shape': (")[1].split(b")")[0].split(b",") if x.strip())
    return torch.frombuffer(bytearray(data[128:]), dtype=torch.float32).reshape(shape)


class Silence(logging.Handler):
    """Whatever Transformers says while it loads."""

    def __enter__(self):
        self.said = []
        self.caught = warnings.catch_warnings(record=True)
        self.list = self.caught.__enter__()
        warnings.simplefilter("always")
        self.logger = logging.getLogger("transformers")
        self.logger.addHandler(self)
        return self

    def emit(self, record):
        if record.levelno >= logging.WARNING:
            self.said.append(record.getMessage())

    def __exit__(self, *error):
        self.logger.removeHandler(self)
        self.caught.__exit__(*error)
        self.said += [str(w.message) for w in self.list]


def load(kind, folder, quiet=True):
    with Silence() as heard:
        model, info = kind.from_pretrained(place(folder), output_loading_info=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place(folder))
    if quiet:
        assert not heard.said, heard.said
        lists = {k: list(v) for k, v in info.items() if v}
        assert not lists, lists
    return model.eval(), tokenizer


def logits(model, tokenizer, texts, seconds=None):
    with torch.no_grad():
        return model(**tokenizer(texts, seconds if seconds and seconds[0] else None, return_tensors="pt", padding=True,
                                 truncation=True, max_length=64)).logits


def ours(folder, data, *more):
    answer(run("eval", "weights=" + folder, "data=" + data, "logits=ours.npy", "part=all", "precision=fp32", "--json", *more))
    return npy("ours.npy")


def near(a, b, what, tolerance=2e-5):
    assert a.shape == b.shape, (what, a.shape, b.shape)
    worst = float((a - b).abs().max() / b.abs().max().clamp(min=1))
    assert worst < tolerance, (what, worst)


def rows_of(name):
    lines = answers(run("predict", "weights=w-" + name, place(FILES[name]), "--json"))
    return [line["text"] for line in lines], [line.get("text2") for line in lines]


FILES = dict(classify="single.csv", pair="pairs.tsv", regress="numbers.jsonl", multilabel="labels.csv", tag="tags.conll")
AUTO = dict(tag=transformers.AutoModelForTokenClassification)


def token_logits(model, tokenizer, path):
    """Of each word's first token."""
    with open(path) as f:
        sentences = [[line.split()[0] for line in block.splitlines()] for block in f.read().strip().split("\n\n")]
    inputs = tokenizer(sentences, is_split_into_words=True, return_tensors="pt", padding=True)
    with torch.no_grad():
        out = model(**inputs).logits
    at = [inputs.word_ids(i) for i in range(len(sentences))]
    return torch.stack([out[s, i] for s, words in enumerate(at) for i, w in enumerate(words)
                        if w is not None and w != words[i - 1]])


def targets_of(folder):
    with safe_open(place(folder + "/model.safetensors"), "pt") as f:
        return json.loads(f.metadata()["ingot.targets"])


@test
def what_is_trained_here_loads_there():
    make_texts()
    for name, file in FILES.items():
        answer(run("train", *LEARN, "data=" + place(file), "epochs=2", "out=w-" + name, "--json"))
        step = max(int(n[5:]) for n in os.listdir(place(f"w-{name}/checkpoints")))
        sources = [f"w-{name}", f"w-{name}/model.safetensors", f"w-{name}/checkpoints/step-{step}"]
        for i, source in enumerate(sources):
            answer(run("convert", source, f"c-{name}-{i}", "tokenizer=" + MODEL, "--json"))
        found = ours("w-" + name, place(file))
        for folder in ["w-" + name] + [f"c-{name}-{i}" for i in range(3)]:
            model, tokenizer = load(AUTO.get(name, transformers.AutoModelForSequenceClassification), folder)
            want = token_logits(model, tokenizer, TAGS) if name == "tag" else logits(model, tokenizer, *rows_of(name))
            if name == "regress" and folder[0] == "w":  # a run's own file speaks in standard deviations; convert's does not
                scale = targets_of(folder)
                want = want * scale["std"][0] + scale["mean"][0]
            again = found if folder[0] == "w" else ours(folder, place(file))
            near(again, want, folder)
            if folder[-1] in "01":  # of the same weights as the run's file (a checkpoint's need not be the best)
                near(again, found, folder)
        with open(place(f"w-{name}/config.json")) as f:
            config = json.load(f)
        assert model.config.id2label == {int(k): v for k, v in config["id2label"].items()}
        assert model.config.problem_type == {"classify": "single_label_classification", "pair": "single_label_classification",
                                             "regress": "regression", "multilabel": "multi_label_classification"}.get(name)
        # Read by the official library, value by value.
        with safe_open(place(f"c-{name}-0/model.safetensors"), "pt") as f:
            assert f.metadata()["format"] == "pt"
            state = model.state_dict()
            for key in f.keys():
                assert torch.equal(f.get_tensor(key), state[key]), key


@test
def pre_trained_here_loads_there():
    for out, more, kind in [("p-next", [], transformers.AutoModelForPreTraining),
                            ("p-none", ["pairs=none"], transformers.AutoModelForMaskedLM)]:
        answer(run("train", *LEARN, "task=mlm", "data=" + CORPUS, "steps=20", "max_length=48", "out=" + out, "--json", *more))
        answer(run("convert", out, "c-" + out, "--json"))
        for folder in (out, "c-" + out):
            load(kind, folder)
            transformers.utils.logging.set_verbosity_error()  # the heads go unused there
            encoder, tokenizer = load(transformers.AutoModel, folder, quiet=False)
            transformers.utils.logging.set_verbosity_warning()
            for pooling in ("cls", "mean"):
                run("predict", "task=embed", "weights=" + folder, SINGLE, "pooling=" + pooling, "out=e.npy", "precision=fp32")
                inputs = tokenizer(rows_of("classify")[0], return_tensors="pt", padding=True)
                with torch.no_grad():
                    h, mask = encoder(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
                rows = h[:, 0] if pooling == "cls" else (h * mask).sum(1) / mask.sum(1)
                near(npy("e.npy"), torch.nn.functional.normalize(rows, dim=1), (folder, pooling))


def random_model(kind, folder, labels, dtype=torch.float32, **more):
    """Saved by Transformers, far from its initial values, so that every tensor matters."""
    torch.manual_seed(len(folder))
    config = transformers.BertConfig(**dict(CONFIG, initializer_range=0.2, id2label=dict(enumerate(labels)),
                                            label2id={n: i for i, n in enumerate(labels)}, **more))
    model = kind(config)
    for p in model.parameters():
        if p.dim() == 1:
            p.data += 0.1 * torch.randn_like(p)
    model = model.to(dtype)
    model.save_pretrained(place(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    tokenizer.save_pretrained(place(folder))
    return model.float().eval(), tokenizer


def rename(folder, change):
    path = place(folder + "/model.safetensors")
    save_file({change(k): v for k, v in load_file(path).items()}, path, metadata={"format": "pt"})


@test
def what_is_saved_there_loads_here():
    texts = rows_of("classify")[0]
    kind = transformers.BertForSequenceClassification
    for folder, dtype in [("h-fp32", torch.float32), ("h-fp16", torch.float16), ("h-bf16", torch.bfloat16)]:
        model, tokenizer = random_model(kind, folder, FRUIT, dtype)
        near(ours(folder, SINGLE), logits(model, tokenizer, texts), folder)
        assert answers(run("predict", "weights=" + folder, SINGLE, "--json"))[0]["label"] in FRUIT
    want = ours("h-fp32", SINGLE)
    # The names of older files, and a file without the prefix.
    for folder, change in [("h-gamma", lambda k: k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")),
                           ("h-bare", lambda k: k.removeprefix("bert."))]:
        shutil.copytree(place("h-fp32"), place(folder))
        rename(folder, change)
        near(ours(folder, SINGLE), want, folder)
        answer(run("convert", folder, folder + "-out", "--json"))
        model, tokenizer = load(transformers.AutoModelForSequenceClassification, folder + "-out")
        near(logits(model, tokenizer, texts), want, folder)
        assert model.config.id2label == dict(enumerate(FRUIT))
    shutil.copytree(place("h-fp32"), place("h-twice"))
    rename("h-twice", lambda k: "bert." + k)
    refused(2, ["has no tensor bert.embeddings.word_embeddings.weight"], "convert", "h-twice", "h-twice-out")
    # A folder of PyTorch's own form: what the message says to run makes it one that is read, tied weights too.
    for folder, kept in [("h-torch", None), ("h-tied", transformers.BertForMaskedLM)]:
        model = random_model(kept, folder, [])[0] if kept else shutil.copytree(place("h-fp32"), place(folder)) and load(kind, "h-fp32")[0]
        os.remove(place(folder + "/model.safetensors"))
        torch.save(model.state_dict(), place(folder + "/pytorch_model.bin"))
        p = refused(2, [folder + "/pytorch_model.bin"], "eval", "weights=" + folder, "data=" + SINGLE)
        subprocess.run([sys.executable, "-c", p.err.split("python3 -c '")[1].split("'")[0]], check=True, cwd=WORK)
        answer(run("convert", folder, folder + "-out", "--json"))
    near(ours("h-torch", SINGLE), want, "h-torch")
    # Two classes without names of their own, which no config.json lists, keep their classifier.
    model, tokenizer = random_model(kind, "h-two", ["LABEL_0", "LABEL_1"])
    with open(place("zeros.csv"), "w") as f:
        f.write("text,label\n" + "".join(f'"{t}",{i % 2}\n' for i, t in enumerate(texts)))
    for source, to in [("h-two", "h-two-out"), ("h-two-out", "h-two.safetensors"), ("h-two.safetensors", "h-two-again")]:
        answer(run("convert", source, to, "tokenizer=h-two", "--json"))
    near(ours("h-two-again", "zeros.csv"), logits(model, tokenizer, texts), "two classes")
    # Texts are cut as they were before, or as max_length= says.
    with open(place("h-two/tokenizer_config.json")) as f:
        about = json.load(f)
    with open(place("h-two/tokenizer_config.json"), "w") as f:
        json.dump(dict(about, model_max_length=8), f)
    cut = ours("h-two", "zeros.csv")
    assert float((cut - ours("h-two-again", "zeros.csv")).abs().max()) > 1e-3
    answer(run("convert", "h-two", "h-eight", "--json"))
    answer(run("convert", "h-two-out", "h-asked", "max_length=8", "--json"))
    near(ours("h-eight", "zeros.csv"), cut, "model_max_length", 1e-7)
    near(ours("h-asked", "zeros.csv"), cut, "max_length=", 1e-7)
    refused(2, ["max_length=65", "64 positions"], "convert", "h-two", "h-long", "max_length=65")
    # Pairs, words, one number, several labels.
    model, tokenizer = random_model(kind, "h-pair", ["other", "same"])
    near(ours("h-pair", PAIRS), logits(model, tokenizer, *rows_of("pair")), "pair")
    model, tokenizer = random_model(transformers.BertForTokenClassification, "h-tag", ["B-FIRST", "B-SECOND", "O"])
    near(ours("h-tag", TAGS), token_logits(model, tokenizer, TAGS), "tag")
    model, tokenizer = random_model(kind, "h-labels", FRUIT, problem_type="multi_label_classification")
    near(ours("h-labels", LABELS), logits(model, tokenizer, *rows_of("multilabel")), "multilabel")
    model, tokenizer = random_model(kind, "h-number", ["label"], problem_type="regression")
    near(ours("h-number", NUMBERS), logits(model, tokenizer, *rows_of("regress")), "regress")


def shard_loss(model, folder):
    """Mean loss of the masked words, and that of both tasks, of all rows; None where there is no second task."""
    words, labels, pair_logits, pair_labels = [], [], [], []
    for name in sorted(os.listdir(place(folder))):
        with h5py.File(os.path.join(place(folder), name)) as f:
            ids, mask, types, at, want, following = (
                torch.tensor(f[k][:]).long() for k in ["input_ids", "input_mask", "segment_ids", "masked_lm_positions",
                                                       "masked_lm_ids", "next_sentence_labels"])
        with torch.no_grad():
            out = model(input_ids=ids, attention_mask=mask, token_type_ids=types)
        used = at > 0
        rows = torch.arange(len(ids))[:, None].expand_as(at)
        words.append((out.logits if "logits" in out else out.prediction_logits)[rows[used], at[used]])
        labels.append(want[used])
        if "seq_relationship_logits" in out:
            pair_logits.append(out.seq_relationship_logits)
            pair_labels.append(following)
    loss = torch.nn.functional.cross_entropy
    masked = loss(torch.cat(words), torch.cat(labels))
    return float(masked), float(masked + loss(torch.cat(pair_logits), torch.cat(pair_labels))) if pair_logits else None


@test
def pre_training_heads_both_ways():
    answer(run("data", "shard", "data=" + CORPUS, "tokenizer=" + MODEL, "out=shards", "max_length=48", "rows=100", "--json"))
    saved = [("h-pre", transformers.BertForPreTraining, {}), ("h-mlm", transformers.BertForMaskedLM, {}),
             ("h-untied", transformers.BertForMaskedLM, dict(tie_word_embeddings=False))]
    models = [(folder, random_model(kind, folder, [], **more)[0], kind) for folder, kind, more in saved]
    for folder, kind in [("p-next", transformers.BertForPreTraining), ("p-none", transformers.BertForMaskedLM)]:
        models.append((folder, load(kind, folder)[0], kind))
    for folder, model, kind in models:
        answer(run("convert", folder, "again-" + folder, "--json"))
        masked, both = shard_loss(model, "shards")
        for weights in (folder, "again-" + folder):
            found = answer(run("eval", "weights=" + weights, "data=shards", "part=all", "precision=fp32", "--json"))
            assert abs(found["masked_loss"] - masked) < 1e-4 * masked, (weights, found["masked_loss"], masked)
            assert both is None or abs(found["loss"] - both) < 1e-4 * both, (weights, found["loss"], both)
        back, _ = load(kind, "again-" + folder)
        assert abs(shard_loss(back, "shards")[0] - masked) < 1e-5 * masked, folder


main(needed=["what_is_trained_here_loads_there", "pre_trained_here_loads_there"])
