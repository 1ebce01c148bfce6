"""charrnn.training.run"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import charrnn
from charrnn import Corpus, Run
from charrnn.config import LEARNING_RATES, TrainConfig
from charrnn.errors import CheckpointError, ConfigError, RunError
from charrnn.nn.parallel import environment
from charrnn.randomness import generator
from charrnn.storage import container as checkpoint
from charrnn.text.record import digest_of_sizes
from charrnn.training.run import Record
from charrnn.training.trainer import Trainer


def contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the metadata of a checkpoint, as any HDF5 tool reads them."""
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, place: arrays.update({name: place[...]}) if isinstance(place, h5py.Dataset) else None)
    return arrays, json.loads(arrays.pop("meta").tobytes())["metadata"]


def assert_same(one: Run, other: Run) -> None:
    """Assert that all fields of two runs are equal, arrays to the last bit."""
    for field in ("config", "source", "environment", "step", "smoothed_loss", "history", "since"):
        assert getattr(one, field) == getattr(other, field), field
    assert one.model.vocabulary == other.model.vocabulary
    assert one.model.text_config == other.model.text_config
    assert one.model.network.config == other.model.network.config
    assert one.model.network.dtype == other.model.network.dtype
    assert one.model.network.parameters.shapes == other.model.network.parameters.shapes
    assert one.model.network.parameters.flat.tobytes() == other.model.network.parameters.flat.tobytes()
    assert type(one.optimizer) is type(other.optimizer)
    assert vars(one.optimizer).keys() == vars(other.optimizer).keys()
    assert {name: slot.flat.tobytes() for name, slot in one.optimizer.slots.items()} == {
        name: slot.flat.tobytes() for name, slot in other.optimizer.slots.items()}
    assert [(type(layer), [(array.dtype, array.tobytes()) for array in layer]) for layer in one.state] == [
        (type(layer), [(array.dtype, array.tobytes()) for array in layer]) for layer in other.state]


# Start

def test_a_new_run_resolves_all_defaults(start: Callable[..., Run], corpus: Corpus) -> None:
    run = start(batch_size=4, steps=41, threads=None)
    assert (run.step, run.history, run.smoothed_loss) == (0, [], 0)
    assert (run.config.steps, run.config.minutes, run.config.epochs, run.config.eval_every) == (41, None, None, None)
    assert run.eval_every == 3
    assert run.config.learning_rate == pytest.approx(0.025)
    assert run.config.weight_decay == 0.05
    assert 1 <= (run.config.threads or 0) <= 4
    assert run.source == (("notes.txt",), corpus.fingerprint, 400, 11, 0, 0, digest_of_sizes([]))
    assert not any(array.any() for layer in run.state for array in layer)
    assert run.environment == environment()


@pytest.mark.parametrize(("optimizer", "rate"), LEARNING_RATES.items())
def test_the_learning_rate_follows_the_optimizer(start: Callable[..., Run], optimizer: str, rate: float) -> None:
    assert start(optimizer=optimizer, cell="lstm").config.learning_rate == rate
    assert start(optimizer=optimizer, learning_rate=0.5).config.learning_rate == 0.5


@pytest.mark.parametrize(("settings", "decay"), [
    ({}, 0.05), ({"cell": "lstm"}, 0), ({"cell": "gru"}, 0), ({"optimizer": "sgd"}, 0), ({"optimizer": "adagrad"}, 0),
    ({"cell": "lstm", "weight_decay": 0.5}, 0.5), ({"weight_decay": 0.0}, 0)])
def test_weights_decay_by_default_only_for_lnlstm_with_adam(
        start: Callable[..., Run], settings: dict[str, Any], decay: float) -> None:
    run = start(**settings)
    assert run.config.weight_decay == run.optimizer.weight_decay == decay


@pytest.mark.parametrize(("epochs", "steps"), [(2, 28), (0.5, 7), (0.001, 1)])
def test_epochs_become_steps(start: Callable[..., Run], epochs: float, steps: int) -> None:
    assert start(epochs=epochs).planned == steps


def test_a_short_text_shrinks_the_batch_and_threads_are_never_more_than_streams(start: Callable[..., Run]) -> None:
    run = start(batch_size=1000, threads=500)
    assert run.config.batch_size == 44  # windows of 8 in the 360 characters of the training part, less the last target
    assert run.config.threads == 44
    assert run.state[0].hidden.shape == (44, 8)


