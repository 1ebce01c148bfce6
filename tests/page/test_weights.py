"""A model as data for JavaScript."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from gated import Gated
from small_models import make_model

from charrnn.errors import CharRNNError, ConfigError
from charrnn.nn.cells import register, unregister
from charrnn.page.weights import describe, to_base64


def test_the_description_of_a_model() -> None:
    model = make_model("ab\n", "gru", hidden_size=5, layers=2, embedding_size=3, min_count=2, documents="lines",
                       lowercase=True, normalize="NFKC")
    assert json.loads(json.dumps(describe(model))) == {
        "cell": "gru", "layers": 2, "hidden_size": 5, "embedding_size": 3, "vocabulary": [10, 97, 98, 0x110000],
        "unknown": 3, "start": 0, "end": 0, "level": "char", "documents": "lines", "separator": None, "normalize": "NFKC",
        "lowercase": True}
    assert describe(make_model("ab", separator="--"))["end"] == 2


def test_the_description_of_a_model_of_bytes_without_a_newline() -> None:
    found = describe(make_model("abc", level="byte"))
    assert (found["level"], found["start"], found["unknown"], found["embedding_size"]) == ("byte", 0, None, 0)


def test_rejects_a_cell_without_javascript() -> None:
    register("gated", Gated)
    try:
        with pytest.raises(CharRNNError, match=r"'gated' cannot run in a page, .*; use a model whose cell is one of "):
            describe(make_model(cell="gated"))
    finally:
        unregister("gated")


@pytest.mark.parametrize(("dtype", "stored"), [("float16", "<f2"), ("float32", "<f4")])
def test_the_weights_are_all_parameters_in_their_order(dtype: str, stored: str) -> None:
    model = make_model(layers=2, embedding_size=3)
    weights = np.frombuffer(base64.b64decode(to_base64(model, dtype)), stored)
    expected = np.concatenate([array.ravel() for array in model.network.parameters.values()])
    assert np.array_equal(weights, expected.astype(stored))


def test_weights_that_float16_cannot_hold() -> None:
    model = make_model()
    model.network.parameters.flat[7] = 70_000
    assert to_base64(model, "float32")
    with pytest.raises(ConfigError, match=r"^dtype: float16 cannot hold the weights, .*; use the dtype float32$"):
        to_base64(model)


@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_weights_that_no_dtype_can_hold(value: float) -> None:
    model = make_model()
    model.network.parameters.flat[7] = value
    for dtype in ("float16", "float32"):
        with pytest.raises(ConfigError, match=f"^dtype: {dtype} cannot hold the weights, .* not finite$"):
            to_base64(model, dtype)


def test_rejects_other_dtypes() -> None:
    with pytest.raises(ConfigError, match=r"must be one of float16, float32, not 'float64'"):
        to_base64(make_model(), "float64")
