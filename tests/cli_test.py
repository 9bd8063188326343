#!/usr/bin/env python3
"""The program from outside: verbs, keys, exit codes, streams, refusals of data.

Rule and helpers: ingot_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

from ingot_cli import *  # noqa: F403 - the tests' own words


# ---- usage ----
@test
def unknown_words_have_nearest_names():
    refused(2, ["unknown verb", "train"], "trian")
    refused(2, ["unknown key", "lr"], "train", "lrr=3")
    refused(2, ["resnet18", "ingot help"], "train", "model=resnet81", "data=" + DATA)
    refused(2, ["list, verify or show", "verify"], "checkpoint", "verfy", DATA)
    refused(2, ["unknown verb", "train"], "keys", "trai")
    refused(2, ["bash and zsh"], "completion", "fish")


@test
def no_verb_is_help_and_exit_2():
    p = run()
    assert p.returncode == 2 and "verbs" in p.out, p.out


@test
def every_verb_refuses_usage_errors():
    for verb in ["train", "eval", "predict", "plan", "convert", "checkpoint", "report", "demo", "doctor", "keys",
                 "completion", "help", "version"]:
        refused(2, ["no_such_key"], verb, "no_such_key=1")
        refused(2, ["threads"], verb, "threads=many")
        refused(2, ["json"], verb, "json=perhaps")
    for verb in ["train", "eval", "predict", "plan", "convert", "checkpoint", "report", "completion"]:
        refused(2, ["usage: ingot " + verb], verb)
    for verb in ["train", "plan", "doctor", "version", "demo"]:
        refused(2, ["one word too many"], verb, "a/word", *(["model=resnet18", "data=."] if verb == "train" else []))
    refused(2, ["model="], "train", "data=" + DATA)
    refused(2, ["weights="], "predict", DATA)
    refused(2, ["belongs to"], "eval", "epochs=3")
    refused(2, ["epochs"], "train", *SMALL, "epochs=0")
    refused(2, ["contradict"], "train", *SMALL, "epochs=1", "steps=3", "out=" + WORK + "/never")
    assert not os.path.exists(WORK + "/never")


def cuda_is_built():
    return os.path.exists(os.path.join(os.path.dirname(BIN), "libingot_cuda.so"))


@test
def devices_and_precisions_that_are_not_there():
    if os.path.exists("/dev/nvidiactl"):
        print("skipped: device=cuda where there is no GPU: here is one")
    else:
        refused(2, ["device=cuda: ", "no NVIDIA driver" if cuda_is_built() else "could not be loaded"], "train", *SMALL,
                "device=cuda", "out=" + WORK + "/never")
    refused(2, ["expected auto, cpu, cuda or cuda:N"], "train", *SMALL, "device=gpu", "out=" + WORK + "/never")
    refused(2, ["precision=fp16", "fp32 or bf16"], "train", *SMALL, "precision=fp16", "out=" + WORK + "/never")
    refused(2, ["loss_scale=128 is for precision=fp16", "leave it out"], "train", *SMALL, "precision=fp32", "loss_scale=128",
            "out=" + WORK + "/never")
    refused(2, ["precision"], "train", *SMALL, "precision=fp8", "out=" + WORK + "/never")


@test
def keys_from_files_and_precedence():
    path = os.path.join(WORK, "keys.yaml")
    with open(path, "w") as f:
        f.write("format: markdown\nthreads: 1\n")
    assert run("keys", "--config", path).out.startswith("# Keys")
    assert run("keys", "--config", path, "format=text").out.startswith("key ")
    with open(path, "w") as f:
        f.write("lrr: 1\n")
    refused(2, ["keys.yaml:1", "lrr"], "train", "--config", path)
    refused(2, ["absent.yaml"], "train", "--config", "absent.yaml")


# ---- verbs without data ----
@test
def help_version_doctor_keys():
    assert "train" in run("help").out and "label_smoothing" in run("help", "train").out
    assert run("train", "--help").out == run("help", "train").out
    version = answer(run("version", "--json"))
    assert version["version"].count(".") == 2 and version["git"] and "cpu" in version["back_ends"]
    assert version["version"] in run("--version").out
    doctor = answer(run("doctor", "--json"))
    for key in ["processor", "threads", "memory", "libraries", "folders", "missing", "instruction_sets", "bf16"]:
        assert key in doctor, key
    assert doctor["gpu"].startswith("none: device=cuda: ") or "sm_" in doctor["gpu"], doctor["gpu"]
    assert "oneDNN" in run("doctor").out
    keys = answer(run("keys", "train", "--json"))["keys"]
    assert {"model", "data", "lr", "epochs", "resume"} <= {k["key"] for k in keys}
    assert all(k["meaning"] and k["type"] for k in keys)
    for verb in version:
        assert verb
    assert "ema" in run("keys").out
    assert answer(run("help", "--json"))["help"]


@test
def keys_document_is_current():
    with open(os.path.join(SOURCE, "docs", "keys.md"), encoding="utf-8") as f:
        assert f.read() == run("keys", "format=markdown").out, "write it anew: ingot keys format=markdown > docs/keys.md"


@test
def completion_is_a_script():
    bash = run("completion", "bash").out
    assert subprocess.run(["bash", "-n"], input=bash.encode()).returncode == 0
    offered = subprocess.run(
        ["bash", "-c", bash + "\nCOMP_WORDS=(ingot train label_s); COMP_CWORD=2; compopt() { :; }; _ingot; "
         "echo ${COMPREPLY[@]}\nCOMP_WORDS=(ingot tr); COMP_CWORD=1; _ingot; echo ${COMPREPLY[@]}\n"
         "COMP_WORDS=(ingot train optimizer = ad); COMP_CWORD=4; _ingot; echo ${COMPREPLY[@]}"],
        stdout=subprocess.PIPE, cwd=WORK).stdout.decode().split("\n")
    assert offered[0] == "label_smoothing=", offered
    assert offered[1] == "train", offered
    assert offered[2].split() == ["adam", "adamw"], offered


def on_terminal(words, folder, **env):
    """Process and terminal of a program that runs on a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            os.environ.update(ENV, **env)
            os.execvp(words[0], words)
        finally:
            os._exit(127)
    return pid, terminal


