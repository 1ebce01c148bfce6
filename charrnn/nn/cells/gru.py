"""The gated recurrent unit (GRU), in the form of cuDNN and torch.nn.GRU.

Equations::

    r, z = sigmoid(x W_x + h W_h + b)
    n    = tanh(x W_n + b_n + r (h U_n + b_h))
    h'   = (1 - z) n + z h

where x is the input, h the hidden state, h' the hidden state after the step, and r, z, n the reset gate, the update gate
and the candidate. Each gate has its own block of columns in W_x, W_h and b, in this order; W_n and b_n are the blocks n
of W_x and b, and U_n is the block n of W_h. The reset gate multiplies h U_n + b_h; in the original paper it multiplies h.

Shapes: x (B, D); h and each gate (B, H); W_x (D, 3H); W_h (H, 3H); b (3H,); b_h (H,).

Initialization: matrices U(+-1/sqrt(H)), as in PyTorch; rows of W_x that ids select N(0, 1); biases 0.

Reference: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
Translation".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from charrnn.nn.cells.cell import Cell, Work
from charrnn.nn.projection import rows


class GRUState(NamedTuple):
    """The state after a step."""

    hidden: np.ndarray  # (B, H), also the output


class GRUWork(Work):
    """The buffers of a window."""

    def __init__(self, seq_len: int, batch_size: int, hidden_size: int, dtype: Any) -> None:
        super().__init__(seq_len, batch_size, hidden_size, dtype)
        self.memory = np.empty_like(self.hidden[1:])  # (T, B, H): h U_n + b_h, then its gradient


class GRU(Cell):
    """r, z = sigmoid(x W_x + h W_h + b);  n = tanh(x W_n + b_n + r (h U_n + b_h));  h' = (1 - z) n + z h"""

    LEARNING_RATE_FACTOR = 0.5
    GATES = "rzn"
    State = GRUState
    Work = GRUWork

    def __init__(self, parameters: Mapping[str, np.ndarray], prefix: str) -> None:
        super().__init__(parameters, prefix)
        self.b_h = self.parameters["b_h"]

    @classmethod
    def shapes(cls, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of a layer's parameters: those of every cell, and ``b_h`` (H,)."""
        return {**super().shapes(input_size, hidden_size), "b_h": (hidden_size,)}

    def forward(self, x: np.ndarray, state: GRUState, work: GRUWork) -> GRUState:
        work.x = x
        work.hidden[0] = state.hidden
        work.w_h = self.weights(work)
        work.kernels.gru_forward(x, work.pack(work.w_h), self.b_h, work.hidden, work.memory, work.reset)
        return GRUState(work.hidden[-1].copy())

    def activations(self, work: GRUWork) -> dict[str, np.ndarray]:
        return {**super().activations(work), **self._gates(work)}

    def backward(self, d_hidden: np.ndarray, d_state: GRUState, work: GRUWork, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, GRUState]:
        d_x = work.x
        d_memory = work.memory
        d_before = d_state.hidden.copy()
        work.kernels.gru_backward(d_hidden, d_before, work.pack(work.w_h.T), work.hidden, d_memory, d_x, work.reset)
        # Blocks r and z of w_h get the gradient of x; block n gets the gradient of the memory, which r multiplies.
        before = work.before().T
        size = len(self.w_h)
        d_w_h = gradients[f"{self.prefix}/w_h"]
        work.matmul(before, rows(d_x)[:, :2 * size], d_w_h[:, :2 * size])
        work.matmul(before, rows(d_memory), d_w_h[:, 2 * size:])
        np.sum(rows(d_memory), axis=0, out=gradients[f"{self.prefix}/b_h"])
        return d_x, GRUState(d_before)
