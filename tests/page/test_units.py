"""charrnn.page.units: networks whose weights are written by hand, so that it is known what their units follow."""

from __future__ import annotations

import dataclasses
import itertools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.inference.language_model import LanguageModel
from charrnn.nn.model import CharRNN
from charrnn.page import units
from charrnn.page.units import NamedUnit, aucs, correlations, find_units
from charrnn.text.corpus import Corpus
from charrnn.text.split import Part
from charrnn.text.vocabulary import Vocabulary
from tests.support.small_models import make_model

COUNTS, QUOTES = 2, 5
"""The units of ``by_hand`` that do something."""

HIGH = 40.0


def make_text(seed: int = 1, marks: str = "“”", lines: int = 400) -> str:
    """Return lines of random length, some of which contain a quotation."""
    rng = random.Random(seed)
    words = ["river", "stone", "green", "over", "went", "a", "to", "slowly"]

    def line() -> str:
        some = rng.choices(words, k=rng.randint(3, 12))
        if rng.random() < 0.5:
            start = rng.randrange(len(some))
            some[start] = marks[0] + some[start]
            end = rng.randrange(start, len(some))
            some[end] += marks[1]
        return " ".join(some)

    return "".join(line() + "\n" for _ in range(lines))


def by_hand(text: str, layers: int = 1, sign: int = 1, seed: int = 7) -> LanguageModel:
    """Return an LSTM in whose first layer one unit counts characters since a newline and one is on between “ and ”.

    The count is 0.05 tanh(1) for each character, times ``sign``; the other weights are small random numbers.
    """
    vocabulary = Vocabulary.of(text + "“”„»«")
    rng = np.random.default_rng(seed)
    size = 8
    network = CharRNN(ModelConfig("lstm", size, layers), len(vocabulary), dtype=np.float64)
    network.parameters.flat[...] = rng.normal(scale=0.3, size=network.parameters.flat.size)
    p = network.parameters
    for unit in (COUNTS, QUOTES):
        i, f, o, g = (unit + k * size for k in range(4))
        for array in (p["layer0/w_x"], p["layer0/w_h"]):
            array[:, [i, f, o, g]] = 0
        p["layer0/b"][[i, f, o, g]] = -HIGH, HIGH, 0, HIGH
    i, f, g = COUNTS, COUNTS + size, COUNTS + 3 * size
    p["layer0/b"][i], p["layer0/b"][g] = np.log(0.05 / 0.95), sign
    p["layer0/w_x"][vocabulary.id("\n"), [i, f]] = -HIGH, -2 * HIGH
    i, f = QUOTES, QUOTES + size
    p["layer0/w_x"][vocabulary.id("“"), i] = 2 * HIGH
    p["layer0/w_x"][vocabulary.id("”"), f] = -2 * HIGH
    return LanguageModel(network, vocabulary)


