"""charrnn.training.pretrained: the model from which a run starts"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
import charrnn.inference.ngram
from charrnn import Corpus, LanguageModel, ModelConfig, Run, TrainConfig, Trainer
from charrnn.config import TextConfig
from charrnn.errors import CheckpointError, ConfigError, RunError
from charrnn.inference.origin import Origin
from charrnn.training.events import ModelChosen, PlanFixed, StartChosen, VocabularyChanged, Warned
from charrnn.training.prepare import Job, prepare
from charrnn.training.pretrained import AUTO, NONE, find_pretrained, provenance

SHORT = TrainConfig(batch_size=4, seq_len=16, threads=1, steps=4)


def prepared(source: Any, start_from: str | Path = AUTO, config: TrainConfig = SHORT, given: dict[str, Any] | None = None,
             text: TextConfig | None = None, name: str | None = None) -> tuple[Job, list[Any]]:
    """Prepare a run and release its folder; return the job and its events."""
    events: list[Any] = []
    job = prepare(source, text or TextConfig(), given or {}, config, events.append, start_from=start_from, name=name)
    job.lock.release()
    return job, events


def reasons(events: list[Any]) -> list[str]:
    return [event.message for event in events if isinstance(event, StartChosen)]


@pytest.fixture
def small(notes: Path, make_text: Callable[..., str]) -> Corpus:
    """Return a text like that of the bundled model, with characters that it does not know and without others."""
    return Corpus.from_text(make_text(1500, seed=5).replace("Zoë", "Ωmega") + "§" * 3, ["small.txt"])


def test_auto_starts_from_the_bundled_model_if_it_predicts_the_text_well(small: Corpus, bundled: Path) -> None:
    job, events = prepared(small)
    model, english = job.run.model, charrnn.load("english")
    (reason,) = reasons(events)
    assert reason.startswith("Starting from the bundled model english: ")
    assert "`start_from='none'` trains from scratch" in reason
    assert model.vocabulary == small.vocabulary
    assert job.run.config.batch_size == SHORT.batch_size
    assert model.network.config.hidden_size == 24
    np.testing.assert_array_equal(model.network.parameters["layer0/w_h"], english.network.parameters["layer0/w_h"])
    digest = hashlib.sha256(english.network.parameters.flat.tobytes()).hexdigest()
    assert model.origin == Origin(("english",), digest)
    assert job.folder.path == Path("checkpoints/small-from-english")
    (change,) = (event for event in events if isinstance(event, VocabularyChanged))
    assert change.new_characters == ["§", "Ω"]
    (chosen,) = (event for event in events if isinstance(event, ModelChosen))
    assert chosen.names == ("dropout", "weight_drop")


def test_the_figures_of_auto_are_those_of_the_validation_part(small: Corpus, bundled: Path) -> None:
    job, events = prepared(small)
    loss = job.run.model.evaluate(job.split.validation.ids).nats
    baseline = charrnn.inference.ngram.witten_bell(job.split.train.ids, job.split.validation.ids, len(small.vocabulary), 4)
    assert f": {loss:.2f} nats/char on this text before training, n-gram baseline {baseline.nats:.2f}; " in (
        reasons(events)[0])


def test_auto_refuses_another_kind_of_text(notes: Path, bundled: Path) -> None:
    chance = random.Random(1)
    other = Corpus.from_text("".join(chance.choices("EFGHéx{}();\n", k=2000)), ["code.txt"])
    job, events = prepared(other)
    (reason,) = reasons(events)
    assert reason.startswith("Training from scratch, because the bundled model english predicts this text badly: ")
    assert job.run.model.origin is None
    assert job.folder.path.name.startswith("code-lstm-")
    fresh, _ = prepared(other, NONE)
    assert fresh.run.to_bytes() == job.run.to_bytes()


@pytest.mark.parametrize(("given", "text", "shown"), [
    ({"hidden_size": 8}, {}, "`hidden_size=24`, not 8"), ({"cell": "gru"}, {}, "`cell='lstm'`, not gru"),
    ({"layers": 2}, {}, "`layers=1`, not 2"), ({"embedding_size": 3}, {}, "`embedding_size=0`, not 3"),
    ({}, {"level": "byte"}, "`level='char'`, not byte")])
def test_a_setting_that_does_not_fit_turns_auto_off(notes: Path, bundled: Path, given: dict[str, Any],
                                                    text: dict[str, Any], shown: str) -> None:
    job, events = prepared("notes.txt", given=given, text=TextConfig(**text))
    assert job.run.model.origin is None
    assert reasons(events) == [f"Training from scratch, because the bundled model english has {shown}"]
    with pytest.raises(ConfigError, match="because start_from='english' selects a model with"):
        prepared("notes.txt", "english", given=given, text=TextConfig(**text), name="other")


def test_settings_that_fit_keep_auto(small: Corpus, bundled: Path) -> None:
    job, events = prepared(small, given={"hidden_size": 24, "cell": "lstm", "dropout": 0.125})
    assert job.run.model.origin is not None
    assert job.run.model.network.config.dropout == 0.125
    (chosen,) = (event for event in events if isinstance(event, ModelChosen))
    assert chosen.names == ("weight_drop",)


def test_none_starts_from_random_weights_and_says_nothing(small: Corpus, bundled: Path) -> None:
    job, events = prepared(small, NONE)
    assert job.run.model.origin is None
    assert reasons(events) == []


def test_a_text_that_the_bundled_model_has_read_is_trained_from_scratch(notes: Path, bundled: Path,
                                                                        make_text: Callable[..., str]) -> None:
    book = Corpus.from_text(make_text(20_000, seed=77)[3000:9000])
    job, events = prepared(book)
    assert job.run.model.origin is None
    assert reasons(events) == ["Training from scratch, because the bundled model english has read 100 % of this text; "
                               "`start_from='english'` starts from it"]
    marked, events = prepared(book, "english", name="marked")
    assert marked.run.model.origin.overlap == 1
    assert any(isinstance(event, Warned) and "has read 100 % of this text" in event.message for event in events)


@pytest.mark.parametrize("damage", [b"", b"not a model"])
def test_a_damaged_bundled_model_is_not_used_and_a_missing_one_neither(small: Corpus, bundled: Path, damage: bytes) -> None:
    for damaged in (True, False):
        if damaged:
            (bundled / "english.h5").write_bytes(damage)
        else:
            (bundled / "english.h5").unlink()
        job, events = prepared(small)
        assert job.run.model.origin is None
        (reason,) = reasons(events)
        assert reason.startswith(f"Training from scratch, because {bundled}/english.h5: ")
        assert reason.endswith("; install charrnn again")
        with pytest.raises((CheckpointError, RunError), match="install charrnn again"):
            prepared(small, "english", name="other")


def test_damaged_fingerprints_are_an_error(small: Corpus, bundled: Path) -> None:
    for damage in (b"", b"nothing", None):
        if damage is None:
            (bundled / "english-books.npy").unlink()
        else:
            (bundled / "english-books.npy").write_bytes(damage)
        with pytest.raises(RunError, match=r"english-books\.npy: is missing or damaged; install charrnn again"):
            prepared(small)


def test_a_run_starts_from_the_best_state_of_another(notes: Path, bundled: Path) -> None:
    old = charrnn.train("notes.txt", start_from="none", name="old", hidden_size=8, steps=6, eval_every=1, batch_size=3,
                        seq_len=8, learning_rate=3.0, threads=1)
    assert old.best_record.step != old.step
    job, events = prepared("notes.txt", "old", name="new")
    np.testing.assert_array_equal(job.run.model.network.parameters.flat, old.best.network.parameters.flat)
    assert job.run.model.origin.names == ("checkpoints/old/best.h5",)
    assert (job.run.step, job.run.history) == (0, [])
    assert reasons(events) == ["Starting from checkpoints/old/best.h5"]
    old.best.save("model.h5")
    again, _ = prepared("notes.txt", Path("model.h5"), name="again")
    np.testing.assert_array_equal(again.run.model.network.parameters.flat, old.best.network.parameters.flat)
    with pytest.raises(RunError, match="missing: no such run"):
        prepared("notes.txt", "missing", name="other")


def test_origins_form_a_chain(small: Corpus, bundled: Path) -> None:
    charrnn.train(small, name="first", steps=2, batch_size=4, seq_len=16, threads=1)
    job, _ = prepared(small, "first", name="second")
    assert job.run.model.origin.names == ("checkpoints/first/best.h5", "english")
    assert pickled(job.run).model.origin == job.run.model.origin == job.run.copy().model.origin


def pickled(run: Run) -> Run:
    import pickle

    return pickle.loads(pickle.dumps(run))


def test_a_fine_tuned_run_resumes_exactly(small: Corpus, bundled: Path, tmp_path: Path) -> None:
    (whole, _), (part, _) = (prepared(small, name=name) for name in ("whole", "part"))
    list(Trainer(whole.run, small))
    trainer = Trainer(part.run, small)
    trainer.step()
    trainer.step()
    part.run.save(tmp_path / "part.h5")
    run = Run.load(tmp_path / "part.h5")
    assert run.model.origin == part.run.model.origin
    list(Trainer(run, small))
    assert run.to_bytes() == whole.run.to_bytes()


def test_minutes_are_a_limit_and_steps_are_exact(small: Corpus, bundled: Path) -> None:
    minutes = TrainConfig(batch_size=4, seq_len=16, threads=1, minutes=10)
    job, events = prepared(small, config=minutes)
    (plan,) = (event for event in events if isinstance(event, PlanFixed))
    assert plan.epochs is not None
    assert job.run.planned == plan.steps == round(plan.epochs * job.run.source.windows)
    scratch, events = prepared(small, NONE, config=minutes, name="scratch")
    assert scratch.run.planned > job.run.planned
    (plan,) = (event for event in events if isinstance(event, PlanFixed))
    assert plan.epochs is None
    steps, _ = prepared(small, config=TrainConfig(batch_size=4, seq_len=16, threads=1, steps=100_000), name="steps")
    assert steps.run.planned == 100_000


def test_a_learning_rate_that_is_set_is_kept(small: Corpus, bundled: Path) -> None:
    default, _ = prepared(small)
    scratch, _ = prepared(small, NONE, name="scratch")
    assert 0 < default.run.config.learning_rate < scratch.run.config.learning_rate
    config = TrainConfig(batch_size=4, seq_len=16, threads=1, steps=4, learning_rate=0.5)
    job, _ = prepared(small, config=config, name="set")
    assert job.run.config.learning_rate == 0.5


def test_lines_can_start_from_the_bundled_model(notes: Path, bundled: Path, make_text: Callable[..., str]) -> None:
    lines = Corpus.from_text(make_text(3000, seed=6), ["lines.txt"], lines=True)
    job, events = prepared(lines)
    assert reasons(events)[0].startswith("Starting from the bundled model")
    assert job.run.model.text_config.lines
    loss = Trainer(job.run, job.split).evaluate().nats
    assert f": {loss:.2f} nats/char on this text before training" in reasons(events)[0]


def test_without_a_validation_part_auto_uses_the_end_of_the_text(notes: Path, bundled: Path, small: Corpus) -> None:
    job, events = prepared(small, config=TrainConfig(batch_size=4, seq_len=16, threads=1, steps=4, validation=0.0))
    assert job.run.model.origin is not None
    loss = job.run.model.evaluate(small.ids[-len(small) // 10:]).nats
    assert f": {loss:.2f} nats/char" in reasons(events)[0]


def test_a_figure_says_what_the_model_has_read(small: Corpus, bundled: Path, make_text: Callable[..., str]) -> None:
    english = charrnn.load("english")
    book = Corpus.from_text(make_text(20_000, seed=77)[:5000])
    assert provenance(english, "english", small) == ""
    assert provenance(english, "english", book) == "the model has read 100 % of the text"
    assert provenance(english, "checkpoints/own", book) == ""
    job, _ = prepared(small)
    assert provenance(job.run.model, "run.h5", small) == "started from english"
    assert provenance(job.run.model, "run.h5", book) == "started from english, which has read 100 % of the text"
    own = LanguageModel(english.network, english.vocabulary, origin=Origin(("own.h5",), "", 0.0))
    assert provenance(own, "run.h5", book) == "started from own.h5"


@pytest.mark.parametrize("start_from", [1, None, ["english"]])
def test_start_from_is_a_name_or_a_path(start_from: Any) -> None:
    with pytest.raises(TypeError, match="start_from must be of type str or Path"):
        find_pretrained(start_from, {}, TextConfig())


def test_the_model_config_is_that_of_the_other_model_by_default(small: Corpus, bundled: Path) -> None:
    english = charrnn.load("english")
    run, _ = Run.start_from(english, small, train_config=SHORT)
    assert run.model.network.config == english.network.config
    with pytest.raises(ValueError, match="do not fit"):
        Run.start_from(english, small, ModelConfig(hidden_size=8), SHORT)
