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
import charrnn.training.pretrained
from charrnn import Corpus, ModelConfig, Run, TrainConfig, Trainer
from charrnn.config import AUTO, NONE, TextConfig
from charrnn.errors import CheckpointError, ConfigError, RunError
from charrnn.inference.ngram import witten_bell
from charrnn.inference.origin import Origin
from charrnn.training.events import ModelChosen, PlanFixed, StartChosen, VocabularyChanged, Warned, ignore
from charrnn.training.prepare import Job, prepare
from charrnn.training.pretrained import find_pretrained
from charrnn.training.recipe import MOST_TUNING_PASSES, most_passes

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
    """Return a text like that of the bundled model, with two characters that it does not know and without another."""
    return Corpus.from_text("§Ω\n" + make_text(1500, seed=5).replace("Zoë", "Zo"), ["small.txt"])


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
    bigrams = witten_bell(job.split.train.ids, job.split.validation.ids, len(small.vocabulary), 1)
    assert f": {loss:.2f} nats/char on this text before training, bigram baseline {bigrams.nats:.2f}; " in (
        reasons(events)[0])


def test_auto_refuses_another_kind_of_text(notes: Path, bundled: Path) -> None:
    chance = random.Random(1)
    other = Corpus.from_text("".join(chance.choices("abcdéx. \n", k=2000)), ["code.txt"])
    job, events = prepared(other)
    (reason,) = reasons(events)
    assert reason.startswith("Training from scratch, because the bundled model english predicts this text badly: ")
    assert job.run.model.origin is None
    assert job.folder.path.name.startswith("code-lnlstm-")
    fresh, _ = prepared(other, NONE)
    assert fresh.run.to_bytes() == job.run.to_bytes()


@pytest.mark.parametrize(("given", "text", "shown"), [
    ({"hidden_size": 8}, {}, "`hidden_size=8`.*(24)"), ({"cell": "gru"}, {}, "`cell='gru'`.*(lnlstm)"),
    ({"layers": 2}, {}, "`layers=2`.*(1)"), ({"embedding_size": 3}, {}, "`embedding_size=3`.*(0)"),
    ({}, {"level": "byte"}, "`level='byte'`.*(char)")])
def test_a_setting_that_does_not_fit_turns_auto_off(notes: Path, bundled: Path, given: dict[str, Any],
                                                    text: dict[str, Any], shown: str) -> None:
    job, events = prepared("notes.txt", given=given, text=TextConfig(**text))
    assert job.run.model.origin is None
    (reason,) = reasons(events)
    first, last = shown.split(".*")
    assert reason == f"Training from scratch, because {first} does not fit the bundled model english {last}"
    with pytest.raises(ConfigError, match="because start_from='english' selects a model with"):
        prepared("notes.txt", "english", given=given, text=TextConfig(**text), name="other")


def test_settings_that_fit_keep_auto(small: Corpus, bundled: Path) -> None:
    job, events = prepared(small, given={"hidden_size": 24, "cell": "lnlstm", "dropout": 0.125})
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


@pytest.mark.parametrize("file", ["english.h5", "english-books.h5"])
@pytest.mark.parametrize("damage", [b"", b"not a model", None])
def test_a_missing_or_damaged_bundled_model_is_not_used(small: Corpus, bundled: Path, damage: bytes | None, file: str
                                                        ) -> None:
    if damage is None:
        (bundled / file).unlink()
    else:
        (bundled / file).write_bytes(damage)
    job, events = prepared(small)
    assert job.run.model.origin is None
    assert reasons(events) == []
    (warning,) = (event.message for event in events if isinstance(event, Warned))
    assert warning.startswith(f"training from scratch, because the bundled model cannot be used: {bundled}/{file}: ")
    assert warning.endswith("; install charrnn again")
    with pytest.raises((CheckpointError, RunError), match="install charrnn again"):
        prepared(small, "english", name="other")


def test_a_run_starts_from_the_best_state_of_another(notes: Path, bundled: Path) -> None:
    old = charrnn.train("notes.txt", start_from="none", name="old", hidden_size=8, steps=6, eval_every=1, batch_size=3,
                        seq_len=8, learning_rate=10.0, schedule="constant", threads=1)
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


