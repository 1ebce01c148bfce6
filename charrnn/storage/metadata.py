"""Validate the content of a file before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def require_types(values: Mapping[str, Any], types: Mapping[str, type], what: str) -> None:
    """Raise ValueError unless ``values`` has exactly the keys of ``types``, with values of these types.

    Integers must be in [0, 2**63).
    """
    require(set(values) == set(types), f"{what}: missing or unknown keys")
    for name, kind in types.items():
        require(type(values[name]) is kind, f"{what}: {name} must be of type {kind.__name__}")
        require(kind is not int or 0 <= values[name] < 2**63, f"{what}: {name} is out of range")


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def require_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError if an array contains NaN or an infinity."""
    for name, array in arrays.items():
        require(array.dtype.kind != "f" or bool(np.isfinite(array).all()), f"/{name} contains values that are not finite")
