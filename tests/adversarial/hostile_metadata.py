"""Hostile texts, metadata and values: more cases for ``hostile.HOSTILE``."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from hostile import HOSTILE, POINTS, WEIGHTS, meta, values

# Text of /meta

def _text(before: dict[str, Any]) -> bytes:
    return json.dumps(before).encode()


def _with(old: str, new: str | bytes) -> Callable[[dict[str, Any]], bytes]:
    """Return a change of /meta as text."""
    def change(before: dict[str, Any]) -> bytes:
        assert old in _text(before).decode()
        return _text(before).replace(old.encode(), new if isinstance(new, bytes) else new.encode(), 1)

    return change


_LOSS = '"rate_factor": 1.0'
_NUMBERS = {"1 of 5,000 digits": "1" * 5000, "1 of a million digits": "1" * 10**6, "a hundred lists": "[" * 100 + "]" * 100}
for _number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e5000", "0x1", "01", "-0.0", "null", '"1"', "true",
                "1" + "0" * 400, "[]", *_NUMBERS):
    meta(f"text: for a number {_number}"[:50], _with(_LOSS, f'"rate_factor": {_NUMBERS.get(_number, _number)}'))
_DEEP = "[" * 50_000 + "]" * 50_000
_TEXTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a name twice": _with(_LOSS, f"{_LOSS}, {_LOSS}"),
    "metadata twice": _with('"metadata"', '"metadata": {}, "metadata"'),
    "format twice": _with('"format"', '"format": "other", "format"'),
    "deep": lambda before: _DEEP.encode(),
    "deep objects": lambda before: b'{"a":' * 50_000,
    "deep metadata": _with(_LOSS, f'"rate_factor": {_DEEP}'),
    "deep by 10 MB": lambda before: b"[" * (10 * 2**20),
    "empty lists by 12 MB": lambda before: b"[" + b"[]," * (4 * 2**20 - 1) + b"]",
    "empty objects by 12 MB": lambda before: b"[" + b"{}," * (4 * 2**20 - 2) + b"{}]",
    "numbers by 12 MB": lambda before: b"[" + b"1.5," * (3 * 2**20 - 2) + b"1]",
    "strings by 12 MB": lambda before: b'["' + b'","' * (4 * 2**20 - 2) + b'"]',
    "names by 12 MB": lambda before: b"{" + b",".join(b'"%d":1' % k for k in range(10**6)) + b"}",
    "one string of 12 MB": lambda before: b'"' + b"a" * (12 * 2**20 - 2) + b'"',
    "empty lists among metadata by 11 MB": _with(_LOSS, '"rate_factor": [' + "[]," * (3 * 2**20) + "[]]"),
    "a number of 11 MB": _with(_LOSS, '"rate_factor": ' + "1" * (11 * 2**20)),
    "13 MB": lambda before: b" " * (13 * 2**20),
    "blanks": lambda before: b" " * 99,
    "NUL": lambda before: bytes(99),
    "null": lambda before: b"null",
    "not UTF-8": _with('"charrnn"', b'"charr\xffn"'),
    "overlong UTF-8": _with('"charrnn"', b'"charrn\xc1\xae"'),
    "surrogate in UTF-8": _with('"notes.txt"', b'"\xed\xa0\x80"'),
    "UTF-16": lambda before: json.dumps(before).encode("utf-16"),
    "UTF-8 with a mark": lambda before: b"\xef\xbb\xbf" + _text(before),
    "more behind": lambda before: _text(before) + b"{}",
    "cut": lambda before: _text(before)[:-1],
    "a comment": _with('"metadata"', '/* */ "metadata"'),
    "a line break in a string": _with('"charrnn"', '"charrnn\n"'),
    "python": lambda before: repr(before).encode(),
    "a pickle": lambda before: pickle.dumps(before),
}
for _kind, _change in _TEXTS.items():
    meta(f"text: {_kind}", _change)


# Metadata: every key with a wrong type, without it, and with one more; then invalid values

_METADATA: dict[str, tuple[str, ...]] = {
    "": ("environment", "epoch", "failures", "history", "kind", "model", "rate_factor", "rollback_step", "smoothed_loss",
         "source", "step", "train", "window"),
    "model": ("config", "dtype", "text", "vocabulary"),
    "model.config": ("cell", "dropout", "embedding_size", "hidden_size", "layers", "weight_drop"),
    "model.text": ("column", "documents", "encoding", "errors", "glob", "group_copies", "level", "lowercase", "min_count",
                   "normalize", "separator", "shuffle_seed"),
    "train": ("batch_size", "clip_norm", "epochs", "eval_every", "learning_rate", "minutes", "optimizer", "patience",
              "recover", "schedule", "seed", "seq_len", "stateful", "steps", "threads", "validation", "warmup"),
    "source": ("bytes", "characters", "files", "fingerprint", "names", "sizes", "windows"),
}
_SETTINGS = ("model.config", "model.text", "train")
"""The parts in which a missing setting takes its default."""

_FIXED = ("embedding_size", "hidden_size", "learning_rate", "threads", "steps", "batch_size", "seq_len")
"""Settings whose default does not fit the rest of the file."""


def _at(before: dict[str, Any], part: str) -> dict[str, Any]:
    metadata = before["metadata"]
    for name in filter(None, part.split(".")):
        metadata = metadata[name]
    return metadata


def _set(part: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change that sets a value, or the result of calling it, for large values that are made only when needed."""
    return lambda before: _at(before, part).__setitem__(name, value() if callable(value) else value)


