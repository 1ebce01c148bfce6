"""charrnn.inference.rows"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.inference.rows import BY, Row, by_character, by_line, by_text
from charrnn.inference.scoring import Score


def scores(*blocks: str) -> list[Score]:
    """Return scores in which the nats of a character are its position in the text, from 1, and "x" is unknown."""
    first, found = 1, []
    for block in blocks:
        nats = np.arange(first, first + len(block), dtype=np.float64)
        nats[[character == "x" for character in block]] = math.nan
        found.append(Score(block, nats))
        first += len(block)
    return found


def test_lines_include_their_line_breaks() -> None:
    rows = list(by_line(scores("ab\n\nx", "cx", "d\nx\ne")))
    assert [row[:5] for row in rows] == [(1, "ab", 3, 6, 0), (2, "", 1, 4, 0), (3, "xcxd", 5, 6 + 8 + 9, 2),
                                         (4, "x", 2, 11, 1), (5, "e", 1, 12, 0)]
    np.testing.assert_array_equal(rows[2].each, [math.nan, 6, math.nan, 8, 9])
    assert rows[0].bits == pytest.approx(6 / math.log(2))


@given(st.lists(st.text("ab\nx\r\u2028", max_size=9), max_size=6))
@example(["\n"])
@example(["", "a", ""])
def test_the_division_into_blocks_changes_nothing(blocks: list[str]) -> None:
    whole = "".join(blocks)
    lines = whole.split("\n")
    rows = list(by_line(scores(*blocks)))
    assert [row.text for row in rows] == (lines[:-1] if lines[-1] == "" else lines)
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert sum(row.characters for row in rows) == len(whole)
    assert all(len(row.each) == row.characters for row in rows)
    (score,) = scores(whole)
    (text,) = by_text(scores(*blocks))
    characters = list(by_character(scores(*blocks)))
    assert text[:3] == (1, None, len(whole))
    assert [row.text for row in characters] == list(whole)
    assert [row.number for row in characters] == list(range(1, len(whole) + 1))
    for found in (rows, [text], characters):
        assert sum(row.unknown for row in found) == score.unknown
        assert np.nansum([row.nats for row in found]) == pytest.approx(score.total)


def test_an_unknown_character_has_no_nats() -> None:
    known, unknown = by_character(scores("ax"))
    assert known[:5] == (1, "a", 1, 1.0, 0)
    assert math.isnan(unknown.nats)
    assert math.isnan(unknown.bits)
    assert unknown.unknown == 1


def test_a_line_comes_before_the_next_block_is_read() -> None:
    parts = iter(scores("a\nb", "c\n"))
    rows = by_line(parts)
    assert next(rows).text == "a"
    assert next(parts).text == "c\n"


def test_texts_have_numbers() -> None:
    assert [row.number for row in BY["text"](scores("a"), 7)] == [7]
    assert isinstance(next(iter(BY["line"](scores("a"), 1))), Row)
