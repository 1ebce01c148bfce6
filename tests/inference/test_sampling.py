"""charrnn.inference.sampling"""

from itertools import islice
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError, VocabularyError
from charrnn.inference.sampling import distribution, generate, read_prime
from charrnn.nn.model import CharRNN
from charrnn.text.vocabulary import Vocabulary

PROPERTY = settings(max_examples=80)
LETTERS = Vocabulary.of("abcdef")


class Layer(NamedTuple):
    read: np.ndarray  # (B, 1), the number of characters that were read


class Fake:
    """A network with given logits: ``answer(read, id)`` returns the logits after ``id``, the ``read``-th id it reads."""

    def __init__(self, answer, vocabulary_size=6):
        self.answer = answer
        self.vocabulary_size = vocabulary_size
        self.parameters = SimpleNamespace(flat=np.empty(0))
        self.seen = []

    def replica(self):
        return self

    def initial_state(self, batch_size):
        return (Layer(np.zeros((batch_size, 1))),)

    def forward(self, inputs, state):
        assert inputs.ndim == 2
        (layer,) = state
        assert layer.read.shape == (inputs.shape[1], 1)
        self.seen += inputs.tolist()
        first = layer.read[:, 0].astype(int).tolist()
        logits = np.array([[self.answer(read + t + 1, k) for read, k in zip(first, ids)]
                           for t, ids in enumerate(inputs.tolist())], np.float32)
        return logits, (Layer(layer.read + len(inputs)),)


def only(character, vocabulary=LETTERS):
    """Return logits that allow one character only."""
    logits = np.full(len(vocabulary), -1e4)
    logits[vocabulary.id(character)] = 0
    return logits


def successor(vocabulary=LETTERS):
    """Return a network that generates the characters of the vocabulary in order, starting again after the last."""
    return Fake(lambda read, k: only(vocabulary.characters[(k + 1) % len(vocabulary)], vocabulary), len(vocabulary))


def script(text, start=1, vocabulary=LETTERS):
    """Return a network that repeats ``text`` whatever it reads, from its beginning after ``start`` characters."""
    return Fake(lambda read, k: only(text[(read - start) % len(text)], vocabulary), len(vocabulary))


