"""The vanilla recurrent layer (Elman 1990, "Finding Structure in Time"), as torch.nn.RNN defines it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from charrnn.cells.cell import Cell, Work, rows


class RNNState(NamedTuple):
    hidden: np.ndarray  # (B, H), also the output


class RNNWork(Work):
    def __init__(self, seq_len: int, batch_size: int, hidden_size: int, dtype: Any) -> None:
        super().__init__(seq_len, batch_size, hidden_size, len(RNN.GATES), dtype)


class RNN(Cell):
    """h' = tanh(x W_x + h W_h + b)"""

    GATES = "h"
    State = RNNState
    Work = RNNWork

    def forward(self, x: np.ndarray, state: RNNState, work: RNNWork) -> RNNState:
        work.x = x
        work.hidden[0] = state.hidden
        for t in range(len(x)):
            np.matmul(work.hidden[t], self.w_h, out=work.recurrent)
            work.kernels.rnn_forward(x[t], work.recurrent, work.hidden[t + 1])
        return RNNState(work.hidden[-1].copy())

    def backward(self, d_hidden: np.ndarray, d_state: RNNState, work: RNNWork, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, RNNState]:
        work.w_h_transposed[...] = self.w_h.T
        d_x = work.x
        d_before = d_state.hidden.copy()
        for t in reversed(range(len(d_x))):
            d_hidden[t] += d_before
            work.kernels.rnn_backward(d_hidden[t], work.hidden[t + 1], d_x[t])
            np.matmul(d_x[t], work.w_h_transposed, out=d_before)
        np.matmul(rows(work.hidden[:-1]).T, rows(d_x), out=gradients[f"{self.prefix}/w_h"])
        return d_x, RNNState(d_before)
