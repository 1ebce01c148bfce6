"""The cells compared with PyTorch, if it has them, and sequences that are split at any step."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.nn.cells import CELLS
from charrnn.nn.model import CharRNN
from charrnn.nn.parameters import Parameters

GOLDEN = json.loads((Path(__file__).parents[1] / "support" / "golden.json").read_text())["cells"]
T, B, H = 6, 3, 4


@pytest.mark.parametrize("cell", GOLDEN)
def test_loss_gradients_and_states_equal_those_of_pytorch(cell):
    golden = GOLDEN[cell]
    ids = np.array(golden["ids"])
    model = CharRNN(ModelConfig(cell, hidden_size=4, layers=2), 7, dtype=np.float64)
    for name, array in golden["weights"].items():
        model.parameters[name][...] = array
    state = tuple(layer(*(np.array(array)[k] for array in golden["state"]))
                  for k, layer in enumerate([CELLS[cell].State] * 2))
    window = model.window(ids[:-1], ids[1:], state)
    assert window.loss == pytest.approx(golden["loss"], rel=1e-12)
    assert set(golden["gradients"]) == set(model.parameters)
    for name, expected in golden["gradients"].items():
        np.testing.assert_allclose(window.gradients[name], expected, rtol=1e-9, atol=1e-12, err_msg=name)
    for k in range(2):
        for field, (last, d_first) in enumerate(zip(golden["last"], golden["d_state"])):
            np.testing.assert_allclose(window.state[k][field], last[k], rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(window.d_state[k][field], d_first[k], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_the_gates_are_named_in_the_order_of_their_blocks(cell):
    """Opening or closing a gate by its bias has the expected effect on the output."""
    cell_class = CELLS[cell]
    parameters = Parameters({f"layer0/{name}": shape for name, shape in cell_class.shapes(2, H).items()}, np.float64)
    state = cell_class.State(*(np.full((1, H), 0.5) for _ in cell_class.State._fields))

    def after(**bias):
        x = np.zeros((1, 1, len(cell_class.GATES) * H))
        for gate, value in bias.items():
            place = (cell_class.GATES + "c").index(gate)
            # Normalization would remove it from x.
            (parameters["layer0/b"] if cell == "lnlstm" else x)[..., place * H:(place + 1) * H] = value
        work = cell_class.Work(1, 1, H, np.float64)
        return cell_class(parameters, "layer0").forward(x, state, work)

    def output(**bias):
        return after(**bias).hidden[0, 0]

    if cell == "rnn":
        assert output(h=1) == pytest.approx(np.tanh(1))
    elif cell == "lstm":
        assert output(i=-99, f=99, o=99, g=7) == pytest.approx(np.tanh(0.5))  # the cell is kept
        assert output(i=99, f=-99, o=99, g=99) == pytest.approx(np.tanh(1))  # the cell is replaced
        assert output(i=99, f=99, o=-99, g=99) == pytest.approx(0)  # nothing is output
    elif cell == "lnlstm":
        assert after(f=99, g=7, o=99, c=1).cell[0, 0] == pytest.approx(0.5)  # the cell is kept
        assert after(f=-99, g=99, o=99, c=1).cell[0, 0] == pytest.approx(1)  # the cell is replaced
        assert output(f=-99, g=99, o=99, c=1) == pytest.approx(np.tanh(1))  # the equal cells are normalized to 0
        assert output(f=-99, g=99, o=-99, c=1) == pytest.approx(0)  # nothing is output
    else:
        assert output(z=99, n=7) == pytest.approx(0.5)  # the state is kept
        assert output(z=-99, n=99, r=-99) == pytest.approx(1)  # the state is replaced


def _window(cell_class, parameters, x, state, d_hidden, d_state):
    """Run forward and backward over x; return output, last state, d_x, d_state and recurrent gradients."""
    cell, work = cell_class(parameters, "layer0"), cell_class.Work(len(x), x.shape[1], H, np.float64)
    gradients = parameters.like()
    last = cell.forward(x.copy(), state, work)
    hidden = work.hidden[1:].copy()
    d_x, d_first = cell.backward(d_hidden.copy(), d_state, work, gradients)
    return hidden, last, d_x.copy(), d_first, gradients.flat.copy()


@pytest.mark.parametrize("cell", CELLS)
@given(cut=st.integers(1, T - 1), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_a_sequence_can_be_split_at_any_step(cell, cut, seed):
    cell_class, rng = CELLS[cell], np.random.default_rng(seed)
    parameters = Parameters({f"layer0/{name}": shape for name, shape in cell_class.shapes(2, H).items()}, np.float64)
    parameters.flat[...] = rng.standard_normal(parameters.flat.shape)
    x, d_hidden = rng.standard_normal((T, B, len(cell_class.GATES) * H)), rng.standard_normal((T, B, H))
    state, d_state = (cell_class.State(*rng.standard_normal((len(cell_class.State._fields), B, H))) for _ in range(2))

    hidden, last, d_x, d_first, gradients = _window(cell_class, parameters, x, state, d_hidden, d_state)
    _, middle, _, _, _ = _window(cell_class, parameters, x[:cut], state, d_hidden[:cut], d_state)
    hidden_2, last_2, d_x_2, d_middle, gradients_2 = _window(
        cell_class, parameters, x[cut:], middle, d_hidden[cut:], d_state)
    hidden_1, _, d_x_1, d_first_1, gradients_1 = _window(cell_class, parameters, x[:cut], state, d_hidden[:cut], d_middle)

    np.testing.assert_allclose(np.concatenate([hidden_1, hidden_2]), hidden, atol=1e-12)
    np.testing.assert_allclose(np.concatenate([d_x_1, d_x_2]), d_x, atol=1e-10)
    np.testing.assert_allclose(gradients_1 + gradients_2, gradients, atol=1e-10)
    np.testing.assert_allclose(last_2, last, atol=1e-12)
    np.testing.assert_allclose(d_first_1, d_first, atol=1e-10)
