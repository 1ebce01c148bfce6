"""The hidden state of a model: a tuple of layers, each a NamedTuple of (B, H) arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

State = tuple[Any, ...]
"""One NamedTuple of arrays (B, H) for each layer, the hidden state first."""


def map_state(f: Callable[..., Any], *states: State) -> State:
    """Call ``f`` on each array of a state, or on the matching arrays of several states; return the results as a state."""
    return tuple(type(layers[0])(*(f(*arrays) for arrays in zip(*layers, strict=True)))
                 for layers in zip(*states, strict=True))


def next_epoch(state: State) -> State:
    """Return the state that the next epoch starts from.

    The text of stream b continues in stream b + 1, so each stream passes its state on to the next one. The first stream
    starts from zero.
    """
    def roll(array: np.ndarray) -> np.ndarray:
        rolled = np.roll(array, 1, axis=0)
        rolled[0] = 0
        return rolled

    return map_state(roll, state)
