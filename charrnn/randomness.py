"""Random numbers without history: whatever is drawn is a function of (seed, purpose, step, layer, stream).

So resuming, threads, ranks and evaluation cannot change it, and only the seed has to be stored. Philox computes random
numbers from a key and a counter, without running through those before (Salmon et al. 2011, "Parallel Random Numbers: As
Easy as 1, 2, 3"). Seed and purpose are the key. Step, layer and stream are in the counter, whose lowest word counts the
numbers that are drawn.
"""

from __future__ import annotations

import operator

import numpy as np

_PURPOSES = {"weights": 1, "dropout": 2, "sample": 3, "check": 4, "weight_drop": 5, "lines": 6}


def generator(seed: int, purpose: str, *, step: int = 0, layer: int = 0, stream: int = 0) -> np.random.Generator:
    """Return the generator for one purpose: "weights", "dropout", "sample", "check", "weight_drop" or "lines".

    Raises KeyError for another purpose, ValueError unless the numbers are from 0 to 2**64 - 1, TypeError unless they are
    integers.
    """
    for name, number in (("seed", seed), ("step", step), ("layer", layer), ("stream", stream)):
        if not 0 <= operator.index(number) < 2**64:
            raise ValueError(f"{name} must be from 0 to 2**64 - 1, not {number}")
    return np.random.Generator(np.random.Philox(key=[seed, _PURPOSES[purpose]], counter=[0, stream, layer, step]))
