"""160 mutants of checkpoints, and planted bugs that the fuzzer must find."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("resource", reason="the limits of the child process need it")

from fuzzing import LOADED, REFUSED, SECONDS, Judge, fuzz
from mutating import MUTATORS, mutant, originals

from charrnn.errors import CheckpointError
from charrnn.storage import container as checkpoint
from charrnn.training.run import Run


def test_every_mutant_is_refused_or_a_valid_run(tmp_path: Path) -> None:
    report = fuzz(160, 1, tmp_path)
    assert not report.finds, "\n".join(map(str, report.finds))
    assert {count.total() for count in report.counts.values()} == {20}
    assert report.counts["damaged"][LOADED] == 0
    assert report.counts["hdf5"][REFUSED] == 0
    assert report.counts["signed bytes"][LOADED] > 0  # otherwise all would be refused for a wrong SHA-256
    assert list(tmp_path.iterdir()) == []


def test_the_originals_are_valid(tmp_path: Path) -> None:
    for data in originals():
        (tmp_path / "run.h5").write_bytes(data)
        Run.load(tmp_path / "run.h5")


def test_a_mutant_is_a_function_of_seed_and_number() -> None:
    numbers = range(20 * len(MUTATORS))
    forwards = [mutant(3, number) for number in numbers]
    assert forwards == [mutant(3, number) for number in reversed(numbers)][::-1]
    assert all(mutant(4, number) != forwards[number] for number in numbers)


# Planted bugs, each in the child process

_load = Run.load


def instead(load: Callable[[Path], Any]) -> None:
    """Replace ``Run.load`` by ``load``, except for the first path, which only warms up."""
    calls = itertools.count()
    Run.load = lambda path: load(path) if next(calls) else _load(path)  # type: ignore[assignment,method-assign]


class Anything(bytes):
    def __ne__(self, other: object) -> bool:
        return False


class NoDigest:
    def __init__(self, data: bytes = b"") -> None: ...

    def update(self, data: bytes) -> None: ...

    def digest(self) -> bytes:
        return Anything(32)


def no_digest() -> None:
    checkpoint.hashlib = SimpleNamespace(sha256=NoDigest)  # type: ignore[assignment]


def crash() -> None:
    instead(lambda path: os.kill(os.getpid(), signal.SIGSEGV))


def end() -> None:
    instead(lambda path: os._exit(3))


def busy_hang() -> None:
    instead(lambda path: next(x for x in itertools.count() if x < 0))


def waiting_hang() -> None:
    instead(lambda path: time.sleep(1000))


def other_error() -> None:
    instead(lambda path: [][0])


def interrupt() -> None:
    def load(path: Path) -> None:
        raise KeyboardInterrupt

    instead(load)


def two_lines() -> None:
    def load(path: Path) -> None:
        error = CheckpointError("")
        error.args = (f"{path}: one\ntwo",)
        raise error

    instead(load)


def no_path() -> None:
    def load(path: Path) -> None:
        raise CheckpointError("something is wrong")

    instead(load)


def a_warning() -> None:
    def load(path: Path) -> None:
        import warnings

        warnings.warn("something", RuntimeWarning, stacklevel=1)
        _load(path)

    instead(load)


def much_memory() -> None:
    def load(path: Path) -> None:
        bytearray(b"x") * (600 * 10**6)
        _load(path)

    instead(load)


def a_change() -> None:
    def load(path: Path) -> None:
        os.utime(path, (1, 1))
        _load(path)

    instead(load)


def unchecked_values() -> None:
    import charrnn.training.schema

    charrnn.training.schema.check_values = lambda arrays: None  # type: ignore[assignment]


@pytest.mark.parametrize(("plant", "found", "count"), [
    (no_digest, {"loaded without cause"}, 80),
    (crash, {"crash"}, 1),
    (end, {"crash"}, 1),
    (busy_hang, {"hang"}, 1),
    (waiting_hang, {"hang"}, 1),
    (other_error, {"wrong error"}, 1),
    (interrupt, {"wrong error"}, 1),
    (two_lines, {"wrong message"}, 1),
    (no_path, {"wrong message"}, 1),
    (a_warning, {"wrong error"}, 1),
    (much_memory, {"memory"}, 1),
    (a_change, {"changed file"}, 1),
    (unchecked_values, {"no run"}, 120),
])
def test_the_fuzzer_finds_planted_bugs(plant: Callable[[], None], found: set[str], count: int, tmp_path: Path) -> None:
    report = fuzz(count, 5, tmp_path, judge=Judge(plant, seconds=1 if "hang" in found else SECONDS))
    assert {find.verdict.what for find in report.finds} == found
    for find in report.finds:
        assert find.path.read_bytes() == mutant(5, find.number).data
