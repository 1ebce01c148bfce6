"""charrnn.inference.evaluation"""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.inference.evaluation import Evaluation, evaluate, evaluate_by_character, how_read, stream_count
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Team, Workers

V = 7
CELLS = ["rnn", "lstm", "lnlstm", "gru"]


def model_of(cell="lstm", dtype=np.float64, layers=1, hidden_size=5, **settings_):
    return CharRNN(ModelConfig(cell, hidden_size, layers, **settings_), V, np.random.default_rng(4), dtype)


def text(length, seed=1):
    return np.random.default_rng(seed).integers(V, size=length).astype(np.uint8)


def losses(model, ids):
    """Return the loss of each character of ``ids`` but the first, read in one call from a zero state."""
    logits, _ = model.forward(ids[:-1, None], model.initial_state(1))
    logits = logits[:, 0]
    return [math.log(sum(math.exp(x) for x in row)) - row[target] for row, target in zip(logits.tolist(), ids[1:].tolist())]


def losses_in_streams(model, ids, streams, starts=()):
    """Return the losses of ``ids`` in ``streams`` streams of equal length; the last continues to the end of the text.

    The state is zero at the start of each stream and at each of ``starts``.
    """
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
@example(41, 8)  # no remainder
@example(42, 8)  # a remainder of one character
@example(48, 8)  # the largest remainder
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
@example(300, 37, {8, 100, 101, 296, 298})  # more than one group of streams; some in the remainder
def test_every_document_starts_from_a_zero_state(length, streams, starts):
    model, ids, starts = model_of(hidden_size=3), text(length), sorted(start for start in starts if start < length)
    result = evaluate(model, ids, streams=streams, starts=np.array(starts, np.int64))
    expected = losses_in_streams(model, ids, min(streams, length - 1), starts)
    assert len(expected) == result.characters == length - 1
    assert result.nats == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize("arguments", [
    {}, {"streams": 3}, {"streams": 37}, {"streams": 3, "starts": np.array([7, 150])}, {"window": 8}], ids=str)
def test_the_losses_of_the_characters_add_up_to_the_evaluation(arguments):
    model, ids, read = model_of(), text(300) % (V - 2), []
    whole, table = evaluate_by_character(model, ids, progress=read.append, **arguments)
    assert whole == evaluate(model, ids, **arguments)._replace(nats=pytest.approx(whole.nats, rel=1e-12))
    assert sum(read) == whole.characters
    assert table.counts.tolist() == np.bincount(ids[1:whole.characters + 1], minlength=V).tolist()
    if "window" not in arguments:
        expected = losses_in_streams(model, ids, arguments.get("streams", 1), arguments.get("starts", ()))
        assert table.nats == pytest.approx(np.bincount(ids[1:], expected, V), rel=1e-12)
    assert table.nats.sum() / whole.characters == pytest.approx(whole.nats, rel=1e-12)


def test_the_compressed_size_is_rounded_up():
    assert Evaluation(math.log(2), 9).compressed_bytes == 2


def test_nats_per_document():
    assert Evaluation(1.5, 80, documents=10).nats_per_document == 12
    assert math.isnan(Evaluation(1.5, 80).nats_per_document)
    line = Evaluation(1.5, 80, "carried, 1 stream", 10).line("test", document="poem")
    assert line == "test 1.5000 nats/char  2.164 bits/char  perplexity 4.48  12.00 nats/poem  (carried, 1 stream)"
    assert "poem" not in Evaluation(1.5, 80).line("test", document="poem")


def test_documents_are_counted_unless_windows_are_read():
    model, ids, starts = model_of(), text(1000), np.arange(0, 990, 10)
    assert evaluate(model, ids, starts=starts).documents == 99
    assert evaluate(model, ids).documents == 0
    assert evaluate(model, ids, starts=starts, window=50).documents == 0
    assert evaluate_by_character(model, ids, starts=starts)[0].documents == 99