LOGITS = np.log([0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
FIXED = Fake(lambda read, k: LOGITS)


def sample(network, vocabulary, **settings_):
    """Yield the characters of one sample."""
    return (characters[0] for characters in generate(network, vocabulary, 1, **settings_))


def written(model, vocabulary=LETTERS, **settings_):
    return "".join(sample(model, vocabulary, **settings_))


def many(model, count, vocabulary=LETTERS, **settings_):
    """Return ``count`` samples as strings."""
    return ["".join(characters) for characters in zip(*generate(model, vocabulary, count, **settings_))]


def softmax(logits, temperature=1.0):
    scaled = np.asarray(logits, np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()


def assert_drawn_from(p, drawn):
    """Assert that the characters ``drawn`` have the probabilities ``p``: chi-square of 5 degrees of freedom, 99.99 %."""
    counts = np.array([drawn.count(character) for character in LETTERS.characters])
    assert not counts[p == 0].any()
    expected = p[p > 0] * len(drawn)
    assert ((counts[p > 0] - expected) ** 2 / expected).sum() < 25.7


# The generated text

@pytest.mark.parametrize("settings_", [
    {}, {"greedy": True}, {"temperature": 0.1}, {"top_k": 1}, {"top_p": 0.01}, {"seed": 5}])
def test_generates_the_only_possible_text_with_any_settings(settings_):
    assert written(successor(), prime="c", length=9, **settings_) == "c" + "defabcdef"


@pytest.mark.parametrize("length", [0, 1, 7, 300])
@pytest.mark.parametrize("prime", ["", "a", "fade"])
def test_length_does_not_count_the_prime(prime, length):
    text = written(successor(), prime=prime, length=length)
    assert text.startswith(prime)
    assert len(text) == len(prime) + length


def test_does_not_end_without_a_length():
    assert "".join(islice(sample(successor(), LETTERS, prime="f"), 1 + 6000)) == "f" + "abcdef" * 1000


@pytest.mark.parametrize("prime", ["ab", "abcdef" * 43, "abcdef" * 200])
def test_reads_the_whole_prime_from_a_zero_state(prime):
    model = script("fed", start=len(prime))
    assert written(model, prime=prime, length=6) == prime + "fedfed"
    assert [k for (k,) in model.seen[:len(prime)]] == LETTERS.encode(prime).tolist()


@pytest.mark.parametrize(("characters", "first"), [("\nabc", "\n"), ("\tabc\n", "\n"), ("abc", "a"), ("\r!", "\r")])
def test_starts_after_a_newline_or_the_first_character_if_there_is_no_prime(characters, first):
    vocabulary = Vocabulary.of(characters)
    model = successor(vocabulary)
    text = written(model, vocabulary, length=1)
    assert model.seen[0] == [vocabulary.id(first)]
    assert text == vocabulary.characters[(vocabulary.id(first) + 1) % len(vocabulary)]


def test_reads_each_generated_character_next():
    model = successor()
    written(model, prime="a", length=5)
    assert [k for (k,) in model.seen[:5]] == [0, 1, 2, 3, 4]


def test_a_long_prime_is_read_as_in_one_call():
    model = CharRNN(ModelConfig("gru", 5, 2), len(LETTERS), np.random.default_rng(1), np.float64)
    ids = np.random.default_rng(2).integers(len(LETTERS), size=700)
    logits, state = read_prime(model, LETTERS, ids, 3)
    expected, after = model.forward(ids[:, None], model.initial_state(1))
    assert logits.shape == (3, len(LETTERS))
    np.testing.assert_allclose(logits, np.repeat(expected[-1], 3, axis=0), rtol=1e-10)
    for layer, layer_after in zip(state, after):
        np.testing.assert_allclose(layer.hidden, np.repeat(layer_after.hidden, 3, axis=0), rtol=1e-10)


# The end of a sample

@pytest.mark.parametrize(("until", "text"), [
    ("d", "d"), ("f", "def"), ("ef", "def"), ("fab", "defab"), ("defabc", "defabc"), ("cdefab", "defabcdefab")])
def test_ends_once_until_has_been_generated(until, text):
    assert written(successor(), prime="c", length=1000, until=until) == "c" + text


@pytest.mark.parametrize("prime", ["ab", "abab", "cab"])
def test_until_is_not_searched_in_the_prime(prime):
    assert written(script("cdab", start=len(prime)), prime=prime, length=100, until="ab") == prime + "cdab"


def test_until_does_not_match_across_prime_and_text():
    assert written(successor(), prime="abc", length=100, until="cd") == "abc" + "defabcd"


@pytest.mark.parametrize(("text", "until"), [("aaab", "aab"), ("ababac", "abac"), ("aabaabaaa", "aabaaa")])
def test_until_is_found_if_its_beginning_repeats(text, until):
    assert written(script(text), prime="f", until=until) == "f" + text


def test_ends_at_the_length_if_until_does_not_occur():
    assert written(successor(), prime="a", length=20, until="ba") == "a" + ("bcdefa" * 4)[:20]


def test_until_ends_each_sample_separately():
    endless = many(FIXED, 8, length=60, seed=3)
    turns = list(generate(FIXED, LETTERS, 8, length=60, seed=3, until="ab"))
    ended = ["".join(characters) for characters in zip(*turns)]
    assert len({len(text) for text in ended}) > 2
    for whole, text in zip(endless, ended):
        assert text == (whole[:whole.index("ab") + 2] if "ab" in whole else whole)
    assert all(len(turn) == 8 for turn in turns)
    assert any(turns[-1])


# Probabilities

@pytest.mark.parametrize("temperature", [0.3, 0.7, 1, 1.0, 2.5, 100.0])
def test_characters_are_sampled_from_the_softmax(temperature):
    drawn = many(FIXED, 40, length=100, temperature=temperature, seed=11)
    assert_drawn_from(softmax(LOGITS, temperature), "".join(drawn))


def test_the_characters_of_one_sample_are_sampled_from_the_softmax():
    assert_drawn_from(softmax(LOGITS), written(FIXED, length=3000, seed=10))


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6, 100])
def test_top_k_samples_from_the_k_most_likely(k):
    p = softmax(LOGITS)
    p[k:] = 0
    assert_drawn_from(p / p.sum(), "".join(many(FIXED, 40, length=100, top_k=k, seed=12)))


@pytest.mark.parametrize(("top_p", "kept"), [
    (0.01, 1), (0.39, 1), (0.5, 2), (0.7, 3), (0.89, 4), (0.95, 5), (0.99, 6), (1.0, 6)])
def test_top_p_samples_from_the_fewest_that_reach_it(top_p, kept):
    p = softmax(LOGITS)
    p[kept:] = 0
    assert_drawn_from(p / p.sum(), "".join(many(FIXED, 40, length=100, top_p=top_p, seed=13)))


def test_top_p_is_applied_after_top_k():
    p = distribution(LOGITS[None], 1.0, 2, 0.6)  # of 0.4 and 0.25 the first has 0.615
    assert p.tolist() == [[1, 0, 0, 0, 0, 0]]


def test_top_p_is_applied_after_the_temperature():
    assert np.count_nonzero(distribution(LOGITS[None], 0.2, None, 0.85)) == 1
    assert np.count_nonzero(distribution(LOGITS[None], 50.0, None, 0.85)) == 6


ROWS = hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 12)), elements=st.floats(-20, 20, width=32))


