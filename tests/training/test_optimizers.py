import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charrnn.config import LEARNING_RATES, TrainConfig
from charrnn.nn.parameters import Parameters
from charrnn.training.optimizers import (
    OPTIMIZERS,
    SGD,
    Adagrad,
    Adam,
    RMSprop,
    clip,
    global_norm,
    learning_rate,
    make_optimizer,
)

PROPERTY = settings(max_examples=60)
SHAPES = {"w": (300, 230), "b": (7,)}  # more than two of the pieces in which a block is updated
STEPS = 6


def block(values, dtype=np.float64):
    parameters = Parameters({"a": (len(values),)}, dtype)
    parameters.flat[...] = values
    return parameters


def gradients_of(steps, size, seed=3):
    """Return gradients of many magnitudes, so that the position of an epsilon matters."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(size) * 10.0 ** rng.uniform(-11, 1, size) for _ in range(steps)]


def sgd(w, gradients, rates, momentum):
    v = 0
    for g, rate in zip(gradients, rates):
        v = momentum * v + g
        w = w - rate * v
    return w


def adagrad(w, gradients, rates):
    for t, rate in enumerate(rates, start=1):
        w = w - rate * gradients[t - 1] / (np.sqrt(sum(g**2 for g in gradients[:t])) + 1e-10)
    return w


def rmsprop(w, gradients, rates):
    for t, rate in enumerate(rates, start=1):
        mean = sum(0.01 * 0.99 ** (t - k) * gradients[k - 1] ** 2 for k in range(1, t + 1))
        w = w - rate * gradients[t - 1] / (np.sqrt(mean) + 1e-8)
    return w


def adam(w, gradients, rates):
    for t, rate in enumerate(rates, start=1):
        m = sum(0.3 * 0.7 ** (t - k) * gradients[k - 1] for k in range(1, t + 1)) / (1 - 0.7**t)
        s = sum(0.1 * 0.9 ** (t - k) * gradients[k - 1] ** 2 for k in range(1, t + 1)) / (1 - 0.9**t)
        w = w - rate * m / (np.sqrt(s) + 1e-8)
    return w


FORMULAS = {
    "adam": adam, "rmsprop": rmsprop, "adagrad": adagrad,
    "sgd": lambda w, gradients, rates: sgd(w, gradients, rates, 0.7),
}
MAKE = {
    "adam": lambda p, decay=0.0: Adam(p, decay, 0.7, 0.9), "rmsprop": RMSprop, "adagrad": Adagrad,
    "sgd": lambda p, decay=0.0: SGD(p, decay, 0.7),
}


def taken(name, w, gradients, rates, dtype=np.float64, weight_decay=0.0):
    """Return the optimizer ``name`` after a step for each of ``gradients``, from the weights ``w``."""
    parameters = Parameters(SHAPES, dtype)
    parameters.flat[...] = w
    optimizer = MAKE[name](parameters, weight_decay)
    step_gradients = parameters.like()
    for step, (g, rate) in enumerate(zip(gradients, rates), start=1):
        step_gradients.flat[...] = g
        optimizer.update(step_gradients, rate, step)
        assert np.array_equal(step_gradients.flat, g.astype(dtype))
    return optimizer


@pytest.fixture(scope="module")
def history():
    size = 300 * 230 + 7
    rates = [0.1, 0.1, 0.02, 0.3, 0.001, 0.05]
    return np.random.default_rng(2).standard_normal(size), gradients_of(STEPS, size), rates


@pytest.mark.parametrize("name", FORMULAS)
def test_steps_follow_the_published_formula(name, history):
    w, gradients, rates = history
    expected = FORMULAS[name](w, gradients, rates)
    np.testing.assert_allclose(taken(name, w, gradients, rates).parameters.flat, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", FORMULAS)
def test_steps_in_float32_are_the_same_to_its_precision(name, history):
    w, gradients, rates = history
    optimizer = taken(name, w, gradients, rates, np.float32)
    expected = FORMULAS[name](w, gradients, rates)
    assert optimizer.parameters.flat.dtype == np.float32
    assert all(slot.flat.dtype == np.float32 for slot in optimizer.slots.values())
    np.testing.assert_allclose(optimizer.parameters.flat, expected, rtol=2e-5, atol=2e-5)


def test_sgd_without_momentum_subtracts_the_gradient():
    parameters = block([1.0, 2.0])
    optimizer = SGD(parameters)
    for step in (1, 2):
        optimizer.update(block([1.0, -2.0]), 0.25, step)
    assert parameters.flat.tolist() == [0.5, 3.0]


@pytest.mark.parametrize("name", ["adam", "rmsprop", "adagrad", "sgd"])
def test_weights_without_a_gradient_do_not_change(name):
    parameters = block([1.0, 2.0], np.float32)
    optimizer = MAKE[name](parameters)
    for step in (1, 2, 3):
        optimizer.update(block([0.0, 0.0], np.float32), 0.1, step)
    assert parameters.flat.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("step", [1, 10**6, 2**62])
def test_adam_stays_finite_at_any_step(step):
    parameters = block([1.0, 2.0], np.float32)
    Adam(parameters).update(block([1e-3, -1e3], np.float32), 0.1, step)
    assert np.isfinite(parameters.flat).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_subtracts_a_fraction_of_each_matrix(name):
    w = np.random.default_rng(5).standard_normal(300 * 230 + 7)
    rates = [0.1, 0.2, 0.3]
    decayed = taken(name, w, [np.zeros_like(w)] * 3, rates, weight_decay=0.5).parameters.flat
    matrix = 300 * 230
    kept = (1 - 0.1 * 0.5) * (1 - 0.2 * 0.5) * (1 - 0.3 * 0.5)
    np.testing.assert_allclose(decayed[:matrix], kept * w[:matrix], rtol=1e-13)
    assert np.array_equal(decayed[matrix:], w[matrix:]), "the bias"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_does_not_change_the_slots(name, history):
    w, gradients, rates = history
    plain = taken(name, w, gradients, rates)
    decayed = taken(name, w, gradients, rates, weight_decay=0.1)
    for slot in plain.slots:
        assert np.array_equal(plain.slots[slot].flat, decayed.slots[slot].flat)
    once, without = (taken(name, w, gradients[:1], rates[:1], weight_decay=decay) for decay in (0.1, 0))
    change = rates[0] * 0.1 * np.concatenate((w[:-7], np.zeros(7)))
    np.testing.assert_allclose(without.parameters.flat - once.parameters.flat, change, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_slots_are_the_entire_memory_of_an_optimizer(name, history):
    w, gradients, rates = history
    whole = taken(name, w, gradients, rates, np.float32, 0.01)
    half = taken(name, w, gradients[:3], rates[:3], np.float32, 0.01)
    parameters = Parameters(SHAPES)
    parameters.flat[...] = half.parameters.flat
    resumed = MAKE[name](parameters, 0.01)
    for slot, values in half.slots.items():
        resumed.slots[slot].flat[...] = values.flat
    for step in range(4, STEPS + 1):
        g = parameters.like()
        g.flat[...] = gradients[step - 1]
        resumed.update(g, rates[step - 1], step)
    assert np.array_equal(parameters.flat, whole.parameters.flat)
    assert all(np.array_equal(resumed.slots[slot].flat, whole.slots[slot].flat) for slot in whole.slots)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_start_as_zeros_with_the_layout_of_the_parameters(name):
    parameters = Parameters(SHAPES)
    optimizer = make_optimizer(TrainConfig(optimizer=name), parameters)
    assert tuple(optimizer.slots) == optimizer.SLOTS
    assert all(slot.shapes == SHAPES and not slot.flat.any() for slot in optimizer.slots.values())


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("rmsprop", RMSprop), ("adagrad", Adagrad), ("sgd", SGD)])
def test_the_config_names_the_optimizer(name, kind):
    optimizer = make_optimizer(TrainConfig(optimizer=name, weight_decay=0.25, momentum=0.5, beta1=0.6, beta2=0.8),
                               block([1.0]))
    assert type(optimizer) is kind
    if kind is Adam:
        assert (optimizer.beta1, optimizer.beta2) == (0.6, 0.8)
    assert optimizer.weight_decay == 0.25
    assert getattr(optimizer, "momentum", 0.5) == 0.5


def test_optimizers_and_learning_rates_have_the_same_names():
    assert set(OPTIMIZERS) == set(LEARNING_RATES) == set(FORMULAS)


FINITE = hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-6))
LIMITS = st.floats(0.001, 50)


@PROPERTY
@given(FINITE, LIMITS)
def test_a_gradient_with_a_larger_norm_is_scaled_down(values, norm):
    gradients = block(values)
    before = clip(gradients, norm)
    assert before == pytest.approx(np.linalg.norm(values), rel=1e-12)
    if before <= norm:
        assert np.array_equal(gradients.flat, values)
    else:
        np.testing.assert_allclose(gradients.flat, values * (norm / np.linalg.norm(values)), rtol=1e-12)
        assert np.linalg.norm(gradients.flat) == pytest.approx(norm, rel=1e-12)


@PROPERTY
@given(FINITE, LIMITS)
def test_elements_are_clipped_to_the_value(values, value):
    gradients = block(values)
    assert clip(gradients, value=value) == pytest.approx(np.linalg.norm(values), rel=1e-12)
    assert gradients.flat.tolist() == [max(-value, min(value, x)) for x in values.tolist()]


@PROPERTY
@given(FINITE, LIMITS, LIMITS)
def test_elements_are_clipped_before_the_norm(values, norm, value):
    gradients = block(values)
    assert clip(gradients, norm, value) == pytest.approx(np.linalg.norm(values), rel=1e-12)
    cut = np.clip(values, -value, value)
    length = np.linalg.norm(cut)
    np.testing.assert_allclose(gradients.flat, cut * min(1.0, norm / length) if length else cut, rtol=1e-12)


@PROPERTY
@given(FINITE)
def test_without_limits_nothing_is_clipped(values):
    gradients = block(values)
    assert clip(gradients) == pytest.approx(np.linalg.norm(values), rel=1e-12)
    assert np.array_equal(gradients.flat, values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [[math.nan], [math.inf], [-math.inf], [math.inf, -math.inf], [math.nan, math.inf]])
@pytest.mark.parametrize("limits", [{"norm": 1.0}, {"value": 1.0}, {"norm": 1.0, "value": 1.0}, {}])
def test_a_gradient_that_is_not_finite_is_reported_and_not_changed(bad, limits, dtype):
    values = np.array([3.0, *bad, -4.0], dtype)
    gradients = block(values, dtype)
    assert not math.isfinite(clip(gradients, **limits))
    np.testing.assert_array_equal(gradients.flat, values)


def test_the_norm_covers_all_arrays():
    gradients = Parameters({"a": (2,), "b": (2, 1)})
    gradients["a"][...] = [1, -5]
    gradients["b"][...] = [[-1], [3]]
    assert clip(gradients, 3.0) == 6.0
    np.testing.assert_allclose(gradients.flat, [0.5, -2.5, -0.5, 1.5], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e19, 1e25, 5e37])
def test_the_norm_of_a_float32_block_is_right_if_its_squares_overflow_or_underflow(scale):
    values = np.array([3, -4, 0], np.float32) * np.float32(scale)
    assert global_norm(block(values, np.float32)) == pytest.approx(5 * scale, rel=1e-6, abs=0)


@pytest.mark.parametrize("size", [1, 2**15 - 1, 2**15, 2**15 + 1, 2**16 + 1])
def test_the_norm_includes_the_last_element_of_any_size(size):
    last = np.eye(1, size, size - 1)[0]
    assert global_norm(block(5 * last)) == 5
    parameters = block(last)
    SGD(parameters).update(block(last), 0.25, 1)
    assert np.array_equal(parameters.flat, 0.75 * last)


def test_the_norm_of_a_float32_block_is_summed_in_float64():
    values = np.random.default_rng(1).standard_normal(1_000_000).astype(np.float32)
    assert global_norm(block(values, np.float32)) == pytest.approx(np.linalg.norm(values.astype(np.float64)), rel=1e-9)


def test_a_float32_gradient_whose_squares_overflow_is_clipped():
    gradients = block(np.array([3e30, -4e30], np.float32), np.float32)
    assert clip(gradients, 1.0) == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose(gradients.flat, [0.6, -0.8], rtol=1e-5)


def rates(steps, peak=0.5, **settings_):
    config = TrainConfig(steps=steps, learning_rate=peak, **settings_)
    return [learning_rate(config, step) for step in range(1, steps + 1)]


def test_the_rate_rises_linearly_to_its_peak():
    history = rates(80, schedule="constant", warmup=4)
    assert history == pytest.approx([0.1, 0.2, 0.3, 0.4, *[0.5] * 76])


@pytest.mark.parametrize(("steps", "warmup", "rising"), [
    (20, 50, 2), (9, 50, 0), (1, 50, 0), (100, 10, 10), (100, 11, 10), (500, 50, 50), (499, 50, 49)])
def test_the_warm_up_takes_at_most_a_tenth_of_the_plan(steps, warmup, rising):
    expected = [0.5 * min(1, step / (rising + 1)) for step in range(1, steps + 1)]
    assert rates(steps, schedule="constant", warmup=warmup) == pytest.approx(expected)


def test_a_constant_rate_is_the_peak():
    assert rates(100, schedule="constant", warmup=0) == [0.5] * 100


def test_the_cosine_schedule_falls_from_the_peak_to_two_percent():
    history = rates(1000, schedule="cosine", warmup=0)
    assert history[0] == 0.5
    assert history[-1] == pytest.approx(0.02 * 0.5, rel=1e-3)
    assert min(history) >= 0.02 * 0.5
    assert all(after < before for before, after in pairwise(history))
    assert history == pytest.approx([0.5 * (0.51 + 0.49 * math.cos(math.pi * k / 1000)) for k in range(1000)])


def test_the_step_schedule_falls_to_a_tenth_at_sixty_and_again_at_eighty_five_percent():
    assert rates(100, schedule="step", warmup=0) == pytest.approx([0.5] * 60 + [0.05] * 25 + [0.005] * 15)


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_the_warm_up_multiplies_the_schedule(schedule):
    plain, warm = rates(90, schedule=schedule, warmup=0), rates(90, schedule=schedule, warmup=9)
    assert warm == pytest.approx([rate * min(1, step / 10) for step, rate in enumerate(plain, start=1)])


@pytest.mark.parametrize(("schedule", "fraction"), [("cosine", 0.02), ("step", 0.01), ("constant", 1.0)])
def test_after_the_plan_the_rate_keeps_its_last_value(schedule, fraction):
    config = TrainConfig(steps=50, learning_rate=0.5, schedule=schedule, warmup=3)
    for step in (51, 52, 500, 10**12):
        assert learning_rate(config, step) == pytest.approx(0.5 * fraction)


CONFIGS = st.builds(TrainConfig, steps=st.integers(1, 10**6), learning_rate=st.floats(1e-6, 10),
                    warmup=st.integers(0, 10**6), schedule=st.sampled_from(["cosine", "step", "constant"]))


@PROPERTY
@given(CONFIGS, st.lists(st.integers(1, 10**6), min_size=1, max_size=8))
def test_the_rate_is_a_function_of_the_step_and_the_plan(config, steps):
    once = {step: learning_rate(config, step) for step in steps}
    twin = dataclasses.replace(config, seed=9, optimizer="sgd", batch_size=3, eval_every=7)
    for step in reversed(steps):
        assert learning_rate(twin, step) == once[step]
        assert 0 < once[step] <= config.learning_rate
