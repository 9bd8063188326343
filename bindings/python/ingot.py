"""Ingot from Python: one function a verb, keyword arguments are the keys of the command line (docs/keys.md).

    import ingot
    run = ingot.train(model="resnet18", data="pictures", out="runs/first")
    print(run["accuracy"], ingot.evaluate(weights=run["run"], data="other_pictures")["accuracy_interval"])
    for answer in ingot.predict("new", weights=run["run"]):
        print(answer["path"], answer.get("label"), answer.get("error"))

Rule: the public header ingot.h and Python's standard library, nothing else. Results are what `--json` prints: a dict,
of predict and tokenizer a list of them. Warnings and other lines for people go to the logger "ingot". Ctrl-C stops at
the step's end, in training with a checkpoint (resume="auto" goes on), and is then raised as KeyboardInterrupt.
"""

import contextlib
import ctypes
import json
import logging
import os
import pathlib
import signal
import tempfile
import threading

__all__ = ["Error", "Stopped", "call", "checkpoint", "convert", "data", "demo", "doctor", "evaluate", "keys", "plan",
           "predict", "report", "tokenizer", "train", "version"]

log = logging.getLogger("ingot")


class Error(Exception):
    """A call failed. str() says what was found, what was expected, where, and what to do.

    status: short name, as "usage", "data", "io" (ingot_status.h); exit_code: what the program would have ended with,
    2 = refused before any work; results: what came before the failure.
    """

    def __init__(self, message, status, exit_code, results):
        super().__init__(message)
        self.status, self.exit_code, self.results = status, exit_code, results


class Stopped(Error):
    """Stopped on purpose (should_stop, time_limit=): of training there is a checkpoint; resume="auto" goes on."""


_LINE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
_ASKED = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class _Callbacks(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("user", ctypes.c_void_p), ("line", _LINE), ("progress", _LINE),
                ("result", _LINE), ("table", _LINE), ("should_stop", _ASKED)]


def _open():
    """libingot.so: INGOT_LIBRARY alone where it is set, else of this file's own tree, else the system's."""
    here = pathlib.Path(__file__).resolve().parent
    asked = os.environ.get("INGOT_LIBRARY")
    places = [asked] if asked else [
        here.parent.parent / "libingot.so",  # installed: LIB/ingot/python
        here.parent.parent / "build" / "libingot.so",  # a checkout
        "libingot.so.0"
    ]
    reasons = []
    for place in places:
        try:
            library = ctypes.CDLL(os.fspath(place))
            break
        except OSError as reason:
            reasons.append(f"{place}: {reason}")
    else:
        raise ImportError("libingot.so was not found; build it (./dev build), or name it by INGOT_LIBRARY. Tried: " +
                          "; ".join(reasons))
    library.ig_call.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p),
                                ctypes.POINTER(_Callbacks)]
    for name in "ig_version", "ig_error_message", "ig_status_name":
        getattr(library, name).restype = ctypes.c_char_p
    return library


_library = _open()
__version__ = _library.ig_version().decode()