def typed(shell, setup, lines):
    """What a shell shows on a terminal of its own after each line and a press of the tabulator key."""
    folder = os.path.join(WORK, "typed")
    os.makedirs(os.path.join(folder, "odd name"), exist_ok=True)
    pid, terminal = on_terminal(shell, folder, PS1="$ ", TERM="dumb",
                                PATH=os.path.dirname(os.path.abspath(BIN)) + ":" + os.environ["PATH"])
    shown = []

    def read(until, seconds=20):
        text, end = "", time.monotonic() + seconds
        while until not in text and time.monotonic() < end:
            if select.select([terminal], [], [], 0.05)[0]:
                text += os.read(terminal, 65536).decode("utf-8", "replace").replace("\a", "")
        return text
    os.write(terminal, (setup + "; echo rea''dy\n").encode())
    assert "ready" in read("ready"), shell
    for line, wanted in lines:
        os.write(terminal, (line + "\t\t").encode())
        shown.append((line, wanted, read(wanted)))
        os.write(terminal, b"\x15")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)
    for line, wanted, text in shown:
        assert wanted in text, f"{shell[0]}: {line!r} + TAB shows {text!r}, not {wanted!r}"


COMPLETIONS = [("ingot tr", "ingot train"), ("ingot train label_s", "label_smoothing="),
               ("ingot train optimizer=rm", "rmsprop"), ("ingot train model=resnext", "resnext50_32x4d"),
               ("ingot eval --wei", "--weights"), ("ingot train --optimizer rm", "rmsprop"),
               ("ingot train --json monit", "monitor="), ("ingot bench ke", "kernels"), ("ingot checkpoint ver", "verify"),
               ("ingot data sha", "shard"), ("ingot demo te", "text"),
               # A name with a space is one answer, and a folder ends by /.
               ("ingot train data=odd", "odd\\ name/"), ("ingot predict odd", "odd\\ name/"),
               ("ingot predict 'odd n", "name"), ("ingot eval --data odd", "odd\\ name/")]


@test
def completion_in_bash():
    typed(["bash", "--norc", "--noprofile", "-i"], "source <(ingot completion bash)", COMPLETIONS)


