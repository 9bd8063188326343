#!/usr/bin/env python3
"""bindings/python/ingot.py on the library of this build: results are those of the program, failures exceptions."""
import json
import logging
import os
import signal
import subprocess
import sys
import threading

from ingot_cli import BIN, CLASSES, DATA, ENV, SANITIZED, SOURCE, WORK, answer, answers, main, run, test
from text_cli import MODEL, make_texts, place

if SANITIZED:
    print("skipped: a Python has no sanitizer to load first")
    sys.exit(77)
os.environ.update(INGOT_LIBRARY=os.path.join(os.path.dirname(os.path.abspath(BIN)), "libingot.so"),
                  XDG_CACHE_HOME=ENV["XDG_CACHE_HOME"])
MODULE = os.path.join(SOURCE, "bindings", "python")
sys.path.insert(0, MODULE)
import ingot  # noqa: E402

RUN = place("python run")
SMALL = dict(model="resnet20", data=DATA, batch=12, augment="light", crop_scale=1, lr=0.02, ema=False, seed=3,
             winograd=False, cache="64MB", epochs=6)


def raises(kind, function, *words, **keys):
    try:
        function(*words, **keys)
    except kind as e:
        return e
    raise AssertionError(f"no {kind.__name__}")


@test
def trains_like_the_program():
    lines, states = [], []
    result = ingot.train(**SMALL, out=RUN, freeze=None, lr_scale={"linear.*": 1, "layer1.*": 0.5},
                         on_line=lines.append, on_progress=states.append)
    assert result["run"] == RUN and result["epochs"] == 6, result
    assert any("epoch" in line for line in lines) and states[-1] == "", (lines[-2:], states[-2:])
    ours = ingot.evaluate(weights=RUN, data=DATA, part="test")
    theirs = answer(run("eval", "weights=" + RUN, "data=" + DATA, "part=test", "--json"))
    assert ours["n"] == 24 and ours["loss"] == theirs["loss"] and ours["per_class"] == theirs["per_class"], ours
    with open(os.path.join(RUN, "args.yaml")) as f:
        assert "layer1.*:0.5" in f.read()


@test
def predicts_what_can_be_read():
    odd = place("--a=b, \xe9.png")
    with open(os.path.join(DATA, "test", "rows", "001.png"), "rb") as f, open(odd, "wb") as out:
        out.write(f.read())
    broken = place("broken.png")
    open(broken, "w").close()
    before = os.getcwd()
    os.chdir(WORK)
    try:
        first, second, third = ingot.predict(os.path.basename(odd), broken, os.path.join(DATA, "test", "rows", "001.png"),
                                             weights=RUN)
    finally:
        os.chdir(before)
    assert first["label"] == third["label"] and first["p"] == third["p"] and first["label"] in CLASSES, first
    assert "error" in second and "label" not in second, second
    theirs = answers(run("predict", "weights=" + RUN, "./" + os.path.basename(odd), broken,
                         os.path.join(DATA, "test", "rows", "001.png"), "--json"), 1)
    assert [a.get("p") for a in theirs] == [a.get("p") for a in (first, second, third)], theirs
    lost = raises(ingot.Error, ingot.predict, weights=RUN)
    assert lost.status == "usage" and lost.exit_code == 2 and not lost.results, lost


@test
def failures_are_exceptions():
    unknown = raises(ingot.Error, ingot.train, model="resnet20", epocs=3)
    assert "epocs" in str(unknown) and "epochs" in str(unknown) and unknown.exit_code == 2, unknown
    gone = raises(ingot.Error, ingot.evaluate, weights=place("nowhere"), data=DATA)
    assert gone.status == "not found" and place("nowhere") in str(gone), (gone.status, gone)
    raises(ValueError, ingot.evaluate, weights="a\0b", data=DATA)
    raises(TypeError, ingot.predict, "a.png", texts=["b"], weights=RUN)
    raises(TypeError, ingot.predict, texts="one text", weights=RUN)
    assert raises(ingot.Error, ingot.call, "trian").exit_code == 2


@test
def lines_go_to_the_logger():
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append((record.levelname, record.getMessage()))
    ingot.log.addHandler(handler)
    ingot.log.setLevel(logging.INFO)
    ingot.evaluate(weights=RUN, data=DATA, part="train")
    ingot.log.removeHandler(handler)
    assert seen and all(text and "\n" not in text for _, text in seen), seen
    assert any("trained" in text for _, text in seen), seen


