"""Trainings that are killed, interrupted, left without disk space or without their folder, and read while they run.

The result of each is compared with an undisturbed training: ``last.h5`` and ``best.h5`` byte for byte, ``metrics.csv`` row
for row without its times. ``scripts/torture`` runs any number of them, ``test_torture.py`` a few.

As a program (see ``_child``), this file runs ``python -m charrnn`` and disturbs it at the system calls that a plan names.
"""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import charrnn
from charrnn.errors import CharRNNError
from charrnn.storage.atomic import remove_leftovers
from charrnn.training.run import Run
from charrnn.training.run_folder import RunFolder

STEPS, SAVED_EVERY, EVALUATED_EVERY = 60, 8, 10
SAVES = sorted({STEPS, *range(0, STEPS, SAVED_EVERY), *range(0, STEPS, EVALUATED_EVERY)})
OPTIONS = ["--cell", "gru", "--hidden-size", "16", "--layers", "2", "--dropout", "0.2", "--batch-size", "4",
           "--seq-len", "6", "--learning-rate", "0.1", "--warmup", "5", "--clip-norm", "5", "--threads", "1",
           "--schedule", "constant", "--steps", str(STEPS), "--checkpoint-every", str(SAVED_EVERY),
           "--eval-every", str(EVALUATED_EVERY)]
CHARACTERS = 500  # 18 windows an epoch
NAME = "run"
TIMES = ("seconds", "characters_per_second")
_CALLS_OF_A_SAVE = 6  # fsync of the table; open, fsync and replace of the checkpoint; open and fsync of its folder
_HANGING = 300  # seconds after which a training of two seconds is assumed to hang
_UNSAVED = re.compile(rf"Warning: {NAME}: step (\d+) cannot be saved \(([^()]+)\); (training continues, )?"
                      r"(?:nothing is saved|(?:last\.h5 is from step (\d+))?(?: and )?(?:best\.h5 is from step (\d+))?)")
_AGAIN = "Warning: trying again for 0 seconds"
_REFUSED = re.compile(rf"Error: {NAME}: cannot be (saved|written) \([^()]+\); .*")
_LOST = re.compile(rf"Error: {NAME}: step {STEPS} could not be saved \([^()]+\)"
                   r"(?:, not even in another folder; .*|, but it is saved in (.+); resume it there)")


@dataclass
class Tally:
    """The results of the tries of one kind.

    ``tries`` counts the kills, signals, failed saves or loads. ``lost`` is the largest number of steps that one of them
    cost, None if that was not measured. ``restarts`` counts kills before the first save, which left nothing to resume.
    """

    kind: str
    trainings: int = 0
    tries: int = 0
    lost: int | None = None
    restarts: int = 0
    mismatches: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def note_lost(self, steps: int) -> None:
        self.lost = max(steps, self.lost or 0)


def table(tallies: list[Tally]) -> str:
    """Return the tallies as a table for a terminal."""
    head = ("", "trainings", "tries", "steps lost at most", "restarts", "mismatches", "other failures")
    rows = [head] + [(tally.kind, str(tally.trainings), str(tally.tries), "-" if tally.lost is None else str(tally.lost),
                      str(tally.restarts), str(len(tally.mismatches)), str(len(tally.failures))) for tally in tallies]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows)


class End(NamedTuple):
    """The end of a process: its exit code (the negative number of the signal that killed it), and its output."""

    code: int
    out: str
    err: str

    @property
    def is_killed(self) -> bool:
        return self.code in (-signal.SIGKILL, -signal.SIGXFSZ)


