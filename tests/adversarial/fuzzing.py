"""The fuzzer of checkpoints: make damaged and hostile files, load each in a child process, and report the result.

A mutant is a function of (seed, number) and of the ``originals``, which depend on the versions of NumPy and of the package;
so a failure can be reproduced. ``scripts/fuzz`` makes any number of mutants, ``test_fuzz.py`` a few hundred.

A file may have one of two results. It is rejected with one CheckpointError of one line; or, if its digest is correct, it
loads and is a valid run. Both happen within the limits, and the file is not changed. ``charrnn inspect`` agrees.
"""

from __future__ import annotations

import contextlib
import io
import math
import multiprocessing
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mutating import MUTATORS, mutant

SECONDS = 5
"""Processor time for one file; a child that uses it up is killed."""

MEGABYTES = 500
"""Upper limit of resident memory while one file is loaded."""

_PATIENCE = 4
"""How many times longer than the processor time a child may take by the clock: other processes may be busy."""

_ADDRESSES = 2**31
"""Bytes of address space that a child may use for a file, so that a fault does not affect other processes."""


# The judge

REFUSED, LOADED = "refused", "loaded"


class Verdict(NamedTuple):
    """The result for a file: refused, loaded, or what went wrong; and the message or other details."""

    what: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.what not in (REFUSED, LOADED)


class Judge:
    """Load files in a child process, and start another child if one was killed.

    ``prepare``, a module-level function, is called first in each child; a test can plant a bug with it.
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
        """Return the result for ``path``."""
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
    """Return everything about a file that must not change."""
    try:
        state = path.lstat()
    except OSError:
        return None
    content = path.read_bytes() if path.is_file() and not path.is_symlink() and state.st_size < 2**27 else b""
    return state.st_mode, state.st_ino, state.st_size, state.st_mtime_ns, content


# In the child

def _serve(end: Connection, prepare: Callable[[], Any] | None, seconds: int) -> None:
    """Judge one path after another, until the parent closes the connection."""
    import resource

    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if prepare:
        prepare()
    _check_inspect(Path(os.devnull), _check_load(Path(os.devnull)))  # imports everything before the limits
    _limit(resource.RLIMIT_AS, _addresses() + _ADDRESSES)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            path = end.recv()
            verdict = _within(seconds, _check_load, path)
            if not verdict.failed:
                verdict = _within(seconds, _check_inspect, path, verdict)
            end.send((verdict, _peak() / 1e6))


def _within(seconds: int, check: Callable[..., Verdict], *arguments: Any) -> Verdict:
    """Return the verdict of a check; the process is killed if it takes longer."""
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
    """Return the peak resident memory of this process, in bytes."""
    import resource

    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _check_load(path: Path) -> Verdict:
    from charrnn.errors import CheckpointError, RunError
    from charrnn.training.run import Run

    try:
        run = Run.load(path)
    except (CheckpointError, RunError) as error:
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
    """Check that a loaded run is finite and can be saved."""
    for block in run.blocks.values():
        assert np.isfinite(block.flat).all()
    run.to_bytes()


def _check_inspect(path: Path, verdict: Verdict) -> Verdict:
    """Check the exit code and the output of ``charrnn inspect``."""
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
    is_reported = err.startswith("Error: ") and err.count("\n") == 1 if code == 1 else code == 0 and not err
    is_refused = verdict.what == REFUSED and "contains only a model" not in verdict.detail  # inspect shows models
    if not is_reported or code != is_refused or not (out + err).replace("\n", "").isprintable():
        return Verdict("wrong output of inspect", f"exit code {code}: {out + err!r}")
    return verdict


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


# The runner

class Find(NamedTuple):
    """A mutant with a result that is not allowed."""

    number: int
    how: str
    verdict: Verdict
    path: Path

    def __str__(self) -> str:
        return f"number {self.number}, {self.how}: {self.verdict.what}: {self.verdict.detail[:300]} ({self.path})"


class Report(NamedTuple):
    """The results of many mutants: how many of each mutator were refused, loaded or failed, and the failures."""

    counts: dict[str, Counter[str]]
    finds: list[Find]

    def table(self) -> str:
        lines = [f"{'mutator':<16}{'tries':>10}{'refused':>10}{'loaded':>10}{'failures':>10}"]
        for how, count in [*self.counts.items(), ("all", sum(self.counts.values(), Counter()))]:
            failures = count.total() - count[REFUSED] - count[LOADED]
            lines.append(f"{how:<16}{count.total():>10,}{count[REFUSED]:>10,}{count[LOADED]:>10,}{failures:>10,}")
        return "\n".join(lines)


def fuzz(count: int, seed: int, folder: Path, first: int = 0, judge: Judge | None = None) -> Report:
    """Try the mutants of ``seed`` from number ``first`` on; those that fail are kept in ``folder``."""
    report = Report({how: Counter() for how in MUTATORS}, [])
    path = folder / "mutant.h5"
    with judge or Judge() as judge:
        for number in range(first, first + count):
            made = mutant(seed, number)
            path.write_bytes(made.data)
            verdict = judge.judge(path)
            if not verdict.failed and verdict.what not in made.allowed:
                verdict = Verdict(f"{verdict.what} without cause", verdict.detail)
            report.counts[made.how][verdict.what] += 1
            if verdict.failed:
                kept = folder / f"seed-{seed}-number-{number}.h5"
                kept.write_bytes(made.data)
                report.finds.append(Find(number, made.how, verdict, kept))
    path.unlink(missing_ok=True)
    return report
