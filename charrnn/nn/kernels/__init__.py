"""Kernels: what a window costs time for. ``reference`` defines them in NumPy, ``compiled`` computes the same with numba."""

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


def kernels_name(dtype: Any) -> str:
    """Return the name of the kernels for ``dtype``.

    "compiled" if numba is installed (pip install '.[fast]') and ``dtype`` is float32, otherwise "reference"; the
    environment variable CHARRNN_KERNELS can set one of them. Raises CharRNNError if it names an unknown kernel, or if
    it is "compiled" and numba is not installed.
    """
    wanted = os.environ.get("CHARRNN_KERNELS", "")
    if wanted not in ("", "reference", "compiled"):
        raise CharRNNError(f"CHARRNN_KERNELS must be reference or compiled, not {wanted!r}")
    installed = _numba_is_installed()
    if wanted == "compiled" and not installed:
        raise CharRNNError("CHARRNN_KERNELS is compiled, and numba is not installed; pip install '.[fast]'")
    return "compiled" if np.dtype(dtype) == np.float32 and installed and wanted != "reference" else "reference"


@cache
def _numba_is_installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def describe_kernels(dtype: Any) -> str:
    """Return the name of the kernels for ``dtype``, with the version of numba if they are compiled."""
    name = kernels_name(dtype)
    return f"compiled, numba {importlib.metadata.version('numba')}" if name == "compiled" else name


def kernels_for(dtype: Any) -> ModuleType:
    """Return the module of the kernels for ``dtype``."""
    return importlib.import_module("charrnn.nn.kernels.compiled") if kernels_name(dtype) == "compiled" else reference
