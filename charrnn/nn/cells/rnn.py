"""The vanilla recurrent network, as in torch.nn.RNN.

Equation::

    h' = tanh(x W_x + h W_h + b)

where x is the input, h the hidden state, and h' the hidden state after the step.

Shapes: x (B, D); h (B, H); W_x (D, H); W_h (H, H); b (H,).

Initialization: matrices U(+-1/sqrt(H)), as in PyTorch; rows of W_x that ids select N(0, 1); b = 0.

Reference: Elman 1990, "Finding Structure in Time".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from charrnn.nn.cells.cell import Cell, Work
from charrnn.nn.projection import rows


class RNNState(NamedTuple):
    """The state after a step."""

    hidden: np.ndarray  # (B, H), also the output


RNNWork = Work  # backward needs only the hidden states


class RNN(Cell):
    """h' = tanh(x W_x + h W_h + b)"""

    LEARNING_RATE_FACTOR = 0.2
    GATES = "h"
    State = RNNState
    Work = RNNWork

    def forward(self, x: np.ndarray, state: RNNState, work: RNNWork) -> RNNState:
        work.x = x
        work.hidden[0] = state.hidden
        work.w_h = self.weights(work)
        work.kernels.rnn_forward(x, work.pack(work.w_h), work.hidden, work.reset)
        return RNNState(work.hidden[-1].copy())

    def backward(self, d_hidden: np.ndarray, d_state: RNNState, work: RNNWork, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, RNNState]:
        d_x = work.x
        d_before = d_state.hidden.copy()
        work.kernels.rnn_backward(d_hidden, d_before, work.pack(work.w_h.T), work.hidden, d_x, work.reset)
        work.matmul(work.before().T, rows(d_x), gradients[f"{self.prefix}/w_h"])
        return d_x, RNNState(d_before)