def _delete(part: str, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda before: _at(before, part).__delitem__(name)


for _part, _names in _METADATA.items():
    meta(f"metadata: one more {_part}".rstrip(), _set(_part, "more", 1))
    for _name in _names:
        meta(f"metadata: {_part} {_name} a list".replace("  ", " "), _set(_part, _name, [[0]]))
        if _part not in _SETTINGS or _name in _FIXED:
            meta(f"metadata: {_part} {_name} missing".replace("  ", " "), _delete(_part, _name))
    if _part:
        meta(f"metadata: {_part} a list of names", _set(*_part.rpartition(".")[::2], list(_names)))

_HUGE = (-1, 2**60, 2**63, 10**400)
for _part, _name in [("model", "vocabulary"),
                     ("", "step"), ("", "epoch"), ("", "window"), ("", "rollback_step"), ("", "failures"),
                     ("model.config", "hidden_size"),
                     ("model.config", "layers"), ("model.config", "embedding_size"), ("train", "batch_size"),
                     ("train", "seq_len"), ("train", "steps"), ("train", "threads"), ("source", "characters"),
                     ("source", "windows")]:
    for _value in _HUGE:
        if _name not in ("characters", "steps") or _value != 2**60:  # a text or a plan of this length would be valid
            meta(f"metadata: {_part} {_name} {_value if _value < 2**64 else 'of 400 digits'}".replace("  ", " "),
                 _set(_part, _name, _value))


def _all_large(before: dict[str, Any]) -> None:
    """Claim the largest possible model, consistently in all places."""
    metadata = before["metadata"]
    metadata["model"]["config"] |= {"hidden_size": 2**16, "layers": 100, "embedding_size": 2**16}
    metadata["train"]["batch_size"] = 2**16
    metadata["model"]["vocabulary"] = 0x110000
    metadata["source"]["characters"] = 2**60


_IMPOSSIBLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "the largest model": _all_large,
    "no hidden units": _set("model.config", "hidden_size", 0),
    "another number of hidden units": _set("model.config", "hidden_size", 5),
    "a half hidden unit": _set("model.config", "hidden_size", 4.5),
    "hidden units as text": _set("model.config", "hidden_size", "4"),
    "true hidden units": _set("model.config", "hidden_size", True),
    "one more layer": _set("model.config", "layers", 2),
    "another cell": _set("model.config", "cell", "gru"),
    "a cell of the attacker": _set("model.config", "cell", "os.system"),
    "another optimizer": _set("train", "optimizer", "sgd"),
    "an optimizer of the attacker": _set("train", "optimizer", "__class__"),
    "another dtype": _set("model", "dtype", "float64"),
    "an object dtype": _set("model", "dtype", "O"),
    "a larger vocabulary": _set("model", "vocabulary", 16),
    "an encoding of the attacker": _set("model.text", "encoding", "os"),
    "an encoding that does not exist": _set("model.text", "encoding", "../../" * 1000),
    "an encoding of bytes": _set("model.text", "encoding", "zlib"),
    "an encoding with NUL": _set("model.text", "encoding", "utf-8\0"),
    "an encoding with a surrogate": _set("model.text", "encoding", "\udc80"),
    "an encoding of a megabyte": _set("model.text", "encoding", "x" * 10**6),
    "errors of the attacker": _set("model.text", "errors", "surrogateescape"),
    "an unknown level": _set("model.text", "level", "word"),
    "an unknown normal form": _set("model.text", "normalize", "NFD"),
    "characters counted less than once": _set("model.text", "min_count", 0),
    "unknown characters without an id": _set("model.text", "min_count", 2),
    "no pattern": _set("model.text", "glob", ""),
    "a pattern with NUL": _set("model.text", "glob", "*\0"),
    "a corpus named by a number": _set("source", "names", [1]),
    "a corpus named with NUL": _set("source", "names", ["a\0b"]),
    "an environment of numbers": _set("", "environment", {"numpy": 2}),
    "a loss of text": _set("", "smoothed_loss", "nan"),
    "a loss that is true": _set("", "smoothed_loss", True),
    "no windows": _set("source", "windows", 0),
    "bytes in no files": _set("source", "bytes", 1),
    "a negative number of files": _set("source", "files", -1),
    "sizes that are not a digest": _set("source", "sizes", "../notes.txt"),
    "no characters": _set("source", "characters", 0),
    "more windows than text": _set("source", "windows", 10**6),
    "a step beyond the plan": _set("", "step", 101),
    "a step before the rollback step": _set("", "rollback_step", 3),
    "another window": _set("", "window", 3),
    "more failures than steps": _set("", "failures", 99),
    "a growing rate": _set("", "rate_factor", 1.5),
    "no rate": _set("", "rate_factor", 0.0),
    "an open plan": _set("train", "steps", None),
    "an open learning rate": _set("train", "learning_rate", None),
    "more threads than streams": _set("train", "threads", 9),
    "a history of a million": _set("", "history", lambda: [[1, 1.5, 1.5]] * 10**6),
    "a history of 170,000": _set("", "history", lambda: [[k, 1.5, 1.5] for k in range(1, 170_001)]),
    "a history backwards": _set("", "history", [[2, 1.5, 1.5], [1, 1.5, 1.5]]),
    "a history before the start": _set("", "history", [[0, 1.5, 1.5]]),
    "a history after the current step": _set("", "history", [[10**6, 1.5, 1.5]]),
    "a history of pairs": _set("", "history", [[1, 1.5]]),
    "a history of text": _set("", "history", ["1"]),
    "another format": lambda before: before.__setitem__("format", "other"),
    "another version": lambda before: before.__setitem__("format_version", 1),
    "a version of text": lambda before: before.__setitem__("format_version", "2"),
    "a list": lambda before: list(before.items()),
    "metadata of metadata": lambda before: before.__setitem__("metadata", {"metadata": before["metadata"]}),
    **{f"an origin: {kind}": _set("model", "origin", {"names": ["english"], "weights": "0" * 64, "overlap": 0.0, **change})
       for kind, change in {"more": {"more": 1}, "no names": {"names": []}, "an empty name": {"names": [""]},
                            "names of text": {"names": "english"}, "a number as a name": {"names": [1]},
                            "a short digest": {"weights": "0"}, "an overlap of 2": {"overlap": 2.0},
                            "an overlap of text": {"overlap": "0"}}.items()},
    "an origin of text": _set("model", "origin", "english"),
    "a control sequence in a name": _set("model.config", "\x1b[2J\n\r\x00", 1),
    "a name of a megabyte": _set("model.config", "x" * 10**6, 1),
    "a value of a megabyte": _set("model.config", "cell", "\n" * 10**6),
    "a surrogate in a name": _set("model.config", "\udc80", 1),
}
for _kind, _change in _IMPOSSIBLE.items():
    meta(f"meta: {_kind}" if f"meta: {_kind}" not in HOSTILE else f"meta says: {_kind}", _change)


# Values

def _one(value: float) -> Callable[[np.ndarray], None]:
    return lambda array: array.__setitem__((-1,) * array.ndim, value)


for _array in (WEIGHTS, "optimizer/mean/output/b", "state/layer0/hidden", "state/layer0/cell"):
    for _number in ("nan", "inf", "-inf"):
        values(f"values: {_number} in {_array}", _array, _one(float(_number)))
values("values: a signalling NaN", WEIGHTS, lambda array: array.view("<u4").__setitem__((0, 0), 0x7F800001))
values("values: a negative square", "optimizer/square_mean/output/w", _one(-1e-30))
values("values: a surrogate", POINTS, _one(0xD800))
values("values: a code point too large", POINTS, _one(0x110000))
values("values: a code point of 32 bits", POINTS, _one(2**32 - 1))
values("values: code points backwards", POINTS, lambda array: array.__setitem__(slice(None), array[::-1].copy()))
values("values: a code point twice", POINTS, lambda array: array.__setitem__(1, array[0]))
