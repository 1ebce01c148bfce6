"""Constraints on samples: automata that determine which characters may come next."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from charrnn.errors import ConfigError
from charrnn.text.vocabulary import Vocabulary

_MOST_STATES = 2_000_000
_NEVER = 2**62


class Automaton(Protocol):
    """A deterministic automaton that reads characters. A text is accepted if ``accepts`` is true of its last state."""

    name: str
    """The setting that it belongs to."""

    @property
    def start(self) -> Hashable:
        """The state before the first character."""

    def edges(self, state: Any) -> Mapping[str, Any]:
        """Return the next state for each character that may follow."""

    def accepts(self, state: Any) -> bool:
        """Return whether the text may end in ``state``."""


class Position(NamedTuple):
    """The position of a sample: the number of its state, and its text if documents are excluded, otherwise ""."""

    state: int
    text: str


class Constraint:
    """Tells which characters may come next, so that all ``automata`` accept the text and it is not one of ``exclude``.

    ``allow`` are the characters that may be generated, None for all of the vocabulary. ``end`` is the end mark of documents
    or None. The automata read ``prime`` first; ``length`` is the number of characters that may be generated, including the
    end mark. A sample ends if the end mark is drawn or no character may follow.

    The product of the automata is built in advance, with the distance of each state from the nearest accepting state. So a
    character is allowed only if an accepted text can be completed within ``length``. Raises ConfigError if no such text
    exists.
    """

    def __init__(self, vocabulary: Vocabulary, automata: Sequence[Automaton], *, allow: str | None = None,
                 exclude: Iterable[str] = (), end: str | None = None, prime: str = "", length: int | None = None) -> None:
        self._vocabulary = vocabulary
        self._ids = {character: number for number, character in enumerate(vocabulary.characters)
                     if number != vocabulary.unknown and character != end}
        self._end = None if end is None else vocabulary.id(end)
        if allow is not None:
            self._ids = {character: self._ids[character] for character in allow if character in self._ids}
            if not self._ids:
                raise ConfigError("allow", "contains no character of the vocabulary", "add characters of the training text")
        self._automata = automata
        self._excluded = frozenset(exclude)
        self._sorted = sorted(self._excluded)
        self._masks: dict[int, np.ndarray] = {}
        self._names = [*(automaton.name for automaton in automata), *["allow"] * (allow is not None)]
        self._names += ["exclude"] * (bool(self._excluded) or not self._names)
        self._build(self._after(prime))
        self.start = Position(0, prime if self._excluded else "")
        self._check_start(length)

    def allowed(self, position: Position, left: int | None) -> np.ndarray:
        """Return which ids may follow, (V,) of bool, if ``left`` characters may still be generated (None: any number)."""
        state, is_tight = position.state, left is not None and left <= self._longest + 1
        mask = self._masks.get(state)
        if mask is None or is_tight:
            mask = self._mask(state, left if is_tight else None)
            if not is_tight:
                self._masks[state] = mask
        if self._excluded and self._is_prefix(position.text):
            mask = mask.copy()
            for number in np.flatnonzero(mask).tolist():
                after = self.after(position, number)
                mask[number] = (position.text not in self._excluded if after is None else
                                self._can_end(after, None if left is None else left - 1))
        return mask

    def after(self, position: Position, number: int) -> Position | None:
        """Return the position after the character with this id, or None after the end mark, with which a sample ends."""
        if number == self._end:
            return None
        text = position.text + self._vocabulary.characters[number] if self._excluded else ""
        return Position(self._edges[position.state][number], text)

    def _mask(self, state: int, left: int | None) -> np.ndarray:
        mask = np.zeros(len(self._vocabulary), bool)
        most = _NEVER - 1 if left is None else left - 1
        mask[[number for number, after in self._edges[state].items() if self._distance[after] <= most]] = True
        if self._end is not None and self._accepts[state]:
            mask[self._end] = True
        return mask

    def _after(self, prime: str) -> tuple[Any, ...]:
        """Return the states of the automata after ``prime``."""
        states = [automaton.start for automaton in self._automata]
        for k, automaton in enumerate(self._automata):
            for n, character in enumerate(prime):
                states[k] = automaton.edges(states[k]).get(character)
                if states[k] is None:
                    raise ConfigError("prime", f"{prime[:n + 1]!r} cannot be continued to a text that `{automaton.name}` "
                                               "allows", "change one of them")
        return tuple(states)

    def _build(self, start: tuple[Any, ...]) -> None:
        """Number the states that can be reached from ``start``, and compute their distances from acceptance."""
        numbers, states = {start: 0}, [start]
        self._edges: list[dict[int, int]] = []
        before: list[list[int]] = [[]]
        for number, current in enumerate(states):  # the list grows in this loop
            edges = {}
            for character, after in self._steps(current):
                if after not in numbers:
                    numbers[after] = len(states)
                    states.append(after)
                    before.append([])
                edges[self._ids[character]] = numbers[after]
                before[numbers[after]].append(number)
            self._edges.append(edges)
            if len(states) > _MOST_STATES:
                names = " and ".join(f"`{automaton.name}`" for automaton in self._automata)
                raise ConfigError(self._automata[0].name,
                                  f"{names} need{'s'[:len(self._automata) < 2]} more than {_MOST_STATES:,} states",
                                  "use a simpler expression or fewer words")
        self._accepts = [all(automaton.accepts(state) for automaton, state in zip(self._automata, current))
                         for current in states]
        self._distance = [_NEVER] * len(states)
        reached = [number for number, accepts in enumerate(self._accepts) if accepts]
        for number in reached:
            self._distance[number] = 0 if self._end is None else 1
        for number in reached:  # the list grows in this loop
            for other in before[number]:
                if self._distance[other] == _NEVER:
                    self._distance[other] = self._distance[number] + 1
                    reached.append(other)
        self._longest = max((distance for distance in self._distance if distance < _NEVER), default=0)

    def _steps(self, states: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Yield the characters that all automata allow in ``states``, with their next states."""
        found = [automaton.edges(state) for automaton, state in zip(self._automata, states)]
        shortest = min(found, key=len, default=self._ids)
        for character in shortest:
            if character in self._ids and all(character in edges for edges in found):
                yield character, tuple(edges[character] for edges in found)

    def _check_start(self, length: int | None) -> None:
        names = " and ".join(f"`{name}`" for name in self._names)
        allow = f"allow{'s'[:len(self._names) < 2]}"
        if self._distance[0] == _NEVER:
            raise ConfigError(self._names[0], f"the model can write no text that {names} {allow}",
                              "change the settings, or use a model that knows more characters")
        if length is not None and self._distance[0] > length:
            raise ConfigError("length", f"a text that {names} {allow} needs {self._distance[0]:,} more "
                                        f"character{'s'[:self._distance[0] != 1]} or more, not {length:,}",
                              "set a larger `length`")
        if not self._can_end(self.start, length):
            raise ConfigError("exclude", "every text that the model can write within `length` is excluded",
                              "set a larger `length`, or leave out `exclude`")

    def _is_prefix(self, text: str) -> bool:
        """Return whether an excluded document starts with ``text``."""
        index = bisect_left(self._sorted, text)
        return index < len(self._sorted) and self._sorted[index].startswith(text)

    def _can_end(self, position: Position, left: int | None) -> bool:
        """Return whether a text that is not excluded can be completed from ``position`` with ``left`` characters."""
        waiting = [(position, _NEVER - 1 if left is None else left)]
        while waiting:
            (state, text), most = waiting.pop()
            if self._distance[state] > most:
                continue
            if not self._is_prefix(text) or (self._accepts[state] and text not in self._excluded):
                return True
            waiting += [(Position(after, text + self._vocabulary.characters[number]), most - 1)
                        for number, after in self._edges[state].items()]
        return False
