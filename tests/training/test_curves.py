"""charrnn.training.curves"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import Corpus, Run
from charrnn.errors import ConfigError, CorpusError, RunError
from charrnn.inference.ngram import witten_bell
from charrnn.training.curves import Curves, Points, check_units, curves_of, limits

SETTINGS: dict[str, Any] = {"hidden_size": 8, "batch_size": 3, "seq_len": 8, "threads": 1, "steps": 12, "eval_every": 3,
                            "start_from": "none", "name": "small"}


@pytest.fixture(scope="module")
def saved(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of 12 steps with 4 evaluations."""
    folder = charrnn.train(corpus, checkpoints=tmp_path_factory.mktemp("curves"), **SETTINGS).folder
    assert folder is not None
    return folder


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Run:
    """Return the run in a folder of its own."""
    for name in ("last.h5", "metrics.csv"):
        (tmp_path / name).write_bytes((saved / name).read_bytes())
    return Run.load(tmp_path)


def points(curve: Points) -> list[tuple[float, float]]:
    return list(zip(curve.steps.tolist(), curve.values.tolist()))


def test_curves_contain_the_table_and_the_evaluations(run: Run) -> None:
    assert run.folder is not None
    with (run.folder / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    curves = curves_of(run)
    assert len(table) == 12
    assert points(curves.train) == [(int(row["step"]), float(row["train_loss"])) for row in table]
    assert points(curves.learning_rate) == [(int(row["step"]), float(row["learning_rate"])) for row in table]
    assert points(curves.validation) == [(record.step, record.validation_loss) for record in run.history]
    assert (curves.name, curves.unit, curves.baseline) == (run.folder.name, "char", None)
    assert run.best_record is not None
    assert curves.best == (run.best_record.step, run.best_record.validation_loss)
    assert curves.main is curves.validation


def test_without_a_table_the_evaluations_are_used(run: Run) -> None:
    assert run.folder is not None
    (run.folder / "metrics.csv").unlink()
    without_table = curves_of(run)
    run.folder = None
    for curves in (without_table, curves_of(run)):
        assert points(curves.train) == [(record.step, record.train_loss) for record in run.history]
        assert len(curves.validation.steps) == 4
        assert not len(curves.learning_rate.steps)
    assert curves.name == "run"


def test_rows_after_the_step_of_the_run_are_left_out(run: Run) -> None:
    run.step = 7
    assert curves_of(run).train.steps.tolist() == list(range(1, 8))


def test_missing_columns_and_cells_that_are_no_numbers_are_left_out(run: Run) -> None:
    assert run.folder is not None
    rows = ["2,1.0,2.5", "1,0.5,3.5", "3,1.5,", "4,2.0,nan", "5,2.5,inf", "6,3.0,x", "7,3.5,1e300", "8,4.0,-1"]
    (run.folder / "metrics.csv").write_text("step,seconds,train_loss\n" + "".join(f"{row}\n" for row in rows))
    curves = curves_of(run)
    assert points(curves.train) == [(1, 3.5), (2, 2.5), (7, 1e6), (8, 0)]
    assert not len(curves.learning_rate.steps)


def test_a_run_without_evaluations_has_only_training_losses(corpus: Corpus, tmp_path: Path) -> None:
    curves = curves_of(charrnn.train(corpus, checkpoints=tmp_path, validation=0.0, **SETTINGS))
    assert curves.losses == [curves.train]
    assert curves.main is curves.train
    assert len(curves.main.steps) == 12


def test_a_run_before_its_first_step_is_rejected(start: Callable[..., Run]) -> None:
    with pytest.raises(RunError, match="has no losses to draw yet"):
        curves_of(start())


def test_the_baseline_is_that_of_the_validation_part(run: Run, corpus: Corpus, start: Callable[..., Run]) -> None:
    split = corpus.split()
    expected = witten_bell(split.train.ids, split.validation.ids, len(corpus.vocabulary), 4).nats
    assert curves_of(run, corpus).baseline == curves_of(run, split).baseline == expected
    without = start(validation=0.0)
    without.advance(2.0, without.state)
    without.folder = run.folder
    assert curves_of(without, corpus).baseline is None


def test_another_text_or_split_is_rejected(run: Run, corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="is not the text this run was trained on"):
        curves_of(run, Corpus.from_text("another text " * 40))
    with pytest.raises(ConfigError, match="the split was made with another"):
        curves_of(run, corpus.split(0.3))
    with pytest.raises(TypeError, match="text must be of type Corpus or Split, not str"):
        curves_of(run, "notes.txt")  # type: ignore[arg-type]


def test_the_steep_start_of_a_curve_is_outside_the_limits() -> None:
    steps = np.array([1.0, 4.0, 5.0, 50.0, 100.0])
    low, high = limits([Points(steps, np.array([9.0, 8.0, 3.0, 2.0, 1.5]))], [1.0])
    assert 0.9 < low < 1 < 3 < high < 3.2
    low, high = limits([Points(steps[:1], np.array([2.0]))], [])
    assert low < 2 < high


def test_losses_per_character_and_per_byte_are_not_compared() -> None:
    empty = Points(np.empty(0), np.empty(0))
    curves = Curves("a", "char", empty, Points(np.ones(1), np.ones(1)), empty)
    check_units([curves, curves])
    with pytest.raises(RunError, match="characters and of bytes cannot be compared"):
        check_units([curves, curves._replace(unit="byte")])


def test_the_limits_contain_the_lowest_loss_of_each_curve() -> None:
    long = Points(np.arange(100.0) + 1, np.append(0.5, np.full(99, 3.0)))
    short = Points(np.arange(3.0), np.array([9.0, 8.0, 0.25]))
    assert limits([long], []) == pytest.approx((0.4, 3.1))
    assert limits([long, short], []) == pytest.approx((0.14, 3.11))
