"""Long short-term memory (LSTM) with a forget gate, as in torch.nn.LSTM.

Equations::

    i, f, o = sigmoid(x W_x + h W_h + b)
    g       = tanh(x W_x + h W_h + b)
    c'      = f c + i g
    h'      = o tanh(c')

where x is the input, h and c are the hidden and the cell state, h' and c' these states after the step, and i, f, o, g the
input gate, the forget gate, the output gate and the candidate. Each gate has its own block of columns in W_x, W_h and b,
in this order.

Shapes: x (B, D); h, c and each gate (B, H); W_x (D, 4H); W_h (H, 4H); b (4H,).

Initialization: matrices U(+-1/sqrt(H)), as in PyTorch; rows of W_x that ids select N(0, 1); biases 0, but 1 for the
forget gate (Jozefowicz, Zaremba and Sutskever 2015, "An Empirical Exploration of Recurrent Network Architectures").

Reference: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory"; the forget gate: Gers, Schmidhuber and Cummins
2000, "Learning to Forget: Continual Prediction with LSTM".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from charrnn.nn.cells.cell import Cell, Work
from charrnn.nn.projection import rows


class LSTMState(NamedTuple):
    """The state after a step."""

    hidden: np.ndarray  # (B, H), also the output
    cell: np.ndarray  # (B, H)


class LSTMWork(Work):
    """The buffers of a window."""

    def __init__(self, seq_len: int, batch_size: int, hidden_size: int, dtype: Any) -> None:
        super().__init__(seq_len, batch_size, hidden_size, dtype)
        self.cell = np.empty_like(self.hidden)  # (T + 1, B, H): [t] is c before step t


class LSTM(Cell):
    """i, f, o = sigmoid(x W_x + h W_h + b);  g = tanh(x W_x + h W_h + b);  c' = f c + i g;  h' = o tanh(c')"""

    GATES = "ifog"
    State = LSTMState
    Work = LSTMWork

    def draw_weights(self, rng: np.random.Generator, selected: bool) -> None:
        """Draw the initial weights as in ``Cell``, and set the bias of the forget gate to 1."""
        super().draw_weights(rng, selected)
        size = len(self.w_h)
        self.b[size:2 * size] = 1

    def forward(self, x: np.ndarray, state: LSTMState, work: LSTMWork) -> LSTMState:
        work.x = x
        work.hidden[0] = state.hidden
        work.cell[0] = state.cell
        work.w_h = self.weights(work)
        work.kernels.lstm_forward(x, work.pack(work.w_h), work.hidden, work.cell, work.reset)
        return LSTMState(work.hidden[-1].copy(), work.cell[-1].copy())

    def activations(self, work: LSTMWork) -> dict[str, np.ndarray]:
        return {**super().activations(work), **self._gates(work)}

    def backward(self, d_hidden: np.ndarray, d_state: LSTMState, work: LSTMWork, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, LSTMState]:
        d_x = work.x
        d_before = d_state.hidden.copy()
        d_cell = d_state.cell.copy()
        work.kernels.lstm_backward(d_hidden, d_before, d_cell, work.pack(work.w_h.T), work.cell, d_x, work.reset)
        work.matmul(work.before().T, rows(d_x), gradients[f"{self.prefix}/w_h"])
        return d_x, LSTMState(d_before, d_cell)
