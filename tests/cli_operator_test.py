#!/usr/bin/env python3
"""What an operator of long runs relies on: refusals leave nothing, finished runs stay what they are, limits hold.

Rule and helpers: ingot_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import threading
import time

from ingot_cli import *  # noqa: F403 - the tests' own words

TINY = ["model=resnet8_mlperf", "data=" + DATA, "image_size=16", "batch=12", "seed=3", "threads=1", "precision=fp32"]
SMALL_RUN = ["train", *TINY, "steps=8", "save_every=2"]


def place(*path):
    return os.path.join(WORK, *path)


def there(folder):
    return sorted(os.listdir(place(folder))) if os.path.exists(place(folder)) else None


@test
def a_refused_train_leaves_nothing():
    refusals = [(["memory=2MiB"], "memory"), (["batch=1000"], "fewer than batch=1000"), (["loss=mse"], "loss=mse"),
                (["monitor=rmse"], "monitor=rmse")]
    for more, text in refusals:
        for out in ("refused", "refused/deep/er/", place("refused") + "//deep"):
            refused(2, [text], *SMALL_RUN, *more, "out=" + out)
            assert there("refused") is None, (more, out, there("refused"))
    # What was there before stays, as it was.
    os.makedirs(place("old", "inner"))
    refused(2, ["loss=mse"], *SMALL_RUN, "loss=mse", "out=old/inner")
    refused(2, ["loss=mse"], *SMALL_RUN, "loss=mse", "out=old/inner/new/run")
    assert there("old") == ["inner"] and there("old/inner") == [], there("old/inner")
    # A run that began keeps its folder and its lock.
    answer(run(*SMALL_RUN, "out=kept", "--json"))
    before = there("kept")
    refused(2, ["memory"], *SMALL_RUN, "out=kept", "resume=auto", "memory=2MiB", "steps=9")
    assert there("kept") == before and ".lock" in before


@test
def refusals_and_runs_at_once_never_share_a_folder():
    # Refusals make and remove the folder and its lock all the time; of the runs one has it, or one after the other.
    stop, found = threading.Event(), []

    def refuse():
        while not stop.is_set():
            p = run(*SMALL_RUN, "loss=mse", "out=shared/run", "resume=auto")
            found.append((p.returncode, p.err))

    thread = threading.Thread(target=refuse)
    thread.start()
    try:
        for _ in range(4):
            runs = [start(*SMALL_RUN[1:], "out=shared/run", "resume=auto") for _ in range(2)]
            answers = [p.communicate(timeout=LIMIT)[1].decode() for p in runs]
            for p, err in zip(runs, answers):
                assert p.returncode == 0 or (p.returncode == 2 and "locked" in err), (p.returncode, err[-500:])
            assert any(p.returncode == 0 for p in runs) or "locked" in answers[0], answers
            if os.path.exists(place("shared", "run", "log.jsonl")):
                steps = [(r["split"], r["step"]) for r in log_of("shared/run")]
                assert len(steps) == len(set(steps)), steps
            shutil.rmtree(place("shared"), ignore_errors=True)
    finally:
        stop.set()
        thread.join()
    assert found and all(code == 2 for code, _ in found), [f for f in found if f[0] != 2][:1]


@test
def a_finished_run_is_of_its_data():
    answer(run(*SMALL_RUN, "out=finished", "--json"))
    other = make_data(place("other"), {"train": 25, "val": 5}, seed=9)
    same = shutil.copytree(DATA, place("moved"))
    words = ["train", "out=finished", "resume=auto"]
    refused(2, ["data set has changed"], *words, "data=" + other)
    expect(run(*words, "data=" + same), 0, "is finished already")
    expect(run(*words), 0, "is finished already")


@test
def a_finished_run_without_checkpoints_is_not_trained_over():
    answer(run(*SMALL_RUN, "out=pruned", "--json"))
    shutil.rmtree(place("pruned", "checkpoints"))
    before = content("pruned", "model.safetensors")
    expect(run(*SMALL_RUN, "out=pruned", "resume=auto"), 0, "is finished already")
    words = [w for w in SMALL_RUN if not w.startswith("steps=")]
    refused(2, ["trained up to step 8", "no checkpoint", "weights=pruned"], *words, "steps=12", "out=pruned", "resume=auto")
    refused(2, ["no checkpoint"], *words, "steps=12", "resume=pruned")
    assert content("pruned", "model.safetensors") == before
    # A run that was killed before its first checkpoint starts again, and says so.
    os.remove(place("pruned", "result.json"))
    expect(run(*SMALL_RUN, "out=pruned", "resume=auto"), 0, "holds no checkpoint yet")


@test
def a_finished_run_makes_its_weights_again():
    answer(run(*SMALL_RUN, "out=bare", "--json"))
    before = content("bare", "model.safetensors")
    os.remove(place("bare", "model.safetensors"))
    expect(run(*SMALL_RUN, "out=bare", "resume=auto"), 0, "resumed at step 8 of 8")
    assert content("bare", "model.safetensors") == before


@test
def the_best_weights_are_whole_before_a_run_goes_on():
    # Learned weights that a rate of 3 ruins: the best epoch is the first, and the file that is cut off is its.
    answer(run("train", *TINY, "epochs=60", "out=learned", "--json"))
    words = ["train", *TINY, "weights=learned", "lr=3", "clip=1", "schedule=constant", "warmup=100", "save_every=5", "keep=30",
             "out=ruined"]
    answer(run(*words, "steps=40", "--json"))
    best, before = content("ruined", "best"), content("ruined", "model.safetensors")
    with open(place("ruined", "model.safetensors"), "r+b") as f:
        f.truncate(3000)
    expect(run(*words, "steps=45", "resume=auto"), 0, "ruined/model.safetensors", "it is made again")
    if content("ruined", "best") == best:
        assert content("ruined", "model.safetensors") == before


@test
def a_folder_of_something_else_is_no_place_for_a_run():
    os.makedirs(place("precious"))
    with open(place("precious", "model.safetensors"), "w") as f:
        f.write("precious")
    for resume in ("none", "auto"):
        refused(2, ["out=precious", "not empty"], *SMALL_RUN, "out=precious", "resume=" + resume)
        assert there("precious") == ["model.safetensors"] and content("precious", "model.safetensors") == b"precious"
    # What starts leave that were killed is in nobody's way.
    os.makedirs(place("killed", "checkpoints"))
    for name in (".lock", "args.yaml.17-0.tmp", "0123.tokens.tmp", "checkpoints/.probe"):
        with open(place("killed", name), "w"):
            pass
    expect(run(*SMALL_RUN, "out=killed", "resume=auto"), 0)
    os.remove(place("killed", "args.yaml"))  # its checkpoints say that it is a run
    expect(run(*SMALL_RUN, "steps=9", "out=killed", "resume=auto"), 0, "resumed at step 8 of 9")


@test
def a_checkpoint_is_no_run_without_checkpoints():
    answer(run(*SMALL_RUN, "out=listed", "--json"))
    for word in ("list", "verify"):
        refused(2, ["step-8 is a checkpoint", word + " takes its run folder"], "checkpoint", word,
                "listed/checkpoints/step-8")
        for path in ("listed", "listed/checkpoints"):
            found = answer(run("checkpoint", word, path, "--json"))["checkpoints"]
            assert found[-1]["step"] == 8 and all(c["valid"] for c in found), found


@test
def class_weights_are_what_they_were():
    def write(rows):
        with open(place("weights.csv"), "w") as f:
            f.write(f"class,weight\nchecks,1\nrows,{rows}\nstripes,1\n")

    write(2)
    words = [*SMALL_RUN, "class_weights=weights.csv", "out=weighted"]
    expect(run(*words, "time_limit=1ms"), 75)
    write(3)
    refused(2, ["another configuration", "class weights"], *words, "resume=auto", "time_limit=0")
    write("2.0")  # by meaning
    expect(run(*words, "resume=auto", "time_limit=0"), 0, "resumed at step 1 of 8")


@test
def weights_to_start_from_may_be_gone():
    answer(run(*SMALL_RUN, "out=start", "--json"))
    words = [*SMALL_RUN, "weights=start"]
    answer(run(*words, "out=tuned", "--json"))
    expect(run(*words, "out=going", "time_limit=1ms"), 75, "at step 1 of 8")
    os.rename(place("start"), place("elsewhere"))
    expect(run(*words, "out=going", "resume=auto", "time_limit=0"), 0, "is no longer there", "resumed at step 1")
    assert content("tuned", "model.safetensors") == content("going", "model.safetensors")
    refused(2, ["start does not exist"], *words, "out=never")
    shutil.rmtree(place("going", "checkpoints"))
    os.remove(place("going", "result.json"))
    refused(2, ["start does not exist"], *words, "out=going", "resume=auto")


@test
def choices_of_implementations_travel_with_the_checkpoint():
    # A run that goes on beside another cache (another machine's, or a node's own disk) takes the kernels that it had.
    words = ["train", "model=resnet20", "data=" + DATA, "batch=12", "seed=3", "threads=1", "precision=fp32", "steps=8"]

    def by_cache(name, *more):
        p = run(*words, *more, env=dict(ENV, XDG_CACHE_HOME=place(name)))
        assert p.returncode in (0, 75), p.err[-500:]

    by_cache("cache-a", "out=by-a")
    with open(place("cache-a", "ingot", "tuned.json")) as f:
        choices = json.load(f)
    names = {}
    for key, value in choices.items():
        if not key.endswith("|ns"):
            names.setdefault(key.split("|")[0], []).append(value)
    for key, value in choices.items():
        if not key.endswith("|ns"):
            others = [name for name in names[key.split("|")[0]] if name != value]
            choices[key] = max(sorted(set(others)), key=others.count) if others else value
    os.makedirs(place("cache-b", "ingot"))
    with open(place("cache-b", "ingot", "tuned.json"), "w") as f:
        json.dump(choices, f)
    by_cache("cache-b", "out=by-b")
    if content("by-a", "model.safetensors") == content("by-b", "model.safetensors"):
        print("     on this processor other kernels give the same bits: nothing is told")
    by_cache("cache-a", "out=by-both", "time_limit=1ms")
    by_cache("cache-b", "out=by-both", "time_limit=0", "resume=auto")
    assert content("by-a", "model.safetensors") == content("by-both", "model.safetensors")


@test
def the_default_run_is_one_of_its_own_name():
    # "data" is the beginning of "data-x", and what has no args.yaml is no run.
    os.makedirs(place("default"))
    shutil.copytree(DATA, place("default", "data"))
    other = make_data(place("default", "data-x"), {"train": 25, "val": 5}, seed=9)
    words = [w for w in SMALL_RUN if not w.startswith("data=")]
    for name in ("data", "data-x"):
        answer(run(*words, "data=" + name, "--json", cwd=place("default")))
    os.makedirs(place("default", "runs", "resnet8_mlperf-data-29990101-000000"))
    with open(place("default", "runs", "resnet8_mlperf-data-29990102-000000.html"), "w"):
        pass
    for name in ("data", os.path.basename(other)):
        found = answer(run(*words, "data=" + name, "resume=auto", "--json", cwd=place("default")))["run"]
        assert re.fullmatch(f"runs/resnet8_mlperf-{name}-20[0-9]{{6}}-[0-9]{{6}}", found), found


@test
def a_limit_on_file_sizes_is_an_error_and_no_kill():
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200 << 10, 200 << 10))
    p = subprocess.run([BIN, *SMALL_RUN, "out=limited"], capture_output=True, cwd=WORK, env=ENV, preexec_fn=limit,
                       timeout=LIMIT)
    assert p.returncode == 1 and b"File too large" in p.stderr, (p.returncode, p.stderr[-500:])


@test
def a_closed_standard_stream_is_no_file_of_the_run():
    # The lock, held all the time, had the number of standard error, and the lines of the run were written into it.
    for closed in ((2,), (0, 1, 2)):
        out = "closed%d" % len(closed)
        p = subprocess.Popen([BIN, "train", *TINY, "epochs=79", "save_every=50", "out=" + out], cwd=WORK, env=ENV,
                             preexec_fn=lambda: [os.close(fd) for fd in closed])
        log = place(out, "log.jsonl")
        end = time.monotonic() + LIMIT
        while not (os.path.exists(log) and '"val"' in content(out, "log.jsonl").decode()):
            assert time.monotonic() < end and p.poll() is None, p.returncode
            time.sleep(0.01)
        time.sleep(0.1)  # an evaluation's line is written after its record
        lock = content(out, ".lock").decode()
        p.send_signal(signal.SIGTERM)
        assert p.wait(timeout=LIMIT) == 75, p.returncode
        assert re.fullmatch(f"{p.pid} [^\\n]*\\n", lock), lock


@test
def going_on_needs_no_room_twice():
    disk = place("disk")
    os.makedirs(disk)
    words = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk]
    if subprocess.run(words, capture_output=True).returncode:
        return  # no mount is permitted here
    try:
        answer(run(*SMALL_RUN, "out=disk/run", "--json"))
        need = int(re.search(r"checkpoints need (\d+)", run_with_room(1 << 20, "out=disk/new").err).group(1))
        # Room for one more, and for what stays of a run of this size, less what is there.
        held = sum(c["bytes"] for c in answer(run("checkpoint", "list", "disk/run", "--json"))["checkpoints"])
        longer = [*SMALL_RUN, "steps=10", "resume=auto"]
        p = run_with_room(need - held - (64 << 10), "out=disk/run", *longer[1:])
        expect(p, 2, "bytes free", f"need {need - held}")
        answer(run_with_room(need - held + (1 << 20), "out=disk/run", *longer[1:], "--json"))
    finally:
        subprocess.run(["umount", disk], capture_output=True)


@test
def a_cache_without_room_is_refused_before_any_work():
    disk = place("small")
    os.makedirs(disk)
    os.makedirs(place("texts"))
    rng = random.Random(5)
    words = ["".join(rng.choice("abcdefgh") for _ in range(rng.randint(2, 6))) for _ in range(500)]
    with open(place("texts", "a.txt"), "w") as f:
        for _ in range(4000):
            f.write(" ".join(rng.choice(words) for _ in range(12)) + ".\n")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True).returncode:
        return  # no mount is permitted here
    try:
        refused(2, ["MB are free", "XDG_CACHE_HOME"], "train", "model=bert_tiny", "task=mlm", "data=texts", "batch=8",
                "steps=1", "max_length=32", "out=unread", env=dict(ENV, XDG_CACHE_HOME=disk))
    finally:
        subprocess.run(["umount", disk], capture_output=True)
    assert there("unread") is None


def run_with_room(room, *words):
    """A train on WORK/disk with so many bytes left free."""
    disk, filler = place("disk"), place("disk", "filler")
    free = shutil.disk_usage(disk).free
    with open(filler, "wb") as f:
        f.write(bytes(max(0, free - room) // 4096 * 4096))
    try:
        return run("train", *([] if "steps=10" in words else SMALL_RUN[1:]), *words)
    finally:
        os.remove(filler)


@test
def the_report_tells_an_old_result():
    answer(run(*SMALL_RUN, "out=longer", "--json"))
    words = [w for w in SMALL_RUN if not w.startswith("steps=")]
    expect(run(*words, "steps=400", "out=longer", "resume=auto", "time_limit=1ms"), 75, "at step 9 of 400")
    answer(run("report", "longer", "--json"))
    page = content("longer", "report.html").decode()
    assert "gone on to step 9" in page and "result.json and predictions.csv are of step 8" in page


@test
def a_return_to_the_checkpoint_does_not_lengthen_the_time_limit():
    if SANITIZED:
        return
    # Weights that explode: after 31 bad steps in a row back to the checkpoint, three times, then the end (exit 1). The
    # process is held twice, before and after its first return: in all for longer than the limit, never by itself.
    answer(run(*SMALL_RUN, "out=good", "--json"))
    limit = 8
    p = start(*TINY, "weights=good", "epochs=4000", "save_every=1", "nan_limit=30", "schedule=linear", "warmup=4000",
              "lr=1e6", f"time_limit={limit}s", "out=exploding")
    lines, back = [], threading.Event()

    def read():
        for line in p.stderr:
            lines.append(line.decode())
            if "back to the last checkpoint" in lines[-1]:
                back.set()
        back.set()

    def hold(seconds):
        p.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        p.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=read)
    thread.start()
    wait_for(lambda: os.path.exists(place("exploding", "checkpoints", "step-1", "MANIFEST")), p)
    began = time.monotonic()
    hold(2)
    assert back.wait(LIMIT)
    hold(limit - (time.monotonic() - began) / 2)
    p.wait(timeout=LIMIT)
    thread.join()
    text = "".join(lines)
    assert "back to the last checkpoint" in text, text[-800:]
    assert p.returncode == 75 and f"time_limit={limit}s reached" in text, (p.returncode, text[-500:])


main()
