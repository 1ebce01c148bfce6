"""CharRNN.activations, compared with the equations of the cells, one step at a time."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.nn.model import CharRNN, one_hot
from charrnn.nn.state import map_state

T, B, V, H = 7, 3, 9, 5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalized(a, gain, b):
    """Return gain (a - mean(a)) / sqrt(var(a) + 1e-5) + b for each row of a (B, H)."""
    return np.stack([gain * (row - row.mean()) / np.sqrt(row.var() + 1e-5) + b for row in a])


def lnlstm_step(p, x, h, c):
    """Return the activations of one step of an LSTM with layer normalization and coupled gates, by name."""
    f, o, g, normal_c = zip(np.split(p["gain"], 4), np.split(p["b"], 4))
    a = dict(zip("fog", np.split(x @ p["w_x"] + h @ p["w_h"], 3, axis=1)))
    f, o = sigmoid(normalized(a["f"], *f)), sigmoid(normalized(a["o"], *o))
    g = np.tanh(normalized(a["g"], *g))
    c = f * c + (1 - f) * g
    return {"hidden": o * np.tanh(normalized(c, *normal_c)), "cell": c, "f": f, "o": o, "g": g}


def step(cell, p, x, state):
    """Return the activations of one step by name: x (B, D), state (B, H) by name."""
    h = state["hidden"]
    if cell == "lnlstm":
        return lnlstm_step(p, x, h, state["cell"])
    a, u = np.split(x @ p["w_x"] + p["b"], p["b"].size // H, axis=1), np.split(h @ p["w_h"], p["b"].size // H, axis=1)
    if cell == "rnn":
        return {"hidden": np.tanh(a[0] + u[0])}
    if cell == "gru":
        r, z = sigmoid(a[0] + u[0]), sigmoid(a[1] + u[1])
        n = np.tanh(a[2] + r * (u[2] + p["b_h"]))
        return {"hidden": (1 - z) * n + z * h, "r": r, "z": z, "n": n}
    i, f, o = (sigmoid(a[k] + u[k]) for k in range(3))
    g = np.tanh(a[3] + u[3])
    c = f * state["cell"] + i * g
    return {"hidden": o * np.tanh(c), "cell": c, "i": i, "f": f, "o": o, "g": g}


def by_steps(model, inputs, state, reset):
    """Return the result of ``activations``, computed step by step in float64."""
    p = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    states = [{name: array.astype(np.float64) for name, array in layer._asdict().items()} for layer in state]
    steps = [[] for _ in states]
    for t in range(T):
        x = np.eye(V)[inputs[t]]
        x = x @ p["embedding/w"] if "embedding/w" in p else x
        for k, layer in enumerate(states):
            mine = {name.split("/")[1]: array for name, array in p.items() if name.startswith(f"layer{k}/")}
            before = {name: np.where(reset[t][:, None], 0, array) for name, array in layer.items()}
            now = step(model.config.cell, mine, x, before)
            steps[k].append(now)
            states[k] = {name: now[name] for name in layer}
            x = now["hidden"]
    return [{name: np.stack([now[name] for now in layer]) for name in layer[0]} for layer in steps]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("settings", [{}, {"layers": 3}, {"layers": 2, "embedding_size": 4}], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_they_agree_with_the_equations(cell, settings, dtype):
    rng = np.random.default_rng(5)
    model = CharRNN(ModelConfig(cell, H, **settings), V, rng, dtype)
    model.parameters.flat[...] = rng.normal(size=model.parameters.flat.size)
    inputs = rng.integers(V, size=(T, B))
    reset = rng.random((T, B)) < 0.3
    state = map_state(lambda array: rng.normal(size=array.shape).astype(dtype), model.initial_state(B))
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for mask in (reset, None):
        layers, after = model.activations(inputs, state, mask)
        expected = by_steps(model, inputs, state, np.zeros_like(reset) if mask is None else mask)
        assert [list(layer) for layer in layers] == [list(layer) for layer in expected]
        for layer, wanted, last in zip(layers, expected, after):
            for name, array in layer.items():
                np.testing.assert_allclose(array, wanted[name], rtol=0, atol=tolerance)
                assert array.shape == (T, B, H)
            for name, array in last._asdict().items():
                np.testing.assert_array_equal(array, layer[name][-1])


def test_one_hot_rows_have_the_activations_of_their_ids():
    rng = np.random.default_rng(6)
    model = CharRNN(ModelConfig("gru", H), V, rng)
    inputs = rng.integers(V, size=(T, B))
    of_ids = {name: array.copy() for name, array in model.activations(inputs, model.initial_state(B))[0][0].items()}
    of_rows = model.activations(one_hot(inputs, V), model.initial_state(B))[0][0]
    for name, array in of_ids.items():
        np.testing.assert_allclose(of_rows[name], array, atol=1e-6)


def test_invalid_arguments():
    model = CharRNN(ModelConfig("rnn", H), V)
    with pytest.raises(ValueError, match="id 9 is out of range"):
        model.activations(np.full((T, B), V), model.initial_state(B))
    with pytest.raises(ValueError, match="reset: must be bool"):
        model.activations(np.zeros((T, B), int), model.initial_state(B), np.zeros((T, B)))
