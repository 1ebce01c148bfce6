"""charrnn.storage.metadata"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn.storage.metadata import require, require_finite, require_types

TYPES = {"name": str, "count": int, "loss": float}
VALID = {"name": "x", "count": 0, "loss": 1.0}


def test_values_of_the_right_types_are_accepted() -> None:
    require_types(VALID, TYPES, "the metadata")
    require_types({**VALID, "count": 2**63 - 1}, TYPES, "the metadata")
    require_types({}, {}, "the metadata")


@pytest.mark.parametrize("values", [{}, {"name": "x", "count": 0}, {**VALID, "more": 1}])
def test_a_key_that_is_missing_or_unknown_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^the metadata: missing or unknown keys$"):
        require_types(values, TYPES, "the metadata")


@pytest.mark.parametrize(("name", "value"), [
    ("name", None), ("name", 1), ("count", True), ("count", 1.0), ("count", None), ("loss", 1), ("loss", "1")])
def test_a_value_of_the_wrong_type_is_refused_and_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^the metadata: {name} must be of type {TYPES[name].__name__}$"):
        require_types({**VALID, name: value}, TYPES, "the metadata")


@pytest.mark.parametrize("value", [-1, 2**63])
def test_an_integer_out_of_range_is_refused_and_named(value: int) -> None:
    with pytest.raises(ValueError, match=r"^the metadata: count is out of range$"):
        require_types({**VALID, "count": value}, TYPES, "the metadata")


def test_a_condition_that_does_not_hold_raises_its_message() -> None:
    require(True, "it is wrong")
    with pytest.raises(ValueError, match=r"^it is wrong$"):
        require(False, "it is wrong")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_arrays_must_be_finite(dtype: str, value: float) -> None:
    arrays = {"a": np.ones((2, 3), dtype), "ids": np.ones(3, np.uint8), "b": np.ones(2, dtype), "empty": np.ones(0, dtype)}
    require_finite(arrays)
    arrays["b"][1] = value
    with pytest.raises(ValueError, match=r"^/b contains values that are not finite$"):
        require_finite(arrays)
