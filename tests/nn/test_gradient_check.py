"""Every gradient equals the numeric one, and a wrong gradient is detected."""

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.nn.gradient_check import TOLERANCE, check_gradients, relative_error

SMALL = {"vocabulary_size": 4, "seq_len": 3}  # the time is proportional to the number of weights and to the steps
SIZES = {"lnlstm": 4}  # the variance of three units can be so small that the numeric gradient is inaccurate


@pytest.mark.parametrize(("layers", "dropout", "embedding_size", "weight_drop", "as_one_hot"),
                         [(1, 0, 0, 0, False), (1, 0, 0, 0, True), (2, 0.3, 0, 0, False), (2, 0.3, 0, 0, True),
                          (2, 0.3, 4, 0, False), (2, 0.3, 4, 0, True), (2, 0, 0, 0.4, False), (2, 0, 0, 0.4, True)])
@pytest.mark.parametrize("cell", CELLS)
def test_every_gradient_equals_the_numeric_one(cell, layers, dropout, embedding_size, weight_drop, as_one_hot):
    config = ModelConfig(cell, SIZES.get(cell, 3), layers, dropout, embedding_size, weight_drop)
    results = list(check_gradients(config, as_one_hot=as_one_hot, **SMALL))
    fields = len(CELLS[cell].State._fields)
    assert len(results) == layers * (3 + (cell in ("gru", "lnlstm")) + fields) + 2 + bool(embedding_size)
    for result in results:
        assert result.norm > 1e-3, f"{result.name}: nothing to compare"
        assert result.error < TOLERANCE, result


@pytest.mark.parametrize(("layers", "dropout", "weight_drop"), [(1, 0, 0), (2, 0.3, 0.4)])
@pytest.mark.parametrize("cell", CELLS)
def test_every_gradient_equals_the_numeric_one_if_documents_start(cell, layers, dropout, weight_drop):
    reset = np.zeros((4, 3), bool)
    reset[[0, 1, 2, 3], [0, 1, 1, 0]] = True
    config = ModelConfig(cell, SIZES.get(cell, 3), layers, dropout, 0, weight_drop)
    for result in check_gradients(config, reset=reset, vocabulary_size=4, seq_len=4):
        assert result.norm > 1e-3, f"{result.name}: nothing to compare"
        assert result.error < TOLERANCE, result


@pytest.mark.parametrize("name", ["layer0/w_x", "layer0/w_h", "layer0/b", "output/w", "output/b", "state/layer0/hidden"])
def test_detects_a_wrong_gradient(name, monkeypatch):
    from charrnn.nn.model import CharRNN

    right = CharRNN.window

    def wrong(self, *args, **settings):
        window = right(self, *args, **settings)
        array = window.d_state[0].hidden if name.startswith("state") else window.gradients[name]
        array.flat[0] += 1e-4
        return window

    monkeypatch.setattr(CharRNN, "window", wrong)
    assert [result.name for result in check_gradients(ModelConfig("lstm", 3), **SMALL) if not result.ok] == [name]


def test_the_error_is_relative_to_the_sum_of_both_norms():
    assert relative_error(np.array([3.0, 0]), np.array([1.0, 0])) == pytest.approx(0.5)
    assert relative_error(np.zeros(2), np.zeros(2)) == 0
