"""A few tries of each torture; ``scripts/torture`` runs any number."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="needs POSIX limits and signals")

from torturing import Attempt, End, Tally, Torture, Training, table

from charrnn.training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("reference_kernels")


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> Torture:
    return Torture(tmp_path_factory.mktemp("torture"))


def faults(tallies: list[Tally]) -> list[str]:
    print(table(tallies))
    return [what for tally in tallies for what in tally.mismatches + tally.failures]


def test_three_kills(torture: Torture) -> None:
    tallies = torture.kills(3)
    assert faults(tallies) == []
    assert sum(tally.tries for tally in tallies) == 3


@pytest.mark.parametrize("what", [Torture.signals, Torture.full_disks, Torture.folders, Torture.reads])
def test_signals_full_disks_moved_folders_and_readers(
        torture: Torture, what: Callable[[Torture, int], list[Tally]]) -> None:
    assert faults(what(torture, 1)) == []


# Planted faults must be found

def test_a_run_with_another_seed_is_found(tmp_path: Path) -> None:
    tallies = Torture(tmp_path, compare_with=("--seed", "2")).kills(1)
    found = [line.partition(": ")[2] for tally in tallies for line in tally.mismatches]
    assert [line.partition(" ")[0] for line in found] == [
        "last.h5", "best.h5", "samples.jsonl", "metrics.csv"]
    assert (tmp_path / "killed-in-a-write-0" / "run").exists()


def double_a_row(run: RunFolder) -> None:
    *rows, last = run.metrics.read_text().splitlines(keepends=True)
    run.metrics.write_text("".join([*rows, last, last]))


def drop_a_row(run: RunFolder) -> None:
    rows = run.metrics.read_text().splitlines(keepends=True)
    run.metrics.write_text("".join(rows[:9] + rows[10:]))


def cut_the_last_state(run: RunFolder) -> None:
    run.last.write_bytes(run.last.read_bytes()[:-1])


@pytest.mark.parametrize(("damage", "found"), [
    (double_a_row, ["metrics.csv differs from the undisturbed run: 1 duplicate, 0 missing, 61 in all"]),
    (drop_a_row, ["metrics.csv differs from the undisturbed run: 0 duplicate, 1 missing, 59 in all"]),
    (cut_the_last_state, ["last.h5 differs from the undisturbed run", "does not load: run/last.h5"]),
    (lambda run: shutil.copy(run.last, run.best), ["best.h5 differs from the undisturbed run"]),
    (lambda run: run.path.joinpath(".last.h5.1-00.tmp").touch(), ["the run folder contains .last.h5.1-00.tmp, best.h5"]),
    (lambda run: run.best.unlink(), ["best.h5 differs from", "the run folder contains last.h5, metrics.csv"]),
    (lambda run: None, []),
])
def test_damage_to_a_run_is_found(torture: Torture, damage: Callable[[RunFolder], object], found: list[str]) -> None:
    tally = Tally("planted")
    with Attempt(torture, tally, 1) as attempt:
        shutil.copytree(torture.reference.path, attempt.run.path)
        damage(attempt.run)
        attempt.compare()
    shutil.rmtree(attempt.folder, ignore_errors=True)
    lines = tally.mismatches + tally.failures
    assert len(lines) == len(found)
    for line, start in zip(lines, found):
        assert line.replace(f"{attempt.folder}/", "").startswith(f"planted-1: {start}")


SAVED = "last.h5 is from step 50 and best.h5 is from step 40"


@pytest.mark.parametrize(("end", "is_right"), [
    (End(0, "", ""), True),
    (End(1, "", ""), False),
    (End(-11, "", ""), False),
    (End(0, "", f"Warning: run: step 56 cannot be saved (File too large); training continues, {SAVED}\n"), True),
    (End(0, "", f"Warning: run: step 56 cannot be saved (File too large); training continues, {SAVED}\n" * 2), False),
    (End(0, "", "Warning: run: step 56 cannot be saved (File too large); training continues, nothing is saved\n"), False),
    (End(0, "", f"Warning: run: step 57 cannot be saved (File too large); training continues, {SAVED}\n"), False),
    (End(0, "", "Traceback (most recent call last):\n"), False),
    (End(1, "", f"Warning: run: step 60 cannot be saved (File too large); {SAVED}\n"), False),
])
def test_lines_about_failed_saves_are_checked(torture: Torture, end: End, is_right: bool) -> None:
    tally = Tally("planted")
    with Attempt(torture, tally, 2) as attempt:
        shutil.copytree(torture.reference.path, attempt.run.path)
        attempt.judge_failed_saves(end)
    shutil.rmtree(attempt.folder, ignore_errors=True)
    assert (tally.failures == []) == is_right


# Cases that the tries do not cover

def test_a_new_run_from_an_old_one_is_complete_or_does_not_exist(torture: Torture, tmp_path: Path) -> None:
    shutil.copytree(torture.reference.path, tmp_path / "run")
    shutil.copy(torture.text, tmp_path)
    end = Training(tmp_path, ["resume", "run", "--name", "full"], {"limit": torture.size // 2}).end()
    assert (end.code, end.out, len(end.err.splitlines())) == (1, "", 1)
    assert end.err == "Error: full: cannot be saved (File too large); free some space, or choose another folder\n"
    assert not (tmp_path / "full").exists()
    assert Training(tmp_path, ["resume", "run", "--name", "new"]).end() == torture.undisturbed
    for name in ("best.h5", "last.h5", "metrics.csv"):
        assert (tmp_path / "new" / name).read_bytes() == (torture.reference.path / name).read_bytes()


def test_a_signal_while_python_exits_has_no_effect() -> None:
    program = ("import atexit, os, signal, sys; from charrnn.cli import main; sys.argv[1:] = ['--version'];"
               "atexit.register(lambda: [os.kill(os.getpid(), number) for number in (signal.SIGINT, signal.SIGTERM, "
               "signal.SIGHUP)]);main()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
