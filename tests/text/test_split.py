"""charrnn.text.split: parts of texts that consist of documents."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import Corpus
from charrnn.config import END
from charrnn.errors import ConfigError
from charrnn.text.split import between_documents, split_bounds

DOCUMENTS = st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=40)


def documents_of(corpus: Corpus, first: int, last: int) -> list[str]:
    """Return the documents between two indices, each of which must be at an end mark."""
    text = "".join(corpus.text())
    end = corpus.text_config.end
    assert text[first] == end
    assert last == len(text) or text[last] == end
    return [document for document in text[first:last].split(end) if document]


def parts_of(corpus: Corpus, validation: float, test: float) -> list[list[str]]:
    split = corpus.split(validation, test)
    bounds = [0, *np.cumsum([len(part) for part in split.parts]).tolist()]
    for part, (first, last) in zip(split.parts, pairwise(bounds)):
        assert np.array_equal(part.ids, corpus.ids[first:last])
        assert part.starts.tolist() == [place - first for place in corpus.starts.tolist() if first <= place < last]
    return [documents_of(corpus, first, last) if first < last else [] for first, last in pairwise(bounds)]


@settings(max_examples=150)
@given(DOCUMENTS, st.floats(0.01, 0.9), st.sampled_from([0, 0.05, 0.3]), st.sampled_from(["lines", "paragraphs"]))
def test_no_document_is_cut_and_copies_are_in_one_part(documents, validation, test, unit):
    test = min(test, 0.95 - validation)
    corpus = Corpus.from_text("\n\n".join(documents), documents=unit)
    assert corpus.distinct == len(set(documents))
    parts, problem = [], ""
    try:
        parts = parts_of(corpus, validation, max(0, test))
    except ConfigError as error:
        problem = str(error)
    if problem:
        assert "too few different documents" in problem or "less than 2" in problem
        assert len(set(documents)) <= 2 or test > 0
        return
    assert sorted(document for part in parts for document in part) == sorted(documents)
    for k, part in enumerate(parts):
        assert not set(part) & {document for other in parts[k + 1:] for document in other}
    assert parts[0]
    assert parts[1]


@pytest.mark.parametrize("fractions", [(0.1, 0), (0.1, 0.1), (0.5, 0.2), (0, 0.3), (0.7, 0), (0.9, 0.05)], ids=str)
def test_a_document_that_occurs_a_thousand_times_is_in_one_part(fractions):
    rng = random.Random(1)
    documents = ["the same text"] * 1000 + [f"text {number}" for number in range(300)]
    rng.shuffle(documents)
    corpus = Corpus.from_text("\n".join(documents), documents="lines")
    assert corpus.distinct == 301
    parts = parts_of(corpus, *fractions)
    assert sorted(part.count("the same text") for part in parts) == [0, 0, 1000]
    assert [bool(part) for part in parts] == [True, fractions[0] > 0, fractions[1] > 0]
    assert sorted(document for part in parts for document in part) == sorted(documents)


def test_an_end_is_moved_to_the_nearest_place():
    documents = [f"{number:03}" for number in range(250)]
    corpus = Corpus.from_text("\n".join(documents), documents="lines")
    for validation, test in ((0.1, 0), (0.2, 0.1), (0.33, 0.33)):
        split = corpus.split(validation, test)
        first, second = split_bounds(len(corpus), validation, test)
        assert abs(len(split.train) - first) <= 2
        assert len(split.train) % 4 == 0
        assert abs(len(split.train) + len(split.validation) - second) <= 2 or not test


def test_without_groups_the_parts_have_their_exact_sizes():
    corpus = Corpus.from_text("ab\n" * 100, documents="lines", group_copies=False)
    assert [len(part) for part in corpus.split(0.1, 0.1).parts] == [240, 30, 31]
    assert corpus.distinct == 0


@pytest.mark.parametrize(("text", "fractions"), [
    ("same\n" * 500, (0.1, 0)), ("same\n" * 500, (0, 0.1)), ("a\n" * 50 + "b\n" * 50, (0.1, 0.1)), ("one", (0.3, 0)),
    ("long " * 5000, (0.1, 0))],
    ids=["the same", "the same for the test", "two for three parts", "one", "one long"])
def test_too_few_different_documents_are_refused(text, fractions):
    corpus = Corpus.from_text(text, documents="lines")
    with pytest.raises(ConfigError) as caught:
        corpus.split(*fractions)
    assert str(caught.value) == ("validation: the text has too few different documents to be divided; use a longer text, "
                                 "or set validation and test to 0")
    assert [len(part) for part in corpus.split(0.0, 0.0).parts] == [len(corpus), 0, 0]


def test_two_documents_give_two_parts_and_three_give_three():
    assert sorted(map(len, parts_of(Corpus.from_text("a\nb", documents="lines"), 0.1, 0))) == [0, 1, 1]
    assert sorted(map(len, parts_of(Corpus.from_text("aa\nbb\ncc", documents="lines"), 0.3, 0.3))) == [1, 1, 1]


@pytest.mark.parametrize(("near", "below", "place"), [
    (0, 12, 4), (4, 12, 4), (5, 12, 4), (7, 12, 8), (8, 12, 8), (11, 12, 8), (12, 12, 8), (8, 8, 4), (99, 7, 4)])
def test_the_place_between_documents(near, below, place):
    ids = np.array([0, 1, 2, 3, 0, 1, 2, 4, 0, 1, 2, 5, 0], np.uint8)
    assert between_documents(ids, np.array([0, 4, 8]), near, below) == place


def test_there_is_no_place_between_copies_or_before_the_first_document():
    same = np.array([0, 1, 0, 1, 0, 2, 0], np.uint8)
    assert [between_documents(same, np.array([0, 2, 4]), near, 7) for near in (0, 1, 2, 3, 6)] == [4] * 5
    for below in (4, 3, 1):
        with pytest.raises(ConfigError, match="too few different documents"):
            between_documents(same, np.array([0, 2, 4]), 2, below)


def test_a_document_is_not_a_copy_of_its_beginning():
    ids = np.array([0, 1, 1, 0, 1, 0], np.uint8)
    assert between_documents(ids, np.array([0, 3]), 1, 6) == 3


def test_the_documents_of_the_training_part_are_found():
    documents = [f"text\n{number}" for number in range(40)]
    corpus = Corpus.from_text("\n\n".join(documents), documents="paragraphs")
    split = corpus.split(0.2, 0.2)
    train, validation, test = parts_of(corpus, 0.2, 0.2)
    assert split.training_documents([*documents, "", "text", END]) == set(train)
    assert not split.training_documents([*validation, *test])
    assert Corpus.from_text("\n\n".join(documents)).split().training_documents(documents) == set()


def test_a_split_with_other_fractions_is_refused():
    corpus = Corpus.from_text("\n".join(map(str, range(100))), documents="lines")
    split = corpus.split(0.2, 0.1)
    split.require(0.2, 0.1)
    for fractions in ((0.4, 0.1), (0.2, 0.4), (None, 0.0)):
        with pytest.raises(ConfigError, match="the split was made with another validation or test"):
            split.require(*fractions)
