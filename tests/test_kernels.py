"""The reference against definitions, the compiled kernels against the reference, and the choice between them."""

import importlib.util

import numpy as np
import pytest

from charrnn import kernels
from charrnn.cells import CELLS
from charrnn.config import ModelConfig
from charrnn.errors import CharRNNError
from charrnn.kernels import reference
from charrnn.model import CharRNN
from charrnn.randomness import generator

compiled = pytest.importorskip("charrnn.kernels.compiled") if importlib.util.find_spec("numba") else None
needs_numba = pytest.mark.skipif(compiled is None, reason="numba is not installed (pip install '.[fast]')")
both = pytest.mark.parametrize("kind", [reference, pytest.param(compiled, marks=needs_numba)],
                               ids=["reference", "compiled"])

B, H = 5, 37  # odd, so that vector loops have a rest


@both
@pytest.mark.parametrize("size", [3, 256, 257, 5000])
def test_rows_are_summed_by_id(kind, size):
    rng = np.random.default_rng(1)
    ids, rows = rng.integers(size, size=400), rng.standard_normal((400, 6)).astype(np.float32)
    total = rng.standard_normal((size, 6)).astype(np.float32)
    expected = total.astype(np.float64)
    np.add.at(expected, ids, rows)
    kind.add_rows(total, ids.astype(np.uint16), rows)
    np.testing.assert_allclose(total, expected, atol=1e-4)


@both
def test_cross_entropy_and_its_gradient(kind):
    rng = np.random.default_rng(2)
    logits, targets = 5 * rng.standard_normal((9, 70)).astype(np.float32), rng.integers(70, size=9)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    work = logits.copy()
    losses = kind.softmax_cross_entropy(work, targets, 0.5)
    np.testing.assert_allclose(losses, -np.log(p[np.arange(9), targets]), rtol=1e-5)
    np.testing.assert_allclose(work, 0.5 * (p - np.eye(70)[targets]), atol=1e-6)
    np.testing.assert_allclose(kind.softmax_cross_entropy(logits.copy(), targets), losses)


@both
def test_cross_entropy_neither_overflows_nor_loses_what_is_unlikely(kind):
    logits = np.array([[1e4, 0, -1e4]], np.float32)
    assert kind.softmax_cross_entropy(logits.copy(), np.array([2]))[0] == pytest.approx(2e4)
    assert kind.softmax_cross_entropy(logits.copy(), np.array([0]))[0] == 0


@both
def test_a_number_that_is_none_is_not_hidden(kind):
    logits = np.zeros((2, 8), np.float32)
    logits[1, 3] = np.nan
    with np.errstate(invalid="ignore"):
        assert np.isnan(kind.softmax_cross_entropy(logits, np.zeros(2, int))).tolist() == [False, True]
        hidden = np.zeros((1, 4), np.float32)
        kind.rnn_forward(np.array([[0, np.nan, 1, 2]], np.float32), np.zeros((1, 4), np.float32), hidden)
    assert np.isnan(hidden).tolist() == [[False, True, False, False]]


SHAPES = {  # what each kernel takes, in gates; the arrays that hold its result
    "rnn_forward": ((1, 1, 1), (2,)), "rnn_backward": ((1, 1, 1), (2,)),
    "lstm_forward": ((4, 4, 1, 1, 1, 1), (0, 3, 4, 5)), "lstm_backward": ((1, 1, 1, 1, 4), (1, 4)),
    "gru_forward": ((3, 3, 0, 1, 1, 1), (0, 4, 5)), "gru_backward": ((1, 1, 1, 3, 3), (0, 2, 3, 4)),
}


@needs_numba
@pytest.mark.parametrize("scale", [0.1, 3, 50])
@pytest.mark.parametrize("name", SHAPES)
def test_compiled_kernels_give_what_the_reference_gives(name, scale):
    gates, results = SHAPES[name]
    rng = np.random.default_rng(3)
    arrays = [scale * rng.standard_normal((B, n * H) if n else H).astype(np.float32) for n in gates]
    if name.endswith("backward"):  # activations lie between -1 and 1
        arrays = [np.tanh(array) for array in arrays]
    ours, theirs = [array.copy() for array in arrays], [array.copy() for array in arrays]
    getattr(compiled, name)(*ours)
    getattr(reference, name)(*theirs)
    for k in results:
        np.testing.assert_allclose(ours[k], theirs[k], rtol=1e-5, atol=1e-6 * max(1, scale), err_msg=f"argument {k}")


@needs_numba
@pytest.mark.parametrize("embedding_size", [0, 6])
@pytest.mark.parametrize("cell", CELLS)
def test_a_window_is_the_same_with_both(cell, embedding_size, monkeypatch):
    model = CharRNN(ModelConfig(cell, hidden_size=H, layers=2, embedding_size=embedding_size), 65, generator(1, "weights"))
    ids = generator(2, "check").integers(65, size=(31, B))
    results = []
    for kind in ("reference", "compiled"):
        monkeypatch.setenv("CHARRNN_KERNELS", kind)
        loss, gradients, state = model.loss_and_gradients(ids[:-1], ids[1:], model.initial_state(B))
        results.append((loss, gradients.flat.copy(), np.concatenate([array for layer in state for array in layer])))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for one, other in zip(results[0][1:], results[1][1:]):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)


def test_float64_runs_the_reference(monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    assert kernels.choose(np.float64) is reference


def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv("CHARRNN_KERNELS", "reference")
    assert kernels.choose(np.float32) is reference
    assert kernels.described(np.float32) == "reference"
    monkeypatch.setenv("CHARRNN_KERNELS", "fortran")
    with pytest.raises(CharRNNError, match="must be reference or compiled"):
        kernels.choose(np.float32)


@needs_numba
def test_compiled_kernels_are_chosen_where_they_can_be(monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    assert kernels.choose(np.float32) is compiled
    assert kernels.described(np.float32).startswith("compiled, numba ")


def test_without_numba_the_reference_runs_and_compiled_is_refused(monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert kernels.choose(np.float32) is reference
    monkeypatch.setenv("CHARRNN_KERNELS", "compiled")
    with pytest.raises(CharRNNError, match="fast"):
        kernels.choose(np.float32)
