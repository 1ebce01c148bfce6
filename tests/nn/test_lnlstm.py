"""The LSTM with layer normalization and coupled gates: its equations, what normalization implies, and special sizes."""

from __future__ import annotations

import numpy as np
import pytest
import test_activations
from test_kernels import compiled

from charrnn.config import ModelConfig
from charrnn.nn.model import CharRNN
from charrnn.nn.state import map_state

T, B, V = test_activations.T, test_activations.B, test_activations.V
KERNELS = [("float64", "reference"), ("float32", "reference"),
           pytest.param("float32", "compiled", marks=pytest.mark.skipif(compiled is None, reason="numba is not installed"))]

all_kernels = pytest.mark.parametrize(("dtype", "kernels"), KERNELS)


@pytest.fixture(autouse=True)
def _no_preference(monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)


def a_model(dtype="float64", kernels="reference", hidden_size=test_activations.H, scale=1.0, **settings):
    """Return a model of which all parameters are random, with the standard deviation ``scale``."""
    rng = np.random.default_rng(1)
    model = CharRNN(ModelConfig("lnlstm", hidden_size, **settings), V, rng, dtype)
    model.kernels = kernels
    model.parameters.flat[...] = scale * rng.standard_normal(model.parameters.flat.shape)
    return model


def a_text(length=T):
    ids = np.random.default_rng(2).integers(V, size=(length + 1, B))
    return ids[:-1], ids[1:]


def a_state(model):
    """Return a state that a model can have: its numbers are between -1 and 1."""
    rng = np.random.default_rng(3)
    return map_state(lambda array: rng.uniform(-1, 1, array.shape).astype(array.dtype), model.initial_state(B))


def of_gate(model, layer, gate):
    """Return views of the columns of ``w_x`` and ``w_h`` that belong to a gate: "f", "o" or "g"."""
    matrices = [model.parameters[f"layer{layer}/{name}"] for name in ("w_x", "w_h")]
    return [np.split(matrix, 3, axis=1)["fog".index(gate)] for matrix in matrices]


# Equations

@all_kernels
@pytest.mark.parametrize("settings", [{}, {"layers": 2}, {"layers": 2, "embedding_size": 4}], ids=str)
def test_outputs_states_and_loss_agree_with_the_equations(settings, dtype, kernels):
    model, (inputs, targets) = a_model(dtype, kernels, **settings), a_text()
    state, reset = a_state(model), np.random.default_rng(4).random((T, B)) < 0.3
    layers = test_activations.by_steps(model, inputs, state, reset)
    logits = layers[-1]["hidden"] @ model.parameters["output/w"].astype(float) + model.parameters["output/b"]
    nats = np.log(np.exp(logits).sum(axis=-1)) - np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    found, last = model.forward(inputs, state, reset)
    np.testing.assert_allclose(found, logits, atol=tolerance)
    for layer, layer_last in zip(layers, last):
        for name, array in layer_last._asdict().items():
            np.testing.assert_allclose(array, layer[name][-1], atol=tolerance)
    np.testing.assert_allclose(model.losses(inputs, targets, state, reset)[0], nats, atol=tolerance)
    assert model.loss_and_gradients(inputs, targets, state, reset=reset)[0] == pytest.approx(nats.mean(), rel=tolerance)


@all_kernels
def test_the_normalized_arguments_have_mean_0_and_variance_1(dtype, kernels):
    model = a_model(dtype, kernels, hidden_size=50, scale=2)
    model.parameters["layer0/gain"][...] = 0.5
    model.parameters["layer0/b"][...] = 0.25
    (layer,), _ = model.activations(a_text()[0], a_state(model))
    for gate in "fog":
        value = layer[gate].astype(float)
        normal = (np.arctanh(value) if gate == "g" else np.log(value / (1 - value))) * 2 - 0.5
        np.testing.assert_allclose(normal.mean(axis=-1), 0, atol=1e-4)
        np.testing.assert_allclose(normal.var(axis=-1), 1, atol=1e-3)
    normal = np.arctanh(layer["hidden"].astype(float) / layer["o"]) * 2 - 0.5
    np.testing.assert_allclose(normal.mean(axis=-1), 0, atol=1e-4)
    np.testing.assert_allclose(normal.var(axis=-1), 1, atol=1e-3)


