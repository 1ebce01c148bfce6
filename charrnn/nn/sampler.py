"""Sampler: generates many characters in one compiled call."""

from __future__ import annotations

import importlib

import numpy as np

from charrnn.nn.kernels import kernels_name
from charrnn.nn.model import CharRNN
from charrnn.nn.state import State

_VECTORS = {"rnn": (), "lstm": (), "lnlstm": ("gain", "b"), "gru": ("b_h",)}
"""The cells with compiled sampling functions, and the parameters that these need besides ``Weights``."""

_LARGEST_TABLE = 2**26
"""Numbers in the table of the projected inputs of all characters, above which it would need too much memory."""


class Sampler:
    """A callable: ``sampler(uniform)`` returns the next ids of B streams, (N, B), for uniform numbers (N, B).

    It starts from ``logits`` (B, V) and ``state``, and keeps its position between calls. The weights of ``model`` are
    copied, so later changes have no effect. ``top_k`` and ``top_p`` may be None. ``excluded`` is the id that is never
    drawn, or None. If a logit is NaN, the id is -1, and later ids are meaningless.
    """

    def __init__(self, model: CharRNN, logits: np.ndarray, state: State, temperature: float, top_k: int | None,
                 top_p: float | None, excluded: int | None) -> None:
        module = importlib.import_module("charrnn.nn.kernels.sampling")
        parameters, layers = model.parameters, range(model.config.layers)
        cell, vectors = model.config.cell, _VECTORS[model.config.cell]
        w_x, w_h, b = ([parameters[f"layer{k}/{name}"] for k in layers] for name in ("w_x", "w_h", "b"))
        if "b" in vectors:  # b does not belong to the projected inputs
            b = [np.zeros_like(matrix[0]) for matrix in w_h]
        table = (parameters["embedding/w"] @ w_x[0] if model.config.embedding_size else w_x[0]) + b[0]
        output, output_bias = parameters["output/w"], parameters["output/b"].copy()
        self._logits = logits.copy()
        if excluded is not None:
            output_bias[excluded] = self._logits[:, excluded] = -np.inf
        above = module.stacked(w_x[1:] or [w_h[0][:, :0]])
        weights = module.Weights(table, above, np.stack(b)[1:], module.stacked(w_h), module.pack(output),
                                 output_bias)
        size = model.vocabulary_size
        choice = module.Choice(float(temperature), min(top_k or size, size), 1.0 if top_p is None else float(top_p))
        others = [np.stack([parameters[f"layer{k}/{name}"] for k in layers]) for name in vectors]
        self._states = [np.stack(arrays) for arrays in zip(*state)]
        self._arguments = [weights, *others, choice, self._logits, *self._states]
        self._sample = getattr(module, f"sample_{cell}")
        self(np.empty((0, len(logits))))  # compiles it

    @staticmethod
    def supports(model: CharRNN) -> bool:
        """Return whether ``model`` can be sampled by compiled functions here."""
        is_small = model.vocabulary_size * model.parameters["layer0/w_h"].shape[-1] <= _LARGEST_TABLE
        return model.config.cell in _VECTORS and is_small and kernels_name(model.dtype, model.kernels) == "compiled"

    def __call__(self, uniform: np.ndarray) -> np.ndarray:
        ids = np.full(uniform.shape, -1, np.int64)
        self._sample(*self._arguments, uniform, ids)
        return ids
