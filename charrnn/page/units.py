"""The search for units of a network that follow something a person can name.

The network reads validation text. On the first half of what it has read, the search chooses a unit for each feature; on
the second half, which it has not used, the score of that unit is measured. Only a clear score is reported: an area under
the ROC curve (AUC) of at least 0.95 for a feature that is true or false, a correlation r of at least 0.7 for a number.

The units are those of the memory: the cell of an LSTM, the hidden state of the other cells. The hidden state of an LSTM
shows a cell only while its output gate is open, and a gate depends on the step before; neither can be set to a value that
lasts, as a cell can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from charrnn.cpu import cores, one_blas_thread
from charrnn.inference.evaluation import stream_count
from charrnn.inference.language_model import LanguageModel
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Workers
from charrnn.nn.state import State
from charrnn.page.features import CHARACTER, Feature, features
from charrnn.text.corpus import Part
from charrnn.text.windows import resets_in

CHARACTERS = 100_000
"""Maximum number of characters to read."""

LEAST = 2_000
"""In a shorter text, no unit is named."""

CLEAR_AUC, CLEAR_R = 0.95, 0.7
"""Minimum scores of a named unit."""

_CONTEXT = 200
"""Each stream first reads this many characters before its own, without counting them."""

_MOST_NUMBERS = 2**26
"""Maximum number of activations to keep in memory: 256 MB in float32."""

_MOST_WORK = 2**38
"""Maximum number of multiplications: parameters times characters."""

_SEQ_LEN = 128
_GROUP = 16
_BLOCK = 64
"""Number of units that are compared with all features at once."""


class NamedUnit(NamedTuple):
    """A unit that follows a feature of the text, and its ``score`` on text that the search has not used.

    ``part`` is "cell" or "hidden". ``kind`` of the score is "AUC", the probability that the unit separates a character for
    which the feature is true from one for which it is false, or "r", the size of the correlation with a number.
    ``direction`` is 1 if the unit is high when the feature is true or large, and -1 if it is low then.

    The other values are activations: their ``mean``, smallest (``least``) and largest (``most``) one, and the medians where
    the feature is false or in its lowest tenth (``low``), and where it is true or in its highest tenth (``high``).
    """

    layer: int
    part: str
    unit: int
    name: str
    kind: str
    score: float
    direction: int
    mean: float
    low: float
    high: float
    least: float
    most: float


def find_units(model: LanguageModel, part: Part, most: int = 8, characters: int = CHARACTERS,
               progress: Callable[[int], None] | None = None) -> list[NamedUnit]:
    """Return at most ``most`` units that clearly follow a feature of the beginning of ``part``, which is validation text.

    Each unit has one name, and each name one unit. Units that follow the structure of the text come first, and units that
    repeat the last character come last; of those of equal rank, the clearest come first. At most ``characters`` are read,
    and fewer if the network is large. If the part has fewer than ``LEAST`` characters, the list is empty. ``progress`` is
    called with the number of characters of each block that was read.
    """
    network = model.network
    units = network.config.layers * network.config.hidden_size
    count = min(len(part), characters, _MOST_NUMBERS // units, max(LEAST, _MOST_WORK // network.parameters.flat.size))
    if count < LEAST:
        return []
    ids = np.asarray(part.ids[:count])
    name = "cell" if "cell" in network.initial_state(1)[0]._fields else "hidden"
    values = _activations(network, ids, part.starts[:np.searchsorted(part.starts, count)], name, progress)
    text = model.vocabulary.decode(ids)
    read = slice(_CONTEXT, _CONTEXT + len(values))
    named = [feature._replace(values=feature.values[read])
             for feature in features(text, model.text_config.level == "byte")]
    half = len(values) // 2
    first, second = ([feature._replace(values=feature.values[part]) for feature in named]
                     for part in (slice(half), slice(half, None)))
    found = []
    for number, unit in _choose(values[:half], first) if named else []:
        held_out = [second[number]]
        scores = _scores(values[half:, unit, None], held_out)
        clear = float(_clear(scores, held_out)[0, 0])
        if clear >= 0:
            layer, in_layer = divmod(unit, network.config.hidden_size)
            found.append((named[number].rank, -clear,
                          _named_unit(layer, name, in_layer, named[number], float(scores[0, 0]), values[:, unit])))
    return [unit for *_, unit in sorted(found, key=lambda row: row[:2])[:most]]


def aucs(values: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each column of ``values`` (N, U) as a sign of each row of ``positive`` (F, N).

    The result (F, U) is the fraction of the pairs of a positive and a negative example in which the positive one has the
    larger value, with ties counted half; 0.5 if there are no pairs. It is computed from ranks: the statistic U of Mann and
    Whitney (1947), "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other", divided by
    the number of pairs (Hanley and McNeil 1982, "The Meaning and Use of the Area under a Receiver Operating Characteristic
    (ROC) Curve").
    """
    count = positive.sum(axis=1, dtype=np.float64)[:, None]
    pairs = count * (positive.shape[1] - count)
    ranks = np.stack([_ranks(column) for column in values.T], axis=1)
    above = positive.astype(np.float64) @ ranks - count * (count + 1) / 2
    return np.divide(above, pairs, out=np.full(above.shape, 0.5), where=pairs > 0)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of ``values`` (N,), counted from 1; equal values share the mean of their ranks."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sizes = np.diff(starts, append=len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (sizes + 1) / 2, sizes)
    return ranks