# What does not change the output

@all_kernels
@pytest.mark.parametrize("gate", list("fog"))
@pytest.mark.parametrize("matrix", [0, 1], ids=["w_x", "w_h"])
def test_a_constant_added_to_all_units_of_a_gate_changes_nothing(matrix, gate, dtype, kernels):
    model, (inputs, targets) = a_model(dtype, kernels, layers=2), a_text()
    before, _ = model.losses(inputs, targets, a_state(model))
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    for layer in range(2):
        columns = of_gate(model, layer, gate)[matrix]
        columns += np.random.default_rng(5).standard_normal((len(columns), 1)).astype(dtype)
    after, _ = model.losses(inputs, targets, a_state(model))
    np.testing.assert_allclose(after, before, atol=tolerance)
    of_gate(model, 0, gate)[matrix][:, 0] += 1  # of one unit
    assert np.abs(model.losses(inputs, targets, a_state(model))[0] - before).max() > 10 * tolerance


@all_kernels
@pytest.mark.parametrize("gate", list("fog"))
def test_the_scale_of_the_weights_of_a_gate_changes_nothing(gate, dtype, kernels):
    """The epsilon in the denominator has little effect if the variance is large."""
    model, (inputs, targets) = a_model(dtype, kernels, layers=2, scale=3), a_text()
    before, _ = model.losses(inputs, targets, a_state(model))
    for layer in range(2):
        for columns, factor in zip(of_gate(model, layer, gate), (16, 16)):
            columns *= factor
    after, _ = model.losses(inputs, targets, a_state(model))
    np.testing.assert_allclose(after, before, atol=1e-3)
    of_gate(model, 0, gate)[0][...] /= 16  # w_x alone
    assert np.abs(model.losses(inputs, targets, a_state(model))[0] - before).max() > 1e-2


@all_kernels
def test_the_gradient_has_no_part_in_directions_that_change_nothing(dtype, kernels):
    """These are equal changes of all units of a gate and, except for the epsilon, changes of the scale of its weights."""
    model, (inputs, targets) = a_model(dtype, kernels, hidden_size=16, layers=2), a_text()
    gradients = model.window(inputs, targets, a_state(model)).gradients
    tolerance = 1e-10 if dtype == "float64" else 1e-5
    for layer in range(2):
        for k, gate in enumerate("fog"):
            along = length = 0.0
            for weights, name in zip(of_gate(model, layer, gate), ("w_x", "w_h")):
                d = np.split(gradients[f"layer{layer}/{name}"], 3, axis=1)[k].astype(float)
                assert np.abs(d).max() > 1e-3
                np.testing.assert_allclose(d.sum(axis=1), 0, atol=tolerance)
                along += float(np.sum(d * weights))
                length += float(np.sum(np.abs(d * weights)))
            assert abs(along) < 1e-4 * length


# The cell state

@all_kernels
def test_the_cell_state_stays_between_minus_1_and_1(dtype, kernels):
    model = a_model(dtype, kernels, hidden_size=24, layers=2, scale=30)
    layers, after = model.activations(a_text(200)[0], a_state(model))
    most = 1 if kernels == "reference" else 1 + 1e-6  # the compiled functions round differently
    for layer, last in zip(layers, after):
        assert np.abs(layer["cell"]).max() <= most
        assert np.abs(last.cell).max() <= most
        assert np.abs(layer["cell"]).max() > 0.99
        assert np.abs(layer["hidden"]).max() <= most


@all_kernels
def test_the_cell_state_is_a_mean_of_the_one_before_and_the_candidate(dtype, kernels):
    model = a_model(dtype, kernels)
    state = a_state(model)
    (layer,), _ = model.activations(a_text()[0], state)
    before = np.concatenate([state[0].cell[None], layer["cell"][:-1]])
    margin = 0 if dtype == "float64" else 1e-6
    assert (layer["cell"] >= np.minimum(before, layer["g"]) - margin).all()
    assert (layer["cell"] <= np.maximum(before, layer["g"]) + margin).all()


