"""charrnn.inference.blockwise"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import LETTERS, make_model

from charrnn.errors import CorpusError
from charrnn.inference import blockwise, scoring
from charrnn.inference.blockwise import BlockScores
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.scoring import Score
from charrnn.storage.cache import cache_folder
from charrnn.text import known_text, spool

MODELS = {"text": make_model(), "slot": make_model(min_count=2), "lines": make_model(documents="lines"),
          "float32": make_model(dtype=np.float32)}
ANY = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def joined(scores: BlockScores) -> Score:
    """Return the score of the whole text."""
    parts = list(scores)
    return Score("".join(part.text for part in parts), np.concatenate([[], *(part.nats for part in parts)]))


def assert_same(found: Score, expected: Score, model: LanguageModel) -> None:
    assert found.text == expected.text
    tolerance = 1e-9 if model.network.dtype == np.float64 else 1e-4
    np.testing.assert_allclose(found.nats, expected.nats, rtol=tolerance, atol=tolerance)


@ANY
@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
@settings(max_examples=20)
@given(blocks=st.lists(st.text(LETTERS + "x", max_size=40), max_size=5))
def test_a_text_in_blocks_has_the_scores_of_the_whole_text(model: LanguageModel, live: bool, blocks: list[str]) -> None:
    assert_same(joined(BlockScores(model, blocks, live)), model.score("".join(blocks)), model)


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
def test_windows_are_joined_exactly(live: bool) -> None:
    text = "fade a\nbad cafe é\n" * 20  # several windows of 128 characters
    model = MODELS["text"]
    assert_same(joined(BlockScores(model, [text[:200], text[200:201], text[201:]], live)), model.score(text), model)


def test_a_live_block_is_scored_before_the_next_one_is_read() -> None:
    read: list[str] = []

    def blocks() -> Iterator[str]:
        for block in ("fade\n", "", "bad\n"):
            read.append(block)
            yield block

    scores = BlockScores(MODELS["text"], blocks(), live=True)
    for score, count in zip(scores, (1, 3)):
        assert score.text == read[-1]
        assert len(read) == count
    assert scores.streams == 1


@ANY
def test_a_long_file_is_divided_as_a_string_is(monkeypatch: pytest.MonkeyPatch, model: LanguageModel) -> None:
    monkeypatch.setattr(scoring, "ONE_STREAM", 200)
    monkeypatch.setattr(scoring, "CONTEXT", 10)
    monkeypatch.setattr(scoring, "stream_count", lambda characters: characters // 50)
    monkeypatch.setattr(known_text, "_BLOCK", 37)
    monkeypatch.setattr(spool, "SMALL", 100)
    text = "fade xx a\nbad café\n" * 20
    scores = BlockScores(model, [text[:100], text[100:]])
    found = joined(scores)
    assert_same(found, model.score(text), model)
    assert scores.streams == (len(text) - (0 if model is MODELS["slot"] else text.count("x"))) // 50
    live = BlockScores(model, [text], live=True)
    assert_same(joined(live), model.score(text, streams=1), model)
    assert live.streams == 1
    assert not np.allclose(found.nats, model.score(text, streams=1).nats, equal_nan=True) or model is MODELS["lines"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the network is replaced: its buffers do not depend on the length of the text."""
    def fake(network: object, texts: Sequence[np.ndarray], *_: object, into: Sequence[np.ndarray]) -> None:
        into[0][...] = 1

    monkeypatch.setattr(blockwise, "nats_of", fake)
    monkeypatch.setattr(spool, "SMALL", 1000)
    monkeypatch.setattr(spool, "_BLOCK", 2**14)
    monkeypatch.setattr(known_text, "_BLOCK", 2**14)
    block, count = "fade a\nbad xé\n" * 2**10, 100
    scores = BlockScores(MODELS["text"], (block for _ in range(count)))
    MODELS["text"].score(block[:50])  # what is allocated once
    tracemalloc.start()
    characters = sum(len(score) for score in scores)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert characters == count * len(block)
    assert peak < 1.5 * characters  # the nats alone have eight bytes for each character


def test_scores_are_written_in_place() -> None:
    model, nats = MODELS["text"], np.zeros(5, np.float32)
    (found,) = scoring.nats_of(model.network, [np.arange(5)], model.vocabulary.start, into=[nats])
    assert found is nats
    np.testing.assert_allclose(nats, model.score(np.arange(5)).nats, rtol=1e-5)


def test_a_full_disk_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, count: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool.Spool, "fill", full)
    with pytest.raises(CorpusError, match="No space left on device"):
        list(BlockScores(MODELS["text"], ["fade"]))


def test_temporary_files_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(spool, "SMALL", 2)
    assert len(joined(BlockScores(MODELS["text"], ["fade"]))) == 4
    assert list(cache_folder().iterdir()) == []
