"""charrnn.nn.state"""

from typing import NamedTuple

import numpy as np
import pytest

from charrnn.nn.state import map_state, next_epoch


class Layer(NamedTuple):
    hidden: np.ndarray
    cell: np.ndarray


class Other(NamedTuple):
    hidden: np.ndarray


def a_state():
    return Layer(np.arange(6.0).reshape(2, 3), np.ones((2, 3))), Other(-np.arange(4.0).reshape(2, 2))


def test_map_state_calls_a_function_on_each_array():
    before = a_state()
    after = map_state(lambda array: 2 * array, before)
    assert [type(layer) for layer in after] == [Layer, Other]
    assert type(after) is tuple
    np.testing.assert_array_equal(after[0].hidden, 2 * before[0].hidden)
    np.testing.assert_array_equal(after[0].cell, 2 * before[0].cell)
    np.testing.assert_array_equal(after[1].hidden, 2 * before[1].hidden)


def test_map_state_passes_matching_arrays_of_several_states_in_order():
    difference = map_state(lambda a, b, c: a - b + 0 * c, a_state(), map_state(np.ones_like, a_state()), a_state())
    for layer, expected in zip(difference, a_state(), strict=True):
        for array, original in zip(layer, expected, strict=True):
            np.testing.assert_array_equal(array, original - 1)


def test_map_state_rejects_states_of_different_depths():
    with pytest.raises(ValueError, match="zip"):
        map_state(np.add, a_state(), a_state()[:1])


def test_the_next_epoch_passes_each_state_on_to_the_next_stream():
    hidden, cell = np.arange(1.0, 13.0).reshape(4, 3), -np.arange(1.0, 13.0).reshape(4, 3)
    kept = hidden.copy()
    state = (Layer(hidden, cell), Layer(hidden + 100, cell - 100))
    rolled = next_epoch(state)
    assert [type(layer) for layer in rolled] == [Layer, Layer]
    for before, after in zip(state, rolled):
        for array, moved in zip(before, after):
            assert np.array_equal(moved[1:], array[:-1])
            assert not moved[0].any()
    assert np.array_equal(hidden, kept)
