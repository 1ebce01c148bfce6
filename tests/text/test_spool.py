"""charrnn.text.spool"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from charrnn.text import spool as module
from charrnn.text.spool import Spool


@pytest.mark.parametrize("small", [0, 100, 10**6])
@pytest.mark.parametrize("sizes", [[], [0], [1], [3, 0, 50, 2, 200]], ids=str)
def test_returns_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, sizes: list[int]) -> None:
    monkeypatch.setattr(module, "SMALL", small)
    spool = Spool(np.uint16, lambda: tmp_path)
    pieces = [np.arange(size) for size in sizes]
    for piece in pieces:
        spool.write(piece)
    array = spool.array()
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array, np.concatenate([[], *pieces]))
    array += 1  # the array can be changed
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_short_array_needs_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 100)
    asked: list[bool] = []

    def folder() -> Path:
        asked.append(True)
        raise OSError(28, "No space left on device")

    spool = Spool(np.uint8, folder)
    spool.write(np.zeros(100))
    assert len(spool.array()) == 100
    with pytest.raises(OSError, match="No space"):
        Spool(np.uint8, folder).write(np.zeros(101))
    assert asked == [True]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 7])
def test_fills_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(module, "_BLOCK", 2)
    spool = Spool(np.float32, lambda: tmp_path)
    spool.fill(count)
    np.testing.assert_array_equal(spool.array(), np.zeros(count))
