"""What happens to a window along time, in NumPy: the recurrent loop of each cell, in place and in few passes.

T time steps, B streams, H hidden units, G gates; ``w_h`` is (H, G*H). ``x`` (T, B, G*H) has the gates side by side in
the order that the cell names; everything else is (T, B, H), or (T + 1, B, H) where it begins with what was before the
window, as ``hidden`` does. A forward loop is handed the projected inputs in ``x`` and leaves the activations of the
gates there. A backward loop turns these into the gradients of what entered the gates; it is handed the gradient of the
last state in ``d_before`` (B, H), and leaves that of the first there. Where ``fresh`` (T, B) is true, a stream starts a
document: that step begins with zeros, not with what the step before it left, and no gradient goes back past it.

A sigmoid is taken as a tanh, 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, which cannot overflow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_MANY_WEIGHTS = 2**18


def _sigmoid(x: np.ndarray) -> None:
    """x <- sigmoid(x)"""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def _times(w: np.ndarray, x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function that takes a (B, D) to a w, for each step of ``x``; its result holds until the next call.

    For few rows and many weights the library is faster with everything transposed, by half at 16 rows and not at all
    at 64. Either way it wants ``w`` in the right order, for which a copy has to serve for some steps.
    """
    steps, rows, _ = x.shape
    if steps < 8 or rows > 32 or rows % 8 or w.size < _MANY_WEIGHTS:
        w, product = np.ascontiguousarray(w), np.empty((rows, w.shape[1]), x.dtype)
        return lambda a: np.matmul(a, w, out=product)
    w_transposed, transposed = np.ascontiguousarray(w.T), np.empty((w.shape[1], rows), x.dtype)
    return lambda a: np.matmul(w_transposed, a.T, out=transposed).T


