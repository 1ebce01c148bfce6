"""An n-gram model that counts: the least that a network should beat."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator

import numpy as np

from charrnn.config import check_range
from charrnn.inference.evaluation import Evaluation

BLOCK = 2**18
"""Characters that are read at a time."""

_NONE = -1
"""The number of what does not occur in the text that is evaluated."""

_FREE = -1
"""The key of a slot that is free."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio, which spreads keys that lie close together."""


def check_order(order: int) -> None:
    """Raise ConfigError unless ``order`` is a number from 0 to 32; beyond that counting only gets worse and slower."""
    check_range("order", order, int, least=0, most=32)


def witten_bell(training: np.ndarray, text: np.ndarray, vocabulary_size: int, order: int,
                progress: Callable[[int], None] | None = None) -> Evaluation:
    """What a model that counts ``training`` loses on every character of ``text`` but the first, in the mean.

    Each character c is predicted from its context h, the ``order`` characters before it (so that order 4 counts up to
    5-grams), or as many as ``text`` has there:

        P(c | h) = (count(h c) + T(h) P(c | h')) / (count(h) + T(h))

    T(h) is how many different characters follow h in ``training``, count(h) how many follow it in all, and h' is h
    without its oldest character; after the empty context comes 1 / ``vocabulary_size``. A context that nothing follows
    leaves it to h'. This is method C of Witten and Bell, "The zero-frequency problem" (1991), interpolated as in Chen
    and Goodman, "An empirical study of smoothing techniques for language modeling" (1998), section 2.5.

    ``training`` (N,) and ``text`` (M,) are ids below ``vocabulary_size`` of any unsigned dtype; ``training`` may be a
    memory map of any size: it is read once, in blocks, and only what follows the contexts of ``text`` is counted.
    ``progress`` is called with the number of characters of each block of it. Raises ConfigError as ``check_order`` does,
    ValueError for a text of fewer than two characters.
    """
    check_order(order)
    if len(text) < 2:
        raise ValueError("nothing to predict: an evaluation needs two characters at least")
    levels = [_Level(vocabulary_size) for _ in range(order + 1)]
    for _ in _read(text, levels, _Level.expect):
        pass
    known = 1  # the empty context
    for level in levels:
        level.begin_counting(known)
        known = level.expected
    for steps in _read(training, levels, _Level.count):
        _forget(training)
        if progress is not None:
            progress(len(steps[0][0]))
    for level in levels:
        level.end_counting()
    nats, first = 0.0, 1
    for steps in _read(text, levels, _Level.find):
        probability = np.full(len(steps[0][0]), 1 / vocabulary_size)
        for level, (contexts, pairs) in zip(levels, steps):
            level.sharpen(probability, contexts, pairs)
        nats -= float(np.log(probability[first:]).sum())
        first = 0
    return Evaluation(nats / (len(text) - 1), len(text) - 1)


def _read(ids: np.ndarray, levels: list[_Level], number: Callable[[_Level, np.ndarray, np.ndarray], np.ndarray]
          ) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """Of each block of ``ids`` the contexts and pairs of every level, as numbers, (block,) each.

    A pair is a context and the character after it, so that it is the next character's context on the next level.
    """
    before = np.full(len(levels), _NONE, dtype=np.int32)  # each level's pair that ends the last block
    for start in range(0, len(ids), BLOCK):
        characters = ids[start:start + BLOCK].astype(np.int64)
        contexts = np.zeros(len(characters), dtype=np.int32)
        steps = []
        for place, level in enumerate(levels):
            pairs = number(level, contexts, characters)
            steps.append((contexts, pairs))
            contexts = np.concatenate((before[place:place + 1], pairs[:-1]))
            before[place] = pairs[-1]
        yield steps


def _forget(ids: np.ndarray) -> None:
    """Take what was read of a memory map out of this process's memory; it stays in the system's cache as long as it may."""
    if isinstance(ids, np.memmap) and ids.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        ids._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


