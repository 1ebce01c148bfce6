"""charrnn.inference.locate"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from charrnn.errors import CheckpointError, RunError
from charrnn.inference.bundled import bundled_file, name_of
from charrnn.inference.language_model import load
from charrnn.inference.locate import BEST, LAST, checkpoint_at, find, newest_run, runs_in


@pytest.mark.parametrize("kind", [Path, str])
@pytest.mark.parametrize("name", ["best.h5", "last.h5", "model.h5", "model"])
def test_a_file_is_returned_whatever_is_preferred(tmp_path: Path, name: str, kind: type) -> None:
    (tmp_path / name).touch()
    for prefer in (BEST, LAST):
        assert checkpoint_at(kind(tmp_path / name), prefer) == tmp_path / name


@pytest.mark.parametrize(("files", "best", "last"), [
    (["best.h5", "last.h5"], "best.h5", "last.h5"), (["best.h5"], "best.h5", "best.h5"),
    (["last.h5"], "last.h5", "last.h5"), (["last.h5", "model.h5", "metrics.csv"], "last.h5", "last.h5")])
def test_a_folder_gives_the_preferred_file_or_the_other(tmp_path: Path, files: list[str], best: str, last: str) -> None:
    for file in files:
        (tmp_path / file).touch()
    assert checkpoint_at(tmp_path) == checkpoint_at(tmp_path, BEST) == tmp_path / best
    assert checkpoint_at(tmp_path, LAST) == tmp_path / last


def test_an_error_names_a_path_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    with pytest.raises(RunError, match=f"^{tmp_path}: contains neither best.h5 nor last.h5"):
        checkpoint_at(tmp_path)
    for missing in (tmp_path / "missing", tmp_path / "missing" / "best.h5"):
        with pytest.raises(RunError, match=f"^{missing}: no such run or checkpoint"):
            checkpoint_at(missing)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the runs old and new and a sweep in checkpoints."""
    monkeypatch.chdir(tmp_path)
    for time, file in enumerate(["old/last.h5", "new/best.h5", "sweep/a/last.h5", "sweep/b/best.h5", "old/best.h5",
                                 "sweep/b/last.h5", "new/last.h5", "notes/metrics.csv", "README.md"], 1):
        path = Path("checkpoints", file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time, time))
    return tmp_path


def test_a_name_refers_to_a_run_in_checkpoints(here: Path) -> None:
    assert checkpoint_at("old") == Path("checkpoints/old/best.h5")
    assert checkpoint_at("old", LAST) == Path("checkpoints/old/last.h5")
    assert checkpoint_at("sweep/a") == Path("checkpoints/sweep/a/last.h5")
    assert checkpoint_at("new/last.h5") == Path("checkpoints/new/last.h5")
    with pytest.raises(RunError, match=r"^none: no such run or checkpoint; use a run folder, the name of a run"):
        checkpoint_at("none")


def test_an_existing_path_takes_precedence_over_a_name(here: Path) -> None:
    Path("old").mkdir()
    with pytest.raises(RunError, match=r"^old: contains neither best.h5 nor last.h5"):
        checkpoint_at("old")
    Path("old/last.h5").touch()
    assert checkpoint_at("old") == Path("old/last.h5")


@pytest.mark.parametrize("name", ["../x.h5", "new/../../x.h5", "x\0y"])
def test_a_name_cannot_refer_to_a_path_outside_checkpoints(here: Path, name: str) -> None:
    Path("x.h5").touch()
    assert find(name) == Path(name)
    assert os.path.exists("checkpoints/../x.h5")
    with pytest.raises(RunError, match="no such run or checkpoint"):
        checkpoint_at(name)


def test_runs_are_found_in_a_folder_and_in_its_sweeps_newest_first(here: Path) -> None:
    assert [str(run) for run in runs_in("checkpoints")] == [
        f"checkpoints/{name}" for name in ("new", "sweep/b", "old", "sweep/a")]
    assert runs_in() == runs_in(Path("checkpoints"))
    assert [run.name for run in runs_in("checkpoints/sweep")] == ["b", "a"]
    assert runs_in("checkpoints/old") == runs_in("missing") == []
    assert newest_run() == Path("checkpoints/new")


def test_a_folder_without_runs_has_no_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert newest_run() is None


def test_a_bundled_model_has_a_name_that_a_run_can_replace(here: Path, bundled: Path) -> None:
    path = checkpoint_at("english")
    assert path == bundled_file("english") == bundled / "english.h5"
    assert name_of(path) == "english"
    assert load("english").network.config.hidden_size == 24
    Path("checkpoints/old").rename("checkpoints/english")
    assert checkpoint_at("english") == Path("checkpoints/english/best.h5")
    assert name_of(checkpoint_at("english")) == "checkpoints/english/best.h5"
    Path("english").touch()
    assert checkpoint_at("english") == Path("english")


def test_a_missing_or_damaged_bundled_model_is_one_line(here: Path, bundled: Path) -> None:
    (bundled / "english.h5").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"english\.h5: .*; install charrnn again$"):
        load("english")
    (bundled / "english.h5").unlink()
    with pytest.raises(RunError, match=r"english\.h5: the bundled model is missing; install charrnn again$"):
        load("english")
