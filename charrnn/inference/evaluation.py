"""Evaluate a model on a text: nats, bits per character, perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import check_range
from charrnn.cpu import cores, one_blas_thread
from charrnn.errors import ConfigError
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Workers
from charrnn.nn.state import State, map_state
from charrnn.nn.validation import check_sequence, check_starts
from charrnn.text.windows import resets_in

_MIN_STREAM = 4000
"""Minimum length of each stream in characters, by default."""

_MAX_STREAMS = 64
_SEQ_LEN = 128
_GROUP = 16
"""Number of streams that are read together. It does not depend on the number of threads, so neither does the result."""

_GROUP_CHARACTERS = 2048
"""Short windows are read in larger groups, of about this many characters."""


class Evaluation(NamedTuple):
    """How well a model predicts a text.

    ``nats`` is the mean over ``characters`` predicted characters. ``how`` says how the text was read, such as "carried, 27
    streams" (the state is carried through each stream) or "cold windows of 256"; see ``how_read``. ``documents`` is the
    number of documents, or 0 if the text was not read as documents.
    """

    nats: float
    characters: int
    how: str = ""
    documents: int = 0

    def marked(self, note: str) -> Evaluation:
        """Return a copy with a note in ``how``, such as "started from english"; an empty note changes nothing."""
        return self._replace(how=", ".join(filter(None, (self.how, note))))

    @property
    def bits(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """The exponential of ``nats``; at most exp(700), so that it does not overflow."""
        return math.exp(min(self.nats, 700))

    @property
    def compressed_bytes(self) -> int:
        """The size to which an arithmetic coder with this model compresses the predicted characters, in bytes."""
        return math.ceil(self.bits * self.characters / 8)

    @property
    def nats_per_document(self) -> float:
        """The mean number of nats per document; NaN if there are no documents."""
        return self.nats * self.characters / self.documents if self.documents else math.nan

    def line(self, name: str, unit: str = "char", size: bool = False, document: str | None = None) -> str:
        """Return one line: ``validation 1.5108 nats/char  2.180 bits/char  perplexity 4.53  (carried, 27 streams)``.

        ``name`` is the name of the text, and ``unit`` is "char" or "byte". With ``size``, the line also contains the
        compressed size, and with ``document``, such as "line", the nats per document.
        """
        perplexity = f"{self.perplexity:.2f}" if self.perplexity < 1e6 else f"{self.perplexity:.3g}"
        compressed = f"  compressed {self.compressed_bytes:,} bytes" if size else ""
        if self.documents and document is not None:
            compressed = f"  {self.nats_per_document:.2f} nats/{document}{compressed}"
        how = f"  ({self.how})" if self.how else ""
        return f"{name} {self.nats:.4f} nats/{unit}  {self.bits:.3f} bits/{unit}  perplexity {perplexity}{compressed}{how}"


def stream_count(characters: int) -> int:
    """Return the default number of streams: one for every 4,000 characters, at least 1 and at most 64.

    The rule is fixed, so that results are comparable.
    """
    return max(1, min(_MAX_STREAMS, characters // _MIN_STREAM))


def how_read(characters: int, streams: int | None = None, window: int | None = None) -> str:
    """Return a description of how ``evaluate`` reads a text in which it predicts this number of ``characters``."""
    if window is not None:
        return f"cold windows of {window:,}"
    streams = min(streams or stream_count(characters), characters)
    return f"carried, {streams:,} stream{'s'[:streams != 1]}"


def evaluate(network: CharRNN, ids: np.ndarray, *, streams: int | None = None, window: int | None = None,
             team: Workers | None = None, starts: np.ndarray | None = None, progress: Callable[[int], None] | None = None
             ) -> Evaluation:
    """Return the mean loss over the characters of ``ids`` (N,), each predicted from the characters before it.

    By default every character but the first is predicted, with the state carried on. The text is read in ``streams``
    parallel streams (``stream_count`` by default), each from a zero state. The last stream also reads the remainder. With
    one stream, each character is predicted from the whole text before it.

    With ``window`` = W the text is read in consecutive windows, each from a zero state: window k reads characters kW to
    kW + W - 1 and predicts characters kW + 1 to kW + W. A remainder that does not fill a window is left out.

    In both cases the state is also reset at ``starts``, the sorted indices at which documents start. ``progress`` is called
    with the number of characters of each block that was read. Raises ValueError if ``ids`` or ``starts`` are invalid or
    there are fewer than two ids, ConfigError if ``streams`` or ``window`` is below 1, if both are passed, or if the text
    does not fill a window.
    """
    def add_up(targets: np.ndarray, nats: np.ndarray) -> float:
        return float(nats.sum(dtype=np.float64))

    total, characters, how = _read(network, ids, streams, window, team, starts, progress, add_up)
    return Evaluation(total / characters, characters, how, _documents(starts, window))


class ByCharacter(NamedTuple):
    """The loss of each character of a vocabulary in a text: ``counts`` (V,) and the sums of the losses, ``nats`` (V,)."""

    counts: np.ndarray
    nats: np.ndarray


def evaluate_by_character(network: CharRNN, ids: np.ndarray, *, streams: int | None = None, window: int | None = None,
                          starts: np.ndarray | None = None, progress: Callable[[int], None] | None = None
                          ) -> tuple[Evaluation, ByCharacter]:
    """Return an evaluation and its loss for each character. For the arguments and errors see ``evaluate``."""
    def add_up(targets: np.ndarray, nats: np.ndarray) -> np.ndarray:
        return np.array([np.bincount(targets.ravel(), weights, network.vocabulary_size)
                         for weights in (None, nats.ravel())])

    sums, characters, how = _read(network, ids, streams, window, None, starts, progress, add_up)
    found = Evaluation(float(sums[1].sum()) / characters, characters, how, _documents(starts, window))
    return found, ByCharacter(sums[0].astype(np.int64), sums[1])


def _documents(starts: np.ndarray | None, window: int | None) -> int:
    """Return the number of documents that were read; 0 for windows, which leave out a remainder."""
    return 0 if starts is None or window is not None else len(starts)


def _read(network: CharRNN, ids: np.ndarray, streams: int | None, window: int | None, team: Workers | None,
          starts: np.ndarray | None, progress: Callable[[int], None] | None,
          add_up: Callable[[np.ndarray, np.ndarray], Any]) -> tuple[Any, int, str]:
    """Return the sum of ``add_up(targets, nats)`` over all blocks of a text, the predicted characters, and how it was read.

    ``targets`` and ``nats`` are the ids and the losses of a block, of equal shape. See ``evaluate``.
    """
    check_sequence("ids", ids, network.vocabulary_size)
    check_starts(starts, len(ids))
    characters = len(ids) - 1
    if characters < 1:
        raise ValueError(f"ids: an evaluation needs at least 2 characters, not {len(ids)}")
    if streams is not None:
        check_range("streams", streams, int, least=1)
    if window is None:
        count = min(streams or stream_count(characters), characters)
        length = characters // count
        rest = ids[count * length:]
        rows = _GROUP
    else:
        check_range("window", window, int, least=1)
        if streams is not None:
            raise ConfigError("window", "cannot be combined with `streams`", "pass one of them")
        if window > characters:
            raise ConfigError("window", f"must be below {len(ids):,}, the length of the text, not {window:,}")
        count = characters // window
        length = window
        rest = ids[:0]
        rows = max(_GROUP, _GROUP_CHARACTERS // window)
    inputs = ids[:count * length].reshape(count, length).T
    targets = ids[1:count * length + 1].reshape(count, length).T
    groups = -(-count // rows)
    bounds = [count * k // groups for k in range(groups + 1)]
    team = team or Workers(min(cores(), groups))

    lock = Lock()

    def read(group: int) -> Any:
        with np.errstate(all="ignore"):  # the caller checks whether the loss is finite
            return read_streams(bounds[group], bounds[group + 1])

    def read_block(reader: CharRNN, block: np.ndarray, following: np.ndarray, state: State, reset: np.ndarray | None
                   ) -> tuple[Any, State]:
        nats, state = reader.losses(block, following, state, reset)
        if progress is not None:
            with lock:
                progress(nats.size)
        return add_up(following, nats), state

    def read_streams(first: int, last: int) -> Any:
        reader = network.replica()
        state: State = reader.initial_state(last - first)
        total: Any = 0.0
        for start in range(0, length, _SEQ_LEN):
            if team.is_aborted:
                break
            part = slice(start, min(start + _SEQ_LEN, length))
            reset = resets_in(starts, length * np.arange(first, last) + start, part.stop - start)
            sums, state = read_block(reader, inputs[part, first:last], targets[part, first:last], state, reset)
            total = total + sums
        if last == count and len(rest) > 1:
            ending = map_state(lambda array: array[-1:], state)
            reset = resets_in(starts, np.array([count * length]), len(rest) - 1)
            sums, _ = read_block(reader, rest[:-1, None], rest[1:, None], ending, reset)
            total = total + sums
        return total

    with one_blas_thread():
        total = sum(team.map(read, list(range(groups))))
    return total, characters if window is None else count * length, how_read(characters, streams, window)
