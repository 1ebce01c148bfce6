"""Sampling in one compiled call: draw a character of each stream, read it, and repeat.

``inference/sampling.py`` defines the result, in NumPy. L layers, V vocabulary, H hidden units, G gates, B streams, N turns.
The arguments of the loops are those of ``Weights`` and ``Choice``, then:

=============  ==========  =========  ============================================================================
``logits``     (B, V)      in, out    logits of the next character
``hidden``     (L, B, H)   in, out    hidden state of each layer
``cell``       (L, B, H)   in, out    LSTM: cell state of each layer
``uniform``    (N, B)      in         uniform numbers in [0, 1)
``ids``        (N, B)      out        the characters that were drawn; -1 if a logit of a stream is NaN
=============  ==========  =========  ============================================================================
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from charrnn.nn.kernels.compiled import _FAST, _compile, _copy, _gru_forward, _lstm_forward, _rnn_forward, pack
from charrnn.nn.kernels.packed import add_product

_helper = njit(nogil=True, error_model="numpy")
_gates = njit(nogil=True, error_model="numpy", fastmath=_FAST)


class Weights(NamedTuple):
    """The weights of a network: of the output layer, and of all layers side by side.

    Matrices are packed: (P, K, COLUMNS), after an axis for the layers. The projected inputs of the first layer are rows of
    ``table`` (V, G*H), which contains the bias. ``w_x`` and ``b`` belong to the layers above it.
    """

    table: np.ndarray
    w_x: np.ndarray
    b: np.ndarray
    w_h: np.ndarray
    output: np.ndarray
    output_bias: np.ndarray


class Choice(NamedTuple):
    """The settings of ``inference.sampling.distribution``; without a limit, ``top_k`` is V and ``top_p`` is 1."""

    temperature: float
    top_k: int
    top_p: float


def stacked(matrices):
    """Return matrices (K, N) in packed form, side by side."""
    return np.stack([pack(np.ascontiguousarray(matrix)) for matrix in matrices])


# In functions of their own, LLVM vectorizes the gates; in the loop over turns it did not.
@_gates
def _rnn_gates(x, hidden):
    _rnn_forward(x, hidden)


@_gates
def _lstm_gates(x, before, cell, hidden):
    _lstm_forward(x, before, cell, hidden)


@_gates
def _gru_gates(x, recurrent, bias, before, memory, hidden):
    _gru_forward(x, recurrent, bias, before, memory, hidden)


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
    """Draw the next characters; return whether all logits are numbers. ``p`` (V,) is memory."""
    streams, size = logits.shape
    is_valid = True
    for b in range(streams):
        x = logits[b]
        best = 0
        is_nan = False
        for k in range(size):
            is_nan |= x[k] != x[k]
            best = k if x[k] > x[best] else best
        if is_nan:
            ids[b] = -1
            is_valid = False
        elif choice.temperature == 0:
            ids[b] = best
        else:
            for k in range(size):
                p[k] = math.exp((np.float64(x[k]) - np.float64(x[best])) / choice.temperature)
            if choice.top_k < size:
                _keep_most_likely(p, 0.0, 1.0, choice.top_k)
            if choice.top_p < 1:
                _keep_most_likely(p, 1.0, 0.0, choice.top_p * (1 - 1e-12) * _sum(p))
            drawn = uniform[b] * _sum(p)
            total = 0.0
            ids[b] = size - 1
            for k in range(size):
                total += p[k]
                if total > drawn:
                    ids[b] = k
                    break
    return is_valid


@_helper
def _keep_most_likely(p, factor, one, needed):
    """Keep the fewest of the numbers ``p``, the largest first, for which ``factor`` p + ``one`` has at least this sum.

    The others become zero. Of equal numbers the first are kept. The smallest number to keep is found by bisection.
    """
    low, high = 0.0, 2.0
    while True:
        middle = 0.5 * (low + high)
        if middle <= low or middle >= high:
            break
        total = 0.0
        for k in range(len(p)):
            if p[k] >= middle:
                total += factor * p[k] + one
        if total >= needed:
            low = middle
        else:
            high = middle
    total = 0.0
    for k in range(len(p)):
        if p[k] > low:
            total += factor * p[k] + one
    for k in range(len(p)):
        if p[k] == low and total < needed:
            total += factor * p[k] + one
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


@_compile
def sample_rnn(weights, choice, logits, hidden, uniform, ids):
    x, p = np.empty((logits.shape[0], weights.table.shape[1]), np.float32), np.empty(logits.shape[1])
    for n in range(len(ids)):
        if not _draw(logits, uniform[n], choice, p, ids[n]):
            return
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            add_product(hidden[layer], weights.w_h[layer], x)
            _rnn_gates(x, hidden[layer])
        _read_output(weights, hidden[-1], logits)


@_compile
def sample_lstm(weights, choice, logits, hidden, cell, uniform, ids):
    x, p = np.empty((logits.shape[0], weights.table.shape[1]), np.float32), np.empty(logits.shape[1])
    before = np.empty_like(cell[0])
    for n in range(len(ids)):
        if not _draw(logits, uniform[n], choice, p, ids[n]):
            return
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            add_product(hidden[layer], weights.w_h[layer], x)
            _copy(cell[layer], before)
            _lstm_gates(x, before, cell[layer], hidden[layer])
        _read_output(weights, hidden[-1], logits)


@_compile
def sample_gru(weights, bias, choice, logits, hidden, uniform, ids):
    x, p = np.empty((logits.shape[0], weights.table.shape[1]), np.float32), np.empty(logits.shape[1])
    recurrent, memory, before = np.empty_like(x), np.empty_like(hidden[0]), np.empty_like(hidden[0])
    for n in range(len(ids)):
        if not _draw(logits, uniform[n], choice, p, ids[n]):
            return
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            _copy(hidden[layer], before)
            recurrent[...] = 0
            add_product(before, weights.w_h[layer], recurrent)
            _gru_gates(x, recurrent, bias[layer], before, memory, hidden[layer])
        _read_output(weights, hidden[-1], logits)
