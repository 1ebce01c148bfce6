"""Kernels: what a window costs time for. ``reference`` defines them in NumPy, ``compiled`` computes the same with numba."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def reporting_compilation(report: Callable[[], object]) -> Iterator[None]:
    """Inside the ``with`` block, call ``report`` once when numba starts to compile something that is not in its cache."""
    if kernels_name(np.float32) == "reference":
        yield
        return
    from numba.core import event

    class Listener(event.Listener):
        is_first = True

        def on_start(self, _: Any) -> None:
            if self.is_first:
                self.is_first = False
                report()

        def on_end(self, _: Any) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield


def describe_kernels(dtype: Any) -> str:
    """Return the name of the kernels for ``dtype``, with the version of numba if they are compiled."""
    name = kernels_name(dtype)
    return f"compiled, numba {importlib.metadata.version('numba')}" if name == "compiled" else name


def kernels_for(dtype: Any) -> ModuleType:
    """Return the module of the kernels for ``dtype``."""
    return importlib.import_module("charrnn.nn.kernels.compiled") if kernels_name(dtype) == "compiled" else reference