def _word(value):
    """A value as it stands on a command line: True is 1, a list is joined by commas, a dict to NAME:VALUE,..."""
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, dict):
        return b",".join(_word(k) + b":" + _word(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return b",".join(map(_word, value))
    if isinstance(value, (str, bytes, os.PathLike)):
        return os.fsencode(value)
    return str(value).encode()


def _text(data):
    return data.decode(errors="backslashreplace")


@contextlib.contextmanager
def _interrupts_into(raised):
    """Ctrl-C becomes an entry of `raised`: as an exception on the way from C into Python it would be lost."""
    ours = threading.current_thread() is threading.main_thread() and \
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, lambda *_: raised.append(KeyboardInterrupt()))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def call(verb, *paths, on_line=None, on_progress=None, should_stop=None, **keys):
    """Runs a verb and returns its results: a list of dicts.

    paths: as on the command line. keys: docs/keys.md; None is the same as not given. on_line, on_progress: called with
    each line for people (in place of the logger) and each state of the line of progress. should_stop: called between
    steps, True stops there. An exception in one of them stops the call, too, and is raised again.
    Raises Error, Stopped. Other threads of Python go on meanwhile; two calls may run at once on different run folders.
    """
    results, raised, stops = [], [], []

    def guarded(function, default):
        def run(_, *arguments):
            try:
                return function(*arguments)
            except BaseException as exception:  # it must not get lost in C: the call is stopped, then it is raised
                raised.append(exception)
                return default

        return run

    def line(text):
        text = _text(text)
        if on_line:
            on_line(text)
        else:
            log.log(logging.WARNING if text.startswith("warning: ") else logging.INFO, "%s",
                    text.removeprefix("warning: "))

    def asked():
        if not stops and should_stop and should_stop():
            stops.append(True)
        return int(bool(raised or stops))

    callbacks = _Callbacks(size=ctypes.sizeof(_Callbacks), line=_LINE(guarded(line, None)),
                           result=_LINE(guarded(lambda text: results.append(json.loads(text)), None)),
                           should_stop=_ASKED(guarded(asked, 1)))
    if on_progress:
        callbacks.progress = _LINE(guarded(lambda text: on_progress(_text(text)), None))
    words = [name.encode() + b"=" + _word(value) for name, value in keys.items() if value is not None]
    words += [b"json=1", b"--", *map(_word, paths)]
    for word in words:
        if b"\0" in word:
            raise ValueError(f"{verb}: a zero byte in {word!r}")
    with _interrupts_into(raised):
        code = _library.ig_call(verb.encode(), len(words), (ctypes.c_char_p * len(words))(*words), callbacks)
    status, message = _library.ig_status_name(code).decode(), _text(_library.ig_error_message())
    if raised:
        raise raised[0]
    # partial: each sample that failed has its own `error`.
    if status == "ok" or (status == "partial" and results and not stops):
        return results
    kind = Stopped if status == "stopped" or stops else Error
    raise kind(message, status, _library.ig_status_exit_code(code), results)


def _one(verb, *paths, **keys):
    results = call(verb, *paths, **keys)
    return results[-1] if results else {}


def train(**keys):
    """Trains by model=, data=, task= and so on; returns `run` (the folder), `steps`, the metrics of its best epoch."""
    return _one("train", **keys)


def evaluate(**keys):
    """Measures weights= on data=: `n`, `loss`, `accuracy`, `accuracy_interval`, `per_class`, ..., or `rmse`, `r2`."""
    return _one("eval", **keys)


def predict(*paths, texts=None, weights, **keys):
    """Answers to files and folders, in order: dicts with `path`, `label`, `p`, `top`, or with `error`.

    texts: strings, or pairs of them, in place of paths (a model of texts): one answer each.
    A model is loaded once a call: ask for many samples at once.
    """
    if texts is None:
        return call("predict", *paths, weights=weights, **keys)
    if paths or isinstance(texts, str):
        raise TypeError("predict: either paths, or texts=[...]")
    with tempfile.TemporaryDirectory(prefix="ingot-") as folder:
        path = os.path.join(folder, "texts.jsonl")
        with open(path, "w", encoding="utf-8") as out:
            for text in texts:
                row = {"text": text} if isinstance(text, str) else dict(zip(("text", "text2"), text, strict=True))
                out.write(json.dumps(row) + "\n")
        return call("predict", path, weights=weights, **keys)


def plan(**keys):
    """What a train would take: `parameters`, `bytes`, `flops_per_step`, `seconds_per_step`, layers."""
    return _one("plan", **keys)


def convert(source, target, **keys):
    """Between run folder, checkpoint, .safetensors and model folder; returns what was mapped, missing, extra."""
    return _one("convert", source, target, **keys)


def data(path, **keys):
    """Report of a data set: unreadable files, copies, leaks between the parts, imbalance."""
    return _one("data", path, **keys)


def tokenizer(action, *paths, **keys):
    """train, encode, decode: as `ingot tokenizer`; a list of dicts, one a text."""
    return call("tokenizer", action, *paths, **keys)


def report(*runs, **keys):
    """HTML of a run, or a comparison of several; returns its `path`."""
    return _one("report", *runs, **keys)


def checkpoint(action, run, **keys):
    """list, verify, show: what is in a run, hashes checked."""
    return _one("checkpoint", action, run, **keys)


def keys(verb=None):
    """Every key, of one verb: type, unit, default, meaning."""
    return _one("keys", *([verb] if verb else []))


def doctor(**keys):
    """Processors, GPUs, libraries, folders, and what is missing with the command that installs it."""
    return _one("doctor", **keys)


def demo(*kind, **keys):
    """Makes its own data (demo("text"): messages), trains, evaluates, predicts, writes the report."""
    return _one("demo", *kind, **keys)


def version(**keys):
    """Version, git hash, back ends and libraries."""
    return _one("version", **keys)
