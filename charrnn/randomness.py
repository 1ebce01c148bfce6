"""Random numbers as a function of (seed, purpose, step, layer, stream), independent of all numbers drawn before.

So resuming, threads, ranks and evaluations cannot change them, and only the seed has to be stored. Philox computes random
numbers directly from a key and a counter (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"). Seed and
purpose are the key. Step, layer and stream are in the counter, whose lowest word advances with each block of numbers that
is drawn.
"""

from __future__ import annotations

import operator

import numpy as np

_PURPOSES = {"weights": 1, "dropout": 2, "sample": 3, "check": 4, "weight_drop": 5, "lines": 6, "reset": 7}


def generator(seed: int, purpose: str, *, step: int = 0, layer: int = 0, stream: int = 0) -> np.random.Generator:
    """Return the generator for one purpose: "weights", "dropout", "sample", "check", "weight_drop", "lines" or "reset".

    Raises KeyError if the purpose is unknown, ValueError if a number is not from 0 to 2**64 - 1, TypeError if it is not an
    integer.
    """
    for name, number in (("seed", seed), ("step", step), ("layer", layer), ("stream", stream)):
        if not 0 <= operator.index(number) < 2**64:
            raise ValueError(f"{name} must be from 0 to 2**64 - 1, not {number}")
    return np.random.Generator(np.random.Philox(key=[seed, _PURPOSES[purpose]], counter=[0, stream, layer, step]))
