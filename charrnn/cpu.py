"""The cores that this process may use, and the BLAS that NumPy multiplies with.

Importing this module loads neither NumPy nor threadpoolctl: that happens when something asks about BLAS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

_lock = Lock()
_entries = 0
_threads_before: list[int] = []


def core_numbers() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(core_numbers())


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread; restore its number of threads afterwards.

    The number of threads of a BLAS belongs to the process. So the first of several threads to enter sets it, and the
    last one to leave restores it, in whatever order they leave.
    """
    global _entries, _threads_before
    libraries = _blas_libraries()
    with _lock:
        if _entries == 0:
            _threads_before = [library.num_threads for library in libraries]
            _set_threads(libraries, [1] * len(libraries))
        _entries += 1
    try:
        yield
    finally:
        with _lock:
            _entries -= 1
            if _entries == 0:
                _set_threads(libraries, _threads_before)


def _set_threads(libraries: list[Any], threads: list[int]) -> None:
    """Set the number of threads of each library.

    From threadpoolctl 3.8 on, an OpenBLAS belongs to the first thread that sets it, and what other threads set is
    ignored without an error. So control is taken before, and given back afterwards.
    """
    for library, count in zip(libraries, threads):
        release = getattr(library, "clear_controlling_thread", None)
        if release:
            release(force=True)
        library.set_num_threads(count)
        if release:
            release(force=True)


def blas() -> str:
    """Return the name and version of the BLAS that NumPy uses, with the kind of processor that it detected."""
    pools = sorted({f"{pool['internal_api']} {pool['version']} {pool.get('architecture') or ''}".strip()
                    for pool in (library.info() for library in _blas_libraries())})
    return ", ".join(pools) or "unknown"


@cache
def _blas_libraries() -> list[Any]:
    """Return threadpoolctl's objects for the BLAS libraries that are loaded, NumPy's among them."""
    import numpy  # noqa: F401  loads its BLAS, so that threadpoolctl finds it
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
