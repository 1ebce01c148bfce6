"""Words: an automaton that accepts texts of given words, as a prefix tree."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from charrnn.errors import ConfigError, check_type

_JOINERS = "'\u2019"
"""Characters that are part of a word if they are between two of its letters."""


def is_letter(character: str) -> bool:
    """Return whether a character can be part of a word: a letter, a digit or a combining mark."""
    return character.isalnum() or unicodedata.category(character)[0] == "M"


def words_in(text: str) -> set[str]:
    """Return the distinct words of a text: letters, and single apostrophes between them."""
    letters = "".join(map(re.escape, filter(is_letter, set(text))))
    return set(re.findall(f"[{letters}]+(?:[{_JOINERS}][{letters}]+)*", text)) if letters else set()


def words_of(blocks: Iterable[str]) -> set[str]:
    """Return the distinct words of a text that comes in blocks."""
    words: set[str] = set()
    rest = ""
    for block in blocks:
        text = rest + block
        cut = next((k for k in range(len(text), 0, -1) if not is_letter(text[k - 1]) and text[k - 1] not in _JOINERS), 0)
        words |= words_in(text[:cut])
        rest = text[cut:]
    return words | words_in(rest)


class Words:
    """Accepts the texts whose words are all in ``words``; ``characters`` that are not letters may be between them.

    The states are the nodes of a prefix tree. State 0 is its root, between two words. State 1 follows a word and a
    quotation mark: no letter may follow, because the mark would then be an apostrophe inside a word. Raises ConfigError if
    there is no word, or one that contains other characters than letters and apostrophes between them.
    """

    name = "words"
    start = 0

    def __init__(self, words: Iterable[str], characters: Iterable[str]) -> None:
        self._next: list[dict[str, int]] = [{}, {}]
        self._is_end = [True, True]  # whether the word may end here; true after an apostrophe that may be a quotation mark
        self._others = {character: 0 for character in characters if not is_letter(character)}
        self._after_word = {character: int(character in _JOINERS) for character in self._others}
        self._no_word = {0, 1}  # the nodes after which an apostrophe is a quotation mark
        for word in words:
            check_type("a word", word, str)
            if words_in(word) != {word}:
                raise ConfigError("words", f"{word!r} is not a word", "pass words of letters, digits and apostrophes")
            self._add(word)
        if len(self._next) == 2:
            raise ConfigError("words", "contains no word", "pass at least one word")

    def _add(self, word: str) -> None:
        node = 0
        for character in word:
            if character not in self._next[node]:
                self._next[node][character] = len(self._next)
                self._next.append({})
                self._is_end.append(character in _JOINERS and self._is_end[node])
                if character in _JOINERS:
                    self._no_word.add(self._next[node][character])
            node = self._next[node][character]
        self._is_end[node] = True
        for joiner in _JOINERS:
            if joiner in self._next[node]:
                self._is_end[self._next[node][joiner]] = True

    def edges(self, state: int) -> Mapping[str, int]:
        """Return the next state for each character that may follow."""
        if not self._is_end[state]:
            return self._next[state]
        return {**(self._others if state in self._no_word else self._after_word), **self._next[state]}

    def accepts(self, state: int) -> bool:
        """Return whether the text may end in ``state``."""
        return self._is_end[state]
