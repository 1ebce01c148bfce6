"""Every hostile file is rejected with one line, within the limits, and without side effects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("resource", reason="the limits of the child process need it")

from forging import contents, resigned, with_arrays, with_meta
from fuzzing import LOADED, REFUSED, Judge, Verdict
from hostile import TRICKS
from hostile_metadata import HOSTILE
from mutating import originals

from charrnn.errors import CheckpointError
from charrnn.storage import container as checkpoint
from charrnn.training.run import Run
from charrnn.training.schema import arrays_of


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


@pytest.fixture
def valid() -> bytes:
    return originals()[0]


@pytest.mark.parametrize("name", HOSTILE)
def test_rejects_a_hostile_file(name: str, tmp_path: Path, valid: bytes, judge: Judge) -> None:
    HOSTILE[name](tmp_path / "run.h5", valid)
    verdict = judge.judge(tmp_path / "run.h5")
    assert verdict.what == REFUSED, verdict


@pytest.mark.parametrize("name", TRICKS)
def test_tricks_of_hdf5_load_only_what_the_index_names(name: str, tmp_path: Path, valid: bytes, judge: Judge) -> None:
    """Only the bytes that the index names are loaded, and nothing of ``secret.txt`` or ``other.h5``."""
    TRICKS[name](tmp_path / "run.h5", valid)
    verdict = judge.judge(tmp_path / "run.h5")
    assert not verdict.failed, verdict
    if verdict.what == LOADED:
        indexed = contents((tmp_path / "run.h5").read_bytes())[0]
        loaded = arrays_of(Run.load(tmp_path / "run.h5"))
        assert {name: array.tobytes() for name, array in loaded.items()} == {
            name: array.tobytes() for name, array in indexed.items()}


# The same tools without an attack: files are rejected because of their content, not because of how they were made

def test_accepts_a_file_with_a_new_digest(tmp_path: Path, valid: bytes, judge: Judge) -> None:
    assert resigned(valid) == valid
    (tmp_path / "run.h5").write_bytes(with_meta(valid, contents(valid)[1]))
    assert judge.judge(tmp_path / "run.h5") == Verdict(LOADED)


def test_accepts_a_file_with_another_weight(tmp_path: Path, valid: bytes, judge: Judge) -> None:
    arrays, meta = contents(valid)
    arrays["parameters/output/w"][0, 0] = np.float32(1.5)
    (tmp_path / "run.h5").write_bytes(with_arrays(valid, arrays, meta))
    assert judge.judge(tmp_path / "run.h5") == Verdict(LOADED)


def test_accepts_a_file_with_other_metadata(tmp_path: Path, valid: bytes, judge: Judge) -> None:
    arrays, meta = contents(valid)
    meta["metadata"]["train"]["steps"] = 10**6
    (tmp_path / "run.h5").write_bytes(with_arrays(valid, arrays, meta))
    assert judge.judge(tmp_path / "run.h5") == Verdict(LOADED)


@pytest.mark.parametrize("limit", ["_LARGEST_FILE", "_LARGEST_META", "_MOST_VALUES"])
def test_does_not_write_what_it_would_not_read(
        limit: str, tmp_path: Path, valid: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.h5").write_bytes(valid)
    run = Run.load(tmp_path / "run.h5")
    monkeypatch.setattr(checkpoint, limit, 50)
    with pytest.raises(CheckpointError):
        Run.load(tmp_path / "run.h5")
    with pytest.raises(OSError, match="too large for a checkpoint"):
        run.save(tmp_path / "run.h5")
    assert (tmp_path / "run.h5").read_bytes() == valid
