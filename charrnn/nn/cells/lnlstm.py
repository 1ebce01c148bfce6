"""Long short-term memory with layer normalization and coupled gates.

Equations::

    f, o = sigmoid(N(x W_x + h W_h))
    g    = tanh(N(x W_x + h W_h))
    c'   = f c + (1 - f) g
    h'   = o tanh(N(c'))

    N(a) = gain (a - mean(a)) / sqrt(var(a) + 1e-5) + b

where x is the input, h and c are the hidden and the cell state, h' and c' these states after the step, and f, o, g the
forget gate, the output gate and the candidate. Each gate has its own block of columns in W_x and W_h, in this order. N
normalizes each block, and the cell state, over its H units; each has its own block of gain and b. The input gate of an
LSTM is replaced by 1 - f, so c is a weighted mean of the candidates and the first state; if the first state is zero,
|c| <= 1.

Shapes: x (B, D); h, c and each gate (B, H); W_x (D, 3H); W_h (H, 3H); gain and b (4H,): f, o, g and c.

Initialization: matrices U(+-1/sqrt(H)), as in PyTorch; rows of W_x that ids select N(0, 1); gains 1; biases 0.

References: Ba, Kiros and Hinton 2016, "Layer Normalization"; this form, with one normalization for each gate: Ha, Dai and
Le 2016, "HyperNetworks"; coupled gates: Greff et al. 2017, "LSTM: A Search Space Odyssey", and Melis, Dyer and Blunsom
2018, "On the State of the Art of Evaluation in Neural Language Models".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from charrnn.nn import projection
from charrnn.nn.cells.cell import Cell
from charrnn.nn.cells.lstm import LSTMState, LSTMWork
from charrnn.nn.projection import rows


class LNLSTMWork(LSTMWork):
    """The buffers of a window."""

    def __init__(self, seq_len: int, batch_size: int, hidden_size: int, dtype: Any) -> None:
        super().__init__(seq_len, batch_size, hidden_size, dtype)
        self.normal = np.empty((seq_len, batch_size, 4 * hidden_size), dtype)  # (T, B, 4H): normalized f, o, g and c'
        self.scale = np.empty((seq_len, batch_size, 4), dtype)  # (T, B, 4): 1 / sqrt(var + 1e-5) of each


class LNLSTM(Cell):
    """f, o = sigmoid(N(x W_x + h W_h));  g = tanh(N(x W_x + h W_h));  c' = f c + (1 - f) g;  h' = o tanh(N(c'))"""

    LEARNING_RATE_FACTOR = 5 / 3
    WEIGHT_DECAY = 0.05
    GATES = "fog"
    State = LSTMState
    Work = LNLSTMWork

    def __init__(self, parameters: Mapping[str, np.ndarray], prefix: str) -> None:
        super().__init__(parameters, prefix)
        self.gain = self.parameters["gain"]

    @classmethod
    def shapes(cls, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of a layer's parameters: ``w_x`` and ``w_h``, then ``gain`` and ``b`` (4H,)."""
        shapes = super().shapes(input_size, hidden_size)
        return {"w_x": shapes["w_x"], "w_h": shapes["w_h"], "gain": (4 * hidden_size,), "b": (4 * hidden_size,)}

    def draw_weights(self, rng: np.random.Generator, selected: bool) -> None:
        """Draw the initial weights as in ``Cell``, and set the gains to 1."""
        super().draw_weights(rng, selected)
        self.gain[...] = 1

    def project(self, inputs: np.ndarray, work: LNLSTMWork) -> np.ndarray:
        return projection.project(inputs, self.w_x, None, work.x, work.matmul)

    def project_back(self, inputs: np.ndarray, d_x: np.ndarray, work: LNLSTMWork, gradients: Mapping[str, np.ndarray],
                     needs_d_inputs: bool) -> np.ndarray | None:
        return projection.project_back(inputs, d_x, self.w_x, gradients[f"{self.prefix}/w_x"], work.kernels,
                                       needs_d_inputs, work.matmul)

    def forward(self, x: np.ndarray, state: LSTMState, work: LNLSTMWork) -> LSTMState:
        work.x = x
        work.hidden[0] = state.hidden
        work.cell[0] = state.cell
        work.w_h = self.weights(work)
        work.kernels.lnlstm_forward(x, work.pack(work.w_h), self.gain, self.b, work.hidden, work.cell, work.normal,
                                    work.scale, work.reset)
        return LSTMState(work.hidden[-1].copy(), work.cell[-1].copy())

    def activations(self, work: LNLSTMWork) -> dict[str, np.ndarray]:
        return {**super().activations(work), **self._gates(work)}

    def backward(self, d_hidden: np.ndarray, d_state: LSTMState, work: LNLSTMWork, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, LSTMState]:
        d_x = work.x
        d_before = d_state.hidden.copy()
        d_cell = d_state.cell.copy()
        d_gain, d_b = (gradients[f"{self.prefix}/{name}"] for name in ("gain", "b"))
        work.kernels.lnlstm_backward(d_hidden, d_before, d_cell, work.pack(work.w_h.T), self.gain, self.b, d_gain, d_b,
                                     work.cell, work.normal, work.scale, d_x, work.reset)
        work.matmul(work.before().T, rows(d_x), gradients[f"{self.prefix}/w_h"])
        return d_x, LSTMState(d_before, d_cell)
