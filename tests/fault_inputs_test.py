#!/usr/bin/env python3
"""The bad files of docs/reliability.md (1 to 14, 19 to 33, 36, 38) given to the real program: exit code, message, time.

Rule: every refusal names the file and what is wrong with it; a run's own damaged checkpoints are passed over, and it
goes on to the very weights of an undisturbed run. Standard library only. Prints `N passed, N failed`.
"""
import hashlib
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib

BIN = os.environ.get("INGOT_BIN", os.path.join(os.path.dirname(__file__), "..", "build", "ingot"))
SEEDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fuzz", "corpus")  # pictures of every kind
WORK = tempfile.mkdtemp(prefix="ingot-inputs-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
ENV = dict(os.environ, XDG_CACHE_HOME=os.path.join(WORK, "cache"), OMP_WAIT_POLICY="passive")
DATA = os.path.join(WORK, "data")
KEYS = ["model=resnet8_mlperf", "image_size=16", "batch=4", "threads=1", "deterministic=1", "ema=0.9", "save_every=1",
        "schedule=constant", "warmup=0", "data=" + DATA]
HEAD = "fc"  # of resnet8_mlperf
LIMIT = 5.0  # seconds of processor time that a case, and so each answer, may take, whatever else the machine does
SLOWER = float(os.environ.get("INGOT_SLOWER", "1"))  # a sanitizer's build


def processor_time():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


def run(*words):
    begin = processor_time()
    p = subprocess.run([BIN, *words], cwd=WORK, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    seconds = processor_time() - begin
    assert seconds < LIMIT * SLOWER, f"{words} took {seconds:.1f} s"
    return p.returncode, p.stdout.decode(), p.stderr.decode(errors="replace")


def bmp(w, colour, h=None):
    h = h or w
    row = bytes([colour]) * (3 * w) + bytes(-3 * w % 4)
    size = 54 + len(row) * h
    return struct.pack("<2sIIIIiiHHIIiiII", b"BM", size, 0, 54, 40, w, h, 1, 24, 0, len(row) * h, 0, 0, 0, 0) + row * h


def make_data():
    for part, n in (("train", 4), ("val", 2)):
        for c, name in enumerate(["dark", "light"]):
            folder = os.path.join(DATA, part, name)
            os.makedirs(folder)
            for i in range(n):
                with open(os.path.join(folder, f"{i}.bmp"), "wb") as f:
                    f.write(bmp(16, 40 + 120 * c + 5 * i))


def slurp(path):
    with open(os.path.join(WORK, path), "rb") as f:
        return f.read()


def put(path, data):
    with open(os.path.join(os.fsencode(WORK), os.fsencode(path)), "wb") as f:
        f.write(data)


# ---- weights ----
def parts(blob):
    n = struct.unpack("<Q", blob[:8])[0]
    return json.loads(blob[8:8 + n]), blob[8 + n:]


def joined(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def edited(edit):
    header, data = parts(slurp("good.safetensors"))
    data = bytearray(data)
    data = edit(header, data) or data
    return joined(header, bytes(data))


def refused(name, blob, *texts):
    path = name + ".safetensors"
    put(path, blob)
    code, _, err = run("eval", "weights=" + path, "data=" + DATA)
    assert code == 2, f"{name}: exit {code}: {err[-500:]}"
    assert path in err, f"{name}: the file is not named: {err[-500:]}"
    assert any(t in err for t in texts), f"{name}: none of {texts} in: {err[-500:]}"
    code, _, err = run("train", *KEYS, "steps=1", "weights=" + path, "out=never-" + name)
    assert code == 2 and path in err, f"{name}: train: exit {code}: {err[-500:]}"
    assert not os.path.exists(os.path.join(WORK, "never-" + name, "log.jsonl")), f"{name}: a step was made"


def first_of(header):
    """The first tensor that has dimensions."""
    return min((v["data_offsets"][0], k) for k, v in header.items() if k != "__metadata__" and v["shape"])[1]


def set_field(field, value):
    def edit(header, data):
        name = first_of(header)
        header[name][field] = value(header[name][field]) if callable(value) else value
    return edit


def w01_empty():
    refused("empty", b"", "0 bytes", "empty", "short", "truncated")


def w02_truncated_at_every_section():
    blob = slurp("good.safetensors")
    n = struct.unpack("<Q", blob[:8])[0]
    for cut in (3, 7, 8, 9, 8 + n // 2, 8 + n - 1, 8 + n, 8 + n + 1, (8 + n + len(blob)) // 2, len(blob) - 1):
        refused(f"cut{cut}", blob[:cut], "truncated", "bytes", "short", "header", "data")


def w03_header_length():
    blob = slurp("good.safetensors")
    for name, n in (("huge", 2**64 - 1), ("half", 2**63), ("beyond", len(blob)), ("limit", 100 << 20)):
        refused("length-" + name, struct.pack("<Q", n) + blob[8:], "header")


def w04_json_utf8_nesting():
    _, data = parts(slurp("good.safetensors"))
    refused("json", joined(b'{"a": [1, 2', data), "JSON")
    refused("utf8", joined(b'{"\xff\xfe": 1}', data), "JSON", "UTF-8")
    refused("bomb", joined(b'{"a":' * 100000 + b"1" + b"}" * 100000, data), "nested", "JSON")
    refused("list", joined(b"[1, 2, 3]", data), "must start with '{'")


def w05_duplicate_key():
    header, data = parts(slurp("good.safetensors"))
    text = json.dumps(header)
    name = first_of(header)
    refused("twice", joined((text[:-1] + f', "{name}": {json.dumps(header[name])}}}').encode(), data), "duplicate", name)


def w06_overlap_hole_trailing():
    def overlap(header, data):
        names = sorted((v["data_offsets"], k) for k, v in header.items() if k != "__metadata__")
        span = names[1][0][1] - names[1][0][0]
        header[names[1][1]]["data_offsets"] = [names[0][0][1] - 4, names[0][0][1] - 4 + span]

    def hole(header, data):
        for k, v in header.items():
            if k != "__metadata__" and v["data_offsets"][0] > 0:
                v["data_offsets"] = [x + 8 for x in v["data_offsets"]]
        name = first_of(header)
        end = header[name]["data_offsets"][1]
        return bytes(data[:end]) + bytes(8) + bytes(data[end:])

    refused("overlap", edited(overlap), "overlap", "data_offsets", "begin")
    refused("hole", edited(hole), "hole", "gap", "data_offsets", "begin")
    refused("trailing", slurp("good.safetensors") + bytes(16), "trailing", "bytes")


def w07_shape_overflow():
    refused("overflow", edited(set_field("shape", [2**40, 2**40, 4])), "shape")
    refused("negative", edited(set_field("shape", lambda s: [-x for x in s])), "shape", "dimension")


def w08_shape_against_span():
    refused("span", edited(set_field("shape", lambda s: s[:-1] + [s[-1] + 1])), "shape", "bytes")
    refused("types", edited(set_field("dtype", "F64")), "F64", "bytes", "shape")


def w09_types():
    refused("unknown", edited(set_field("dtype", "F24")), "F24")
    # F16, BF16 and F64 are converted.
    code, expected, err = run("eval", "weights=good.safetensors", "data=" + DATA, "--json")
    assert code == 0, err[-500:]
    for dtype in ("F16", "BF16", "F64"):
        header, data = parts(slurp("good.safetensors"))
        out = b""
        for k in sorted((k for k in header if k != "__metadata__"), key=lambda k: header[k]["data_offsets"]):
            begin, end = header[k]["data_offsets"]
            piece = data[begin:end]
            if header[k]["dtype"] == "F32":
                values = struct.unpack(f"<{len(piece) // 4}f", piece)
                piece = (struct.pack(f"<{len(values)}d", *values) if dtype == "F64" else
                         struct.pack(f"<{len(values)}e", *values) if dtype == "F16" else
                         b"".join(piece[i + 2:i + 4] for i in range(0, len(piece), 4)))
                header[k]["dtype"] = dtype
            header[k]["data_offsets"] = [len(out), len(out) + len(piece)]
            out += piece
        put(dtype + ".safetensors", joined(header, out))
        code, found, err = run("eval", f"weights={dtype}.safetensors", "data=" + DATA, "--json")
        assert code == 0, f"{dtype}: {err[-500:]}"
        a, b = json.loads(expected)["loss"], json.loads(found)["loss"]
        assert a == b if dtype == "F64" else abs(a - b) < 0.1 * abs(a) + 0.02, (dtype, a, b)


def w10_missing_key():
    def drop(header, data):
        header["conv1.wieght"] = header.pop("conv1.weight")
    refused("missing", edited(drop), "conv1.wieght")


def w11_extra_key():
    def extra(header, data):
        end = len(data)
        header["something.else"] = {"dtype": "F32", "shape": [2], "data_offsets": [end, end + 8]}
        return bytes(data) + bytes(8)
    put("extra.safetensors", edited(extra))
    code, _, err = run("eval", "weights=extra.safetensors", "data=" + DATA)
    assert code == 0 and "something.else" in err, f"exit {code}: {err[-500:]}"


def w12_classes():
    data = os.path.join(WORK, "three")
    shutil.copytree(DATA, data)
    for part in ("train", "val"):
        shutil.copytree(os.path.join(data, part, "dark"), os.path.join(data, part, "grey"))
    keys = [k for k in KEYS if not k.startswith("data=")] + ["data=" + data, "steps=1", "weights=good.safetensors"]
    code, _, err = run("train", *keys, "out=classes")
    assert code == 2 and "3" in err and "2" in err and "head" in err, f"exit {code}: {err[-500:]}"
    code, _, err = run("train", *keys, "out=fresh", "head=new")
    assert code == 0 and "head" in err, f"exit {code}: {err[-500:]}"
    nameless_classes(data)


def nameless(n):
    """The good weights without the names of their classes, with n outputs that always say the last one."""
    def edit(header, data):
        width = header[HEAD + ".weight"]["shape"][1]
        del header["__metadata__"]["ingot.classes"]
        for name, shape, values in ((HEAD + ".weight", [n, width], bytes(4 * n * width)),
                                    (HEAD + ".bias", [n], struct.pack(f"<{n}f", *[0.0] * (n - 1), 9.0))):
            header.pop(name)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
            data = data + values
        return closed_up(header, data)
    path = f"nameless{n}.safetensors"
    put(path, edited(edit))
    return "weights=" + path


def closed_up(header, data):
    """The tensors one after the other, without the holes that edits leave."""
    packed = b""
    for entry in sorted((v for k, v in header.items() if k != "__metadata__"), key=lambda v: v["data_offsets"]):
        begin, end = entry["data_offsets"]
        entry["data_offsets"] = [len(packed), len(packed) + end - begin]
        packed += bytes(data[begin:end])
    return packed


def nameless_classes(three):
    """Weights that name no classes: as many folders as they have outputs, or folders that are class numbers."""
    for n in (2, 4, 1000):
        for words in (["eval", nameless(n), "data=" + three], ["data", three, nameless(n)]):
            code, out, err = run(*words)
            assert code == 2 and "found 3 classes" in err and f"{n} classes" in err, f"{words}: {code}: {err[-500:]}"
            assert "accuracy" not in out, out
    code, out, err = run("eval", nameless(3), "data=" + three, "--json")
    assert code == 0 and "order of their names" in err and json.loads(out)["n"] == 6, f"{code}: {err[-500:]}"
    code, _, err = run("predict", nameless(1000), os.path.join(three, "val"), "--json")
    assert code == 0, f"predict has no labels to compare: exit {code}: {err[-500:]}"
    numbers = os.path.join(WORK, "numbers")
    for name, to in (("dark", "1"), ("light", "3")):
        shutil.copytree(os.path.join(DATA, "train", name), os.path.join(numbers, to))
    code, out, err = run("eval", nameless(4), "data=" + numbers, "--json")
    assert code == 0 and json.loads(out)["accuracy"] == 0.5, f"exit {code}: {out} {err[-500:]}"  # all of folder 3
    code, _, err = run("eval", nameless(3), "data=" + numbers)  # there is no class 3 of three
    assert code == 2 and "found 2 classes" in err, f"exit {code}: {err[-500:]}"
    put("batch.bin", b"".join(bytes([i % 10]) + bytes(3072) for i in range(10)))
    code, out, err = run("eval", nameless(10), "data=batch.bin", "--json")
    assert code == 0 and json.loads(out)["accuracy"] == 0.1, f"exit {code}: {out} {err[-500:]}"
    code, _, err = run("eval", nameless(1000), "data=batch.bin")
    assert code == 2 and "CIFAR-10 with 10 classes" in err and "1000" in err, f"exit {code}: {err[-500:]}"


def w12_model_that_does_not_exist():
    def rename(header, data):
        header["__metadata__"]["ingot.model"] = "resnet9000"
    put("model.safetensors", edited(rename))
    for words in (["eval", "weights=model.safetensors", "data=" + DATA], ["predict", "weights=model.safetensors", DATA],
                  ["convert", "model.safetensors", "out.safetensors"]):
        code, _, err = run(*words)
        assert code == 2 and "model.safetensors: " in err and "resnet9000" in err, f"{words}: {code}: {err[-500:]}"


def w13_transposed():
    def turn(header, data):
        for k, v in header.items():
            if k != "__metadata__" and len(v["shape"]) == 2 and v["shape"][0] != v["shape"][1]:
                v["shape"] = v["shape"][::-1]
                return
        raise AssertionError("no matrix")
    refused("transposed", edited(turn), "transposed", "shape")


def w14_not_finite():
    for name, value in (("nan", float("nan")), ("inf", float("inf"))):
        def poison(header, data, value=value):
            begin = header["conv1.weight"]["data_offsets"][0]
            data[begin + 20:begin + 24] = struct.pack("<f", value)
        refused(name, edited(poison), "conv1.weight")


def w19_pickle():
    refused("pickle", pickle.dumps({"conv1.weight": [1.0, 2.0]}), "pickle", "PyTorch")
    refused("zip", b"PK\x03\x04" + slurp("good.safetensors")[4:], "zip", "PyTorch", "ZIP")
    refused("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(512), "HDF5", "safetensors", ".h5")


# ---- a run's own checkpoints ----
def damaged_run(name, damage, *texts):
    """A copy of the half-done run whose newest checkpoint is damaged: it goes on from the one before."""
    shutil.copytree(os.path.join(WORK, "half"), os.path.join(WORK, name))
    damage(os.path.join(WORK, name, "checkpoints", "step-4"))
    code, out, err = run("checkpoint", "verify", name, "--json")
    listed = {c["step"]: c["valid"] for c in json.loads(out)["checkpoints"]}
    assert code == 2 and listed == {2: True, 3: True, 4: False}, f"{name}: {code} {listed} {err[-500:]}"
    code, _, err = run("train", *KEYS, "steps=6", "out=" + name, "resume=auto")
    assert code == 0, f"{name}: exit {code}: {err[-500:]}"
    assert "damaged and passed over" in err and "step-4" in err and "resumed at step 3" in err, err[-800:]
    assert any(t in err for t in texts), f"{name}: none of {texts} in: {err[-800:]}"
    assert slurp(name + "/model.safetensors") == slurp("whole/model.safetensors"), f"{name}: other weights"


def cut(path, keep):
    os.truncate(path, keep if keep >= 0 else os.path.getsize(path) + keep)


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 16]))


def c02_own_checkpoint_truncated():
    damaged_run("cut-shard", lambda d: cut(d + "/shard-00000.h5", -1), "bytes found")
    damaged_run("cut-manifest", lambda d: cut(d + "/MANIFEST", 100), "JSON")
    damaged_run("empty-manifest", lambda d: cut(d + "/MANIFEST", 0), "MANIFEST")


def c20_flipped_bit():
    damaged_run("flip-shard", lambda d: flip(d + "/shard-00000.h5", os.path.getsize(d + "/shard-00000.h5") // 2),
                "SHA-256")
    damaged_run("flip-manifest", lambda d: flip(d + "/MANIFEST", slurp(d + "/MANIFEST").index(b'"step"') + 10),
                "damaged", "JSON")


def c21_missing_shard():
    damaged_run("no-shard", lambda d: os.remove(d + "/shard-00000.h5"), "missing")
    damaged_run("no-manifest", lambda d: os.remove(d + "/MANIFEST"), "MANIFEST is missing")


def c22_newer_format():
    shutil.copytree(os.path.join(WORK, "half"), os.path.join(WORK, "newer"))
    path = os.path.join(WORK, "newer", "checkpoints", "step-4", "MANIFEST")
    manifest = json.loads(slurp(path))
    manifest["format_version"] += 1
    del manifest["sha256"]
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    manifest["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    put(path, json.dumps(manifest, ensure_ascii=False).encode())
    code, _, err = run("train", *KEYS, "steps=6", "out=newer", "resume=auto")
    assert code == 2 and "format_version" in err and "newer" in err, f"exit {code}: {err[-800:]}"


def c60_dataset_changed():
    """59 is cli_test's; here the fingerprint."""
    shutil.copytree(os.path.join(WORK, "half"), os.path.join(WORK, "changed"))
    extra = os.path.join(DATA, "train", "dark", "new.bmp")
    put(extra, bmp(16, 50))
    try:
        code, _, err = run("train", *KEYS, "steps=6", "out=changed", "resume=auto")
    finally:
        os.remove(extra)
    assert code == 2 and "data set has changed" in err, f"exit {code}: {err[-800:]}"


# ---- pictures and tables ----
def seed(name):
    with open(os.path.join(SEEDS, name), "rb") as f:
        return f.read()


def strange_pictures():
    """Name -> bytes of what is converted, and name -> (bytes, reason) of what is skipped (bytes None: no file)."""
    png = seed("png/rgb")
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
    huge = png[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + png[33:]
    fine = {b"cmyk.jpg": seed("jpeg/cmyk"), b"ycck.jpg": seed("jpeg/ycck"), b"grey16.tif": seed("tiff/bits16"),
            b"palette.png": seed("png/palette4"), b"alpha.png": seed("png/alpha"), b"grey.png": seed("png/grey"),
            b"turned.jpg": seed("jpeg/444-exif"), b"a-jpeg.png": seed("jpeg/420"), b"one.bmp": bmp(1, 90),
            b"thin.bmp": bmp(1, 90, 3000), b"flat.bmp": bmp(3000, 90, 1), b"odd\xe4\n.bmp": bmp(16, 90)}
    bad = {b"zero.png": (b"", "0 bytes"), b"cut.png": (png[:-20], "truncated"), b"huge.png": (huge, "65535x65535"),
           b"scans.jpg": (seed("jpeg/316-scans"), "256 scans"), b"pipe.png": (None, "FIFO"),
           b"dangling.png": (None, "link to nothing"), b"loop.png": (None, "circle")}
    return fine, bad


def p23_to_33_pictures():
    folder = os.path.join(WORK, "pictures").encode()
    for c, name in enumerate([b"dark", b"light"]):
        os.makedirs(os.path.join(folder, name))
        for i in range(150):
            put(os.path.join(folder, name, b"%d.bmp" % i), bmp(16, 40 + 120 * c + i % 50))
    fine, bad = strange_pictures()
    for name, data in {**fine, **{k: v[0] for k, v in bad.items()}}.items():
        if data is not None:
            put(os.path.join(folder, b"dark", name), data)
    os.mkfifo(os.path.join(folder, b"dark", b"pipe.png"))
    os.symlink(b"nowhere", os.path.join(folder, b"dark", b"dangling.png"))
    os.symlink(b"loop.png", os.path.join(folder, b"dark", b"loop.png"))
    keys = ["model=resnet8_mlperf", "image_size=16", "batch=4", "threads=1", "data=pictures", "split=0.1"]
    code, out, err = run("train", *keys, "epochs=2", "out=skips", "--json")
    assert code == 0, err[-800:]
    for name, (_, reason) in bad.items():
        assert any(name.decode() in line and reason in line for line in err.splitlines()), f"{name}: {err[-2000:]}"
    assert "odd" not in err and not [n for n in fine if n.decode("latin-1") in err], err[-2000:]
    code, _, err = run("train", *keys, "epochs=2", "out=strict", "strict=1")
    assert code == 2 and "dark/" in err and "strict=0" in err, f"exit {code}: {err[-800:]}"
    # What can be read has its answer, the others their reason, in the files' order.
    code, out, err = run("predict", "weights=skips", "pictures/dark", "--json")
    answers = {os.path.basename(a["path"]): a for a in map(json.loads, out.splitlines())}
    assert code == 1 and f"{len(bad)} of {150 + len(fine) + len(bad)}" in err, f"exit {code}: {err[-800:]}"
    for name, (_, reason) in bad.items():
        assert "label" not in answers[name.decode()] and answers[name.decode()]["error"], answers[name.decode()]
    for name in fine:
        assert answers[name.decode("latin-1").replace("\xe4", "\\xe4")]["label"] in ("dark", "light"), name
    # People's tables stay tables: names are escaped there.
    for name in (b"x", b"y"):
        os.makedirs(os.path.join(os.fsencode(WORK), b"names", name))
        put(os.path.join(b"names", name, b"odd\xe4\n.bmp"), bmp(16, 90))
    for words in (["predict", "weights=skips", "pictures/dark"], ["data", "names"]):
        code, out, err = run(*words)
        assert "\\xe4\\x0a.bmp" in out and "\n.bmp" not in out + err, out[-2000:]
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert SLOWER > 4 or most < 300 << 10, f"{most} KiB: memory for a picture that was refused"


def p24_more_than_a_hundredth_is_truncated():
    """What was cut off before the start is skipped, however much of it there is: it is no failing disk (49)."""
    whole = {b".jpg": seed("jpeg/420"), b".png": seed("png/rgb"), b".bmp": bmp(16, 90)}
    for name in (b"dark", b"light"):
        folder = os.path.join(WORK, "cut-off").encode() + b"/" + name
        os.makedirs(folder)
        for i in range(20):
            put(folder + b"/%d.bmp" % i, bmp(16, (40 if name == b"dark" else 160) + i))
        for end, data in whole.items():
            put(folder + b"/half" + end, data[:len(data) // 2])
            put(folder + b"/end" + end, data[:-1])
    keys = ["model=resnet8_mlperf", "image_size=16", "batch=4", "threads=1", "data=cut-off", "epochs=1"]
    code, out, err = run("train", *keys, "out=cut-run", "--json")
    assert code == 0 and json.loads(out)["unreadable"] == 12, f"exit {code}: {err[-800:]}"
    assert all(f"/{n}.{e}\": " in err for n in ("half", "end") for e in ("jpg", "png", "bmp")), err[-2000:]
    code, _, err = run("train", *keys, "out=cut-strict", "strict=1")
    assert code == 2 and "truncated" in err and not os.path.exists(os.path.join(WORK, "cut-strict")), err[-800:]


def s36_s38_split_files():
    def train(text):
        put("parts.csv", text)
        return run("train", *KEYS, "split=parts.csv", "steps=1", "out=tables", "label_smoothing=0")
    rows = [f"data/train/{c}/{i}.bmp" for c in ("dark", "light") for i in range(4)]
    good = b"\xef\xbb\xbffile,class\r\n" + b"".join(
        b'"%s","%s\n""part"""\r\n' % (r.encode(), r.split("/")[2].encode()) for r in rows)
    code, _, err = train(good)
    assert code == 0, err[-500:]  # BOM, CRLF, a quoted line break, doubled quotes
    shutil.rmtree(os.path.join(WORK, "tables"))
    for text, where in ((good + b'"data/train/dark/0.bmp,x', ":18:1"), (good + b"data/train/dark/0.bmp\n", ":18:"),
                        (good + b"data/val/dark/0.bmp,a\0b\n", ":18:2"), (good + b"a,b,c\n", ":18:3")):
        code, _, err = train(text)
        assert code == 2 and "parts.csv" + where in err, f"exit {code}: {err[-500:]}"
    with open(os.path.join(WORK, "parts.csv"), "wb") as f:  # one line of 10 GB, which takes no room here
        f.write(good)
        f.truncate(10 << 30)
    code, _, err = run("train", *KEYS, "split=parts.csv", "steps=1", "out=tables")
    assert code == 2 and "parts.csv" in err and "bytes" in err, err[-500:]


def main():
    make_data()
    for words in (["steps=6", "out=whole"], ["steps=4", "out=half"]):
        code, _, err = run("train", *KEYS, *words)
        assert code == 0, err[-800:]
    shutil.copy(os.path.join(WORK, "whole", "model.safetensors"), os.path.join(WORK, "good.safetensors"))
    wanted = sys.argv[1:]
    tests = [f for name, f in sorted(globals().items()) if name[0] in "wcps" and name[1:3].isdigit()]
    tests = [f for f in tests if not wanted or f.__name__ in wanted]
    failed = 0
    for t in tests:
        begin, work = time.monotonic(), processor_time()
        try:
            t()
            work = processor_time() - work
            took = f"{time.monotonic() - begin:.1f} s, {work:.1f} s of processors"
            print(f"ok      {t.__name__} ({took})", flush=True)
            assert work < LIMIT * SLOWER, f"{took}; {LIMIT * SLOWER:.0f} s of processors are allowed"
        except Exception as e:  # noqa: BLE001 - a test's failure is told, whatever it is
            failed += 1
            print(f"FAILED  {t.__name__}: {type(e).__name__} {e}", flush=True)
    shutil.rmtree(WORK, ignore_errors=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
