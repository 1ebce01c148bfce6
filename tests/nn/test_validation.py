"""Every method rejects invalid arguments with an error that names the fault, with both kernels."""

import importlib.util
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.nn.model import CharRNN, one_hot
from charrnn.nn.parallel import Team
from charrnn.nn.state import map_state
from charrnn.nn.validation import check_ids
from charrnn.randomness import generator

T, B, V, H = 4, 3, 5, 6

BAD_IDS = {
    "too large": (np.full((T, B), 200, np.uint8), "id 200 is out of range for a vocabulary of 5 characters"),
    "one too large": (np.full((T, B), V), "id 5 is out of range for a vocabulary of 5 characters"),
    "negative": (np.full((T, B), -1), "id -1 is out of range for a vocabulary of 5 characters"),
    "huge": (np.full((T, B), 2**64 - 1, np.uint64), f"id {2**64 - 1} is out of range"),
    "floats": (np.zeros((T, B)), "ids must be integers, not float64"),
    "bool": (np.zeros((T, B), bool), "ids must be integers, not bool"),
    "one dimension": (np.zeros(T, int), r"ids must have the shape \(T, B\), not \(4,\)"),
    "no steps": (np.zeros((0, B), int), r"the window is empty: its shape is \(0, 3\)"),
    "no streams": (np.zeros((T, 0), int), r"the window is empty: its shape is \(4, 0\)"),
}


def a_model(cell="lstm", dtype=np.float32, **settings):
    return CharRNN(ModelConfig(cell, hidden_size=H, layers=2, **settings), V, generator(1, "weights"), dtype)


def valid(model):
    """Return valid arguments of a window."""
    ids = generator(2, "check").integers(V, size=(T + 1, B))
    return {"inputs": ids[:-1], "targets": ids[1:], "state": model.initial_state(B)}


METHODS = ["forward", "losses", "loss_and_gradients", "window", "team"]


def call(model, method, **arguments):
    if method == "team":
        return Team(model, 2).loss_and_gradients(**arguments)
    if method == "forward":
        del arguments["targets"]
    return getattr(model, method)(**arguments)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kernels", ["reference", pytest.param("compiled", marks=pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed"))])
@pytest.mark.parametrize("fault", BAD_IDS)
def test_rejects_invalid_ids(method, kernels, fault, monkeypatch):
    monkeypatch.setenv("CHARRNN_KERNELS", kernels)
    ids, message = BAD_IDS[fault]
    for embedding_size in (0, 3):
        model = a_model(embedding_size=embedding_size)
        with pytest.raises(ValueError, match=f"inputs: {message}"):
            call(model, method, **valid(model) | {"inputs": ids})
        if method != "forward":
            with pytest.raises(ValueError, match=f"targets: {message}"):
                call(model, method, **valid(model) | {"targets": ids})


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("method", METHODS)
def test_rejects_an_invalid_state(cell, method):
    model = a_model(cell)
    arguments = valid(model)
    for state, message in [
        (model.initial_state(B + 1), r"state: hidden of layer 0 must have the shape \(3, 6\), not \(4, 6\)"),
        (model.initial_state(1), r"must have the shape \(3, 6\), not \(1, 6\)"),
        (model.initial_state(B)[:1], "state: has 1 layer, but the model has 2"),
        (map_state(lambda array: array[:, :-1], model.initial_state(B)), r"not \(3, 5\)"),
        (map_state(lambda array: array.astype(str), model.initial_state(B)), "must contain numbers"),
        (tuple(tuple(layer) for layer in model.initial_state(B)), "state: layer 0 must be of type .*State, not tuple"),
    ]:
        with pytest.raises(ValueError, match=message):
            call(model, method, **arguments | {"state": state})


@pytest.mark.parametrize("method", METHODS)
def test_rejects_an_invalid_reset(method):
    model = a_model()
    for reset, message in [(np.zeros((T, B), int), "reset: must be bool, not int64"),
                           (np.zeros((T, B + 1), bool), r"reset: must have the shape \(4, 3\), not \(4, 4\)"),
                           (np.zeros((B, T), bool), r"not \(3, 4\)"), (np.zeros(T, bool), r"not \(4,\)")]:
        with pytest.raises(ValueError, match=message):
            call(model, method, **valid(model) | {"reset": reset})


