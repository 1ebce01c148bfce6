"""Write a model for PyTorch: its weights under PyTorch's names, in one safetensors file (optional dependency ``export``).

The names are those of a ``torch.nn.Module`` with the attributes ``embedding`` (if there is one), ``rnn`` and ``output``.
docs/pytorch.md shows this module, the cell ``lnlstm``, which PyTorch does not have, and how text becomes ids.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import END
from charrnn.errors import CharRNNError, check_type
from charrnn.inference.language_model import LanguageModel
from charrnn.nn.cells import CELLS
from charrnn.storage.atomic import replace_file

FORMAT_VERSION = 1
"""The version of the names of the arrays and of the metadata in an exported file."""

METADATA_KEY = "charrnn"
"""The key of the metadata in the header of an exported file; its value is a JSON object."""

_GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": "h", "lnlstm": "fog"}
"""The order of the gates in an exported file: that of torch.nn.LSTM, GRU and RNN, according to the documentation of
PyTorch, and our own for ``lnlstm``."""


def state_dict(model: LanguageModel) -> dict[str, np.ndarray]:
    """Return copies of a model's weights under PyTorch's names and in its layout.

    For each layer k these are ``rnn.weight_ih_l{k}`` (G*H, D), ``rnn.weight_hh_l{k}`` (G*H, H), ``rnn.bias_ih_l{k}`` and
    ``rnn.bias_hh_l{k}`` (G*H,); then ``output.weight`` (V, H) and ``output.bias`` (V,), and ``embedding.weight`` (V, E) if
    the model has an embedding. PyTorch adds both biases of a layer. charrnn has only one, so ``bias_hh`` is zero, except
    the block of the candidate of a GRU, which is ``b_h``. A layer of ``lnlstm`` has ``rnn.gain_l{k}`` and ``rnn.bias_l{k}``
    (4H,) instead of the biases.

    Raises CharRNNError if the cell was added at run time, TypeError if ``model`` has the wrong type.
    """
    check_type("model", model, LanguageModel)
    config, parameters = model.network.config, model.network.parameters
    if config.cell not in _GATES:
        raise CharRNNError(f"the cell {config.cell!r} cannot be exported, because it is not part of charrnn",
                           f"export a model whose cell is one of {', '.join(_GATES)}")
    ours, theirs = CELLS[config.cell].GATES, _GATES[config.cell]
    arrays = {}
    for k in range(config.layers):
        w_x, w_h = (_reordered(parameters[f"layer{k}/{name}"], ours, theirs) for name in ("w_x", "w_h"))
        arrays[f"rnn.weight_ih_l{k}"] = w_x.T
        arrays[f"rnn.weight_hh_l{k}"] = w_h.T
        if config.cell == "lnlstm":
            arrays[f"rnn.gain_l{k}"] = parameters[f"layer{k}/gain"]
            arrays[f"rnn.bias_l{k}"] = parameters[f"layer{k}/b"]
            continue
        arrays[f"rnn.bias_ih_l{k}"] = b = _reordered(parameters[f"layer{k}/b"], ours, theirs)
        arrays[f"rnn.bias_hh_l{k}"] = b_hh = np.zeros_like(b)
        if config.cell == "gru":
            b_hh[2 * config.hidden_size:] = parameters[f"layer{k}/b_h"]
    arrays["output.weight"] = parameters["output/w"].T
    arrays["output.bias"] = parameters["output/b"]
    if config.embedding_size:
        arrays["embedding.weight"] = parameters["embedding/w"]
    return {name: np.array(array, order="C") for name, array in arrays.items()}


def metadata(model: LanguageModel) -> dict[str, Any]:
    """Return what a reader needs besides the weights, as plain values: the settings and the characters of a model.

    It contains the metadata of a model file and ``format_version``; ``characters``, a string in which the index of a
    character is its id; ``unknown``, the id of all other characters, or None; and ``start``, the id that the model reads
    before a text.
    """
    vocabulary = model.vocabulary
    return {"format_version": FORMAT_VERSION, **model.metadata(),
            "characters": "".join(vocabulary.characters[:vocabulary.unknown]), "unknown": vocabulary.unknown,
            "start": vocabulary.start}


def export(model: LanguageModel, path: str | Path, overwrite: bool = False) -> None:
    """Write a model as a safetensors file. The same model gives the same bytes.

    Missing folders are created. Raises CharRNNError if safetensors is not installed, if the cell was added at run time, if
    ``path`` exists and ``overwrite`` is false, or if the file cannot be written. Then an existing file is unchanged.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise CharRNNError(f"the export needs the package safetensors, which cannot be imported ({error})",
                           "pip install '.[export]'") from error
    arrays = state_dict(model)
    if os.path.exists(path) and not os.path.isfile(path):
        raise CharRNNError(f"{path}: is not a regular file", "use the path of a file")
    if os.path.exists(path) and not overwrite:
        raise CharRNNError(f"{path}: already exists", "choose another file, or replace it with `overwrite=True`")
    has_mark = END in model.vocabulary  # UTF-8 cannot encode the end mark
    text = json.dumps(metadata(model), ensure_ascii=has_mark, sort_keys=True)
    try:
        replace_file(path, [save(arrays, {METADATA_KEY: text})], create_folder=True)
    except OSError as error:
        raise CharRNNError(f"{path}: cannot be written ({error.strerror or error})",
                           "check the folder, its permissions and the free disk space, or choose another file") from error


def _reordered(array: np.ndarray, before: str, after: str) -> np.ndarray:
    """Return an array (..., G*H) whose blocks have the order ``after`` of the gates instead of ``before``."""
    blocks = dict(zip(before, np.split(array, len(before), axis=-1)))
    return np.concatenate([blocks[gate] for gate in after], axis=-1)
