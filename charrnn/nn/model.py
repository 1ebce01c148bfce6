"""CharRNN: stacked recurrent layers and an output layer; loss and gradients of one window.

Legend of all shapes: T time steps, B batch (parallel streams), V vocabulary, E embedding, D input of a layer,
H hidden units, G gates, L layers. Arrays are time-major: inputs and targets (T, B) of ids, hidden states (T, B, H),
logits (T, B, V).

A document may start anywhere in a window: if ``reset[t, b]`` is true, the state of stream b is set to zero before step t.
If ``reset`` is None, no state is set to zero.

A window of ``loss_and_gradients`` needs memory for this many numbers, in addition to the parameters::

    T B (L (G + S) H + H) + min(T B, max(2^21 / V, H)) V + P + G H^2

where S is the number of additional arrays (T, B, H) of a cell (lnlstm 6, LSTM 2, GRU 2, RNN 1), and P the number of
parameters. These are the buffers of the layers with the gradient of the hidden states, a block of logits, the gradients,
and a copy of w_h in the order that a kernel needs. An embedding adds 2 T B E, dropout 2 T B L H, and a second layer T B H.
For an LSTM of one layer with H = 512, V = 65, B = 32 and T = 64:
2048 (6 * 512 + 512) + 2048 * 65 + 1,217,089 + 4 * 512^2 = 9.7 million numbers, which in float32 are 39 MB (measured:
39.0 MB with compiled kernels, 39.5 MB with the reference).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import ModelConfig, check_range
from charrnn.errors import check_type
from charrnn.nn.buffers import Buffers
from charrnn.nn.cells import CELLS
from charrnn.nn.kernels import has_bfloat16, kernels_for, kernels_name, reference
from charrnn.nn.output import OutputLayer
from charrnn.nn.parameters import Parameters
from charrnn.nn.projection import project, project_back
from charrnn.nn.state import State, map_state
from charrnn.nn.validation import check_ids, check_inputs, check_masks, check_reset, check_state, check_targets


class Window(NamedTuple):
    """The results of one window.

    ``loss`` is in nats per character, ``state`` is the last state, and ``d_state`` is the gradient of the first state.
    """

    loss: float
    gradients: Parameters
    state: State
    d_state: State


class CharRNN:
    """A character-level recurrent language model.

    It keeps no state between windows: the caller passes the state in and gets the next state back. ``parameters`` contains
    the weights by name; writing into an array takes effect at once. With ``rng``, the initial weights are drawn; without it
    they are zero, to be loaded later. ``dtype`` is float32 or float64.

    ``kernels`` is the name of the kernels to use, or None for those that ``kernels_name`` chooses. With
    ``bfloat16``, ``loss_and_gradients`` multiplies in bfloat16 if this machine supports it.

    Buffers are kept between calls, so two threads must not use the same model (see ``replica``). Methods that read a window
    raise ValueError if an argument is invalid, or TypeError if it is not an array. The constructor raises ConfigError,
    ValueError or TypeError if an argument is invalid.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, rng: np.random.Generator | None = None,
                 dtype: Any = np.float32) -> None:
        check_type("config", config, ModelConfig)
        if rng is not None:
            check_type("rng", rng, np.random.Generator)
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"dtype must be float32 or float64, not {np.dtype(dtype)}")
        check_range("vocabulary_size", vocabulary_size, int, least=1)
        config = config.for_vocabulary(vocabulary_size)
        shapes = parameter_shapes(config, vocabulary_size)
        self._set_up(config, vocabulary_size, Parameters(shapes, dtype))
        if rng is not None:
            self._draw_weights(rng)

    def _set_up(self, config: ModelConfig, vocabulary_size: int, parameters: Parameters) -> None:
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.parameters = parameters
        self._cells = [CELLS[config.cell](parameters, f"layer{k}") for k in range(config.layers)]
        self._output = OutputLayer(parameters)
        self._embedding = parameters.get("embedding/w")
        self._buffers: Buffers | None = None
        self._gradients: Parameters | None = None
        self.kernels: str | None = None
        self.bfloat16 = False

    def _draw_weights(self, rng: np.random.Generator) -> None:
        """Draw the initial weights in the order of the parameters; those of an embedding from N(0, 1)."""
        if self._embedding is not None:
            self._embedding[...] = rng.standard_normal(self._embedding.shape)
        for k, cell in enumerate(self._cells):
            cell.draw_weights(rng, selected=k == 0 and self._embedding is None)
        self._output.draw_weights(rng)

    def __reduce__(self) -> Any:
        """Pickle the parameters, without buffers."""
        return _restored, (self.config, self.vocabulary_size, self.parameters.flat)

    def replica(self) -> CharRNN:
        """Return a model for another thread: it shares the parameters of this one, and has its own buffers."""
        twin = CharRNN.__new__(CharRNN)
        twin._set_up(self.config, self.vocabulary_size, self.parameters)
        twin.kernels, twin.bfloat16 = self.kernels, self.bfloat16
        return twin

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the parameters, and of all computations."""
        return self.parameters.flat.dtype

    def initial_state(self, batch_size: int) -> State:
        """Return the state at the start of a text: zeros, (B, H) each. Raises ConfigError unless ``batch_size`` >= 1."""
        check_range("batch_size", batch_size, int, least=1)
        return tuple(cell.initial_state(batch_size) for cell in self._cells)

    def forward(self, inputs: np.ndarray, state: State, reset: np.ndarray | None = None) -> tuple[np.ndarray, State]:
        """Return the logits (T, B, V) and the last state for ``inputs``: ids (T, B), or one-hot rows (T, B, V)."""
        self._check_reading(inputs, state, reset)
        hidden, state = self._unroll(inputs, state, reference, reset=reset)
        return self._output.logits(hidden), state

    def losses(self, inputs: np.ndarray, targets: np.ndarray, state: State, reset: np.ndarray | None = None
               ) -> tuple[np.ndarray, State]:
        """Return the loss of each character in nats, (T, B), and the last state, without dropout."""
        self.check(inputs, targets, state, reset)
        kernels = kernels_for(self.dtype, self.kernels)
        inputs, targets = _native(inputs), _native(targets)
        hidden, state = self._unroll(inputs, state, kernels, reset=reset)
        return self._output.losses(hidden, targets, kernels), state

    def activations(self, inputs: np.ndarray, state: State, reset: np.ndarray | None = None
                    ) -> tuple[list[dict[str, np.ndarray]], State]:
        """Return the states and gates of each layer after each step, (T, B, H) by name, and the last state.

        The names are the fields of the cell's state, "hidden" and for an lstm or lnlstm "cell", and the letters of
        the gates of all cells but rnn. ``inputs`` are those of ``forward``. The arrays are valid until the next call.
        """
        self._check_reading(inputs, state, reset)
        _, state = self._unroll(_native(inputs), state, kernels_for(self.dtype, self.kernels), reset=reset)
        works = self._buffers_for(*inputs.shape[:2]).works
        return [cell.activations(work) for cell, work in zip(self._cells, works)], state

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray, state: State,
                           masks: list[np.ndarray] | None = None, weight_masks: list[np.ndarray] | None = None,
                           reset: np.ndarray | None = None) -> tuple[float, Parameters, State]:
        """Return the loss (nats per character, averaged over the window), the gradients, and the last state.

        ``inputs`` are ids (T, B) or one-hot rows (T, B, V), ``targets`` ids (T, B). ``masks`` contains an array (T, B, H)
        for each layer, which multiplies its outputs (dropout). ``weight_masks`` contains an array (H, G*H) for each layer,
        which multiplies its ``w_h`` (weight drop). Without masks nothing is dropped. The gradients are valid until the next
        call; the state belongs to the caller.
        """
        return self.window(inputs, targets, state, masks, weight_masks, reset=reset)[:3]

    def window(self, inputs: np.ndarray, targets: np.ndarray, state: State, masks: list[np.ndarray] | None = None,
               weight_masks: list[np.ndarray] | None = None, d_state: State | None = None, characters: int | None = None,
               reset: np.ndarray | None = None) -> Window:
        """Return the results of ``loss_and_gradients`` and the gradient of the first state.

        ``d_state`` is the gradient of the last state, zero by default: truncated back-propagation stops there.
        ``characters`` is the divisor of the summed loss, T*B by default; for a part of a larger window, pass the T*B of the
        larger window.
        """
        self.check(inputs, targets, state, reset, masks, weight_masks, d_state)
        if characters is not None:
            check_range("characters", characters, int, least=1)
        return self._window(inputs, targets, state, masks, weight_masks, d_state, characters, reset)

    def _window(self, inputs: np.ndarray, targets: np.ndarray, state: State, masks: list[np.ndarray] | None = None,
                weight_masks: list[np.ndarray] | None = None, d_state: State | None = None, characters: int | None = None,
                reset: np.ndarray | None = None) -> Window:
        """Compute a window without checking the arguments: ``Team`` checks them once for all threads."""
        if self._gradients is None:
            self._gradients = self.parameters.like()
        if d_state is None:
            d_state = self.initial_state(targets.shape[1])
        gradients = self._gradients
        kernels = kernels_for(self.dtype, self.kernels)
        bfloat16 = self.bfloat16 and has_bfloat16(kernels_name(self.dtype, self.kernels))
        inputs, targets = _native(inputs), _native(targets)
        hidden, state = self._unroll(inputs, state, kernels, masks, weight_masks, reset, bfloat16)
        d_hidden = self._buffers_for(*targets.shape).d_hidden
        loss = self._output.loss_and_gradients(hidden, targets, characters or targets.size, kernels, gradients, d_hidden)
        d_state = map_state(lambda array: array.astype(self.dtype, copy=False), d_state)
        d_state = self._unroll_back(inputs, d_hidden, d_state, masks, gradients)
        for k, mask in enumerate(weight_masks or []):
            d_w_h = gradients[f"layer{k}/w_h"]
            np.multiply(d_w_h, mask, out=d_w_h)
        return Window(loss, gradients, state, d_state)

    def check(self, inputs: np.ndarray, targets: np.ndarray, state: State, reset: np.ndarray | None = None,
              masks: list[np.ndarray] | None = None, weight_masks: list[np.ndarray] | None = None,
              d_state: State | None = None) -> None:
        """Raise ValueError or TypeError if an argument of ``window`` is invalid.

        Compiled kernels do not check their arguments, and would read or write out of bounds.
        """
        config = self.config
        self._check_reading(inputs, state, reset)
        check_targets(targets, inputs, self.vocabulary_size)
        if d_state is not None:
            self._check_state("d_state", d_state, inputs.shape[1])
        if masks is not None:
            check_masks("masks", masks, (*targets.shape, config.hidden_size), config.layers)
        if weight_masks is not None:
            check_masks("weight_masks", weight_masks, self._cells[0].w_h.shape, config.layers)

    def _check_reading(self, inputs: np.ndarray, state: State, reset: np.ndarray | None) -> None:
        check_inputs(inputs, self.vocabulary_size)
        self._check_state("state", state, inputs.shape[1])
        if reset is not None:
            check_reset(reset, inputs.shape[:2])

    def _check_state(self, name: str, state: State, batch_size: int) -> None:
        cell = self._cells[0]
        shapes = cell.state_shapes(batch_size, self.config.hidden_size)
        check_state(name, state, cell.State, shapes, self.config.layers)

    def _unroll(self, inputs: np.ndarray, state: State, kernels: ModuleType, masks: list[np.ndarray] | None = None,
                weight_masks: list[np.ndarray] | None = None, reset: np.ndarray | None = None, bfloat16: bool = False
                ) -> tuple[np.ndarray, State]:
        """Return the outputs (T, B, H) of the last layer, multiplied by its mask if there is one, and the last state."""
        buffers = self._buffers_for(*inputs.shape[:2])
        below = inputs if inputs.ndim == 2 else inputs.astype(self.dtype, copy=False)
        if self._embedding is not None:
            below = project(below, self._embedding, None, buffers.embedded)
        after = []
        for k, cell in enumerate(self._cells):
            work = buffers.works[k]
            work.kernels, work.bfloat16 = kernels, bfloat16
            work.weight_mask = weight_masks[k] if weight_masks else None
            work.reset[...] = False if reset is None else reset
            after.append(cell.forward(cell.project(below, work), state[k], work))
            below = work.hidden[1:]
            if masks is not None:
                below = np.multiply(below, masks[k], out=buffers.dropped(k))
        return below, tuple(after)

    def _unroll_back(self, inputs: np.ndarray, d_hidden: np.ndarray, d_state: State, masks: list[np.ndarray] | None,
                     gradients: Parameters) -> State:
        """Propagate the gradient of the last layer's outputs to all weights; return the gradient of the first state."""
        buffers = self._buffers_for(*inputs.shape[:2])
        inputs = inputs if inputs.ndim == 2 else inputs.astype(self.dtype, copy=False)
        before = []
        d_below: np.ndarray | None = d_hidden
        for k, cell in reversed(list(enumerate(self._cells))):
            assert d_below is not None
            work = buffers.works[k]
            if masks is not None:
                np.multiply(d_below, masks[k], out=d_below)
            d_x, d_first = cell.backward(d_below, d_state[k], work, gradients)
            before.append(d_first)
            if k > 0:
                below = buffers.works[k - 1].hidden[1:] if masks is None else buffers.dropped(k - 1)
            else:
                below = inputs if self._embedding is None else buffers.embedded
            d_below = cell.project_back(below, d_x, work, gradients, k > 0 or self._embedding is not None)
        if self._embedding is not None:
            assert d_below is not None
            project_back(inputs, d_below, self._embedding, gradients["embedding/w"], buffers.works[0].kernels, False)
        return tuple(reversed(before))

    def _buffers_for(self, seq_len: int, batch_size: int) -> Buffers:
        if self._buffers is None or self._buffers.shape != (seq_len, batch_size):
            self._buffers = None  # free the old buffers before allocating new ones
            self._buffers = Buffers(self._cells, self.config, seq_len, batch_size, self.dtype)
        return self._buffers


