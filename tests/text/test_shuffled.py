"""charrnn.text.shuffled"""

from __future__ import annotations

import io
import random
from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.shuffled import Shuffled

END = 7
DOCUMENTS = st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=20)


def shuffled(blocks: list[np.ndarray], characters: int, seed: int = 1, grouped: bool = False) -> Shuffled:
    return Shuffled(blocks, END, seed, grouped, characters, io.BytesIO)


def ids_of(documents: list[list[int]], dtype: type = np.uint8) -> np.ndarray:
    return np.array([number for document in documents for number in [*document, END]], dtype)


def order_of(documents: list[list[int]], seed: int = 1, grouped: bool = True) -> list[tuple[int, ...]]:
    """Return the documents in their random order."""
    text = ids_of(documents)
    ids = np.concatenate(list(shuffled([text], len(text), seed, grouped).ids()))
    ends = np.flatnonzero(ids == END)
    return [tuple(ids[first + 1:last].tolist()) for first, last in pairwise(ends)]


def is_grouped(documents: list[tuple[int, ...]]) -> bool:
    return len([document for document, _ in groupby(documents)]) == len(set(documents))


@given(DOCUMENTS, st.lists(st.integers(0, 99), max_size=6), st.sampled_from([1, 9, 2**24]), st.sampled_from([1, 4, 2**20]),
       st.sampled_from([np.uint8, np.uint16, np.uint32]), st.booleans())
def test_the_order_of_documents_does_not_depend_on_the_blocks(documents, places, bucket, piece, dtype, grouped):
    text = ids_of(documents, dtype)
    cuts = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.shuffled._BUCKET", bucket)
        whole = shuffled([text], len(text), grouped=grouped)
        expected = np.concatenate(list(whole.ids()))
        patch.setattr("charrnn.text.shuffled._BLOCK", piece)
        parts = shuffled([text[first:last] for first, last in pairwise(cuts)], len(text), grouped=grouped)
        assert parts.count == whole.count == sum(map(bool, documents))
        assert parts.distinct == whole.distinct == (len(set(map(tuple, filter(None, documents)))) if grouped else 0)
        if not parts.count:
            return
        ids = np.concatenate(list(parts.ids()))
        starts = np.concatenate(list(parts.starts()))
        np.testing.assert_array_equal(ids, expected)
    assert ids.dtype == dtype
    assert len(ids) == parts.characters == whole.characters
    ends = np.flatnonzero(ids == END)
    assert ends[:-1].tolist() == starts.tolist()
    found = [tuple(ids[first + 1:last].tolist()) for first, last in pairwise(ends)]
    assert sorted(found) == sorted(map(tuple, filter(None, documents)))
    assert is_grouped(found) or not grouped


@pytest.mark.parametrize("grouped", [False, True])
def test_no_bucket_is_much_larger_than_intended(monkeypatch, grouped):
    monkeypatch.setattr("charrnn.text.shuffled._BUCKET", 500)
    documents = [[number // 36, number // 6 % 6, number % 6, 1] for number in range(216)] * 10
    text = ids_of([list(document) for document in documents])
    found, read = shuffled([text], len(text), grouped=grouped), []
    original = Shuffled._in_buckets

    def in_buckets(self, *arguments):
        for values in original(self, *arguments):
            read.append((values.dtype, len(values)))
            yield values

    monkeypatch.setattr(Shuffled, "_in_buckets", in_buckets)
    assert sum(map(len, found.ids())) == 1 + len(text)
    sizes = [size for dtype, size in read if dtype == np.uint8]
    assert len(sizes) == -(-len(text) // 500)
    assert max(sizes) < 1100
    assert sum(sizes) == len(text)


# Identical documents

@pytest.mark.parametrize("bucket", [40, 2**24])
def test_identical_documents_are_next_to_each_other(monkeypatch, bucket):
    monkeypatch.setattr("charrnn.text.shuffled._BUCKET", bucket)
    rng = random.Random(1)
    documents = [[rng.randrange(7) for _ in range(rng.randrange(1, 4))] for _ in range(500)]
    found = order_of(documents)
    assert Counter(found) == Counter(map(tuple, documents))
    assert is_grouped(found)
    assert not is_grouped(order_of(documents, grouped=False))
    assert [document for document, _ in groupby(found)] != sorted(set(found))


@pytest.mark.parametrize("bucket", [10, 2**24])
def test_the_order_depends_on_the_content_and_the_seed_but_not_on_the_order_of_the_input(monkeypatch, bucket):
    monkeypatch.setattr("charrnn.text.shuffled._BUCKET", bucket)
    documents = [[number // 7, number % 7] for number in range(49)]
    orders = {seed: order_of(documents, seed) for seed in range(10)}
    assert len(set(map(tuple, orders.values()))) == 10
    rng = random.Random(1)
    for seed in orders:
        rng.shuffle(documents)
        assert order_of(documents, seed) == orders[seed]
        assert order_of(documents * 2, seed)[::2] == order_of(documents * 2, seed)[1::2]
    if bucket > 10:  # the number of buckets does not change
        assert order_of(documents + documents[:9])[::1] == [
            document for document in order_of(documents) for _ in range(1 + (list(document) in documents[:9]))]


def test_documents_that_differ_anywhere_are_different():
    base = [1, 2, 3, 4, 5, 6] * 50
    documents = [base, base[1:], base[:-1], [*base, 1], [0, *base], base[::-1], [*base[:100], 0, *base[101:]], [0], [0, 0]]
    text = ids_of(documents * 3)
    assert shuffled([text], len(text), grouped=True).distinct == len(documents)
    assert len({tuple(document) for document in order_of(documents)}) == len(documents)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 40])
def test_a_document_of_several_pieces_equals_its_copies(monkeypatch, size):
    """The hash of a document that is longer than a piece is calculated piece by piece."""
    long = [number % 7 for number in range(size)]
    documents = [long, [1, 2], long, [*long[:-1], (long[-1] + 1) % 7], [3], long]
    expected = order_of(documents)
    monkeypatch.setattr("charrnn.text.shuffled._BLOCK", 8)
    text = ids_of(documents)
    assert order_of(documents) == expected
    assert is_grouped(expected)
    blocks = [text[first:first + 3] for first in range(0, len(text), 3)]
    found = shuffled(blocks, len(text), grouped=True)
    assert (found.count, found.distinct) == (6, len(set(map(tuple, documents))))
    pieces = list(found.ids())
    assert np.array_equal(np.concatenate(pieces), [END, *ids_of([list(document) for document in expected])])
    assert max(map(len, pieces)) <= max(8, size + 1)


def test_a_text_after_the_last_end_mark_is_left_out():
    found = shuffled([np.array([1, END, 2], np.uint8)], 3)
    assert np.concatenate(list(found.ids())).tolist() == [END, 1, END]
    assert (found.count, found.characters) == (1, 3)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("documents", [[[]], [[], [], []]])
def test_empty_documents_are_left_out(documents, grouped):
    text = ids_of(documents)
    found = shuffled([text], len(text), grouped=grouped)
    assert (found.count, found.distinct, found.characters) == (0, 0, 1)
    assert order_of([*documents, [1]], grouped=grouped) == [(1,)]
