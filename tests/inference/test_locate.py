"""charrnn.inference.locate"""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.errors import RunError
from charrnn.inference.locate import BEST, LAST, checkpoint_at


@pytest.mark.parametrize("kind", [Path, str])
@pytest.mark.parametrize("name", ["best.h5", "last.h5", "model.h5", "model"])
def test_a_file_is_that_file_whatever_is_preferred(tmp_path: Path, name: str, kind: type) -> None:
    (tmp_path / name).touch()
    for prefer in (BEST, LAST):
        assert checkpoint_at(kind(tmp_path / name), prefer) == tmp_path / name


@pytest.mark.parametrize(("files", "best", "last"), [
    (["best.h5", "last.h5"], "best.h5", "last.h5"), (["best.h5"], "best.h5", "best.h5"),
    (["last.h5"], "last.h5", "last.h5"), (["last.h5", "model.h5", "metrics.csv"], "last.h5", "last.h5")])
def test_of_a_folder_it_is_the_preferred_state_or_the_other(tmp_path: Path, files: list[str], best: str, last: str) -> None:
    for file in files:
        (tmp_path / file).touch()
    assert checkpoint_at(tmp_path) == checkpoint_at(tmp_path, BEST) == tmp_path / best
    assert checkpoint_at(tmp_path, LAST) == tmp_path / last


def test_a_path_without_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    with pytest.raises(RunError, match=f"^{tmp_path}: holds neither best.h5 nor last.h5"):
        checkpoint_at(tmp_path)
    for missing in (tmp_path / "missing", tmp_path / "missing" / "best.h5"):
        with pytest.raises(RunError, match=f"^{missing}: no such run or checkpoint"):
            checkpoint_at(missing)
