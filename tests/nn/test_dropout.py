"""charrnn.nn.dropout"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.nn.dropout import dropout_masks, weight_masks

PROPERTY = settings(max_examples=60)


def masks(first=0, last=8, *, dropout=0.3, seed=1, step=5, seq_len=9, hidden_size=7, layers=2, dtype=np.float32):
    return dropout_masks(ModelConfig(hidden_size=hidden_size, layers=layers, dropout=dropout), seed, step, seq_len, dtype,
                         first, last)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_is_a_mask_for_each_layer(dtype):
    drawn = masks(2, 7, dtype=dtype, layers=3)
    assert [mask.shape for mask in drawn] == [(9, 5, 7)] * 3
    assert all(mask.dtype == dtype for mask in drawn)


def test_there_are_no_masks_without_dropout():
    assert masks(dropout=0.0) is None


@pytest.mark.parametrize("dropout", [0.05, 0.25, 0.5, 0.75, 0.9])
def test_kept_outputs_are_scaled_so_that_the_mean_stays_the_same(dropout):
    for mask in masks(0, 20, dropout=dropout, seq_len=50, hidden_size=50):
        kept = mask > 0
        deviation = (dropout * (1 - dropout) / mask.size) ** 0.5
        assert abs(kept.mean() - (1 - dropout)) < 4 * deviation
        assert np.allclose(mask[kept], 1 / (1 - dropout), rtol=2e-4)
        assert len(np.unique(mask)) == 2
        assert abs(mask.mean() - 1) < 5 * deviation / (1 - dropout)


def test_a_fraction_of_one_half_is_scaled_by_two_exactly():
    assert set(np.unique(masks(dropout=0.5)[0])) == {0.0, 2.0}


def test_every_element_is_dropped_with_the_same_probability():
    mask = masks(0, 2000, dropout=0.25, seq_len=3, hidden_size=7, layers=1)[0]
    kept = (mask > 0).mean(axis=1)
    assert np.all(abs(kept - 0.75) < 4.5 * (0.25 * 0.75 / 2000) ** 0.5)


def test_neighbouring_elements_are_dropped_independently():
    dropped = (masks(0, 200, dropout=0.5, seq_len=20, hidden_size=20, layers=1)[0] == 0).astype(float)
    for axis in range(3):
        one, other = np.take(dropped, range(1, 20), axis), np.take(dropped, range(19), axis)
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4.5 / one.size**0.5


@PROPERTY
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_masks_do_not_depend_on_how_the_streams_are_divided(a, b, c):
    first, middle, last = sorted((a, b, c))
    for whole, left, right in zip(masks(first, last), masks(first, middle), masks(middle, last)):
        assert np.array_equal(whole, np.concatenate((left, right), axis=1))


@PROPERTY
@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_the_same_seed_and_step_give_the_same_masks(seed, step):
    first = masks(seed=seed, step=step)
    masks(3, 5, seed=seed + 1 if seed else 2, step=step)
    assert all(map(np.array_equal, first, masks(seed=seed, step=step)))


def test_a_mask_does_not_depend_on_the_number_of_layers_above():
    assert all(map(np.array_equal, masks(layers=1), masks(layers=3)))


@pytest.mark.parametrize("other", [{"seed": 2}, {"step": 6}])
def test_another_seed_or_step_gives_other_masks(other):
    for one, two in zip(masks(), masks(**other)):
        assert not np.array_equal(one, two)


def test_every_layer_and_stream_has_its_own_mask():
    drawn = {mask[:, stream].tobytes() for mask in masks(layers=3) for stream in range(8)}
    assert len(drawn) == 3 * 8


def test_a_fraction_near_zero_drops_nothing():
    assert all(np.all(mask == 1) for mask in masks(dropout=1e-12))


@pytest.mark.parametrize("dropout", [1 - 2**-16, 1 - 1e-12])
def test_a_fraction_near_one_keeps_one_in_65536(dropout):
    (mask,) = masks(0, 16, dropout=dropout, seq_len=256, hidden_size=512, layers=1)
    assert set(np.unique(mask)) == {0, 2**16}
    assert abs(np.count_nonzero(mask) - 32) < 4 * 32**0.5


def weights(*, fraction=0.3, seed=1, step=5, cell="gru", layers=2, dtype=np.float32):
    return weight_masks(ModelConfig(cell, hidden_size=40, layers=layers, weight_drop=fraction), seed, step, dtype)


@pytest.mark.parametrize(("cell", "columns"), [("rnn", 40), ("gru", 120), ("lnlstm", 120), ("lstm", 160)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_is_a_weight_mask_for_each_layer(cell, columns, dtype):
    drawn = weights(cell=cell, dtype=dtype)
    assert [(mask.shape, mask.dtype) for mask in drawn] == [((40, columns), dtype)] * 2
    assert not np.array_equal(*drawn)


def test_there_are_no_weight_masks_without_weight_drop():
    assert weights(fraction=0.0) is None


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_kept_weights_are_scaled(fraction):
    for mask in weights(fraction=fraction):
        kept = mask > 0
        assert abs(kept.mean() - (1 - fraction)) < 4.5 * (fraction * (1 - fraction) / mask.size) ** 0.5
        assert np.allclose(mask[kept], 1 / (1 - fraction), rtol=2e-4)


@pytest.mark.parametrize("other", [{"seed": 2}, {"step": 6}])
def test_weight_masks_depend_on_the_step_and_the_seed(other):
    assert all(map(np.array_equal, weights(), weights()))
    assert not any(map(np.array_equal, weights(), weights(**other)))


def test_outputs_and_weights_use_different_random_numbers():
    (mask,) = weights(fraction=0.5, layers=1)
    (outputs,) = masks(0, 1, dropout=0.5, seq_len=40, hidden_size=120, layers=1)
    assert not np.array_equal(mask, outputs[:, 0])
