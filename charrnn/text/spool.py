"""Spool: a long array that is written piece by piece."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from charrnn.text.tokens import SMALL

_BLOCK = 2**20


class Spool:
    """An array (N,) that is written piece by piece.

    Up to ``SMALL`` bytes are kept in memory, more in a temporary file in ``folder()``.
    """

    def __init__(self, dtype: Any, folder: Callable[[], Path]) -> None:
        self._dtype = np.dtype(dtype)
        self._folder = folder
        self._memory: io.BytesIO | None = io.BytesIO()
        self._file: IO[bytes] = self._memory

    def write(self, values: np.ndarray) -> None:
        """Append values. Raises OSError if the temporary file cannot be written."""
        data = values.astype(self._dtype, copy=False).tobytes()
        if self._memory is not None and self._memory.tell() + len(data) > SMALL:
            self._file = tempfile.TemporaryFile(dir=self._folder())  # noqa: SIM115 (until close)
            self._file.write(self._memory.getvalue())
            self._memory = None
        self._file.write(data)

    def fill(self, count: int) -> None:
        """Append ``count`` zeros, to be replaced in ``array``; so a full disk is an error here, and not later."""
        for first in range(0, count, _BLOCK):
            self.write(np.zeros(min(_BLOCK, count - first), self._dtype))

    def array(self) -> np.ndarray:
        """Return the array, in memory or as a memory map; it can be changed. Call this once, at the end.

        Raises OSError if the temporary file cannot be written.
        """
        if self._memory is not None:
            return np.frombuffer(self._memory.getbuffer(), self._dtype)
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r+").view(np.ndarray)

    def close(self) -> None:
        """Delete the temporary file."""
        if self._memory is None:
            self._file.close()
