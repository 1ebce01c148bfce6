"""Features of a text that a person can name: inside quotation marks, the position in the line, a vowel.

The value of a feature at a character describes the text up to and including this character, because a network that has
read this far does not know what follows. So the opening quotation mark is inside the quotation, and the closing one is not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from charrnn.text.vocabulary import code_points

STRUCTURE, WORDS, CHARACTER = range(3)
"""The ranks of features: of the structure of the text, of words, and of the last character alone."""

_STRETCHES = 10
"""Minimum number of times that a value must fall in each half of a text: a stretch ends, or a count starts again."""

_CHARACTERS = 50
"""Minimum number of characters of each half for which a feature must be true, and for which it must be false."""

_MOST_OF = 0.8
"""A rule about lines or brackets applies to a text if it holds for this fraction of them."""

_PYTHON = re.compile(r"^[ \t]*(?:def \w+\(|class \w+.*:$|import \w|from [\w.]+ import |(?:if|for) .*:$)", re.M)
_PYTHON_TOKEN = re.compile(r"""(?s:\#[^\n]* | (?P<mark>(?P<triple>\"{3}|'{3})|["']) (?:\\.|(?!(?P=mark))(?(triple).|[^\n]))*
                           (?P<end>(?P=mark))?)""", re.X)
_BRACES = re.compile(r"[;{}][ \t]*$", re.M)
_BRACES_TOKEN = re.compile(r"""(?s:(?<!:)//[^\n]* | /\*(?:(?!\*/).)*(?P<stop>\*/)?
                           | (?P<mark>["']) (?:\\.|(?!(?P=mark))[^\n])* (?P<end>(?P=mark))?)""", re.X)
_NAME = re.compile(r"([^\W\d_][\w .'’&()-]{1,38}):")
_HEADER = re.compile(r"^[A-Za-z](:.*)", re.M)
_URL = re.compile(r"(?:https?|ftp):/(/[^\s<>\"')\]}]*)")
_BRACKETS = {"round brackets": "()", "square brackets": "[]", "curly brackets": "{}"}


class Feature(NamedTuple):
    """A feature of a text of N characters: what is true after a character, in plain English.

    ``values`` (N,) are bool for a yes-or-no feature, such as "inside quotation marks", and float32 for a number, such as
    "position in the line". ``rank`` is ``STRUCTURE``, ``WORDS`` or ``CHARACTER``.
    """

    name: str
    values: np.ndarray
    rank: int

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers."""
        return self.values.dtype != bool


def features(text: str, of_bytes: bool = False) -> list[Feature]:
    """Return the features that ``text`` has often enough in each half, in the order of their ranks.

    With ``of_bytes``, each character of ``text`` is a byte of UTF-8; every byte above 127 counts as a letter.
    """
    chars = _Characters(text, of_bytes)
    found = [*_structure(text, chars), *_words(chars)]
    return [Feature(name, values if values.dtype == bool else values.astype(np.float32), rank)
            for rank, name, values in found if _is_frequent(values)]


def _is_frequent(values: np.ndarray) -> bool:
    """Return whether both halves of a text contain enough examples to tell whether a unit follows a feature."""
    return all(np.count_nonzero(half[1:] < half[:-1]) >= _STRETCHES
               and (half.dtype != bool or _CHARACTERS <= np.count_nonzero(half) <= len(half) - _CHARACTERS)
               for half in (values[:len(values) // 2], values[len(values) // 2:]))


class _Characters:
    """The characters of a text, and the classes of characters that several features need: (N,) of bool each."""

    def __init__(self, text: str, of_bytes: bool) -> None:
        points, self._indices = np.unique(code_points(text), return_inverse=True)
        self._distinct = [chr(point) if point < 128 or not of_bytes else "\u01bb" for point in points.tolist()]
        self.continues = (points >= 0x80)[self._indices] & (points < 0xC0)[self._indices] & of_bytes
        self.is_newline = self.where(lambda c: c == "\n")
        self.is_space = self.where(str.isspace)
        self.is_letter = self.where(lambda c: unicodedata.category(c)[0] in "LM")
        self.is_capital = self.where(str.isupper)
        self.is_first = self.is_letter & ~_before(self.is_letter)
        in_line = _last(~self.is_space) > _before(_last(self.is_newline), -1)
        self.is_blank_line = self.is_newline & ~in_line

    def where(self, test: Callable[[str], bool]) -> np.ndarray:
        """Return the result of ``test`` for each character."""
        return np.array([bool(test(character)) for character in self._distinct], bool)[self._indices]

    def among(self, characters: str) -> np.ndarray:
        """Return whether each character is one of ``characters``."""
        return self.where(lambda c: c in characters)


def _structure(text: str, chars: _Characters) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield the features of the structure of a text: rank, name and values."""
    newline, blank = chars.is_newline, chars.is_blank_line
    lines = max(1, int(newline.sum()))
    python = len(_PYTHON.findall(text)) / lines >= 0.05
    braces = not python and len(_BRACES.findall(text)) / lines >= 0.2
    if python or braces:
        yield from ((STRUCTURE, name, values)
                    for name, values in _source_code(text, _PYTHON_TOKEN if python else _BRACES_TOKEN).items())
    else:
        yield STRUCTURE, "inside quotation marks", _quoted(text, chars)
    speakers = _speakers(text)
    if speakers is not None:
        yield STRUCTURE, "inside a speaker's name", speakers
    else:
        yield STRUCTURE, "in the first line after a blank line", ~blank & (_count(newline, blank) == 0)
    for name, pair in _BRACKETS.items():
        yield STRUCTURE, f"inside {name}", _depth(chars, pair[0], pair[1]) > 0
    depth = _depth(chars, "([{", ")]}")
    if np.count_nonzero(depth > 1) >= 0.1 * np.count_nonzero(depth):
        yield STRUCTURE, "depth of nested brackets", depth
    if len(re.findall(r"<[A-Za-z/!?]", text)) >= _MOST_OF * text.count("<"):
        yield STRUCTURE, "inside a tag", _last(chars.among("<")) > _last(chars.among(">") | blank)
    yield STRUCTURE, "inside a URL", _spans(text, (match.span(1) for match in _URL.finditer(text)))
    headers = list(_HEADER.finditer(text))
    if {"X", "K"} <= {match[0][0] for match in headers}:
        yield STRUCTURE, "inside a header line (X:, T:, K:)", _spans(text, (match.span(1) for match in headers))
        yield STRUCTURE, "position in the bar", _since(newline | chars.among("|"))
    in_indent = chars.among(" \t") & (_last(~chars.among(" \t")) == _last(newline))
    yield STRUCTURE, "indentation of the line", _count(in_indent, newline)
    yield STRUCTURE, "inside the indentation", in_indent
    yield STRUCTURE, "position in the line", _since(newline)
    yield STRUCTURE, "characters since the last blank line", _since(blank)
    yield STRUCTURE, "lines since the last blank line", _count(newline & ~blank, blank)
    yield STRUCTURE, "position in the sentence", _since(chars.among(".!?\u061f\u0964\u06d4\u3002") | blank)
    yield STRUCTURE, "in capital letters", _count(chars.is_capital, newline | chars.where(str.islower)) >= 3
    latin = chars.where(lambda c: unicodedata.name(c, "").startswith("LATIN"))
    yield STRUCTURE, "in Latin script", _last(latin) > _last(chars.is_letter & ~latin)


def _words(chars: _Characters) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield the features of words and of single characters: rank, name and values."""
    letter, newline = chars.is_letter, chars.is_newline
    yield WORDS, "in the first word of a line", letter & (_count(chars.is_first, newline) == 1)
    yield WORDS, "letters so far in the word", _since(~letter)
    yield WORDS, "in a capitalized word", letter & (_last(chars.is_first & chars.is_capital) == _last(chars.is_first))
    yield WORDS, "after a capital letter", _before(chars.is_capital)
    yield CHARACTER, "a newline", newline
    yield CHARACTER, "a letter", letter
    yield CHARACTER, "a capital letter", chars.is_capital
    yield CHARACTER, "a vowel", chars.among("aeiouAEIOU")
    yield CHARACTER, "a digit", chars.where(str.isdigit)
    yield CHARACTER, "a punctuation mark", chars.where(lambda c: unicodedata.category(c)[0] == "P")
    yield CHARACTER, "a space", chars.is_space & ~newline
    yield CHARACTER, "second or later byte of a character", chars.continues


# From events to values: all arrays are (N,)

def _last(event: np.ndarray) -> np.ndarray:
    """Return the index of the last event, -1 before the first one."""
    return np.maximum.accumulate(np.where(event, np.arange(len(event)), -1)) if len(event) else np.empty(0, np.int64)


def _before(values: np.ndarray, first: int = 0) -> np.ndarray:
    """Return the value at the character before; ``first`` at the first character."""
    return np.concatenate([np.array([first], values.dtype), values])[:len(values)]


def _since(event: np.ndarray) -> np.ndarray:
    """Return the number of characters since the last event, or since the beginning of the text."""
    return np.arange(len(event)) - _last(event)


def _count(counted: np.ndarray, restart: np.ndarray) -> np.ndarray:
    """Return how many characters are ``counted`` since the last ``restart``, which is not counted itself."""
    totals = np.cumsum(counted)
    return totals - np.where(_last(restart) < 0, 0, totals[_last(restart)])


def _spans(text: str, spans: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return whether a character is in one of ``spans``, given as (start, end)."""
    values = np.zeros(len(text), bool)
    for start, end in spans:
        values[start:end] = True
    return values


def _depth(chars: _Characters, opening: str, closing: str) -> np.ndarray:
    """Return the number of open brackets, which is never below 0, and 0 after a blank line.

    It is 0 everywhere unless most brackets of the text are in pairs: ABC music writes "(3" for a triplet.
    """
    step = chars.among(opening).astype(np.int64) - chars.among(closing)
    depth = np.zeros(len(step), np.int64)
    opened, closed = np.count_nonzero(step > 0), np.count_nonzero(step < 0)
    if min(opened, closed) < _MOST_OF * max(opened, closed):
        return depth
    now = 0
    for index in np.flatnonzero((step != 0) | chars.is_blank_line).tolist():
        now = 0 if chars.is_blank_line[index] else max(0, now + int(step[index]))
        depth[index] = now
    changes = np.maximum(_last((step != 0) | chars.is_blank_line), 0)
    return depth[changes]


def _quoted(text: str, chars: _Characters) -> np.ndarray:
    """Return whether a character is inside double quotation marks, straight, curly or angular; not after a blank line.

    A straight mark opens a quotation after a space, closes it after a punctuation mark, and otherwise alternates.
    The mark “ closes a quotation that is open, as in German. The mark » opens one if most of them precede a letter.
    """
    inwards = len(re.findall(r"»\w", text)) > 0.5 * text.count("»")
    opening, closing = ("„»", "”«") if inwards else ("„«", "”»")
    events = chars.among("\"“" + opening + closing) | chars.is_blank_line
    states = np.zeros(len(text), bool)
    is_open = False
    for index in np.flatnonzero(events).tolist():
        mark, before = text[index], text[index - 1] if index else "\n"
        if mark == '"':
            is_open = before.isspace() or (before not in ".,!?" and not is_open)
        else:
            is_open = mark in opening or (mark == "“" and not is_open)
        states[index] = is_open
    return states[np.maximum(_last(events), 0)] if len(text) else states


def _source_code(text: str, token: re.Pattern[str]) -> dict[str, np.ndarray]:
    """Return whether a character is inside a comment or a string of source code; the closing mark is not."""
    comments, strings, long_strings = [], [], []
    for match in token.finditer(text):
        groups = match.groupdict()
        start, end = match.span()
        if groups["end"] or groups.get("stop"):
            end -= 1
        if groups["mark"] is None:
            comments.append((start if text[start] == "#" else start + 1, end))  # the mark is // or /*
        elif groups.get("triple"):
            long_strings.append((start + 2, end))
            strings += [(start, start + 1), (start + 2, end)]  # the first two of three marks could be an empty string
        else:
            strings.append((start, end))
    return {"inside a comment": _spans(text, comments), "inside a string": _spans(text, strings),
            "inside a string of several lines": _spans(text, long_strings)}


def _speakers(text: str) -> np.ndarray | None:
    """Return whether a character is in the name of a speaker before its colon, as in a play or a log of a conversation.

    It returns None unless most lines after a blank line, or most lines of the text, begin with a short name and a colon.
    """
    lines = [match.start() for match in re.finditer(r"^.", text, re.M)]
    for heads in ([start for start in lines if text[max(0, start - 2):start] in ("", "\n\n")], lines):
        names = sum(not text[start].islower() and _NAME.match(text, start) is not None for start in heads)
        if names >= max(_STRETCHES, _MOST_OF * len(heads)):
            ends = (re.compile("[:\n]|$").search(text, start) for start in heads)
            return _spans(text, ((start, match.start()) for start, match in zip(heads, ends) if match))
    return None