def correlations(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return Pearson's r of each column of ``values`` (N, U) with each row of ``numbers`` (F, N), (F, U).

    It is 0 if one of the two is constant.
    """
    x = values - values.mean(axis=0, dtype=np.float64)
    y = numbers - numbers.mean(axis=1, dtype=np.float64, keepdims=True)
    scale = np.sqrt(np.outer((y * y).sum(axis=1), (x * x).sum(axis=0)))
    return np.divide(y @ x, scale, out=np.zeros(scale.shape), where=scale > 0)


def _scores(values: np.ndarray, named: list[Feature]) -> np.ndarray:
    """Return the AUC, or for numbers r, of each column of ``values`` (N, U) for each feature, (F, U)."""
    scores = np.empty((len(named), values.shape[1]))
    for is_number, compare in ((False, aucs), (True, correlations)):
        rows = [k for k, feature in enumerate(named) if feature.is_number == is_number]
        if rows:
            scores[rows] = compare(values, np.stack([named[k].values for k in rows]))
    return scores


def _clear(scores: np.ndarray, named: list[Feature]) -> np.ndarray:
    """Return how clear ``scores`` (F, U) are: 1 if perfect, 0 if just enough to name a unit, negative if less."""
    is_number = np.array([feature.is_number for feature in named])[:, None]
    least = np.where(is_number, CLEAR_R, CLEAR_AUC)
    return (np.where(is_number, np.abs(scores), np.maximum(scores, 1 - scores)) - least) / (1 - least)


def _choose(values: np.ndarray, named: list[Feature]) -> list[tuple[int, int]]:
    """Return the best unit for each feature that one of the units ``values`` (N, U) follows clearly: (feature, unit).

    A unit belongs to the feature that it follows most clearly, and the clearest unit of each feature is the best. But a
    number wins against what follows from it: a unit that counts the characters of a line also tells where a line begins,
    more clearly than it counts, and its name is the position. So a feature that is true or false counts only if none of an
    earlier rank is a number that the unit follows clearly.
    """
    def compare(first: int) -> np.ndarray:
        block = np.ascontiguousarray(values[:, first:first + _BLOCK])
        return _clear(_scores(block, named), named)

    firsts = list(range(0, values.shape[1], _BLOCK))
    with one_blas_thread():
        clear = np.concatenate(Workers(min(cores(), len(firsts))).map(compare, firsts), axis=1)
    ranks = np.array([feature.rank for feature in named])[:, None]
    is_counted = np.array([feature.is_number for feature in named])[:, None] & (clear >= 0)
    rank_of_number = np.where(is_counted, ranks, CHARACTER).min(axis=0)
    clear[(ranks > rank_of_number) & ~is_counted] = -1
    own = clear.argmax(axis=0)
    best = []
    for number in range(len(named)):
        units = np.flatnonzero((own == number) & (clear[number] >= 0))
        if len(units):
            best.append((number, int(units[clear[number, units].argmax()])))
    return best


def _named_unit(layer: int, part: str, unit: int, feature: Feature, score: float, values: np.ndarray) -> NamedUnit:
    if feature.is_number:
        few, many = np.quantile(feature.values, [0.1, 0.9])
        low, high = feature.values <= few, feature.values >= many
        kind, direction = "r", 1 if score > 0 else -1
        score = abs(score)
    else:
        low, high = ~feature.values, feature.values
        kind, direction = "AUC", 1 if score > 0.5 else -1
        score = max(score, 1 - score)
    numbers = (values.mean(), np.median(values[low]), np.median(values[high]), values.min(), values.max())
    return NamedUnit(layer, part, unit, feature.name, kind, score, direction, *map(float, numbers))


def _activations(network: CharRNN, ids: np.ndarray, starts: np.ndarray, part: str, progress: Callable[[int], None] | None
                 ) -> np.ndarray:
    """Return the values of all units, (N, L*H), from the character number ``_CONTEXT`` on.

    The text is read in parallel streams from a zero state, as in an evaluation, but each begins ``_CONTEXT`` characters
    early. A remainder that all streams cannot share is left out.
    """
    size, layers = network.config.hidden_size, network.config.layers
    count = stream_count(len(ids))
    length = (len(ids) - _CONTEXT) // count
    values = np.empty((count, length, layers * size), network.dtype)
    inputs = ids[length * np.arange(count) + np.arange(_CONTEXT + length)[:, None]]
    groups = -(-count // _GROUP)
    bounds = [count * k // groups for k in range(groups + 1)]

    def read(group: int) -> None:
        rows = slice(bounds[group], bounds[group + 1])
        reader = network.replica()
        state: State = reader.initial_state(rows.stop - rows.start)
        for first in range(0, len(inputs), _SEQ_LEN):
            block = inputs[first:first + _SEQ_LEN, rows]
            reset = resets_in(starts, length * np.arange(rows.start, rows.stop) + first, len(block))
            layers_of, state = reader.activations(block, state, reset)
            kept = slice(max(0, _CONTEXT - first), None)
            at = max(0, first - _CONTEXT)
            for k, activations in enumerate(layers_of):
                new = activations[part][kept].transpose(1, 0, 2)
                values[rows, at:at + new.shape[1], k * size:(k + 1) * size] = new
            if progress is not None:
                progress(block.size)

    with one_blas_thread(), np.errstate(all="ignore"):
        Workers(min(cores(), groups)).map(read, list(range(groups)))
    return values.reshape(count * length, layers * size)
