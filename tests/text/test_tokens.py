"""charrnn.text.tokens: text -> ids, in blocks."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from charrnn.config import END, TextConfig
from charrnn.errors import CorpusError, VocabularyError
from charrnn.text import tokens as module
from charrnn.text.documents import read_documents
from charrnn.text.tokens import Tokens
from charrnn.text.vocabulary import REPLACEMENT, UNKNOWN, Vocabulary

PROPERTY = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
MADE: list[Tokens] = []
LETTERS = "ab\n\x00é中\U0001f600"
FILES = st.lists(st.lists(st.text(st.sampled_from(LETTERS) | st.characters(exclude_categories=["Cs"]), max_size=9),
                          max_size=3), min_size=1, max_size=4)
READINGS = st.builds(lambda min_count, how, seed, grouped: TextConfig(min_count=min_count, documents=how, shuffle_seed=seed,
                                                                     group_copies=grouped),
                     st.sampled_from([1, 1, 2, 3]), st.sampled_from([None, "lines", "files"]), st.integers(0, 3),
                     st.booleans())


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close all tokens at the end of a test."""
    made: list[Tokens] = []
    monkeypatch.setattr(f"{__name__}.MADE", made)
    yield
    for tokens in made:
        tokens.close()


def tokens_of(files: list[list[str]], config: TextConfig | None = None, folder: Callable[[], Path] | None = None,
          vocabulary: Vocabulary | None = None) -> Tokens:
    """Return the tokens of files in blocks."""
    tokens = Tokens(config or TextConfig(), folder, vocabulary)
    MADE.append(tokens)
    for file in files:
        for block in read_documents(file, "the text", config or TextConfig()):
            tokens.add(block)
    return tokens


def result(tokens: Tokens) -> tuple[list[int], list[int]]:
    """Return all ids, and the indices at which documents start."""
    count, documents, distinct, blocks, starts_in_blocks = tokens.ids()
    assert 0 <= distinct <= documents
    arrays = list(blocks)
    starts = np.concatenate([np.empty(0, np.uint64), *starts_in_blocks])
    assert len(starts) == documents
    assert {array.dtype for array in arrays} == {tokens.vocabulary.dtype}
    ids = np.concatenate(arrays).tolist()
    assert len(ids) == count
    assert starts.dtype == np.uint64
    return ids, starts.tolist()


def text_of(tokens: Tokens) -> str:
    return tokens.vocabulary.decode(np.array(result(tokens)[0]))


def characters(count: int, first: int = 0x4e00) -> str:
    """Return ``count`` distinct characters without surrogates."""
    points = [*range(first, 0xD800), *range(0xE000, 0x110000)]
    return "".join(map(chr, points[:count]))


# Plain text

@PROPERTY
@given(FILES)
def test_the_ids_decode_to_the_text_of_all_blocks(files):
    text = "".join(map("".join, files))
    assume(text)
    tokens = tokens_of(files)
    assert text_of(tokens) == text
    assert tokens.vocabulary == Vocabulary.of(text)
    assert tokens.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    assert (tokens.characters, tokens.folded, result(tokens)[1]) == (len(text), "", [])


@PROPERTY
@given(FILES, READINGS, st.integers(1, 40))
def test_a_long_text_gives_the_same_ids_as_in_memory(files, config, small):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr("charrnn.text.shuffled._BUCKET", 7)
        short = tokens_of(files, config)
        assert short.is_small
        assert tokens_of(files, config, lambda: Path(folder)).is_small
        patch.setattr(module, "SMALL", small)
        patch.setattr("charrnn.text.shuffled._BLOCK", small)
        long = tokens_of(files, config, lambda: Path(folder))
        try:
            expected = result(short)
        except CorpusError as error:
            with pytest.raises(CorpusError, match=re.escape(str(error))):
                result(long)
            return
        except ValueError:  # an empty text
            assume(any(map(any, files)))
            raise
        assert result(long) == expected
        assert result(long) == expected  # and again
        for name in ("vocabulary", "fingerprint", "folded", "characters"):
            assert getattr(long, name) == getattr(short, name)
        assert not list(Path(folder).iterdir())  # its file has no name


def test_a_text_is_long_if_its_code_points_exceed_the_memory_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SMALL", 6)
    tokens = tokens_of([], None, lambda: tmp_path)
    tokens.add("abcd")  # one byte each
    tokens.add("ж")  # two bytes
    assert tokens.is_small
    tokens.add("e")
    assert not tokens.is_small
    assert text_of(tokens) == "abcdжe"
    assert Tokens(TextConfig()).is_small


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize(("size", "dtype"), [
    (254, np.uint8), (255, np.uint8), (256, np.uint8), (257, np.uint16), (65_535, np.uint16), (65_536, np.uint16),
    (65_537, np.uint32)])
