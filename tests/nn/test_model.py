"""The whole model: one-hot rows and ids, states, dropout, and a vanilla network written out naively."""

from itertools import pairwise

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.nn.model import CharRNN, one_hot
from charrnn.nn.state import map_state
from charrnn.randomness import generator

T, B, V, H = 6, 3, 11, 5


def a_model(cell="lstm", dtype=np.float64, seed=1, **settings):
    return CharRNN(ModelConfig(cell, hidden_size=H, **settings), V, generator(seed, "weights"), dtype)


def a_text(rng, length=T):
    ids = rng.integers(V, size=(length + 1, B))
    return ids[:-1], ids[1:]


def a_state(model, rng):
    return map_state(lambda array: rng.standard_normal(array.shape).astype(array.dtype), model.initial_state(B))


def streams(state, b):
    """Return the state of stream ``b``."""
    return map_state(lambda array: array[b:b + 1], state)


def test_a_vanilla_network_agrees_with_its_equations():
    """The equations are h' = tanh(W_x[x] + h W_h + b) and the mean of -log softmax, computed one character at a time."""
    rng = np.random.default_rng(3)
    model = a_model("rnn")
    inputs, targets = a_text(rng)
    state = a_state(model, rng)
    p = {name: array.copy() for name, array in model.parameters.items()}
    d = {name: np.zeros_like(array) for name, array in p.items()}
    loss, d_first = 0.0, np.zeros((B, H))
    for b in range(B):
        hidden, d_logits = [state[0].hidden[b]], []
        for t in range(T):
            hidden.append(np.tanh(p["layer0/w_x"][inputs[t, b]] + hidden[-1] @ p["layer0/w_h"] + p["layer0/b"]))
            logits = hidden[-1] @ p["output/w"] + p["output/b"]
            probabilities = np.exp(logits) / np.exp(logits).sum()
            loss -= np.log(probabilities[targets[t, b]]) / (T * B)
            probabilities[targets[t, b]] -= 1
            d_logits.append(probabilities / (T * B))
        d_hidden = np.zeros(H)
        for t in reversed(range(T)):
            d["output/w"] += np.outer(hidden[t + 1], d_logits[t])
            d["output/b"] += d_logits[t]
            d_hidden += p["output/w"] @ d_logits[t]
            d_sum = d_hidden * (1 - hidden[t + 1] ** 2)
            d["layer0/w_x"][inputs[t, b]] += d_sum
            d["layer0/w_h"] += np.outer(hidden[t], d_sum)
            d["layer0/b"] += d_sum
            d_hidden = p["layer0/w_h"] @ d_sum
        d_first[b] = d_hidden
    window = model.window(inputs, targets, state)
    assert window.loss == pytest.approx(loss, rel=1e-12)
    for name in p:
        np.testing.assert_allclose(window.gradients[name], d[name], atol=1e-12, err_msg=name)
    np.testing.assert_allclose(window.d_state[0].hidden, d_first, atol=1e-12)