@PROPERTY
@given(ROWS, st.floats(0.05, 20))
def test_the_distribution_is_the_softmax_of_each_row(logits, temperature):
    for dtype in (np.float32, np.float64):
        given_logits = logits.astype(dtype)
        p = distribution(given_logits, temperature)
        assert p.dtype == np.float64
        np.testing.assert_allclose(p, [softmax(row, temperature) for row in logits], rtol=1e-9, atol=1e-300)
        assert np.array_equal(given_logits, logits)


@PROPERTY
@given(ROWS, st.integers(1, 15))
def test_top_k_keeps_the_most_likely_and_their_proportions(logits, k):
    for row, p in zip(logits, distribution(logits, 1.0, k)):
        before, kept = softmax(row), p > 0
        assert kept.sum() == min(k, len(row))
        assert kept.all() or before[kept].min() >= before[~kept].max() * (1 - 1e-12)
        np.testing.assert_allclose(p[kept], before[kept] / before[kept].sum(), rtol=1e-9)


@PROPERTY
@given(ROWS, st.floats(1e-6, 1, exclude_max=True))
def test_top_p_keeps_the_fewest_that_reach_it(logits, top_p):
    for row, p in zip(logits, distribution(logits, 1.0, None, top_p)):
        before, kept = softmax(row), p > 0
        reached = before[kept].sum()
        assume(abs(reached - top_p) > 1e-12)
        assert reached >= top_p
        assert reached - before[kept].min() < top_p + 1e-12
        assert kept.all() or before[kept].min() >= before[~kept].max() * (1 - 1e-12)
        np.testing.assert_allclose(p[kept], before[kept] / reached, rtol=1e-9)


@pytest.mark.parametrize("size", [2, 3, 8, 11, 17, 22, 47])
def test_top_p_keeps_no_further_character_if_it_is_reached_exactly(size):
    p = distribution(np.zeros((1, size)), 1.0, None, 2 / size)
    assert np.count_nonzero(p) == 2


@pytest.mark.parametrize("settings_", [{"top_k": 2}, {"top_p": 0.45}])
def test_keeps_the_first_of_equally_likely_characters(settings_):
    p = distribution(np.array([[0.0, 0, 0, 0], [0, 1, 0, 1]]), 1.0, **settings_)
    assert p[0].tolist() == [0.5, 0.5, 0, 0]
    assert np.flatnonzero(p[1]).tolist() == [1, 3]


def test_keeps_the_first_of_many_equally_likely_characters():
    p = distribution(np.array([[0.0, 5.0] * 300]), 1.0, 51)
    assert np.flatnonzero(p[0]).tolist() == list(range(1, 103, 2))


@PROPERTY
@given(ROWS, st.integers(1, 15) | st.none(), st.floats(1e-300, 1) | st.none(), st.floats(5e-324, 1e308))
def test_each_row_sums_to_one_with_any_settings(logits, top_k, top_p, temperature):
    p = distribution(logits, temperature, top_k, top_p)
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-12)


