"""How the kernels are compiled and cached."""

from __future__ import annotations

import hashlib
from pathlib import Path

from numba import njit

FAST = {"contract", "reassoc", "nsz", "arcp"}
"""Reordering and fused multiply-add are allowed. Assuming that there are no NaNs is not: NaNs must reach the loss."""

inline = njit(nogil=True, error_model="numpy", fastmath=FAST, inline="always")
"""Inline a function before anything is optimized.

A separate function would be optimized once by itself and once with its caller. The last bits of the two versions differ; a
first run would use one version, and a run from the cache the other.
"""

_SOURCES = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
VERSION = hashlib.sha256(_SOURCES).hexdigest()[:8]
"""A digest of all files in this folder."""


def compile_kernel(function):
    """Compile a kernel, and cache it under a name that depends on the sources of all kernels.

    Numba compiles a cached function again if its own file changes, but not if the file of a function that it calls changes.
    """
    function.__qualname__ += f"_{VERSION}"
    return njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)(function)
