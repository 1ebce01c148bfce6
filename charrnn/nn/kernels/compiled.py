"""The kernels compiled by numba: the functions of ``reference.py``, with the same arguments, each step in one pass.

They are compiled once for float32, cached next to this file (or in NUMBA_CACHE_DIR), run on one thread, and release the
GIL. They do not check their arguments: ids must be in range. Every inner loop runs along contiguous rows, so that the
compiler vectorizes it. Numba does not vectorize tanh and exp here, so both are written as arithmetic. Results agree with
the reference to a few units in the last place of a float32.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

from charrnn.nn.kernels import packed, tile
from charrnn.nn.kernels.packed import add_product
from charrnn.nn.kernels.tile import COLUMNS, ROWS

# Reordering and fused multiply-add are allowed. Assuming that there are no NaNs is not: NaNs must reach the loss.
_FAST = {"contract", "reassoc", "nsz", "arcp"}
# Inlined before anything is optimized: a separate function would be optimized once by itself and once with its caller.
# The last bits of the two versions differ; a first run would use one version, and a run from the cache the other.
_inline = njit(nogil=True, error_model="numpy", fastmath=_FAST, inline="always")

_SOURCES = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in (packed, tile))).hexdigest()[:8]


def _compile(function):
    """Compile a kernel, and cache it under a name that depends on the sources of the products.

    Numba compiles a cached function again if its own file changes, but not if the file of a function that it calls changes.
    """
    function.__qualname__ += f"_{_SOURCES}"
    return njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)(function)


_ONE, _HALF = np.float32(1), np.float32(0.5)

# tanh(x) = x P(x^2) / Q(x^2) for |x| <= 9, beyond which it is 1 in float32; relative error 2e-8 before rounding. The
# coefficients are our own minimax fit (scripts/fit_tanh).
_LIMIT = np.float32(9)
_P = tuple(map(np.float32, (0.999999979510028, 0.1338102548646914, 0.003495587887686625, 2.060907714666193e-05,
                            1.3354652428846654e-08)))
_Q = tuple(map(np.float32, (1.0, 0.46714341093956396, 0.025876981410521225, 0.00032856343672201996,
                            7.776554992988163e-07)))

# exp(x) = 2^n exp(r), where n is the integer nearest to x / ln 2; exp(r) is its Taylor series for |r| <= ln 2 / 2. ln 2 is
# split into two parts; n times the first is exact (Cody and Waite 1980).
_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
_E = tuple(map(np.float32, (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720)))
_SMALLEST = np.float32(-87)


@_inline
def _tanh(x):
    x = _LIMIT if x > _LIMIT else x
    x = -_LIMIT if x < -_LIMIT else x
    u = x * x
    p = (((_P[4] * u + _P[3]) * u + _P[2]) * u + _P[1]) * u + _P[0]
    q = (((_Q[4] * u + _Q[3]) * u + _Q[2]) * u + _Q[1]) * u + _Q[0]
    return x * p / q


@_inline
def _sigmoid(x):
    return _HALF * _tanh(_HALF * x) + _HALF


@_inline
def _copy(source, target):  # by loops: numba takes seconds to compile an assignment of arrays
    for b in range(len(source)):
        row, copied = source[b], target[b]
        for k in range(len(row)):
            copied[k] = row[k]


@_inline
def _forget(state, reset):
    for b in range(len(reset)):
        if reset[b]:
            state[b] = 0


@_inline
def _carried(state, reset, room):  # ``room`` is memory for a copy
    for b in range(len(reset)):
        if reset[b]:
            _copy(state, room)
            _forget(room, reset)
            return room
    return state


@_inline
def _rnn_forward(gates, hidden):
    streams, size = hidden.shape
    for b in range(streams):
        x, h = gates[b], hidden[b]
        for k in range(size):
            h[k] = _tanh(x[k])


@_compile
def rnn_forward(x, panels, hidden, reset):
    room = np.empty_like(hidden[0])
    for t in range(len(x)):
        add_product(_carried(hidden[t], reset[t], room), panels, x[t])
        _rnn_forward(x[t], hidden[t + 1])


@_inline
def _rnn_backward(d_hidden, d_before, hidden, gates):
    streams, size = hidden.shape
    for b in range(streams):
        d, more, h, x = d_hidden[b], d_before[b], hidden[b], gates[b]
        for k in range(size):
            x[k] = (d[k] + more[k]) * (_ONE - h[k] * h[k])


@_compile
def rnn_backward(d_hidden, d_before, panels, hidden, x, reset):
    for t in range(len(x) - 1, -1, -1):
        _rnn_backward(d_hidden[t], d_before, hidden[t + 1], x[t])
        d_before[...] = 0
        add_product(x[t], panels, d_before)
        _forget(d_before, reset[t])


@_inline
def _lstm_forward(gates, cell_before, cell, hidden):
    streams, size = cell.shape
    for b in range(streams):
        x = gates[b]
        i, f, o, g = x[:size], x[size:2 * size], x[2 * size:3 * size], x[3 * size:]
        before, after, h = cell_before[b], cell[b], hidden[b]
        for k in range(size):
            i_k, f_k, o_k, g_k = _sigmoid(i[k]), _sigmoid(f[k]), _sigmoid(o[k]), _tanh(g[k])
            c_k = f_k * before[k] + i_k * g_k
            i[k], f[k], o[k], g[k] = i_k, f_k, o_k, g_k
            after[k], h[k] = c_k, o_k * _tanh(c_k)


@_compile
def lstm_forward(x, panels, hidden, cell, reset):
    room = np.empty_like(hidden[0])
    for t in range(len(x)):
        add_product(_carried(hidden[t], reset[t], room), panels, x[t])
        _lstm_forward(x[t], _carried(cell[t], reset[t], room), cell[t + 1], hidden[t + 1])


@_inline
def _lstm_backward(d_hidden, d_before, d_cell, cell_before, cell, gates):
    streams, size = d_cell.shape
    for b in range(streams):
        x = gates[b]
        i, f, o, g = x[:size], x[size:2 * size], x[2 * size:3 * size], x[3 * size:]
        d, more, d_c, before, c = d_hidden[b], d_before[b], d_cell[b], cell_before[b], cell[b]
        for k in range(size):
            i_k, f_k, o_k, g_k, t_k = i[k], f[k], o[k], g[k], _tanh(c[k])
            d_k = d[k] + more[k]
            d_o = d_k * t_k
            c_k = d_c[k] + o_k * (d_k - d_o * t_k)
            i[k] = c_k * g_k * (i_k * (_ONE - i_k))
            f[k] = c_k * before[k] * (f_k * (_ONE - f_k))
            o[k] = d_o * (o_k * (_ONE - o_k))
            g[k] = c_k * i_k * (_ONE - g_k * g_k)
            d_c[k] = c_k * f_k


@_compile
def lstm_backward(d_hidden, d_before, d_cell, panels, cell, x, reset):
    room = np.empty_like(cell[0])
    for t in range(len(x) - 1, -1, -1):
        _lstm_backward(d_hidden[t], d_before, d_cell, _carried(cell[t], reset[t], room), cell[t + 1], x[t])
        d_before[...] = 0
        add_product(x[t], panels, d_before)
        _forget(d_before, reset[t])
        _forget(d_cell, reset[t])


@_inline
def _gru_forward(gates, recurrent, bias, hidden_before, memory, hidden):
    streams, size = hidden.shape
    for b in range(streams):
        x, u = gates[b], recurrent[b]
        r, z, n = x[:size], x[size:2 * size], x[2 * size:]
        u_r, u_z, u_n = u[:size], u[size:2 * size], u[2 * size:]
        before, m, h = hidden_before[b], memory[b], hidden[b]
        for k in range(size):
            r_k, z_k = _sigmoid(r[k] + u_r[k]), _sigmoid(z[k] + u_z[k])
            m_k = u_n[k] + bias[k]
            n_k = _tanh(n[k] + r_k * m_k)
            r[k], z[k], n[k], m[k] = r_k, z_k, n_k, m_k
            h[k] = n_k + z_k * (before[k] - n_k)


@_compile
def gru_forward(x, panels, bias, hidden, memory, reset):
    recurrent = np.empty_like(x[0])
    room = np.empty_like(hidden[0])
    for t in range(len(x)):
        before = _carried(hidden[t], reset[t], room)
        recurrent[...] = 0
        add_product(before, panels, recurrent)
        _gru_forward(x[t], recurrent, bias, before, memory[t], hidden[t + 1])


@_inline
def _gru_backward(d_hidden, d_before, hidden_before, memory, gates, d_recurrent):
    streams, size = d_hidden.shape
    for b in range(streams):
        x, u = gates[b], d_recurrent[b]
        r, z, n = x[:size], x[size:2 * size], x[2 * size:]
        u_r, u_z, u_n = u[:size], u[size:2 * size], u[2 * size:]
        d, more, before, m = d_hidden[b], d_before[b], hidden_before[b], memory[b]
        for k in range(size):
            r_k, z_k, n_k = r[k], z[k], n[k]
            d_k = d[k] + more[k]
            d_n = d_k * (_ONE - z_k) * (_ONE - n_k * n_k)
            d_m = d_n * r_k
            d_r = d_n * m[k] * (r_k * (_ONE - r_k))
            d_z = d_k * (before[k] - n_k) * (z_k * (_ONE - z_k))
            d[k] = d_k * z_k
            r[k], z[k], n[k], m[k] = d_r, d_z, d_n, d_m
            u_r[k], u_z[k], u_n[k] = d_r, d_z, d_m


@_compile
def gru_backward(d_hidden, d_before, panels, hidden, memory, x, reset):
    d_recurrent = np.empty_like(x[0])
    room = np.empty_like(hidden[0])
    for t in range(len(x) - 1, -1, -1):
        _gru_backward(d_hidden[t], d_before, _carried(hidden[t], reset[t], room), memory[t], x[t], d_recurrent)
        _copy(d_hidden[t], d_before)
        add_product(d_recurrent, panels, d_before)
        _forget(d_before, reset[t])


@_compile
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
            n = np.floor(y * _LOG2E + _HALF)
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


@_compile
def add_rows(total, ids, rows):
    for k in range(len(ids)):
        row, sum_ = rows[k], total[ids[k]]
        for j in range(rows.shape[1]):
            sum_[j] += row[j]


@_compile
def adam(w, g, mean, square_mean, b1, b2, rate, scale, epsilon):
    b1, b2, rate = np.float32(b1), np.float32(b2), np.float32(rate)
    scale, epsilon = np.float32(scale), np.float32(epsilon)
    for k in range(len(w)):
        m = b1 * mean[k] + (_ONE - b1) * g[k]
        s = b2 * square_mean[k] + (_ONE - b2) * (g[k] * g[k])
        mean[k], square_mean[k] = m, s
        w[k] -= rate * m / (scale * np.sqrt(s) + epsilon)


@_compile
def _panels(w, width):
    return packed.pack(w, width)


@_compile
def _panels_of_pairs(w, width):
    return packed.pack_pairs(w, width)


@_compile
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


def check() -> None:
    """Raise an exception unless numba correctly compiles ``tile.py``, which uses private parts of numba."""
    a = np.arange(7 * 3, dtype=np.float32).reshape(7, 3)
    w = np.arange(3 * (COLUMNS + 1), dtype=np.float32).reshape(3, -1)
    out = np.empty((7, COLUMNS + 1), np.float32)
    _multiply(_panels(a.T, ROWS), _panels(w, COLUMNS), out)
    if not np.array_equal(out, a @ w):
        raise ArithmeticError("a compiled product is wrong")
