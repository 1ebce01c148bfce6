"""Divide one window among MPI ranks and threads.

Streams are divided, not matrices: each thread processes some of the B streams over the whole window, and BLAS is limited to
one thread. The gradients are summed in a fixed order, so that the same number of threads gives the same bits.
Ranks do the same one level higher: all ranks have the same run, each computes its part of a step, and the results are
summed over all ranks before they are used.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Barrier
from typing import Any

import numpy as np

from charrnn.config import check_range
from charrnn.cpu import blas, one_blas_thread
from charrnn.mpi import Ranks, ranks
from charrnn.nn.kernels import NAMES, describe_kernels
from charrnn.nn.model import CharRNN, Window
from charrnn.nn.parameters import Parameters
from charrnn.nn.state import State, map_state
from charrnn.nn.validation import check_masks

Masks = Callable[[int, int], "list[np.ndarray] | None"]
"""A function that draws the dropout masks of the streams ``first`` to ``last`` - 1; None if nothing is dropped."""

_STREAMS_PER_THREAD = 8


def default_threads(batch_size: int) -> int:
    """Return the number of threads of each rank if none is given: one per core, with at least 8 streams each."""
    return max(1, min(ranks().cores, batch_size // (_STREAMS_PER_THREAD * ranks().count)))


def environment(dtype: Any = np.float32, kernels: str | None = None) -> dict[str, str]:
    """Return the properties of the machine and the process that can change the last bits of a result.

    ``kernels`` names the preferred kernels.
    """
    return {"machine": platform.machine(), "numpy": np.__version__, "blas": blas(),
            "kernels": describe_kernels(dtype, kernels), "ranks": str(ranks().count)}


def kernels_in(environment: dict[str, str]) -> str | None:
    """Return the name of the kernels in an environment, or None if it contains no known name."""
    name = environment.get("kernels", "").partition(",")[0]
    return name if name in NAMES else None


class Workers:
    """Threads that carry out tasks, on every rank.

    An error or Ctrl-C ends the call in progress, and leaves the workers usable.
    """

    def __init__(self, threads: int, ranks: Ranks | None = None) -> None:
        check_range("threads", threads, int, least=1)
        self.threads = threads
        self.ranks = ranks or Ranks()
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._futures: list[Future[Any]] = []
        self.is_aborted = False
        """Whether an error or Ctrl-C has ended the call in progress: its tasks should then return soon."""

    def map(self, work: Callable[[Any], Any], tasks: list[Any]) -> list[Any]:
        """Return the results of ``work`` for each task, in the order of the tasks.

        The tasks are distributed in turn over the ranks, and on each rank over the threads. A long task should return early
        when ``is_aborted`` is true.
        """
        done = self.ranks.all(self._map(work, tasks[self.ranks.number::self.ranks.count]))
        return [done[k % self.ranks.count][k // self.ranks.count] for k in range(len(tasks))]

    def _map(self, work: Callable[[Any], Any], tasks: list[Any]) -> list[Any]:
        """Call ``work`` for each task. If a task fails or Ctrl-C is pressed, wait for the other tasks, then raise.

        A second Ctrl-C ends the wait, so a task may still be writing into the buffers of a replica. The next call first
        waits for that task.
        """
        wait(self._futures)
        self._futures = []
        self.is_aborted = False
        if self._pool is None or len(tasks) <= 1:
            return [work(task) for task in tasks]
        try:
            for task in tasks:
                self._futures.append(self._pool.submit(work, task))
            return [future.result() for future in self._futures]
        except BaseException:
            self.is_aborted = True
            for future in self._futures:
                future.cancel()
            wait(self._futures)
            raise


class Team(Workers):
    """Workers that share the streams of a window: each of the ``threads`` has a replica of the model."""

    def __init__(self, model: CharRNN, threads: int, ranks: Ranks | None = None) -> None:
        super().__init__(threads, ranks)
        self.model = model
        self._models = [model] + [model.replica() for _ in range(threads - 1)]

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray, state: State, masks: Masks | None = None,
                           weight_masks: list[np.ndarray] | None = None, reset: np.ndarray | None = None
                           ) -> tuple[float, Parameters, State]:
        """Return the results of ``CharRNN.loss_and_gradients``; ``masks`` is a function that draws the dropout masks."""
        self.model.check(inputs, targets, state, reset, weight_masks=weight_masks)
        config = self.model.config
        mine = _part(0, targets.shape[1], self.ranks.number, self.ranks.count)
        bounds = [_part(*mine, thread, self.threads) for thread in range(self.threads)]
        parts = [(model, first, last) for model, (first, last) in zip(self._models, bounds) if first < last]

        def work(part: tuple[CharRNN, int, int]) -> Window:
            model, first, last = part
            drawn = masks(first, last) if masks else None
            if drawn is not None:
                check_masks("masks", drawn, (len(inputs), last - first, config.hidden_size), config.layers)
            with np.errstate(all="ignore"):  # the caller checks whether the loss is finite
                return model._window(
                    inputs[:, first:last], targets[:, first:last], _streams(state, first, last), drawn, weight_masks,
                    characters=targets.size, reset=None if reset is None else reset[:, first:last])

        with one_blas_thread():
            windows = self._map(work, parts)
        total = windows[0].gradients if windows else self.model.parameters.like()
        for window in windows[1:]:
            total.flat += window.gradients.flat
        self.ranks.add_up(total.flat)
        gathered = self.ranks.all([(window.loss, window.state) for window in windows])
        results = [result for of_rank in gathered for result in of_rank]
        return sum(loss for loss, _ in results), total, _side_by_side([state for _, state in results])

    def warm_up(self) -> None:
        """Compute one larger product on each thread.

        In a virtual machine, small products of OpenBLAS 0.3.31 took three times as long until its buffers had been used
        once for a larger product: a step of a tanh RNN of 256 units took 55 ms instead of 39 ms.
        """
        square = np.ones((512, 512), self.model.dtype)
        all_threads = Barrier(self.threads)

        def multiply(_: int) -> None:
            all_threads.wait()  # threads that multiply at the same time use different buffers
            np.matmul(square, square)

        with one_blas_thread():
            self._map(multiply, list(range(self.threads)))


def _part(first: int, last: int, number: int, count: int) -> tuple[int, int]:
    """Return part ``number`` of [first, last) split into ``count`` nearly equal parts."""
    size = last - first
    return first + size * number // count, first + size * (number + 1) // count


def _streams(state: State, first: int, last: int) -> State:
    """Return the state of the streams ``first`` to ``last`` - 1."""
    return map_state(lambda array: array[first:last], state)


def _side_by_side(states: list[State]) -> State:
    """Join the states of consecutive groups of streams into one state."""
    if len(states) == 1:
        return states[0]
    return map_state(lambda *arrays: np.concatenate(arrays), *states)
