"""The inner loops of the network: ``reference`` defines them in NumPy, ``compiled`` does the same with numba."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from charrnn.errors import CharRNNError, ConfigError, printable
from charrnn.nn.kernels import reference

NAMES = ("reference", "compiled")
"""The names of the kernels."""

VARIABLE = "CHARRNN_KERNELS"
"""The environment variable that selects the kernels."""

_INSTALL = "pip install '.[fast]'"


def kernels_name(dtype: Any, preferred: str | None = None) -> str:
    """Return the name of the kernels for ``dtype``.

    It is "compiled" if numba is installed (pip install '.[fast]') and works and ``dtype`` is float32, unless ``preferred``
    is "reference"; otherwise "reference". If numba is installed but does not work, the first call warns. For float32, the
    environment variable CHARRNN_KERNELS can select the kernels by name. Raises CharRNNError if it contains another name, or
    if it is "compiled" and numba does not work, and ConfigError if ``preferred`` is another name.
    """
    if preferred not in (None, *NAMES):
        raise ConfigError("kernels", f"must be {' or '.join(NAMES)}, not {preferred!r}")
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", *NAMES):
        raise CharRNNError(f"CHARRNN_KERNELS must be reference or compiled, not {wanted!r}")
    if wanted == "compiled":
        if not _numba_is_installed():
            raise CharRNNError("CHARRNN_KERNELS=compiled is set, but numba is not installed", _INSTALL)
        if fault := _fault_of_numba():
            raise CharRNNError(f"CHARRNN_KERNELS=compiled is set, but {fault}", _remedy(fault))
    if (wanted or preferred) == "reference" or np.dtype(dtype) != np.float32 or not _numba_is_installed():
        return "reference"
    if fault := _fault_of_numba():
        _warn(fault)
        return "reference"
    return "compiled"


@cache
def _numba_is_installed() -> bool:
    return importlib.util.find_spec("numba") is not None


@cache
def _fault_of_numba() -> str | None:
    """Return why the compiled kernels cannot be used, or None if they work.

    Numba may not support the installed NumPy, may find no folder for its cache, or may have changed a private part that
    ``tile.py`` uses.
    """
    try:
        importlib.import_module("charrnn.nn.kernels.compiled").check()
    except Exception as error:
        reason = printable(str(error).strip().partition("\n")[0])
        return f"numba {_numba_version()} does not work here ({type(error).__name__}: {reason})"
    return None


@cache
def _warn(fault: str) -> None:
    """Warn once per process."""
    warnings.warn(f"{fault}; using the reference kernels, which are slower ({_remedy(fault)})", RuntimeWarning,
                  stacklevel=3)


def _remedy(fault: str) -> str:
    """Return what to do about a fault of numba."""
    if "cannot cache" in fault:
        return "set NUMBA_CACHE_DIR to a folder that can be written"
    return f"{_INSTALL} installs a tested version"


def _numba_version() -> str:
    try:
        return importlib.metadata.version("numba")
    except importlib.metadata.PackageNotFoundError:
        return "(unknown version)"


@contextmanager
def reporting_compilation(report: Callable[[], object]) -> Iterator[None]:
    """Call ``report`` when numba first compiles something inside the ``with`` block that is not in its cache."""
    try:
        if os.environ.get(VARIABLE) == "reference" or not _numba_is_installed():
            raise ImportError
        from numba.core import event
    except Exception:  # a numba that does not work is reported by ``kernels_name``
        yield
        return

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


def has_bfloat16(kernels: str) -> bool:
    """Return whether these kernels multiply bfloat16 numbers with an instruction of this processor."""
    return kernels in _kernels_with_bfloat16()


def _kernels_with_bfloat16() -> tuple[str, ...]:
    if kernels_name(np.float32) == "reference":
        return ()
    return ("compiled",) if importlib.import_module("charrnn.nn.kernels.tile").HAS_BFLOAT16 else ()


def resolve_precision(precision: str, dtype: Any, kernels: str) -> str:
    """Return the precision that ``precision`` selects for a network of ``dtype`` with these kernels: float32 or bfloat16.

    Raises ConfigError if it is bfloat16 and the network, the kernels or the processor do not support it.
    """
    is_supported = np.dtype(dtype) == np.float32 and has_bfloat16(kernels)
    if precision == "bfloat16" and not is_supported:
        raise ConfigError("precision", "cannot be bfloat16 here: this needs compiled kernels, weights in float32 and a "
                                       "processor with AVX512-BF16", "use auto")
    return "bfloat16" if precision != "float32" and is_supported else "float32"


def describe_kernels(dtype: Any, preferred: str | None = None) -> str:
    """Return the name of the kernels for ``dtype``, with the version of numba if they are compiled."""
    name = kernels_name(dtype, preferred)
    return f"compiled, numba {_numba_version()}" if name == "compiled" else name


def kernels_for(dtype: Any, preferred: str | None = None) -> ModuleType:
    """Return the module of the kernels for ``dtype``. Raises CharRNNError as ``kernels_name`` does."""
    name = kernels_name(dtype, preferred)
    return importlib.import_module("charrnn.nn.kernels.compiled") if name == "compiled" else reference
