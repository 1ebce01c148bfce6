import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.inference.evaluation import Evaluation, evaluate, stream_count
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Team

V = 7
CELLS = ["rnn", "lstm", "gru"]


def model_of(cell="lstm", dtype=np.float64, layers=1, hidden_size=5, **settings_):
    return CharRNN(ModelConfig(cell, hidden_size, layers, **settings_), V, np.random.default_rng(4), dtype)


def text(length, seed=1):
    return np.random.default_rng(seed).integers(V, size=length).astype(np.uint8)


def losses(model, ids):
    """The loss of each character of ``ids`` but the first, read in one call from a zero state."""
    logits, _ = model.forward(ids[:-1, None], model.initial_state(1))
    logits = logits[:, 0]
    return [math.log(sum(math.exp(x) for x in row)) - row[target] for row, target in zip(logits.tolist(), ids[1:].tolist())]


def losses_in_streams(model, ids, streams, starts=()):
    """The same, with ``streams`` streams of equal length that start from zero, as at ``starts``; the last goes on to the
    end."""
    length = (len(ids) - 1) // streams
    bounds = sorted({*(length * k for k in range(streams)), *starts} - {len(ids) - 1}) + [len(ids) - 1]
    return [loss for first, last in pairwise(bounds) for loss in losses(model, ids[first:last + 1])]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("length", [2, 3, 128, 129, 130, 257, 500])
def test_one_stream_is_the_mean_loss_of_the_whole_text(cell, length):
    model, ids = model_of(cell), text(length)
    result = evaluate(model, ids, streams=1)
    assert result.nats == pytest.approx(np.mean(losses(model, ids)), rel=1e-12)
    assert result.characters == length - 1


def test_one_stream_is_the_mean_loss_with_layers_and_embedding():
    model, ids = model_of("gru", layers=2, embedding_size=3), text(300)
    assert evaluate(model, ids, streams=1).nats == pytest.approx(np.mean(losses(model, ids)), rel=1e-12)


@settings(max_examples=40)
@given(st.integers(2, 400), st.integers(1, 40))
@example(41, 8)  # divides
@example(42, 8)  # one character is left
@example(48, 8)  # all but one are left
@example(300, 37)  # more than one group of streams
def test_every_character_counts_once_whatever_the_length(length, streams):
    model, ids = model_of(hidden_size=3), text(length)
    result = evaluate(model, ids, streams=streams)
    expected = losses_in_streams(model, ids, min(streams, length - 1))
    assert len(expected) == result.characters == length - 1
    assert result.nats == pytest.approx(np.mean(expected), rel=1e-12)


@settings(max_examples=40)
@given(st.integers(2, 400), st.integers(1, 40), st.sets(st.integers(0, 399)))
@example(400, 1, {0, 5, 6, 127, 128, 129, 398, 399})
@example(300, 37, {8, 100, 101, 296, 298})  # more than one group of streams; some in what is left over
def test_every_document_is_read_from_zero(length, streams, starts):
    model, ids, starts = model_of(hidden_size=3), text(length), sorted(start for start in starts if start < length)
    result = evaluate(model, ids, streams=streams, starts=np.array(starts, np.int64))
    expected = losses_in_streams(model, ids, min(streams, length - 1), starts)
    assert len(expected) == result.characters == length - 1
    assert result.nats == pytest.approx(np.mean(expected), rel=1e-12)


def test_the_last_character_counts():
    model, ids = model_of(), text(1000)
    figures = {evaluate(model, np.append(ids[:-1], last).astype(np.uint8), streams=7).nats for last in range(V)}
    assert len(figures) == V


@pytest.mark.parametrize("length", [2, 50, 131])
def test_a_model_that_knows_nothing_needs_log_v_nats(length):
    result = evaluate(CharRNN(ModelConfig(hidden_size=3), V), text(length))
    assert result.nats == pytest.approx(math.log(V), rel=1e-6)
    assert result.perplexity == pytest.approx(V, rel=1e-6)


@pytest.mark.parametrize("streams", [1, 16, 17, 40])
@pytest.mark.parametrize("starts", [None, np.arange(3, 6007, 11)], ids=["one", "documents"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_does_not_change_a_bit(streams, dtype, starts):
    model, ids = model_of(dtype=dtype, hidden_size=12), text(6007)
    figures = {evaluate(model, ids, streams=streams, team=team, starts=starts)
               for team in (None, Team(model, 1), Team(model, 2), Team(model, 3))}
    assert len(figures) == 1


@pytest.mark.parametrize(("characters", "streams"), [
    (1, 1), (3_999, 1), (4_000, 1), (7_999, 1), (8_000, 2), (12_000, 3), (255_999, 63), (256_000, 64), (10**9, 64)])
def test_there_are_as_many_streams_as_leave_each_four_thousand_characters(characters, streams):
    assert stream_count(characters) == streams


@pytest.mark.parametrize(("length", "streams"), [(8_000, 1), (8_001, 2)])
def test_the_rule_is_the_default(length, streams):
    model, ids = model_of(hidden_size=2), text(length)
    assert evaluate(model, ids) == evaluate(model, ids, streams=streams) != evaluate(model, ids, streams=3 - streams)


def test_nothing_of_the_model_changes():
    model, ids = model_of(layers=2, dropout=0.5), text(300)
    before = model.parameters.flat.copy()
    first = evaluate(model, ids)
    assert evaluate(model, ids) == first
    assert np.array_equal(model.parameters.flat, before)


@pytest.mark.parametrize("length", [0, 1])
def test_one_character_leaves_nothing_to_predict(length):
    with pytest.raises(ValueError, match="two characters"):
        evaluate(model_of(), text(length))


@pytest.mark.parametrize("streams", [0, -1, -100])
def test_a_number_of_streams_below_one_is_refused_by_name(streams):
    with pytest.raises(ConfigError, match="streams"):
        evaluate(model_of(), text(100), streams=streams)


def test_the_line_has_nats_bits_and_perplexity():
    line = Evaluation(1.5108, 1000).line("validation")
    assert line == "validation 1.5108 nats/char  2.180 bits/char  perplexity 4.53"
    assert Evaluation(0.0, 1).line("text") == "text 0.0000 nats/char  0.000 bits/char  perplexity 1.00"


def test_bits_and_perplexity_follow_from_nats():
    result = Evaluation(3 * math.log(2), 10)
    assert result.bits == pytest.approx(3)
    assert result.perplexity == pytest.approx(8)


def test_a_hopeless_model_has_a_line_too():
    assert Evaluation(1e6, 1).line("test").startswith("test 1000000.0000 nats/char")