# Special sizes and weights

@all_kernels
def test_the_normalized_value_of_one_unit_is_0(dtype, kernels):
    """Then the text has no effect, and all gates are constant."""
    model, (inputs, targets) = a_model(dtype, kernels, hidden_size=1), a_text()
    state = a_state(model)
    b_f, b_o, b_g, b_c = model.parameters["layer0/b"].astype(float)
    (layer,), _ = model.activations(inputs, state)
    f, g = 1 / (1 + np.exp(-b_f)), np.tanh(b_g)
    cell = g + f ** np.arange(1, T + 1)[:, None] * (state[0].cell[:, 0].astype(float) - g)
    np.testing.assert_allclose(layer["cell"][..., 0], cell, atol=1e-6)
    np.testing.assert_allclose(layer["hidden"], np.tanh(b_c) / (1 + np.exp(-b_o)), atol=1e-6)
    window = model.window(inputs, targets, state)
    assert np.isfinite(window.loss)
    assert np.isfinite(window.gradients.flat).all()
    for name in ("w_x", "w_h", "gain"):
        assert not window.gradients[f"layer0/{name}"].any()
    assert window.gradients["layer0/b"][[1, 3]].all()  # o and c; the cell state has no effect on the output


@all_kernels
def test_weights_of_zero_give_finite_gradients(dtype, kernels):
    """The variance is 0, and the largest factor of the normalization is 1 / sqrt(1e-5)."""
    model, (inputs, targets) = a_model(dtype, kernels, layers=2), a_text()
    model.parameters.flat[...] = 0
    for k in range(2):
        model.parameters[f"layer{k}/gain"][...] = 1
    window = model.window(inputs, targets, model.initial_state(B))
    assert window.loss == pytest.approx(np.log(V))
    assert np.isfinite(window.gradients.flat).all()
    assert not model.forward(inputs, model.initial_state(B))[0].any()


@all_kernels
def test_a_small_variance_is_not_scaled_to_1(dtype, kernels):
    """The epsilon 1e-5 is added to the variance: with a variance of 3e-5, the normalized values have the variance 3/4."""
    model = a_model(dtype, kernels, hidden_size=2)
    model.parameters.flat[...] = 0
    model.parameters["layer0/gain"][...] = 1
    for columns in of_gate(model, 0, "f")[:1]:
        columns[:, 0], columns[:, 1] = 3e-5**0.5, -(3e-5**0.5)
    (layer,), _ = model.activations(a_text()[0], model.initial_state(B))
    f = layer["f"].astype(float)
    np.testing.assert_allclose(np.log(f / (1 - f)), np.tile([0.75**0.5, -(0.75**0.5)], (T, B, 1)), rtol=1e-5)


@all_kernels
def test_numbers_far_from_0_are_normalized_accurately(dtype, kernels):
    """The variance is the mean of squared differences to the mean, not a difference of large squares."""
    model, (inputs, _) = a_model(dtype, kernels), a_text()
    for matrix in of_gate(model, 0, "g"):
        matrix[...] = np.round(64 * matrix) / 64  # so that adding 1024 is exact
    model.parameters["layer0/w_h"][...] = 0
    before, _ = model.forward(inputs, model.initial_state(B))
    of_gate(model, 0, "g")[0][...] += 1024
    np.testing.assert_allclose(model.forward(inputs, model.initial_state(B))[0], before, atol=1e-3)


def test_training_lowers_the_loss():
    model, (inputs, targets) = CharRNN(ModelConfig("lnlstm", 12, 2), V, np.random.default_rng(1)), a_text(12)
    losses = []
    for _ in range(60):
        loss, gradients, _ = model.loss_and_gradients(inputs, targets, model.initial_state(B))
        model.parameters.flat -= 1.0 * gradients.flat
        losses.append(loss)
    assert losses[0] == pytest.approx(np.log(V), abs=0.3)
    assert losses[-1] < 0.5 * losses[0]
