"""Every hostile construction ends in one line, within the limits, and without harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("resource", reason="the limits of the child process need it")

from forging import contents, copied, forged, image_of, signed, written
from fuzzing import LOADED, REFUSED, Judge, Verdict, originals
from hostile import HOSTILE

from charrnn.errors import CheckpointError
from charrnn.storage import container as checkpoint
from charrnn.training.run import Run


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


@pytest.fixture
def valid() -> bytes:
    return originals()[0]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, tmp_path: Path, valid: bytes, judge: Judge) -> None:
    HOSTILE[name](tmp_path / "run.h5", valid)
    verdict = judge.judge(tmp_path / "run.h5")
    assert verdict.what == REFUSED, verdict


# The same tools without malice: what they make is refused for what was done, and not for how it was made

def test_a_new_digest_alone_is_fine(tmp_path: Path, valid: bytes, judge: Judge) -> None:
    (tmp_path / "run.h5").write_bytes(signed(image_of(valid)))
    assert judge.judge(tmp_path / "run.h5") == Verdict(LOADED)


def test_another_weight_alone_is_fine(tmp_path: Path, valid: bytes, judge: Judge) -> None:
    arrays, meta = contents(valid)
    arrays["parameters/output/w"][0, 0] = np.float32(1.5)
    (tmp_path / "run.h5").write_bytes(forged(arrays, meta))
    assert judge.judge(tmp_path / "run.h5") == Verdict(LOADED)


def test_other_facts_alone_are_fine(tmp_path: Path, valid: bytes, judge: Judge) -> None:
    arrays, meta = contents(valid)
    meta["facts"]["train"]["steps"] = 10**6
    (tmp_path / "run.h5").write_bytes(forged(arrays, meta))
    assert judge.judge(tmp_path / "run.h5") == Verdict(LOADED)


def test_what_h5py_writes_is_fine(tmp_path: Path, valid: bytes, judge: Judge) -> None:
    with written(tmp_path / "run.h5") as file:
        copied(valid, file)
    assert judge.judge(tmp_path / "run.h5") == Verdict(LOADED)


@pytest.mark.parametrize("limit", ["_LARGEST_FILE", "_LARGEST_META", "_MOST_VALUES"])
def test_what_would_not_be_read_is_not_written(
        limit: str, tmp_path: Path, valid: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.h5").write_bytes(valid)
    run = Run.load(tmp_path / "run.h5")
    monkeypatch.setattr(checkpoint, limit, 50)
    with pytest.raises(CheckpointError):
        Run.load(tmp_path / "run.h5")
    with pytest.raises(OSError, match="larger than a checkpoint can be"):
        run.save(tmp_path / "run.h5")
    assert (tmp_path / "run.h5").read_bytes() == valid
