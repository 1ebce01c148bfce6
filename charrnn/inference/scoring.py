"""Score the characters of a text: how surprising each is to a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from charrnn.config import check_range
from charrnn.cpu import cores, one_blas_thread
from charrnn.inference.evaluation import stream_count
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Workers
from charrnn.nn.state import map_state
from charrnn.nn.validation import check_sequence

ONE_STREAM = 100_000
"""A text of up to this many characters is scored in one stream, which is exact."""

CONTEXT = 1_000
"""Each stream of a longer text first reads this many characters before its own, without scoring them."""

_ROWS = 16
_SEQ_LEN = 128


@dataclass(frozen=True, repr=False, eq=False)
class Score:
    """The negative log-probability of each character of a text, given the characters before it.

    ``text`` contains the N characters that were scored, after the text settings of the model were applied (for a model of
    bytes one character per byte). ``nats`` (N,) of float64 is NaN for a character that is not in the vocabulary; sums and
    means leave it out.
    """

    text: str
    nats: np.ndarray

    @property
    def bits(self) -> np.ndarray:
        """``nats`` in bits, (N,)."""
        return self.nats / math.log(2)

    @property
    def unknown(self) -> int:
        """The number of unknown characters."""
        return int(np.count_nonzero(np.isnan(self.nats)))

    @property
    def total(self) -> float:
        """The sum over the known characters, in nats."""
        return float(np.nansum(self.nats))

    @property
    def mean(self) -> float:
        """The mean over the known characters, in nats; NaN if no character is known."""
        known = len(self.nats) - self.unknown
        return self.total / known if known else math.nan

    def __len__(self) -> int:
        return len(self.nats)

    def __repr__(self) -> str:
        return f"Score({len(self):,} characters, {self.mean:.4f} nats/char, {self.unknown:,} unknown)"


def streams_of(characters: int) -> int:
    """Return the number of streams in which a text is scored by default."""
    return 1 if characters <= ONE_STREAM else stream_count(characters)


def spread(nats: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the nats of all characters of a text (N,), NaN where ``known`` (N,) is false.

    ``nats`` are those of all characters or, if the model has not read the unknown ones, of the known characters.
    """
    result = np.full(len(known), math.nan)
    result[known] = nats[known] if len(nats) == len(known) else nats
    return result


class Stream:
    """Scores one text that comes piece by piece: the state is carried from piece to piece.

    ``start`` and ``separator`` are those of ``nats_of``.
    """

    def __init__(self, network: CharRNN, start: int, separator: int | None = None) -> None:
        self._network = network.replica()
        self._separator = separator
        self._last = start
        self._state = network.initial_state(1)

    def nats(self, ids: np.ndarray) -> np.ndarray:
        """Return the negative log-probability of each of the next ids (N,) in nats, (N,) of float64."""
        nats = np.empty(len(ids))
        targets = ids.astype(np.int64)
        inputs = np.append(self._last, targets)
        with one_blas_thread(), np.errstate(all="ignore"):
            for first in range(0, len(ids), _SEQ_LEN):
                part = slice(first, min(first + _SEQ_LEN, len(ids)))
                read = inputs[part, None]
                reset = None if self._separator is None else read == self._separator
                losses, self._state = self._network.losses(read, targets[part, None], self._state, reset)
                nats[part] = losses[:, 0]
        self._last = int(inputs[-1])
        return nats


class _Segment(NamedTuple):
    """The part of a text that one stream reads: characters ``first`` to ``last`` - 1, scored from ``scored`` on."""

    text: int
    first: int
    scored: int
    last: int


def nats_of(network: CharRNN, texts: Sequence[np.ndarray], start: int, separator: int | None = None,
            streams: int | None = None, into: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
    """Return the negative log-probability of each character of several texts, in nats, (N,) of float64 each.

    ``texts`` are ids (N,). Before each text, the network reads the character ``start`` from a zero state. The state is
    reset before every ``separator``. Each text is divided among ``streams``, each of which first reads the ``CONTEXT``
    characters before its own. By default, a text of at most ``ONE_STREAM`` characters is read in one stream, and a longer
    one in ``stream_count`` streams. The results are written into the arrays ``into`` if these are passed. Raises ValueError
    if ids are invalid, ConfigError if ``streams`` is below 1.
    """
    for number, ids in enumerate(texts):
        check_sequence(f"text {number}", ids, network.vocabulary_size)
    for name, character in (("start", start), ("separator", separator)):
        if character is not None:
            check_range(name, character, int, least=0, below=network.vocabulary_size)
    if streams is not None:
        check_range("streams", streams, int, least=1)
    segments: list[_Segment] = []
    for number, ids in enumerate(texts):
        count = max(1, min(streams or streams_of(len(ids)), len(ids)))
        cuts = [len(ids) * k // count for k in range(count + 1)]
        segments += [_Segment(number, max(0, first - CONTEXT), first, last)
                     for first, last in pairwise(cuts) if first < last]
    segments.sort(key=lambda segment: segment.first - segment.last)  # longest first, so that the last rows end first
    groups = [segments[first:first + _ROWS] for first in range(0, len(segments), _ROWS)]
    nats = [np.empty(len(ids)) for ids in texts] if into is None else list(into)
    workers = Workers(max(1, min(cores(), len(groups))))

    def read(group: list[_Segment]) -> None:
        with np.errstate(all="ignore"):
            _read(network.replica(), [texts[segment.text] for segment in group], [nats[segment.text] for segment in group],
                  group, start, separator, workers)

    with one_blas_thread():
        workers.map(read, groups)
    return nats


def _read(network: CharRNN, texts: list[np.ndarray], nats: list[np.ndarray], group: list[_Segment], start: int,
          separator: int | None, workers: Workers) -> None:
    """Score several segments in parallel; they must be sorted by length, longest first. Write the results into ``nats``."""
    lengths = [segment.last - segment.first for segment in group]
    state = network.initial_state(len(group))
    for begin in range(0, lengths[0], _SEQ_LEN):
        if workers.is_aborted:
            return
        steps = min(_SEQ_LEN, lengths[0] - begin)
        active = sum(length > begin for length in lengths)
        inputs, targets = np.zeros((2, steps, active), np.int64)
        for row, (ids, segment) in enumerate(zip(texts[:active], group)):
            at = segment.first + begin
            part = ids[at:min(at + steps, segment.last)]
            targets[:len(part), row] = part
            inputs[1:len(part), row] = part[:-1]
            inputs[0, row] = ids[at - 1] if at else start
        reset = None if separator is None else inputs == separator
        state = map_state(lambda array: array[:active], state)  # noqa: B023 (called at once)
        losses, state = network.losses(inputs, targets, state, reset)
        for row, (results, segment) in enumerate(zip(nats[:active], group)):
            at = segment.first + begin
            first, last = max(at, segment.scored), min(at + steps, segment.last)
            if first < last:
                results[first:last] = losses[first - at:last - at, row]
