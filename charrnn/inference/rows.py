"""Rows: the scores of a text by character, by line or document, or for the whole text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from charrnn.config import END
from charrnn.inference.scoring import Score
from charrnn.text.vocabulary import code_points


class Row(NamedTuple):
    """The score of a part of a text: of a character, a line, a document or the whole text.

    ``number`` counts the parts of a text, or the texts, from 1. ``text`` is the part without its line break or end mark, or
    None for a whole text. ``characters`` includes the line break or end mark and the ``unknown`` characters; ``nats`` is
    the sum over the known ones, or NaN for a single character that is unknown. ``each`` (N,) contains the nats of each
    character of a line or document, NaN for unknown ones.
    """

    number: int
    text: str | None
    characters: int
    nats: float
    unknown: int
    each: np.ndarray

    @property
    def bits(self) -> float:
        """``nats`` in bits."""
        return self.nats / math.log(2)


_NOTHING = np.empty(0)


def by_character(scores: Iterable[Score], first: int = 1) -> Iterator[Row]:
    """Yield a row for each character."""
    for score in scores:
        for number, (character, nats) in enumerate(zip(score.text, score.nats.tolist()), first):
            yield Row(number, character, 1, nats, int(math.isnan(nats)), _NOTHING)
        first += len(score)


def by_line(scores: Iterable[Score], first: int = 1) -> Iterator[Row]:
    """Yield a row for each line as soon as its line break has been read; the last line may lack one."""
    return _by_part(scores, first, "\n")


def by_document(scores: Iterable[Score], first: int = 1) -> Iterator[Row]:
    """Yield a row for each document as soon as its end mark has been read."""
    return _by_part(scores, first, END)


def _by_part(scores: Iterable[Score], first: int, end: str) -> Iterator[Row]:
    rest: list[Score] = []
    for score in scores:
        rest.append(score)
        if end in score.text:
            text, nats = _joined(rest)
            ends = np.flatnonzero(code_points(text) == ord(end)) + 1
            yield from _rows(text, nats, ends, first, end)
            first += len(ends)
            rest = [Score(text[ends[-1]:], nats[ends[-1]:].copy())]
    text, nats = _joined(rest)
    if text:
        yield from _rows(text + end, nats, np.array([len(text)]), first, end)


def by_text(scores: Iterable[Score], first: int = 1) -> Iterator[Row]:
    """Yield one row."""
    characters, nats, unknown = 0, 0.0, 0
    for score in scores:
        characters += len(score)
        nats += score.total
        unknown += score.unknown
    yield Row(first, None, characters, nats, unknown, _NOTHING)


BY: dict[str, Callable[[Iterable[Score], int], Iterator[Row]]] = {
    "character": by_character, "line": by_line, "document": by_document, "text": by_text}
"""The functions that turn scores into rows."""


def _joined(scores: list[Score]) -> tuple[str, np.ndarray]:
    if len(scores) == 1:
        return scores[0].text, scores[0].nats
    return "".join(score.text for score in scores), np.concatenate([_NOTHING, *(score.nats for score in scores)])


def _rows(text: str, nats: np.ndarray, ends: np.ndarray, first: int, end: str) -> Iterator[Row]:
    """Yield a row for each of the parts that end before the positions ``ends`` (N,); what follows is left out."""
    starts = np.append(0, ends[:-1])
    nats = nats[:ends[-1]]
    is_unknown = np.isnan(nats)
    sums = np.add.reduceat(np.where(is_unknown, 0, nats), starts).tolist()
    unknown = np.add.reduceat(is_unknown, starts, dtype=np.int64).tolist()
    bounds = zip(starts.tolist(), ends.tolist())
    for number, (part, (start, stop)) in enumerate(zip(text.split(end), bounds), first):
        yield Row(number, part, stop - start, sums[number - first], unknown[number - first], nats[start:stop])
