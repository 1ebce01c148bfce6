"""Count the cores that this process may use, and control the threads of NumPy's BLAS.

Importing this module loads neither NumPy nor threadpoolctl; only the functions about BLAS do.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
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
    """Return the number of cores that this process may use: the cores of its affinity mask, limited by its CPU quota."""
    return within_quota(len(core_numbers()))


def within_quota(count: int, root: Path = Path("/")) -> int:
    """Return ``count``, limited to the CPU quota of the container. The quota is rounded up; the result is at least 1.

    ``root`` is the folder that contains ``proc`` and ``sys``.
    """
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of this process in cores: those of its control group and of every parent group.

    Inside a container, the path of the group may be its path on the host, which does not exist there. The mounted root
    folder is then the group of the container.
    """
    groups = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
            _, _, names_and_path = line.partition(":")
            names, _, path = names_and_path.partition(":")
            inner = PurePosixPath(path.lstrip("/"))
            for folder in (inner, *inner.parents):
                if not names:  # version 2
                    yield from _quota(groups / folder / "cpu.max")
                elif "cpu" in names.split(","):
                    for mount in {names, "cpu"}:
                        yield from _quota(groups / mount / folder / "cpu.cfs_quota_us",
                                          groups / mount / folder / "cpu.cfs_period_us")


def _quota(*files: Path) -> Iterator[float]:
    """Yield the quota in the files in cores, or nothing if there is no limit.

    The files contain the CPU time that is allowed in each period, and the length of the period, both in microseconds.
    """
    with suppress(OSError, ValueError):  # "max" and a quota of -1 mean no limit
        quota, period = " ".join(file.read_text(encoding="ascii") for file in files).split()
        if int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread; restore its number of threads afterwards.

    The number of BLAS threads applies to the whole process. So the first thread that enters sets it, and the last thread
    that leaves restores it. The threads may leave in any order.
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

    Since threadpoolctl 3.8, only the first thread that sets the threads of an OpenBLAS can change them; calls from other
    threads are silently ignored. So the controlling thread is cleared before and after the change.
    """
    for library, count in zip(libraries, threads):
        release = getattr(library, "clear_controlling_thread", None)
        if release:
            release(force=True)
        library.set_num_threads(count)
        if release:
            release(force=True)


def blas() -> str:
    """Return the name and version of the BLAS that NumPy uses, with the type of processor that it detected.

    If threadpoolctl does not know the library, for example Accelerate on macOS, the name is that in NumPy's build record.
    """
    pools = sorted({f"{pool['internal_api']} {pool['version']} {pool.get('architecture') or ''}".strip()
                    for pool in (library.info() for library in _blas_libraries())})
    return ", ".join(pools) or _blas_of_build()


def _blas_of_build() -> str:
    import numpy

    built: Any = numpy.show_config(mode="dicts")  # type: ignore[func-returns-value,unused-ignore]
    found = built.get("Build Dependencies", {}).get("blas", {})
    values = [found.get(key, "") for key in ("name", "version")]
    return " ".join(value for value in values if value not in ("", "unknown")) or "unknown"


@cache
def _blas_libraries() -> list[Any]:
    """Return threadpoolctl's controllers of the loaded BLAS libraries, including NumPy's."""
    import numpy  # noqa: F401  (loads its BLAS, so that threadpoolctl finds it)
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
