"""Helpers for the tests of the commands: the options of a small run on notes.txt, and the form of its result and errors."""

from __future__ import annotations

import csv
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

SMALL = ("--hidden-size", 8, "--batch-size", 3, "--seq-len", 8, "--threads", 1)
FIGURES = r"(\d+\.\d{4}) nats/char  (\d+\.\d{3}) bits/char  perplexity (\d+\.\d{2})  \(carried, 1 stream\)\n"
RUN = Path("checkpoints/notes-lnlstm-8")


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


def on_terminal(*arguments: Any, environment: dict[str, str], both: bool = False) -> bytes:
    """Return what a command writes on a terminal of 80 columns: standard output, or ``both`` streams."""
    pty = pytest.importorskip("pty")
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen([sys.executable, *map(str, arguments)], env=environment, stdout=follower,
                               stderr=follower if both else subprocess.PIPE)
    os.close(follower)
    data = b""
    try:
        while block := os.read(leader, 4096):
            data += block
    except OSError:  # the end of a terminal, on Linux
        pass
    os.close(leader)
    assert both or process.communicate()[1] == b""
    assert process.wait() == 0
    return data.replace(b"\r\n", b"\n")


def without_size(line: str) -> str:
    """Remove the compressed size, which only ``evaluate`` prints."""
    return re.sub(r"  compressed [\d,]+ bytes", "", line)
