"""A cell whose input is gated by the hidden state, defined in one file and without compiled kernels.

Equations::

    u  = sigmoid(h W_u + b_u)
    h' = tanh(u * (x W_x) + h W_h + b)

where x is the input, h the hidden state, h' the hidden state after the step, and u the gate of the input.

Shapes: x (B, D); h and u (B, H); W_x (D, H); W_u and W_h (H, H); b_u and b (H,).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from charrnn.nn import projection
from charrnn.nn.cells.cell import Cell, Work
from charrnn.nn.projection import rows


class GatedState(NamedTuple):
    """The state after a step."""

    hidden: np.ndarray  # (B, H), also the output


class GatedWork(Work):
    """The buffers of a window."""

    def __init__(self, seq_len, batch_size, hidden_size, dtype):
        super().__init__(seq_len, batch_size, hidden_size, dtype)
        self.gate = np.empty((seq_len, batch_size, hidden_size), dtype)  # (T, B, H): u
        self.d_sum = np.empty_like(self.gate)  # (T, B, H): the gradient of the argument of tanh
        self.d_gate = np.empty_like(self.gate)  # (T, B, H): the gradient of the argument of sigmoid


class Gated(Cell):
    """u = sigmoid(h W_u + b_u);  h' = tanh(u * (x W_x) + h W_h + b)"""

    GATES = "h"
    State = GatedState
    Work = GatedWork
    LEARNING_RATE_FACTOR = 0.3

    def __init__(self, parameters, prefix):
        super().__init__(parameters, prefix)
        self.w_u = self.parameters["w_u"]
        self.b_u = self.parameters["b_u"]

    @classmethod
    def shapes(cls, input_size, hidden_size):
        return {**super().shapes(input_size, hidden_size), "w_u": (hidden_size, hidden_size), "b_u": (hidden_size,)}

    def draw_weights(self, rng, selected):
        super().draw_weights(rng, selected)
        self.b_u[...] = 1

    def project(self, inputs, work):
        return projection.project(inputs, self.w_x, None, work.x)  # b is not gated

    def project_back(self, inputs, d_x, work, gradients, needs_d_inputs):
        return projection.project_back(inputs, d_x, self.w_x, gradients[f"{self.prefix}/w_x"], work.kernels,
                                       needs_d_inputs)

    def forward(self, x, state, work):
        work.hidden[0] = state.hidden
        work.w_h = self.weights(work)
        for t in range(len(x)):
            before = np.where(work.reset[t][:, None], 0, work.hidden[t])
            work.gate[t] = 1 / (1 + np.exp(-(before @ self.w_u + self.b_u)))
            work.hidden[t + 1] = np.tanh(work.gate[t] * x[t] + before @ work.w_h + self.b)
        return GatedState(work.hidden[-1].copy())

    def backward(self, d_hidden, d_state, work, gradients):
        d_before = d_state.hidden
        x = work.x
        for t in reversed(range(len(x))):
            d_sum = (d_hidden[t] + d_before) * (1 - work.hidden[t + 1] ** 2)
            gate = work.gate[t]
            work.d_sum[t] = d_sum
            work.d_gate[t] = d_sum * x[t] * gate * (1 - gate)
            d_before = d_sum @ work.w_h.T + work.d_gate[t] @ self.w_u.T
            d_before[work.reset[t]] = 0
            x[t] = d_sum * gate
        before = work.before()
        for name, d_rows in (("h", rows(work.d_sum)), ("u", rows(work.d_gate))):
            gradients[f"{self.prefix}/w_{name}"][...] = before.T @ d_rows
        gradients[f"{self.prefix}/b"][...] = rows(work.d_sum).sum(axis=0)
        gradients[f"{self.prefix}/b_u"][...] = rows(work.d_gate).sum(axis=0)
        return x, GatedState(d_before)
