"""The search for units of a network that follow a feature of the text.

The network reads validation text. On the first half of this text, the search chooses a unit for each feature. On the second
half, which the search has not used, the score of that unit is measured. Only a high score is reported: an area under
the ROC curve (AUC) of at least 0.95 for a feature that is true or false, a correlation r of at least 0.7 for a number.

Units of an untrained network also follow features, because there are hundreds of units and each depends on the last few
characters. For "inside the indentation" of source code, the best AUC of four untrained networks was 0.96 to 0.99. So a unit
is reported only if the distance of its score from 1 is at most half that of the best unit of an untrained network of the
same shape. Units that repeat the last character, such as "a newline", are not reported: in untrained networks, the best AUC
was 0.97 to 1.

The search uses the cell of an lstm or lnlstm, and the hidden state of other cells. The hidden state and the gates of an
LSTM would add little: in four models of plays, music, source code and verse, they followed nothing that a cell did not
follow except the last character.
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
from charrnn.randomness import generator
from charrnn.text.split import Part
from charrnn.text.windows import resets_in

CHARACTERS = 100_000
"""Maximum number of characters to read."""

LEAST = 2_000
"""In a shorter text, no unit is named."""

CLEAR_AUC, CLEAR_R = 0.95, 0.7
"""Minimum scores of a named unit."""

_CONTROL = 25_000
"""Number of characters that the untrained network reads."""

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
    ``untrained`` is the best score of a unit of an untrained network of the same shape. ``direction`` is 1 if the unit is
    high when the feature is true or large, and -1 if it is low then.

    ``low`` is the median activation where the feature is false or in its lowest tenth, ``high`` where it is true or in its
    highest tenth.
    """

    layer: int
    part: str
    unit: int
    name: str
    kind: str
    score: float
    untrained: float
    direction: int
    low: float
    high: float


