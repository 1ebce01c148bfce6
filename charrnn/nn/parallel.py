"""One window shared out over MPI ranks, and over threads.

Streams are shared out, not matrices: each thread takes some of the B streams through the whole window, with a BLAS
that is held to one thread, and the gradients are summed in a fixed order, so that the same number of threads gives
the same bits. A rank is the same idea one level up: all ranks hold the same run, each computes its share of a step, and
what they have computed is summed over all of them before anything is done with it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from charrnn.mpi import Ranks, ranks
from charrnn.nn.kernels import described
from charrnn.nn.model import CharRNN, State, Window
from charrnn.nn.parameters import Parameters

Masks = Callable[[int, int], "list[np.ndarray] | None"]
"""Draws the dropout masks of the streams from one number up to another; None drops nothing."""


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Within it BLAS uses one thread; afterwards as many as before."""
    limit: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limit


def blas() -> str:
    """The BLAS that NumPy multiplies with, its version and the processor kind it chose."""
    pools = sorted({f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip()
                    for pool in _controller().info() if pool["user_api"] == "blas"})
    return ", ".join(pools) or "unknown"


def environment(dtype: Any = np.float32) -> dict[str, str]:
    """What the last bit of a result can depend on besides the run itself."""
    return {"machine": platform.machine(), "numpy": np.__version__, "blas": blas(), "kernels": described(dtype),
            "ranks": str(ranks().count)}


class Team:
    """A model and its replicas, one for each of at most ``threads`` threads, on each of the ranks."""

    def __init__(self, model: CharRNN, threads: int, ranks: Ranks | None = None) -> None:
        self.threads = threads
        self.ranks = ranks or Ranks()
        self.model = model
        self._models = [model] + [model.replica() for _ in range(threads - 1)]
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.is_over = False
        """Whether ``map`` has been broken off, by Ctrl-C say: then long work should end, as Python waits for it."""

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray, state: State, masks: Masks | None = None,
                           weight_masks: list[np.ndarray] | None = None, fresh: np.ndarray | None = None
                           ) -> tuple[float, Parameters, State]:
        """As ``CharRNN.loss_and_gradients``, but ``masks`` is a function that draws them for some of the streams."""
        mine = _share(0, targets.shape[1], self.ranks.number, self.ranks.count)
        bounds = [_share(*mine, thread, self.threads) for thread in range(self.threads)]
        shares = [(model, first, last) for model, (first, last) in zip(self._models, bounds) if first < last]

        def work(share: tuple[CharRNN, int, int]) -> Window:
            model, first, last = share
            with np.errstate(all="ignore"):  # whoever takes the loss looks whether it is finite
                return model.window(inputs[:, first:last], targets[:, first:last], _streams(state, first, last),
                                    masks(first, last) if masks else None, weight_masks, characters=targets.size,
                                    fresh=None if fresh is None else fresh[:, first:last])

        with one_blas_thread():
            windows = self._map(work, shares)
        total = windows[0].gradients if windows else self.model.parameters.like()
        for window in windows[1:]:
            total.flat += window.gradients.flat
        self.ranks.add_up(total.flat)
        parts = [part for parts in self.ranks.all([(window.loss, window.state) for window in windows]) for part in parts]
        return sum(loss for loss, _ in parts), total, _side_by_side([state for _, state in parts])

    def map(self, work: Callable[[Any], Any], tasks: list[Any]) -> list[Any]:
        """``work`` of each task, in their order; ranks and threads take the tasks in turn."""
        done = self.ranks.all(self._map(work, tasks[self.ranks.number::self.ranks.count]))
        return [done[k % self.ranks.count][k // self.ranks.count] for k in range(len(tasks))]

    def _map(self, work: Callable[[Any], Any], tasks: list[Any]) -> list[Any]:
        if self._pool is None or len(tasks) <= 1:
            return [work(task) for task in tasks]
        try:
            return list(self._pool.map(work, tasks))
        except BaseException:
            self.is_over = True
            raise


def _share(first: int, last: int, number: int, count: int) -> tuple[int, int]:
    """What the one with this ``number`` gets of ``first`` to ``last`` - 1, where ``count`` share it."""
    size = last - first
    return first + size * number // count, first + size * (number + 1) // count


def _streams(state: State, first: int, last: int) -> State:
    """The state of the streams ``first`` to ``last`` - 1."""
    return tuple(type(layer)(*(array[first:last] for array in layer)) for layer in state)


def _side_by_side(states: list[State]) -> State:
    """The states of some streams each, put together again."""
    if len(states) == 1:
        return states[0]
    return tuple(type(layers[0])(*(np.concatenate(arrays) for arrays in zip(*layers))) for layers in zip(*states))
