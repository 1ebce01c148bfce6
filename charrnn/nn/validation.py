"""Check the arguments of a model, because compiled kernels do not check them.

Each function raises ValueError, or TypeError if an argument is not an array. The message names the argument and says what
is wrong. Nothing is copied, so ids may be large memory maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from charrnn.errors import check_type
from charrnn.nn.state import State


def check_inputs(inputs: np.ndarray, vocabulary_size: int) -> None:
    """Check that ``inputs`` are ids (T, B) or one-hot rows (T, B, V)."""
    check_type("inputs", inputs, np.ndarray)
    if inputs.ndim != 3:
        check_ids("inputs", inputs, vocabulary_size)
        return
    if inputs.dtype.kind not in "fiub":
        raise ValueError(f"inputs: one-hot rows must be numbers, not {inputs.dtype}")
    if inputs.shape[2] != vocabulary_size:
        raise ValueError(f"inputs: one-hot rows have a length of {inputs.shape[2]}, but the vocabulary has "
                         f"{vocabulary_size} characters")
    _check_not_empty("inputs", inputs)


def check_ids(name: str, ids: np.ndarray, vocabulary_size: int) -> None:
    """Check that ``ids`` is an array (T, B) of integers from 0 to ``vocabulary_size`` - 1, and not empty."""
    _check_integers(name, ids)
    if ids.ndim != 2:
        raise ValueError(f"{name}: ids must have the shape (T, B), not {ids.shape}")
    _check_not_empty(name, ids)
    _check_id_range(name, ids, vocabulary_size)


def check_sequence(name: str, ids: np.ndarray, vocabulary_size: int) -> None:
    """Check that ``ids`` is an array (N,) of integers from 0 to ``vocabulary_size`` - 1; it may be empty."""
    _check_integers(name, ids)
    if ids.ndim != 1:
        raise ValueError(f"{name}: ids must have the shape (N,), not {ids.shape}")
    if ids.size:
        _check_id_range(name, ids, vocabulary_size)


def check_starts(starts: np.ndarray | None, length: int) -> None:
    """Check that ``starts`` is None or an array of increasing indices into a text of this ``length``."""
    if starts is None:
        return
    check_type("starts", starts, np.ndarray)
    if starts.ndim != 1 or starts.dtype.kind not in "iu":
        raise ValueError(f"starts: must be integers of shape (N,), not {starts.dtype} of shape {starts.shape}")
    if len(starts) and (int(starts[0]) < 0 or int(starts[-1]) >= length or bool((starts[1:] <= starts[:-1]).any())):
        raise ValueError(f"starts: must be increasing indices from 0 to {length - 1}")


def check_targets(targets: np.ndarray, inputs: np.ndarray, vocabulary_size: int) -> None:
    """Check that ``targets`` are ids (T, B), one for each of ``inputs``."""
    check_ids("targets", targets, vocabulary_size)
    if targets.shape != inputs.shape[:2]:
        raise ValueError(f"targets: shape {targets.shape} does not match inputs of shape {inputs.shape}")


def check_state(name: str, state: State, layer_type: Any, shapes: Mapping[str, tuple[int, ...]], layers: int) -> None:
    """Check that ``state`` has a ``layer_type`` for each layer, with arrays of these ``shapes``."""
    check_type(name, state, tuple)
    if len(state) != layers:
        raise ValueError(f"{name}: has {_count(len(state), 'layer')}, but the model has {layers}")
    for k, layer in enumerate(state):
        if not isinstance(layer, layer_type):
            raise ValueError(f"{name}: layer {k} must be of type {layer_type.__name__}, not {type(layer).__name__}")
        for (field, shape), array in zip(shapes.items(), layer):
            check_array(f"{name}: {field} of layer {k}", array, shape)


def check_reset(reset: np.ndarray, shape: tuple[int, ...]) -> None:
    """Check that ``reset`` is an array (T, B) of bool."""
    check_type("reset", reset, np.ndarray)
    if reset.dtype != bool:
        raise ValueError(f"reset: must be bool, not {reset.dtype}")
    check_array("reset:", reset, shape)


def check_masks(name: str, masks: Sequence[np.ndarray], shape: tuple[int, ...], layers: int) -> None:
    """Check that there is a mask of this ``shape`` for each layer."""
    check_type(name, masks, list, tuple)
    if len(masks) != layers:
        raise ValueError(f"{name}: {_count(len(masks), 'mask')}, but the model has {_count(layers, 'layer')}")
    for k, mask in enumerate(masks):
        check_array(f"{name}: the mask of layer {k}", mask, shape)


def check_array(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Check that ``array`` has this ``shape``, and contains numbers."""
    check_type(name.rstrip(":"), array, np.ndarray)
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, not {array.shape}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must contain numbers, not {array.dtype}")


def _check_integers(name: str, ids: Any) -> None:
    check_type(name, ids, np.ndarray)
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name}: ids must be integers, not {ids.dtype}")


def _check_id_range(name: str, ids: np.ndarray, vocabulary_size: int) -> None:
    largest = int(ids.max())
    smallest = int(ids.min()) if ids.dtype.kind == "i" else 0
    if smallest < 0 or largest >= vocabulary_size:
        wrong = smallest if smallest < 0 else largest
        raise ValueError(f"{name}: id {wrong} is out of range for a vocabulary of {vocabulary_size:,} characters")


def _check_not_empty(name: str, array: np.ndarray) -> None:
    if not array.size:
        raise ValueError(f"{name}: the window is empty: its shape is {array.shape}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[:number != 1]}"