def find_units(model: LanguageModel, part: Part, most: int = 8, characters: int = CHARACTERS,
               progress: Callable[[int], None] | None = None) -> list[NamedUnit]:
    """Return at most ``most`` units that clearly follow a feature of the beginning of ``part``, which is validation text.

    Each unit has one name, and each name one unit. Units that follow the structure of the text come before those that
    follow words; of those of equal rank, the clearest come first. At most ``characters`` are read, and fewer if the network
    is large. If the part has fewer than ``LEAST`` characters, the list is empty. ``progress`` is called with the number of
    characters of each block that was read, also for the untrained network.
    """
    network = model.network
    units = network.config.layers * network.config.hidden_size
    count = min(len(part), characters, _MOST_NUMBERS // units, max(LEAST, _MOST_WORK // network.parameters.flat.size))
    if count < LEAST:
        return []
    part = Part(np.asarray(part.ids[:count]), part.starts[:np.searchsorted(part.starts, count)])
    named = features(model.vocabulary.decode(part.ids), model.text_config.level == "byte")
    if not named:
        return []
    control = _control(network, part, named, progress)
    values = _activations(network, part, progress)
    named = _part_of(named, slice(_CONTEXT, _CONTEXT + len(values)))
    half = len(values) // 2
    held_out = _part_of(named, slice(half, None))
    found = []
    for number, unit in _choose(values[:half], _part_of(named, slice(half))):
        feature = held_out[number:number + 1]
        scores = _scores(values[half:, unit, None], feature)
        clear = float(_clear(scores, feature)[0, 0])
        if clear >= 0 and 1 - clear <= (1 - control[number]) / 2 and feature[0].rank != CHARACTER:
            found.append((feature[0].rank, -clear,
                          _named_unit(network, unit, named[number], float(scores[0, 0]), control[number], values[:, unit])))
    return [unit for *_, unit in sorted(found, key=lambda row: row[:2])[:most]]


def _part_of(named: list[Feature], part: slice) -> list[Feature]:
    """Return features of a part of the text."""
    return [feature._replace(values=feature.values[part]) for feature in named]


def _control(network: CharRNN, part: Part, named: list[Feature], progress: Callable[[int], None] | None) -> np.ndarray:
    """Return how clearly the best unit of an untrained network follows each feature, (F,)."""
    untrained = CharRNN(network.config, network.vocabulary_size, generator(1, "weights"), network.dtype)
    part = Part(part.ids[:_CONTROL], part.starts[:np.searchsorted(part.starts, _CONTROL)])
    values = _activations(untrained, part, progress)
    return _compare(values, _part_of(named, slice(_CONTEXT, _CONTEXT + len(values)))).max(axis=1)


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


def _compare(values: np.ndarray, named: list[Feature]) -> np.ndarray:
    """Return how clearly each of the units ``values`` (N, U) follows each feature, (F, U)."""
    firsts = list(range(0, values.shape[1], _BLOCK))

    def of_block(first: int) -> np.ndarray:
        return _clear(_scores(np.ascontiguousarray(values[:, first:first + _BLOCK]), named), named)

    with one_blas_thread():
        return np.concatenate(Workers(min(cores(), len(firsts))).map(of_block, firsts), axis=1)


def _choose(values: np.ndarray, named: list[Feature]) -> list[tuple[int, int]]:
    """Return the best unit for each feature that one of the units ``values`` (N, U) follows clearly: (feature, unit).

    Of the features that a unit follows clearly, its name is the one with the largest correlation, because that explains
    most of its variance: a unit that counts the characters of a line also tells where a line begins, but its name is the
    position in the line. Of the units with the same name, the clearest is the best.
    """
    clear = _compare(values, named)
    numbers = np.stack([feature.values for feature in named]).astype(np.float32)
    for unit in np.flatnonzero((clear >= 0).any(axis=0)).tolist():
        size = np.where(clear[:, unit] >= 0, np.abs(correlations(values[:, unit, None], numbers))[:, 0], -1)
        clear[np.arange(len(named)) != size.argmax(), unit] = -1
    return [(number, int(row.argmax())) for number, row in enumerate(clear) if row.max() >= 0]


def _named_unit(network: CharRNN, unit: int, feature: Feature, score: float, control: float, values: np.ndarray
                ) -> NamedUnit:
    if feature.is_number:
        few, many = np.quantile(feature.values, [0.1, 0.9])
        low, high = feature.values <= few, feature.values >= many
        kind, least, is_high, size = "r", CLEAR_R, score > 0, abs(score)
    else:
        low, high = ~feature.values, feature.values
        kind, least, is_high, size = "AUC", CLEAR_AUC, score > 0.5, max(score, 1 - score)
    layer, number = divmod(unit, network.config.hidden_size)
    return NamedUnit(layer, _memory(network), number, feature.name, kind, size, float(least + control * (1 - least)),
                     1 if is_high else -1, float(np.median(values[low])), float(np.median(values[high])))


def _memory(network: CharRNN) -> str:
    """Return the name of the array of the state that the search reads."""
    return "cell" if "cell" in network.initial_state(1)[0]._fields else "hidden"


def _activations(network: CharRNN, part: Part, progress: Callable[[int], None] | None) -> np.ndarray:
    """Return the values of all units, (N, L*H), from the character number ``_CONTEXT`` on.

    The text is read in parallel streams from a zero state, as in an evaluation, but each begins ``_CONTEXT`` characters
    early. A remainder that all streams cannot share is left out.
    """
    size, layers = network.config.hidden_size, network.config.layers
    name = _memory(network)
    count = stream_count(len(part))
    length = (len(part) - _CONTEXT) // count
    values = np.empty((count, length, layers * size), network.dtype)
    inputs = part.ids[length * np.arange(count) + np.arange(_CONTEXT + length)[:, None]]
    groups = -(-count // _GROUP)
    bounds = [count * k // groups for k in range(groups + 1)]

    def read(group: int) -> None:
        rows = slice(bounds[group], bounds[group + 1])
        reader = network.replica()
        state: State = reader.initial_state(rows.stop - rows.start)
        for first in range(0, len(inputs), _SEQ_LEN):
            block = inputs[first:first + _SEQ_LEN, rows]
            reset = resets_in(part.starts, length * np.arange(rows.start, rows.stop) + first, len(block))
            layers_of, state = reader.activations(block, state, reset)
            kept = slice(max(0, _CONTEXT - first), None)
            at = max(0, first - _CONTEXT)
            for k, activations in enumerate(layers_of):
                new = activations[name][kept].transpose(1, 0, 2)
                values[rows, at:at + new.shape[1], k * size:(k + 1) * size] = new
            if progress is not None:
                progress(block.size)

    with one_blas_thread(), np.errstate(all="ignore"):
        Workers(min(cores(), groups)).map(read, list(range(groups)))
    return values.reshape(count * length, layers * size)
