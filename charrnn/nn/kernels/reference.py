"""The kernels in NumPy, which define what the compiled kernels compute: products, the loop over time of each cell, the
loss, the sum of rows by id, and Adam.

T time steps, B streams, H hidden units, G gates, N rows, D columns, V vocabulary. The arguments of the loops, with
their shapes, and whether a loop reads them (in), writes them (out), or reads and overwrites them (overwritten):

=============  ============  ===========  ==========================================================================
argument       shape         forward      meaning
=============  ============  ===========  ==========================================================================
``x``          (T, B, G*H)   overwritten  projected inputs, gates side by side; becomes the activations of the gates
                                          (rnn: the argument of tanh)
``weights``    (H, G*H)      in           recurrent weights, in the form that ``pack`` returns
``gain``       (4H,)         in           lnlstm: the factors after normalization of f, o, g and c
``b``          (4H,)         in           lnlstm: the biases after normalization
``bias``       (H,)          in           ``b_h`` of the GRU
``hidden``     (T+1, B, H)   overwritten  hidden[0] (in) is the first state, hidden[1:] (out) the output
``cell``       (T+1, B, H)   overwritten  LSTM, lnlstm: cell[0] (in) is the first cell state, cell[1:] (out) the later ones
``normal``     (T, B, 4H)    out          lnlstm: the normalized f, o, g and c
``scale``      (T, B, 4)     out          lnlstm: the factors of the normalization
``memory``     (T, B, H)     out          GRU: hidden w_h_n + bias, which the reset gate multiplies
``reset``      (T, B)        in           bool: the state is set to zero before that step
=============  ============  ===========  ==========================================================================

=============  ============  ===========  ==========================================================================
argument       shape         backward     meaning
=============  ============  ===========  ==========================================================================
``d_hidden``   (T, B, H)     overwritten  gradient of the output; meaningless afterwards
``d_before``   (B, H)        overwritten  gradient of the last hidden state; becomes that of the first
``d_cell``     (B, H)        overwritten  LSTM, lnlstm: gradient of the last cell state; becomes that of the first
``weights``    (G*H, H)      in           transposed recurrent weights, in the form that ``pack`` returns
``hidden``     (T+1, B, H)   in           RNN, GRU: from forward
``gain``       (4H,)         in           lnlstm: as in forward
``b``          (4H,)         in           lnlstm: as in forward
``d_gain``     (4H,)         out          lnlstm: gradient of ``gain``
``d_b``        (4H,)         out          lnlstm: gradient of ``b``
``cell``       (T+1, B, H)   in           LSTM, lnlstm: from forward
``normal``     (T, B, 4H)    in           lnlstm: from forward
``scale``      (T, B, 4)     in           lnlstm: from forward
``memory``     (T, B, H)     overwritten  GRU: from forward; becomes its gradient
``x``          (T, B, G*H)   overwritten  activations of the gates; becomes the gradient of the projected inputs
                                          (rnn: out)
``reset``      (T, B)        in           bool: no gradient flows to the state before that step
=============  ============  ===========  ==========================================================================

The other kernels:

=========================  ==================================================================================
``pack``                   ``w`` (K, N) in; returns the weights as the loops of the same kernels need them
``matmul``                 ``a`` (M, K) in, ``b`` (K, N) in, ``out`` (M, N) out
``softmax_cross_entropy``  ``logits`` (N, V) overwritten, ``targets`` (N,) in, ``scale`` in
``add_rows``               ``total`` (V, D) overwritten, ``ids`` (N,) in, ``rows`` (N, D) in
``adam``                   ``w``, ``mean``, ``square_mean`` (P,) overwritten, ``g`` (P,) in, the scalars in
=========================  ==================================================================================

With ``bfloat16``, the factors of a product are rounded to bfloat16 (8 significant bits). Sums are float32.

A sigmoid is computed with tanh, 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, which cannot overflow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EPSILON = 1e-5
"""Layer normalization adds this to the variance."""


class Weights(NamedTuple):
    """Weights (K, N) of a product; if ``bfloat16`` is true, they are rounded, and ``_product`` rounds the other factor."""

    w: np.ndarray
    bfloat16: bool


def pack(w: np.ndarray, bfloat16: bool = False) -> Weights:
    """Return the weights ``w`` (K, N) for the products of a window."""
    w = np.ascontiguousarray(w)  # BLAS is faster with a contiguous matrix
    return Weights(rounded(w) if bfloat16 else w, bfloat16)


def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray, bfloat16: bool = False) -> None:
    """out <- a b"""
    np.matmul(rounded(a) if bfloat16 else a, rounded(b) if bfloat16 else b, out=out)


def rounded(array: np.ndarray) -> np.ndarray:
    """Return float32 numbers rounded to bfloat16: to the nearest, ties to even; NaN stays NaN, large numbers become inf."""
    bits = np.array(array, np.float32).view(np.uint32)
    nearest = bits + (0x7FFF + (bits >> 16 & 1))
    upper = np.where(np.isnan(array), bits | 0x400000, nearest) & np.uint32(0xFFFF0000)
    return upper.view(np.float32)


def _product(a: np.ndarray, weights: Weights, out: np.ndarray | None = None) -> np.ndarray:
    """Return a w."""
    return np.matmul(rounded(a) if weights.bfloat16 else a, weights.w, out=out)


def _sigmoid(x: np.ndarray) -> None:
    """x <- sigmoid(x)"""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def carried(state: np.ndarray, reset: np.ndarray) -> np.ndarray:
    """Return ``state`` (..., B, H) with zeros where ``reset`` (..., B) is true, as a copy if it is true anywhere."""
    return np.where(reset[..., None], 0, state) if reset.any() else state


def rnn_forward(x: np.ndarray, weights: Weights, hidden: np.ndarray, reset: np.ndarray) -> None:
    """hidden[t + 1] <- tanh(x[t] + hidden[t] w_h)"""
    recurrent = np.empty_like(x[0])
    for t, gates in enumerate(x):
        gates += _product(carried(hidden[t], reset[t]), weights, recurrent)
        np.tanh(gates, out=hidden[t + 1])


def rnn_backward(d_hidden: np.ndarray, d_before: np.ndarray, weights: Weights, hidden: np.ndarray, x: np.ndarray,
                 reset: np.ndarray) -> None:
    """x <- d_hidden (1 - hidden^2)"""
    for t in reversed(range(len(x))):
        d_hidden[t] += d_before
        np.multiply(hidden[t + 1], hidden[t + 1], out=x[t])
        np.subtract(1, x[t], out=x[t])
        x[t] *= d_hidden[t]
        _product(x[t], weights, d_before)
        d_before[reset[t]] = 0


def lstm_forward(x: np.ndarray, weights: Weights, hidden: np.ndarray, cell: np.ndarray, reset: np.ndarray) -> None:
    """i, f, o, g: cell[t + 1] <- f cell[t] + i g; hidden[t + 1] <- o tanh(cell[t + 1])"""
    size = cell.shape[-1]
    recurrent = np.empty_like(x[0])
    for t, gates in enumerate(x):
        gates += _product(carried(hidden[t], reset[t]), weights, recurrent)
        _sigmoid(gates[:, :3 * size])
        i, f, o, g = _gates(gates, size)
        np.tanh(g, out=g)
        np.multiply(f, carried(cell[t], reset[t]), out=cell[t + 1])
        np.multiply(i, g, out=hidden[t + 1])
        cell[t + 1] += hidden[t + 1]
        np.tanh(cell[t + 1], out=hidden[t + 1])
        hidden[t + 1] *= o


def lstm_backward(d_hidden: np.ndarray, d_before: np.ndarray, d_cell: np.ndarray, weights: Weights, cell: np.ndarray,
                  x: np.ndarray, reset: np.ndarray) -> None:
    """x <- the gradient of the projected inputs; d_before and d_cell <- the gradients of the first state"""
    size = d_cell.shape[-1]
    for t in reversed(range(len(x))):
        d_hidden[t] += d_before
        sigmoids = x[t, :, :3 * size]
        i, f, o, g = _gates(x[t], size)
        tanh_cell = np.tanh(cell[t + 1])  # recomputing it is cheaper than storing it
        d_o = d_hidden[t] * tanh_cell
        d_cell += o * (d_hidden[t] - d_o * tanh_cell)
        d_i = d_cell * g
        d_f = d_cell * carried(cell[t], reset[t])
        d_g = d_cell * i
        d_cell *= f
        sigmoids *= 1 - sigmoids  # s (1 - s), the slope of a sigmoid s
        i *= d_i
        f *= d_f
        o *= d_o
        d_g *= 1 - g * g
        g[...] = d_g
        _product(x[t], weights, d_before)
        d_before[reset[t]] = 0
        d_cell[reset[t]] = 0


def lnlstm_forward(x: np.ndarray, weights: Weights, gain: np.ndarray, b: np.ndarray, hidden: np.ndarray, cell: np.ndarray,
                   normal: np.ndarray, scale: np.ndarray, reset: np.ndarray) -> None:
    """f, o, g: cell[t + 1] <- f cell[t] + (1 - f) g; hidden[t + 1] <- o tanh(N(cell[t + 1]))"""
    size = cell.shape[-1]
    recurrent = np.empty_like(x[0])
    for t, gates in enumerate(x):
        gates += _product(carried(hidden[t], reset[t]), weights, recurrent)
        *normal_gates, normal_cell = _gates(normal[t], size)
        for k, (gate, result) in enumerate(zip(_gates(gates, size), normal_gates)):
            scale[t, :, k] = _normalize(gate, result)
        np.multiply(normal[t, :, :3 * size], gain[:3 * size], out=gates)
        gates += b[:3 * size]
        _sigmoid(gates[:, :2 * size])
        f, o, g = _gates(gates, size)
        np.tanh(g, out=g)
        np.subtract(carried(cell[t], reset[t]), g, out=cell[t + 1])
        cell[t + 1] *= f
        cell[t + 1] += g
        scale[t, :, 3] = _normalize(cell[t + 1], normal_cell)
        np.multiply(normal_cell, gain[3 * size:], out=hidden[t + 1])
        hidden[t + 1] += b[3 * size:]
        np.tanh(hidden[t + 1], out=hidden[t + 1])
        hidden[t + 1] *= o


def lnlstm_backward(d_hidden: np.ndarray, d_before: np.ndarray, d_cell: np.ndarray, weights: Weights, gain: np.ndarray,
                    b: np.ndarray, d_gain: np.ndarray, d_b: np.ndarray, cell: np.ndarray, normal: np.ndarray,
                    scale: np.ndarray, x: np.ndarray, reset: np.ndarray) -> None:
    """x <- the gradient of the projected inputs; d_before and d_cell <- the gradients of the first state"""
    size = d_cell.shape[-1]
    d_gain[...] = 0
    d_b[...] = 0
    d_normal = np.empty_like(normal[0])  # (B, 4H): the gradient of gain normal + b, then that of normal
    blocks = _gates(d_normal, size)
    for t in reversed(range(len(x))):
        d_hidden[t] += d_before
        f, o, g = _gates(x[t], size)
        *normal_gates, normal_cell = _gates(normal[t], size)
        tanh_cell = np.tanh(gain[3 * size:] * normal_cell + b[3 * size:])  # recomputing it is cheaper than storing it
        blocks[1][...] = d_hidden[t] * tanh_cell * o * (1 - o)
        blocks[3][...] = d_hidden[t] * o * (1 - tanh_cell * tanh_cell)
        d_normal_cell = blocks[3] * gain[3 * size:]
        d_cell += _normalize_back(d_normal_cell, normal_cell, scale[t, :, 3])
        blocks[0][...] = d_cell * (carried(cell[t], reset[t]) - g) * f * (1 - f)
        blocks[2][...] = d_cell * (1 - f) * (1 - g * g)
        d_cell *= f
        d_gain += (d_normal * normal[t]).sum(axis=0)
        d_b += d_normal.sum(axis=0)
        d_normal *= gain
        for k, gate in enumerate((f, o, g)):
            gate[...] = _normalize_back(blocks[k], normal_gates[k], scale[t, :, k])
        _product(x[t], weights, d_before)
        d_before[reset[t]] = 0
        d_cell[reset[t]] = 0


def gru_forward(x: np.ndarray, weights: Weights, bias: np.ndarray, hidden: np.ndarray, memory: np.ndarray,
                reset: np.ndarray) -> None:
    """r, z, n = tanh(x_n + r memory[t]): memory[t] <- hidden[t] w_h_n + bias; hidden[t + 1] <- (1 - z) n + z hidden[t]"""
    size = hidden.shape[-1]
    recurrent = np.empty_like(x[0])
    for t, gates in enumerate(x):
        before = carried(hidden[t], reset[t])
        _product(before, weights, recurrent)
        gates[:, :2 * size] += recurrent[:, :2 * size]
        _sigmoid(gates[:, :2 * size])
        r, z, n = _gates(gates, size)
        after = hidden[t + 1]
        np.add(recurrent[:, 2 * size:], bias, out=memory[t])
        np.multiply(r, memory[t], out=after)
        n += after
        np.tanh(n, out=n)
        np.subtract(before, n, out=after)
        after *= z
        after += n


def gru_backward(d_hidden: np.ndarray, d_before: np.ndarray, weights: Weights, hidden: np.ndarray, memory: np.ndarray,
                 x: np.ndarray, reset: np.ndarray) -> None:
    """x <- the gradient of the projected inputs; memory <- the gradient of memory"""
    size = d_hidden.shape[-1]
    d_recurrent = np.empty_like(x[0])
    for t in reversed(range(len(x))):
        d = d_hidden[t]
        d += d_before
        sigmoids = x[t, :, :2 * size]
        r, z, n = _gates(x[t], size)
        d_z = d * (carried(hidden[t], reset[t]) - n)
        d_n = d * (1 - z) * (1 - n * n)
        d *= z  # the part that bypasses the gates
        d_r = d_n * memory[t]
        d_memory = d_n * r
        sigmoids *= 1 - sigmoids
        r *= d_r
        z *= d_z
        n[...] = d_n
        memory[t] = d_memory
        d_recurrent[:, :2 * size] = sigmoids
        d_recurrent[:, 2 * size:] = d_memory
        _product(d_recurrent, weights, d_before)
        d_before += d
        d_before[reset[t]] = 0


def _normalize(a: np.ndarray, out: np.ndarray) -> np.ndarray:
    """out <- (a - mean(a)) / sqrt(var(a) + 1e-5) for each row of ``a`` (B, H); return the divisor's inverse, (B,)."""
    np.subtract(a, a.mean(axis=1, keepdims=True), out=out)
    scale: np.ndarray = 1 / np.sqrt(np.square(out).mean(axis=1) + EPSILON)
    out *= scale[:, None]
    return scale


