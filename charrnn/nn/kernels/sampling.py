"""Sampling in a compiled loop: draw a character for each stream, read it, repeat.

``inference/sampling.py`` defines the result, in NumPy. L layers, V vocabulary, H hidden units, G gates, B streams, N turns.
The arguments of the loops are those of ``Weights`` and ``Choice``, then:

=============  ==========  =========  ============================================================================
``logits``     (B, V)      in, out    logits of the next character
``hidden``     (L, B, H)   in, out    hidden state of each layer
``cell``       (L, B, H)   in, out    LSTM, lnlstm: cell state of each layer
``uniform``    (N, B)      in         uniform numbers in [0, 1)
``ids``        (N, B)      out        the ids that were drawn; -1 if a logit of a stream is NaN
=============  ==========  =========  ============================================================================
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from charrnn.nn.kernels.compiled import copy, pack
from charrnn.nn.kernels.gates import gru_gates, lnlstm_gates, lstm_gates, rnn_gates
from charrnn.nn.kernels.jit import FAST, compile_kernel
from charrnn.nn.kernels.packed import add_product
from charrnn.nn.kernels.tile import LINE

_helper = njit(nogil=True, error_model="numpy")
_separate = njit(nogil=True, error_model="numpy", fastmath=FAST)


class Weights(NamedTuple):
    """The weights of a network; those of the layers are stacked.

    Matrices are packed: (P, K, COLUMNS), with a first axis for the layers. ``table`` (V, G*H) contains the projected inputs
    of the first layer for each id, with the bias. ``w_x`` and ``b`` belong to the layers above it.
    """

    table: np.ndarray
    w_x: np.ndarray
    b: np.ndarray
    w_h: np.ndarray
    output: np.ndarray
    output_bias: np.ndarray


class Choice(NamedTuple):
    """The settings of ``inference.sampling.distribution``; if unlimited, ``top_k`` is V and ``top_p`` is 1."""

    temperature: float
    top_k: int
    top_p: float


def stacked(matrices):
    """Return matrices (K, N) packed and stacked, (L, P, K, COLUMNS), aligned to a cache line."""
    packed = [pack(np.ascontiguousarray(matrix)) for matrix in matrices]
    memory = np.empty(sum(panels.size for panels in packed) + LINE // 4, np.float32)
    first = -memory.ctypes.data % LINE // 4
    return np.stack(packed, out=memory[first:first + packed[0].size * len(packed)].reshape(len(packed), *packed[0].shape))


# Separate functions, because LLVM does not vectorize the gates inside the loop.
@_separate
def _rnn_gates(x, hidden):
    rnn_gates(x, hidden)


@_separate
def _lstm_gates(x, before, cell, hidden):
    lstm_gates(x, before, cell, hidden)


@_separate
def _lnlstm_gates(x, gain, b, before, cell, normal, scale, hidden):
    lnlstm_gates(x, gain, b, before, cell, normal, scale, hidden)


@_separate
def _gru_gates(x, recurrent, bias, before, memory, hidden):
    gru_gates(x, recurrent, bias, before, memory, hidden)


@_helper
def _sum(p):
    total = 0.0
    for k in range(len(p)):
        total += p[k]
    return total


@_helper
def _copy_row(source, target):
    for k in range(len(source)):
        target[k] = source[k]


@_helper
def _draw(logits, uniform, choice, p, ids):
    """Draw the next characters; -1 if a logit is NaN. ``p`` (V,) is a buffer."""
    streams, size = logits.shape
    for b in range(streams):
        x = logits[b]
        best = 0
        is_nan = False
        for k in range(size):
            is_nan |= x[k] != x[k]
            best = k if x[k] > x[best] else best
        if is_nan:
            ids[b] = -1
        elif choice.temperature == 0:
            ids[b] = best
        else:
            for k in range(size):
                p[k] = math.exp((np.float64(x[k]) - np.float64(x[best])) / choice.temperature)
            if choice.top_k < size:
                _keep_most_likely(p, True, choice.top_k)
            if choice.top_p < 1:
                _keep_most_likely(p, False, choice.top_p * (1 - 1e-12) * _sum(p))
            drawn = uniform[b] * _sum(p)
            total = 0.0
            ids[b] = size - 1
            for k in range(size):
                total += p[k]
                if total > drawn:
                    ids[b] = k
                    break


@_helper
def _keep_most_likely(p, by_count, needed):
    """Keep the fewest largest numbers ``p`` whose count or sum is at least ``needed``; the others become zero.

    Of equal numbers the first are kept. The smallest number to keep is found by bisection.
    """
    low, high = 0.0, 2.0
    while True:
        middle = 0.5 * (low + high)
        if middle <= low or middle >= high or high < 1e-30:  # smaller numbers are never drawn
            break
        total = 0.0
        for k in range(len(p)):
            if p[k] >= middle:
                total += 1.0 if by_count else p[k]
        if total >= needed:
            low = middle
        else:
            high = middle
    total = 0.0
    for k in range(len(p)):
        if p[k] > low:
            total += 1.0 if by_count else p[k]
    for k in range(len(p)):
        if p[k] == low and total < needed:
            total += 1.0 if by_count else p[k]
        elif p[k] <= low:
            p[k] = 0


@_helper
def _project(weights, ids, layer, hidden, x):
    """x <- the projected inputs of a layer, whose inputs are ``ids`` or the hidden state of the layer below"""
    for b in range(len(x)):
        _copy_row(weights.table[ids[b]] if layer == 0 else weights.b[layer - 1], x[b])
    if layer > 0:
        add_product(hidden[layer - 1], weights.w_x[layer - 1], x)


@_helper
def _read_output(weights, hidden, logits):
    for b in range(len(logits)):
        _copy_row(weights.output_bias, logits[b])
    add_product(hidden, weights.output, logits)


@compile_kernel
def sample_rnn(weights, choice, logits, hidden, uniform, ids):
    x, p = np.empty((logits.shape[0], weights.table.shape[1]), np.float32), np.empty(logits.shape[1])
    for n in range(len(ids)):
        _draw(logits, uniform[n], choice, p, ids[n])
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            add_product(hidden[layer], weights.w_h[layer], x)
            _rnn_gates(x, hidden[layer])
        _read_output(weights, hidden[-1], logits)


@compile_kernel
def sample_lstm(weights, choice, logits, hidden, cell, uniform, ids):
    x, p = np.empty((logits.shape[0], weights.table.shape[1]), np.float32), np.empty(logits.shape[1])
    before = np.empty_like(cell[0])
    for n in range(len(ids)):
        _draw(logits, uniform[n], choice, p, ids[n])
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            add_product(hidden[layer], weights.w_h[layer], x)
            copy(cell[layer], before)
            _lstm_gates(x, before, cell[layer], hidden[layer])
        _read_output(weights, hidden[-1], logits)


@compile_kernel
def sample_lnlstm(weights, gain, b, choice, logits, hidden, cell, uniform, ids):
    x, p = np.empty((logits.shape[0], weights.table.shape[1]), np.float32), np.empty(logits.shape[1])
    before = np.empty_like(cell[0])
    normal, scale = np.empty((len(logits), gain.shape[1]), np.float32), np.empty((len(logits), 4), np.float32)
    for n in range(len(ids)):
        _draw(logits, uniform[n], choice, p, ids[n])
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            add_product(hidden[layer], weights.w_h[layer], x)
            copy(cell[layer], before)
            _lnlstm_gates(x, gain[layer], b[layer], before, cell[layer], normal, scale, hidden[layer])
        _read_output(weights, hidden[-1], logits)


@compile_kernel
def sample_gru(weights, bias, choice, logits, hidden, uniform, ids):
    x, p = np.empty((logits.shape[0], weights.table.shape[1]), np.float32), np.empty(logits.shape[1])
    recurrent, memory, before = np.empty_like(x), np.empty_like(hidden[0]), np.empty_like(hidden[0])
    for n in range(len(ids)):
        _draw(logits, uniform[n], choice, p, ids[n])
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            copy(hidden[layer], before)
            recurrent[...] = 0
            add_product(before, weights.w_h[layer], recurrent)
            _gru_gates(x, recurrent, bias[layer], before, memory, hidden[layer])
        _read_output(weights, hidden[-1], logits)
