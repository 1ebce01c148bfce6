"""Rollback: the last weights of a run that are known to be finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from charrnn.nn.parameters import Parameters


class Rollback(NamedTuple):
    """The last weights that are known to be finite: the step after which they were copied, and the flat copies by name."""

    step: int
    blocks: dict[str, np.ndarray]

    @classmethod
    def of(cls, step: int, blocks: Mapping[str, Parameters], old: Rollback | None = None) -> Rollback:
        """Copy blocks of parameters, into the arrays of an older copy if there is one."""
        copies = old.blocks if old else {name: np.empty_like(block.flat) for name, block in blocks.items()}
        for name, block in blocks.items():
            copies[name][...] = block.flat
        return cls(step, copies)

    def restore(self, blocks: Mapping[str, Parameters]) -> None:
        """Write the copies back into the blocks."""
        for name, block in blocks.items():
            block.flat[...] = self.blocks[name]
