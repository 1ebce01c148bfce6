"""Pretrained: the trained model from whose weights a new run starts, and whether this helps on a text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import AUTO, NONE, TextConfig, TrainConfig
from charrnn.errors import CheckpointError, ConfigError, RunError, check_type
from charrnn.inference.bundled import bundled_file, name_of, overlap_with
from charrnn.inference.evaluation import evaluate
from charrnn.inference.language_model import LanguageModel, load
from charrnn.inference.locate import checkpoint_at
from charrnn.inference.ngram import baseline
from charrnn.inference.origin import Origin, digest
from charrnn.nn.kernels import reporting_compilation
from charrnn.text.corpus import Corpus
from charrnn.text.split import Split
from charrnn.training.events import CompilationStarted, ModelChosen, OnEvent, StartChosen, VocabularyChanged, Warned
from charrnn.training.recipe import tune
from charrnn.training.run import Run
from charrnn.training.speed import Arithmetic

_SHAPE = ("cell", "hidden_size", "layers", "embedding_size")
"""The settings that a run shares with the model from which it starts."""

_EVALUATED = 100_000
"""Characters of the validation part on which ``auto`` compares the bundled model with a bigram model."""

_MARGIN = 0.35
"""``auto`` uses the bundled model if its loss on a text before training is lower by this (nats) than that of a bigram
model, which is counted from the text itself. docs/recipes.md shows the experiments."""

_LEAST_KNOWN = 0.9
"""``auto`` refuses a text of which the bundled model knows a smaller fraction of the characters."""


class Pretrained(NamedTuple):
    """A trained model and its name: the path of its file, or the name of a bundled model.

    ``is_auto`` says that it was not selected by the user, so it is used only if this helps.
    """

    model: LanguageModel
    name: str
    is_auto: bool

    def origin(self, corpus: Corpus) -> Origin:
        """Return the origin of a run on ``corpus`` that starts from this model."""
        older = self.model.origin.names if self.model.origin else ()
        names = older if self.name in older[:1] else (self.name, *older)
        return Origin(names, digest(self.model.network.parameters.flat), overlap_with(names[-1], corpus))

    def misfit(self, given: Mapping[str, Any], level: str) -> tuple[str, Any, Any] | None:
        """Return (name, value, value of this model) of the first setting that does not fit this model, or None."""
        config = self.model.network.config
        for name in _SHAPE:
            value = given.get(name)
            if value is not None and value != getattr(config, name):
                return name, value, getattr(config, name)
        return None if level == self.model.text_config.level else ("level", level, self.model.text_config.level)


def find_pretrained(start_from: str | Path, given: Mapping[str, Any], text_config: TextConfig, on_event: OnEvent
                    ) -> Pretrained | None:
    """Return the model that ``start_from`` selects, or None to train from scratch.

    ``AUTO`` selects the bundled model; if it cannot be used or does not fit the settings ``given``, an event says why.
    Raises RunError if another model does not exist, CheckpointError if its file is invalid, ConfigError if the settings do
    not fit it.
    """
    check_type("start_from", start_from, str, Path)
    if start_from == NONE:
        return None
    is_auto = start_from == AUTO
    try:
        path = checkpoint_at(bundled_file() if is_auto else start_from)
        found = Pretrained(load(path), name_of(path), is_auto)
    except (CheckpointError, RunError) as error:
        if not is_auto:
            raise
        on_event(Warned(f"training from scratch, because the bundled model cannot be used: {error}"))
        return None
    misfit = found.misfit(given, text_config.level)
    if misfit is None:
        return found
    name, value, needed = misfit
    if is_auto:
        on_event(StartChosen(f"Training from scratch, because `{name}={value!r}` does not fit the bundled model "
                             f"{found.name} ({needed})"))
        return None
    raise ConfigError(name, f"cannot be {value}, because `start_from={str(start_from)!r}` selects a model with "
                            f"`{name}={needed!r}`", f"pass `{name}={needed!r}`, or choose another `start_from`")


def start_from_pretrained(found: Pretrained, split: Split, given: Mapping[str, Any], train_config: TrainConfig,
                          cores: int, arithmetic: Arithmetic, on_event: OnEvent) -> Run | None:
    """Return a run that starts from a pretrained model, or None if ``found.is_auto`` and this does not help on the text.

    ``given`` are the model settings that are set; the others, and the learning rate, come from the recipe.
    """
    if found.is_auto:
        reason = _reason_against(found, split)
        if reason is not None:
            on_event(reason)
            return None
    network = found.model.network
    choice, config = tune(network.config, given, train_config, len(split.train), len(split.corpus.vocabulary), cores,
                          arithmetic.speed)
    run, new_characters = Run.start_from(found.model, split, choice.model, config, arithmetic.kernels)
    run.model.origin = found.origin(split.corpus)
    if found.is_auto:
        if not _helps(found, run, split, on_event):
            return None
    else:
        on_event(StartChosen(f"Starting from {found.name}"))
    if run.model.origin.overlap:
        on_event(Warned(f"{run.model.origin.names[-1]} has read {100 * run.model.origin.overlap:.0f} % of this text, so "
                        f"the losses will be too low"))
    on_event(VocabularyChanged(len(run.model.vocabulary) - len(new_characters), new_characters))
    if names := tuple(name for name in ("dropout", "weight_drop") if name not in given):
        on_event(ModelChosen(choice.model, names, len(split.train), choice.passes))
    return run


def _reason_against(found: Pretrained, split: Split) -> StartChosen | Warned | None:
    """Return why the bundled model is not used for a text, if this is clear before it is evaluated."""
    start = f"Training from scratch, because the bundled model {found.name}"
    known = np.isin(split.corpus.vocabulary.codepoints, found.model.vocabulary.codepoints)
    fraction = float(known[_judged(split)[1]].mean())
    if fraction < _LEAST_KNOWN:
        return StartChosen(f"{start} knows only {100 * fraction:.0f} % of the characters of this text")
    try:
        overlap = overlap_with(found.name, split.corpus)
    except CheckpointError as error:
        return Warned(f"training from scratch, because the bundled model cannot be used: {error}")
    if overlap:
        return StartChosen(f"{start} has read {100 * overlap:.0f} % of this text; `start_from={found.name!r}` starts from "
                           f"it")
    return None


def _helps(found: Pretrained, run: Run, split: Split, on_event: OnEvent) -> bool:
    """Return whether ``run``, which starts from the bundled model, is better than training from scratch; report why."""
    model = run.model
    training, text, starts = _judged(split)
    with reporting_compilation(lambda: on_event(CompilationStarted())):
        loss = evaluate(model.network, text, starts=starts).nats
    bigrams = baseline(training, text, len(model.vocabulary), order=1).nats
    unit = model.text_config.level
    if loss < bigrams - _MARGIN:
        on_event(StartChosen(f"Starting from the bundled model {found.name}: {loss:.2f} nats/{unit} on this text before "
                             f"training, bigram baseline {bigrams:.2f}; `start_from='none'` trains from scratch"))
        return True
    on_event(StartChosen(f"Training from scratch, because the bundled model {found.name} predicts this text badly: "
                         f"{loss:.2f} nats/{unit}, bigram baseline {bigrams:.2f}; `start_from={found.name!r}` starts "
                         f"from it"))
    return False


def _judged(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the text that the bigram model counts, the text on which it is compared, and the starts of documents there.

    The text for the comparison is the start of the validation part. Without a validation part, it is the end of the
    training part.
    """
    training, text, starts = split.train.ids, split.validation.ids[:_EVALUATED], split.validation.starts
    if len(text) < 2:
        cut = len(training) - max(2, min(_EVALUATED, len(training) // 10))
        training, text, starts = training[:cut], training[cut:], split.train.starts - cut
    return training, text, starts[(starts >= 0) & (starts < len(text))]
