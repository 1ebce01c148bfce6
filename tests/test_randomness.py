"""charrnn.randomness"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.randomness import generator

PROPERTY = settings(max_examples=40)
PURPOSES = ["weights", "dropout", "sample", "check"]
NUMBERS = st.integers(0, 2**63 - 1)


def philox(key, counter):
    """Return four words of 64 bits for a key and a counter: Philox4x64-10 as defined by Salmon et al. (2011)."""
    k0, k1 = key
    c0, c1, c2, c3 = counter
    mask = 2**64 - 1
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & mask, (p0 >> 64) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return [c0, c1, c2, c3]


def words(*arguments, count=4, **places):
    return generator(*arguments, **places).bit_generator.random_raw(count).tolist()


def test_the_philox_of_this_file_gives_the_known_answer():
    assert philox((0, 0), (0, 0, 0, 0)) == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]


@PROPERTY
@given(NUMBERS, st.sampled_from(PURPOSES), NUMBERS, NUMBERS, NUMBERS)
def test_seed_and_purpose_are_the_key_and_the_place_is_the_counter(seed, purpose, step, layer, stream):
    key = (seed, PURPOSES.index(purpose) + 1)
    expected = philox(key, (1, stream, layer, step)) + philox(key, (2, stream, layer, step))
    assert words(seed, purpose, step=step, layer=layer, stream=stream, count=8) == expected


def test_numbers_do_not_depend_on_those_drawn_before():
    first = words(7, "dropout", step=3, layer=1, stream=2)
    np.random.default_rng(7).random(100)
    generator(7, "dropout", step=3, layer=1, stream=2).random(1000)
    generator(7, "sample").random(1000)
    assert words(7, "dropout", step=3, layer=1, stream=2) == first


@pytest.mark.parametrize("other", [
    {"seed": 8}, {"purpose": "sample"}, {"step": 4}, {"layer": 2}, {"stream": 1}, {"step": 2, "layer": 3, "stream": 1},
    {"step": 1, "layer": 3, "stream": 2}])
def test_numbers_depend_on_every_argument(other):
    place = {"seed": 7, "purpose": "dropout", "step": 3, "layer": 1, "stream": 2}
    one = words(**place, count=4000)
    two = words(**{**place, **other}, count=4000)
    assert not set(one) & set(two)


def test_step_layer_and_stream_are_zero_by_default():
    assert words(7, "weights") == words(7, "weights", step=0, layer=0, stream=0)


def test_rejects_an_unknown_purpose():
    with pytest.raises(KeyError):
        generator(1, "luck")


def test_the_numbers_are_uniform():
    drawn = generator(1, "check").random(20_000)
    counts = np.histogram(drawn, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # chi-square of 19 degrees of freedom: 99.9 %
