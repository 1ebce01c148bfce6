"""charrnn.inference.origin"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charrnn.inference.origin import Origin

DIGEST = 64 * "a"


def test_says_from_which_models_it_started_and_what_they_have_read() -> None:
    assert str(Origin(("english",), DIGEST)) == "started from english"
    two = Origin(("checkpoints/a/best.h5", "english"), DIGEST, 0.424)
    assert str(two) == "started from checkpoints/a/best.h5, which started from english, which has read 42 % of the text"


def test_a_hostile_name_cannot_forge_output() -> None:
    assert str(Origin(("x\x1b[31m\nvalidation 0.1",), DIGEST)) == "started from x\\x1b[31m\\nvalidation 0.1"


@pytest.mark.parametrize(("name", "short"), [("english", "english"), ("checkpoints/a/best.h5", "a"), ("a/last.h5", "a"),
                                             ("models/m.h5", "m")])
def test_the_short_name_is_that_of_the_run(name: str, short: str) -> None:
    assert Origin((name, "english"), DIGEST).short_name == short


def test_the_short_name_of_a_file_in_the_current_folder_is_that_of_the_folder(tmp_path: Path,
                                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run" / "inner")
    assert Origin(("best.h5",), DIGEST).short_name == "inner"
    assert Origin(("../last.h5",), DIGEST).short_name == "run"


def test_plain_values_restore_it() -> None:
    origin = Origin(("a.h5", "english"), DIGEST, 0.5)
    assert Origin.from_metadata(origin.to_metadata()) == origin
    assert Origin.from_metadata(None) is None


@pytest.mark.parametrize("change", [
    {"names": []}, {"names": [1]}, {"names": "english"}, {"names": [""]}, {"weights": None}, {"weights": "zz"},
    {"overlap": 1.5}, {"overlap": -0.1}, {"overlap": float("nan")}, {"overlap": 1}, {"other": 1}])
def test_other_values_are_invalid(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="origin"):
        Origin.from_metadata({**Origin(("english",), DIGEST).to_metadata(), **change})
    for invalid in ([], "english", 1):
        with pytest.raises(ValueError, match="origin"):
            Origin.from_metadata(invalid)