def test_a_text_shorter_than_a_window_is_refused(start: Callable[..., Run], make_text: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match=r"seq_len: .*at least 51 "):
        start(Corpus.from_text(make_text(50)), seq_len=50)


def test_the_same_seed_gives_the_same_weights(start: Callable[..., Run], to_file: Callable[[Run], bytes]) -> None:
    assert to_file(start(seed=5)) == to_file(start(seed=5))
    assert not np.array_equal(start(seed=5).model.network.parameters.flat, start(seed=6).model.network.parameters.flat)


# Plan

def test_a_plan_in_minutes_is_fixed_later(start: Callable[..., Run]) -> None:
    run = start(minutes=3)
    assert (run.config.steps, run.config.minutes) == (None, 3)
    with pytest.raises(ValueError, match="not fixed yet"):
        _ = run.planned
    run.plan(50, eval_every=7)
    assert (run.config.steps, run.config.minutes, run.config.eval_every) == (50, None, 7)


def test_an_interval_that_is_not_set_follows_the_plan_and_one_that_is_set_stays(
        start: Callable[..., Run], tmp_path: Path) -> None:
    for eval_every, expected in ((None, 50), (7, 7)):
        run = start(steps=100, eval_every=eval_every)
        assert run.eval_every == (eval_every or 5)
        run.save(tmp_path / "run.h5")
        run = Run.load(tmp_path / "run.h5")
        run.plan(1000)
        assert (run.planned, run.config.eval_every, run.eval_every) == (1000, eval_every, expected)
    run.plan(1000, eval_every=9)
    assert run.eval_every == 9


def test_evaluation_points_are_intervals_and_the_end_of_the_plan(start: Callable[..., Run], take: Callable) -> None:
    run = start(steps=7, eval_every=3)
    assert [step.number for step in take(run) if step.validation_loss is not None] == [3, 6, 7]
    run.plan(10)
    assert [step.number for step in take(run) if step.validation_loss is not None] == [9, 10]
    assert [record.step for record in run.history] == [3, 6, 7, 9, 10]


def test_without_a_validation_part_nothing_is_evaluated(start: Callable[..., Run], take: Callable) -> None:
    run = start(validation=0)
    assert all(step.validation_loss is None for step in take(run))
    assert run.history == []
    assert run.best_record is None


def test_a_plan_that_has_already_ended_is_refused(start: Callable[..., Run], take: Callable) -> None:
    run = start(steps=6)
    take(run, 4)
    before = run.config
    with pytest.raises(ConfigError, match=r"steps: .*already at step 4"):
        run.plan(3)
    with pytest.raises(ConfigError, match=r"steps: .*already at step 4"):
        run.plan(4)  # it would end without its evaluation
    assert run.config == before
    take(run, 2)
    run.plan(6)
    assert run.finished


def test_a_plan_with_too_many_evaluations_is_refused(start: Callable[..., Run]) -> None:
    with pytest.raises(ConfigError, match="eval_every"):
        start(steps=10**9, eval_every=1)
    start(steps=10**9, eval_every=1, validation=0)


# Best, and patience

def with_history(run: Run, losses: dict[int, float], **settings: Any) -> Run:
    run = replace(run, config=replace(run.config, **settings), step=max(losses, default=0))
    run.history = [Record(step, 2.0, loss) for step, loss in losses.items()]
    return run


@pytest.mark.parametrize(("losses", "best"), [({}, None), ({1: 3.0}, 1), ({1: 3.0, 2: 2.0, 3: 2.5}, 2),
                                              ({1: 3.0, 2: 2.0, 3: 2.0}, 2)])
def test_best_is_the_first_of_the_lowest(start: Callable[..., Run], losses: dict[int, float], best: int | None) -> None:
    found = with_history(start(), losses).best_record
    assert (found and found.step) == best


def test_evaluations_before_a_new_run_do_not_count_for_the_best(start: Callable[..., Run]) -> None:
    run = with_history(start(), {1: 1.0, 2: 3.0, 3: 2.0, 4: 2.5})
    assert replace(run, since=1).best_record.step == 3
    assert replace(run, since=4).best_record is None


