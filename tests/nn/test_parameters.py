"""charrnn.nn.parameters"""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.nn.parameters import Parameters

PROPERTY = settings(max_examples=60)
SHAPES = st.dictionaries(st.text(min_size=1, max_size=9), st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
                         max_size=6)
EXAMPLE = {"layer0/w_x": (4, 6), "layer0/b": (6,), "output/w": (3, 4)}


@PROPERTY
@given(SHAPES)
def test_the_views_are_consecutive_parts_of_the_block(shapes):
    parameters = Parameters(shapes)
    parameters.flat[...] = np.arange(parameters.flat.size)
    assert list(parameters) == list(shapes)
    assert {name: view.shape for name, view in parameters.items()} == shapes
    joined = np.concatenate([np.zeros(0), *(view.reshape(-1) for view in parameters.values())])
    assert np.array_equal(joined, np.arange(parameters.flat.size))


@PROPERTY
@given(SHAPES)
def test_writing_into_a_view_changes_the_block_and_nothing_else(shapes):
    parameters = Parameters(shapes)
    for number, view in enumerate(parameters.values(), start=1):
        view[...] = number
    for number, view in enumerate(parameters.values(), start=1):
        assert np.all(view == number)
    assert parameters.flat.sum() == sum(number * view.size for number, view in enumerate(parameters.values(), start=1))


def test_writing_into_the_block_changes_the_views():
    parameters = Parameters(EXAMPLE)
    parameters.flat += 2
    assert all(np.all(view == 2) for view in parameters.values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_new_block_is_contiguous_and_zero_in_its_dtype(dtype):
    parameters = Parameters(EXAMPLE, dtype)
    assert parameters.flat.dtype == dtype
    assert parameters.flat.shape == (24 + 6 + 12,)
    assert parameters.flat.flags["C_CONTIGUOUS"]
    assert not parameters.flat.any()
    assert all(view.flags["C_CONTIGUOUS"] and np.shares_memory(view, parameters.flat) for view in parameters.values())


def test_a_block_is_float32_by_default():
    assert Parameters(EXAMPLE).flat.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_like_returns_zeros_of_the_same_layout_in_new_memory(dtype):
    parameters = Parameters(EXAMPLE, dtype)
    parameters.flat[...] = 1
    twin = parameters.like()
    assert twin.shapes == parameters.shapes
    assert twin.flat.dtype == dtype
    assert not twin.flat.any()
    twin["layer0/b"][...] = 5
    assert np.all(parameters.flat == 1)


def test_parameters_are_a_mapping():
    parameters = Parameters(EXAMPLE)
    assert len(parameters) == 3
    assert "layer0/b" in parameters
    assert "layer1/b" not in parameters
    assert parameters.get("layer1/b") is None
    with pytest.raises(KeyError):
        parameters["layer1/b"]


def test_a_view_cannot_be_replaced_by_an_array():
    parameters = Parameters(EXAMPLE)
    with pytest.raises(TypeError):
        parameters["layer0/b"] = np.zeros(6)


def test_later_changes_of_the_shapes_have_no_effect():
    shapes = dict(EXAMPLE)
    parameters = Parameters(shapes)
    shapes["more"] = (2,)
    assert parameters.like().shapes == EXAMPLE


def test_a_block_may_be_empty():
    assert Parameters({}).flat.shape == (0,)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda parameters: pickle.loads(pickle.dumps(parameters))],
                         ids=["copy", "deepcopy", "pickle"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_views_of_a_copy_belong_to_its_block(copied, dtype):
    parameters = Parameters(EXAMPLE, dtype)
    parameters.flat[...] = np.arange(42)
    twin = copied(parameters)
    assert twin.shapes == EXAMPLE
    assert twin.flat.dtype == dtype
    assert np.array_equal(twin.flat, parameters.flat)
    twin["output/w"][...] = -1
    assert (twin.flat[-12:] == -1).all()
    assert np.array_equal(parameters.flat, np.arange(42))
