"""charrnn.text.documents"""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.documents import Lines

END = 7


def shuffled(blocks: list[np.ndarray], characters: int, seed: int = 1) -> Lines:
    return Lines(blocks, END, seed, characters, io.BytesIO(), io.BytesIO())


@given(st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=20), st.lists(st.integers(0, 99), max_size=6),
       st.sampled_from([1, 9, 2**24]), st.sampled_from([np.uint8, np.uint16, np.uint32]))
def test_the_order_of_lines_does_not_depend_on_the_blocks(lines, places, bucket, dtype):
    text = np.array([number for line in lines for number in [*line, END]], dtype)
    cuts = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.text.documents._BUCKET", bucket)
        whole = shuffled([text], len(text))
        parts = shuffled([text[first:last] for first, last in pairwise(cuts)], len(text))
        assert parts.count == whole.count == sum(map(bool, lines))
        if not parts.count:
            return
        ids = np.concatenate(list(parts.ids()))
        starts = np.concatenate(list(parts.starts()))
        np.testing.assert_array_equal(ids, np.concatenate(list(whole.ids())))
    assert ids.dtype == dtype
    assert len(ids) == parts.characters == whole.characters
    ends = np.flatnonzero(ids == END)
    assert ends[:-1].tolist() == starts.tolist()
    assert sorted(ids[first + 1:last].tolist() for first, last in pairwise(ends)) == sorted(filter(None, lines))


def test_no_bucket_is_much_larger_than_intended(monkeypatch):
    monkeypatch.setattr("charrnn.text.documents._BUCKET", 500)
    text = np.tile(np.array([1, 2, 3, 4, END], np.uint8), 2000)
    lines, read = shuffled([text], len(text)), []
    original = Lines._read
    monkeypatch.setattr(Lines, "_read", lambda self, place, size: read.append(size) or original(self, place, size))
    assert sum(map(len, lines.ids())) == 1 + len(text)
    assert len(read) == 20
    assert max(read) < 1000