@pytest.mark.parametrize("temperature", [5e-324, 1e-308, 1e-100, 1e-5])
def test_a_very_low_temperature_takes_the_most_likely(temperature):
    assert distribution(LOGITS[None], temperature).tolist() == [[1, 0, 0, 0, 0, 0]]
    assert written(FIXED, length=50, temperature=temperature) == "a" * 50


@pytest.mark.parametrize("temperature", [0, 0.0, -0.0])
@pytest.mark.parametrize("settings_", [{}, {"top_k": 3}, {"top_p": 0.9}])
def test_a_temperature_of_zero_is_greedy(temperature, settings_):
    model = Fake(lambda read, k: [0, 3, 1, 3, 2, 0])
    assert written(model, length=20, temperature=temperature, **settings_) == "b" * 20
    assert many(model, 3, length=20, temperature=temperature, **settings_) == ["b" * 20] * 3


def test_samples_generated_in_two_groups_equal_those_of_one_group():
    settings_ = {"length": 20, "seed": 4}
    together = many(FIXED, 5, **settings_)
    assert many(FIXED, 2, **settings_) + many(FIXED, 3, first=2, **settings_) == together
    assert len(set(together)) == 5


def test_a_very_high_temperature_makes_all_characters_equally_likely():
    np.testing.assert_allclose(distribution(LOGITS[None], 1e308), np.full((1, 6), 1 / 6), rtol=1e-12)


def test_greedy_takes_the_most_likely_and_the_first_of_two():
    model = Fake(lambda read, k: [0, 3, 1, 3, 2, 0])
    assert written(model, length=20, greedy=True) == "b" * 20
    assert written(model, length=20, greedy=True, temperature=100.0, seed=4) == "b" * 20


# Seeds, and several samples

def test_the_seed_determines_the_text():
    texts = [written(FIXED, length=100, seed=seed) for seed in (1, 2, 1, 2**63 - 1)]
    assert texts[0] == texts[2]
    assert len(set(texts)) == 3


def test_generating_another_sample_in_between_does_not_change_a_sample():
    characters = sample(FIXED, LETTERS, length=40, seed=1)
    start = [next(characters) for _ in range(20)]
    written(FIXED, length=30, seed=1)
    assert "".join([*start, *characters]) == written(FIXED, length=40, seed=1)


@pytest.mark.parametrize("settings_", [{}, {"temperature": 0.5}, {"top_k": 4}, {"top_p": 0.8}, {"until": "aa"}])
def test_the_first_of_several_samples_equals_a_single_one(settings_):
    alone = written(FIXED, prime="fa", length=100, seed=9, **settings_)
    assert many(FIXED, 1, prime="fa", length=100, seed=9, **settings_) == [alone]
    assert many(FIXED, 5, prime="fa", length=100, seed=9, **settings_)[0] == alone


@pytest.mark.parametrize("cell", ["rnn", "lstm", "lnlstm", "gru"])
def test_a_sample_does_not_depend_on_the_number_of_samples(cell):
    model = CharRNN(ModelConfig(cell, 8, 2), len(LETTERS), np.random.default_rng(1))
    five = many(model, 5, prime="fade", length=80, seed=3)
    assert many(model, 2, prime="fade", length=80, seed=3) == five[:2]
    assert written(model, prime="fade", length=80, seed=3) == five[0]
    assert len(set(five)) == 5


def test_samples_are_independent_of_each_other():
    one, two = many(FIXED, 2, length=5000, seed=21)
    assert_drawn_from(softmax(LOGITS), one)
    assert_drawn_from(softmax(LOGITS), two)
    pairs = np.zeros((6, 6))
    np.add.at(pairs, (LETTERS.encode(one), LETTERS.encode(two)), 1)
    expected = np.outer(softmax(LOGITS), softmax(LOGITS)) * len(one)
    assert ((pairs - expected) ** 2 / expected).sum() < 73  # chi-square of 35 degrees of freedom: 99.98 %


def test_each_sample_begins_with_the_prime():
    turns = list(generate(successor(), LETTERS, 3, prime="ab", length=2))
    assert turns == [["a"] * 3, ["b"] * 3, ["c"] * 3, ["d"] * 3]


# Invalid arguments

