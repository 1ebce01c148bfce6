"""Compiled sampling agrees with sampling in NumPy, and is used only for long samples."""

import gated
import numpy as np
import pytest
from test_kernels import needs_numba

from charrnn.config import ModelConfig
from charrnn.inference import sampling
from charrnn.inference.sampling import distribution, generate
from charrnn.nn.cells import CELLS, register, unregister
from charrnn.nn.model import CharRNN
from charrnn.nn.sampler import Sampler
from charrnn.nn.state import map_state
from charrnn.randomness import generator
from charrnn.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of("".join(map(chr, range(48, 48 + 30))))
SETTINGS = {"plain": (1.0, None, None), "cold": (0.3, None, None), "greedy": (0.0, None, None), "k": (1.3, 4, None),
            "one": (1.0, 1, None), "all": (1.0, 1000, 1.0), "p": (1.2, None, 0.6), "k and p": (1.5, 7, 0.8)}


def make_model(cell="lstm", layers=1, embedding_size=0, dtype=np.float32):
    """Return a model whose distributions are far from uniform; the gains and biases of an lnlstm are random."""
    model = CharRNN(ModelConfig(cell, 19, layers, embedding_size=embedding_size), len(VOCABULARY), generator(1, "weights"),
                    dtype)
    model.parameters["output/w"][...] *= 12
    rng = generator(4, "check")
    for name, array in model.parameters.items():
        if cell == "lnlstm" and name.endswith(("/gain", "/b")):
            array += 0.3 * rng.standard_normal(array.shape).astype(dtype)
    return model


def start(model, streams):
    """Return logits and a state that differ from stream to stream."""
    ids = generator(2, "check").integers(len(VOCABULARY), size=(3, streams))
    logits, state = model.forward(ids, model.initial_state(streams))
    return logits[-1], state


@needs_numba
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(("layers", "embedding_size"), [(1, 0), (2, 0), (3, 5)])
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_characters_are_drawn_as_in_numpy(cell, layers, embedding_size, settings):
    model = make_model(cell, layers, embedding_size)
    logits, state = start(model, 3)
    uniform = generator(3, "check").random((60, 3))
    expected, last, _ = sampling._sample(model, logits.copy(), state, uniform, settings, 5)
    sampler = Sampler(model, logits, state, *settings, 5)
    drawn = np.concatenate([sampler(uniform[:1]), sampler(uniform[1:40]), sampler(uniform[40:])])
    np.testing.assert_array_equal(drawn, expected)
    assert (drawn != 5).all()
    assert len(np.unique(drawn)) > (1 if settings[0] else 0)
    np.testing.assert_allclose(np.delete(sampler._logits, 5, axis=1), np.delete(last, 5, axis=1), rtol=1e-3, atol=1e-4)


@needs_numba
def test_the_frequencies_are_those_of_the_distribution():
    model = make_model()
    logits, state = start(model, 1)
    many = map_state(lambda array: np.repeat(array, 4000, axis=0), state)
    sampler = Sampler(model, np.repeat(logits, 4000, axis=0), many, 1.5, 6, 0.9, None)
    drawn = sampler(generator(1, "check").random((1, 4000)))
    counts = np.bincount(drawn[0], minlength=len(VOCABULARY))
    p = distribution(logits, 1.5, 6, 0.9)[0]
    assert not counts[p == 0].any()
    assert abs(counts / 4000 - p).max() < 0.03


@needs_numba
@pytest.mark.parametrize(("settings", "most"), [((1.0, 4, None), 4), ((1.0, None, 0.5), 15), ((1.0, 20, 0.1), 2)], ids=str)
def test_of_equally_likely_characters_the_first_are_kept(settings, most):
    model = CharRNN(ModelConfig(hidden_size=3), len(VOCABULARY))  # all weights are zero
    logits, state = start(model, 1)
    drawn = Sampler(model, logits, state, *settings, None)(generator(3, "check").random((300, 1)))
    assert set(drawn[:, 0].tolist()) == set(range(most))