@pytest.mark.parametrize("method", METHODS)
def test_rejects_invalid_one_hot_rows(method):
    model = a_model()
    for inputs, message in [(np.zeros((T, B, V + 1)), "inputs: one-hot rows have a length of 6, .* 5 characters"),
                            (np.zeros((0, B, V)), "inputs: the window is empty"),
                            (np.zeros((T, B, V), str), "inputs: one-hot rows must be numbers"),
                            (np.zeros((T, B, V, 1)), "inputs: ids must be integers")]:
        with pytest.raises(ValueError, match=message):
            call(model, method, **valid(model) | {"inputs": inputs})


@pytest.mark.parametrize("method", ["losses", "loss_and_gradients", "window", "team"])
def test_rejects_targets_of_another_shape(method):
    model = a_model()
    arguments = valid(model)
    for targets in (arguments["targets"][1:], arguments["targets"][:, 1:]):
        with pytest.raises(ValueError, match=r"targets: shape .* does not match inputs of shape"):
            call(model, method, **arguments | {"targets": targets})


def test_rejects_invalid_masks():
    model = a_model()
    mask, weight_mask = np.ones((T, B, H)), np.ones((H, 4 * H))
    for name, wrong in [("masks", [mask]), ("masks", [mask, mask[1:]]), ("masks", [mask, mask[:, 1:]]),
                        ("weight_masks", [weight_mask]), ("weight_masks", [weight_mask, weight_mask.T])]:
        with pytest.raises(ValueError, match=f"^{name}: "):
            model.window(**valid(model), **{name: wrong})
    with pytest.raises(ValueError, match=r"^d_state: hidden of layer 0"):
        model.window(**valid(model), d_state=model.initial_state(1))


@pytest.mark.parametrize("embedding_size", [0, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_converts_arguments_of_another_float_dtype(cell, embedding_size):
    """Compiled kernels read only float32."""
    model = a_model(cell, embedding_size=embedding_size)
    arguments, ones = valid(model), [np.ones(model.parameters["layer0/w_h"].shape)] * 2
    usual = model.window(**arguments)
    loss, flat = usual.loss, usual.gradients.flat.copy()
    wide = map_state(lambda array: array.astype(np.float64), arguments["state"])
    other = model.window(one_hot(arguments["inputs"], V, np.float64), arguments["targets"], wide,
                         [np.ones((T, B, H))] * 2, ones, wide)
    assert other.loss == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(other.gradients.flat, flat, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kernels", ["reference", pytest.param("compiled", marks=pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed"))])
@pytest.mark.parametrize("dtype", [">i4", ">u2", "<i8", np.int8, np.uint64])
def test_reads_ids_of_any_integer_dtype_and_byte_order(dtype, kernels, monkeypatch):
    monkeypatch.setenv("CHARRNN_KERNELS", kernels)
    model = a_model()
    arguments = valid(model)
    usual = model.window(**arguments)
    loss, flat = usual.loss, usual.gradients.flat.copy()
    converted = arguments | {name: arguments[name].astype(dtype) for name in ("inputs", "targets")}
    other = model.window(**converted)
    assert other.loss == loss
    assert np.array_equal(other.gradients.flat, flat)
    assert np.array_equal(model.losses(**converted)[0], model.losses(**arguments)[0])


def test_checks_ids_in_a_memory_map_without_a_copy(tmp_path):
    ids = np.memmap(tmp_path / "ids", np.uint16, "w+", shape=(2**20, 1))
    ids[-1] = 9
    tracemalloc.start()
    check_ids("inputs", ids, 10)
    with pytest.raises(ValueError, match="id 9 "):
        check_ids("inputs", ids, 9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**18


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")
@pytest.mark.parametrize("method", ["losses", "loss_and_gradients", "window"])
def test_an_id_out_of_range_does_not_crash_the_process(method):
    program = f"""
import numpy as np
from charrnn import CharRNN, ModelConfig
model = CharRNN(ModelConfig(hidden_size=8), 5, np.random.default_rng(1))
for targets in (np.full((4, 3), 10**12), np.full((4, 3), -10**12), np.full((4, 3), 200, np.uint8)):
    for inputs, targets in ((np.zeros((4, 3), int), targets), (targets, np.zeros((4, 3), int))):
        try:
            model.{method}(inputs, targets, model.initial_state(3))
        except ValueError as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env={**os.environ, "CHARRNN_KERNELS": "compiled"})
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert done.stdout.splitlines()[-2] == "targets: id 200 is out of range for a vocabulary of 5 characters"
