"""One window shared out over threads.

Streams are shared out, not matrices: each thread takes some of the B streams through the whole window, with a BLAS
that is held to one thread, and the gradients are summed in a fixed order, so that the same number of threads gives
the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from charrnn.model import CharRNN, State, Window
from charrnn.parameters import Parameters

Masks = Callable[[int, int], "list[np.ndarray] | None"]
"""Draws the dropout masks of the streams from one number up to another; None drops nothing."""


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


class Team:
    """A model and its replicas, one for each of at most ``threads`` threads."""

    def __init__(self, model: CharRNN, threads: int) -> None:
        self.threads = threads
        self.model = model
        self._models = [model] + [model.replica() for _ in range(threads - 1)]
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.is_over = False
        """Whether ``map`` has been broken off, by Ctrl-C say: then long work should end, as Python waits for it."""

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray, state: State, masks: Masks | None = None,
                           weight_masks: list[np.ndarray] | None = None) -> tuple[float, Parameters, State]:
        """As ``CharRNN.loss_and_gradients``, but ``masks`` is a function that draws them for some of the streams."""
        batch_size = targets.shape[1]
        bounds = [batch_size * k // self.threads for k in range(self.threads + 1)]
        shares = [(model, first, last) for model, first, last in zip(self._models, bounds, bounds[1:]) if first < last]

        def work(share: tuple[CharRNN, int, int]) -> Window:
            model, first, last = share
            with np.errstate(all="ignore"):  # whoever takes the loss looks whether it is finite
                return model.window(inputs[:, first:last], targets[:, first:last], _streams(state, first, last),
                                    masks(first, last) if masks else None, weight_masks, characters=targets.size)

        with one_blas_thread():
            windows = self.map(work, shares)
        total = windows[0].gradients
        for window in windows[1:]:
            total.flat += window.gradients.flat
        return sum(window.loss for window in windows), total, _side_by_side([window.state for window in windows])

    def map(self, work: Callable[[Any], Any], tasks: list[Any]) -> list[Any]:
        """``work`` of each task, in their order; the threads take the tasks in turn."""
        if self._pool is None or len(tasks) == 1:
            return [work(task) for task in tasks]
        try:
            return list(self._pool.map(work, tasks))
        except BaseException:
            self.is_over = True
            raise


def _streams(state: State, first: int, last: int) -> State:
    """The state of the streams ``first`` to ``last`` - 1."""
    return tuple(type(layer)(*(array[first:last] for array in layer)) for layer in state)


def _side_by_side(states: list[State]) -> State:
    """The states of some streams each, put together again."""
    if len(states) == 1:
        return states[0]
    return tuple(type(layers[0])(*(np.concatenate(arrays) for arrays in zip(*layers))) for layers in zip(*states))
