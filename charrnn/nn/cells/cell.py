"""The base class of the cells.

T time steps, B batch (parallel streams), D inputs, H hidden units, G gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from charrnn.nn import projection
from charrnn.nn.kernels import reference
from charrnn.nn.projection import rows


class Cell(ABC):
    """One recurrent layer: its parameters, and how it runs over a window, forward and backward.

    A cell keeps only views of the model's parameters. ``prefix`` is the name of its layer, such as "layer0". A ``Work``,
    which the caller owns, keeps what backward needs from forward. A subclass must define ``GATES``, ``State``, ``Work``,
    ``forward`` and ``backward``; it may override everything else.
    """

    GATES: ClassVar[str]
    """One letter for each gate, in the order of the blocks in the G*H columns of the weights."""

    State: ClassVar[Any]
    """A NamedTuple of arrays (B, H), the hidden state first."""

    Work: ClassVar[Any]
    """The buffers of one window: ``Work(seq_len, batch_size, hidden_size, dtype)``."""

    LEARNING_RATE_FACTOR: ClassVar[float] = 1.0
    """The default learning rate of a run is the default of its optimizer times this factor."""

    WEIGHT_DECAY: ClassVar[float] = 0.0
    """The default weight decay of a run with Adam; the other optimizers have none by default."""

    def __init__(self, parameters: Mapping[str, np.ndarray], prefix: str) -> None:
        self.prefix = prefix
        self.parameters = {name.removeprefix(f"{prefix}/"): array for name, array in parameters.items()
                           if name.startswith(f"{prefix}/")}
        self.w_x = self.parameters["w_x"]
        self.w_h = self.parameters["w_h"]
        self.b = self.parameters["b"]

    @classmethod
    def shapes(cls, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of a layer's parameters: ``w_x`` (D, G*H), ``w_h`` (H, G*H), ``b`` (G*H,)."""
        columns = len(cls.GATES) * hidden_size
        return {"w_x": (input_size, columns), "w_h": (hidden_size, columns), "b": (columns,)}

    @classmethod
    def state_shapes(cls, batch_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the arrays of a state, (B, H) each."""
        return dict.fromkeys(cls.State._fields, (batch_size, hidden_size))

    def draw_weights(self, rng: np.random.Generator, selected: bool) -> None:
        """Draw the initial weights: U(+-1/sqrt(H)) for every matrix, as in PyTorch; the biases remain zero.

        If ``selected`` is true, the inputs are ids, which select rows of ``w_x``; then ``w_x`` is drawn from N(0, 1).
        """
        bound = len(self.w_h) ** -0.5
        for name, weights in self.parameters.items():
            if name == "w_x" and selected:
                weights[...] = rng.standard_normal(weights.shape)
            elif weights.ndim == 2:
                weights[...] = rng.uniform(-bound, bound, weights.shape)

    def initial_state(self, batch_size: int) -> Any:
        """Return the state at the start of a text: zeros."""
        shapes = self.state_shapes(batch_size, len(self.w_h))
        return self.State(*(np.zeros(shape, self.w_h.dtype) for shape in shapes.values()))

    def new_work(self, seq_len: int, batch_size: int) -> Any:
        """Return the buffers of a window of (T, B)."""
        work = self.Work(seq_len, batch_size, len(self.w_h), self.w_h.dtype)
        work.x = np.empty((seq_len, batch_size, self.w_x.shape[1]), self.w_h.dtype)
        return work

    def weights(self, work: Any) -> np.ndarray:
        """Return ``w_h`` (H, G*H), multiplied by the window's mask if there is one.

        ``backward`` writes the gradient of this product; the model multiplies it by the mask.
        """
        if work.weight_mask is None:
            return self.w_h
        return np.multiply(self.w_h, work.weight_mask, dtype=self.w_h.dtype)

    def project(self, inputs: np.ndarray, work: Any) -> np.ndarray:
        """Return x (T, B, G*H), which ``forward`` reads: ``inputs`` times ``w_x``, plus ``b``, written into ``work.x``.

        ``inputs`` are ids (T, B), one-hot rows (T, B, V), or outputs (T, B, D) of the layer below or of an embedding.
        """
        return projection.project(inputs, self.w_x, self.b, work.x, work.matmul)

    def project_back(self, inputs: np.ndarray, d_x: np.ndarray, work: Any, gradients: Mapping[str, np.ndarray],
                     needs_d_inputs: bool) -> np.ndarray | None:
        """Write the gradients of ``w_x`` and ``b``; return the gradient of ``inputs`` if it is needed, else None."""
        d_rows = rows(d_x)
        np.matmul(np.ones(len(d_rows), d_rows.dtype), d_rows, out=gradients[f"{self.prefix}/b"])
        return projection.project_back(inputs, d_x, self.w_x, gradients[f"{self.prefix}/w_x"], work.kernels,
                                       needs_d_inputs, work.matmul)

    @abstractmethod
    def forward(self, x: np.ndarray, state: Any, work: Any) -> Any:
        """Process the projected inputs ``x`` (T, B, G*H) from ``state``, fill ``work``, and return the last state.

        ``x`` may be overwritten. ``work.hidden[1:]`` (T, B, H) is the output.
        """

    def activations(self, work: Any) -> dict[str, np.ndarray]:
        """Return what ``forward`` has left in ``work`` after each step, by name: views of (T, B, H).

        These are the arrays of the state, which a ``Work`` keeps under the same names. A cell with gates adds ``_gates``.
        """
        return {name: getattr(work, name)[1:] for name in self.State._fields}

    def _gates(self, work: Any) -> dict[str, np.ndarray]:
        """Return the activations of the gates by letter, if ``forward`` has written them into ``work.x``."""
        return dict(zip(self.GATES, np.split(work.x, len(self.GATES), axis=2)))

    @abstractmethod
    def backward(self, d_hidden: np.ndarray, d_state: Any, work: Any, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, Any]:
        """Propagate the gradients of the output and of the last state back through the window in ``work``.

        ``d_hidden`` (T, B, H) may be overwritten, ``d_state`` must not be. Writes the gradients of all parameters except
        those of ``project_back`` into ``gradients``. Returns d_x (T, B, G*H), which may share the memory of x, and the
        gradient of the first state.
        """


class Work:
    """The buffers that every cell needs for a window."""

    def __init__(self, seq_len: int, batch_size: int, hidden_size: int, dtype: Any) -> None:
        self.x: np.ndarray  # (T, B, G*H): projected inputs, then activations of the gates, then the gradient of x
        self.kernels: ModuleType = reference
        self.bfloat16 = False  # whether the factors of products are rounded to bfloat16
        self.weight_mask: np.ndarray | None = None  # (H, G*H)
        self.w_h: np.ndarray  # (H, G*H): the recurrent weights, multiplied by the mask
        self.reset = np.zeros((seq_len, batch_size), bool)  # (T, B): the state is set to zero before that step
        self.hidden = np.empty((seq_len + 1, batch_size, hidden_size), dtype)  # (T + 1, B, H): [t] is before step t

    def pack(self, w: np.ndarray) -> Any:
        """Return the weights ``w`` in the form that the loops of the kernels need."""
        return self.kernels.pack(w, self.bfloat16)

    def matmul(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        """out <- a b"""
        self.kernels.matmul(a, b, out, self.bfloat16)

    def before(self) -> np.ndarray:
        """Return the hidden state before each step, (T*B, H), which is zero after a reset."""
        return rows(reference.carried(self.hidden[:-1], self.reset))
