"""charrnn.inference.words"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from charrnn.errors import ConfigError
from charrnn.inference.words import Words, words_in, words_of

LETTERS = "abc '\u2019."


def accepts(words: Words, text: Iterable[str]) -> bool:
    """Return whether an automaton accepts a text."""
    state = words.start
    for character in text:
        if (found := words.edges(state).get(character)) is None:
            return False
        state = found
    return words.accepts(state)


@pytest.mark.parametrize(("text", "words"), [
    ("", set()), ("... - '", set()), ("a cat, a dog.", {"a", "cat", "dog"}),
    ("don't 'don't' rock'n'roll", {"don't", "rock'n'roll"}),
    ("'quoted' ''twice''", {"quoted", "twice"}), ("dogs' l\u2019été", {"dogs", "l\u2019été"}), ("a''b", {"a", "b"}),
    ("x-y_z", {"x", "y", "z"}),
    ("1,000 7th", {"1", "000", "7th"}), ("e\u0301t\u0301", {"e\u0301t\u0301"}),
    ("हिन्दी سلام", {"हिन्दी", "سلام"}), ("a\ud800b", {"a", "b"}),
])
def test_words_in_a_text(text: str, words: set[str]) -> None:
    assert words_in(text) == words
    assert words_of([text]) == words
    assert words_of(text) == words  # one character at a time
    assert words_of([text[:3], "", text[3:]]) == words


@pytest.mark.parametrize("words", [["a"], ["ab", "abc"], ["a", "a'b"], ["a'b"], ["a'b'c", "a"],
                                   ["c", "b\u2019a", "b"], ["a", "b"]], ids=str)
def test_accepts_exactly_the_texts_that_contain_only_the_words(words: list[str]) -> None:
    automaton = Words(words, LETTERS)
    for size in range(6):
        for letters in itertools.product(LETTERS if size < 5 else "ab '", repeat=size):
            assert accepts(automaton, letters) == (words_in("".join(letters)) <= set(words)), letters


def test_accepts_a_long_text_and_rejects_another_word_in_it() -> None:
    text = "It's the cats' house, isn't it? 'Yes', she said. " * 20
    automaton = Words(words_in(text), sorted(set(text)))
    assert accepts(automaton, text)
    for other in ("it's", "Yes's", "hous", "houses", "isn'tit", "isn"):
        assert not accepts(automaton, f"{text}{other}")


def test_characters_that_are_not_in_the_vocabulary_are_not_between_words() -> None:
    automaton = Words(["a"], "a ")
    assert set(automaton.edges(automaton.start)) == {"a", " "}


@pytest.mark.parametrize("words", [["two words"], ["'a"], ["a'"], [""], ["."], ["a", "b-c"]])
def test_other_than_words_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="is not a word"):
        Words(words, LETTERS)


def test_no_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="contains no word"):
        Words([], LETTERS)
    with pytest.raises(TypeError, match="a word must be of type str"):
        Words([1], LETTERS)  # type: ignore[list-item]