@pytest.fixture(autouse=True)
def short_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read texts in more streams than usual, which is faster."""
    monkeypatch.setattr(units, "stream_count", lambda characters: max(1, characters // 500))


def search(model: LanguageModel, text: str, **settings: Any) -> dict[str, NamedUnit]:
    found = find_units(model, Part(model.vocabulary.encode(text)), **settings)
    assert len({(unit.layer, unit.unit) for unit in found}) == len({unit.name for unit in found}) == len(found)
    return {unit.name: unit for unit in found}


def test_units_that_count_or_are_on_inside_quotes_are_found() -> None:
    text = make_text()
    found = search(by_hand(text), text)
    assert set(list(found)[:2]) == {"inside quotation marks", "position in the line"}  # the scores of both are nearly 1
    quotes, counts = found["inside quotation marks"], found["position in the line"]
    assert (quotes.layer, quotes.part, quotes.unit, quotes.kind, quotes.direction) == (0, "cell", QUOTES, "AUC", 1)
    assert (quotes.score, quotes.low, quotes.high) == pytest.approx((1, 0, 1), abs=1e-6)
    assert (counts.layer, counts.part, counts.unit, counts.kind, counts.direction) == (0, "cell", COUNTS, "r", 1)
    each = 0.05 * np.tanh(1)
    assert counts.score > 0.999
    most = each * max(map(len, text.split("\n")))
    assert 0 <= counts.low < 0.15 * most < 0.5 * most < counts.high <= most * (1 + 1e-6)
    assert quotes.untrained < 0.95
    assert counts.untrained < 0.7


def test_a_unit_that_falls_has_the_other_direction() -> None:
    text = make_text()
    counts = search(by_hand(text, sign=-1), text)["position in the line"]
    assert (counts.unit, counts.direction) == (COUNTS, -1)
    assert counts.score > 0.999
    assert counts.high < counts.low < 0


def test_units_of_a_lower_layer_are_found_too() -> None:
    text = make_text()
    found = search(by_hand(text, layers=2), text)
    assert (found["inside quotation marks"].layer, found["inside quotation marks"].unit) == (0, QUOTES)


def test_the_hidden_state_of_other_cells_is_searched() -> None:
    text = make_text()
    vocabulary = Vocabulary.of(text)
    network = CharRNN(ModelConfig("rnn", 4), len(vocabulary), dtype=np.float64)
    network.parameters["layer0/w_h"][1, 1] = 2  # tanh(2 h) has two stable values
    network.parameters["layer0/w_x"][:, 1] = [{"“": HIGH, "”": -HIGH, "\n": -HIGH}.get(c, 0) for c in vocabulary.characters]
    found = search(LanguageModel(network, vocabulary), text)
    assert [(unit.part, unit.unit) for unit in found.values()] == [("hidden", 1)]
    assert found["inside quotation marks"].score == 1


@pytest.mark.parametrize("cell", ["lstm", "lnlstm", "gru", "rnn"])
@pytest.mark.parametrize("seed", range(3))
def test_a_random_network_has_no_named_units(cell: str, seed: int) -> None:
    text = make_text(lines=150)
    assert search(make_model(text, cell, 24, seed=seed), text) == {}


def test_a_unit_that_follows_only_in_the_first_half_is_not_named() -> None:
    first, second = make_text(1, lines=200), make_text(2, "„”", lines=200)
    model = by_hand(first + second)
    assert QUOTES in {unit.unit for unit in search(model, first + first).values()}
    assert QUOTES not in {unit.unit for unit in search(model, first + second).values()}


def test_the_second_half_does_not_affect_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_text(1, lines=200)
    model = by_hand(first + "„")
    chosen = []

    def choose(values: np.ndarray, named: list) -> list[tuple[int, int]]:
        result = units_choose(values, named)
        chosen.append((values.copy(), {named[feature].name: unit for feature, unit in result}))
        return result

    units_choose = units._choose
    monkeypatch.setattr(units, "_choose", choose)
    for second in (make_text(2), make_text(3, "„”")):
        search(model, first + second[:len(first) - 300])  # the first half of the text, and the 200 characters before it
    np.testing.assert_array_equal(chosen[0][0], chosen[1][0])
    assert chosen[0][1] == chosen[1][1] != {}


def test_the_score_is_that_of_the_second_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the quotations of the second half begin with a mark that the unit does not know."""
    text = make_text(1, lines=300)
    half = len(text) // 2
    mixed = text[:half] + text[half:].replace("“", "„", 8)
    model = by_hand(mixed)
    score = search(model, mixed)["inside quotation marks"].score
    inside = [[mixed.rfind(mark, 0, k + 1) for mark in "“„”"] for k in range(len(mixed))]
    is_on = np.array([known > end for known, _, end in inside])
    is_true = np.array([max(known, other) > end for known, other, end in inside])
    middle = 200 + (len(text) - 200) // 2
    assert score == pytest.approx((1 + is_on[middle:][is_true[middle:]].mean()) / 2, abs=0.002)
    assert score < 0.999
    for control, is_reported in ((0.999, False), (-3.0, True)):
        monkeypatch.setattr(units, "_control", lambda network, part, named, progress, c=control: np.full(len(named), c))
        assert ("inside quotation marks" in search(model, mixed)) == is_reported


def test_a_unit_that_repeats_the_last_character_is_not_reported() -> None:
    """It has an AUC of 1, but so may a unit of an untrained network."""
    text = make_text()
    model = by_hand(text)
    p = model.network.parameters
    p["layer0/w_h"][:, ::8] = 0
    p["layer0/w_x"][:, ::8] = 0
    p["layer0/b"][::8] = -HIGH, -HIGH, 0, HIGH
    p["layer0/w_x"][model.vocabulary.id("\n"), 0] = 2 * HIGH
    part = Part(model.vocabulary.encode(text))
    cells = units._activations(model.network, part, None)
    is_newline = part.ids[200:200 + len(cells)] == model.vocabulary.id("\n")
    assert aucs(cells[:, :1], is_newline[None]) == 1
    assert {unit.unit for unit in search(model, text).values()} == {COUNTS, QUOTES}


