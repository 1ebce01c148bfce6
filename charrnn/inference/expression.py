"""Expression: an automaton that accepts the texts that match a regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from charrnn.errors import CharRNNError, ConfigError


class Expression:
    """Accepts the texts that match a regular expression of Python as a whole, as ``re.fullmatch`` does.

    The package interegular makes the automaton; ``characters`` are those of the vocabulary. Raises ConfigError if the
    expression is invalid or uses what an automaton cannot do (back references), CharRNNError if interegular is missing.
    """

    name = "match"

    def __init__(self, expression: str, characters: Iterable[str]) -> None:
        try:
            re.compile(expression)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError("match", f"{expression!r} is not a regular expression ({error})", "see the documentation of "
                              "Python's module re") from error
        try:
            from interegular import InvalidSyntax, Unsupported, parse_pattern
        except ImportError as error:
            raise CharRNNError("`match` needs the package interegular", "install the extra 'match'") from error
        try:
            self._automaton = parse_pattern(expression).to_fsm()
        except (InvalidSyntax, Unsupported, RecursionError) as error:
            raise ConfigError("match", f"{expression!r} cannot be used ({error})",
                              "use an expression without references and assertions") from error
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
