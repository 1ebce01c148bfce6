"""Compare analytic gradients with numeric ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from charrnn.config import ModelConfig
from charrnn.nn.model import CharRNN, one_hot
from charrnn.nn.state import State, map_state
from charrnn.randomness import generator

TOLERANCE = 1e-7
"""The relative error of each gradient must be below this, in float64."""

_STEP = 1e-5


class GradientError(NamedTuple):
    """The relative error of the analytic gradient of one array, and the norm of its numeric gradient."""

    name: str
    shape: tuple[int, ...]
    norm: float
    error: float

    @property
    def ok(self) -> bool:
        """Whether the error is below ``TOLERANCE``."""
        return self.error < TOLERANCE


def relative_error(analytic: np.ndarray, numeric: np.ndarray) -> float:
    """Return norm(analytic - numeric) / (norm(analytic) + norm(numeric)), or 0 if both are zero."""
    length = float(np.linalg.norm(analytic) + np.linalg.norm(numeric))
    return float(np.linalg.norm(analytic - numeric)) / length if length else 0.0


def check_gradients(config: ModelConfig, *, vocabulary_size: int = 11, seq_len: int = 7, batch_size: int = 3,
                    seed: int = 1, as_one_hot: bool = False, reset: np.ndarray | None = None) -> Iterator[GradientError]:
    """Check the gradients of every parameter and of a random initial state of a small model, in float64.

    The differentiated function is the loss of a window plus the last state times random numbers, so that the gradient that
    enters at the end of the window is checked too. If ``config`` has dropout or weight drop, fixed random masks are used.
    If ``reset[t, b]`` is true, the state of stream b is set to zero before step t. The numeric gradient is the central
    difference (f(x + e) - f(x - e)) / 2e with e = 1e-5 for each element.
    """
    rng = generator(seed, "check")
    model = CharRNN(config, vocabulary_size, rng, np.float64)
    model.parameters.flat += 0.1 * rng.standard_normal(model.parameters.flat.shape)  # so that no bias is zero
    ids = rng.integers(vocabulary_size, size=(seq_len + 1, batch_size))
    inputs, targets = ids[:-1], ids[1:]
    if as_one_hot:
        inputs = one_hot(inputs, vocabulary_size, np.float64)

    def masks_of(rate: float, *shape: int) -> list[np.ndarray] | None:
        return [(rng.random(shape) >= rate) / (1 - rate) for _ in range(config.layers)] if rate else None

    masks = (masks_of(config.dropout, seq_len, batch_size, config.hidden_size),
             masks_of(config.weight_drop, *model.parameters["layer0/w_h"].shape))

    def random_state() -> State:
        return map_state(lambda array: rng.standard_normal(array.shape), model.initial_state(batch_size))

    state, d_state = random_state(), random_state()

    def value() -> float:
        loss, _, after, _ = model.window(inputs, targets, state, *masks, reset=reset)
        return loss + sum(float(np.sum(a * d)) for layer, d_layer in zip(after, d_state)
                          for a, d in zip(layer, d_layer))

    window = model.window(inputs, targets, state, *masks, d_state, reset=reset)
    arrays = [(name, model.parameters[name], window.gradients[name].copy()) for name in model.parameters]
    arrays += [(f"state/layer{k}/{field}", getattr(layer, field), getattr(d_layer, field))
               for k, (layer, d_layer) in enumerate(zip(state, window.d_state)) for field in layer._fields]
    for name, array, analytic in arrays:
        numeric = np.empty_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + _STEP
            above = value()
            array[index] = kept - _STEP
            numeric[index] = (above - value()) / (2 * _STEP)
            array[index] = kept
        yield GradientError(name, array.shape, float(np.linalg.norm(numeric)), relative_error(analytic, numeric))