@test
def completion_in_zsh():
    if not shutil.which("zsh"):
        print("     skipped: no zsh here")
        return
    typed(["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(ingot completion zsh)", COMPLETIONS)


@test
def progress_on_a_terminal_and_without():
    """One line that rewrites itself and fits 80 columns, with what must be seen in it; plain lines elsewhere."""
    words = ["train", *SMALL, "steps=8", "out=" + WORK]
    plain = run(*words[:-1], "out=" + os.path.join(WORK, "plain"))
    assert "\r" not in plain.err and re.search(
        r"^epoch 1 of \d+  loss [0-9.]+  step 1 of 8  \d+ MiB$", plain.err, re.M), plain.err  # no rate of the start
    pid, terminal = on_terminal([os.path.abspath(BIN), *words[:-1], "out=" + os.path.join(WORK, "seen")], WORK, TERM="xterm")
    text = b""
    try:
        while True:
            text += os.read(terminal, 65536)
    except OSError:  # the program has ended
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text[-800:]
    lines = [line.rstrip() for line in re.split(r"[\r\n]", text.decode()) if line.startswith("epoch")]
    running = [line for line in lines if " left  loss " in line]
    assert running and all(len(line) < 80 for line in running), lines
    # A best accuracy may push the end of the rate out of a narrow screen; cli_edges_test has a wide one.
    assert re.search(r" left  loss [0-9.]+ .*[0-9]+\.[0-9]", running[0]), running[0]
    assert run(*words[:-1], "--quiet", "out=" + os.path.join(WORK, "mute")).err == ""


@test
def dropout_is_a_key_of_training():
    def last_loss(name, *words):
        answer(run("train", *SMALL, "steps=4", "out=" + os.path.join(WORK, name), *words, "--json"))
        return content(name, "model.safetensors")
    dropped = last_loss("half", "dropout=0.5", "threads=2")
    timed = open(os.path.join(ENV["XDG_CACHE_HOME"], "ingot", "tuned.json")).read()
    assert dropped == last_loss("half1", "dropout=0.5", "threads=1")
    # Another number of threads takes the choices of the first: its own timing could find other kernels.
    assert timed == open(os.path.join(ENV["XDG_CACHE_HOME"], "ingot", "tuned.json")).read()
    assert dropped != last_loss("none", "dropout=0")
    refused(2, ["dropout", "below 1"], "train", *SMALL, "dropout=1", "out=" + WORK + "/never")


@test
def colours_only_where_wanted():
    assert "\033" not in run("nonsense").err


# ---- bad data ----
@test
def bad_data_sets():
    def folder(name, files):
        for path, content in files.items():
            place = os.path.join(WORK, name, path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if content is not None:
                open(place, "wb").write(content)
        return "data=" + os.path.join(WORK, name)
    picture = open(os.path.join(DATA, "test", "rows", "001.png"), "rb").read()
    base = ["train", "model=resnet20", "epochs=1", "out=" + WORK + "/never"]
    refused(2, ["absent"], *base, "data=absent")
    os.makedirs(os.path.join(WORK, "empty"))
    refused(2, ["empty"], *base, "data=empty")
    refused(2, ["class"], *base, folder("one", {f"a/{i}.png": picture for i in range(8)}))
    refused(2, ["hollow"], *base, folder("hole", {**{f"{c}/{i}.png": picture for c in "ab" for i in range(8)},
                                                  "hollow/x": None}))
    refused(2, ["batch"], *base, "data=" + DATA, "batch=512")
    refused(2, ["nosuch"], *base, "data=" + DATA, "weights=nosuch.safetensors")
    empty = os.path.join(WORK, "zero.safetensors")
    open(empty, "wb").close()
    refused(2, ["zero.safetensors"], *base, "data=" + DATA, "weights=" + empty)
    pickle = os.path.join(WORK, "pickle.safetensors")
    open(pickle, "wb").write(b"\x80\x02}q\x00." + bytes(100))
    refused(2, ["pickle"], *base, "data=" + DATA, "weights=" + pickle)
    with open(os.path.join(WORK, "cw.csv"), "w") as f:
        f.write("class,weight\nnobody,2\n")
    refused(2, ["cw.csv:2", "nobody"], *base, "data=" + DATA,
            "class_weights=cw.csv")
    assert not os.path.exists(WORK + "/never/model.safetensors")


@test
def demo_from_nothing():
    out = os.path.join(WORK, "demo")
    words = ["demo", "out=" + out, "samples=120", "epochs=1", "--json"]
    result = answer(run(*words))
    assert result["epochs"] == 1 and result["test"]["n"] == 24 and os.path.exists(os.path.join(out, "run", "report.html"))
    assert answer(run(*words))["accuracy"] == result["accuracy"]  # what is done is not done again


main()