def _normalize_back(d_normal: np.ndarray, normal: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the gradient of ``a`` in ``_normalize``, (B, H), from the gradient of its result."""
    along = (d_normal * normal).mean(axis=1, keepdims=True)
    d_a: np.ndarray = scale[:, None] * (d_normal - d_normal.mean(axis=1, keepdims=True) - normal * along)
    return d_a


def _gates(gates: np.ndarray, size: int) -> list[np.ndarray]:
    """Return views of the gates, (B, H) each."""
    return [gates[:, start:start + size] for start in range(0, gates.shape[1], size)]


def softmax_cross_entropy(logits: np.ndarray, targets: np.ndarray, scale: float | None = None) -> np.ndarray:
    """Return the loss of each row of ``logits`` (N, V) against ``targets`` (N,): -log softmax(logits)[target], in nats.

    logits <- the gradient of ``scale`` times the sum of the losses, scale (softmax - one_hot); without ``scale``, they are
    meaningless afterwards.
    """
    rows = np.arange(len(targets))
    logits -= logits.max(axis=1, keepdims=True)
    losses = -logits[rows, targets]
    np.exp(logits, out=logits)
    total = logits.sum(axis=1)
    losses += np.log(total)
    if scale is not None:
        logits *= (scale / total)[:, None]
        logits[rows, targets] -= scale
    return losses


def add_rows(total: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> None:
    """total[ids[k]] += rows[k] for each k: the product of the transposed one-hot rows and ``rows``.

    The rows of each id are summed in one call.
    """
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    for positions in np.split(order, starts[1:]):
        total[ids[positions[0]]] += rows[positions].sum(axis=0)


def adam(w: np.ndarray, g: np.ndarray, mean: np.ndarray, square_mean: np.ndarray, b1: float, b2: float, rate: float,
         scale: float, epsilon: float) -> None:
    """mean <- b1 mean + (1 - b1) g; square_mean <- b2 square_mean + (1 - b2) g^2;
    w <- w - rate mean / (scale sqrt(square_mean) + epsilon)"""
    mean *= b1
    mean += (1 - b1) * g
    square_mean *= b2
    change = g * g
    change *= 1 - b2
    square_mean += change
    np.sqrt(square_mean, out=change)
    change *= scale
    change += epsilon
    np.divide(mean, change, out=change)
    change *= rate
    w -= change
