"""The gates of each cell: one pass over all units of a time step, forward and backward.

``reference.py`` contains the equations. Numba does not vectorize tanh here, so it is written as arithmetic.
"""

from __future__ import annotations

import numpy as np

from charrnn.nn.kernels.jit import inline
from charrnn.nn.kernels.reference import EPSILON

ONE, HALF = np.float32(1), np.float32(0.5)
_EPSILON = np.float32(EPSILON)

# tanh(x) = x P(x^2) / Q(x^2) for |x| <= 9, beyond which it is 1 in float32; relative error 2e-8 before rounding. The
# coefficients are our own minimax fit (scripts/fit_tanh).
_LIMIT = np.float32(9)
_P = tuple(map(np.float32, (0.999999979510028, 0.1338102548646914, 0.003495587887686625, 2.060907714666193e-05,
                            1.3354652428846654e-08)))
_Q = tuple(map(np.float32, (1.0, 0.46714341093956396, 0.025876981410521225, 0.00032856343672201996,
                            7.776554992988163e-07)))


@inline
def tanh(x):
    x = _LIMIT if x > _LIMIT else x
    x = -_LIMIT if x < -_LIMIT else x
    u = x * x
    p = (((_P[4] * u + _P[3]) * u + _P[2]) * u + _P[1]) * u + _P[0]
    q = (((_Q[4] * u + _Q[3]) * u + _Q[2]) * u + _Q[1]) * u + _Q[0]
    return x * p / q


@inline
def sigmoid(x):
    return HALF * tanh(HALF * x) + HALF


@inline
def rnn_gates(gates, hidden):
    streams, size = hidden.shape
    for b in range(streams):
        x, h = gates[b], hidden[b]
        for k in range(size):
            h[k] = tanh(x[k])


@inline
def rnn_gates_back(d_hidden, d_before, hidden, gates):
    streams, size = hidden.shape
    for b in range(streams):
        d, more, h, x = d_hidden[b], d_before[b], hidden[b], gates[b]
        for k in range(size):
            x[k] = (d[k] + more[k]) * (ONE - h[k] * h[k])


@inline
def lstm_gates(gates, cell_before, cell, hidden):
    streams, size = cell.shape
    for b in range(streams):
        x = gates[b]
        i, f, o, g = x[:size], x[size:2 * size], x[2 * size:3 * size], x[3 * size:]
        before, after, h = cell_before[b], cell[b], hidden[b]
        for k in range(size):
            i_k, f_k, o_k, g_k = sigmoid(i[k]), sigmoid(f[k]), sigmoid(o[k]), tanh(g[k])
            c_k = f_k * before[k] + i_k * g_k
            i[k], f[k], o[k], g[k] = i_k, f_k, o_k, g_k
            after[k], h[k] = c_k, o_k * tanh(c_k)


@inline
def lstm_gates_back(d_hidden, d_before, d_cell, cell_before, cell, gates):
    streams, size = d_cell.shape
    for b in range(streams):
        x = gates[b]
        i, f, o, g = x[:size], x[size:2 * size], x[2 * size:3 * size], x[3 * size:]
        d, more, d_c, before, c = d_hidden[b], d_before[b], d_cell[b], cell_before[b], cell[b]
        for k in range(size):
            i_k, f_k, o_k, g_k, t_k = i[k], f[k], o[k], g[k], tanh(c[k])
            d_k = d[k] + more[k]
            d_o = d_k * t_k
            c_k = d_c[k] + o_k * (d_k - d_o * t_k)
            i[k] = c_k * g_k * (i_k * (ONE - i_k))
            f[k] = c_k * before[k] * (f_k * (ONE - f_k))
            o[k] = d_o * (o_k * (ONE - o_k))
            g[k] = c_k * i_k * (ONE - g_k * g_k)
            d_c[k] = c_k * f_k


@inline
def gru_gates(gates, recurrent, bias, hidden_before, memory, hidden):
    streams, size = hidden.shape
    for b in range(streams):
        x, u = gates[b], recurrent[b]
        r, z, n = x[:size], x[size:2 * size], x[2 * size:]
        u_r, u_z, u_n = u[:size], u[size:2 * size], u[2 * size:]
        before, m, h = hidden_before[b], memory[b], hidden[b]
        for k in range(size):
            r_k, z_k = sigmoid(r[k] + u_r[k]), sigmoid(z[k] + u_z[k])
            m_k = u_n[k] + bias[k]
            n_k = tanh(n[k] + r_k * m_k)
            r[k], z[k], n[k], m[k] = r_k, z_k, n_k, m_k
            h[k] = n_k + z_k * (before[k] - n_k)


