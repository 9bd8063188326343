"""What the tests of the program from outside (cli_*_test.py) share: running it, its answers, pictures drawn here.

Rule: only what cli.md promises is tested, on the real program (INGOT_BIN). Standard library only.
"""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib

BIN = os.environ.get("INGOT_BIN", os.path.join(os.path.dirname(__file__), "..", "build", "ingot"))
SOURCE = os.environ.get("INGOT_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
WORK = tempfile.mkdtemp(prefix="ingot-cli-")
SANITIZED = float(os.environ.get("INGOT_SLOWER", "0")) > 4  # a sanitizer's build: memory and speed say nothing
LIMIT = 3000 if SANITIZED else 300  # seconds; no test waits so long, but one that hangs
ENV = dict(os.environ, XDG_CACHE_HOME=os.path.join(WORK, "cache"), OMP_WAIT_POLICY="passive")
tests = []


def test(function):
    tests.append(function)
    return function


def run(*words, timeout=LIMIT, stdin=None, env=None, cwd=WORK):
    p = subprocess.run([BIN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, cwd=cwd,
                       input=stdin, env=env or ENV)
    p.out, p.err = p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")
    return p


def expect(p, code, *texts):
    """Exit code, and every text in the message; a refusal writes nothing to standard output."""
    assert p.returncode == code, f"exit {p.returncode}, {code} expected: {p.err[-700:]}"
    for text in texts:
        assert text in p.err, f"{text!r} expected in: {p.err[-1500:]}"
    if code == 2:
        assert p.stdout == b"", f"standard output of a refusal: {p.out[:300]}"
    return p


def answer(p):
    """Standard output is one JSON object on one line and nothing else."""
    assert p.returncode == 0, f"exit {p.returncode}: {p.err[-700:]}"
    lines = p.out.splitlines()
    assert len(lines) == 1, f"{len(lines)} lines: {p.out[:300]}"
    value = json.loads(lines[0])
    assert isinstance(value, dict)
    return value


def refused(code, texts, *words, **more):
    return expect(run(*words, **more), code, *texts)


# ---- pictures: three classes that a small model tells apart ----
def pixels(cls, rng, side):
    phase, rows = rng.randrange(8), []
    for y in range(side):
        row = bytearray()
        for x in range(side):
            on = ((x + phase) // 4 % 2, (y + phase) // 4 % 2, ((x + phase) // 4 + (y + phase) // 4) % 2)[cls]
            for channel in range(3):
                row.append(max(0, min(255, (190 if on else 60) + rng.randrange(-25, 26) + 10 * channel)))
        rows.append(bytes(row))
    return rows


def write_png(path, rows, side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, len(rows), 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows), 1)) + chunk(b"IEND", b""))


def write_bmp(path, rows, side):
    data = b"".join(b"".join(r[3 * x:3 * x + 3][::-1] for x in range(side)) + b"\0" * (-3 * side % 4)
                    for r in reversed(rows))
    with open(path, "wb") as f:
        f.write(b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) +
                struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, len(data), 2835, 2835, 0, 0) + data)


CLASSES = ["checks", "rows", "stripes"]  # sorted


def make_data(folder, parts, seed=1, side=32):
    rng = random.Random(seed)
    for part, count in parts.items():
        for number, name in enumerate(CLASSES):
            place = os.path.join(folder, part, name) if part else os.path.join(folder, name)
            os.makedirs(place)
            for i in range(count):
                rows = pixels({"stripes": 0, "rows": 1, "checks": 2}[name], rng, side)
                (write_bmp if i % 3 == 0 else write_png)(os.path.join(place, f"{i:03d}" + (".bmp", ".png", ".png")[i % 3]),
                                                         rows, side)
    return folder


DATA = os.path.join(WORK, "data")
SMALL = ["model=resnet20", "data=" + DATA, "batch=12", "augment=light", "crop_scale=1", "lr=0.02", "ema=0", "seed=3", "winograd=0", "cache=64MB"]
RUN = os.path.join(WORK, "run")


def answers(p, code=0):
    """One JSON object a line."""
    assert p.returncode == code, f"exit {p.returncode}, {code} expected: {p.err[-700:]}"
    return [json.loads(line) for line in p.out.splitlines()]


def start(*words, verb="train"):
    return subprocess.Popen([BIN, verb, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=WORK, env=ENV)


def wait_for(check, process, seconds=LIMIT):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end and process.poll() is None, process.communicate()[1].decode()[-1500:]
        time.sleep(0.01)


def log_of(folder):
    with open(os.path.join(WORK, folder, "log.jsonl")) as f:
        return [json.loads(line) for line in f]


def content(*path):
    with open(os.path.join(WORK, *path), "rb") as f:
        return f.read()


def with_overflow(source, to, tensor, row=0):
    """A copy of a .safetensors file in fp32 with a row of a tensor near the largest numbers; NaN would be refused."""
    data = bytearray(content(source))
    n = struct.unpack("<Q", data[:8])[0]
    about = json.loads(data[8:8 + n])[tensor]
    assert about["dtype"] == "F32", about
    width = about["shape"][1] if len(about["shape"]) > 1 else 1
    at = 8 + n + about["data_offsets"][0] + 4 * width * row
    data[at:at + 4 * width] = struct.pack("<f", 3e38) * width
    with open(os.path.join(WORK, to), "wb") as f:
        f.write(data)
    return to


sys.dont_write_bytecode = True


def main(needed=()):
    """Runs the tests (those named on the command line and `needed`); prints `N passed, N failed`; exit code 1 where one
    failed."""
    wanted, failed, n = sys.argv[1:], [], 0
    os.makedirs(os.path.join(WORK, "nothing"))
    make_data(DATA, {"train": 20, "val": 5, "test": 8})
    for function in tests:
        if wanted and function.__name__ not in wanted and function.__name__ not in needed:
            continue
        began = time.monotonic()
        n += 1
        try:
            function()
            print(f"ok   {function.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as e:  # a failed check or a timeout: the others still run
            failed.append(function.__name__)
            line = e.__traceback__.tb_next.tb_lineno
            print(f"FAIL {function.__name__}: {type(e).__name__}: {e} (line {line})", flush=True)
    print(f"{n - len(failed)} passed, {len(failed)} failed")
    shutil.rmtree(WORK, ignore_errors=True)
    sys.exit(1 if failed else 0)
