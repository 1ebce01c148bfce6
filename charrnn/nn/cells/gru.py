"""The gated recurrent unit (Cho et al. 2014), in the form of cuDNN and torch.nn.GRU: the reset gate acts upon the
product of hidden state and weights, not upon the hidden state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from charrnn.nn.cells.cell import Cell, Work, rows


class GRUState(NamedTuple):
    hidden: np.ndarray  # (B, H), also the output


class GRUWork(Work):
    def __init__(self, seq_len: int, batch_size: int, hidden_size: int, dtype: Any) -> None:
        super().__init__(seq_len, batch_size, hidden_size, dtype)
        self.memory = np.empty_like(self.hidden[1:])  # h U_n + b_h, what the reset gate lets through


class GRU(Cell):
    """r, z = sigmoid(x W_x + h W_h + b);  n = tanh(x W_n + b_n + r (h U_n + b_h));  h' = (1 - z) n + z h

    U_n is the block n of W_h, W_n and b_n are that of W_x and b.
    """

    GATES = "rzn"
    State = GRUState
    Work = GRUWork

    def __init__(self, parameters: Mapping[str, np.ndarray], prefix: str) -> None:
        super().__init__(parameters, prefix)
        self.b_h = parameters[f"{prefix}/b_h"]

    @classmethod
    def shapes(cls, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return {**super().shapes(input_size, hidden_size), "b_h": (hidden_size,)}

    def forward(self, x: np.ndarray, state: GRUState, work: GRUWork) -> GRUState:
        work.x = x
        work.hidden[0] = state.hidden
        work.w_h = self.weights(work)
        work.kernels.gru_forward(x, work.w_h, self.b_h, work.hidden, work.memory, work.fresh)
        return GRUState(work.hidden[-1].copy())

    def backward(self, d_hidden: np.ndarray, d_state: GRUState, work: GRUWork, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, GRUState]:
        d_x, d_memory, d_before = work.x, work.memory, d_state.hidden.copy()
        work.kernels.gru_backward(d_hidden, d_before, work.w_h, work.hidden, d_memory, d_x, work.fresh)
        # r and z get the same gradient from both products, n does not: there the reset gate stands in between.
        before, size = work.before().T, len(self.w_h)
        d_w_h = gradients[f"{self.prefix}/w_h"]
        np.matmul(before, rows(d_x)[:, :2 * size], out=d_w_h[:, :2 * size])
        np.matmul(before, rows(d_memory), out=d_w_h[:, 2 * size:])
        np.sum(rows(d_memory), axis=0, out=gradients[f"{self.prefix}/b_h"])
        return d_x, GRUState(d_before)