class _Level:
    """What follows the contexts of one length.

    The pairs of a context and a character that the evaluated text asks for are ``expected`` in number, and numbered as
    they come. ``counts`` (expected,) says how often training has them, ``totals`` and ``kinds`` (contexts,) how many
    characters follow each context there, and how many different ones.
    """

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size
        self.expected = 0
        self.table = _Table()

    def begin_counting(self, contexts: int) -> None:
        """All that is expected is known, and so many contexts."""
        self.counts = np.zeros(self.expected, dtype=np.int64)
        self.totals, self.kinds = np.zeros((2, contexts), dtype=np.int64)

    def expect(self, contexts: np.ndarray, characters: np.ndarray) -> np.ndarray:
        """The numbers of the pairs of a block of the text, next ones for those that are new."""
        _, keys = self._keys(contexts, characters)
        new = _distinct(keys[self.table.find(keys)[1]])
        self.table.add(new, np.arange(self.expected, self.expected + len(new)))
        self.expected += len(new)
        return self.find(contexts, characters)

    def count(self, contexts: np.ndarray, characters: np.ndarray) -> np.ndarray:
        """The numbers of the pairs of a block of training, which are counted."""
        places, keys = self._keys(contexts, characters)
        numbers, is_new = self.table.find(keys)
        new = _distinct(keys[is_new])  # not expected: no more than a kind, which is to count once
        self.table.add(new, np.full(len(new), _NONE))
        np.add.at(self.kinds, new // self.vocabulary_size, 1)
        np.add.at(self.totals, contexts[places], 1)
        np.add.at(self.counts, numbers[numbers != _NONE], 1)
        pairs = np.full(len(contexts), _NONE, dtype=np.int32)
        pairs[places] = numbers
        return pairs

    def find(self, contexts: np.ndarray, characters: np.ndarray) -> np.ndarray:
        """The numbers of the pairs of a block, (len(contexts),)."""
        places, keys = self._keys(contexts, characters)
        pairs = np.full(len(contexts), _NONE, dtype=np.int32)
        pairs[places] = self.table.find(keys)[0]
        return pairs

    def end_counting(self) -> None:
        """Make kinds of the expected pairs too, those that were met."""
        keys, numbers = self.table.entries()
        expected = numbers != _NONE
        met = keys[expected][self.counts[numbers[expected]] > 0]
        np.add.at(self.kinds, met // self.vocabulary_size, 1)

    def sharpen(self, probability: np.ndarray, contexts: np.ndarray, pairs: np.ndarray) -> None:
        """From what the shorter contexts make of each character to what these make of it, in place."""
        places = np.flatnonzero(contexts != _NONE)
        places = places[self.totals[contexts[places]] > 0]
        kinds, totals = self.kinds[contexts[places]], self.totals[contexts[places]]
        probability[places] = (self.counts[pairs[places]] + kinds * probability[places]) / (totals + kinds)

    def _keys(self, contexts: np.ndarray, characters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where there is a context, and the keys of the pairs there: below 2**31 * 1,114,112, so 64 bits hold them."""
        places = np.flatnonzero(contexts != _NONE)
        return places, contexts[places].astype(np.int64) * self.vocabulary_size + characters[places]


class _Table:
    """Keys with their numbers, found by open addressing with linear probing, all keys of a block at once.

    At most half of its slots are taken (Knuth, "The Art of Computer Programming", volume 3, 6.4, with the
    multiplicative hash of the same section).
    """

    def __init__(self, bits: int = 10) -> None:
        self.bits = bits
        self.taken = 0
        self.keys = np.full(2**bits, _FREE, dtype=np.int64)
        self.numbers = np.full(2**bits, _NONE, dtype=np.int32)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of ``keys`` and whether they are missing, (len(keys),) each."""
        slots = self._slots(keys)
        return self.numbers[slots], self.keys[slots] == _FREE

    def add(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        """Put in ``keys``, all of them different and missing so far."""
        self.taken += len(keys)
        if 2 * self.taken > len(self.keys):
            larger = _Table((2 * self.taken).bit_length())
            larger.add(*self.entries())
            self.bits, self.keys, self.numbers = larger.bits, larger.keys, larger.numbers
        while len(keys):
            slots = self._slots(keys)
            self.keys[slots] = keys
            wins = self.keys[slots] == keys  # of those that want the same slot one
            self.numbers[slots[wins]] = numbers[wins]
            keys, numbers = keys[~wins], numbers[~wins]

    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """All keys and their numbers."""
        taken = self.keys != _FREE
        return self.keys[taken], self.numbers[taken]

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        """The slot of each key, or the free one where it belongs."""
        slots = (keys.view(np.uint64) * _GOLDEN >> np.uint64(64 - self.bits)).view(np.int64)
        found = self.keys[slots]
        astray = np.flatnonzero((found != keys) & (found != _FREE))
        while len(astray):
            slots[astray] = (slots[astray] + 1) & (len(self.keys) - 1)
            found = self.keys[slots[astray]]
            astray = astray[(found != keys[astray]) & (found != _FREE)]
        return slots


def _distinct(keys: np.ndarray) -> np.ndarray:
    """``keys`` sorted, each once; np.unique takes ten times as long for them."""
    keys = np.sort(keys)
    return keys[np.diff(keys, prepend=_FREE) != 0]
