"""Evaluation: nats, bits per character, perplexity."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from charrnn.config import check_range
from charrnn.cpu import cores, one_blas_thread
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Team
from charrnn.nn.state import map_state
from charrnn.text.windows import resets_in

_LEAST = 4000
_MOST_STREAMS = 64
_SEQ_LEN = 128
_GROUP = 16
"""Streams that are read together. It does not depend on the number of threads, so that they cannot change the figure."""


class Evaluation(NamedTuple):
    """How well a model predicts a text; ``characters`` is the number of predicted characters."""

    nats: float
    characters: int

    @property
    def bits(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.nats, 700))

    def line(self, name: str, unit: str = "char") -> str:
        """``validation 1.5108 nats/char  2.180 bits/char  perplexity 4.53``, with the names of what was read and of its
        unit."""
        perplexity = f"{self.perplexity:.2f}" if self.perplexity < 1e6 else f"{self.perplexity:.3g}"
        return f"{name} {self.nats:.4f} nats/{unit}  {self.bits:.3f} bits/{unit}  perplexity {perplexity}"


def stream_count(characters: int) -> int:
    """Return the number of streams: as many as leave each at least 4,000 characters, but at most 64.

    The rule is fixed, so that figures are comparable.
    """
    return max(1, min(_MOST_STREAMS, characters // _LEAST))


def evaluate(network: CharRNN, ids: np.ndarray, *, streams: int | None = None, team: Team | None = None,
             starts: np.ndarray | None = None) -> Evaluation:
    """Return the mean loss over every character of ``ids`` (N,) but the first, with the state carried.

    The text is read in ``streams`` parallel streams (``stream_count`` by default), each from a zero state; one stream
    is the reference. The last stream also reads the remainder. The state is reset at
    ``starts``, the sorted indices at which documents start. Raises ValueError for fewer than two characters, ConfigError
    for fewer than one stream.
    """
    if streams is not None:
        check_range("streams", streams, int, least=1)
    characters = len(ids) - 1
    if characters < 1:
        raise ValueError("nothing to predict: an evaluation needs two characters at least")
    streams = min(streams or stream_count(characters), characters)
    length = characters // streams
    inputs = ids[:streams * length].reshape(streams, length).T
    targets = ids[1:streams * length + 1].reshape(streams, length).T
    rest = ids[streams * length:]
    groups = -(-streams // _GROUP)
    bounds = [streams * k // groups for k in range(groups + 1)]
    team = team or Team(network, min(cores(), groups))

    def read(group: int) -> float:
        with np.errstate(all="ignore"):  # the caller checks whether the figure is finite
            return read_streams(bounds[group], bounds[group + 1])

    def read_streams(first: int, last: int) -> float:
        reader = network.replica()
        state, total = reader.initial_state(last - first), 0.0
        for start in range(0, length, _SEQ_LEN):
            if team.is_aborted:
                break
            part = slice(start, min(start + _SEQ_LEN, length))
            reset = resets_in(starts, length * np.arange(first, last) + start, part.stop - start)
            nats, state = reader.losses(inputs[part, first:last], targets[part, first:last], state, reset)
            total += float(nats.sum(dtype=np.float64))
        if last == streams and len(rest) > 1:
            ending = map_state(lambda array: array[-1:], state)
            reset = resets_in(starts, np.array([streams * length]), len(rest) - 1)
            nats, _ = reader.losses(rest[:-1, None], rest[1:, None], ending, reset)
            total += float(nats.sum(dtype=np.float64))
        return total

    with one_blas_thread():
        total = sum(team.map(read, list(range(groups))))
    return Evaluation(total / characters, characters)