@needs_numba
@pytest.mark.parametrize("size", [2, 200])
@pytest.mark.parametrize("hidden_size", [1, 70])
@pytest.mark.parametrize("cell", CELLS)
def test_one_stream_and_other_sizes(cell, hidden_size, size):
    model = CharRNN(ModelConfig(cell, hidden_size, 2), size, generator(1, "weights"))
    model.parameters["output/w"][...] *= 9
    logits, state = model.forward(np.array([[0]]), model.initial_state(1))
    uniform = generator(3, "check").random((80, 1))
    expected, _, _ = sampling._sample(model, logits[-1].copy(), state, uniform, (1.0, None, 0.95), None)
    drawn = Sampler(model, logits[-1], state, 1.0, None, 0.95, None)(uniform)
    np.testing.assert_array_equal(drawn, expected)


@needs_numba
def test_packed_matrices_are_aligned():
    from charrnn.nn.kernels.sampling import stacked

    for count in (1, 3):
        packed = stacked([np.ones((5, 70), np.float32)] * count)
        assert packed.ctypes.data % 64 == 0
        assert len(packed) == count
        assert packed.sum() == count * 5 * 70


@needs_numba
def test_later_changes_of_the_model_have_no_effect():
    model = make_model()
    logits, state = start(model, 2)
    uniform = generator(3, "check").random((9, 2))
    expected = Sampler(model, logits, state, 1.0, None, None, None)(uniform)
    sampler = Sampler(model, logits, state, 1.0, None, None, None)
    model.parameters.flat[...] = 0
    np.testing.assert_array_equal(sampler(uniform), expected)


@needs_numba
def test_nan_ends_the_characters():
    model = make_model()
    logits, state = start(model, 2)
    model.parameters["layer0/w_h"][...] = np.nan
    drawn = Sampler(model, logits, state, 1.0, None, None, None)(np.full((3, 2), 0.5))
    assert (drawn[0] >= 0).all()
    assert (drawn[1] == -1).all()


@pytest.fixture
def early(monkeypatch):
    """Make samples long after four turns; return the list of the samplers that are made."""
    made = []
    monkeypatch.setattr(sampling, "_TURNS_AT_ONCE", 4)
    monkeypatch.setattr(sampling, "_TURNS_BEFORE_LOADING", 4)
    monkeypatch.setattr(sampling, "_WORTH_LOADING", 0.0)
    monkeypatch.setattr(sampling, "Sampler", type("Recorded", (Sampler,), {
        "__init__": lambda self, *arguments: [Sampler.__init__(self, *arguments), made.append(self)][0]}))
    return made


def text(model, length=40, **settings):
    return list(generate(model, VOCABULARY, 2, length=length, seed=3, **settings))


@needs_numba
@pytest.mark.parametrize("settings", [{}, {"greedy": True}, {"top_k": 3, "top_p": 0.9},
                                      {"prime": "0123", "temperature": 2.0}], ids=str)
def test_a_long_sample_has_the_same_text(settings, early, monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_WORTH_LOADING", 1e9)
        expected = text(make_model(), **settings)
    assert not early
    assert text(make_model(), **settings) == expected
    assert len(early) == 1


@needs_numba
def test_a_stop_text_ends_a_long_sample(early, monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    whole = "".join(turn[0] for turn in text(make_model()))
    until = whole[20:23]
    ended = "".join(turn[0] for turn in text(make_model(), until=until))
    assert ended == whole[:whole.index(until) + 3]
    assert len(early) == 2


@needs_numba
def test_short_samples_and_those_without_an_end_use_numpy(early, monkeypatch):
    text(make_model(), length=4)
    turns = generate(make_model(), VOCABULARY, 1, seed=1)
    assert len([next(turns) for _ in range(20)]) == 20
    monkeypatch.setattr(sampling, "_WORTH_LOADING", 4.0)
    text(make_model())
    assert not early


@needs_numba
def test_models_without_compiled_functions_use_numpy(early, monkeypatch):
    monkeypatch.delenv("CHARRNN_KERNELS", raising=False)
    text(make_model(dtype=np.float64))
    register("gated", gated.Gated)
    try:
        text(make_model("gated"))
    finally:
        unregister("gated")
    monkeypatch.setenv("CHARRNN_KERNELS", "reference")
    text(make_model())
    assert not early
