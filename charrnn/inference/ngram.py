"""The n-gram baseline: a model that only counts, which a network should beat."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from charrnn.config import BASELINE_ORDER, check_range
from charrnn.inference.evaluation import Evaluation
from charrnn.nn.validation import check_sequence

MOST_COUNTED = 8_000_000
"""Characters at the end of the training part that ``baseline`` counts; more would take too long."""

BLOCK = 2**18
"""Characters are read in blocks of this size."""

_CONTEXTS = 2**32
"""Maximum number of distinct contexts of one length: a key of 64 bits contains a context and a character."""

_NO_KEYS = np.empty(0, dtype=np.int64)


def check_order(order: int) -> None:
    """Raise ConfigError unless ``order`` is an int from 0 to 32. Higher orders are slower and predict worse."""
    check_range("order", order, int, least=0, most=32)


def baseline(training: np.ndarray, text: np.ndarray, vocabulary_size: int, order: int = BASELINE_ORDER) -> Evaluation:
    """Return the loss of the n-gram model with which networks are compared, counted at the end of a long text."""
    return witten_bell(training[-MOST_COUNTED:], text, vocabulary_size, order)


def witten_bell(training: np.ndarray, text: np.ndarray, vocabulary_size: int, order: int,
                progress: Callable[[int], None] | None = None) -> Evaluation:
    """Return the mean loss of an n-gram model of ``training`` over every character of ``text`` but the first.

    Each character c is predicted from its context h, the ``order`` characters before it (so that order 4 counts up to
    5-grams), or all characters before it if there are fewer:

        P(c | h) = (count(h c) + T(h) P(c | h')) / (count(h) + T(h))

    T(h) is the number of distinct characters that follow h in ``training``, count(h) the number of all characters that
    follow it, and h' is h without its oldest character. For the empty context, P(c | h') is 1 / ``vocabulary_size``. If
    nothing follows h in ``training``, P(c | h) is P(c | h'). This is method C of Witten and Bell, "The zero-frequency
    problem" (1991), interpolated as in Chen and Goodman, "An empirical study of smoothing techniques for language
    modeling" (1998), section 2.5.

    ``training`` (N,) and ``text`` (M,) are ids below ``vocabulary_size`` of any unsigned dtype. ``training`` may be a
    memory map of any size: it is read once, in blocks, and only n-grams whose context occurs in ``text`` are counted.
    ``progress`` is called with the number of characters of each block of ``training``. Raises ConfigError if ``order`` is
    out of range, ValueError if ``text`` has fewer than two characters or an id is invalid.
    """
    check_order(order)
    check_range("vocabulary_size", vocabulary_size, int, least=1)
    check_sequence("text", text, vocabulary_size)
    if len(text) < 2:
        raise ValueError(f"text: an evaluation needs at least 2 characters, not {len(text)}")
    levels = _levels(text, order)
    for overlap, characters in blocks(training, order):
        check_sequence("training", characters, vocabulary_size)
        for level, (places, starts, keys, numbers) in zip(levels, _find(levels, characters)):
            counts = np.add.reduceat(places >= overlap, starts, dtype=np.int64)
            np.add.at(level.counts, numbers, counts)
            np.add.at(level.totals, keys % _CONTEXTS, counts)
            _add(level.seen, keys)
        forget(training)
        if progress is not None:
            progress(len(characters) - overlap)
    nats = 0.0
    first = 1  # the first character is not predicted, as in evaluate()
    for overlap, characters in blocks(text, order):
        probability = np.full(len(characters), 1 / vocabulary_size)
        for level, (places, starts, keys, numbers) in zip(levels, _find(levels, characters)):
            totals = level.totals[keys % _CONTEXTS]
            kinds = level.kinds[keys % _CONTEXTS]
            p = probability[places[starts]]  # the same for all places of equal n-grams
            np.divide(level.counts[numbers] + kinds * p, totals + kinds, out=p, where=totals > 0)
            probability[places] = np.repeat(p, np.diff(starts, append=len(places)))
        nats -= float(np.log(probability[overlap + first:]).sum())
        first = 0
    return Evaluation(nats / (len(text) - 1), len(text) - 1)


def _levels(text: np.ndarray, order: int) -> list[_Level]:
    """Return the levels that number the n-grams of ``text``, for contexts of 0 to ``order`` characters.

    Each level takes another pass over ``text``, because its keys contain the final numbers of the previous level.
    """
    levels: list[_Level] = []
    contexts = 1
    for _ in range(order + 1):
        empty = _Level(_NO_KEYS, contexts)
        parts = [_NO_KEYS]
        for _, characters in blocks(text, order):
            *_, keys = (keys for _, _, keys, _ in _find([*levels, empty], characters))
            _add(parts, keys)
        levels.append(_Level(_union(parts), contexts))
        contexts = len(levels[-1].keys)
    return levels


class _Level:
    """Counts of the n-grams that consist of a context of one length and the character after it.

    The key of an n-gram is its last character * 2**32 + the number of its context. ``keys`` (n + 1,) contains the keys of
    the evaluated text in ascending order, and one more key that represents all other n-grams. The number of an n-gram, as a
    context on the next level, is the index of its key; the empty context has the number 0. ``counts`` (n + 1,) is the
    number of times that each n-gram occurs in training, ``totals`` (contexts,) the number of characters that follow each
    context there, and ``seen`` the set of keys that occur there, as the list of parts that ``_add`` expects.
    """

    def __init__(self, keys: np.ndarray, contexts: int) -> None:
        self.keys = np.append(keys, np.iinfo(np.int64).max)
        self.counts = np.zeros(len(self.keys), dtype=np.int64)
        self.totals = np.zeros(contexts, dtype=np.int64)
        self.seen = [_NO_KEYS]

    @cached_property
    def kinds(self) -> np.ndarray:
        """The number of distinct characters that follow each context in training, (contexts,); valid after counting."""
        return np.bincount(_union(self.seen) % _CONTEXTS, minlength=len(self.totals))


def blocks(ids: np.ndarray, most: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (overlap, characters): a block of ``ids``, with the ``overlap`` characters before it (at most ``most``)."""
    for start in range(0, len(ids), BLOCK):
        overlap = min(most, start)
        yield overlap, np.array(ids[start - overlap:start + BLOCK])


def _find(levels: list[_Level], characters: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (places, starts, keys, numbers) for each level: the n-grams whose context occurs in the evaluated text.

    ``places`` (n,) are the indices of their last characters, sorted by key. ``keys`` (d,) are the distinct keys,
    ascending, ``starts`` (d,) the index in ``places`` of the first n-gram of each key, ``numbers`` (d,) their numbers.
    """
    places = np.arange(len(characters))
    contexts = np.zeros(len(characters), dtype=np.int64)
    for level in levels:
        # Sorted keys are found faster, and equal keys only once. The contexts are ascending, so a stable sort by
        # character sorts the keys: for ids of one or two bytes it is a radix sort, several times as fast as sorting int64.
        by_character = np.argsort(characters[places], kind="stable")
        places = places[by_character]
        keys = characters[places].astype(np.int64) * _CONTEXTS + contexts[by_character]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        keys = keys[starts]
        numbers = np.searchsorted(level.keys, keys)
        other = len(level.keys) - 1
        numbers[level.keys[numbers] != keys] = other
        yield places, starts, keys, numbers
        contexts = np.repeat(numbers, np.diff(starts, append=len(places)))
        continues = (contexts != other) & (places != len(characters) - 1)
        places = places[continues] + 1
        contexts = contexts[continues]


def _add(parts: list[np.ndarray], keys: np.ndarray) -> None:
    """Add ``keys`` to a set of keys, the union of ``parts``.

    The parts are merged only when the others together outgrow the first, because merging sorts all keys.
    """
    parts.append(keys)
    if sum(map(len, parts[1:])) > len(parts[0]):
        parts[:] = [_union(parts)]


def _union(parts: list[np.ndarray]) -> np.ndarray:
    """Return the distinct keys of ``parts``, ascending. This is several times as fast as np.unique."""
    keys = np.concatenate(parts)
    keys.sort()
    return keys[np.diff(keys, prepend=-1) != 0]


def forget(ids: np.ndarray) -> None:
    """Release the pages of a memory map that were read; the operating system may keep them in its cache."""
    if isinstance(ids, np.memmap) and ids.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        ids._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
