"""Ranks: the processes that train one run together under MPI (optional dependency ``mpi``), or one process alone.

Rank 0 does what must be done once: it reads the text, writes the files and prints. The others wait for a task from rank 0,
do their part of it, and wait for the next task. This module does not import NumPy at run time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any

from charrnn.cpu import core_numbers, within_quota
from charrnn.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np

_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
"""Environment variables with the number of ranks, set by the launchers of MPICH and of Open MPI."""


class Ranks:
    """This process alone, or the processes of an MPI communicator.

    ``number`` is the rank of this process, starting at 0, ``count`` the number of ranks, and ``cores`` the number of cores
    that this rank may use; ranks on one machine share its cores. The constructor, ``first``, ``all`` and ``add_up`` are
    collective: all ranks must call them in the same order.
    """

    def __init__(self, communicator: Any = None, cores: int | None = None) -> None:
        self._communicator = communicator
        self.number: int = communicator.rank if communicator else 0
        self.count: int = communicator.size if communicator else 1
        self.cores = cores or (_cores_each(communicator) if communicator else within_quota(len(core_numbers())))
        self._are_helped = communicator is not None

    def first(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return self._communicator.bcast(value) if self._communicator else value

    def all(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order."""
        return self._communicator.allgather(value) if self._communicator else [value]

    def add_up(self, array: np.ndarray) -> None:
        """Sum ``array`` over all ranks in place, with one all-reduce."""
        if self._communicator:
            from mpi4py import MPI

            self._communicator.Allreduce(MPI.IN_PLACE, array)

    def call(self, task: Callable[..., Any], *arguments: Any) -> None:
        """Tell the other ranks to call ``task(*arguments, ranks)``, without waiting for the result. Call this on rank 0."""
        self.first((task, arguments))

    def help_out(self) -> None:
        """Carry out the tasks of rank 0 until it calls ``dismiss``. Call this on the other ranks."""
        while (order := self.first(None)) is not None:
            task, arguments = order
            task(*arguments, self)
        self._are_helped = False

    def dismiss(self) -> None:
        """Make ``help_out`` return on the other ranks. Call this on rank 0."""
        if self._are_helped:
            self.first(None)
        self._are_helped = False

    def pool(self) -> AbstractContextManager[Any]:
        """Return a context manager: it gives rank 0 an executor of mpi4py.futures, for which the other ranks work."""
        from mpi4py.futures import MPICommExecutor

        executor: AbstractContextManager[Any] = MPICommExecutor(self._communicator)
        return executor

    def abort(self, code: int) -> None:
        """End all ranks with this exit code, including those that wait for this rank."""
        if self._are_helped:
            self._communicator.Abort(code)


def in_a_pool() -> bool:
    """Return whether ``python -m mpi4py.futures`` started this process. Rank 0 then uses the other ranks as workers."""
    return "mpi4py.futures" in sys.orig_argv


def started_as_rank() -> bool:
    """Return whether this process belongs to an MPI job in which all ranks run the same program."""
    return not in_a_pool() and _has_siblings()


def _has_siblings() -> bool:
    return "mpi4py.run" in sys.modules or any(os.environ.get(name, "1") != "1" for name in _SIZES)


def ranks() -> Ranks:
    """Return the ranks of the MPI job of this process, or this process alone.

    Raises TrainingError if mpi4py cannot join the job.
    """
    return _alone or _job()


_alone: Ranks | None = None


@contextlib.contextmanager
def working_alone() -> Iterator[None]:
    """Train without the other ranks inside the ``with`` block, but share the cores of the machine with them."""
    global _alone
    before, _alone = _alone, Ranks(cores=ranks().cores)
    try:
        yield
    finally:
        _alone = before


@cache
def _job() -> Ranks:
    if in_a_pool():
        return Ranks(cores=max(1, within_quota(len(core_numbers())) // int(os.environ.get("MPI_LOCALNRANKS", "1"))))
    if not started_as_rank():
        return Ranks()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError if there is no MPI library
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"this process is a rank of an MPI job, but MPI cannot be used ({reason})",
                            "pip install '.[mpi]'") from error
    expected = next((os.environ[name] for name in _SIZES if os.environ.get(name, "1") != "1"), None)
    if MPI.COMM_WORLD.size == 1 and expected:
        raise TrainingError(f"this process is one of {expected} MPI ranks, but mpi4py sees only one",
                            f"start them with the mpiexec that was installed with mpi4py, "
                            f"{os.path.dirname(sys.executable)}/mpiexec")
    return Ranks(MPI.COMM_WORLD if MPI.COMM_WORLD.size > 1 else None)


def _cores_each(communicator: Any) -> int:
    """Return the number of cores for each rank: the ranks on this machine share the cores that they may use."""
    from mpi4py import MPI

    here = communicator.Split_type(MPI.COMM_TYPE_SHARED)
    shared: set[int] = set().union(*here.allgather(core_numbers()))
    return max(1, within_quota(len(shared)) // here.size)
