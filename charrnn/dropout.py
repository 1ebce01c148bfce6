"""Dropout masks (Srivastava et al. 2014): which outputs of each layer a window keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.config import ModelConfig
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
    threshold = min(round(config.dropout * _PARTS), _PARTS - 1)
    scale = _PARTS / (_PARTS - threshold)
    masks = []
    for layer in range(config.layers):
        mask = np.empty((seq_len, last - first, config.hidden_size), dtype)
        for stream in range(first, last):
            rng = generator(seed, "dropout", step=step, layer=layer, stream=stream)
            mask[:, stream - first] = _parts(rng, seq_len * config.hidden_size).reshape(seq_len, -1) >= threshold
        mask *= scale
        masks.append(mask)
    return masks


def _parts(rng: np.random.Generator, count: int) -> np.ndarray:
    """``count`` numbers from 0 to 65,535, four from each that the generator draws."""
    words = rng.bit_generator.random_raw(-(-count // 4)).astype("<u8", copy=False)
    return words.view("<u2")[:count]
