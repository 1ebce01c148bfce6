"""What the three cells have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from charrnn.nn.kernels import reference


class Cell(ABC):
    """One recurrent layer: its weights are views of the model's parameters, and it remembers nothing else.

    ``prefix`` is the layer's name, such as ``"layer0"``. What a cell needs between forward and backward lies in its
    ``Work``, which the caller owns.
    """

    GATES: ClassVar[str]
    """The order of the blocks in the G*H columns of the weights, a letter each."""

    State: ClassVar[Any]
    """A NamedTuple of arrays (B, H), the hidden state first."""

    Work: ClassVar[Any]
    """The buffers of one window: ``Work(seq_len, batch_size, hidden_size, dtype)``."""

    def __init__(self, parameters: Mapping[str, np.ndarray], prefix: str) -> None:
        self.prefix = prefix
        self.w_h = parameters[f"{prefix}/w_h"]

    @classmethod
    def shapes(cls, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of a layer's parameters."""
        columns = len(cls.GATES) * hidden_size
        return {"w_x": (input_size, columns), "w_h": (hidden_size, columns), "b": (columns,)}

    def initial_state(self, batch_size: int) -> Any:
        """Zeros, (B, H) each."""
        return self.State(*(np.zeros((batch_size, len(self.w_h)), self.w_h.dtype) for _ in self.State._fields))

    def weights(self, work: Any) -> np.ndarray:
        """``w_h`` (H, G*H), without what the window drops."""
        return self.w_h if work.weight_mask is None else self.w_h * work.weight_mask

    @abstractmethod
    def forward(self, x: np.ndarray, state: Any, work: Any) -> Any:
        """Unroll over ``x`` (T, B, G*H), the projected inputs, from ``state``; fill ``work``; return the last state.

        ``x`` is taken over: it becomes the activations of the gates. ``work.hidden[1:]`` (T, B, H) is the output.
        """

    @abstractmethod
    def backward(self, d_hidden: np.ndarray, d_state: Any, work: Any, gradients: Mapping[str, np.ndarray]
                 ) -> tuple[np.ndarray, Any]:
        """Take ``d_hidden`` (T, B, H), which is overwritten, and ``d_state``, the gradient of the last state, back
        through the window in ``work``; write the layer's recurrent gradients into ``gradients``.

        Returns d_x (T, B, G*H), in the place of x, and the gradient of the state the window began with.
        """


class Work:
    """What every cell needs for a window: buffers, where hidden[t] is the state before step t and hidden[t + 1] after it,
    the kernels, by what the recurrent weights are multiplied, (H, G*H), where some are dropped, and the product.

    Where ``fresh`` (T, B) is true, a stream starts a document: step t begins with zeros, and not with hidden[t].
    """

    def __init__(self, seq_len: int, batch_size: int, hidden_size: int, dtype: Any) -> None:
        self.x: np.ndarray
        self.kernels: ModuleType = reference
        self.weight_mask: np.ndarray | None = None
        self.w_h: np.ndarray
        self.fresh = np.zeros((seq_len, batch_size), bool)
        self.hidden = np.empty((seq_len + 1, batch_size, hidden_size), dtype)

    def before(self) -> np.ndarray:
        """The hidden states with which the steps began, (T*B, H)."""
        return rows(reference.carried(self.hidden[:-1], self.fresh))


def rows(array: np.ndarray) -> np.ndarray:
    """(T, B, N) as (T*B, N)."""
    return array.reshape(-1, array.shape[-1])
