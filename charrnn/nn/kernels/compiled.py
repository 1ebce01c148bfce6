"""The kernels compiled by numba: the functions of ``reference.py``, with the same arguments, each step in one pass.

They are compiled once for float32, cached next to this file (or in NUMBA_CACHE_DIR), run on one thread, and release the
GIL. They do not check their arguments: ids must be in range. Every inner loop runs along contiguous rows, so that the
compiler vectorizes it. Numba does not vectorize exp here, so it is written as arithmetic. Results agree with the
reference to a few units in the last place of a float32.
"""

from __future__ import annotations

import numpy as np

from charrnn.nn.kernels import packed
from charrnn.nn.kernels.gates import (
    HALF,
    ONE,
    gru_gates,
    gru_gates_back,
    lnlstm_gates,
    lnlstm_gates_back,
    lstm_gates,
    lstm_gates_back,
    rnn_gates,
    rnn_gates_back,
)
from charrnn.nn.kernels.jit import compile_kernel, inline
from charrnn.nn.kernels.packed import add_product
from charrnn.nn.kernels.tile import COLUMNS, ROWS, tile_of_three_rows

# exp(x) = 2^n exp(r), where n is the integer nearest to x / ln 2; exp(r) is its Taylor series for |r| <= ln 2 / 2. ln 2 is
# split into two parts; n times the first is exact (Cody and Waite 1980).
_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
_E = tuple(map(np.float32, (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720)))
_SMALLEST = np.float32(-87)


@inline
def copy(source, target):  # loops, because numba compiles an assignment of arrays slowly
    for b in range(len(source)):
        row, copied = source[b], target[b]
        for k in range(len(row)):
            copied[k] = row[k]


@inline
def _forget(state, reset):
    for b in range(len(reset)):
        if reset[b]:
            state[b] = 0


@inline
def _carried(state, reset, room):  # ``room`` is a buffer
    for b in range(len(reset)):
        if reset[b]:
            copy(state, room)
            _forget(room, reset)
            return room
    return state


@compile_kernel
def rnn_forward(x, panels, hidden, reset):
    room = np.empty_like(hidden[0])
    for t in range(len(x)):
        add_product(_carried(hidden[t], reset[t], room), panels, x[t])
        rnn_gates(x[t], hidden[t + 1])


@compile_kernel
def rnn_backward(d_hidden, d_before, panels, hidden, x, reset):
    for t in range(len(x) - 1, -1, -1):
        rnn_gates_back(d_hidden[t], d_before, hidden[t + 1], x[t])
        d_before[...] = 0
        add_product(x[t], panels, d_before)
        _forget(d_before, reset[t])


@compile_kernel
def lstm_forward(x, panels, hidden, cell, reset):
    room = np.empty_like(hidden[0])
    for t in range(len(x)):
        add_product(_carried(hidden[t], reset[t], room), panels, x[t])
        lstm_gates(x[t], _carried(cell[t], reset[t], room), cell[t + 1], hidden[t + 1])


@compile_kernel
def lstm_backward(d_hidden, d_before, d_cell, panels, cell, x, reset):
    room = np.empty_like(cell[0])
    for t in range(len(x) - 1, -1, -1):
        lstm_gates_back(d_hidden[t], d_before, d_cell, _carried(cell[t], reset[t], room), cell[t + 1], x[t])
        d_before[...] = 0
        add_product(x[t], panels, d_before)
        _forget(d_before, reset[t])
        _forget(d_cell, reset[t])


@compile_kernel
def lnlstm_forward(x, panels, gain, b, hidden, cell, normal, scale, reset):
    room = np.empty_like(hidden[0])
    for t in range(len(x)):
        add_product(_carried(hidden[t], reset[t], room), panels, x[t])
        lnlstm_gates(x[t], gain, b, _carried(cell[t], reset[t], room), cell[t + 1], normal[t], scale[t], hidden[t + 1])


@compile_kernel
def lnlstm_backward(d_hidden, d_before, d_cell, panels, gain, b, d_gain, d_b, cell, normal, scale, x, reset):
    room, d_normal = np.empty_like(cell[0]), np.empty_like(cell[0, 0])
    d_gain[...] = 0
    d_b[...] = 0
    for t in range(len(x) - 1, -1, -1):
        lnlstm_gates_back(d_hidden[t], d_before, d_cell, gain, b, d_gain, d_b, _carried(cell[t], reset[t], room), normal[t],
                          scale[t], x[t], d_normal)
        d_before[...] = 0
        add_product(x[t], panels, d_before)
        _forget(d_before, reset[t])
        _forget(d_cell, reset[t])