def test_ids_have_the_smallest_dtype(size, dtype, unknown):
    text = characters(size - unknown, 0)
    tokens = tokens_of([[text * 2, "\U0010ffff"]] if unknown else [[text]], TextConfig(min_count=1 + unknown))
    ids, _ = result(tokens)
    assert tokens.vocabulary.dtype == dtype
    assert len(tokens.vocabulary) == size
    if unknown:
        assert ids == [*range(size - 1)] * 2 + [size - 1]
    else:
        assert ids == [*range(size)]


def test_a_surrogate_is_refused():
    with pytest.raises(UnicodeEncodeError):
        tokens_of([["\ud800"]])


# Rare characters

@PROPERTY
@given(st.lists(st.lists(st.text("abcé中\U0001f600", max_size=9), max_size=3), min_size=1, max_size=4), st.integers(2, 4))
def test_rare_characters_are_replaced_by_the_unknown_one(files, least):
    files = [*files, ["aaaa"]]
    text = "".join(map("".join, files))
    counts = Counter(text)
    known = sorted(character for character in counts if counts[character] >= least)
    tokens = tokens_of(files, TextConfig(min_count=least))
    assert tokens.vocabulary.codepoints.tolist() == [*map(ord, known), UNKNOWN]
    assert tokens.folded == "".join(sorted(set(text) - set(known)))
    assert text_of(tokens) == "".join(character if character in known else REPLACEMENT for character in text)


def test_an_unknown_character_exists_even_if_no_character_is_rare():
    tokens = tokens_of([["aabb"]], TextConfig(min_count=2))
    assert tokens.vocabulary.unknown == 2
    assert tokens.folded == ""


def test_a_text_that_has_only_rare_characters_is_refused():
    with pytest.raises(CorpusError, match=r"the text: no character occurs 1,000 times or more; lower min_count"):
        result(tokens_of([["abab"]], TextConfig(min_count=1000)))


def test_the_newline_of_lines_is_never_replaced():
    tokens = tokens_of([["aaaa\n"]], TextConfig(min_count=3, documents="lines"))
    assert text_of(tokens) == "\naaaa\n"
    assert tokens.folded == ""


def test_a_given_vocabulary_is_used():
    vocabulary = Vocabulary.of("abcdef")
    assert result(tokens_of([["fed"]], vocabulary=vocabulary))[0] == [5, 4, 3]
    folding = Vocabulary(np.array([97, 98, UNKNOWN]))
    tokens = tokens_of([["aé", "b\U0001f600aZ"]], TextConfig(min_count=2), vocabulary=folding)
    assert result(tokens)[0] == [0, 2, 1, 2, 0, 2]
    assert tokens.folded == "Zé\U0001f600"
    assert tokens.vocabulary is folding


@pytest.mark.parametrize("small", [1, 99])
def test_the_first_unknown_character_is_named_with_its_position(tmp_path, monkeypatch, small):
    monkeypatch.setattr(module, "SMALL", small)
    for files, place in (([["abab", "axb"]], "5"), ([["ab", "中"]], "2"), ([["ab"], ["a\U0001f600中"]], "3")):
        with pytest.raises(VocabularyError, match=f"at position {place} "):
            result(tokens_of(files, None, lambda: tmp_path, Vocabulary.of("ab")))


# Lines

LINES = st.lists(st.text("abcé中\U0001f600\r", max_size=6), min_size=1, max_size=30)


