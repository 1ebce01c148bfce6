"""The mutators of the fuzzer: each turns a valid checkpoint into another file."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import random
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from forging import FOOTER_SIZE, HEAD, contents, hdf5_places, image_of, meta_of, resigned, signed, with_arrays, with_meta

Mutator = Callable[[bytes, random.Random], bytes]

_SPANS = (1, 1, 1, 2, 4, 8, 64, 600)
_WORDS = (0, 1, 2, 3, 4, 8, 127, 128, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)


@cache
def originals() -> tuple[bytes, ...]:
    """Return small valid checkpoints, one for each cell."""
    from charrnn import Corpus, ModelConfig, Run, TrainConfig, Trainer

    text = Corpus.from_text("The quick brown fox jumps over the lazy dög. " * 12, ["notes.txt"])

    def trained(steps: int, model: ModelConfig, dtype: Any = np.float32, optimizer: str = "adam") -> bytes:
        config = TrainConfig(batch_size=2, seq_len=5, steps=20, eval_every=2, threads=1, optimizer=optimizer)
        run = Run.start(text, model, config, dtype)
        trainer = Trainer(run, text)
        for _ in range(steps):
            trainer.step()
        return run.to_bytes()

    return (trained(4, ModelConfig("lstm", hidden_size=4)),
            trained(3, ModelConfig("gru", hidden_size=3, layers=2, embedding_size=2), np.float64, "rmsprop"),
            trained(2, ModelConfig("rnn", hidden_size=2, layers=9), optimizer="sgd"),
            trained(3, ModelConfig("lnlstm", hidden_size=3)))


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Flip, set, cut, add or swap bytes; the SHA-256 stays that of the original bytes."""
    before = data
    while data == before:
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            data = _damage(data, rng)
    return data


