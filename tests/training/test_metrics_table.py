"""charrnn.training.metrics_table"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from charrnn import Run
from charrnn.training import metrics_table
from charrnn.training.metrics_table import COLUMNS, MetricsTable, rows_every
from charrnn.training.trainer import Step

EVAL_EVERY = 150  # so that every third step has a row


@pytest.fixture(scope="module")
def run(start: Callable[..., Run]) -> Run:
    """Return a run whose steps read 24 characters."""
    run = start(eval_every=EVAL_EVERY)
    run.smoothed_loss = 2.25
    return run


def add(metrics: MetricsTable, run: Run, first: int, last: int) -> None:
    """Add the steps ``first`` to ``last``, each of one second; half of each is not training time."""
    for number in range(first, last + 1):
        validation_loss = None if number % EVAL_EVERY else 1.5
        metrics.add(Step(number, number / 14, 2.0, 0.123456, 0.01, 0.5, validation_loss), run, 1.0)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steps(path: Path) -> list[int]:
    return [int(row["step"]) for row in table(path)]


@pytest.mark.parametrize(("eval_every", "expected"), [(1, 1), (50, 1), (51, 2), (1000, 20)])
def test_there_are_at_most_fifty_rows_between_two_evaluations(eval_every: int, expected: int) -> None:
    assert rows_every(eval_every) == expected


def test_rows_contain_what_was_added(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsTable(path, 0, path)
    add(metrics, run, 1, EVAL_EVERY)
    assert not path.exists()
    metrics.flush()
    assert path.read_text().startswith("step,epoch,seconds,train_loss,validation_loss,learning_rate,gradient_norm,"
                                       "characters_per_second\n")
    rows = table(path)
    assert steps(path) == list(range(3, EVAL_EVERY + 1, 3))
    assert list(rows[0].values()) == ["3", "0.2143", "3.000", "2.250000", "", "0.01", "0.1235", "48"]
    assert list(rows[-1].values()) == ["150", "10.7143", "150.000", "2.250000", "1.500000", "0.01", "0.1235", "48"]


def test_the_speed_is_measured_since_the_previous_row_without_evaluations(tmp_path: Path, run: Run) -> None:
    metrics = MetricsTable(tmp_path / "metrics.csv", 0, tmp_path / "metrics.csv")
    for number in range(1, 7):
        metrics.add(Step(number, 0.1, 2.0, 0.1, 0.01, 0.5 if number <= 3 else 0.25, None), run, 7.0)
    metrics.flush()
    assert [row["characters_per_second"] for row in table(metrics.path)] == ["48", "96"]


def test_each_evaluation_has_a_row(tmp_path: Path, run: Run) -> None:
    metrics = MetricsTable(tmp_path / "metrics.csv", 0, tmp_path / "metrics.csv")
    metrics.add(Step(1, 0.1, 2.0, 0.1, 0.01, 0.5, 1.25), run, 1.0)
    metrics.flush()
    assert table(metrics.path)[0]["validation_loss"] == "1.250000"


def test_the_time_continues_after_a_stop(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsTable(path, 0, path)
    add(metrics, run, 1, 6)
    metrics.flush()
    assert MetricsTable(path, 6, path).seconds == 6
    assert MetricsTable(path, 3, path).seconds == 3
    metrics = MetricsTable(path, 6, path)
    add(metrics, run, 7, 9)
    metrics.flush()
    assert [row["seconds"] for row in table(path)] == ["3.000", "6.000", "9.000"]


def test_rows_of_steps_that_are_taken_again_are_replaced(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsTable(path, 0, path)
    add(metrics, run, 1, 12)
    metrics.flush()
    metrics = MetricsTable(path, 7, path)
    metrics.flush()
    assert steps(path) == [3, 6]
    add(metrics, run, 8, 9)
    metrics.flush()
    assert steps(path) == [3, 6, 9]


@pytest.mark.parametrize("missing", [None, "epoch", "characters_per_second"])
def test_a_table_with_other_columns_keeps_its_rows(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch,
                                                   missing: str | None) -> None:
    """It was written by a version with one column more or one fewer."""
    path = tmp_path / "metrics.csv"
    columns = {name: text for name, text in COLUMNS.items() if name != missing}
    with monkeypatch.context() as patch:
        patch.setattr(metrics_table, "COLUMNS", columns if missing else {**columns, "other": lambda row: "x"})
        metrics = MetricsTable(path, 0, path)
        add(metrics, run, 1, 12)
        metrics.flush()
    before = table(path)
    metrics = MetricsTable(path, 9, path)
    assert (metrics.seconds, table(path)) == (9, before)
    add(metrics, run, 10, 12)
    metrics.flush()
    after = table(path)
    assert steps(path) == [3, 6, 9, 12]
    assert list(after[0]) == list(COLUMNS)
    for old, new in zip(before[:3], after):
        assert new == {name: old.get(name, "") for name in COLUMNS}


def test_opening_a_table_does_not_change_it(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsTable(path, 0, path)
    add(metrics, run, 1, 12)
    metrics.flush()
    before = path.read_bytes()
    add(MetricsTable(path, 3, path), run, 4, 6)
    assert path.read_bytes() == before


@pytest.mark.parametrize("torn", ["9", "9,0.6429", "9,0.6429,9.000\n", "9,0.6429,9.000,2.250000,,0.01,0.1235,48", "\n",
                                  "9,,,,,,,\n", "x,1,2,3,4,5,6,7\n", "9,0.6,nan,2.2,,0.01,0.1,48\n",
                                  f"{'9' * 5000},0.6,9.0,2.2,,0.01,0.1,48\n",
                                  "\0" * 99])
def test_an_incomplete_last_line_is_removed(tmp_path: Path, run: Run, torn: str) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsTable(path, 0, path)
    add(metrics, run, 1, 6)
    metrics.flush()
    whole = path.read_text()
    path.write_text(whole + torn)
    MetricsTable(path, 12, path).flush()
    assert path.read_text() == whole


@hypothesis_settings(max_examples=60)
@given(parts=st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 2000)), min_size=1, max_size=6))
def test_no_row_is_duplicated_or_missing_after_an_interrupted_write(
        tmp_path_factory: pytest.TempPathFactory, run: Run, parts: list[tuple[int, int | None]]) -> None:
    """Each part trains from the last saved step. If it has a number, it is killed after it has written that number of
    bytes of its rows, and so before it saves.
    """
    path = tmp_path_factory.mktemp("metrics") / "metrics.csv"
    saved = 0
    for count, cut in [*parts, (0, None)]:
        size = path.stat().st_size if path.exists() else 0
        metrics = MetricsTable(path, saved, path)
        add(metrics, run, saved + 1, saved + count)
        metrics.flush()
        if cut is None:
            saved += count
        else:
            os.truncate(path, min(path.stat().st_size, size + cut))
    assert steps(path) == list(range(3, saved + 1, 3))
    assert all(row.keys() == set(COLUMNS) and None not in row.values() for row in table(path))


def test_a_new_table_takes_rows_from_an_old_one_and_leaves_it_alone(tmp_path: Path, run: Run) -> None:
    old, path = tmp_path / "old.csv", tmp_path / "metrics.csv"
    metrics = MetricsTable(old, 0, old)
    add(metrics, run, 1, 12)
    metrics.flush()
    before = old.read_bytes()
    MetricsTable(path, 0, path).flush()
    add(MetricsTable(path, 0, path), run, 1, 300)
    metrics = MetricsTable(path, 7, old)
    assert metrics.seconds == 6
    add(metrics, run, 8, 9)
    metrics.flush()
    assert steps(path) == [3, 6, 9]
    assert old.read_bytes() == before
    MetricsTable(path, 9, None).flush()
    assert table(path) == []


def test_a_copy_contains_all_rows_including_pending_ones(tmp_path: Path, run: Run) -> None:
    path, copy = tmp_path / "metrics.csv", tmp_path / "copy.csv"
    metrics = MetricsTable(path, 0, path)
    add(metrics, run, 1, 6)
    metrics.save_copy(copy)
    assert steps(copy) == [3, 6]
    metrics.flush()
    add(metrics, run, 7, 9)
    path.write_bytes(path.read_bytes() + b"12,0.5,12.0,2,,0.01,0.1,1\n")  # a row that this table did not write
    metrics.save_copy(copy)
    assert steps(copy) == [3, 6, 9]
    path.unlink()
    metrics.save_copy(copy)  # the rows on the disk are lost
    assert steps(copy) == [9]


def test_rows_that_could_not_be_written_are_kept_for_the_next_time(
        tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    metrics = MetricsTable(path, 0, path)
    add(metrics, run, 1, 3)
    metrics.flush()
    add(metrics, run, 4, 6)

    def fail(_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space"):
            metrics.flush()
    add(metrics, run, 7, 9)
    metrics.flush()
    metrics.flush()
    assert steps(path) == [3, 6, 9]


def test_a_table_that_was_removed_starts_again(tmp_path: Path, run: Run) -> None:
    metrics = MetricsTable(tmp_path / "metrics.csv", 6, tmp_path / "metrics.csv")
    assert metrics.seconds == 0
    add(metrics, run, 7, 9)
    metrics.flush()
    assert steps(metrics.path) == [9]
    metrics.path.unlink()
    add(metrics, run, 10, 12)
    metrics.flush()
    assert steps(metrics.path) == [12]
