"""The element-wise work of one time step, in NumPy: what happens, in place and in few passes.

B streams, H hidden units; ``gates`` and ``recurrent`` are (B, G*H) with the gates side by side in the order that the
cell names, everything else is (B, H). A forward kernel is handed the projected input in ``gates`` and the product of
hidden state and recurrent weights in ``recurrent``, and leaves the activations of the gates in ``gates``. A backward
kernel turns these, in place, into the gradient of what entered the gates.

A sigmoid is taken as a tanh, 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, which cannot overflow.
"""

from __future__ import annotations

import numpy as np


def _sigmoid(x: np.ndarray) -> None:
    """x <- sigmoid(x)"""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5


def rnn_forward(gates: np.ndarray, recurrent: np.ndarray, hidden: np.ndarray) -> None:
    """hidden <- tanh(gates + recurrent)"""
    np.add(gates, recurrent, out=gates)
    np.tanh(gates, out=hidden)


def rnn_backward(d_hidden: np.ndarray, hidden: np.ndarray, gates: np.ndarray) -> None:
    """gates <- d_hidden (1 - hidden^2)"""
    np.multiply(hidden, hidden, out=gates)
    np.subtract(1, gates, out=gates)
    gates *= d_hidden


def lstm_forward(gates: np.ndarray, recurrent: np.ndarray, cell_before: np.ndarray, cell: np.ndarray,
                 tanh_cell: np.ndarray, hidden: np.ndarray) -> None:
    """i, f, o, g: cell <- f cell_before + i g; hidden <- o tanh(cell)"""
    size = cell.shape[1]
    gates += recurrent
    _sigmoid(gates[:, :3 * size])
    i, f, o, g = _blocks(gates, size)
    np.tanh(g, out=g)
    np.multiply(f, cell_before, out=cell)
    np.multiply(i, g, out=tanh_cell)
    cell += tanh_cell
    np.tanh(cell, out=tanh_cell)
    np.multiply(o, tanh_cell, out=hidden)


def lstm_backward(d_hidden: np.ndarray, d_cell: np.ndarray, cell_before: np.ndarray, tanh_cell: np.ndarray,
                  gates: np.ndarray) -> None:
    """gates <- the gradient of what entered them; d_cell <- the gradient of cell_before"""
    size = d_cell.shape[1]
    sigmoids = gates[:, :3 * size]
    i, f, o, g = _blocks(gates, size)
    d_o = d_hidden * tanh_cell
    d_cell += o * (d_hidden - d_o * tanh_cell)
    d_i, d_f, d_g = d_cell * g, d_cell * cell_before, d_cell * i
    d_cell *= f
    sigmoids *= 1 - sigmoids  # s (1 - s), the slope of a sigmoid s
    i *= d_i
    f *= d_f
    o *= d_o
    d_g *= 1 - g * g
    g[...] = d_g


def gru_forward(gates: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, hidden_before: np.ndarray,
                memory: np.ndarray, hidden: np.ndarray) -> None:
    """r, z, n: memory <- recurrent_n + bias; n = tanh(gates_n + r memory); hidden <- (1 - z) n + z hidden_before"""
    size = hidden.shape[1]
    gates[:, :2 * size] += recurrent[:, :2 * size]
    _sigmoid(gates[:, :2 * size])
    r, z, n = _blocks(gates, size)
    np.add(recurrent[:, 2 * size:], bias, out=memory)
    np.multiply(r, memory, out=hidden)
    n += hidden
    np.tanh(n, out=n)
    np.subtract(hidden_before, n, out=hidden)
    hidden *= z
    hidden += n


def gru_backward(d_hidden: np.ndarray, hidden_before: np.ndarray, memory: np.ndarray, gates: np.ndarray,
                 d_recurrent: np.ndarray) -> None:
    """gates <- the gradient of what entered them; d_recurrent <- that of ``recurrent``; memory <- that of itself;
    d_hidden <- the part of the gradient of hidden_before that did not pass the gates"""
    size = d_hidden.shape[1]
    sigmoids = gates[:, :2 * size]
    r, z, n = _blocks(gates, size)
    d_z = d_hidden * (hidden_before - n)
    d_n = d_hidden * (1 - z) * (1 - n * n)
    d_hidden *= z
    d_r, d_memory = d_n * memory, d_n * r
    sigmoids *= 1 - sigmoids
    r *= d_r
    z *= d_z
    n[...] = d_n
    memory[...] = d_memory
    d_recurrent[:, :2 * size] = sigmoids
    d_recurrent[:, 2 * size:] = d_memory


def _blocks(gates: np.ndarray, size: int) -> list[np.ndarray]:
    """The gates, (B, H) each, as views."""
    return [gates[:, start:start + size] for start in range(0, gates.shape[1], size)]


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

    It is the product of the transposed one-hot rows with ``rows``; where V is large, the rows are sorted and summed
    instead.
    """
    if len(total) <= 256:
        total += (np.arange(len(total))[:, None] == ids).astype(total.dtype) @ rows
        return
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    total[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0)
