"""Expression: an automaton that accepts the texts that match a regular expression."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from charrnn.errors import CharRNNError, ConfigError

_OUTSIDE = re.compile(r"\\.|\[\^?\]?|\(\?(?:[=!#]|<[=!])|.", re.DOTALL)
_INSIDE = re.compile(r"\\.|.", re.DOTALL)
"""The parts of an expression outside and inside a character class. A "]" at its start is one of its characters."""

_ADVICE = "use an expression without backreferences, assertions and comments"


class Expression:
    """Accepts the texts that match a regular expression of Python as a whole, as ``re.fullmatch`` does.

    The package interegular makes the automaton; ``characters`` are those of the vocabulary. Raises ConfigError if the
    expression is invalid or uses backreferences, assertions or comments, CharRNNError if interegular is missing.
    """

    name = "match"

    def __init__(self, expression: str, characters: Sequence[str]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # about "[" in a class
                re.compile(expression)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError("match", f"{expression!r} is not a regular expression ({error})", "see the documentation of "
                              "Python's module re") from error
        try:
            from interegular import InvalidSyntax, Unsupported, parse_pattern
        except ImportError as error:
            raise CharRNNError("`match` needs the package interegular", "pip install '.[match]'") from error
        try:
            self._automaton = parse_pattern(_with_unicode_classes(expression, "".join(characters))).to_fsm()
        except (InvalidSyntax, Unsupported, RecursionError) as error:
            raise ConfigError("match", f"{expression!r} cannot be used ({error})", _ADVICE) from error
        self._symbols = {character: self._automaton.alphabet[character] for character in characters}
        self._edges: dict[Any, Mapping[str, Any]] = {}
        self.start = self._automaton.initial

    def edges(self, state: Any) -> Mapping[str, Any]:
        """Return the next state for each character that may follow."""
        if state not in self._edges:
            following = self._automaton.map.get(state, {})
            self._edges[state] = {character: following[symbol] for character, symbol in self._symbols.items()
                                  if symbol in following}
        return self._edges[state]

    def accepts(self, state: Any) -> bool:
        """Return whether the text may end in ``state``."""
        return state in self._automaton.finals


def _with_unicode_classes(expression: str, characters: str) -> str:
    r"""Rewrite an expression for interegular, in which ``\w``, ``\d`` and ``\s`` match only ASCII and there are no anchors.

    The classes are replaced by the ``characters`` that they match. ``^`` at the start and ``$`` at the end are removed,
    because they do not change which texts match as a whole.
    """
    expression = re.sub(r"^\^|(?<!\\)((?:\\\\)*)\$$", lambda match: match[1] or "", expression)
    parts, position, is_inside = [], 0, False
    while match := (_INSIDE if is_inside else _OUTSIDE).match(expression, position):
        part, position = match[0], match.end()
        if is_inside and part in "[]":
            is_inside = part == "["
            part = r"\[" if is_inside else part
        elif part[0] == "[":
            is_inside = True
            part = part.replace("]", r"\]")
        elif part[:2] == "(?":  # at the end of a text, interegular treats assertions differently
            raise ConfigError("match", f"{expression!r} cannot be used ({part} is not supported)", _ADVICE)
        elif len(part) == 2 and part[0] == "\\" and part[1] in "wdsWDS":
            found = "".join(re.escape(character) for character in re.findall(part.lower(), characters)) or r"\x00"
            if is_inside:
                part = found if part[1] in "wds" else "".join(map(re.escape, re.findall(part, characters)))
            else:
                part = f"[{'^' * part[1].isupper()}{found}]"
        parts.append(part)
    return "".join(parts)
