"""Parameters: named views into one flat block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


class Parameters(Mapping[str, np.ndarray]):
    """A mapping of names to arrays: views of consecutive parts of the flat array ``flat``, initially zero.

    Gradients and optimizer slots are blocks of the same layout, so everything that treats all numbers alike (clipping, an
    optimizer, a sum over threads) works on ``flat``. Writing into a view changes the block.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: Any = np.float32) -> None:
        self.shapes = dict(shapes)
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        ends = np.cumsum(sizes).tolist()
        self.flat = np.zeros(ends[-1] if ends else 0, dtype)
        self._views = {name: self.flat[end - size:end].reshape(shape)
                       for (name, shape), size, end in zip(self.shapes.items(), sizes, ends)}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __reduce__(self) -> Any:
        """Pickle and copy the block once; the views of the copy belong to the block of the copy."""
        return _restored, (self.shapes, self.flat)

    def like(self) -> Parameters:
        """Return a block of zeros of the same layout."""
        return Parameters(self.shapes, self.flat.dtype)


def _restored(shapes: Mapping[str, tuple[int, ...]], flat: np.ndarray) -> Parameters:
    parameters = Parameters(shapes, flat.dtype)
    parameters.flat[...] = flat
    return parameters
