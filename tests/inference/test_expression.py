"""charrnn.inference.expression"""

from __future__ import annotations

import itertools
import re
import sys
import warnings

import pytest

from charrnn.errors import CharRNNError, ConfigError
from charrnn.inference.expression import Expression

CHARACTERS = "ab\n '-]é7.A_^$["


def accepts(expression: Expression, text: str) -> bool:
    """Return whether an automaton accepts a text."""
    state = expression.start
    for character in text:
        if (state := expression.edges(state).get(character)) is None:
            return False
    return expression.accepts(state)


@pytest.mark.parametrize("expression", [
    "", "a", ".", ".*", r"\w+", r"\W?", r"\d{2}", r"\D", r"\s\S", "[ab]*", "[^a]", r"[\w ]", r"[^\w]", r"[\W]a?", r"[^\W]",
    r"[\d-]", "[]a]", "[^]a]", r"[a\]]", "[a-]", "[.^$]", "[a[]", "[[]", r"[\[a]", r"\.", r"\$", r"\^",
    r"\n", r"\x61", r"\-",
    "(a|b)", "(?:a|bb)",
    "(?P<name>a)'", "(?i)A", "(?s).a", "a{,2}", "a{1,2}b", "a*?", "^a", "a$", "^(a|b)+$", r"a\$", "a|", "|b", "]", "[A-b]",
    "[a-é]", "(ab?)+", "(|a)b", r"[ab][a[]?\D{2}",
])
def test_accepts_the_texts_of_fullmatch(expression: str) -> None:
    automaton = Expression(expression, CHARACTERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pattern = re.compile(expression)
    found = 0
    for size in range(4):
        for letters in itertools.product(CHARACTERS, repeat=size):
            text = "".join(letters)
            assert accepts(automaton, text) == bool(pattern.fullmatch(text)), text
            found += accepts(automaton, text)
    assert found or expression in (r"[ab][a[]?\D{2}", "")


@pytest.mark.parametrize("expression", [
    "(?=a)a", "(?!a)b", "(?<=a)b", "(?<!a)b", "a(?#comment)", r"(a)\1", r"a\b", r"\Ba", "a^b", "a$b", r"\u00e9"])
def test_what_cannot_be_used_is_refused(expression: str) -> None:
    with pytest.raises(ConfigError, match=r"^match: .* cannot be used \(.*; use an expression without backreferences"):
        Expression(expression, CHARACTERS)


@pytest.mark.parametrize("expression", ["(", "[a", "*", "a{2,1}", r"\p", "(?P<a", "a" + "\\"])
def test_an_invalid_expression_is_refused(expression: str) -> None:
    with pytest.raises(ConfigError, match="is not a regular expression"):
        Expression(expression, CHARACTERS)


def test_a_class_that_contains_no_character_of_the_vocabulary_matches_nothing() -> None:
    for expression in (r"\d", r"[\d]", r"[^\D]"):
        automaton = Expression(expression, "ab")
        assert not any(accepts(automaton, text) for text in ("", "a", "b"))
    assert accepts(Expression(r"[^\d]", "ab"), "a")
    assert accepts(Expression(r"\D", "ab"), "a")


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "interegular", None)
    with pytest.raises(CharRNNError, match=r"match needs the package interegular; pip install '.\[match\]'"):
        Expression("a", CHARACTERS)


def test_prints_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    Expression("[[a]", CHARACTERS)
    assert not recwarn.list