@pytest.mark.parametrize("bucket", [1, 5, 2**24])
@PROPERTY
@given(LINES, st.integers(0, 9), st.lists(st.integers(0, 200), max_size=5), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_every_line_that_is_not_empty_occurs_once_after_a_newline(bucket, lines, seed, places, end, ends):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.shuffled._BUCKET", bucket)
        check_lines(lines, seed, places, end, ends)


def check_lines(lines, seed, places, end, ends):
    lines = [line.rstrip("\r") for line in lines]
    text = end.join(lines) + end * ends
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    blocks = [text[first:last] for first, last in pairwise(bounds)]
    tokens = tokens_of([blocks], TextConfig(documents="lines", shuffle_seed=seed, group_copies=seed % 2 == 0))
    documents = [line for line in lines if line]
    if not documents:
        assume(text)
        with pytest.raises(CorpusError, match="the text: all lines are empty"):
            tokens.ids()
        return
    ids, starts = result(tokens)
    found = tokens.vocabulary.decode(np.array(ids))
    assert found[0] == found[-1] == "\n"
    assert sorted(found[1:-1].split("\n")) == sorted(documents)
    assert starts == [place for place, character in enumerate(found[:-1]) if character == "\n"]


def test_lines_of_several_files_are_shuffled_together_and_stay_separate():
    tokens = tokens_of([["one"], ["two\r\n"], [""], ["three\nfour"]], TextConfig(documents="lines"))
    assert sorted(text_of(tokens).split("\n")) == ["", "", "four", "one", "three", "two"]


@pytest.mark.parametrize("block", [1, 5, 17])
def test_many_lines_are_yielded_in_blocks(monkeypatch, block):
    lines = [f"line {number}" * (number % 5 + 1) for number in range(30)]
    expected = text_of(tokens_of([["\n".join(lines)]], TextConfig(documents="lines")))
    monkeypatch.setattr("charrnn.text.shuffled._BLOCK", block)
    tokens = tokens_of([["\n".join(lines)]], TextConfig(documents="lines"))
    assert text_of(tokens) == expected
    assert sorted(expected[1:-1].split("\n")) == sorted(lines)
    assert max(map(len, tokens.ids().blocks)) <= block + max(map(len, lines)) + 1


def test_the_order_of_lines_is_a_function_of_its_seed():
    lines = [str(number) for number in range(50)]

    def order(seed: int, **config: Any) -> list[str]:
        tokens = tokens_of([["\n".join(lines)]], TextConfig(documents="lines", shuffle_seed=seed, **config))
        return text_of(tokens).split("\n")[1:-1]

    for grouped in (False, True):
        config = {"group_copies": grouped}
        assert order(1, **config) == order(1, **config) == order(1, min_count=2, **config)
        assert len({tuple(order(seed, **config)) for seed in range(20)}) == 20
        assert all(sorted(order(seed, **config)) == sorted(lines) != order(seed, **config) != lines for seed in range(20))
    # These must never change, so that a run can be resumed.
    assert order(1, group_copies=False)[:5] == ["40", "7", "9", "5", "39"]
    assert order(1)[:5] == ["18", "16", "43", "5", "21"]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("bucket", [2, 8, 2**24])
def test_all_orders_of_lines_are_equally_likely(monkeypatch, bucket, grouped):
    monkeypatch.setattr("charrnn.text.shuffled._BUCKET", bucket)
    orders = Counter(text_of(tokens_of([["a\nb\nc\nd"]], TextConfig(documents="lines", shuffle_seed=seed,
                                                                                group_copies=grouped)))
                     for seed in range(480))
    assert len(orders) == 24
    assert sum((found - 20)**2 / 20 for found in orders.values()) < 50  # chi-square of 23 degrees of freedom: 99.9 %


def test_a_replaced_character_does_not_end_a_line():
    tokens = tokens_of([["aab\naca\n"]], TextConfig(documents="lines", min_count=3))
    assert sorted(text_of(tokens).split("\n")) == ["", "", "aa\ufffd", "a\ufffda"]


# Files

def test_every_file_that_is_not_empty_has_a_start():
    files = [["ab", "c"], [], ["d"], [""], ["ef"], []]
    tokens = tokens_of(files, TextConfig(documents="files"))
    ids, starts = result(tokens)
    assert sorted(text_of(tokens).split(END)) == ["", "", "abc", "d", "ef"]
    assert starts == [place for place, number in enumerate(ids[:-1]) if number == tokens.vocabulary.id(END)]
    assert result(tokens_of(files))[1] == []
    assert result(tokens_of([[], ["a"]], TextConfig(documents="files")))[1] == [0]


# Fingerprints

def test_every_setting_that_changes_the_ids_changes_the_fingerprint():
    files = [["ab\n"], ["ab\nba\n", "c\n"]]
    readings = [TextConfig(), TextConfig(level="byte"), TextConfig(min_count=2), TextConfig(min_count=3),
                *(TextConfig(documents=unit, shuffle_seed=seed, group_copies=grouped) for seed in range(3)
                  for unit in ("lines", "paragraphs", "files") for grouped in (False, True)),
                TextConfig(separator="b"), TextConfig(documents="lines", min_count=2)]
    prints = [tokens_of(files, config).fingerprint for config in readings]
    assert len(set(prints)) == len(prints)
    assert prints[0] == hashlib.sha256(b"ab\nab\nba\nc\n").hexdigest()


@PROPERTY
@given(FILES, READINGS)
def test_the_fingerprint_depends_on_files_only_if_they_are_documents_and_never_on_blocks(files, config):
    joined = [["".join(file)] for file in files]
    assert tokens_of(files, config).fingerprint == tokens_of(joined, config).fingerprint
    assert tokens_of([*files, []], config).fingerprint == tokens_of([[], *files], config).fingerprint
    if config.documents is None:
        assert tokens_of(["".join(map("".join, files))], config).fingerprint == tokens_of(files, config).fingerprint


def test_the_shuffle_seed_does_not_matter_if_nothing_is_shuffled():
    assert tokens_of([["ab"]], TextConfig(shuffle_seed=5)).fingerprint == tokens_of([["ab"]]).fingerprint


def test_the_boundaries_of_files_matter_if_files_are_documents():
    config = TextConfig(documents="files")
    assert tokens_of([["ab"], ["c"]], config).fingerprint != tokens_of([["a"], ["bc"]], config).fingerprint