@pytest.mark.parametrize(("losses", "out"), [
    ({}, False),
    ({10: 2.0}, False),
    ({10: 2.0, 20: 2.1}, False),
    ({10: 2.0, 20: 2.1, 30: 2.2}, True),
    ({10: 2.0, 20: 2.1, 30: 1.9, 40: 2.0}, False),
    ({10: 2.0, 20: 2.0, 30: 2.0}, True),
    ({10: 2.0, 20: 2.1, 25: 2.2}, False),
    ({10: 2.0, 20: 2.1, 25: 1.9, 30: 2.0}, False),
    ({10: 2.0, 20: 2.1, 25: 1.9, 30: 2.0, 40: 2.0}, True),
], ids=["none", "one", "one worse", "two worse", "better again", "equal is not better", "the end does not count",
        "the end counts for best", "two after the end"])
def test_patience_of_two_evaluations(start: Callable[..., Run], losses: dict[int, float], out: bool) -> None:
    run = with_history(start(steps=1000), losses, eval_every=10, patience=2)
    assert run.out_of_patience is out
    assert run.finished is out
    assert not with_history(run, losses, patience=None).out_of_patience


def test_training_stops_when_it_is_out_of_patience(start: Callable[..., Run], take: Callable) -> None:
    run = start(steps=500, eval_every=1, patience=3, learning_rate=5.0, warmup=0)
    steps = take(run)
    assert run.out_of_patience
    assert len(steps) == run.step == run.best_record.step + 3


# Save and load

@pytest.mark.parametrize("values", [
    {}, {"cell": "rnn", "optimizer": "sgd", "momentum": 0.5}, {"cell": "gru", "layers": 2, "optimizer": "rmsprop"},
    {"layers": 2, "embedding_size": 3, "dropout": 0.5, "optimizer": "adagrad"}, {"dtype": "float64", "cell": "gru"},
    {"stateful": False, "seed": 2**63 - 1, "weight_decay": 0.1, "clip_value": 0.1}, {"validation": 0, "test": 0.2},
    {"cell": "lnlstm", "layers": 2},
], ids=str)
def test_a_loaded_run_equals_the_saved_one(start: Callable[..., Run], take: Callable, to_file: Callable, tmp_path: Path,
                                 values: dict[str, Any]) -> None:
    run = start(**values)
    take(run, 4)
    run.save(tmp_path / "run.h5")
    loaded = Run.load(tmp_path / "run.h5")
    assert_same(loaded, run)
    assert to_file(loaded) == to_file(run)


def test_a_run_and_a_model_are_saved_in_a_folder_that_does_not_exist(start: Callable[..., Run], tmp_path: Path) -> None:
    start().save(tmp_path / "new" / "runs" / "run.h5")
    start().model.save(tmp_path / "other" / "model.h5")
    assert_same(Run.load(tmp_path / "new" / "runs" / "run.h5"), start())
    assert charrnn.load(tmp_path / "other" / "model.h5").vocabulary == start().model.vocabulary


def test_a_run_before_its_first_step_can_be_saved(start: Callable[..., Run], tmp_path: Path) -> None:
    start().save(tmp_path / "run.h5")
    assert_same(Run.load(tmp_path / "run.h5"), start())


def test_a_copy_is_independent(start: Callable[..., Run], take: Callable, to_file: Callable) -> None:
    run = start()
    take(run, 2)
    before = to_file(run)
    twin = run.copy()
    assert_same(twin, run)
    assert {name: block.flat.tobytes() for name, block in twin.blocks.items()} == {
        name: block.flat.tobytes() for name, block in run.blocks.items()}
    assert not any(np.shares_memory(*arrays) for layers in zip(run.state, twin.state) for arrays in zip(*layers))
    assert not any(np.shares_memory(run.blocks[name].flat, twin.blocks[name].flat) for name in run.blocks)
    assert twin.rollback.step == 2
    take(twin)
    assert to_file(run) == before


# Invalid checkpoints

