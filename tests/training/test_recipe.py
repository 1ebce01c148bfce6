"""charrnn.training.recipe: properties of the choices; docs/recipes.md contains the experiments."""

import pytest

from charrnn.config import ModelConfig, TrainConfig
from charrnn.nn.model import CharRNN
from charrnn.training.recipe import (
    MOST_TUNING_PASSES,
    TYPICAL_SPEED,
    assumed_speed,
    characters_read,
    choose_model,
    most_passes,
    tune,
    weight_count,
)

SHAKESPEARE = 1_003_854


def choice(characters=SHAKESPEARE, cell="lnlstm", named=(), cores=2, speed=TYPICAL_SPEED, model=None, vocabulary_size=65,
           **length):
    config = TrainConfig(**(length or {"minutes": 2.0}))
    return choose_model(model or ModelConfig(cell), named, config, characters, vocabulary_size, cores, speed)


def chosen(*arguments, **settings):
    return choice(*arguments, **settings).model


def test_the_recipe_gives_the_sizes_in_the_documentation():
    found = [chosen(minutes=minutes) for minutes in (1 / 3, 2.0, 10.0)]
    assert [config.hidden_size for config in found] == [256, 384, 608]


@pytest.mark.parametrize("more", [{"minutes": 20.0}, {"cores": 16}])
def test_more_time_or_more_cores_never_give_a_smaller_model(more):
    for characters in (10_000, 100_000, SHAKESPEARE, 10**8):
        assert chosen(characters, **more).hidden_size >= chosen(characters).hidden_size


def test_a_faster_machine_allows_a_larger_model():
    sizes = [chosen(minutes=1.0, speed=factor * TYPICAL_SPEED).hidden_size for factor in (0.1, 0.5, 1, 2)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 2


@pytest.mark.parametrize("typical", [28e9, 37e9, 54e9, 62e9, 73e9, 138e9])
def test_the_noise_of_a_measurement_does_not_change_the_assumed_speed(typical):
    """The typical speeds are those of NumPy and of compiled kernels on two machines, and of bfloat16 on one."""
    assert len({assumed_speed(typical * noise) for noise in (0.9, 0.95, 1, 1.05, 1.1)}) == 1


def test_a_small_text_gets_a_small_model_with_much_dropout():
    found = chosen(20_000)
    assert weight_count(found, 0) <= 5.5 * 20_000
    assert found.dropout == found.weight_drop == 0.45


def test_minutes_plan_at_most_50_passes():
    assert choice(20_000, minutes=2.0).passes == choice(20_000, minutes=60.0).passes == most_passes(20_000, 65) == 50
    assert choice(20_000, epochs=200.0).passes == 200
    assert choice(minutes=2.0).passes < 6


def test_a_text_with_many_distinct_characters_is_read_fewer_times_with_more_dropout():
    found = choice(20_000, vocabulary_size=2000)
    assert found.passes == most_passes(20_000, 2000) == 6.25
    assert found.model.dropout == found.model.weight_drop == 0.45
    assert found.model.hidden_size == 128  # the weights of the output layer do not count
    assert most_passes(1000, 65) == 50  # a short text with few distinct characters
    passes = [most_passes(270_000, size) for size in (65, 1350, 2700, 5400, 10_000, 50_000)]
    assert passes == [50, 50, 25, 12.5, pytest.approx(6.75), 6.25]


def test_dropout_grows_with_the_number_of_passes():
    fractions = [chosen(epochs=passes, named={"cell"}).dropout for passes in (1, 2.5, 5, 10, 20, 40, 80, 1000)]
    assert fractions == [0, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_a_text_that_is_read_less_than_once_gets_no_dropout():
    found = chosen(10**9)
    assert found.dropout == found.weight_drop == 0
    assert found.hidden_size == 384


@pytest.mark.parametrize("length", [{"steps": 1}, {"steps": 10**9}, {"epochs": 0.001}, {"epochs": 1e6}, {"minutes": 1e-6},
                                    {"minutes": 1e6}])
@pytest.mark.parametrize("characters", [1, 1000, 10**12])
def test_every_length_and_text_get_a_size(length, characters):
    assert 32 <= chosen(characters, **length).hidden_size <= 1024


def test_given_settings_do_not_change():
    kept = chosen(20_000, model=ModelConfig("gru", dropout=0.0, weight_drop=0.1), named={"dropout", "weight_drop"})
    assert (kept.dropout, kept.weight_drop) == (0.0, 0.1)
    assert kept.cell == "gru"


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "lnlstm"])
@pytest.mark.parametrize(("layers", "embedding_size"), [(1, 0), (2, 0), (3, 16)])
def test_only_weights_that_are_multiplied_are_counted(cell, layers, embedding_size):
    model = CharRNN(ModelConfig(cell, 24, layers, embedding_size=embedding_size), 65)
    matrices = sum(array.size for name, array in model.parameters.items() if array.ndim == 2)
    rows = model.parameters["embedding/w" if embedding_size else "layer0/w_x"].size
    assert weight_count(model.config, 65) == matrices - rows


