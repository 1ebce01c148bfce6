from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.nn.model import one_hot
from charrnn.nn.state import next_epoch
from charrnn.text.split import Part
from charrnn.text.windows import Windows

PROPERTY = settings(max_examples=100)


class Layer(NamedTuple):
    hidden: np.ndarray
    cell: np.ndarray


@st.composite
def all_windows(draw):
    """Draw a text in which every id is its own index, and its windows, of which there is at least one."""
    seq_len = draw(st.integers(1, 17))
    ids = np.arange(draw(st.integers(seq_len + 1, 400)), dtype=np.uint16)
    return ids, Windows(Part(ids), draw(st.integers(1, 9)), seq_len)


@PROPERTY
@given(all_windows())
def test_every_target_is_the_next_input(case):
    _, windows = case
    for inputs, targets in windows:
        assert np.array_equal(targets, inputs + 1)
        assert np.array_equal(targets[:-1], inputs[1:])


@PROPERTY
@given(all_windows())
def test_every_stream_continues_where_its_last_window_ended(case):
    _, windows = case
    for window in range(windows.per_epoch - 1):
        (_, before), (after, _) = windows[window], windows[window + 1]
        assert np.array_equal(before[-1], after[0])


@PROPERTY
@given(all_windows())
def test_every_stream_ends_where_the_next_begins(case):
    _, windows = case
    (first, _), (_, last) = windows[0], windows[windows.per_epoch - 1]
    assert first[0, 0] == 0
    assert np.array_equal(last[-1, :-1], first[0, 1:])


@PROPERTY
@given(all_windows())
def test_an_epoch_reads_the_text_once_without_the_tail(case):
    ids, windows = case
    read = np.concatenate([inputs for inputs, _ in windows]).T.reshape(-1)
    assert np.array_equal(read, ids[:len(read)])
    assert len(read) == windows.batch_size * windows.per_epoch * windows.seq_len
    assert 0 <= len(ids) - 1 - len(read) < windows.batch_size * windows.seq_len


@PROPERTY
@given(all_windows())
def test_windows_are_views_of_seq_len_and_batch_size(case):
    ids, windows = case
    for part in windows[windows.per_epoch - 1]:
        assert part.shape == (windows.seq_len, windows.batch_size)
        assert np.shares_memory(part, ids)
        assert part.dtype == ids.dtype


@PROPERTY
@given(all_windows())
def test_a_window_after_the_last_is_out_of_range(case):
    _, windows = case
    assert len(list(windows)) == windows.per_epoch >= 1
    for window in (-1, windows.per_epoch):
        with pytest.raises(IndexError):
            windows[window]


@PROPERTY
@given(all_windows(), st.integers(0, 10**9))
def test_the_position_after_a_step_is_its_epoch_and_window(case, step):
    _, windows = case
    epoch, window = windows.position(step)
    assert epoch * windows.per_epoch + window == step
    assert 0 <= window < windows.per_epoch


@PROPERTY
@given(st.integers(1, 17), st.integers(1, 9), st.integers(1, 300))
def test_the_batch_shrinks_until_each_stream_has_a_window(seq_len, batch_size, more):
    ids = np.zeros(seq_len + more, np.uint8)
    windows = Windows(Part(ids), batch_size, seq_len)
    fitting = (len(ids) - 1) // seq_len
    assert windows.batch_size == min(batch_size, fitting)
    assert windows.seq_len == seq_len


@PROPERTY
@given(st.integers(1, 2000), st.integers(1, 9))
def test_a_text_that_is_too_short_is_refused_with_the_minimum_length(seq_len, batch_size):
    assert Windows(Part(np.zeros(seq_len + 1, np.uint8)), batch_size, seq_len).batch_size == 1
    with pytest.raises(ConfigError) as caught:
        Windows(Part(np.zeros(seq_len, np.uint8)), batch_size, seq_len)
    assert caught.value.field == "seq_len"
    assert f"at least {seq_len + 1:,} characters" in str(caught.value)
    assert f"has {seq_len:,};" in str(caught.value)


@PROPERTY
@given(st.integers(1, 17), st.integers(1, 9), st.integers(1, 300), st.data())
def test_the_state_is_reset_if_an_input_starts_a_document(seq_len, batch_size, more, data):
    ids = np.arange(seq_len + more, dtype=np.uint16)
    starts = np.array(sorted(data.draw(st.sets(st.integers(0, len(ids) - 1)))), np.int64)
    windows = Windows(Part(ids, starts), batch_size, seq_len)
    for window, (inputs, _) in enumerate(windows):
        expected, reset = np.isin(inputs, starts), windows.resets(window)
        if not expected.any():
            assert reset is None
        else:
            assert reset.dtype == bool
            assert np.array_equal(reset, expected)


def test_without_documents_nothing_is_reset():
    windows = Windows(Part(np.zeros(100, np.uint8)), 3, 8)
    assert all(windows.resets(window) is None for window in range(windows.per_epoch))
    for window in (-1, windows.per_epoch):
        with pytest.raises(IndexError):
            windows.resets(window)


def test_starts_may_be_a_memory_map(tmp_path):
    path = tmp_path / "starts"
    np.arange(0, 3000, 3, np.int64).tofile(path)
    windows = Windows(Part(np.zeros(3000, np.uint8), np.memmap(path, np.int64, "r")), 4, 7)
    first = np.arange(4) * windows.per_epoch * 7 + 5 * 7
    assert np.array_equal(windows.resets(5), (first + np.arange(7)[:, None]) % 3 == 0)


def test_an_empty_text_is_too_short():
    with pytest.raises(ConfigError, match="has 0;"):
        Windows(Part(np.zeros(0, np.uint8)), 3, 1)


@PROPERTY
@given(all_windows())
def test_in_the_next_epoch_every_state_continues_with_its_text(case):
    _, windows = case
    expected = np.array(windows[windows.per_epoch - 1][1][-1:].T, np.float64)  # the state is the id that is read next
    ((after, _),) = next_epoch((Layer(expected, expected),))
    assert np.array_equal(after[:, 0], windows[0][0][0])


@PROPERTY
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.randoms(use_true_random=False))
def test_one_hot_is_one_at_the_id_and_zero_elsewhere(vocabulary_size, seq_len, batch_size, random):
    ids = np.array([[random.randrange(vocabulary_size) for _ in range(batch_size)] for _ in range(seq_len)], np.uint8)
    rows = one_hot(ids, vocabulary_size)
    assert rows.shape == (seq_len, batch_size, vocabulary_size)
    assert rows.dtype == np.float32
    for place in np.ndindex(*rows.shape):
        assert rows[place] == (ids[place[:2]] == place[2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_hot_times_a_matrix_selects_its_rows(dtype):
    matrix = np.random.default_rng(1).standard_normal((5, 3)).astype(dtype)
    ids = np.array([[4, 0], [1, 1], [3, 2]])
    product = one_hot(ids, 5, dtype) @ matrix
    assert product.dtype == dtype
    assert np.array_equal(product, matrix[ids])


def test_one_hot_refuses_an_id_outside_the_vocabulary():
    with pytest.raises(ValueError, match="id 3 is out of range"):
        one_hot(np.array([[0, 3]]), 3)
