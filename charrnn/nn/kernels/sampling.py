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

from typing import NamedTuple

import numpy as np

from charrnn.nn.kernels.compiled import _compile, _gru_forward, _inline, _lstm_forward, _rnn_forward, pack
from charrnn.nn.kernels.packed import add_product


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


@_inline
def _draw(logits, uniform, choice, ids):
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
            p = np.exp((x.astype(np.float64) - x[best]) / choice.temperature)
            if choice.top_k < size or choice.top_p < 1:
                _drop_unlikely(p, choice)
            sums = np.cumsum(p)
            ids[b] = min(np.sum(sums <= uniform[b] * sums[-1]), size - 1)


@_inline
def _drop_unlikely(p, choice):
    """Set the probabilities ``p`` that ``top_k`` and ``top_p`` exclude to zero."""
    order = np.argsort(-p, kind="mergesort")  # of equally likely characters the first are kept
    kept = min(choice.top_k, len(p))
    least = choice.top_p * (1 - 1e-12) * p[order[:kept]].sum()
    total = 0.0
    for rank in range(len(p)):
        if rank >= kept:
            p[order[rank]] = 0
        total += p[order[rank]]
        if choice.top_p < 1 and total >= least:
            kept = min(kept, rank + 1)


@_inline
def _project(weights, ids, layer, hidden, x):
    """x <- the projected inputs of a layer, whose inputs are ``ids`` or the hidden state of the layer below"""
    for b in range(len(x)):
        x[b] = weights.table[ids[b]] if layer == 0 else weights.b[layer - 1]
    if layer > 0:
        add_product(hidden[layer - 1], weights.w_x[layer - 1], x)


@_inline
def _read_output(weights, hidden, logits):
    for b in range(len(logits)):
        logits[b] = weights.output_bias
    add_product(hidden, weights.output, logits)


@_compile
def sample_rnn(weights, choice, logits, hidden, uniform, ids):
    x = np.empty((logits.shape[0], weights.table.shape[1]), np.float32)
    for n in range(len(ids)):
        _draw(logits, uniform[n], choice, ids[n])
        if (ids[n] < 0).any():
            return
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            add_product(hidden[layer], weights.w_h[layer], x)
            _rnn_forward(x, hidden[layer])
        _read_output(weights, hidden[-1], logits)


@_compile
def sample_lstm(weights, choice, logits, hidden, cell, uniform, ids):
    x = np.empty((logits.shape[0], weights.table.shape[1]), np.float32)
    before = np.empty_like(cell[0])
    for n in range(len(ids)):
        _draw(logits, uniform[n], choice, ids[n])
        if (ids[n] < 0).any():
            return
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            add_product(hidden[layer], weights.w_h[layer], x)
            before[...] = cell[layer]
            _lstm_forward(x, before, cell[layer], hidden[layer])
        _read_output(weights, hidden[-1], logits)


@_compile
def sample_gru(weights, bias, choice, logits, hidden, uniform, ids):
    x = np.empty((logits.shape[0], weights.table.shape[1]), np.float32)
    recurrent, memory, before = np.empty_like(x), np.empty_like(hidden[0]), np.empty_like(hidden[0])
    for n in range(len(ids)):
        _draw(logits, uniform[n], choice, ids[n])
        if (ids[n] < 0).any():
            return
        for layer in range(len(hidden)):
            _project(weights, ids[n], layer, hidden, x)
            before[...] = hidden[layer]
            recurrent[...] = 0
            add_product(before, weights.w_h[layer], recurrent)
            _gru_forward(x, recurrent, bias[layer], before, memory, hidden[layer])
        _read_output(weights, hidden[-1], logits)