def test_minutes_are_a_limit_and_steps_are_exact(small: Corpus, bundled: Path, make_text: Callable[..., str]) -> None:
    book = Corpus.from_text(make_text(20_000, seed=77)[3000:9000])  # which the bundled model has read
    minutes = TrainConfig(batch_size=4, seq_len=16, threads=1, minutes=0.5)
    job, events = prepared(small, config=minutes)
    (plan,) = (event for event in events if isinstance(event, PlanFixed))
    assert plan.epochs is not None
    assert job.run.planned == plan.steps == round(plan.epochs * job.run.source.windows)
    scratch, events = prepared(small, NONE, config=minutes, name="scratch")
    (plan,) = (event for event in events if isinstance(event, PlanFixed))
    assert plan.epochs == most_passes(len(scratch.split.train), len(small.vocabulary)) > MOST_TUNING_PASSES
    assert scratch.run.planned == plan.steps == round(plan.epochs * scratch.run.source.windows)
    sized, events = prepared(small, NONE, config=minutes, name="sized", given={"hidden_size": 4})
    (plan,) = (event for event in events if isinstance(event, PlanFixed))
    assert plan.epochs is None
    assert sized.run.planned > scratch.run.planned
    refused, events = prepared(book, config=minutes, name="refused", given={"hidden_size": 24})
    assert refused.run.model.origin is None
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
    lines = Corpus.from_text(make_text(3000, seed=6), ["lines.txt"], documents="lines")
    job, events = prepared(lines)
    assert reasons(events)[0].startswith("Starting from the bundled model")
    assert job.run.model.text_config.documents == "lines"
    loss = Trainer(job.run, job.split).evaluate().nats
    assert f": {loss:.2f} nats/char on this text before training" in reasons(events)[0]


def test_without_a_validation_part_auto_uses_the_end_of_the_text(notes: Path, bundled: Path, small: Corpus) -> None:
    job, events = prepared(small, config=TrainConfig(batch_size=4, seq_len=16, threads=1, steps=4, validation=0.0))
    assert job.run.model.origin is not None
    loss = job.run.model.evaluate(small.ids[-(len(small) // 10):]).nats
    assert f": {loss:.2f} nats/char" in reasons(events)[0]


def test_a_figure_says_what_the_model_has_read(small: Corpus, bundled: Path, make_text: Callable[..., str]) -> None:
    english, book = charrnn.load("english"), make_text(20_000, seed=77)[:5000]
    assert english.evaluate(make_text(500, seed=3)).how == "carried, 1 stream, started from english"
    assert english.evaluate(book).how == "carried, 1 stream, started from english, which has read 100 % of the text"
    english.save("copy.h5")
    assert charrnn.load("copy.h5").evaluate(book).how.endswith("english, which has read 100 % of the text")
    english.origin = None
    assert english.evaluate(book).how == "carried, 1 stream"


def test_a_file_with_the_name_of_a_bundled_model_is_not_taken_for_it(small: Corpus, bundled: Path) -> None:
    other = charrnn.train(small, start_from="none", hidden_size=8, steps=2, batch_size=4, seq_len=16, name="other")
    other.model.save("english")
    job, events = prepared(small, "english", name="new")
    assert job.run.model.origin.names == ("./english",)
    assert reasons(events) == ["Starting from ./english"]


def test_a_text_of_unknown_characters_is_refused_before_it_is_evaluated(notes: Path, bundled: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charrnn.training.pretrained, "evaluate", None)
    text = Corpus.from_text("".join(map(chr, range(0x4E00, 0x4E00 + 3000))))
    job, events = prepared(text, config=TrainConfig(batch_size=4, seq_len=16, threads=1, steps=1))
    assert job.run.model.origin is None
    assert reasons(events) == ["Training from scratch, because the bundled model english knows only 0 % of the characters "
                               "of this text"]


def test_a_corpus_of_bytes_does_not_fit_a_model_of_characters(notes: Path, bundled: Path) -> None:
    corpus = Corpus.read("notes.txt", level="byte")
    job, events = prepared(corpus)
    assert job.run.model.origin is None
    assert "`level='byte'` does not fit" in reasons(events)[0]
    with pytest.raises(ConfigError, match="level: cannot be byte"):
        prepared(corpus, "english", name="other")


def test_a_path_is_always_a_path(small: Corpus, bundled: Path) -> None:
    for name in ("auto", "none"):
        with pytest.raises(RunError, match=f"^{name}: no such run"):
            prepared(small, Path(name))


def test_only_the_start_of_a_long_validation_part_is_evaluated(notes: Path, bundled: Path, make_text: Callable[..., str],
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charrnn.training.pretrained, "_EVALUATED", 100)
    text = Corpus.from_text(make_text(3000, seed=8))
    job, events = prepared(text)
    loss = job.run.model.evaluate(job.split.validation.ids[:100]).nats
    assert f" {loss:.2f} nats/char" in reasons(events)[0]


@pytest.mark.parametrize("characters", [1, 2])
def test_a_text_of_few_distinct_characters_has_a_start(notes: Path, bundled: Path, characters: int) -> None:
    _, events = prepared(Corpus.from_text("ab"[:characters] * 500))
    assert len(reasons(events)) == 1


@pytest.mark.parametrize("start_from", [1, None, ["english"]])
def test_start_from_is_a_name_or_a_path(start_from: Any) -> None:
    with pytest.raises(TypeError, match="start_from must be of type str or Path"):
        find_pretrained(start_from, {}, TextConfig(), ignore)


def test_the_model_config_is_that_of_the_other_model_by_default(small: Corpus, bundled: Path) -> None:
    english = charrnn.load("english")
    run, _ = Run.start_from(english, small, train_config=SHORT)
    assert run.model.network.config == english.network.config
    with pytest.raises(ValueError, match="do not fit"):
        Run.start_from(english, small, ModelConfig(hidden_size=8), SHORT)