@pytest.mark.parametrize("embedding_size", [0, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_one_hot_rows_and_ids_give_the_same_result(cell, embedding_size):
    rng = np.random.default_rng(4)
    model = a_model(cell, embedding_size=embedding_size)
    inputs, targets = a_text(rng)
    loss, gradients, state = model.loss_and_gradients(inputs, targets, model.initial_state(B))
    flat = gradients.flat.copy()
    loss_2, gradients_2, state_2 = model.loss_and_gradients(one_hot(inputs, V, np.float64), targets, model.initial_state(B))
    assert loss == pytest.approx(loss_2, rel=1e-12)
    np.testing.assert_allclose(flat, gradients_2.flat, atol=1e-13)
    np.testing.assert_allclose(state[0], state_2[0], atol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_two_windows_with_carried_state_equal_one_long_window(cell):
    rng = np.random.default_rng(5)
    model = a_model(cell, layers=2)
    inputs, _ = a_text(rng, 2 * T)
    whole, last = model.forward(inputs, model.initial_state(B))
    first, state = model.forward(inputs[:T], model.initial_state(B))
    second, state = model.forward(inputs[T:], state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, atol=1e-12)
    np.testing.assert_allclose(state, last, atol=1e-12)
    assert np.abs(second - model.forward(inputs[T:], model.initial_state(B))[0]).max() > 1e-3


def documents(reset, b):
    """Return the (first, last) of each document in stream ``b``; the first may have begun before the window."""
    return pairwise(sorted({0, *np.flatnonzero(reset[:, b]), len(reset)}))


@pytest.mark.parametrize("embedding_size", [0, 4])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_each_document_in_a_window_is_read_as_if_it_were_alone(cell, layers, embedding_size):
    """Each document starts from a zero state, except if it began before the window; with dropout and weight drop."""
    rng = np.random.default_rng(11)
    model = a_model(cell, layers=layers, embedding_size=embedding_size)
    inputs, targets = a_text(rng)
    state, d_state = a_state(model, rng), a_state(model, rng)
    masks = [2.0 * (rng.random((T, B, H)) < 0.5) for _ in range(layers)]
    weight_masks = [2.0 * (rng.random(model.parameters["layer0/w_h"].shape) < 0.5) for _ in range(layers)]
    reset = np.zeros((T, B), bool)
    reset[[0, 2, 3, 5], [0, 0, 0, 1]] = True  # first, middle, adjacent, last; none in the third stream
    whole = model.window(inputs, targets, state, masks, weight_masks, d_state, reset=reset)
    gradients, d_first = whole.gradients.flat.copy(), model.initial_state(B)
    losses, sums = [], np.zeros_like(gradients)
    for b in range(B):
        for first, last in documents(reset, b):
            part = np.s_[first:last, b:b + 1]
            before = model.initial_state(1) if reset[first, b] else streams(state, b)
            window = model.window(inputs[part], targets[part], before, [mask[part] for mask in masks], weight_masks,
                                  streams(d_state, b) if last == T else None, T * B)
            losses.append(window.loss)
            sums += window.gradients.flat
            if first == 0 and not reset[0, b]:
                for layer, d_layer in zip(d_first, window.d_state):
                    for array, d in zip(layer, d_layer):
                        array[b] = d[0]
        np.testing.assert_allclose(streams(whole.state, b), window.state, atol=1e-12)
    assert whole.loss == pytest.approx(sum(losses), rel=1e-12)
    np.testing.assert_allclose(gradients, sums, atol=1e-12)
    np.testing.assert_allclose(whole.d_state, d_first, atol=1e-12)
    assert all(array[1:].all() for layer in d_first for array in layer)


@pytest.mark.parametrize("cell", CELLS)
def test_the_outputs_of_each_document_do_not_depend_on_the_others(cell):
    rng = np.random.default_rng(12)
    model, reset = a_model(cell, layers=2), rng.random((T, B)) < 0.4
    inputs, targets = a_text(rng)
    logits, _ = model.forward(inputs, model.initial_state(B), reset)
    for b in range(B):
        for first, last in documents(reset, b):
            alone, _ = model.forward(inputs[first:last, b:b + 1], model.initial_state(1))
            np.testing.assert_allclose(logits[first:last, b:b + 1], alone, atol=1e-12)
    mean = model.loss_and_gradients(inputs, targets, model.initial_state(B), reset=reset)[0]
    assert mean != pytest.approx(model.loss_and_gradients(inputs, targets, model.initial_state(B))[0])
    assert model.losses(inputs, targets, model.initial_state(B), reset)[0].sum() == pytest.approx(mean * T * B, rel=1e-12)


def test_the_loss_is_the_mean_over_all_characters_in_nats():
    rng = np.random.default_rng(6)
    model = a_model()
    inputs, targets = a_text(rng)
    logits, _ = model.forward(inputs, model.initial_state(B))
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    each = -np.log(np.take_along_axis(p, targets[..., None], axis=-1))[..., 0]
    expected = np.mean(each)
    assert model.loss_and_gradients(inputs, targets, model.initial_state(B))[0] == pytest.approx(expected)
    nats, state = model.losses(inputs, targets, model.initial_state(B))
    np.testing.assert_allclose(nats, each, rtol=1e-12)
    np.testing.assert_allclose(state, model.forward(inputs, model.initial_state(B))[1], rtol=1e-12)


def test_masks_multiply_the_outputs_of_the_layers():
    rng = np.random.default_rng(7)
    model = a_model(layers=2)
    inputs, targets = a_text(rng)
    ones = [np.ones((T, B, H))] * 2
    zeros = [np.ones((T, B, H)), np.zeros((T, B, H))]
    plain = model.loss_and_gradients(inputs, targets, model.initial_state(B))[0]
    assert model.loss_and_gradients(inputs, targets, model.initial_state(B), ones)[0] == pytest.approx(plain)
    loss, gradients, _ = model.loss_and_gradients(inputs, targets, model.initial_state(B), zeros)
    assert loss == pytest.approx(np.log(V))  # only the bias of the output layer is left, which is zero
    assert not gradients["layer1/w_h"].any()


def test_writing_into_a_parameter_takes_effect_at_once():
    model = a_model()
    inputs, _ = a_text(np.random.default_rng(8))
    before, _ = model.forward(inputs, model.initial_state(B))
    model.parameters["output/b"][3] += 1
    after, _ = model.forward(inputs, model.initial_state(B))
    np.testing.assert_allclose(after - before, np.eye(V)[3] * np.ones((T, B, 1)), atol=1e-12)


def test_the_state_belongs_to_the_caller():
    rng = np.random.default_rng(9)
    model = a_model()
    inputs, targets = a_text(rng)
    given = a_state(model, rng)
    kept = [array.copy() for array in given[0]]
    _, _, state = model.loss_and_gradients(inputs, targets, given)
    returned = [array.copy() for array in state[0]]
    model.loss_and_gradients(inputs, targets, state)
    np.testing.assert_array_equal(given[0], kept)
    np.testing.assert_array_equal(state[0], returned)


def test_blocks_of_a_large_output_layer_give_the_same_result(monkeypatch):
    rng = np.random.default_rng(10)
    model = a_model()
    inputs, targets = a_text(rng)
    loss, gradients, _ = model.loss_and_gradients(inputs, targets, model.initial_state(B))
    flat = gradients.flat.copy()
    monkeypatch.setattr("charrnn.nn.output._LOGITS_AT_ONCE", 4 * V)
    loss_2, gradients_2, _ = model.loss_and_gradients(inputs, targets, model.initial_state(B))
    assert loss_2 == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(gradients_2.flat, flat, atol=1e-13)
    nats, _ = model.losses(inputs, targets, model.initial_state(B))
    assert nats.shape == (T, B)
    assert nats.mean() == pytest.approx(loss, rel=1e-12)


def test_weights_depend_only_on_the_generator_and_are_zero_without_one():
    assert np.array_equal(a_model(seed=2).parameters.flat, a_model(seed=2).parameters.flat)
    assert not np.array_equal(a_model(seed=2).parameters.flat, a_model(seed=3).parameters.flat)
    assert not CharRNN(ModelConfig(), V).parameters.flat.any()


@pytest.mark.parametrize("embedding_size", [0, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_initial_weights_are_drawn_in_the_order_of_the_parameters(cell, embedding_size):
    """Rows that ids select are N(0, 1), other matrices U(+-1/sqrt(H)); gains are 1; biases are 0, but 1 for the LSTM's
    forget gate."""
    model = a_model(cell, layers=2, embedding_size=embedding_size)
    rng, selected = generator(1, "weights"), "embedding/w" if embedding_size else "layer0/w_x"
    for name, weights in model.parameters.items():
        expected = np.zeros(weights.shape)
        if name == selected:
            expected = rng.standard_normal(weights.shape)
        elif weights.ndim == 2:
            expected = rng.uniform(-H**-0.5, H**-0.5, weights.shape)
        elif cell == "lstm" and name in ("layer0/b", "layer1/b"):
            expected[H:2 * H] = 1
        elif name.endswith("/gain"):
            expected[...] = 1
        np.testing.assert_array_equal(weights, expected, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_few_ids_give_the_same_result_as_many(cell):
    """There can be fewer ids than characters in the vocabulary, or more."""
    rng = np.random.default_rng(13)
    model = a_model(cell)
    model.parameters["layer0/b"][...] = rng.standard_normal(model.parameters["layer0/b"].shape)
    inputs, _ = a_text(rng)
    many, _ = model.forward(inputs, model.initial_state(B))
    state = model.initial_state(B)
    for t in range(T):
        few, state = model.forward(inputs[t:t + 1], state)
        np.testing.assert_allclose(few[0], many[t], atol=1e-12)


@pytest.mark.parametrize("embedding_size", [0, 4])
def test_rejects_an_id_out_of_range(embedding_size):
    model = a_model(embedding_size=embedding_size)
    with pytest.raises(ValueError, match=f"inputs: id {V} is out of range for a vocabulary of {V} characters"):
        model.forward(np.full((T, B), V), model.initial_state(B))


def test_names_and_shapes_are_as_documented():
    shapes = {name: array.shape for name, array in a_model("gru", layers=2, embedding_size=4).parameters.items()}
    assert shapes == {
        "embedding/w": (V, 4), "layer0/w_x": (4, 3 * H), "layer0/w_h": (H, 3 * H), "layer0/b": (3 * H,),
        "layer0/b_h": (H,), "layer1/w_x": (H, 3 * H), "layer1/w_h": (H, 3 * H), "layer1/b": (3 * H,),
        "layer1/b_h": (H,), "output/w": (H, V), "output/b": (V,)}
    assert a_model("lstm").parameters["layer0/w_x"].shape == (V, 4 * H)
    assert [(name, array.shape) for name, array in a_model("lnlstm").parameters.items()] == [
        ("layer0/w_x", (V, 3 * H)), ("layer0/w_h", (H, 3 * H)), ("layer0/gain", (4 * H,)), ("layer0/b", (4 * H,)),
        ("output/w", (H, V)), ("output/b", (V,))]
