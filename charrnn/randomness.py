"""Random numbers without history: whatever is drawn is a function of (seed, purpose, step, layer, stream).

Resuming, threads, ranks and evaluation cannot disturb it, and nothing but the seed has to be stored. Philox turns a
key and a counter into random numbers without having to be run from a start (Salmon et al. 2011, "Parallel Random
Numbers: As Easy as 1, 2, 3"): seed and purpose are its key; step, layer and stream its counter, whose lowest word is
left for the numbers themselves.
"""

from __future__ import annotations

import numpy as np

_PURPOSES = {"weights": 1, "dropout": 2, "sample": 3, "check": 4, "weight_drop": 5, "lines": 6}


def generator(seed: int, purpose: str, *, step: int = 0, layer: int = 0, stream: int = 0) -> np.random.Generator:
    """The generator for one purpose: "weights", "dropout", "sample", "check", "weight_drop" or "lines"."""
    return np.random.Generator(np.random.Philox(key=[seed, _PURPOSES[purpose]], counter=[0, stream, layer, step]))