def _native(array: np.ndarray) -> np.ndarray:
    """Return ``array`` as compiled kernels need it: in native byte order, and not as a subclass of ndarray."""
    return np.asarray(array, array.dtype.newbyteorder("="))


def _restored(config: ModelConfig, vocabulary_size: int, flat: np.ndarray) -> CharRNN:
    model = CharRNN(config, vocabulary_size, dtype=flat.dtype)
    model.parameters.flat[...] = flat
    return model


def parameter_shapes(config: ModelConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a model's parameters, in their order in the flat block."""
    shapes: dict[str, tuple[int, ...]] = {}
    input_size = vocabulary_size
    if config.embedding_size:
        shapes["embedding/w"] = (vocabulary_size, config.embedding_size)
        input_size = config.embedding_size
    for k in range(config.layers):
        for name, shape in CELLS[config.cell].shapes(input_size, config.hidden_size).items():
            shapes[f"layer{k}/{name}"] = shape
        input_size = config.hidden_size
    return {**shapes, **OutputLayer.shapes(config.hidden_size, vocabulary_size)}


def one_hot(ids: np.ndarray, vocabulary_size: int, dtype: Any = np.float32) -> np.ndarray:
    """Return ``ids`` (T, B) as one-hot rows (T, B, V): 1 at the id, 0 elsewhere.

    This defines what ids mean to a model. Raises ValueError if an id is invalid.
    """
    check_ids("ids", ids, vocabulary_size)
    return np.eye(vocabulary_size, dtype=dtype)[ids]