@pytest.fixture(scope="module")
def saved(start: Callable[..., Run], take: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of a run after 4 of 6 steps, with 14 windows per epoch and an evaluation after each step."""
    run, path = start(eval_every=1), tmp_path_factory.mktemp("saved") / "run.h5"
    take(run, 4)
    run.save(path)
    return path


def change(where: str, value: Any) -> Callable[[dict, dict], None]:
    """Set a value of the metadata; ``train/seed`` is the seed in the training config."""
    def apply(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        *above, name = where.split("/")
        for part in above:
            metadata = metadata[part]
        metadata[name] = value

    return apply


def drop(where: str) -> Callable[[dict, dict], None]:
    def apply(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        *above, name = where.split("/")
        for part in above:
            metadata = metadata[part]
        del metadata[name]

    return apply


def element(name: str, value: float) -> Callable[[dict, dict], None]:
    """Set the last element of an array."""
    def apply(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        arrays[name].reshape(-1)[-1] = value

    return apply


def array(name: str, make: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[dict, dict], None]:
    """Replace an array; None removes it."""
    def apply(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        made = make(arrays.pop(name, np.zeros(3, "<f4")))
        if made is not None:
            arrays[name] = made

    return apply


def both(*changes: Callable[[dict, dict], None]) -> Callable[[dict, dict], None]:
    def apply(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> None:
        for each in changes:
            each(arrays, metadata)

    return apply


def at_step(step: Any, epoch: Any, window: Any) -> Callable[[dict, dict], None]:
    return both(change("step", step), change("epoch", epoch), change("window", window))


IMPOSSIBLE = {
    "a step outside the plan": at_step(7, 0, 7),
    "a step before the history's last": at_step(3, 0, 3),
    "a negative step": at_step(-1, -1, 13),
    "a step that is a float": change("step", 4.0),
    "a step that is true": both(at_step(True, 0, 1), change("history", [])),
    "a step of another position": change("window", 5),
    "a step of another epoch": change("epoch", 1),
    "a best that counts from after the step": change("since", 5),
    "a best that counts from before the start": change("since", -1),
    "no steps": change("train/steps", None),
    "no learning rate": change("train/learning_rate", None),
    "no threads": change("train/threads", None),
    "more threads than streams": change("train/threads", 4),
    "two lengths": change("train/minutes", 2.0),
    "a seed below 0": change("train/seed", -1),
    "a seed of 64 bits": change("train/seed", 2**64),
    "a huge negative seed": change("train/seed", -10**400),
    "an unknown setting": change("train/colour", 1),
    "an unknown setting of the model": change("model/config/colour", 1),
    "no settings of the model": drop("model/config"),
    "an unknown cell": change("model/config/cell", "elman"),
    "an unknown optimizer": change("train/optimizer", "lion"),
    "no hidden units": change("model/config/hidden_size", 0),
    "dropout of 1": change("model/config/dropout", 1.0),
    "a number as text": change("train/clip_norm", "1"),
    "settings that are None": change("model", None),
    "another hidden size": change("model/config/hidden_size", 9),
    "another batch size": change("train/batch_size", 2),
    "another cell": change("model/config/cell", "gru"),
    "another optimizer": change("train/optimizer", "sgd"),
    "another dtype": change("model/dtype", "float64"),
    "an unknown dtype": change("model/dtype", "float16"),
    "an unknown key": change("colour", 1),
    "a missing key": drop("environment"),
    "a missing key of the model": drop("model/dtype"),
    "an unknown kind": change("kind", "tokens"),
    "only a model": change("kind", "model"),
    "text settings that are out of range": change("model/text/level", "word"),
    "an unknown character that is not in the vocabulary": change("model/text/min_count", 2),
    "weights of half precision": change("model/dtype", "float16"),
    "no loss": change("smoothed_loss", None),
    "a loss that is an int": change("smoothed_loss", 2),
    "an environment that is not a string": change("environment/numpy", 2),
    "a vocabulary of another size": change("model/vocabulary", 5),
    "no vocabulary": change("model/vocabulary", 0),
    "no windows": change("source/windows", 0),
    "fewer windows than the training part contains": change("source/windows", 13),
    "more windows than the corpus contains": change("source/windows", 17),
    "more windows than the training part contains": change("train/validation", 0.5),
    "an empty corpus": change("source/characters", 0),
    "a corpus with bytes but no files": change("source/bytes", 5),
    "a negative number of files": change("source/files", -1),
    "sizes that are not a digest": change("source/sizes", "0" * 63),
    "corpus names that are not strings": change("source/names", [1]),
    "corpus names that are not a list": change("source/names", "notes.txt"),
    "an unknown key of the corpus": change("source/colour", 1),
    "a history that is None": change("history", None),
    "a history out of order": change("history", [[2, 2.0, 2.0], [1, 2.0, 2.0]]),
    "a duplicate step in the history": change("history", [[1, 2.0, 2.0], [1, 2.0, 2.0]]),
    "a history before the first step": change("history", [[0, 2.0, 2.0]]),
    "a history after the last step": change("history", [[5, 2.0, 2.0]]),
    "a record too short": change("history", [[1, 2.0]]),
    "a record with text": change("history", [[1, 2.0, "2.0"]]),
    "weights that are NaN": element("parameters/layer0/w_h", np.nan),
    "weights that are infinite": element("parameters/output/b", np.inf),
    "a slot that is NaN": element("optimizer/mean/output/w", np.nan),
    "a square below 0": element("optimizer/square_mean/output/w", -1),
    "a state that is NaN": element("state/layer0/hidden", np.nan),
    "a state that is infinite": element("state/layer0/cell", -np.inf),
    "weights of another shape": array("parameters/layer0/w_h", np.transpose),
    "weights of another type": array("parameters/output/b", lambda b: b.astype("<f8")),
    "missing weights": array("parameters/output/b", lambda b: None),
    "unused weights": array("parameters/layer1/b", lambda b: b),
    "an unsorted vocabulary": array("vocabulary/codepoints", lambda codes: codes[::-1].copy()),
    "a duplicate character": array("vocabulary/codepoints", lambda codes: np.sort(np.append(codes[1:], codes[-1]))),
    "a character that is a surrogate": element("vocabulary/codepoints", 0xD801),
    "a character beyond Unicode": element("vocabulary/codepoints", 0x110000),
}


def test_rewriting_the_contents_gives_the_file(saved: Path, tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "run.h5", *contents(saved))
    assert (tmp_path / "run.h5").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_invalid_checkpoint_is_refused(saved: Path, tmp_path: Path, what: str) -> None:
    path = tmp_path / "run.h5"
    arrays, metadata = contents(saved)
    IMPOSSIBLE[what](arrays, metadata)
    checkpoint.write(path, arrays, metadata)
    with pytest.raises(CheckpointError) as error:
        Run.load(path)
    fault = "contains only a model" if what == "only a model" else "not a valid checkpoint: "
    assert str(error.value).startswith(f"{path}: {fault}")
    assert "\n" not in str(error.value)


def test_rejects_other_kinds_of_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("some text")
    for path, error in ((tmp_path / "notes.txt", CheckpointError), (tmp_path / "missing.h5", RunError),
                        (tmp_path, RunError)):
        with pytest.raises(error):
            Run.load(path)


# Fine-tuning

@pytest.mark.parametrize("embedding_size", [0, 3])
def test_another_text_keeps_the_weights_of_each_known_character(start: Callable[..., Run], embedding_size: int) -> None:
    old = start(embedding_size=embedding_size)
    old.model.network.parameters.flat[...] = generator(9, "check").standard_normal(old.model.network.parameters.flat.shape)
    text = Corpus.from_text("zab Ωcd ω\n" * 40, ["other.txt"])
    config = TrainConfig(steps=4, batch_size=2, seq_len=8, threads=1)
    run, new_characters = Run.start_from(old.model, text, train_config=config)
    assert new_characters == [c for c in "zΩω" if c not in old.model.vocabulary]
    assert "Ω" in new_characters
    assert (run.step, run.history, run.model.vocabulary, run.config.steps) == (0, [], text.vocabulary, 4)
    rows = "embedding/w" if embedding_size else "layer0/w_x"
    new, before = run.model.network.parameters, old.model.network.parameters
    for character in run.model.vocabulary.characters:
        same = character not in new_characters
        to, of = run.model.vocabulary.id(character), old.model.vocabulary.id(character) if same else 0
        assert np.array_equal(new[rows][to], before[rows][of]) == same
        assert np.array_equal(new["output/w"][:, to], before["output/w"][:, of]) == same
        assert new[rows][to].any()
    np.testing.assert_array_equal(new["layer0/w_h"], before["layer0/w_h"])
    assert not any(slot.flat.any() for slot in run.optimizer.slots.values())


def test_a_run_can_be_pickled(start: Callable[..., Run], corpus: Corpus) -> None:
    run = start(steps=6)
    trainer = Trainer(run, corpus)
    for _ in range(3):
        trainer.step()
    assert pickle.loads(pickle.dumps(run)).to_bytes() == run.to_bytes()