def test_a_short_text_names_no_units() -> None:
    text = make_text(lines=400)
    model = by_hand(text)
    assert search(model, text[:units.LEAST - 1]) == search(model, "") == {}
    assert search(model, text[:6000])
    assert search(model, text, characters=units.LEAST - 1) == {}


def test_most_limits_the_list_to_the_first() -> None:
    text = make_text()
    model = by_hand(text)
    assert list(search(model, text, most=1)) == list(search(model, text))[:1]


def test_a_large_network_reads_fewer_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    text = make_text()
    model = by_hand(text)
    read: list[int] = []
    search(model, text, progress=read.append)
    everything = sum(read)
    monkeypatch.setattr(units, "_MOST_NUMBERS", 8 * 6000)
    read.clear()
    search(model, text, progress=read.append)
    assert 2 * 5500 < sum(read) <= 2 * (6000 + 200 * 12) < everything


@pytest.mark.parametrize("characters", [2000, 6501])
def test_the_state_is_reset_where_documents_start(characters: int) -> None:
    """Each stream reads its characters, and 200 before them, from a zero state."""
    text = make_text(lines=600)[:characters]
    corpus = Corpus.from_text(make_text(lines=600), documents="lines")
    model = make_model("".join(corpus.vocabulary.characters), layers=2, documents="lines")
    part = Part(corpus.ids[:len(text)], corpus.starts[corpus.starts < len(text)])
    values = units._activations(model.network, part, None)
    count = characters // 500
    length = (characters - 200) // count
    assert values.shape == (count * length, 12)
    for stream in range(count):
        read = slice(stream * length, stream * length + 200 + length)
        resets = np.isin(np.arange(read.start, read.stop), part.starts)[:, None]
        layers, _ = model.network.activations(part.ids[read, None], model.network.initial_state(1), resets)
        cells = np.concatenate([layer["cell"][200:, 0] for layer in layers], axis=1)
        np.testing.assert_allclose(values[stream * length:(stream + 1) * length], cells, atol=1e-12)


def test_a_network_that_computes_no_numbers_has_no_named_units() -> None:
    text = make_text(lines=100)
    model = by_hand(text)
    model.network.parameters.flat[...] = np.nan
    assert search(model, text) == {}
    model.network.parameters.flat[...] = 0
    assert search(model, text) == {}


def test_bytes_are_decoded() -> None:
    text = make_text(lines=200)
    corpus = Corpus.from_text(text, level="byte")
    model = LanguageModel(CharRNN(ModelConfig("gru", 4), len(corpus.vocabulary), np.random.default_rng(1)),
                          corpus.vocabulary, dataclasses.replace(corpus.text_config))
    assert isinstance(find_units(model, Part(corpus.ids)), list)


# Scores

@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=50)
def test_auc_agrees_with_its_definition_by_pairs(examples: list[tuple[int, bool]]) -> None:
    values = np.array([value for value, _ in examples], np.float32)
    positive = np.array([is_positive for _, is_positive in examples])
    pairs = [(high > low) + 0.5 * (high == low)
             for high, low in itertools.product(values[positive].tolist(), values[~positive].tolist())]
    expected = np.mean(pairs) if pairs else 0.5
    both = aucs(np.stack([values, -values], axis=1), np.stack([positive, ~positive]))
    np.testing.assert_allclose(both, [[expected, 1 - expected], [1 - expected, expected]], atol=1e-12)


def test_correlations_agree_with_numpy() -> None:
    rng = np.random.default_rng(1)
    values, numbers = rng.normal(size=(50, 3)), rng.normal(size=(2, 50))
    expected = np.corrcoef(np.vstack([numbers, values.T]))[:2, 2:]
    np.testing.assert_allclose(correlations(values, numbers), expected, atol=1e-12)
    values[:, 1] = 4
    assert correlations(values, numbers)[:, 1].tolist() == [0, 0]
    large = (values + 1000).astype(np.float32)
    np.testing.assert_allclose(correlations(large, numbers)[:, 0], expected[:, 0], atol=1e-3)
