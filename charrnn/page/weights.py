"""A model as data for JavaScript: its description as JSON values, and its weights in base64.

``static/network.js`` reads both.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from charrnn.errors import CharRNNError, ConfigError
from charrnn.inference.language_model import DTYPES, LanguageModel

PARTS = {"lstm": ("hidden", "cell", *"ifog"), "lnlstm": ("hidden", "cell", *"fog"), "gru": ("hidden", *"rzn"),
         "rnn": ("hidden",)}
"""The cells that ``static/network.js`` computes, with the arrays of their state and the letters of their gates."""


def describe(model: LanguageModel) -> dict[str, Any]:
    """Return what JavaScript needs to know about a model besides its weights, as plain values.

    ``cell``, ``layers``, ``hidden_size`` and ``embedding_size`` of the network; ``vocabulary``, its code points, with the
    ids ``unknown``, ``start`` and ``end`` (of the end mark of documents, or None); ``level``, ``documents``, ``separator``,
    ``normalize`` and ``lowercase`` of the text settings. Raises CharRNNError if JavaScript has no such cell.
    """
    config, vocabulary, text = model.network.config, model.vocabulary, model.text_config
    if config.cell not in PARTS:
        raise CharRNNError(f"the cell {config.cell!r} cannot run in a page, because there is no JavaScript for it",
                           f"use a model whose cell is one of {', '.join(PARTS)}")
    return {"cell": config.cell, "layers": config.layers, "hidden_size": config.hidden_size,
            "embedding_size": config.embedding_size, "vocabulary": vocabulary.codepoints.tolist(),
            "unknown": vocabulary.unknown, "start": vocabulary.start, "end": model.separator, "level": text.level,
            "documents": text.documents, "separator": text.separator, "normalize": text.normalize,
            "lowercase": text.lowercase}


def to_base64(model: LanguageModel, dtype: str = "float16") -> str:
    """Return the weights in base64: all parameters in their order, as little-endian float16 or float32.

    Raises ConfigError if ``dtype`` is invalid or cannot hold the weights.
    """
    if dtype not in ("float16", "float32"):
        raise ConfigError("dtype", f"must be one of float16, float32, not {dtype!r}")
    flat = model.network.parameters.flat
    with np.errstate(over="ignore"):
        weights = flat.astype(DTYPES[dtype])
        fits_float32 = dtype == "float16" and bool(np.isfinite(flat.astype(np.float32)).all())
    if not np.isfinite(weights).all():
        raise ConfigError("dtype", f"{dtype} cannot hold the weights, which are too large or not finite",
                          "use the dtype float32" if fits_float32 else None)
    return base64.b64encode(weights.tobytes()).decode("ascii")
