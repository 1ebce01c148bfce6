"""Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000),
as torch.nn.LSTM defines it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from charrnn.nn.cells.cell import Cell, Work, rows


class LSTMState(NamedTuple):
    hidden: np.ndarray  # (B, H), also the output
    cell: np.ndarray  # (B, H)


class LSTMWork(Work):
    def __init__(self, seq_len: int, batch_size: int, hidden_size: int, dtype: Any) -> None:
        super().__init__(seq_len, batch_size, hidden_size, dtype)
        self.cell = np.empty_like(self.hidden)


class LSTM(Cell):
    """i, f, o = sigmoid(x W_x + h W_h + b);  g = tanh(x W_x + h W_h + b);  c' = f c + i g;  h' = o tanh(c')"""

    GATES = "ifog"
    State = LSTMState
    Work = LSTMWork

    def forward(self, x: np.ndarray, state: LSTMState, work: LSTMWork) -> LSTMState:
        work.x = x
        work.hidden[0] = state.hidden
        work.cell[0] = state.cell
        work.w_h = self.weights(work)
        work.kernels.lstm_forward(x, work.w_h, work.hidden, work.cell, work.fresh)
        return LSTMState(work.hidden[-1].copy(), work.cell[-1].copy())

    def backward(self, d_hidden: np.ndarray, d_state: LSTMState, work: LSTMWork, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, LSTMState]:
        d_x, d_before, d_cell = work.x, d_state.hidden.copy(), d_state.cell.copy()
        work.kernels.lstm_backward(d_hidden, d_before, d_cell, work.w_h, work.cell, d_x, work.fresh)
        work.kernels.weight_gradient(work.before(), rows(d_x), gradients[f"{self.prefix}/w_h"])
        return d_x, LSTMState(d_before, d_cell)
