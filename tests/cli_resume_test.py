#!/usr/bin/env python3
"""Going back to an older checkpoint, stopping an evaluation, and what log.jsonl tells of speed.

Rule and helpers: ingot_cli.py. Prints `N passed, N failed`; exit code 1 where one failed.
"""
import glob
import json
import math
import os
import random
import shutil
import signal
import time

from ingot_cli import *  # noqa: F403 - the tests' own words

KEYS = ["train", *SMALL, "epochs=6", "save_every=7", "keep=9", "threads=2"]  # 30 steps: 7, 14, 21, 28, 30


def steps_of(folder):
    path = os.path.join(WORK, folder, "checkpoints")
    return sorted(int(n[5:]) for n in os.listdir(path) if n.startswith("step-"))


@test
def an_older_step_is_the_present_from_now_on():
    first = answer(run(*KEYS, "out=whole", "--json"))
    assert steps_of("whole") == [7, 14, 21, 28, 30]
    before = content("whole", "model.safetensors")
    shutil.copytree(os.path.join(WORK, "whole"), os.path.join(WORK, "back"))
    p = expect(run(*KEYS, "resume=back/checkpoints/step-14", "time_limit=1ms"), 75, "set aside in", "back/set-aside-1",
               "up to step 30")
    assert steps_of("back") == [14, 15] or steps_of("back") == [7, 14, 15], steps_of("back")
    assert steps_of("back/set-aside-1") == [21, 28, 30]
    # What is set aside can be used: weights, report, checkpoints.
    assert content("back", "set-aside-1", "model.safetensors") == before
    assert [r["step"] for r in log_of("back/set-aside-1")][-1] == 30
    assert answer(run("eval", "weights=back/set-aside-1", "data=" + DATA, "--json"))["n"] == 24
    answer(run("report", "back/set-aside-1", "--json"))
    # auto goes on from the present, not from what was set aside; the same configuration gives the same run.
    p = run(*KEYS, "out=back", "resume=auto", "time_limit=1h", "--json")
    result = answer(p)
    assert "resumed at step 15" in p.err and result["steps"] == 30, p.err
    assert content("back", "model.safetensors") == before
    for key in ["accuracy", "best_epoch", "confusion"]:
        assert result[key] == first[key], key
    steps = [(r["split"], r["step"]) for r in log_of("back")]
    assert len(steps) == len(set(steps)) and steps == [(r["split"], r["step"]) for r in log_of("whole")]
    assert steps_of("back/set-aside-1") == [21, 28, 30]


@test
def a_finished_run_goes_on_from_a_named_step():
    shutil.copytree(os.path.join(WORK, "whole"), os.path.join(WORK, "twice"))
    result = answer(run(*KEYS, "resume=twice/checkpoints/step-28", "--json"))
    assert result["steps"] == 30 and steps_of("twice/set-aside-1") == [30]
    assert content("twice", "model.safetensors") == content("whole", "model.safetensors")
    # Again, further back: the next folder.
    p = run(*KEYS, "resume=twice/checkpoints/step-21", "--json")
    answer(p)
    assert steps_of("twice/set-aside-2") == [28, 30] and steps_of("twice/set-aside-1") == [30]
    # The newest step has nothing behind it; auto finds a finished run.
    assert "is finished already" in run(*KEYS, "out=twice", "resume=auto").err
    refused(2, ["neither auto nor a run folder"], *KEYS, "resume=twice/checkpoints")
    refused(2, ["another configuration"], *KEYS, "resume=twice/checkpoints/step-14", "lr=0.5")
    assert steps_of("twice")[-1] == 30, "a refused resume has moved something"


@test
def a_checkpoint_of_another_run_is_not_this_run():
    expect(run(*KEYS, "out=own", "time_limit=1ms"), 75)
    shutil.copytree(os.path.join(WORK, "whole/checkpoints/step-14"), os.path.join(WORK, "own/checkpoints/step-14"))
    said = ["own/checkpoints/step-14: was written by another run", "remove it", "weights=own/checkpoints/step-14"]
    for more in (["out=own", "resume=auto"], ["resume=own/checkpoints/step-14"]):
        refused(2, said, *KEYS, "time_limit=1h", *more)
    # As a folder of an older version, which does not say which run it is: taken, and its run from now on.
    old = shutil.copytree(os.path.join(WORK, "own"), os.path.join(WORK, "old"))
    os.remove(os.path.join(old, ".run"))
    expect(run(*KEYS, "out=old", "resume=auto", "time_limit=1ms"), 75, "resumed at step 14")
    assert content("old", ".run") == content("whole", ".run") != content("own", ".run")
    shutil.rmtree(os.path.join(WORK, "own/checkpoints/step-14"))
    expect(run(*KEYS, "out=own", "resume=auto", "time_limit=1h"), 0, "resumed at step 1 ")


