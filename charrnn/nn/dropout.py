"""Dropout masks (Srivastava et al. 2014): which outputs of each layer, and which recurrent weights, a window keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.config import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.randomness import generator

_PARTS = 2**16


def dropout_masks(config: ModelConfig, seed: int, step: int, seq_len: int, dtype: Any, first: int, last: int
                  ) -> list[np.ndarray] | None:
    """For each layer a mask (T, last - first, H) for the streams from ``first`` up to ``last``; None without dropout.

    An element is 0 where the output is dropped, and 1 / (share kept) elsewhere, so that the mean stays. The share
    dropped is rounded to 1/65536. A mask is a function of the seed, the step, the layer and the stream, so it does
    not matter in which order, or by which thread, they are drawn.
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
    """For each layer a mask (H, G*H) for its ``w_h``; None without weight drop (Wan et al. 2013, "Regularization of Neural
    Networks using DropConnect"; upon recurrent weights: Merity, Keskar and Socher 2018, "Regularizing and Optimizing LSTM
    Language Models").

    All streams and time steps of a window share it. Its numbers are those of ``dropout_masks``.
    """
    if not config.weight_drop:
        return None
    threshold, scale = _threshold(config.weight_drop)
    masks = []
    for layer in range(config.layers):
        rng = generator(seed, "weight_drop", step=step, layer=layer)
        kept = _parts(rng, len(CELLS[config.cell].GATES) * config.hidden_size**2) >= threshold
        masks.append(kept.reshape(config.hidden_size, -1) * np.dtype(dtype).type(scale))
    return masks


def _threshold(share: float) -> tuple[int, float]:
    """Below which of ``_PARTS`` numbers something is dropped, and by what the rest is multiplied."""
    threshold = min(round(share * _PARTS), _PARTS - 1)
    return threshold, _PARTS / (_PARTS - threshold)


def _parts(rng: np.random.Generator, count: int) -> np.ndarray:
    """``count`` numbers from 0 to 65,535, four from each that the generator draws."""
    words = rng.bit_generator.random_raw(-(-count // 4)).astype("<u8", copy=False)
    return words.view("<u2")[:count]
