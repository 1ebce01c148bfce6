"""The fuzzer of checkpoints: makes damaged and hostile files, loads each in a child process, and says what came of it.

A mutant is a function of (seed, number) and of what its ``originals`` are, which depends on the versions of NumPy and
of the package; so a find can be repeated. ``scripts/fuzz`` makes any number of them, ``test_fuzz.py`` some hundred.

What a file may end in: it is refused with one CheckpointError of one line, or, where its digest is right, it loads and
is a run like any other; in either case within the limits, and it is not changed. ``charrnn inspect`` agrees.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import multiprocessing
import os
import random
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from forging import LIBVER, Header, contents, copied, forged, headers, image_of, signed, with_checksums

SECONDS = 5
"""Of the processor, for one file. Whoever takes them is killed."""

MEGABYTES = 500
"""Of resident memory, at most, while one file is loaded."""

_PATIENCE = 4
"""By how much longer a child may take by the clock than by the processor, as others may keep that busy."""

_ADDRESSES = 2**31
"""How many bytes of addresses a child may take, so that what goes wrong harms no one else."""


# What is mutated

@cache
def originals() -> tuple[bytes, ...]:
    """Valid checkpoints: of each cell, small and whole, in several forms."""
    from charrnn import Corpus, ModelConfig, Run, TrainConfig, Trainer
    from charrnn.storage.container import to_bytes

    text = Corpus("The quick brown fox jumps over the lazy dög. " * 12, ["notes.txt"])

    def trained(steps: int, model: ModelConfig, dtype: Any = np.float32, optimizer: str = "adam") -> bytes:
        config = TrainConfig(batch_size=2, seq_len=5, steps=20, eval_every=2, threads=1, optimizer=optimizer)
        run = Run.start(text, model, config, dtype)
        trainer = Trainer(run, text)
        for _ in range(steps):
            trainer.step()
        return to_bytes(run._arrays(), run._facts())

    first = trained(4, ModelConfig("lstm", hidden_size=4))
    second = trained(3, ModelConfig("gru", hidden_size=3, layers=2, embedding_size=2), np.float64, "rmsprop")
    return first, second, trained(2, ModelConfig("rnn", hidden_size=2, layers=9), optimizer="sgd"), _by_h5py(first)


def _by_h5py(data: bytes) -> bytes:
    """The same content as the HDF5 library lays it out: with headers in several chunks, limits, and empty messages."""
    image = BytesIO()
    with h5py.File(image, "w", libver=LIBVER) as file:
        copied(data, file)
    return signed(image.getvalue())


# Mutators: each makes another file of a valid one

Mutator = Callable[[bytes, random.Random], bytes]

_SPANS = (1, 1, 1, 2, 4, 8, 64, 600)
_WORDS = (0, 1, 2, 3, 4, 8, 127, 128, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, set, cut, added, swapped; the digest is that of the old ones."""
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
    """The same changes to the image, and the digest made right."""
    return signed(damaged(image_of(data), rng))


def signed_headers(data: bytes, rng: random.Random) -> bytes:
    """Changes to what HDF5 says of itself, with its checksums and the digest made right."""
    before = image_of(data)
    image, found = bytearray(before), headers(before)
    contents = [before[start:start + length] for header in found for _, start, length in header.messages]
    places = [0, len(before), *(header.start for header in found), *(header.start + 6 for header in found)]
    while bytes(image) == before:
        for _ in range(rng.choice((1, 1, 2, 3, 5))):
            _change_header(image, rng.choice(found), rng, contents, places)
    return signed(with_checksums(bytes(image), before))


def _change_header(image: bytearray, header: Header, rng: random.Random, contents: list[bytes], places: list[int]) -> None:
    how = rng.randrange(6)
    if how < 2 or not header.messages:
        place = rng.randrange(header.start, header.end)
        image[place] = rng.choice((image[place] ^ 1 << rng.randrange(8), rng.randrange(256), rng.choice((0, 1, 2, 3, 255))))
        return
    _, start, length = rng.choice(header.messages)
    if how == 2:
        image[start - 4] = rng.choice((*range(0x1A), 255))
    elif how == 3:
        image[start - 1] = rng.choice((1, 2, 3, 4, 8, 255))
    elif how == 4:
        other = rng.choice(contents)[:length]
        image[start:start + len(other)] = other
    else:
        width = rng.choice((1, 2, 4, 8))
        place = rng.randrange(start - 3, max(start - 2, start + length - width + 1))
        word = rng.choice((rng.choice(_WORDS), rng.choice(places), rng.randrange(len(image))))
        image[place:place + width] = (word % 256**width).to_bytes(width, "little")


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 16, 0.0, 0.5, -0.5, 1.5, 1e308, 1e-320, math.inf, math.nan, 2**31, 2**53,
    2**63 - 1, 2**63, 2**64, -2**63, 10**400, "", "x", "float32", "float64", "lstm", "gru", "rnn", "adam", "sgd", "utf-16",
    "zlib", "constant", "\0", "\ud800", "\x1b[2J\n", "a" * 10_000, [], [[]], [0], {}, {"a": 1}, [1, 1.5, 1.5],
    [[1, 1.5, 1.5]])


