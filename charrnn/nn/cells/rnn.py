"""The vanilla recurrent layer (Elman 1990, "Finding Structure in Time"), as torch.nn.RNN defines it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from charrnn.nn.cells.cell import Cell, Work, rows


class RNNState(NamedTuple):
    hidden: np.ndarray  # (B, H), also the output


RNNWork = Work  # hidden states are all that it needs


class RNN(Cell):
    """h' = tanh(x W_x + h W_h + b)"""

    GATES = "h"
    State = RNNState
    Work = RNNWork

    def forward(self, x: np.ndarray, state: RNNState, work: RNNWork) -> RNNState:
        work.x = x
        work.hidden[0] = state.hidden
        work.w_h = self.weights(work)
        work.kernels.rnn_forward(x, work.w_h, work.hidden, work.fresh)
        return RNNState(work.hidden[-1].copy())

    def backward(self, d_hidden: np.ndarray, d_state: RNNState, work: RNNWork, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, RNNState]:
        d_x, d_before = work.x, d_state.hidden.copy()
        work.kernels.rnn_backward(d_hidden, d_before, work.w_h, work.hidden, d_x, work.fresh)
        work.kernels.weight_gradient(work.before(), rows(d_x), gradients[f"{self.prefix}/w_h"])
        return d_x, RNNState(d_before)
