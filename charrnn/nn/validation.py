"""Checks of the arguments of a model, before compiled code, which checks nothing, works on them.

Each function raises ValueError with the name of the argument and its fault. Nothing is copied: ids may be memory maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from charrnn.nn.state import State


def check_inputs(inputs: np.ndarray, vocabulary_size: int) -> None:
    """Check ids (T, B), or one-hot rows (T, B, V)."""
    if inputs.ndim != 3:
        check_ids("inputs", inputs, vocabulary_size)
        return
    if inputs.dtype.kind not in "fiub":
        raise ValueError(f"inputs: one-hot rows must be numbers, not {inputs.dtype}")
    if inputs.shape[2] != vocabulary_size:
        raise ValueError(f"inputs: one-hot rows have a length of {inputs.shape[2]}, and the vocabulary has "
                         f"{vocabulary_size} characters")
    _check_not_empty("inputs", inputs)


def check_ids(name: str, ids: np.ndarray, vocabulary_size: int) -> None:
    """Check that ``ids`` is an array (T, B) of integers from 0 to ``vocabulary_size`` - 1, and not empty."""
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name}: ids must be integers, not {ids.dtype}")
    if ids.ndim != 2:
        raise ValueError(f"{name}: ids must have the shape (T, B), not {ids.shape}")
    _check_not_empty(name, ids)
    largest = int(ids.max())
    smallest = int(ids.min()) if ids.dtype.kind == "i" else 0
    if smallest < 0 or largest >= vocabulary_size:
        wrong = smallest if smallest < 0 else largest
        raise ValueError(f"{name}: id {wrong} is out of range for a vocabulary of {vocabulary_size} characters")


def check_targets(targets: np.ndarray, inputs: np.ndarray, vocabulary_size: int) -> None:
    """Check ids (T, B), one for each of ``inputs``."""
    check_ids("targets", targets, vocabulary_size)
    if targets.shape != inputs.shape[:2]:
        raise ValueError(f"targets: shape {targets.shape} does not match inputs of shape {inputs.shape}")


def check_state(name: str, state: State, kind: Any, shapes: Mapping[str, tuple[int, ...]], layers: int) -> None:
    """Check that ``state`` has a ``kind`` for each layer, with arrays of these ``shapes``."""
    if len(state) != layers:
        raise ValueError(f"{name}: {len(state)} layers, and the model has {layers}")
    for k, layer in enumerate(state):
        if not isinstance(layer, kind):
            raise ValueError(f"{name}: layer {k} must be a {kind.__name__}, not a {type(layer).__name__}")
        for (field, shape), array in zip(shapes.items(), layer):
            check_array(f"{name}: {field} of layer {k}", array, shape)


def check_reset(reset: np.ndarray, shape: tuple[int, int]) -> None:
    """Check that ``reset`` is an array (T, B) of bool."""
    if reset.dtype != bool:
        raise ValueError(f"reset: must be of bool, not {reset.dtype}")
    check_array("reset:", reset, shape)


def check_masks(name: str, masks: Sequence[np.ndarray], shape: tuple[int, ...], layers: int) -> None:
    """Check that there is a mask of this ``shape`` for each layer."""
    if len(masks) != layers:
        raise ValueError(f"{name}: {len(masks)} masks, and the model has {layers} layers")
    for k, mask in enumerate(masks):
        check_array(f"{name}: the mask of layer {k}", mask, shape)


def check_array(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Check that ``array`` has this ``shape``, and holds numbers."""
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, not {array.shape}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold numbers, not {array.dtype}")


def _check_not_empty(name: str, array: np.ndarray) -> None:
    if not array.size:
        raise ValueError(f"{name}: an empty window of shape {array.shape}")
