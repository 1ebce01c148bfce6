"""charrnn.inference.passages, compared with a search for every substring."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.inference import ngram, passages
from charrnn.inference.passages import longest_passages

IDS = st.lists(st.integers(0, 2), max_size=60)


def by_search(text: list[int], pieces: list[list[int]], unknown: int | None = None) -> list[list[int]]:
    """Return the lengths of the longest passages, found by searching for ever longer substrings."""
    where = "".join(map(chr, text))

    def length(piece: list[int], start: int) -> int:
        found = 0
        while (end := start + found + 1) <= len(piece) and piece[end - 1] != unknown and (
                "".join(map(chr, piece[start:end])) in where):
            found += 1
        return found if found >= 8 else 0

    return [[length(piece, start) for start in range(len(piece))] for piece in pieces]


def found(text: list[int], pieces: list[list[int]], vocabulary_size: int, unknown: int | None = None,
          dtype: str = "uint8") -> list[list[int]]:
    arrays = [np.array(piece, dtype) for piece in pieces]
    return [lengths.tolist() for lengths in longest_passages(np.array(text, dtype), arrays, vocabulary_size, unknown)]


def related(text: np.ndarray, count: int, length: int, seed: int) -> list[list[int]]:
    """Return ``count`` pieces that consist of passages of ``text`` and random characters."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(count):
        parts = []
        while sum(map(len, parts)) < length:
            start = rng.integers(len(text))
            parts += [text[start:start + rng.integers(1, 60)], rng.choice(text, rng.integers(0, 4))]
        pieces.append(np.concatenate(parts)[:length].tolist())
    return pieces


@settings(max_examples=80)
@given(text=IDS, rest=st.lists(IDS, max_size=4),
       cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), max_size=3), block=st.integers(1, 70),
       unknown=st.sampled_from([None, 2]))
@example(text=[], rest=[[0] * 9], cuts=[], block=5, unknown=None)
@example(text=[0] * 60, rest=[[0] * 60, [0] * 8, [0] * 7, []], cuts=[], block=1, unknown=None)
@example(text=[0] * 20, rest=[[0] * 9 + [1] * 9], cuts=[], block=5, unknown=None)  # after the end of the text
def test_the_lengths_agree_with_a_search_for_any_text_in_blocks_of_any_size(
        text: list, rest: list, cuts: list, block: int, unknown: int | None) -> None:
    pieces = [*rest, *(text[start:start + size] + [1] + text[:size] for start, size in cuts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngram, "BLOCK", block)
        assert found(text, pieces, 3, unknown) == by_search(text, pieces, unknown)


@pytest.mark.parametrize(("vocabulary_size", "dtype"), [(2, "uint8"), (27, "uint16"), (256, "uint8"), (5000, "uint16"),
                                                        (0x110000, "uint32"), (30, "int64")])
def test_the_lengths_agree_with_a_search_for_any_vocabulary(
        vocabulary_size: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "BLOCK", 1000)
    text = (vocabulary_size * np.random.default_rng(5).random(4000)**3).astype(dtype)
    pieces = related(text, 5, 150, seed=6)
    expected = by_search(text.tolist(), pieces)
    assert found(text.tolist(), pieces, vocabulary_size, dtype=dtype) == expected
    assert max(map(max, expected)) > 32


def test_a_passage_does_not_continue_in_the_next_piece() -> None:
    text = list(range(30))
    assert found(text, [text[:10], text[10:20]], 30) == [[10, 9, 8, *[0] * 7]] * 2


def test_a_passage_can_be_longer_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "BLOCK", 16)
    text = np.random.default_rng(1).integers(0, 4, 500).tolist()
    assert found(text, [text[100:400]], 4)[0][0] == 300


def test_the_unknown_character_equals_no_character() -> None:
    text = [0, 1, 2] * 10
    assert found(text, [text], 3)[0][0] == 30
    assert found(text, [text], 3, unknown=2) == [[0] * 30]


def test_there_may_be_no_pieces() -> None:
    assert longest_passages(np.zeros(9, np.uint8), [], 2) == []
    assert [list(lengths) for lengths in longest_passages(np.zeros(9, np.uint8), [np.zeros(0, np.uint8)], 2)] == [[]]


@pytest.mark.parametrize("ids", [np.array([0, 5]), np.array([0, -1]), np.array([0.0, 1]), np.array([[0], [1]])], ids=repr)
def test_rejects_invalid_ids(ids: np.ndarray) -> None:
    good = np.zeros(9, np.uint8)
    with pytest.raises(ValueError, match=r"^text: id"):
        longest_passages(ids, [good], 5)
    with pytest.raises(ValueError, match=r"^pieces: id"):
        longest_passages(good, [good, ids], 5)


def test_a_memory_map_gives_the_same_lengths_and_progress_is_called_for_every_character(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "BLOCK", 300)
    ids = np.random.default_rng(2).integers(0, 4, 1000).astype(np.uint8)
    ids.tofile(tmp_path / "ids")
    pieces = [np.array(piece, np.uint8) for piece in related(ids, 3, 80, seed=3)]
    read: list[int] = []
    lengths = longest_passages(np.memmap(tmp_path / "ids", np.uint8, "r"), pieces, 4, progress=read.append)
    assert [part.tolist() for part in lengths] == by_search(ids.tolist(), [piece.tolist() for piece in pieces])
    assert read == [300, 300, 300, 100]


def test_what_was_read_of_a_memory_map_does_not_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "BLOCK", 300)
    text, forgotten = np.zeros(1000, np.uint8), []
    monkeypatch.setattr(passages, "forget", forgotten.append)
    longest_passages(text, [text[:9]], 2)
    assert len(forgotten) == 4
    assert all(array is text for array in forgotten)


def test_memory_does_not_depend_on_the_length_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "BLOCK", 2**12)
    text = np.random.default_rng(2).integers(0, 4, 2**18).astype(np.uint8)

    def peak(characters: int) -> int:
        tracemalloc.start()
        longest_passages(text[:characters], [text[:2000]], 4)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(2**18) < 1.2 * peak(2**14)