class Training:
    """A process that trains in ``folder``. With a ``plan`` it reports its steps, and is disturbed as planned."""

    def __init__(self, folder: Path, arguments: list[str], plan: dict[str, Any] | None = None) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        home = folder / "home"
        home.mkdir(exist_ok=True)
        environment.update(OPENBLAS_NUM_THREADS="1", PYTHONPATH=str(Path(charrnn.__file__).parents[1]),
                           PYTHONDONTWRITEBYTECODE="1", HOME=str(home), TMPDIR=str(home))
        program, report = ["-m", "charrnn"], None
        self._report: int | None = None
        if plan is not None:
            self._report, report = os.pipe()
            program = [__file__, json.dumps({**plan, "report": report})]
        self.is_watched = plan is not None
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments, "--quiet"], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=() if report is None else (report,),
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))  # it is ignored if nohup started this process
        if report is not None:
            os.close(report)

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def until(self, condition: Callable[[], bool], pause: float = 0.001) -> bool:
        """Wait until ``condition`` is true; return False if the training ended first."""
        while self.runs:
            if condition():
                return True
            time.sleep(pause)
        return False

    def sleep(self, seconds: float) -> bool:
        """Wait for ``seconds``; return False if the training ended first."""
        end = time.monotonic() + seconds
        return self.until(lambda: time.monotonic() >= end)

    def end(self) -> End:
        """Wait for the end."""
        try:
            out, err = self.process.communicate(timeout=_HANGING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            err += b"\nhangs"
        return End(self.process.returncode, out.decode(), err.decode())

    def close(self) -> None:
        """Close the pipe of a watched training if ``steps`` was not called."""
        if self._report is not None:
            os.close(self._report)
            self._report = None

    def steps(self) -> int:
        """Return the last step of a watched training, 0 if it took none. Call it once, after the end."""
        assert self._report is not None
        with os.fdopen(self._report, "rb") as report:
            numbers = report.read()
        self._report = None
        return int(struct.unpack("<I", numbers[-4:])[0]) if numbers else 0


def _limit_files(size: int, process: int = 0) -> None:
    """Limit the size of the files of a process: writing more is an error, as on a full disk."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    if process:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (size, most))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))


class Attempt:
    """One training that is disturbed, in a folder of its own."""

    def __init__(self, torture: Torture, tally: Tally, number: int) -> None:
        self.torture, self.tally = torture, tally
        self.name = f"{tally.kind.replace(' ', '-')}-{number}"
        self.rng = random.Random(f"{torture.seed} {self.name}")
        self.folder = torture.scratch / self.name
        self.folder.mkdir(parents=True)
        shutil.copy(torture.text, self.folder)
        self.run = RunFolder(self.folder / NAME)
        self.saved: int | None = None
        self.is_good = True
        self.was_refused = False
        self._trainings: list[Training] = []

    def __enter__(self) -> Attempt:
        self.tally.trainings += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for training in self._trainings:
            if training.runs:
                training.process.kill()
                training.end()
            training.close()
        if self.is_good and kind is None:
            shutil.rmtree(self.folder)

    def fail(self, what: str) -> None:
        self.tally.failures.append(f"{self.name}: {what}")
        self.is_good = False

    def differ(self, what: str) -> None:
        self.tally.mismatches.append(f"{self.name}: {what}")
        self.is_good = False

    def start(self, plan: dict[str, Any] | None = None) -> Training:
        """Start the training, or resume it if there is something to resume."""
        if self.run.last.exists():
            arguments = ["resume", NAME]
        else:
            self.tally.restarts += bool(self._trainings)
            arguments = train_arguments()
        self._trainings.append(Training(self.folder, arguments, plan))
        return self._trainings[-1]

    def wait(self, training: Training) -> bool:
        """Wait for a random moment after the first save, mostly before the last; return False if training ended first."""
        saves = self.rng.randint(1, len(SAVES) * 2 // 3)
        seen: set[tuple[int, int]] = set()

        def are_done() -> bool:
            with suppress(FileNotFoundError):
                status = self.run.last.stat()
                seen.add((status.st_ino, status.st_mtime_ns))
            return len(seen) >= saves

        return training.until(are_done) and training.sleep(self.rng.uniform(0, 2 * self.torture.duration / len(SAVES)))

    def look(self) -> int | None:
        """Load the files that exist; return the step of ``last.h5``, which must never decrease."""
        steps = {}
        for file in (self.run.best, self.run.last):
            if file.exists():
                try:
                    steps[file] = Run.load(file).step
                except CharRNNError as error:
                    self.fail(f"does not load: {error}")
        step = steps.get(self.run.last)
        if (step if step is not None else -1) < (self.saved if self.saved is not None else -1):
            self.fail(f"last.h5 decreased from step {self.saved} to {step}")
        self.saved = step
        return step

    def after_a_kill(self, training: Training, end: End) -> None:
        """Check the files that a killed training has left behind."""
        self.tally.tries += 1
        step = self.look()
        if end.err:
            self.fail(f"killed, and wrote {end.err!r}")
        if training.is_watched:
            lost = training.steps() - (step or 0)
            self.tally.note_lost(lost)
            if lost > SAVED_EVERY:
                self.fail(f"lost {lost} steps")

    def finish(self) -> None:
        """Resume the training without a disturbance to its end, and compare."""
        if self.is_good:
            self.expect(self.start().end())
            self.compare()

    def expect(self, end: End, err: str = "") -> None:
        """Check the exit code and the result of a training that ended normally."""
        if end != (0, self.torture.undisturbed.out, err):
            self.fail(f"ended with {end}, instead of {End(0, self.torture.undisturbed.out, err)}")

    def compare(self) -> None:
        """Compare the run with the undisturbed one."""
        self.look()
        found, wanted = sorted(os.listdir(self.run.path)), sorted(os.listdir(self.torture.reference.path))
        if found != wanted:
            self.fail(f"the run folder contains {', '.join(found)}")
        self.compare_file("last.h5")
        self.compare_file("best.h5")
        self.compare_file("samples.jsonl")
        rows, others = rows_of(self.run.metrics), rows_of(self.torture.reference.metrics)
        if rows != others:
            steps = {row.get("step") for row in rows}
            self.differ(f"metrics.csv differs from the undisturbed run: {len(rows) - len(steps)} duplicate, "
                        f"{len({row['step'] for row in others} - steps)} missing, {len(rows)} in all")

    def compare_file(self, name: str) -> None:
        mine, other = self.run.path / name, self.torture.reference.path / name
        if not mine.exists() or mine.read_bytes() != other.read_bytes():
            self.differ(f"{name} differs from the undisturbed run")

    def judge_failed_saves(self, end: End, before: int | None = None, may_be_gone: bool = False) -> bool:
        """Check that there is one warning for each failed save, and nothing else.

        The exit code must say whether the last save failed, and ``last.h5`` must be of the last save without a warning. If
        the first save failed, nothing was trained; then return False. ``before`` is the step at which the process started.
        If the run was saved in another folder, it must be complete there. The folder of the run ``may_be_gone``.
        """
        lines = end.err.splitlines()
        left = {step for step in SAVES if step > (before or 0)} | {before or 0}
        saved, warned, last = before, [], ""
        if end.code == 1 and lines:
            last = lines.pop()
            if _REFUSED.fullmatch(last) and not lines:
                self.tally.tries += 1
                self.was_refused = True
                if self.look() not in (before, before or 0):
                    self.fail(f"refused, but last.h5 is of step {self.saved} instead of {before}")
                return False
            if not _LOST.fullmatch(last):
                self.fail(f"ended with {end}")
        if end.code not in (0, 1):
            self.fail(f"ended with {end}")
        is_tried_again = bool(lines) and lines[-1] == _AGAIN
        for line in lines[:len(lines) - is_tried_again]:
            match = _UNSAVED.fullmatch(line)
            if match is None:
                self.fail(f"wrote {line!r}")
                return True
            step, kept, best = int(match[1]), *(None if number is None else int(number) for number in match.group(4, 5))
            earlier = [point for point in left if point < step]
            saved = max(earlier, default=saved)
            left = {point for point in left if point > step}
            warned.append(step)
            if not (kept == saved or (kept is None and may_be_gone)) or (match[3] is None) != (step == STEPS) or (
                    step not in {*SAVES, before}) or (best or 0) > step or (best or 0) % EVALUATED_EVERY:
                self.fail(f"wrote {line!r}, but the last save was of step {saved}")
        self.tally.tries += len(warned)
        if warned != sorted(set(warned)):
            self.fail(f"several warnings about one save: {warned}")
        if is_tried_again != (STEPS in warned) or (end.code == 1 and not is_tried_again):
            self.fail(f"ended with code {end.code}, though step {STEPS} was {'not ' * (STEPS in warned)}saved")
        expected = STEPS if is_tried_again and end.code == 0 else max(left, default=saved)
        if self.look() != expected:
            self.fail(f"last.h5 is of step {self.saved}, but its last save was of step {expected}")
        elsewhere = _LOST.fullmatch(last)
        if elsewhere and elsewhere[1]:
            self.compare_copy(RunFolder(elsewhere[1]))
        return True

    def compare_copy(self, copy: RunFolder) -> None:
        """Compare a run that was saved in another folder with the undisturbed one; its table may have lost old rows."""
        rows, others = rows_of(copy.metrics), rows_of(self.torture.reference.metrics)
        if not rows or rows != others[-len(rows):]:
            self.differ("metrics.csv in the other folder does not end as in the undisturbed run")
        if copy.last.read_bytes() != self.torture.reference.last.read_bytes():
            self.differ("last.h5 in the other folder differs from the undisturbed run")


class Torture:
    """Tries of all kinds. Each depends only on ``seed``, its number and the speed of the machine.

    ``scratch`` is a folder for them; the files of those that fail stay there. ``compare_with`` are further options of the
    undisturbed training only, so that a test can make the two differ.
    """

    def __init__(self, scratch: Path, seed: int = 1, compare_with: tuple[str, ...] = ()) -> None:
        self.seed = seed
        self.scratch = scratch
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.text = scratch / "text.txt"
        self.text.write_text(make_text())
        self.reference = RunFolder(scratch / NAME)
        self.show: Callable[[str], None] = lambda line: None
        started = time.monotonic()
        training = Training(scratch, [*train_arguments(), *compare_with])
        training.until(self.reference.last.exists)
        self.first_save = time.monotonic() - started
        self.undisturbed = training.end()
        self.duration = time.monotonic() - started - self.first_save
        if self.undisturbed.code or self.undisturbed.err:
            raise RuntimeError(f"the undisturbed training ended with {self.undisturbed}")
        if [int(row["step"]) for row in rows_of(self.reference.metrics)] != [*range(1, STEPS + 1)]:
            raise RuntimeError("the undisturbed training does not have a row for each step")
        self.size = self.reference.last.stat().st_size

    def _attempts(self, tally: Tally, most: int, enough: float = math.inf) -> Iterator[Attempt]:
        """Yield at most ``most`` attempts, until there are ``enough`` tries."""
        for number in range(most):
            if tally.tries >= enough:
                break
            with Attempt(self, tally, number) as attempt:
                yield attempt
            for what in tally.mismatches + tally.failures:
                if what.startswith(f"{attempt.name}: "):
                    self.show(f"{what}; see {attempt.folder}")

    def kills(self, count: int) -> list[Tally]:
        """Kill trainings ``count`` times: a quarter each at a random moment, in a save, at a call, and in a write.

        A training is killed up to four times before it may end.
        """
        kinds = {"killed at any time": self._kill_at_any_time, "killed in a save": self._kill_in_a_save,
                 "killed at a call": self._kill_at_a_call, "killed in a write": self._kill_in_a_write}
        tallies = []
        for number, (kind, kill) in enumerate(kinds.items()):
            tallies.append(Tally(kind))
            part = count * (number + 1) // len(kinds) - count * number // len(kinds)
            for attempt in self._attempts(tallies[-1], 5 * part, part):
                for _ in range(min(attempt.rng.randint(1, 4), part - tallies[-1].tries)):
                    training = kill(attempt)
                    end = training.end()
                    if not end.is_killed:
                        attempt.expect(end)
                        break
                    attempt.after_a_kill(training, end)
                attempt.finish()
        return tallies

    def _kill_at_any_time(self, attempt: Attempt) -> Training:
        training = attempt.start({} if attempt.rng.random() < 0.5 else None)
        if attempt.rng.random() < 0.3:
            training.sleep(attempt.rng.uniform(0, 1.5 * self.first_save))
        else:
            attempt.wait(training)
        training.process.kill()
        return training

    def _kill_in_a_save(self, attempt: Attempt) -> Training:
        rng, training = attempt.rng, attempt.start()
        wanted, late = rng.randint(1, len(SAVES) // 2), rng.choice((0, 0, 0.001, 0.002, 0.004))
        seen: set[str] = set()

        def is_wanted() -> bool:
            if attempt.run.path.exists():
                seen.update(name for name in os.listdir(attempt.run.path) if name.endswith(".tmp"))
            return len(seen) >= wanted

        if training.until(is_wanted, pause=0.0002):
            time.sleep(late)
        training.process.kill()
        return training

    def _a_call(self, attempt: Attempt) -> int:
        """Return the number of a system call, mostly one that a process reaches."""
        return attempt.rng.randint(1, _CALLS_OF_A_SAVE * len(SAVES) * 2 // 3)

    def _kill_at_a_call(self, attempt: Attempt) -> Training:
        return attempt.start({"do": "kill", "at": [self._a_call(attempt)], "after": attempt.rng.random() < 0.5})

    def _kill_in_a_write(self, attempt: Attempt) -> Training:
        return attempt.start({"do": "cut", "at": [self._a_call(attempt)], "size": attempt.rng.randrange(self.size)})

    def signals(self, count: int) -> list[Tally]:
        """Send Ctrl-C, SIGTERM or SIGHUP, and Ctrl-C or SIGTERM twice in quick succession, ``count`` times each."""
        tallies = []
        kinds = [("Ctrl-C", signal.SIGINT), ("SIGTERM", signal.SIGTERM), ("SIGHUP", signal.SIGHUP)]
        for kind, number in kinds:
            ways = [("", self._interrupt), (" twice", self._interrupt_twice)]
            for times, interrupt in ways[:1 if number == signal.SIGHUP else 2]:
                tallies.append(Tally(kind + times))
                for attempt in self._attempts(tallies[-1], count):
                    interrupt(attempt, number)
                    attempt.finish()
        return tallies

    def _interrupt(self, attempt: Attempt, number: signal.Signals) -> None:
        training = attempt.start({})
        if not attempt.wait(training):
            return attempt.expect(training.end())
        training.process.send_signal(number)
        end = training.end()
        step = attempt.look() or 0
        if step == STEPS:  # it came too late
            return None
        attempt.tally.tries += 1
        attempt.tally.note_lost(training.steps() - step)
        line = f"Stopped after step {step} of {STEPS} and saved. Resume with: charrnn resume {NAME}\n"
        if end != (128 + number, "", line):
            attempt.fail(f"ended with {end}, instead of {End(128 + number, '', line)}")
        self._nothing_is_left_over(attempt)
        return None

    def _interrupt_twice(self, attempt: Attempt, number: signal.Signals) -> None:
        rng = attempt.rng
        if rng.random() < 0.5:
            call = self._a_call(attempt)
            training = attempt.start({"do": "interrupt", "signal": number, "after": rng.random() < 0.5,
                                      "at": [call, call + rng.choice((0, 0, 1, 2, 3, 6))]})
        else:
            training = attempt.start({})
            if attempt.wait(training):
                training.process.send_signal(number)
                if training.sleep(rng.choice((0, 0, 0.001, 0.003, 0.01, 0.03))):
                    training.process.send_signal(number)
        end = training.end()
        step = attempt.look() or 0
        if step == STEPS:  # it came too late
            return
        attempt.tally.tries += 1
        attempt.tally.note_lost(training.steps() - step)
        is_late = end.err.startswith("Stopped after step ")  # it may have met Python at its very end
        is_right = end.code == 128 + number and (is_late or "Traceback" not in end.err)
        if end.out or not (is_right or (is_late and end.code == -number)):
            attempt.fail(f"ended with {end}, instead of code {128 + number}")
        self._nothing_is_left_over(attempt)

    def _nothing_is_left_over(self, attempt: Attempt) -> None:
        for name in os.listdir(attempt.run.path) if attempt.run.path.exists() else ():
            if name.endswith(".tmp") or name == ".lock":
                attempt.fail(f"{name} was left over")

    def full_disks(self, count: int) -> list[Tally]:
        """Fill the disk before a start or a resume, fill it for a while, or make calls fail, ``count`` times each."""
        kinds = {"disk full": self._disk_full, "disk full for a while": self._disk_full_for_a_while,
                 "calls that fail": self._calls_that_fail}
        tallies = []
        for kind, torture in kinds.items():
            if kind == "disk full for a while" and not hasattr(resource, "prlimit"):
                continue
            tallies.append(Tally(kind))
            for attempt in self._attempts(tallies[-1], count):
                torture(attempt)
                if not attempt.is_good:
                    continue
                if not attempt.was_refused:
                    self._nothing_is_left_over(attempt)
                if attempt.saved == STEPS:
                    attempt.compare()
                else:
                    attempt.finish()
        return tallies

    def _limit(self, attempt: Attempt) -> int:
        """Return a limit of the file size, mostly below or near the size of a checkpoint."""
        rng, size = attempt.rng, self.size
        return rng.choice((0, 100, rng.randrange(size), size - 1, size, size + rng.randrange(100),
                           rng.randrange(size, 2 * size)))

    def _disk_full(self, attempt: Attempt) -> None:
        before = None
        if attempt.rng.random() < 0.5:
            training = attempt.start({"do": "kill", "at": [self._a_call(attempt)]})
            if not training.end().is_killed:
                return
            before = attempt.look()
        training = attempt.start({"limit": self._limit(attempt)})
        end = training.end()
        is_trained = attempt.judge_failed_saves(end, before)
        if (steps := training.steps()) != (STEPS if is_trained else 0):
            attempt.fail(f"stopped after step {steps}")

    def _disk_full_for_a_while(self, attempt: Attempt) -> None:
        training = attempt.start({})
        limit = attempt.rng.choice((self.size // 2, self._limit(attempt)))
        if attempt.wait(training):
            _limit_files(limit, training.process.pid)
            if training.sleep(attempt.rng.uniform(0, 0.6 * self.duration)):
                _limit_files(resource.getrlimit(resource.RLIMIT_FSIZE)[0], training.process.pid)
        attempt.judge_failed_saves(training.end())

    def _calls_that_fail(self, attempt: Attempt) -> None:
        rng, first = attempt.rng, self._a_call(attempt)
        number = rng.choice((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS))
        plan = {"do": "fail", "at": [*range(first, first + rng.choice((1, 2, 3, 8, 20, 1000)))], "errno": number}
        attempt.judge_failed_saves(attempt.start(plan).end())

    def folders(self, count: int) -> list[Tally]:
        """Move the run folder away, move it away for a while, or replace it by an empty one, ``count`` times each.

        If permissions hold (not for root), it is made read-only for a while instead of moved.
        """
        kinds = {"folder gone": self._folder_gone, "folder gone for a while": self._folder_gone_for_a_while,
                 "folder replaced": self._folder_replaced}
        tallies = []
        for kind, torture in kinds.items():
            tallies.append(Tally(kind))
            for attempt in self._attempts(tallies[-1], count):
                torture(attempt)
        return tallies

    def _folder_gone(self, attempt: Attempt) -> None:
        training, path = attempt.start({}), attempt.run.path
        gone = path.with_name("gone")
        if attempt.wait(training):
            path.rename(gone)
        end = training.end()
        if gone.exists():
            gone.rename(path)
        attempt.judge_failed_saves(end, may_be_gone=True)
        attempt.finish()

    def _folder_gone_for_a_while(self, attempt: Attempt) -> None:
        training, path = attempt.start({}), attempt.run.path
        gone = path.with_name("gone")
        if attempt.wait(training):
            path.chmod(0o500)
            if os.access(path, os.W_OK):  # root may write anywhere
                path.rename(gone)
            training.sleep(attempt.rng.uniform(0, 0.6 * self.duration))
            if gone.exists():
                gone.rename(path)
            path.chmod(0o700)
        attempt.judge_failed_saves(training.end(), may_be_gone=True)
        for file in (attempt.run.best, attempt.run.last):
            remove_leftovers(file)  # of the save during which it was moved
        attempt.compare() if attempt.saved == STEPS else attempt.finish()

    def _folder_replaced(self, attempt: Attempt) -> None:
        training, path = attempt.start({}), attempt.run.path
        if attempt.wait(training):
            training.process.send_signal(signal.SIGSTOP)
            if Run.load(attempt.run.last).step < SAVES[-3]:  # so it will save again
                path.rename(path.with_name("gone"))
                path.mkdir()
                attempt.tally.tries += 1
            training.process.send_signal(signal.SIGCONT)
        end = training.end()
        attempt.saved = None
        attempt.judge_failed_saves(end, may_be_gone=True)
        attempt.compare_file("last.h5")
        rows, others = rows_of(attempt.run.metrics), rows_of(self.reference.metrics)
        if not rows or rows != others[-len(rows):]:
            attempt.differ("metrics.csv does not end as in the undisturbed run")

    def reads(self, count: int) -> list[Tally]:
        """Load ``best.h5`` and ``last.h5`` of ``count`` trainings repeatedly while they are replaced."""
        tally = Tally("read meanwhile")
        for attempt in self._attempts(tally, count):
            training, steps = attempt.start(), {attempt.run.best: 0, attempt.run.last: 0}
            while training.runs and attempt.is_good:
                for file in [file for file in steps if file.exists()]:
                    tally.tries += 1
                    try:
                        step = Run.load(file).step
                    except CharRNNError as error:
                        attempt.fail(f"does not load: {error}")
                        break
                    if step < steps[file]:
                        attempt.fail(f"{file.name} decreased from step {steps[file]} to {step}")
                    steps[file] = step
            attempt.expect(training.end())
            attempt.compare()
        return [tally]


def train_arguments() -> list[str]:
    return ["train", "text.txt", *OPTIONS, "--name", NAME, "--checkpoints", ".", "--overwrite"]


def make_text() -> str:
    """Return a text of a few words, on which a run with ``OPTIONS`` has its best state before the last step."""
    rng = random.Random("1 text")
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 7))) for _ in range(60)]
    return " ".join(rng.choice(words) for _ in range(CHARACTERS))[:CHARACTERS]


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a metrics.csv by column, without the times; no rows if there is no such file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


@contextmanager
def _disturbed(plan: dict[str, Any]) -> Iterator[None]:
    """Inside the ``with`` block, count calls of open, fsync and replace, and disturb those numbered in the plan's ``at``.

    The plan says to kill the process, to let it die in the middle of its next write of more than ``size`` bytes, to
    interrupt it, or to let the call fail with ``errno``. All but the last happen before the call, or ``after`` it.
    """
    count = 0

    def strike() -> None:
        if plan["do"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif plan["do"] == "interrupt":
            os.kill(os.getpid(), plan["signal"])
        elif plan["do"] == "cut":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            _limit_files(plan["size"])

    def struck(call: Callable[..., Any]) -> Callable[..., Any]:
        def at_a_call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            times = plan.get("at", []).count(count)
            if times and plan["do"] == "fail":
                raise OSError(plan["errno"], os.strerror(plan["errno"]))
            for _ in range(0 if plan.get("after") else times):
                strike()
            result = call(*arguments, **options)
            for _ in range(times if plan.get("after") else 0):
                strike()
            return result

        return at_a_call

    calls = {name: getattr(os, name) for name in ("open", "fsync", "replace")}
    for name, call in calls.items():
        setattr(os, name, struck(call))
    try:
        yield
    finally:
        for name, call in calls.items():
            setattr(os, name, call)


def _child() -> None:
    """Run ``charrnn ...`` for ``torturing.py PLAN ...``, disturbed as planned while it trains.

    It reports its steps to the pipe of the plan, and its files do not grow beyond the ``limit`` of the plan.
    """
    from charrnn.cli import main
    from charrnn.training import keeper
    from charrnn.training.keeper import Keeper
    from charrnn.training.trainer import Trainer

    keeper._PAUSES = (0.0,) * 2  # type: ignore[assignment]
    plan = json.loads(sys.argv.pop(1))
    if "limit" in plan:
        _limit_files(plan["limit"])
    step, train = Trainer.step, Keeper.train

    def reported(trainer: Any) -> Any:
        taken = step(trainer)
        os.write(plan["report"], struct.pack("<I", taken.number))
        return taken

    def disturbed(keeper: Any, stop: Any) -> None:
        with _disturbed(plan):
            train(keeper, stop)

    Trainer.step, Keeper.train = reported, disturbed  # type: ignore[assignment, method-assign]
    main()


if __name__ == "__main__":
    _child()