def test_the_number_of_characters_read_follows_from_the_plan():
    model = ModelConfig()
    assert characters_read(model, TrainConfig(epochs=2.5), 1000, 65, 2, TYPICAL_SPEED) == 2500
    assert characters_read(model, TrainConfig(steps=10, batch_size=3, seq_len=7), 1000, 65, 2, TYPICAL_SPEED) == 210
    one, two = (characters_read(model, TrainConfig(minutes=2.0), 1000, 65, cores, TYPICAL_SPEED) for cores in (1, 2))
    assert two == 2 * one


@pytest.mark.parametrize("characters", [0, 1, 2])
def test_a_tiny_text_gets_the_smallest_model(characters):
    found = choose_model(ModelConfig(), set(), TrainConfig(minutes=1.0), characters, 1, 2, TYPICAL_SPEED)
    assert found.model.hidden_size == 32


def tuned(characters=100_000, given=None, model=None, **train):
    config = TrainConfig(**train)
    model = model or ModelConfig(hidden_size=512, dropout=0.3, weight_drop=0.4)
    found, config = tune(model, given or {}, config, characters, 80, 2, TYPICAL_SPEED)
    return found.model, config


def test_a_pretrained_model_gets_a_low_learning_rate_and_dropout():
    model, train = tuned(model=ModelConfig("lstm", hidden_size=512))
    assert (model.hidden_size, model.dropout, model.weight_drop) == (512, 0.2, 0.2)
    assert train.learning_rate == pytest.approx(0.0015)
    _, train = tuned(model=ModelConfig("gru", hidden_size=512))
    assert train.learning_rate == pytest.approx(0.00075)


def test_minutes_are_a_limit_for_a_pretrained_model_too():
    for minutes in (2.0, 60.0):
        found, _ = tune(ModelConfig(hidden_size=512), {}, TrainConfig(minutes=minutes), 50_000, 80, 2, TYPICAL_SPEED)
        assert found.passes == MOST_TUNING_PASSES
    found, _ = tune(ModelConfig(hidden_size=512), {}, TrainConfig(epochs=9), 50_000, 80, 2, TYPICAL_SPEED)
    assert found.passes == 9


def test_a_pretrained_model_that_reads_a_text_only_a_few_times_gets_no_dropout():
    assert tuned(10**7)[0].dropout == tuned(10**7)[0].weight_drop == 0
    assert [(found.dropout, found.weight_drop) for found in (tuned(epochs=epochs)[0] for epochs in (4, 5))] == [
        (0, 0), (0.2, 0.2)]


def test_settings_for_a_pretrained_model_can_be_given():
    model, train = tuned(given={"dropout": 0.25, "weight_drop": 0.0}, learning_rate=0.5)
    assert (model.dropout, model.weight_drop, train.learning_rate) == (0.25, 0.0, 0.5)