def _damage(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return rng.randbytes(8)
    span = min(rng.choice(_SPANS), len(data))
    first = rng.randrange(len(data) - span + 1)
    start, middle, end = data[:first], data[first:first + span], data[first + span:]
    how = rng.randrange(9)
    if how == 0:
        return start + bytes([middle[0] ^ 1 << rng.randrange(8)]) + middle[1:] + end
    if how == 1:
        return start + bytes([rng.randrange(256)]) + middle[1:] + end
    if how == 2:
        return start + rng.randbytes(span) + end
    if how == 3:
        return start + bytes([rng.choice((0, 255))]) * span + end
    if how == 4:
        return start + end if end else start
    if how == 5:
        return start + rng.choice((middle, rng.randbytes(span), bytes(span))) + middle + end
    if how == 6:
        return start + middle[::-1] + end
    if how == 7:
        return start + end + middle
    return data[:max(1, rng.randrange(len(data)))]


def signed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change the HDF5 file in the same ways, with a correct footer; the offset of /meta stays, or moves with it."""
    changed = damaged(image_of(data), rng)
    offset, length = meta_of(data)
    moved = len(changed) - len(image_of(data)) if rng.random() < 0.5 else 0
    return signed(changed, (max(0, offset + moved), length))


def hdf5(data: bytes, rng: random.Random) -> bytes:
    """Change bytes of HDF5, with the correct SHA-256. They are not read, so the file loads."""
    changed, places = bytearray(data), hdf5_places(data)
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        first = rng.randrange(len(places))
        value = rng.choice((None, 0, 255))
        for place in places[first:first + rng.choice(_SPANS)]:
            changed[place] = rng.randrange(256) if value is None else value
    return resigned(bytes(changed))


def footer(data: bytes, rng: random.Random) -> bytes:
    """Change fields of the footer, with the correct SHA-256."""
    before = HEAD.unpack_from(data, len(data) - FOOTER_SIZE)
    fields = list(before)
    while fields == [*before]:
        place = rng.randrange(1, len(fields))
        limit = 2**32 if place < 3 else 2**64
        fields[place] = rng.choice((rng.choice(_WORDS), fields[place] + rng.choice((-8, -1, 1, 8)), rng.choice(fields[1:]),
                                    rng.randrange(len(data)))) % limit
    if rng.random() < 0.1:
        fields[0] = rng.choice((b"charrnn\x01", b"CHARRNN\0", rng.randbytes(8)))
    return resigned(image_of(data) + HEAD.pack(*fields) + data[-40:])


def text(data: bytes, rng: random.Random) -> bytes:
    """Change bytes in the JSON text of /meta, with the correct SHA-256."""
    offset, length = meta_of(data)
    changed = data[offset:offset + length]
    if rng.random() < 0.5:
        return with_meta(data, damaged(changed, rng))
    place = rng.randrange(len(changed))
    more = rng.choice((b"NaN", b"1e999", b"[" * 9999, b"\0", b'"', b",", b"}", b'"a":1,', b"\\ud800", b"9" * 5000, b"-"))
    return with_meta(data, changed[:place] + more + changed[place + rng.randrange(3):])


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 16, 0.0, 0.5, -0.5, 1.5, 1e308, 1e-320, math.inf, math.nan, 2**31, 2**53,
    2**63 - 1, 2**63, 2**64, -2**63, 10**400, "", "x", "float32", "float64", "lstm", "lnlstm", "gru", "rnn", "adam", "sgd",
    "utf-16", "zlib", "constant", "\0", "\ud800", "\x1b[2J\n", "a" * 10_000, [], [[]], [0], {}, {"a": 1}, [1, 1.5, 1.5],
    [[1, 1.5, 1.5]])


def metadata(data: bytes, rng: random.Random) -> bytes:
    """Change the metadata; the arrays stay, or are made to match."""
    all_arrays, meta = contents(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change(meta, rng)
    if rng.random() < 0.4 and (matching := _matching(all_arrays, meta)):
        return matching
    return with_meta(data, meta)


def _change(meta: Any, rng: random.Random) -> None:
    def places(node: Any) -> Iterator[tuple[Any, Any]]:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            yield node, key
            if node is not meta or key != "arrays":
                yield from places(node[key])

    everywhere = list(places(meta))
    if not everywhere:
        return
    node, key = rng.choice(everywhere)
    how = rng.randrange(8)
    if how == 0:
        del node[key]
    elif how == 1 and isinstance(node, dict):
        node[rng.choice(("more", "", "\0", "\ud800", "metadata", "steps"))] = copy.deepcopy(rng.choice(_VALUES))
    elif how == 2:
        other, place = rng.choice(everywhere)
        with contextlib.suppress(KeyError, IndexError):  # one of them may be inside the other
            node[key] = json.loads(json.dumps(other[place]))
    elif how < 6 and isinstance(node[key], (int, float)):
        change = rng.choice((lambda x: x + 1, lambda x: x - 1, lambda x: -x, lambda x: x * 2, lambda x: x / 2, float, int))
        with contextlib.suppress(OverflowError, ValueError):  # values that cannot be changed in this way stay
            node[key] = change(node[key])
    else:
        node[key] = copy.deepcopy(rng.choice(_VALUES))


def _matching(arrays: dict[str, np.ndarray], meta: Any) -> bytes | None:
    """Return a file with arrays that match the metadata, if that is possible."""
    from charrnn.storage.container import to_bytes
    from charrnn.training.schema import expected_arrays

    try:
        manifest = expected_arrays(meta["metadata"])
    except Exception:
        return None
    if sum(math.prod(shape) for _, shape in manifest.values()) > 10**5:
        return None
    try:
        return to_bytes({name: np.resize(arrays[name] if name in arrays else np.zeros(1), shape).astype(dtype)
                         for name, (dtype, shape) in manifest.items()}, meta["metadata"])
    except ValueError:  # NaN cannot be saved
        return None


def index(data: bytes, rng: random.Random) -> bytes:
    """Change entries in the index of the arrays: offsets, dtypes, shapes, names."""
    meta, before = contents(data)[1], contents(data)[1]["arrays"]
    for _ in range(rng.choice((1, 1, 2, 3))):
        name, other, how = rng.choice(sorted(before)), rng.choice(sorted(before)), rng.randrange(10)
        dtype, shape, offset = before[name]
        if how == 0:
            meta["arrays"].pop(name, None)
            name += rng.choice(("2", "/", "x"))
        if how <= 1:
            entry = rng.choice(([dtype, shape, offset], before[other], rng.choice(_VALUES), [dtype, shape],
                                [dtype, shape, offset, 0]))
        elif how < 8:
            moved = offset + rng.choice((-8, -4, -1, 1, 4, 8, 16, 2**20, -2**20, 2**63))
            entry = [dtype, shape, rng.choice((moved, rng.choice(_WORDS), -rng.choice(_WORDS), before[other][2],
                                               len(data) - rng.randrange(400), rng.randrange(len(data)) // 8 * 8))]
        else:
            entry = [rng.choice(("<f4", "<f8", "<u4", "<f2", ">f4", "|O", None)), shape, offset]
        meta["arrays"][name] = entry
    return with_meta(data, meta)


def arrays(data: bytes, rng: random.Random) -> bytes:
    """Change the values, dtypes, shapes and names of arrays, also in the index."""
    before, meta = contents(data)
    after = {}
    for name in rng.sample(sorted(before), rng.choice((1, 1, 2, 3))):
        array = _other_array(before[name], rng)
        after[f"{name}2" if rng.random() < 0.1 else name] = array
    return with_arrays(data, after, meta)


_SPECIAL: dict[str, tuple[float, ...]] = {
    "<u4": (0, 65, 0xD800, 0x110000, 2**32 - 1),
    **dict.fromkeys(("<f4", "<f8"), (math.nan, math.inf, -1.0, 1e38, 1e-40, -0.0)),
}


def _other_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    how = rng.randrange(8)
    if how < 3 and array.size and array.dtype.str in _SPECIAL:
        array = array.copy()
        array.reshape(-1)[rng.randrange(array.size)] = rng.choice(_SPECIAL[array.dtype.str])
    elif how == 3 and array.size:
        array = np.frombuffer(rng.randbytes(array.nbytes), array.dtype).reshape(array.shape)
    elif how == 4:
        with np.errstate(all="ignore"), warnings.catch_warnings(), contextlib.suppress(ValueError, TypeError):
            warnings.simplefilter("ignore")
            array = array.astype(rng.choice(("<f4", "<f8", ">f4", "<f2", "<u4", "<i4", "|u1", "<c8", "|b1", "|S3")))
    elif how == 5 and array.ndim and array.size:
        array = rng.choice((array.T, array.reshape(-1), array[None], array[:1], array[:0], array.reshape(-1)[0]))
    elif how == 6 and array.ndim:
        array = np.concatenate([array, array[:1]])
    return array


MUTATORS: dict[str, Mutator] = {function.__name__.replace("_", " "): function for function in (
    damaged, signed_bytes, hdf5, footer, text, metadata, index, arrays)}


class Mutant(NamedTuple):
    """A file, how it was made, and its allowed results: refused, loaded, or both."""

    how: str
    data: bytes
    allowed: tuple[str, ...]


def mutant(seed: int, number: int) -> Mutant:
    """Return mutant ``number`` of this seed; the mutators take turns."""
    rng = random.Random(f"{seed}-{number}")
    how = list(MUTATORS)[number % len(MUTATORS)]
    allowed = {"damaged": ("refused",), "footer": ("refused",), "hdf5": ("loaded",)}.get(how, ("refused", "loaded"))
    return Mutant(how, MUTATORS[how](rng.choice(originals()), rng), allowed)