@pytest.mark.parametrize(("name", "value"), [
    *(("temperature", value) for value in (-1.0, -1e-9, np.nan, np.inf, -np.inf, True, "1", None)),
    *(("top_k", value) for value in (0, -1, 2**63, 1.0, np.nan, np.inf, True, "1")),
    *(("top_p", value) for value in (0, 0.0, -0.5, 1.0000001, 2, np.nan, np.inf, -np.inf, True, "1")),
    *(("length", value) for value in (-1, 2**63, 1.0, np.nan, np.inf, True, "1")),
    *(("seed", value) for value in (-1, 2**63, 1.0, np.nan, True, "1", None))])
def test_rejects_a_setting_out_of_range_and_names_it(name, value):
    for call in (lambda: list(generate(FIXED, LETTERS, 2, **{"length": 3, name: value})),
                 lambda: list(sample(FIXED, LETTERS, **{"length": 3, name: value}))):
        with pytest.raises(ConfigError) as caught:
            call()
        assert caught.value.field == name


@pytest.mark.parametrize("value", [0, -1, 2**63, 1.0, True, "2", None])
def test_rejects_an_invalid_number_of_samples_and_names_it(value):
    with pytest.raises(ConfigError) as caught:
        list(generate(FIXED, LETTERS, value, length=3))
    assert caught.value.field == "count"


@pytest.mark.parametrize("value", [10**400, -10**400], ids=["positive", "negative"])
@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p", "length", "seed"])
def test_rejects_an_integer_too_large_for_a_float_and_names_the_setting(name, value):
    with pytest.raises(ConfigError) as caught:
        list(sample(FIXED, LETTERS, **{"length": 3, name: value}))
    assert caught.value.field == name


@pytest.mark.parametrize(("prime", "place"), [("x", 0), ("abx", 2), ("ab\n", 2), ("abc\udcff", 3)])
def test_a_prime_with_an_unknown_character_is_refused(prime, place):
    with pytest.raises(VocabularyError, match=f"at position {place} "):
        generate(FIXED, LETTERS, 1, prime=prime, length=3)
    with pytest.raises(VocabularyError, match=f"at position {place} "):
        next(sample(FIXED, LETTERS, prime=prime, length=3))


def test_accepts_settings_at_their_limits():
    assert len(written(FIXED, length=5, top_k=2**63 - 1, top_p=1, temperature=1e308, seed=2**63 - 1)) == 5
    assert len(written(FIXED, length=5, top_k=1, top_p=5e-324, temperature=5e-324, seed=0)) == 5


@pytest.mark.parametrize("characters", ["abcde", "abcdefg"])
def test_rejects_a_vocabulary_of_another_size(characters):
    with pytest.raises(ValueError, match=f"^the network is for 6 characters, but the vocabulary has {len(characters)}$"):
        generate(CharRNN(ModelConfig(hidden_size=4), 6), Vocabulary.of(characters), 1, length=3)


def test_samples_of_one_network_can_be_generated_in_turns():
    """Each sample uses its own replica of the network, so they share no buffers."""
    model = CharRNN(ModelConfig(hidden_size=8), len(LETTERS), np.random.default_rng(1))
    expected = [written(model, length=40, seed=seed) for seed in (1, 2)]
    turns = zip(sample(model, LETTERS, length=40, seed=1), sample(model, LETTERS, length=40, seed=2))
    assert ["".join(characters) for characters in zip(*turns)] == expected
    assert model._buffers is None


def test_a_network_that_computes_nan_generates_nothing():
    model = Fake(lambda read, k: [0.0, np.nan, 1, 3, 2, 0])
    for settings_ in ({}, {"greedy": True}, {"temperature": 0}):
        with pytest.raises(ValueError, match="the model computes NaN"):
            written(model, length=5, **settings_)


@pytest.mark.parametrize("length", [4, 100, None])
def test_nan_is_reported_after_the_characters_before_it(length):
    """Several characters are computed before the first one is returned."""
    network = Fake(lambda read, k: LOGITS if read < 4 else np.full(6, np.nan))
    characters = sample(network, LETTERS, prime="a", length=length, seed=1)
    assert len([next(characters) for _ in range(4)]) == 4
    with pytest.raises(ValueError, match="the model computes NaN"):
        next(characters)
