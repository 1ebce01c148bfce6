"""The output layer: hidden states -> logits -> losses, and back.

It processes a window in blocks of rows, so that the logits of a large vocabulary need little memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType

import numpy as np

from charrnn.nn.projection import rows

_LOGITS_AT_ONCE = 2**21
"""A block has about this many logits, or as many as the layer has weights if that is more: smaller blocks would save little
memory and make the products slower."""


class OutputLayer:
    """logits = h W + b, where h is (T, B, H), W is ``output/w`` (H, V) and b is ``output/b`` (V,).

    Like a cell, it keeps only views of the model's parameters.
    """

    def __init__(self, parameters: Mapping[str, np.ndarray]) -> None:
        self.w = parameters["output/w"]
        self.b = parameters["output/b"]

    @staticmethod
    def shapes(hidden_size: int, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the parameters."""
        return {"output/w": (hidden_size, vocabulary_size), "output/b": (vocabulary_size,)}

    def draw_weights(self, rng: np.random.Generator) -> None:
        """Draw the initial weights: U(+-1/sqrt(H)) for the matrix, as in PyTorch; the bias remains zero."""
        bound = len(self.w) ** -0.5
        self.w[...] = rng.uniform(-bound, bound, self.w.shape)

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        """Return the logits (T, B, V) of ``hidden`` (T, B, H)."""
        return hidden @ self.w + self.b

    def losses(self, hidden: np.ndarray, targets: np.ndarray, kernels: ModuleType) -> np.ndarray:
        """Return the loss of each target (T, B) in nats, (T, B)."""
        nats = np.empty(targets.size, self.w.dtype)
        expected = targets.reshape(-1)
        for part, logits in self._blocks(hidden):
            nats[part] = kernels.softmax_cross_entropy(logits, expected[part])
        return nats.reshape(targets.shape)

    def loss_and_gradients(self, hidden: np.ndarray, targets: np.ndarray, characters: int, kernels: ModuleType,
                           gradients: Mapping[str, np.ndarray], d_hidden: np.ndarray) -> float:
        """Return the loss: the sum over all ``targets``, divided by ``characters``.

        Writes the gradients of the parameters into ``gradients``, and the gradient of ``hidden`` into ``d_hidden``
        (T, B, H).
        """
        w_transposed = self.w.T
        d_w = gradients["output/w"]
        d_b = gradients["output/b"]
        expected = targets.reshape(-1)
        total = 0.0
        for part, logits in self._blocks(hidden):
            losses = kernels.softmax_cross_entropy(logits, expected[part], 1 / characters)
            total += float(losses.sum(dtype=np.float64))
            if part.start == 0:
                np.matmul(rows(hidden)[part].T, logits, out=d_w)
                np.sum(logits, axis=0, out=d_b)
            else:
                d_w += rows(hidden)[part].T @ logits
                d_b += logits.sum(axis=0)
            np.matmul(logits, w_transposed, out=rows(d_hidden)[part])
        return total / characters

    def _blocks(self, hidden: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the slice of each block of the rows (T*B) of ``hidden``, and its logits, valid until the next block."""
        count = len(rows(hidden))
        hidden_size, vocabulary_size = self.w.shape
        at_once = min(count, max(_LOGITS_AT_ONCE // vocabulary_size, hidden_size))
        buffer = np.empty((at_once, vocabulary_size), self.w.dtype)
        for start in range(0, count, at_once):
            part = slice(start, min(start + at_once, count))
            logits = np.matmul(rows(hidden)[part], self.w, out=buffer[:part.stop - start])
            logits += self.b
            yield part, logits