@test
def automatic_precision_stays_what_it_was():
    if answer(run("doctor", "--json"))["auto_precision"] != "bf16":
        print("skipped: automatic_precision_stays_what_it_was: precision=auto is fp32 here")
        return
    keys = [*KEYS, "precision=auto"]
    expect(run(*keys, "out=half", "time_limit=1ms"), 75)
    before = steps_of("half")
    refused(2, ["half/checkpoints/step-1", "computes in bf16", "avx2", "precision=fp32 weights=half"], *keys, "out=half", "isa=avx2",
            "resume=auto")
    assert steps_of("half") == before, "a refused resume went on"
    expect(run(*keys, "out=half", "resume=auto", "isa=auto", "time_limit=1h"), 0)
    assert "is finished already" in expect(run(*keys, "out=half", "resume=auto", "isa=avx2"), 0).err
    # Begun in fp32: where auto would be bf16 the run goes on in fp32, as the third part shows, which could not go on otherwise.
    expect(run(*keys, "out=full", "isa=avx2", "time_limit=1ms"), 75)
    expect(run(*keys, "out=full", "resume=auto", "isa=auto", "time_limit=1ms"), 75, "resumed at step 1")
    expect(run(*keys, "out=full", "resume=auto", "isa=avx2", "time_limit=1h"), 0, "resumed at step 2")


@test
def evaluation_stops_when_asked():
    for number, code in ((signal.SIGTERM, 75), (signal.SIGINT, 75)):
        p = start("weights=whole", "data=" + DATA, "part=all", "image_size=640", "batch=1", "threads=1", "--json",
                  "logits=never.npy", verb="eval")
        time.sleep(1)
        p.send_signal(number)
        out, err = p.communicate(timeout=300)
        assert p.returncode == code and out == b"" and b"no result" in err, (p.returncode, err[-500:])
    assert not os.path.exists(os.path.join(WORK, "never.npy"))
    p = start("weights=whole", "data=" + DATA, "part=all", "image_size=1600", "batch=1", "threads=1", verb="eval")
    time.sleep(1)
    p.send_signal(signal.SIGINT)
    p.send_signal(signal.SIGINT)
    time.sleep(0.05)
    if p.poll() is None:
        p.send_signal(signal.SIGINT)
    p.communicate(timeout=300)
    assert p.returncode in (75, 130), p.returncode
    assert answer(run("eval", "weights=whole", "data=" + DATA, "--json"))["n"] == 24


@test
def the_log_tells_speed():
    rows = [r for r in log_of("whole") if r["split"] == "train"]
    for r in rows:
        for key in ["epoch", "loss", "lr", "grad_norm", "loss_scale", "skips", "samples_per_second", "data_wait", "gflops", "mfu",
                    "seconds"]:
            assert isinstance(r[key], (int, float)), (key, r)
        assert 0 < r["mfu"] < (math.inf if SANITIZED else 2), r  # the peak is measured once; where another program ran meanwhile, it is too low
        # mfu is gflops over one peak of this machine.
        assert abs(r["gflops"] / r["mfu"] - rows[0]["gflops"] / rows[0]["mfu"]) < 1e-6 * r["gflops"] / r["mfu"]
    with open(os.path.join(WORK, "cache", "ingot", "peak.json")) as f:
        peaks = json.load(f)
    assert len(peaks) >= 1 and all(1e9 < v < 1e15 for v in peaks.values()), peaks


def low(share, n):  # Wilson's interval of one standard error
    return (share + 0.5 / n - math.sqrt(share * (1 - share) / n + 0.25 / n ** 2)) / (1 + 1 / n)


@test
def the_latest_epoch_that_is_as_good_is_kept():
    """Of fresh weights; labels by chance, so that accuracy goes up and down. A resumed run remembers the highest."""
    noisy, rng = make_data(os.path.join(WORK, "noisy"), {"train": 20, "val": 10}), random.Random(5)
    for i, path in enumerate(sorted(glob.glob(os.path.join(noisy, "val", "*", "*")))):
        os.rename(path, os.path.join(noisy, "val", rng.choice(CLASSES), f"{i}-{os.path.basename(path)}"))
    words = ["train", "model=resnet8_mlperf", "data=" + noisy, "image_size=16", "batch=12", "threads=1", "precision=fp32",
             "ema=0", "lr=0.05", "epochs=24", "save_every=5", "keep=30", "--json"]
    lower = 0
    for seed in range(4):
        out = f"noisy-{seed}"
        result = answer(run(*words, f"seed={seed}", "out=" + out))
        highest, kept = 0, None
        for r in log_of(out):
            if r["split"] == "val":
                highest = max(highest, r["accuracy"])
                if r["accuracy"] >= low(highest, 30):
                    kept = r
        assert (result["best_epoch"], result["accuracy"]) == (kept["epoch"], kept["accuracy"]), (seed, result, kept)
        assert result.get("highest_accuracy", kept["accuracy"]) == highest, (seed, result, highest)
        lower += kept["accuracy"] < highest
        again = answer(run(*words, f"seed={seed}", f"resume={out}/checkpoints/step-{5 * kept['epoch']}"))
        assert [again[k] for k in ("best_epoch", "accuracy")] == [result[k] for k in ("best_epoch", "accuracy")], (seed, again)
    assert lower, "no run kept an epoch below its highest"
    # Learned weights, and another measure: the best is kept.
    result = answer(run(*words, "seed=3", "weights=noisy-3", "out=learned"))
    assert result["accuracy"] == max(r["accuracy"] for r in log_of("learned") if r["split"] == "val"), result
    result = answer(run(*words, "seed=3", "monitor=loss", "out=by-loss"))
    assert result["loss"] == min(r["loss"] for r in log_of("by-loss") if r["split"] == "val"), result
    said = expect(run(*[w for w in words if w != "--json"], "seed=3", "out=said"), 0, "kept: not measurably below the best")
    assert "last within a standard error of the highest accuracy" in said.out, said.out


main(needed=["an_older_step_is_the_present_from_now_on"])