@inline
def gru_gates_back(d_hidden, d_before, hidden_before, memory, gates, d_recurrent):
    streams, size = d_hidden.shape
    for b in range(streams):
        x, u = gates[b], d_recurrent[b]
        r, z, n = x[:size], x[size:2 * size], x[2 * size:]
        u_r, u_z, u_n = u[:size], u[size:2 * size], u[2 * size:]
        d, more, before, m = d_hidden[b], d_before[b], hidden_before[b], memory[b]
        for k in range(size):
            r_k, z_k, n_k = r[k], z[k], n[k]
            d_k = d[k] + more[k]
            d_n = d_k * (ONE - z_k) * (ONE - n_k * n_k)
            d_m = d_n * r_k
            d_r = d_n * m[k] * (r_k * (ONE - r_k))
            d_z = d_k * (before[k] - n_k) * (z_k * (ONE - z_k))
            d[k] = d_k * z_k
            r[k], z[k], n[k], m[k] = d_r, d_z, d_n, d_m
            u_r[k], u_z[k], u_n[k] = d_r, d_z, d_m


@inline
def _normalize(a, normal):
    size = len(a)
    mean, square = np.float32(0), np.float32(0)
    for k in range(size):
        mean += a[k]
    mean /= np.float32(size)
    for k in range(size):
        square += (a[k] - mean) * (a[k] - mean)
    scale = ONE / np.sqrt(square / np.float32(size) + _EPSILON)
    for k in range(size):
        normal[k] = (a[k] - mean) * scale
    return scale


@inline
def _normalize_back(d, gain, normal, scale, d_gain, d_b):
    size = len(d)
    mean, along = np.float32(0), np.float32(0)
    for k in range(size):
        d_gain[k] += d[k] * normal[k]
        d_b[k] += d[k]
        d[k] *= gain[k]
        mean += d[k]
        along += d[k] * normal[k]
    mean /= np.float32(size)
    along /= np.float32(size)
    for k in range(size):
        d[k] = scale * (d[k] - mean - normal[k] * along)


@inline
def lnlstm_gates(gates, gain, b, cell_before, cell, normal, scale, hidden):
    streams, size = cell.shape
    for s in range(streams):
        x, norm, before, after, h = gates[s], normal[s], cell_before[s], cell[s], hidden[s]
        for q in range(3):
            scale[s, q] = _normalize(x[q * size:(q + 1) * size], norm[q * size:(q + 1) * size])
        f, o, g = x[:size], x[size:2 * size], x[2 * size:]
        n_f, n_o, n_g, n_c = norm[:size], norm[size:2 * size], norm[2 * size:3 * size], norm[3 * size:]
        w_f, w_o, w_g, w_c = gain[:size], gain[size:2 * size], gain[2 * size:3 * size], gain[3 * size:]
        b_f, b_o, b_g, b_c = b[:size], b[size:2 * size], b[2 * size:3 * size], b[3 * size:]
        for k in range(size):
            f_k, g_k = sigmoid(w_f[k] * n_f[k] + b_f[k]), tanh(w_g[k] * n_g[k] + b_g[k])
            f[k], g[k] = f_k, g_k
            after[k] = g_k + f_k * (before[k] - g_k)
        scale[s, 3] = _normalize(after, n_c)
        for k in range(size):
            o_k = sigmoid(w_o[k] * n_o[k] + b_o[k])
            o[k] = o_k
            h[k] = o_k * tanh(w_c[k] * n_c[k] + b_c[k])


@inline
def lnlstm_gates_back(d_hidden, d_before, d_cell, gain, b, d_gain, d_b, cell_before, normal, scale, gates, room):
    streams, size = d_cell.shape
    for s in range(streams):
        x, norm = gates[s], normal[s]
        f, o, g = x[:size], x[size:2 * size], x[2 * size:]
        n_c, w_c, b_c = norm[3 * size:], gain[3 * size:], b[3 * size:]
        d, more, d_c, before = d_hidden[s], d_before[s], d_cell[s], cell_before[s]
        for k in range(size):
            o_k, t_k = o[k], tanh(w_c[k] * n_c[k] + b_c[k])
            d_k = d[k] + more[k]
            o[k] = d_k * t_k * (o_k * (ONE - o_k))
            room[k] = d_k * o_k * (ONE - t_k * t_k)
        _normalize_back(room, w_c, n_c, scale[s, 3], d_gain[3 * size:], d_b[3 * size:])
        for k in range(size):
            f_k, g_k, c_k = f[k], g[k], d_c[k] + room[k]
            f[k] = c_k * (before[k] - g_k) * (f_k * (ONE - f_k))
            g[k] = c_k * (ONE - f_k) * (ONE - g_k * g_k)
            d_c[k] = c_k * f_k
        for q in range(3):
            first, last = q * size, (q + 1) * size
            _normalize_back(x[first:last], gain[first:last], norm[first:last], scale[s, q], d_gain[first:last],
                            d_b[first:last])