def test_the_last_character_is_predicted():
    model, ids = model_of(), text(1000)
    figures = {evaluate(model, np.append(ids[:-1], last).astype(np.uint8), streams=7).nats for last in range(V)}
    assert len(figures) == V


@pytest.mark.parametrize("length", [2, 50, 131])
def test_an_untrained_model_has_a_loss_of_log_v(length):
    result = evaluate(CharRNN(ModelConfig(hidden_size=3), V), text(length))
    assert result.nats == pytest.approx(math.log(V), rel=1e-6)
    assert result.perplexity == pytest.approx(V, rel=1e-6)


@pytest.mark.parametrize("streams", [1, 16, 17, 40])
@pytest.mark.parametrize("starts", [None, np.arange(3, 6007, 11)], ids=["one", "documents"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_does_not_change_a_bit(streams, dtype, starts):
    model, ids = model_of(dtype=dtype, hidden_size=12), text(6007)
    figures = {evaluate(model, ids, streams=streams, team=team, starts=starts)
               for team in (None, Workers(1), Team(model, 2), Workers(3))}
    assert len(figures) == 1


@pytest.mark.parametrize(("characters", "streams"), [
    (1, 1), (3_999, 1), (4_000, 1), (7_999, 1), (8_000, 2), (12_000, 3), (255_999, 63), (256_000, 64), (10**9, 64)])
def test_each_stream_has_at_least_four_thousand_characters_by_default(characters, streams):
    assert stream_count(characters) == streams


@pytest.mark.parametrize(("length", "streams"), [(8_000, 1), (8_001, 2)])
def test_the_default_number_of_streams_follows_the_rule(length, streams):
    model, ids = model_of(hidden_size=2), text(length)
    assert evaluate(model, ids) == evaluate(model, ids, streams=streams)
    assert evaluate(model, ids).nats != evaluate(model, ids, streams=3 - streams).nats


def test_an_evaluation_does_not_change_the_model():
    model, ids = model_of(layers=2, dropout=0.5), text(300)
    before = model.parameters.flat.copy()
    first = evaluate(model, ids)
    assert evaluate(model, ids) == first
    assert np.array_equal(model.parameters.flat, before)


@pytest.mark.parametrize("length", [0, 1])
def test_rejects_a_text_of_fewer_than_two_characters(length):
    with pytest.raises(ValueError, match=r"at least 2 characters"):
        evaluate(model_of(), text(length))


@pytest.mark.parametrize("streams", [0, -1, -100])
def test_rejects_fewer_than_one_stream(streams):
    with pytest.raises(ConfigError, match="streams"):
        evaluate(model_of(), text(100), streams=streams)


# Cold windows

def losses_in_windows(model, ids, window, starts=()):
    """Return the losses in windows of ``window`` characters; the state is zero at each window and each of ``starts``."""
    found = []
    for k in range((len(ids) - 1) // window):
        end = (k + 1) * window
        bounds = sorted({k * window, *(start for start in starts if k * window < start < end), end})
        found += [loss for first, last in pairwise(bounds) for loss in losses(model, ids[first:last + 1])]
    return found


@settings(max_examples=40)
@given(st.integers(2, 500), st.integers(1, 300), st.sets(st.integers(0, 499)))
@example(401, 8, set())  # no remainder
@example(408, 8, set())  # the largest remainder
@example(400, 399, set())  # one window
@example(500, 1, {3, 4})
@example(500, 17, {0, 16, 17, 18, 33, 34, 498})
def test_every_window_starts_from_a_zero_state(length, window, starts):
    model, ids, starts = model_of(hidden_size=3), text(length), sorted(start for start in starts if start < length)
    window = min(window, length - 1)
    result = evaluate(model, ids, window=window, starts=np.array(starts, np.int64))
    expected = losses_in_windows(model, ids, window, starts)
    assert len(expected) == result.characters == (length - 1) // window * window
    assert result.nats == pytest.approx(np.mean(expected), rel=1e-12)


def test_the_remainder_after_the_last_window_is_left_out():
    model, ids = model_of(), text(1000)
    whole = evaluate(model, ids[:961], window=64)
    assert whole.characters == 960
    assert evaluate(model, ids, window=64) == whole
    assert evaluate(model, np.append(ids[:960], (ids[960] + 1) % V), window=64).nats != whole.nats


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("window", [1, 7, 300])
def test_the_number_of_threads_does_not_change_a_bit_of_windows(cell, window):
    model, ids = model_of(cell, np.float32, layers=2), text(20_007)
    teams = None, Workers(1), Team(model, 2), Workers(3)
    assert len({evaluate(model, ids, window=window, team=team) for team in teams}) == 1


@pytest.mark.parametrize("window", [0, -1, 1.5, math.nan, "5", True])
def test_rejects_a_window_below_one(window):
    with pytest.raises(ConfigError, match=r"^window: must be (at least 1|of type int)"):
        evaluate(model_of(), text(100), window=window)


def test_rejects_a_window_that_the_text_does_not_fill():
    assert evaluate(model_of(), text(100), window=99).characters == 99
    with pytest.raises(ConfigError, match=r"^window: must be below 100, the length of the text, not 100$"):
        evaluate(model_of(), text(100), window=100)


def test_rejects_windows_combined_with_streams():
    with pytest.raises(ConfigError, match=r"^window: cannot be combined with streams; pass one of them$"):
        evaluate(model_of(), text(100), window=10, streams=1)


@pytest.mark.parametrize("starts", [[3], np.array([1.0]), np.array([[1]]), np.array([-1]), np.array([100]),
                                    np.array([5, 3]), np.array([5, 5])], ids=repr)
def test_rejects_invalid_starts(starts):
    with pytest.raises((ValueError, TypeError), match=r"^starts"):
        evaluate(model_of(), text(100), starts=starts)


# The line

@pytest.mark.parametrize(("arguments", "how"), [
    ((100,), "carried, 1 stream"), ((110_000,), "carried, 27 streams"), ((110_000, 1), "carried, 1 stream"),
    ((4_999, 100_000), "carried, 4,999 streams"), ((10**6, None, 256), "cold windows of 256"),
    ((10**6, None, 1000), "cold windows of 1,000")])
def test_says_how_a_text_was_read(arguments, how):
    assert how_read(*arguments) == how


def test_the_line_ends_with_how_the_text_was_read():
    model, ids = model_of(), text(100)
    for settings_, how in [({}, "carried, 1 stream"), ({"streams": 3}, "carried, 3 streams"),
                           ({"streams": 1000}, "carried, 99 streams"), ({"window": 9}, "cold windows of 9")]:
        assert evaluate(model, ids, **settings_).how == how
        assert evaluate(model, ids, **settings_).line("text").endswith(f"  ({how})")
    line = Evaluation(1.5108, 110_000, "carried, 27 streams").line("validation", "byte")
    assert line == "validation 1.5108 nats/byte  2.180 bits/byte  perplexity 4.53  (carried, 27 streams)"


def test_the_line_has_nats_bits_and_perplexity():
    line = Evaluation(1.5108, 1000).line("validation")
    assert line == "validation 1.5108 nats/char  2.180 bits/char  perplexity 4.53"
    assert Evaluation(0.0, 1).line("text") == "text 0.0000 nats/char  0.000 bits/char  perplexity 1.00"


def test_bits_and_perplexity_follow_from_nats():
    result = Evaluation(3 * math.log(2), 10)
    assert result.bits == pytest.approx(3)
    assert result.perplexity == pytest.approx(8)


def test_the_line_of_a_very_high_loss_does_not_overflow():
    assert Evaluation(1e6, 1).line("test").startswith("test 1000000.0000 nats/char")
