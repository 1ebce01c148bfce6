"""charrnn.text.known_text"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text import known_text, spool
from charrnn.text.known_text import KnownText
from charrnn.text.vocabulary import UNKNOWN, Vocabulary, code_points

PLAIN = Vocabulary.of("\nabé😀")
SLOT = Vocabulary(np.append(PLAIN.codepoints, UNKNOWN))
TEXTS = st.lists(st.text("\nabé😀xÿ\ud800\U0010ffff", max_size=12), max_size=6)


@pytest.mark.parametrize("vocabulary", [PLAIN, SLOT], ids=["plain", "slot"])
@given(pieces=TEXTS, block=st.integers(1, 9), small=st.sampled_from([0, 10, 10**6]))
def test_returns_the_text_block_by_block_and_what_a_model_reads(vocabulary: Vocabulary, pieces: list[str], block: int,
                                                                small: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_text, "_BLOCK", block)
        patch.setattr(spool, "SMALL", small)
        whole = "".join(pieces)
        ids, known = vocabulary.encode_known(whole)
        with KnownText(vocabulary, lambda: Path(tempfile.gettempdir())) as text:
            for piece in pieces:
                text.add(piece)
            text.end()
            blocks = list(text.blocks())
            assert len(text) == len(whole)
            read = ids if vocabulary is SLOT else ids[known]
            assert text.ids.tolist() == read.tolist()
            assert text.ids.dtype == vocabulary.dtype
            assert "".join(part.text for part in blocks) == whole
            assert all(len(part.text) == len(part.known) == block for part in blocks[:-1])
            assert np.concatenate([[], *(part.known for part in blocks)]).tolist() == known.tolist()
            for part in blocks:
                expected = vocabulary.encode_known(part.text)[0]
                assert text.ids[part.ids].tolist() == (expected if vocabulary is SLOT else expected[part.known]).tolist()


def test_a_text_of_unknown_characters_has_no_ids(tmp_path: Path) -> None:
    text = KnownText(PLAIN, lambda: tmp_path)
    text.add("xyz")
    text.end()
    (part,) = text.blocks()
    assert (part.text, part.known.tolist(), len(text.ids)) == ("xyz", [False] * 3, 0)
    assert code_points(part.text).tolist() == [120, 121, 122]
