"""Ranks: the processes that share a training, under MPI (extra ``mpi``) or one by itself.

Rank 0 does what is done once: it reads the text, writes the files, talks to the user. The others help: they wait for a
task from rank 0, do their share of it, and wait for the next. Needs no NumPy.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any

from charrnn.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np

_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
"""Environment variables in which the starters of MPI jobs (MPICH and its kin, Open MPI) say how many ranks there are."""


class Ranks:
    """This process alone, or those of an MPI communicator.

    ``number`` is this one's, from 0, ``count`` how many there are, and ``cores`` how many cores it may use, where those on
    the same machine share its cores. What is for all must be called by all, in the same order, making one too.
    """

    def __init__(self, communicator: Any = None, cores: int | None = None) -> None:
        self._communicator = communicator
        self.number: int = communicator.rank if communicator else 0
        self.count: int = communicator.size if communicator else 1
        self.cores = cores or (_cores_each(communicator) if communicator else len(_core_numbers()))
        self._are_helped = communicator is not None

    def first(self, value: Any) -> Any:
        """The value of rank 0, for all."""
        return self._communicator.bcast(value) if self._communicator else value

    def all(self, value: Any) -> list[Any]:
        """The values of all ranks in their order, for all."""
        return self._communicator.allgather(value) if self._communicator else [value]

    def add_up(self, array: np.ndarray) -> None:
        """``array`` becomes the sum of those of all ranks, for all: one all-reduce, in place."""
        if self._communicator:
            from mpi4py import MPI

            self._communicator.Allreduce(MPI.IN_PLACE, array)

    def call(self, task: Callable[..., Any], *arguments: Any) -> None:
        """Rank 0 has the helpers call ``task(*arguments, ranks)``, and goes on to do its own share."""
        self.first((task, arguments))

    def help_out(self) -> None:
        """What the others do until rank 0 dismisses them."""
        while (order := self.first(None)) is not None:
            task, arguments = order
            task(*arguments, self)
        self._are_helped = False

    def dismiss(self) -> None:
        """Rank 0 needs no more help; what it does from here on does not concern the others."""
        if self._are_helped:
            self.first(None)
        self._are_helped = False

    def pool(self) -> AbstractContextManager[Any]:
        """An executor of mpi4py.futures upon all ranks, for rank 0; the others get None, and have worked when it ends."""
        from mpi4py.futures import MPICommExecutor

        executor: AbstractContextManager[Any] = MPICommExecutor(self._communicator)
        return executor

    def abort(self, code: int) -> None:
        """End all ranks with this exit code, those too that are waiting for this one."""
        if self._are_helped:
            self._communicator.Abort(code)


def in_a_pool() -> bool:
    """Whether this process was started by ``python -m mpi4py.futures``, which keeps the other ranks for its executors."""
    return "mpi4py.futures" in sys.orig_argv


def started_as_rank() -> bool:
    """Whether this process is one of an MPI job in which all do the same."""
    return not in_a_pool() and _has_siblings()


def _has_siblings() -> bool:
    return "mpi4py.run" in sys.modules or any(os.environ.get(name, "1") != "1" for name in _SIZES)


def ranks() -> Ranks:
    """The ranks of the MPI job that this process belongs to, or itself alone.

    Raises TrainingError for a job that mpi4py is not part of.
    """
    return _alone or _job()


_alone: Ranks | None = None


@contextlib.contextmanager
def working_alone() -> Iterator[None]:
    """Within it this process shares its training with no other rank, though still the cores of its machine."""
    global _alone
    before, _alone = _alone, Ranks(cores=ranks().cores)
    try:
        yield
    finally:
        _alone = before


@cache
def _job() -> Ranks:
    if in_a_pool():
        return Ranks(cores=max(1, cores() // int(os.environ.get("MPI_LOCALNRANKS", "1"))))
    if not started_as_rank():
        return Ranks()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter where there is no MPI library
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"this is a rank of an MPI job, and MPI cannot be used ({reason}); pip install "
                            f"'.[mpi]'") from None
    expected = next((os.environ[name] for name in _SIZES if os.environ.get(name, "1") != "1"), None)
    if MPI.COMM_WORLD.size == 1 and expected:
        raise TrainingError(f"this is one of {expected} MPI ranks, and mpi4py sees one; start them with the mpiexec that "
                            f"was installed with it, {os.path.dirname(sys.executable)}/mpiexec")
    return Ranks(MPI.COMM_WORLD if MPI.COMM_WORLD.size > 1 else None)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(_core_numbers())


def _cores_each(communicator: Any) -> int:
    """The cores of this machine that its ranks may use, divided by their number."""
    from mpi4py import MPI

    here = communicator.Split_type(MPI.COMM_TYPE_SHARED)
    shared: set[int] = set().union(*here.allgather(_core_numbers()))
    return max(1, len(shared) // here.size)


def _core_numbers() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
