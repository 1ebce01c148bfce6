"""charrnn.inference.scoring, and LanguageModel.score"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_models import LETTERS, make_model, nats_by_steps

from charrnn.config import END
from charrnn.errors import ConfigError
from charrnn.inference import scoring
from charrnn.inference.evaluation import stream_count
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.scoring import Score

MODEL = make_model()
SLOT = make_model(min_count=2)
LINES = make_model(documents="lines")


def text(length: int, seed: int = 1, characters: str = LETTERS) -> str:
    """Return ``length`` random characters."""
    return "".join(np.random.default_rng(seed).choice(list(characters), length))


def in_streams(model: LanguageModel, ids: np.ndarray, streams: int, context: int) -> list[float]:
    """Return the nats of ``ids`` in separate streams, each from a zero state ``context`` characters before its own."""
    nats: list[float] = []
    for first, last in pairwise([len(ids) * k // streams for k in range(streams + 1)]):
        begin = max(0, first - context)
        before = int(ids[begin - 1]) if begin else None
        nats += nats_by_steps(model, ids[begin:last], before)[first - begin:]
    return nats


def assert_close(found: Any, expected: Any, model: LanguageModel = MODEL) -> None:
    """Assert that two arrays are equal up to the precision of the dtype, with NaN at the same positions."""
    tolerance = 1e-10 if model.network.dtype == np.float64 else 2e-4
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# Each character

@pytest.mark.parametrize("cell", ["lstm", "lnlstm", "gru", "rnn"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("layers", "embedding_size"), [(1, 0), (2, 3)])
def test_scores_equal_those_of_single_steps(cell: str, dtype: Any, layers: int, embedding_size: int) -> None:
    model = make_model(cell=cell, dtype=dtype, layers=layers, embedding_size=embedding_size)
    sentence = text(150)
    score = model.score(sentence)
    assert score.text == sentence
    assert score.nats.dtype == np.float64
    assert_close(score.nats, nats_by_steps(model, model.vocabulary.encode(sentence)), model)


@settings(max_examples=30)
@given(st.text(LETTERS, max_size=40), st.sampled_from(["lstm", "lnlstm", "gru", "rnn"]),
       st.sampled_from([None, "lines", "files"]))
@example("\n", "lstm", "lines")
@example("\n\n", "lstm", "lines")
@example("ab\ncd\n\na", "gru", "lines")
@example("ab\ncd\n\na", "lnlstm", "lines")
def test_any_text_is_scored_as_in_single_steps(sentence: str, cell: str, documents: str | None) -> None:
    model = make_model(cell=cell, documents=documents)
    ids = model.vocabulary.encode(f"{sentence.strip(chr(10))}{END}" if documents == "files" else sentence)
    if documents == "files" and not sentence.strip("\n"):
        ids = ids[:0]  # an empty document is left out
    assert_close(model.score(sentence).nats, nats_by_steps(model, ids))


@pytest.mark.parametrize("model", [MODEL, LINES], ids=["text", "lines"])
def test_the_first_character_is_scored_from_the_state_from_which_sampling_starts(model: LanguageModel) -> None:
    best = min((model.score(character).nats[0], character) for character in LETTERS)[1]
    assert next(model.stream(greedy=True)) == best
    logits, _ = model.network.forward(np.array([[model.vocabulary.start]]), model.network.initial_state(1))
    p = np.exp(logits[0, 0]) / np.exp(logits[0, 0]).sum()
    assert_close([model.score(character).nats[0] for character in LETTERS], -np.log(p[model.vocabulary.encode(LETTERS)]))


def test_reads_the_first_character_of_the_vocabulary_first_if_it_has_no_newline() -> None:
    model = make_model("abc")
    assert_close(model.score("cab").nats, nats_by_steps(model, [2, 0, 1], before=0))


def test_the_probabilities_of_all_characters_sum_to_one() -> None:
    assert sum(math.exp(-MODEL.score("fade" + character).nats[-1]) for character in LETTERS) == pytest.approx(1)


def test_a_model_of_lines_scores_each_line_separately() -> None:
    lines = ["fade\n", "\n", "abba é\n", "bad"]
    assert_close(LINES.score("".join(lines)).nats, np.concatenate([LINES.score(line).nats for line in lines]))
    whole = make_model().score("".join(lines)).nats
    assert not np.allclose(LINES.score("".join(lines)).nats[6:], whole[6:])


# Text settings

def test_applies_the_text_settings_first() -> None:
    model = make_model(lowercase=True, normalize="NFC")
    score = model.score("Bad CAFE\u0301")
    assert score.text == "bad café"
    assert_close(score.nats, model.score("bad café").nats)
    assert len(score) == len(score.nats) == 8


def test_a_model_of_bytes_scores_bytes() -> None:
    model = make_model("".join(map(chr, range(256))), level="byte")
    score = model.score("é\r\na")
    assert score.text == "Ã©\r\na"
    assert_close(score.nats, nats_by_steps(model, list("é\r\na".encode())))


def test_a_model_of_lines_of_bytes_converts_line_ends_as_training_does() -> None:
    model = make_model("".join(map(chr, range(256))), level="byte", documents="lines")
    assert model.score("a\r\nb").text == "a\nb"


# Unknown characters

@pytest.mark.parametrize(("sentence", "places"), [
    ("abxcd", [2]), ("xab", [0]), ("abx", [2]), ("x", [0]), ("xyz", [0, 1, 2]), ("axx\U0001f600b\ud800", [1, 2, 3, 5])])
def test_skips_an_unknown_character_if_the_vocabulary_has_no_slot_for_it(sentence: str, places: list[int]) -> None:
    score = MODEL.score(sentence)
    assert np.flatnonzero(np.isnan(score.nats)).tolist() == places
    rest = "".join(character for k, character in enumerate(sentence) if k not in places)
    assert_close(np.delete(score.nats, places), MODEL.score(rest).nats)
    assert score.text == sentence
    assert score.unknown == len(places)


def test_reads_an_unknown_character_that_has_a_slot_but_does_not_score_it() -> None:
    score = SLOT.score("abxcd")
    expected = nats_by_steps(SLOT, SLOT.vocabulary.encode("abxcd"))
    assert np.isnan(score.nats).tolist() == [False, False, True, False, False]
    assert_close(np.delete(score.nats, 2), np.delete(expected, 2))
    ids = SLOT.score(SLOT.vocabulary.encode("abxcd"))
    assert_close(ids.nats, score.nats)
    assert (ids.text, ids.unknown) == ("ab\ufffdcd", 1)


def test_sums_and_means_leave_out_unknown_characters_and_count_them() -> None:
    score = Score("abcd", np.array([1.0, math.nan, 2.0, 4.5]))
    assert (score.total, score.mean, score.unknown, len(score)) == (7.5, 2.5, 1, 4)
    assert score.bits[0] == pytest.approx(1 / math.log(2))
    assert np.isnan(score.bits[1])
    assert repr(score) == "Score(4 characters, 2.5000 nats/char, 1 unknown)"
    nothing = MODEL.score("xyz")
    assert (nothing.total, nothing.unknown) == (0, 3)
    assert math.isnan(nothing.mean)
    assert repr(MODEL.score("")) == "Score(0 characters, nan nats/char, 0 unknown)"


def test_scores_can_be_compared_and_hashed() -> None:
    score = MODEL.score("abc")
    assert score == score
    assert len({score, MODEL.score("abc")}) == 2


# Ids

@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64, ">i4"])
def test_ids_of_any_integer_dtype_are_scored(dtype: Any) -> None:
    ids = MODEL.vocabulary.encode("fade a\nbé").astype(dtype)
    score = MODEL.score(ids)
    assert score.text == "fade a\nbé"
    assert_close(score.nats, MODEL.score("fade a\nbé").nats)
    (listed,) = MODEL.score([ids])
    assert_close(listed.nats, score.nats)
    assert MODEL.evaluate(ids).nats == pytest.approx(score.nats[1:].mean(), rel=0.5)


@pytest.mark.parametrize("ids", [[9], [0, -1], [2**40], [0, 255]])
def test_rejects_ids_out_of_range(ids: list[int]) -> None:
    for call in (MODEL.score, MODEL.evaluate):
        with pytest.raises(ValueError, match="out of range for a vocabulary of 9"):
            call(np.array(ids))


@pytest.mark.parametrize("ids", [np.zeros((2, 2), int), np.zeros(3), np.array(3), np.array([True, False]), np.array(["a"])])
def test_rejects_arrays_of_another_dtype_or_shape(ids: np.ndarray) -> None:
    for call in (MODEL.score, MODEL.evaluate):
        with pytest.raises(ValueError, match=r"^text: ids must (be integers, not|have the shape \(N,\), not)"):
            call(ids)


# Several texts

@pytest.mark.parametrize("model", [MODEL, SLOT, LINES], ids=["text", "slot", "lines"])
@pytest.mark.parametrize("lengths", [
    [], [0], [1], [0, 1, 0], [128, 129, 127, 1, 300], [5] * 40, [3, 400, *range(34)]], ids=str)
def test_scores_each_text_of_a_list_separately(model: LanguageModel, lengths: list[int]) -> None:
    texts = [text(length, seed, LETTERS + "x") for seed, length in enumerate(lengths)]
    scores = model.score(texts)
    assert isinstance(scores, list)
    assert [score.text for score in scores] == texts
    for score, alone in zip(scores, texts):
        assert_close(score.nats, model.score(alone).nats)


@settings(max_examples=20)
@given(st.lists(st.text(LETTERS + "x", max_size=30), max_size=40))
def test_scores_a_list_of_any_texts_in_order(texts: list[str]) -> None:
    for score, alone in zip(MODEL.score(texts), texts, strict=True):
        known = "".join(character for character in alone if character != "x")
        assert_close(score.nats[~np.isnan(score.nats)], nats_by_steps(MODEL, MODEL.vocabulary.encode(known)))


# Streams

@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(("length", "context", "streams"), [
    (300, 20, 3), (301, 20, 7), (300, 150, 3), (300, 1000, 3), (300, 0, 40), (10, 3, 10), (10, 3, 17), (260, 129, 2)])
def test_each_stream_first_reads_the_characters_before_its_own(
        monkeypatch: pytest.MonkeyPatch, lines: bool, length: int, context: int, streams: int) -> None:
    monkeypatch.setattr(scoring, "CONTEXT", context)
    model = LINES if lines else MODEL
    ids = model.vocabulary.encode(text(length))
    assert_close(model.score(ids, streams=streams).nats, in_streams(model, ids, streams, context))


def test_divides_a_long_text_as_an_evaluation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = MODEL.vocabulary.encode(text(200))
    monkeypatch.setattr(scoring, "CONTEXT", 5)
    monkeypatch.setattr(scoring, "stream_count", lambda characters: characters // 40)
    exact = nats_by_steps(MODEL, ids)
    monkeypatch.setattr(scoring, "ONE_STREAM", 200)
    assert_close(MODEL.score(ids).nats, exact)
    monkeypatch.setattr(scoring, "ONE_STREAM", 199)
    assert_close(MODEL.score(ids).nats, in_streams(MODEL, ids, 5, 5))
    assert not np.allclose(MODEL.score(ids).nats, exact, rtol=1e-8)
    assert_close(MODEL.score(ids, streams=1).nats, exact)
    long, short = MODEL.score([ids, ids[:50]])
    assert_close(long.nats, in_streams(MODEL, ids, 5, 5))
    assert_close(short.nats, exact[:50])


def test_the_limits_are_as_documented() -> None:
    assert (scoring.ONE_STREAM, scoring.CONTEXT) == (100_000, 1_000)
    assert scoring.stream_count is stream_count


@pytest.mark.parametrize("streams", [0, -1, 1.5])
def test_rejects_fewer_than_one_stream(streams: Any) -> None:
    for call in (MODEL.score, MODEL.evaluate):
        with pytest.raises(ConfigError, match="streams"):
            call("fade", streams=streams)


def test_reads_a_text_of_a_hundred_thousand_characters_in_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    monkeypatch.setattr(scoring, "stream_count", lambda characters: counted.append(characters) or 2)
    model = make_model(hidden_size=1, cell="rnn", dtype=np.float32)
    model.score(np.zeros(100_000, np.uint8))
    assert not counted
    model.score(np.zeros(100_001, np.uint8))
    assert counted == [100_001]
