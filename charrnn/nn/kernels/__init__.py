"""What happens along time: ``reference`` in NumPy says what it is, ``compiled`` does each step in one pass."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from charrnn.errors import CharRNNError
from charrnn.nn.kernels import reference


def name(dtype: Any) -> str:
    """Which kernels work on ``dtype``: "compiled" where numba is installed (pip install '.[fast]') and for float32, or
    as the environment variable CHARRNN_KERNELS says. Raises CharRNNError for a kind that is none, or is not there."""
    wanted = os.environ.get("CHARRNN_KERNELS", "")
    if wanted not in ("", "reference", "compiled"):
        raise CharRNNError(f"CHARRNN_KERNELS must be reference or compiled, not {wanted!r}")
    there = _numba_is_there()
    if wanted == "compiled" and not there:
        raise CharRNNError("CHARRNN_KERNELS is compiled, and numba is not installed; pip install '.[fast]'")
    return "compiled" if np.dtype(dtype) == np.float32 and there and wanted != "reference" else "reference"


@cache
def _numba_is_there() -> bool:
    return importlib.util.find_spec("numba") is not None


def described(dtype: Any) -> str:
    """The name, with the version of what compiles."""
    return f"compiled, numba {importlib.metadata.version('numba')}" if name(dtype) == "compiled" else "reference"


def choose(dtype: Any) -> ModuleType:
    """The kernels for ``dtype``."""
    return importlib.import_module("charrnn.nn.kernels.compiled") if name(dtype) == "compiled" else reference