@test
def an_exception_stops_and_is_raised():
    out = place("stopped")

    def fail(text):
        if "epoch" in text:
            raise KeyError(text)

    raises(KeyError, ingot.train, **SMALL, out=out, on_line=fail)
    asked = []
    stopped = raises(ingot.Stopped, ingot.train, **SMALL, out=out, resume="auto",
                     should_stop=lambda: asked.append(1) or len(asked) > 3)
    assert stopped.status == "stopped" and stopped.exit_code == 75 and "step-" in str(stopped), stopped
    again = ingot.train(**SMALL, out=out, resume="auto")
    assert again["epochs"] == 6, again
    for name in ("loss", "accuracy"):  # as if it had never stopped
        assert ingot.evaluate(weights=out, data=DATA)[name] == answer(
            run("eval", "weights=" + out, "data=" + DATA, "--json"))[name]
    whole = ingot.train(**SMALL, out=place("whole"))
    assert whole["train_loss"] == again["train_loss"], (whole, again)


@test
def control_c_is_a_keyboard_interrupt():
    code = ("import ingot, sys\n"
            "try:\n"
            "  ingot.train(on_progress=lambda text: print(text, flush=True), **" + repr(dict(SMALL, epochs=5000)) + f", out={place('kept')!r})\n"
            "except KeyboardInterrupt:\n"
            "  print('interrupted')\n")
    p = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=WORK,
                         env=dict(os.environ, PYTHONPATH=MODULE))
    said = []
    for line in p.stdout:
        said.append(line)
        if "epoch" in line:
            p.send_signal(signal.SIGINT)
            break
    said += p.stdout.readlines()
    assert p.wait() == 0 and said[-1] == "interrupted\n", said[-3:]
    assert ingot.checkpoint("list", place("kept"))["checkpoints"], said


@test
def two_threads_at_once():
    results, errors = {}, []

    def measure(part):
        try:
            results[part] = ingot.evaluate(weights=RUN, data=DATA, part=part, threads=1)
            raises(ingot.Error, ingot.evaluate, weights=place("no " + part), data=DATA)
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=measure, args=(part,)) for part in ("train", "val", "test")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors and [results[p]["n"] for p in ("train", "val", "test")] == [60, 15, 24], (errors, results)


@test
def texts_in_answers_out():
    make_texts()
    result = ingot.train(model=MODEL, weights="none", data=place("single.csv"), epochs=2, out=place("texts"))
    texts = ["a, \"quoted\"\nline", "", "\u00e9t\u00e9 \U0001f600", "word " * 500]
    found = ingot.predict(texts=texts, weights=result["run"])
    assert len(found) == 4 and all("label" in a or "error" in a for a in found), found
    assert [a["text"] for a in found if "label" in a][0] == texts[0], found
    vectors = place("vectors.npy")
    ingot.predict(texts=texts[2:], weights=result["run"], task="embed", out=vectors)
    with open(vectors, "rb") as f:
        assert b"'shape': (2, 32)" in f.read(128)
    pairs = ingot.train(model=MODEL, weights="none", data=place("pairs.tsv"), epochs=1, out=place("pairs"))
    assert len(ingot.predict(texts=[("a b", "c d"), ("e", "f")], weights=pairs["run"])) == 2
    assert "text2_column" in ingot.predict(texts=["a b"], weights=pairs["run"])[0]["error"]
    ids = ingot.tokenizer("encode", place("single.csv"), tokenizer=MODEL)
    assert len(ids) > 1 and ids[0]["ids"], ids[:1]


@test
def the_other_verbs_answer():
    assert ingot.__version__ == ingot.version()["version"]
    assert ingot.plan(model="resnet18", data=DATA, batch=2, image_size=32)["parameters"] == 11178051
    assert ingot.keys("train") and ingot.doctor()
    assert os.path.exists(ingot.report(RUN)["path"])
    assert ingot.data(DATA)["readable"] == 99
    target = place("out.safetensors")
    assert ingot.convert(RUN, target) and os.path.exists(target)
    assert json.dumps(ingot.checkpoint("verify", RUN))


@test
def the_library_is_found_or_named():
    code = "import ingot; print(ingot.__version__)"
    bare = {k: v for k, v in os.environ.items() if k != "INGOT_LIBRARY"}
    wrong = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                           env=dict(bare, PYTHONPATH=MODULE, INGOT_LIBRARY=place("no.so")))
    assert wrong.returncode and place("no.so") in wrong.stderr and "INGOT_LIBRARY" in wrong.stderr, wrong.stderr


main()