@compile_kernel
def gru_forward(x, panels, bias, hidden, memory, reset):
    recurrent = np.empty_like(x[0])
    room = np.empty_like(hidden[0])
    for t in range(len(x)):
        before = _carried(hidden[t], reset[t], room)
        recurrent[...] = 0
        add_product(before, panels, recurrent)
        gru_gates(x[t], recurrent, bias, before, memory[t], hidden[t + 1])


@compile_kernel
def gru_backward(d_hidden, d_before, panels, hidden, memory, x, reset):
    d_recurrent = np.empty_like(x[0])
    room = np.empty_like(hidden[0])
    for t in range(len(x) - 1, -1, -1):
        gru_gates_back(d_hidden[t], d_before, _carried(hidden[t], reset[t], room), memory[t], x[t], d_recurrent)
        copy(d_hidden[t], d_before)
        add_product(d_recurrent, panels, d_before)
        _forget(d_before, reset[t])


@compile_kernel
def softmax_cross_entropy(logits, targets, scale=None):
    count, size = logits.shape
    losses = np.empty(count, np.float32)
    power = np.empty(size, np.int32)
    factor = power.view(np.float32)
    for row in range(count):
        x = logits[row]
        most = x[0]
        for k in range(size):
            most = x[k] if x[k] > most else most
        losses[row] = most - x[targets[row]]
        for k in range(size):
            y = x[k] - most
            y = _SMALLEST if y < _SMALLEST else y
            n = np.floor(y * _LOG2E + HALF)
            r = (y - n * _LN2_HIGH) - n * _LN2_LOW
            power[k] = (np.int32(n) + np.int32(127)) << np.int32(23)
            x[k] = (((((_E[6] * r + _E[5]) * r + _E[4]) * r + _E[3]) * r + _E[2]) * r + _E[1]) * r + _E[0]
        total = np.float32(0)
        for k in range(size):
            x[k] *= factor[k]
            total += x[k]
        losses[row] += np.log(total)
        if scale is not None:
            factor_of_all = np.float32(scale) / total
            for k in range(size):
                x[k] *= factor_of_all
            x[targets[row]] -= np.float32(scale)
    return losses


@compile_kernel
def add_rows(total, ids, rows):
    for k in range(len(ids)):
        row, sum_ = rows[k], total[ids[k]]
        for j in range(rows.shape[1]):
            sum_[j] += row[j]


@compile_kernel
def adam(w, g, mean, square_mean, b1, b2, rate, scale, epsilon):
    b1, b2, rate = np.float32(b1), np.float32(b2), np.float32(rate)
    scale, epsilon = np.float32(scale), np.float32(epsilon)
    for k in range(len(w)):
        m = b1 * mean[k] + (ONE - b1) * g[k]
        s = b2 * square_mean[k] + (ONE - b2) * (g[k] * g[k])
        mean[k], square_mean[k] = m, s
        w[k] -= rate * m / (scale * np.sqrt(s) + epsilon)


@compile_kernel
def _panels(w, width):
    return packed.pack(w, width)


@compile_kernel
def _panels_of_pairs(w, width):
    return packed.pack_pairs(w, width)


@compile_kernel
def _multiply(left, panels, out):
    packed.multiply(left, panels, out)


def pack(w, bfloat16=False):
    """Return the panels of ``w``."""
    return (_panels_of_pairs if bfloat16 else _panels)(w, COLUMNS)


def matmul(a, b, out, bfloat16=False):
    """out <- a b, by BLAS or, in bfloat16, with packed factors."""
    if bfloat16:
        _multiply(_panels_of_pairs(a.T, ROWS), _panels_of_pairs(b, COLUMNS), out)
    else:
        np.matmul(a, b, out=out)


@compile_kernel
def _three_rows(a, panel, out):
    tile_of_three_rows(a, 4 * a.shape[1], 4, panel, out, 0, 0)


def check() -> None:
    """Raise an exception unless numba correctly compiles a tile, which uses private parts of numba."""
    a = np.arange(3 * 5, dtype=np.float32).reshape(3, 5)
    w = np.arange(5 * COLUMNS, dtype=np.float32).reshape(5, -1)
    out = np.zeros((3, COLUMNS), np.float32)
    _three_rows(a, pack(w)[0], out)
    if not np.array_equal(out, a @ w):
        raise ArithmeticError("a compiled product is wrong")
