"""The gates of each cell: one pass over all units of a time step, forward and backward.

``reference.py`` contains the equations. Numba does not vectorize tanh here, so it is written as arithmetic.
"""

from __future__ import annotations

import numpy as np

from charrnn.nn.kernels.jit import inline

ONE, HALF = np.float32(1), np.float32(0.5)

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