def carried(state: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """``state`` (..., B, H), with zeros where ``fresh`` (..., B): a copy, where anything is."""
    return np.where(fresh[..., None], 0, state) if fresh.any() else state


def rnn_forward(x: np.ndarray, w_h: np.ndarray, hidden: np.ndarray, fresh: np.ndarray) -> None:
    """hidden[t + 1] <- tanh(x[t] + hidden[t] w_h)"""
    recurrent = _times(w_h, x)
    for t, gates in enumerate(x):
        gates += recurrent(carried(hidden[t], fresh[t]))
        np.tanh(gates, out=hidden[t + 1])


def rnn_backward(d_hidden: np.ndarray, d_before: np.ndarray, w_h: np.ndarray, hidden: np.ndarray, x: np.ndarray,
                 fresh: np.ndarray) -> None:
    """x <- d_hidden (1 - hidden^2)"""
    back, before = _times(w_h.T, x), d_before
    for t in reversed(range(len(x))):
        d_hidden[t] += before
        np.multiply(hidden[t + 1], hidden[t + 1], out=x[t])
        np.subtract(1, x[t], out=x[t])
        x[t] *= d_hidden[t]
        before = back(x[t])
        before[fresh[t]] = 0
    d_before[...] = before


def lstm_forward(x: np.ndarray, w_h: np.ndarray, hidden: np.ndarray, cell: np.ndarray, fresh: np.ndarray) -> None:
    """i, f, o, g: cell[t + 1] <- f cell[t] + i g; hidden[t + 1] <- o tanh(cell[t + 1])"""
    size = cell.shape[-1]
    recurrent = _times(w_h, x)
    for t, gates in enumerate(x):
        gates += recurrent(carried(hidden[t], fresh[t]))
        _sigmoid(gates[:, :3 * size])
        i, f, o, g = _blocks(gates, size)
        np.tanh(g, out=g)
        np.multiply(f, carried(cell[t], fresh[t]), out=cell[t + 1])
        np.multiply(i, g, out=hidden[t + 1])
        cell[t + 1] += hidden[t + 1]
        np.tanh(cell[t + 1], out=hidden[t + 1])
        hidden[t + 1] *= o


def lstm_backward(d_hidden: np.ndarray, d_before: np.ndarray, d_cell: np.ndarray, w_h: np.ndarray, cell: np.ndarray,
                  x: np.ndarray, fresh: np.ndarray) -> None:
    """x <- the gradient of what entered the gates; ``d_cell`` (B, H) goes from the last state to the first, too"""
    size = d_cell.shape[-1]
    back, before = _times(w_h.T, x), d_before
    for t in reversed(range(len(x))):
        d_hidden[t] += before
        sigmoids = x[t, :, :3 * size]
        i, f, o, g = _blocks(x[t], size)
        tanh_cell = np.tanh(cell[t + 1])  # to take it again costs less than to keep it
        d_o = d_hidden[t] * tanh_cell
        d_cell += o * (d_hidden[t] - d_o * tanh_cell)
        d_i, d_f, d_g = d_cell * g, d_cell * carried(cell[t], fresh[t]), d_cell * i
        d_cell *= f
        sigmoids *= 1 - sigmoids  # s (1 - s), the slope of a sigmoid s
        i *= d_i
        f *= d_f
        o *= d_o
        d_g *= 1 - g * g
        g[...] = d_g
        before = back(x[t])
        before[fresh[t]], d_cell[fresh[t]] = 0, 0
    d_before[...] = before


def gru_forward(x: np.ndarray, w_h: np.ndarray, bias: np.ndarray, hidden: np.ndarray, memory: np.ndarray,
                fresh: np.ndarray) -> None:
    """r, z, n = tanh(x_n + r memory[t]): memory[t] <- hidden[t] w_h_n + bias; hidden[t + 1] <- (1 - z) n + z hidden[t]"""
    size = hidden.shape[-1]
    recurrent = _times(w_h, x)
    for t, gates in enumerate(x):
        before = carried(hidden[t], fresh[t])
        product = recurrent(before)
        gates[:, :2 * size] += product[:, :2 * size]
        _sigmoid(gates[:, :2 * size])
        r, z, n = _blocks(gates, size)
        after = hidden[t + 1]
        np.add(product[:, 2 * size:], bias, out=memory[t])
        np.multiply(r, memory[t], out=after)
        n += after
        np.tanh(n, out=n)
        np.subtract(before, n, out=after)
        after *= z
        after += n


def gru_backward(d_hidden: np.ndarray, d_before: np.ndarray, w_h: np.ndarray, hidden: np.ndarray, memory: np.ndarray,
                 x: np.ndarray, fresh: np.ndarray) -> None:
    """x <- the gradient of what entered the gates; memory <- that of itself"""
    size = d_hidden.shape[-1]
    back, before = _times(w_h.T, x), d_before
    d_recurrent = np.empty_like(x[0])
    for t in reversed(range(len(x))):
        d = d_hidden[t]
        d += before
        sigmoids = x[t, :, :2 * size]
        r, z, n = _blocks(x[t], size)
        d_z = d * (carried(hidden[t], fresh[t]) - n)
        d_n = d * (1 - z) * (1 - n * n)
        d *= z  # what does not pass the gates
        d_r, d_memory = d_n * memory[t], d_n * r
        sigmoids *= 1 - sigmoids
        r *= d_r
        z *= d_z
        n[...] = d_n
        memory[t] = d_memory
        d_recurrent[:, :2 * size] = sigmoids
        d_recurrent[:, 2 * size:] = d_memory
        before = back(d_recurrent)
        before += d
        before[fresh[t]] = 0
    d_before[...] = before


def _blocks(gates: np.ndarray, size: int) -> list[np.ndarray]:
    """The gates, (B, H) each, as views."""
    return [gates[:, start:start + size] for start in range(0, gates.shape[1], size)]


def project(rows: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """out <- rows w, for the rows of a whole window (T*B, D)"""
    np.matmul(rows, w, out=out)


def weight_gradient(rows: np.ndarray, d_rows: np.ndarray, out: np.ndarray) -> None:
    """out <- rows^T d_rows: the gradient of weights (D, N) from what they multiplied and the gradient of what came out"""
    np.matmul(rows.T, d_rows, out=out)


def softmax_cross_entropy(logits: np.ndarray, targets: np.ndarray, scale: float | None = None) -> np.ndarray:
    """The loss of each row of ``logits`` (N, V) against ``targets`` (N,): -log softmax(logits)[target], in nats.

    Leaves in ``logits`` the gradient of ``scale`` times the sum of the losses, scale (softmax - one_hot); without
    ``scale`` nothing of use.
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
    """total[ids[k]] += rows[k] for each k: ``total`` (V, D), ``ids`` (N,), ``rows`` (N, D).

    It is the product of the transposed one-hot rows with ``rows``. The places of each id are summed at once.
    """
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    for places in np.split(order, starts[1:]):
        total[ids[places[0]]] += rows[places].sum(axis=0)


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