def facts(data: bytes, rng: random.Random) -> bytes:
    """Other facts, or another list of arrays, with the same arrays, or with arrays that are made to fit."""
    arrays, meta = contents(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change_facts(meta, rng)
    if rng.random() < 0.4:
        arrays = _fitting(arrays, meta)
    text = json.dumps(meta)
    if rng.random() < 0.15:
        place = rng.randrange(len(text))
        more = rng.choice(("NaN", "1e999", "[" * 9999, "\0", '"', ",", "}", '"a":1,', "\\ud800", "9" * 5000))
        text = text[:place] + more + text[place + rng.randrange(3):]
    return forged(arrays, text.encode())


def _change_facts(meta: Any, rng: random.Random) -> None:
    def places(node: Any) -> Iterator[tuple[Any, Any]]:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            yield node, key
            if node is not meta or key != "arrays" or rng.random() < 0.2:
                yield from places(node[key])

    everywhere = list(places(meta))
    if not everywhere:
        return
    node, key = rng.choice(everywhere)
    how = rng.randrange(8)
    if how == 0:
        del node[key]
    elif how == 1 and isinstance(node, dict):
        node[rng.choice(("more", "", "\0", "\ud800", "facts", "steps"))] = copy.deepcopy(rng.choice(_VALUES))
    elif how == 2:
        other, place = rng.choice(everywhere)
        with contextlib.suppress(KeyError, IndexError):  # one of them may be inside the other
            node[key] = json.loads(json.dumps(other[place]))
    elif how < 6 and isinstance(node[key], (int, float)):
        change = rng.choice((lambda x: x + 1, lambda x: x - 1, lambda x: -x, lambda x: x * 2, lambda x: x / 2, float, int))
        with contextlib.suppress(OverflowError, ValueError):  # what has no such number stays
            node[key] = change(node[key])
    else:
        node[key] = copy.deepcopy(rng.choice(_VALUES))


def _fitting(arrays: dict[str, np.ndarray], meta: Any) -> dict[str, np.ndarray]:
    """Arrays for the facts, if there can be any, and the list of them."""
    from charrnn.training.schema import describe

    try:
        manifest = describe(meta["facts"])
    except Exception:
        return arrays
    if sum(math.prod(shape) for _, shape in manifest.values()) > 10**5:
        return arrays
    meta["arrays"] = {name: [dtype, list(shape)] for name, (dtype, shape) in manifest.items()}
    return {name: np.resize(arrays[name] if name in arrays else np.zeros(1), shape).astype(dtype)
            for name, (dtype, shape) in manifest.items()}


_STORED: tuple[dict[str, Any], ...] = ({"chunks": True}, {"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True})


def arrays(data: bytes, rng: random.Random) -> bytes:
    """Arrays of other values, types, shapes, names and layouts, now and then listed so."""
    all_arrays, meta = contents(data)
    stored: dict[str, dict[str, Any]] = {}
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(sorted(all_arrays))
        array = _other_array(all_arrays[name], rng)
        how = rng.randrange(12)
        if how == 0:
            del all_arrays[name]
            meta["arrays"].pop(name, None) if rng.random() < 0.5 else None
            continue
        if how == 1:
            name += rng.choice(("2", "_", "x"))
        elif how == 2 and array.ndim:
            stored[name] = rng.choice(_STORED)
        all_arrays[name] = array
        if rng.random() < 0.3:
            meta["arrays"][name] = [array.dtype.str, list(array.shape)]
    image = BytesIO()
    with h5py.File(image, "w", libver=LIBVER) as file:
        for name, array in {**all_arrays, "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}.items():
            options = stored.get(name, {}) if array.ndim and array.size else {}
            file.create_dataset(name, data=array, track_times=False, **options)
    return signed(image.getvalue())


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


def links(data: bytes, rng: random.Random) -> bytes:
    """Links, groups, attributes and arrays put where others are."""
    image = BytesIO(image_of(data))
    with h5py.File(image, "r+", libver=LIBVER) as file:
        for _ in range(rng.choice((1, 1, 2, 4))):
            names: list[str] = ["/"]
            file.visit(names.append)
            place, other = rng.choice(names[1:] or ["/more"]), rng.choice(names)
            with contextlib.suppress(KeyError, ValueError, OSError, RuntimeError):  # what HDF5 does not do is not done
                _change_links(file, place, other, rng)
    return signed(image.getvalue())


def _change_links(file: h5py.File, place: str, other: str, rng: random.Random) -> None:
    how = rng.randrange(10)
    if how < 6:
        item, name = file[other], f"{place}2" if how == 5 else place
        if how < 5:
            del file[place]
        new = rng.choice((h5py.SoftLink(f"/{other}"), h5py.ExternalLink("other.h5", f"/{other}"), item, np.zeros((), "<f4"),
                          np.zeros((2, 3), "<f4")))
        if isinstance(new, np.ndarray):
            file.create_dataset(name, data=new, track_times=False)  # a mutant does not know what time it is
        else:
            file[name] = new
    elif how == 6:
        file.move(place, f"{place}2")
    elif how == 7:
        file.create_group(f"{place}2/more")
    elif how == 8:
        file[other].attrs[rng.choice("ab")] = rng.choice((1, "text", ["a", "b"], np.zeros(9)))
    else:
        del file[place]


MUTATORS: dict[str, Mutator] = {function.__name__.replace("_", " "): function for function in (
    damaged, signed_bytes, signed_headers, facts, arrays, links)}


class Mutant(NamedTuple):
    """A file, how it was made, and whether its digest is right."""

    how: str
    data: bytes
    signed: bool


def mutant(seed: int, number: int) -> Mutant:
    """One of the mutants of this seed; the mutators take turns."""
    rng = random.Random(f"{seed}-{number}")
    how = list(MUTATORS)[number % len(MUTATORS)]
    return Mutant(how, MUTATORS[how](rng.choice(originals()), rng), how != "damaged")


# The judge

REFUSED, LOADED = "refused", "loaded"


class Verdict(NamedTuple):
    """What came of a file: refused, loaded, or what went wrong; and the message, or what else there is to say."""

    what: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.what not in (REFUSED, LOADED)


class Judge:
    """Loads files in a child process, and takes another child where one was killed.

    ``prepare``, a function of a module, is called in each child before anything else: it may plant a bug.
    """

    def __init__(self, prepare: Callable[[], Any] | None = None, seconds: int = SECONDS, megabytes: int = MEGABYTES
                 ) -> None:
        self._prepare = prepare
        self._seconds = seconds
        self._megabytes = megabytes
        self._child: Any = None
        self._end: Connection | None = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def judge(self, path: Path) -> Verdict:
        """What comes of ``path``."""
        before = _looks(path)
        verdict = self._ask(path)
        if _looks(path) != before:
            return Verdict("changed file", verdict.detail)
        return verdict

    def _ask(self, path: Path) -> Verdict:
        if self._child is None:
            self._start()
        assert self._end is not None
        try:
            self._end.send(path)
            if not self._end.poll(self._seconds * _PATIENCE):
                self._stop()
                return Verdict("hang", "waits for something")
            verdict, megabytes = self._end.recv()
        except (EOFError, OSError):
            self._child.join()
            code = self._child.exitcode
            self._stop()
            if code == -signal.SIGXCPU:
                return Verdict("hang", f"more than {self._seconds} s of the processor")
            return Verdict("crash", signal.Signals(-code).name if code < 0 else f"exit code {code}")
        if megabytes > self._megabytes:
            self._stop()
            return Verdict("memory", f"{megabytes:.0f} MB")
        return verdict

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, theirs = context.Pipe()
        child = context.Process(target=_serve, args=(theirs, self._prepare, self._seconds), daemon=True)
        child.start()
        theirs.close()
        self._child = child

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.join()
            self._end.close()
            self._child = self._end = None


def _looks(path: Path) -> Any:
    """What must not change."""
    try:
        state = path.lstat()
    except OSError:
        return None
    content = path.read_bytes() if path.is_file() and not path.is_symlink() and state.st_size < 2**27 else b""
    return state.st_mode, state.st_ino, state.st_size, state.st_mtime_ns, content


# In the child

def _serve(end: Connection, prepare: Callable[[], Any] | None, seconds: int) -> None:
    """Judge one path after the other, until there is no one to ask."""
    import resource

    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if prepare:
        prepare()
    _check_inspect(Path(os.devnull), _check_load(Path(os.devnull)))  # so that all is imported
    _limit(resource.RLIMIT_AS, _addresses() + _ADDRESSES)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            path = end.recv()
            verdict = _within(seconds, _check_load, path)
            if not verdict.failed:
                verdict = _within(seconds, _check_inspect, path, verdict)
            end.send((verdict, _peak() / 1e6))


def _within(seconds: int, check: Callable[..., Verdict], *arguments: Any) -> Verdict:
    """What a check says, unless it takes more of the processor and the process is killed."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)
    return check(*arguments)


def _limit(what: int, value: int) -> None:
    import resource

    resource.setrlimit(what, (value, resource.getrlimit(what)[1]))


def _addresses() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 2**32


def _peak() -> int:
    """The most resident memory that this process ever had."""
    import resource

    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _check_load(path: Path) -> Verdict:
    from charrnn.errors import CheckpointError
    from charrnn.training.run import Run

    try:
        run = Run.load(path)
    except CheckpointError as error:
        message = str(error)
        if not message.startswith(str(path)) or not message.isprintable() or len(message) > 1000:
            return Verdict("wrong message", repr(message))
        return Verdict(REFUSED, message)
    except BaseException as error:
        return Verdict("wrong error", f"{type(error).__name__}: {error}")
    try:
        _check_run(run)
    except BaseException as error:
        return Verdict("no run", f"{type(error).__name__}: {error}")
    return Verdict(LOADED)


def _check_run(run: Any) -> None:
    """What was loaded can be saved, and is loaded again as the same."""
    from charrnn.storage.container import to_bytes

    for block in (run.model.parameters.flat, *(slot.flat for slot in run.optimizer.slots.values())):
        assert np.isfinite(block).all()
    to_bytes(run._arrays(), run._facts())


def _check_inspect(path: Path, verdict: Verdict) -> Verdict:
    """What ``charrnn inspect`` makes of it, by its exit code and what it writes."""
    from charrnn.cli import main

    streams = [io.TextIOWrapper(BytesIO(), "utf-8") for _ in range(2)]
    before, sys.argv = sys.argv, ["charrnn", "inspect", str(path)]
    code: Any = None
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException as error:
        return Verdict("wrong error of inspect", f"{type(error).__name__}: {error}")
    finally:
        sys.argv = before
    out, err = (_written(stream) for stream in streams)
    said = err.startswith("Error: ") and err.count("\n") == 1 if code == 1 else code == 0 and not err
    if not said or code != (verdict.what == REFUSED) or not (out + err).replace("\n", "").isprintable():
        return Verdict("wrong output of inspect", f"exit code {code}: {out + err!r}")
    return verdict


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


# The runner

class Find(NamedTuple):
    """A mutant that ended as none may."""

    number: int
    how: str
    verdict: Verdict
    path: Path

    def __str__(self) -> str:
        return f"number {self.number}, {self.how}: {self.verdict.what}: {self.verdict.detail[:300]} ({self.path})"


class Report(NamedTuple):
    """What came of many mutants: how many of each mutator were refused, loaded or failed, and what failed."""

    counts: dict[str, Counter[str]]
    finds: list[Find]

    def table(self) -> str:
        lines = [f"{'mutator':<16}{'tries':>10}{'refused':>10}{'loaded':>10}{'failures':>10}"]
        for how, count in [*self.counts.items(), ("all", sum(self.counts.values(), Counter()))]:
            failures = count.total() - count[REFUSED] - count[LOADED]
            lines.append(f"{how:<16}{count.total():>10,}{count[REFUSED]:>10,}{count[LOADED]:>10,}{failures:>10,}")
        return "\n".join(lines)


def fuzz(count: int, seed: int, folder: Path, first: int = 0, judge: Judge | None = None) -> Report:
    """Try the mutants of ``seed`` from number ``first`` on. Those that fail stay in ``folder``."""
    report = Report({how: Counter() for how in MUTATORS}, [])
    path = folder / "mutant.h5"
    with judge or Judge() as judge:
        for number in range(first, first + count):
            made = mutant(seed, number)
            path.write_bytes(made.data)
            verdict = judge.judge(path)
            if verdict.what == LOADED and not made.signed:
                verdict = Verdict("silent load")
            report.counts[made.how][verdict.what] += 1
            if verdict.failed:
                kept = folder / f"seed-{seed}-number-{number}.h5"
                kept.write_bytes(made.data)
                report.finds.append(Find(number, made.how, verdict, kept))
    path.unlink(missing_ok=True)
    return report
