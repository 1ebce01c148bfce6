"""CharRNN: recurrent layers stacked, an output layer, loss and gradients of one window.

The legend of all shapes: T time steps, B batch (parallel streams), V vocabulary, E embedding, D input of a layer,
H hidden units, G gates, L layers. Arrays are time-major: inputs and targets (T, B) of ids, hidden states (T, B, H),
logits (T, B, V).

A document may start anywhere in a window: where ``fresh`` (T, B) is true, stream b starts one at step t, and the state
before that step is taken as zero. None stands for a window in which none starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.nn.cells.cell import rows
from charrnn.nn.kernels import choose, reference
from charrnn.nn.parameters import Parameters

State = tuple[Any, ...]
"""The hidden state of all layers: a NamedTuple of (B, H) arrays for each."""

_LOGITS_AT_ONCE = 2**21
"""The output layer works through a window in blocks of rows, with about this many logits in each, or as many as it has
weights: for a large vocabulary fewer rows would save no memory worth the name, and make its products slower."""


class Window(NamedTuple):
    """What one window gives: the loss in nats per character, the gradients, the last state, and the gradient of the
    state that the window began with."""

    loss: float
    gradients: Parameters
    state: State
    d_state: State


class CharRNN:
    """A character-level recurrent language model.

    It remembers nothing between windows: the caller hands the state in and gets the next one back. ``parameters`` are
    the weights, by name; writing into one takes effect at once. With an ``rng`` they are drawn, without they are zero,
    to be loaded. Buffers are kept between calls, so one model must not be used by two threads (see ``replica``).
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, rng: np.random.Generator | None = None,
                 dtype: Any = np.float32) -> None:
        config = config.for_vocabulary(vocabulary_size)
        shapes = parameter_shapes(config, vocabulary_size)
        self._set_up(config, vocabulary_size, Parameters(shapes, dtype))
        if rng is not None:
            self._draw(rng)

    def _set_up(self, config: ModelConfig, vocabulary_size: int, parameters: Parameters) -> None:
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.parameters = parameters
        self._cells = [CELLS[config.cell](parameters, f"layer{k}") for k in range(config.layers)]
        self._buffers: _Buffers | None = None
        self._gradients: Parameters | None = None

    def _draw(self, rng: np.random.Generator) -> None:
        """Initial weights: N(0, 1) for the rows that characters select, U(+-1/sqrt(H)) for other matrices, as
        PyTorch has it; biases are zero, but for the LSTM's forget gate 1 (Jozefowicz et al. 2015)."""
        selected = "embedding/w" if self.config.embedding_size else "layer0/w_x"
        bound = self.config.hidden_size ** -0.5
        for name, weights in self.parameters.items():
            if name == selected:
                weights[...] = rng.standard_normal(weights.shape)
            elif weights.ndim == 2:
                weights[...] = rng.uniform(-bound, bound, weights.shape)
            elif name.endswith("/b") and self.config.cell == "lstm" and name != "output/b":
                weights[self.config.hidden_size:2 * self.config.hidden_size] = 1

    def replica(self) -> CharRNN:
        """A model with the same parameters (not a copy of them) and buffers of its own, for another thread."""
        twin = CharRNN.__new__(CharRNN)
        twin._set_up(self.config, self.vocabulary_size, self.parameters)
        return twin

    @property
    def dtype(self) -> np.dtype:
        return self.parameters.flat.dtype

    def initial_state(self, batch_size: int) -> State:
        """The state at the start of a text: zeros, (B, H) each."""
        return tuple(cell.initial_state(batch_size) for cell in self._cells)

    def forward(self, inputs: np.ndarray, state: State, fresh: np.ndarray | None = None) -> tuple[np.ndarray, State]:
        """Logits (T, B, V) and the last state for ``inputs``: ids (T, B), or one-hot rows (T, B, V)."""
        hidden, state = self._unroll(inputs, state, reference, fresh=fresh)
        return hidden @ self.parameters["output/w"] + self.parameters["output/b"], state

    def loss(self, inputs: np.ndarray, targets: np.ndarray, state: State, fresh: np.ndarray | None = None
             ) -> tuple[float, State]:
        """The sum of the losses of all characters, in nats, and the last state; nothing is dropped."""
        kernels = choose(self.dtype)
        hidden, state = self._unroll(inputs, state, kernels, fresh=fresh)
        total, expected = 0.0, targets.reshape(-1)
        for part, logits in self._logits(hidden):
            total += float(kernels.softmax_cross_entropy(logits, expected[part]).sum(dtype=np.float64))
        return total, state

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray, state: State,
                           masks: list[np.ndarray] | None = None, weight_masks: list[np.ndarray] | None = None,
                           fresh: np.ndarray | None = None) -> tuple[float, Parameters, State]:
        """Loss (nats per character, averaged over the window), gradients, and the last state.

        ``inputs`` are ids (T, B) or one-hot rows (T, B, V), ``targets`` ids (T, B). ``masks``, one (T, B, H) for each
        layer, multiply the layers' outputs (dropout), ``weight_masks``, (H, G*H) each, their ``w_h``; without them
        nothing is dropped. The gradients hold until the next call; the state is the caller's own.
        """
        return self.window(inputs, targets, state, masks, weight_masks, fresh=fresh)[:3]

    def window(self, inputs: np.ndarray, targets: np.ndarray, state: State, masks: list[np.ndarray] | None = None,
               weight_masks: list[np.ndarray] | None = None, d_state: State | None = None, characters: int | None = None,
               fresh: np.ndarray | None = None) -> Window:
        """As ``loss_and_gradients``, of which this is the whole.

        ``d_state`` is the gradient of the last state, zero by default: truncated back-propagation cuts it off there.
        ``characters`` is by what the sum over the window is divided, T*B by default; a window that is a share of a
        larger one gives that one's.
        """
        if self._gradients is None:
            self._gradients = self.parameters.like()
        kernels = choose(self.dtype)
        hidden, state = self._unroll(inputs, state, kernels, masks, weight_masks, fresh)
        loss, d_hidden = self._output_loss(hidden, targets, characters or targets.size, self._gradients, kernels)
        if d_state is None:
            d_state = self.initial_state(targets.shape[1])
        d_state = self._unroll_back(inputs, d_hidden, d_state, masks, self._gradients)
        for k, mask in enumerate(weight_masks or []):
            d_w_h = self._gradients[f"layer{k}/w_h"]
            d_w_h *= mask
        return Window(loss, self._gradients, state, d_state)

    def _unroll(self, inputs: np.ndarray, state: State, kernels: ModuleType, masks: list[np.ndarray] | None = None,
                weight_masks: list[np.ndarray] | None = None, fresh: np.ndarray | None = None
                ) -> tuple[np.ndarray, State]:
        """The outputs (T, B, H) of the last layer, dropped out where there are masks, and the last state."""
        buffers = self._buffers_for(*inputs.shape[:2])
        after = []
        below = inputs
        for k, cell in enumerate(self._cells):
            x, work = self._project(below, k, buffers, kernels), buffers.cells[k]
            work.kernels, work.weight_mask = kernels, weight_masks[k] if weight_masks else None
            work.fresh[...] = False if fresh is None else fresh
            after.append(cell.forward(x, state[k], work))
            below = work.hidden[1:]
            if masks is not None:
                below = np.multiply(below, masks[k], out=buffers.dropped(k))
        return below, tuple(after)

    def _unroll_back(self, inputs: np.ndarray, d_hidden: np.ndarray, d_state: State, masks: list[np.ndarray] | None,
                     gradients: Parameters) -> State:
        """Take the gradient of the last layer's outputs back to all weights; return that of the first state."""
        buffers = self._buffers_for(*inputs.shape[:2])
        before = []
        for k, cell in reversed(list(enumerate(self._cells))):
            if masks is not None:
                d_hidden *= masks[k]
            d_x, d_first = cell.backward(d_hidden, d_state[k], buffers.cells[k], gradients)
            before.append(d_first)
            if k > 0:
                below = buffers.cells[k - 1].hidden[1:] if masks is None else buffers.dropped(k - 1)
                d_hidden = self._project_back(below, d_x, k, gradients)
            else:
                self._project_back(inputs, d_x, k, gradients)
        return tuple(reversed(before))

    def _project(self, below: np.ndarray, k: int, buffers: _Buffers, kernels: ModuleType) -> np.ndarray:
        """x (T, B, G*H) for layer k: what lies below it, times w_x, plus b.

        A one-hot row times a matrix is a row of the matrix, so ids select rows.
        """
        w_x, b, x = self.parameters[f"layer{k}/w_x"], self.parameters[f"layer{k}/b"], buffers.x[k]
        if k == 0 and self.config.embedding_size:
            below = buffers.embedded = _select(self.parameters["embedding/w"], below)
        elif k == 0 and below.ndim == 2:
            if below.max() >= len(w_x):
                raise IndexError(f"an id of {below.max()} in a vocabulary of {len(w_x)}")
            if below.size > len(w_x):  # b is added to what is less
                return np.take(w_x + b, below, axis=0, out=x, mode="clip")
            np.take(w_x, below, axis=0, out=x, mode="clip")
            x += b
            return x
        kernels.project(rows(below), w_x, rows(x))
        x += b
        return x

    def _project_back(self, below: np.ndarray, d_x: np.ndarray, k: int, gradients: Parameters) -> np.ndarray:
        """The gradients of layer k's w_x and b; returns that of ``below`` (for layer k > 0)."""
        w_x, d_w_x = self.parameters[f"layer{k}/w_x"], gradients[f"layer{k}/w_x"]
        np.matmul(np.ones(len(rows(d_x)), d_x.dtype), rows(d_x), out=gradients[f"layer{k}/b"])
        if k == 0 and not self.config.embedding_size:
            self._sum_selected(d_w_x, below, d_x)
            return d_x
        buffers = self._buffers_for(*below.shape[:2])
        source, kernels = below if k > 0 else buffers.embedded, buffers.cells[k].kernels
        kernels.weight_gradient(rows(source), rows(d_x), d_w_x)
        d_below = np.empty_like(source)
        kernels.project(rows(d_x), w_x.T, rows(d_below))
        if k == 0:
            self._sum_selected(gradients["embedding/w"], below, d_below)
        return d_below

    def _sum_selected(self, total: np.ndarray, inputs: np.ndarray, d_selected: np.ndarray) -> None:
        """The gradient of a matrix whose rows were selected: each row gets the sum over the places where it was."""
        if inputs.ndim == 2:
            total[...] = 0
            choose(self.dtype).add_rows(total, inputs.reshape(-1), rows(d_selected))
        else:
            np.matmul(rows(inputs).T, rows(d_selected), out=total)

    def _output_loss(self, hidden: np.ndarray, targets: np.ndarray, characters: int, gradients: Parameters,
                     kernels: ModuleType) -> tuple[float, np.ndarray]:
        """The loss against ``targets``, summed and divided by ``characters``, and the gradient of ``hidden``."""
        w_transposed, d_w, d_b = self.parameters["output/w"].T, gradients["output/w"], gradients["output/b"]
        d_hidden = self._buffers_for(*hidden.shape[:2]).d_hidden
        total, expected = 0.0, targets.reshape(-1)
        for part, logits in self._logits(hidden):
            losses = kernels.softmax_cross_entropy(logits, expected[part], 1 / characters)
            total += float(losses.sum(dtype=np.float64))
            if part.start == 0:
                np.matmul(rows(hidden)[part].T, logits, out=d_w)
                np.sum(logits, axis=0, out=d_b)
            else:
                d_w += rows(hidden)[part].T @ logits
                d_b += logits.sum(axis=0)
            np.matmul(logits, w_transposed, out=rows(d_hidden)[part])
        return total / characters, d_hidden

    def _logits(self, hidden: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of the rows (T*B) of ``hidden``, and their logits, which hold until the next ones are asked for."""
        count = len(rows(hidden))
        at_once = min(count, max(_LOGITS_AT_ONCE // self.vocabulary_size, self.config.hidden_size))
        room = np.empty((at_once, self.vocabulary_size), self.dtype)
        for start in range(0, count, at_once):
            part = slice(start, min(start + at_once, count))
            logits = np.matmul(rows(hidden)[part], self.parameters["output/w"], out=room[:part.stop - start])
            logits += self.parameters["output/b"]
            yield part, logits

    def _buffers_for(self, seq_len: int, batch_size: int) -> _Buffers:
        if self._buffers is None or self._buffers.shape != (seq_len, batch_size):
            self._buffers = None  # freed before the new ones are made
            self._buffers = _Buffers(self.config, seq_len, batch_size, self.dtype)
        return self._buffers


class _Buffers:
    """What a window of (T, B) needs, allocated once."""

    def __init__(self, config: ModelConfig, seq_len: int, batch_size: int, dtype: Any) -> None:
        self.shape = (seq_len, batch_size)
        cell = CELLS[config.cell]
        columns = len(cell.GATES) * config.hidden_size
        self.x = [np.empty((seq_len, batch_size, columns), dtype) for _ in range(config.layers)]
        self.cells = [cell.Work(seq_len, batch_size, config.hidden_size, dtype) for _ in range(config.layers)]
        self.d_hidden = np.empty((seq_len, batch_size, config.hidden_size), dtype)
        self.embedded: np.ndarray
        self._dropped: dict[int, np.ndarray] = {}

    def dropped(self, k: int) -> np.ndarray:
        """Room for the outputs of layer k after dropout, (T, B, H)."""
        if k not in self._dropped:
            self._dropped[k] = np.empty_like(self.cells[k].hidden[1:])
        return self._dropped[k]


def parameter_shapes(config: ModelConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a model's parameters, in the order in which they lie in its block."""
    shapes: dict[str, tuple[int, ...]] = {}
    below = vocabulary_size
    if config.embedding_size:
        shapes["embedding/w"] = (vocabulary_size, config.embedding_size)
        below = config.embedding_size
    for k in range(config.layers):
        for name, shape in CELLS[config.cell].shapes(below, config.hidden_size).items():
            shapes[f"layer{k}/{name}"] = shape
        below = config.hidden_size
    shapes["output/w"] = (config.hidden_size, vocabulary_size)
    shapes["output/b"] = (vocabulary_size,)
    return shapes


def one_hot(ids: np.ndarray, vocabulary_size: int, dtype: Any = np.float32) -> np.ndarray:
    """The definition of what a model reads: ``ids`` (T, B) as (T, B, V), 1 at the id and 0 elsewhere."""
    return np.eye(vocabulary_size, dtype=dtype)[ids]


def _select(matrix: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """``inputs`` times ``matrix``: ids (T, B) select its rows, one-hot rows (T, B, V) are multiplied with it."""
    return matrix[inputs] if inputs.ndim == 2 else inputs @ matrix
