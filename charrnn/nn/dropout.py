"""Dropout masks (Srivastava et al. 2014) of a window, for the outputs of each layer and for the recurrent weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charrnn.config import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.randomness import generator

_PARTS = 2**16


def dropout_masks(config: ModelConfig, seed: int, step: int, seq_len: int, dtype: Any, first: int, last: int
                  ) -> list[np.ndarray] | None:
    """Return a mask (T, last - first, H) for each layer, for streams ``first`` to ``last`` - 1; None without dropout.

    An element is 0 if the output is dropped, otherwise 1 / (fraction kept), so that the mean stays the same. The dropped
    fraction is rounded to 1/65536. A mask is a function of the seed, the step, the layer and the stream, so masks can be
    drawn in any order and by any thread.
    """
    if not config.dropout:
        return None
    threshold, scale = _threshold(config.dropout)
    masks = []
    for layer in range(config.layers):
        mask = np.empty((seq_len, last - first, config.hidden_size), dtype)
        for stream in range(first, last):
            rng = generator(seed, "dropout", step=step, layer=layer, stream=stream)
            mask[:, stream - first] = _parts(rng, seq_len * config.hidden_size).reshape(seq_len, -1) >= threshold
        mask *= scale
        masks.append(mask)
    return masks


def weight_masks(config: ModelConfig, seed: int, step: int, dtype: Any) -> list[np.ndarray] | None:
    """Return a mask of the shape of ``w_h`` for each layer; None without weight drop.

    All streams and time steps of a window share it. Elements are 0 or 1 / (fraction kept), as in ``dropout_masks``.
    Reference: Wan et al. 2013, "Regularization of Neural Networks using DropConnect"; for recurrent weights: Merity,
    Keskar and Socher 2018, "Regularizing and Optimizing LSTM Language Models".
    """
    if not config.weight_drop:
        return None
    threshold, scale = _threshold(config.weight_drop)
    shape = CELLS[config.cell].shapes(1, config.hidden_size)["w_h"]
    masks = []
    for layer in range(config.layers):
        rng = generator(seed, "weight_drop", step=step, layer=layer)
        kept = _parts(rng, math.prod(shape)) >= threshold
        masks.append(kept.reshape(shape) * np.dtype(dtype).type(scale))
    return masks


def _threshold(fraction: float) -> tuple[int, float]:
    """Return the drop threshold, in units of 1/_PARTS, and the scale of the kept elements."""
    threshold = min(round(fraction * _PARTS), _PARTS - 1)
    return threshold, _PARTS / (_PARTS - threshold)


def _parts(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return ``count`` integers from 0 to 65,535, four from each 64-bit word that the generator draws."""
    words = rng.bit_generator.random_raw(-(-count // 4)).astype("<u8", copy=False)
    return words.view("<u2")[:count]
