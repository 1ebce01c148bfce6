"""What is chosen for a text and a length; properties, as the figures behind it stand in docs/recipes.md."""

import pytest

from charrnn.config import ModelConfig, TrainConfig
from charrnn.nn.model import CharRNN
from charrnn.training.recipe import characters_read, choose_model, weight_count

SHAKESPEARE = 1_003_854


def chosen(characters=SHAKESPEARE, cell="lstm", named=(), cores=2, kernels="compiled", model=None, **length):
    config = TrainConfig(**(length or {"minutes": 2.0}))
    return choose_model(model or ModelConfig(cell), named, config, characters, 65, cores, kernels)


def test_the_recipes_of_the_documentation():
    found = [chosen(minutes=minutes) for minutes in (1 / 3, 2.0, 10.0)]
    assert [config.hidden_size for config in found] == [192, 512, 512]


@pytest.mark.parametrize("more", [{"minutes": 20.0}, {"cores": 16}])
def test_more_time_and_more_cores_make_no_smaller_model(more):
    for characters in (10_000, 100_000, SHAKESPEARE, 10**8):
        assert chosen(characters, **more).hidden_size >= chosen(characters).hidden_size


def test_compiled_kernels_may_take_a_larger_one():
    assert chosen(kernels="compiled").hidden_size > chosen(kernels="reference").hidden_size


def test_a_small_text_has_a_small_model_that_drops_much():
    found = chosen(20_000)
    assert weight_count(found, 65) <= 1.5 * 20_000
    assert found.dropout == found.weight_drop == 0.5


def test_more_is_dropped_the_more_often_a_text_is_read():
    shares = [chosen(epochs=passes, named={"cell"}).dropout for passes in (1, 4, 6, 10, 14, 21, 1000)]
    assert shares == [0, 0, 0.05, 0.2, 0.3, 0.5, 0.5]


def test_a_text_that_is_read_in_part_drops_nothing():
    found = chosen(10**9)
    assert found.dropout == found.weight_drop == 0
    assert found.hidden_size == 256


@pytest.mark.parametrize("length", [{"steps": 1}, {"steps": 10**9}, {"epochs": 0.001}, {"epochs": 1e6}, {"minutes": 1e-6},
                                    {"minutes": 1e6}])
@pytest.mark.parametrize("characters", [1, 1000, 10**12])
def test_any_length_of_any_text_has_a_size(length, characters):
    assert 32 <= chosen(characters, **length).hidden_size <= 1024


def test_what_is_named_stays():
    model = ModelConfig("gru", hidden_size=77, dropout=0.2)
    assert chosen(model=model, named={"hidden_size", "cell"}) is model
    kept = chosen(20_000, model=ModelConfig("gru", dropout=0.0, weight_drop=0.1), named={"dropout", "weight_drop"})
    assert (kept.dropout, kept.weight_drop) == (0.0, 0.1)
    assert kept.cell == "gru"


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("layers", "embedding_size"), [(1, 0), (2, 0), (3, 16)])
def test_weights_are_those_that_take_part_in_products(cell, layers, embedding_size):
    model = CharRNN(ModelConfig(cell, 24, layers, embedding_size=embedding_size), 65)
    matrices = sum(array.size for name, array in model.parameters.items() if array.ndim == 2)
    rows = model.parameters["embedding/w" if embedding_size else "layer0/w_x"].size
    assert weight_count(model.config, 65) == matrices - rows


def test_what_is_seen_follows_from_the_plan():
    model = ModelConfig()
    assert characters_read(model, TrainConfig(epochs=2.5), 1000, 65, 2, "compiled") == 2500
    assert characters_read(model, TrainConfig(steps=10, batch_size=3, seq_len=7), 1000, 65, 2, "compiled") == 210
    one, two = (characters_read(model, TrainConfig(minutes=2.0), 1000, 65, cores, "compiled") for cores in (1, 2))
    assert two == 2 * one


@pytest.mark.parametrize("characters", [0, 1, 2])
def test_a_text_that_is_next_to_nothing_gets_the_least(characters):
    assert choose_model(ModelConfig(), set(), TrainConfig(minutes=1.0), characters, 1, 2, "compiled").hidden_size == 32
