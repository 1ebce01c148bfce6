"""charrnn.inference.origin"""

from __future__ import annotations

from typing import Any

import pytest

from charrnn.inference.origin import Origin

DIGEST = 64 * "a"


def test_says_from_which_models_it_started_and_what_they_have_read() -> None:
    assert str(Origin(("english",), DIGEST)) == "started from english"
    two = Origin(("checkpoints/a/best.h5", "english"), DIGEST, 0.424)
    assert str(two) == "started from checkpoints/a/best.h5, from english, which has read 42 % of the text"


@pytest.mark.parametrize(("name", "short"), [("english", "english"), ("checkpoints/a/best.h5", "a"), ("a/last.h5", "a"),
                                             ("best.h5", "best"), ("models/m.h5", "m")])
def test_the_short_name_is_that_of_the_run(name: str, short: str) -> None:
    assert Origin((name, "english"), DIGEST).short_name == short


def test_plain_values_restore_it() -> None:
    origin = Origin(("a.h5", "english"), DIGEST, 0.5)
    assert Origin.from_metadata(origin.to_metadata()) == origin
    assert Origin.from_metadata(None) is None


@pytest.mark.parametrize("change", [
    {"names": []}, {"names": [1]}, {"names": "english"}, {"weights": None}, {"overlap": 1.5}, {"overlap": -0.1},
    {"overlap": float("nan")}, {"overlap": 1}, {"other": 1}])
def test_other_values_are_invalid(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="origin"):
        Origin.from_metadata({**Origin(("english",), DIGEST).to_metadata(), **change})
    for invalid in ([], "english", 1):
        with pytest.raises(ValueError, match="origin"):
            Origin.from_metadata(invalid)
