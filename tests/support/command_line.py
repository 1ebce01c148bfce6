"""What the tests of the commands share: a small run on notes.txt, and what an error looks like."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cli = Callable[..., Any]

SMALL = ("--hidden-size", 8, "--batch-size", 3, "--seq-len", 8, "--threads", 1)
FIGURES = r"(\d+\.\d{4}) nats/char  (\d+\.\d{3}) bits/char  perplexity (\d+\.\d{2})\n"
RUN = Path("checkpoints/notes-lstm-8")


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder and below it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def steps(run: Path) -> list[int]:
    """Return the steps in the metrics of a run."""
    with (run / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def refused(answer: Any, *words: str) -> None:
    """Assert that a command failed with one line that contains ``words``, and printed nothing on standard output."""
    assert answer.code != 0
    assert answer.out == ""
    lines = answer.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]
