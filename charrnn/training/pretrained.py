"""Pretrained: the trained model from whose weights a new run starts, and whether that pays for a text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import BASELINE_ORDER, TextConfig, TrainConfig
from charrnn.errors import CheckpointError, ConfigError, RunError, check_type
from charrnn.inference.evaluation import evaluate
from charrnn.inference.language_model import LanguageModel, load
from charrnn.inference.locate import BUNDLED_MODELS, bundled_file, checkpoint_at, name_of
from charrnn.inference.ngram import witten_bell
from charrnn.inference.origin import Origin
from charrnn.text.corpus import Corpus, Split
from charrnn.text.overlap import overlap
from charrnn.training.events import ModelChosen, OnEvent, StartChosen, VocabularyChanged, Warned
from charrnn.training.recipe import tune
from charrnn.training.run import Run

AUTO, NONE = "auto", "none"
"""The values of ``start_from`` that are not the name of a model."""

_SHAPE = ("cell", "hidden_size", "layers", "embedding_size")
"""The settings that a run shares with the model from which it starts."""

_EVALUATED = 100_000
"""Characters of the validation part on which ``auto`` compares the bundled model with the n-gram baseline."""

_COUNTED = 8_000_000
"""Characters at the end of the training part that the n-gram baseline counts."""


class Pretrained(NamedTuple):
    """A trained model and its name: the path of its file, or the name of a bundled model."""

    model: LanguageModel
    name: str

    def origin(self, corpus: Corpus) -> Origin:
        """Return the origin of a run on ``corpus`` that starts from this model."""
        older = self.model.origin.names if self.model.origin else ()
        names = (self.name, *older)
        weights = hashlib.sha256(self.model.network.parameters.flat.tobytes()).hexdigest()
        return Origin(names, weights, bundled_overlap(names[-1], corpus))

    def misfit(self, model_settings: Mapping[str, Any], text_config: TextConfig) -> tuple[str, Any, Any] | None:
        """Return (name, value, value of this model) of a setting that a run which starts from this model cannot have."""
        config = self.model.network.config
        for name in _SHAPE:
            value = model_settings.get(name)
            if value is not None and value != getattr(config, name):
                return name, value, getattr(config, name)
        level = self.model.text_config.level
        return None if text_config.level == level else ("level", text_config.level, level)


def bundled_overlap(name: str, corpus: Corpus) -> float:
    """Return the fraction of a corpus that the bundled model ``name`` has read; 0 for the name of another model."""
    if name not in BUNDLED_MODELS:
        return 0.0
    path = bundled_file(name, "-books.npy")
    try:
        known = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path}: is missing or damaged", "install charrnn again") from error
    return overlap(corpus, known)


def provenance(model: LanguageModel, name: str, corpus: Corpus) -> str:
    """Return what a figure of a model on a corpus must say: the origin of the model, and whether it has read the corpus.

    ``name`` is that of the model if it is bundled. The result is "" if there is nothing to say.
    """
    if model.origin is not None:
        return str(model.origin._replace(overlap=bundled_overlap(model.origin.names[-1], corpus)))
    fraction = bundled_overlap(name, corpus)
    return f"the model has read {100 * fraction:.0f} % of the text" if fraction else ""


def find_pretrained(start_from: str | Path, given: Mapping[str, Any], text_config: TextConfig
                    ) -> tuple[Pretrained | None, str]:
    """Return the model that ``start_from`` selects, or None and the reason to train from scratch.

    ``AUTO`` selects the bundled model if it can be used and fits the settings ``given``. Raises RunError if another model
    does not exist, CheckpointError if its file is invalid, ConfigError if the settings do not fit it.
    """
    check_type("start_from", start_from, str, Path)
    if str(start_from) == NONE:
        return None, ""
    is_auto = str(start_from) == AUTO
    try:
        path = checkpoint_at(bundled_file(BUNDLED_MODELS[0]) if is_auto else start_from)
        found = Pretrained(load(path), name_of(path))
    except (CheckpointError, RunError) as error:
        if not is_auto:
            raise
        return None, f"Training from scratch, because {error}"
    misfit = found.misfit(given, text_config)
    if misfit is None:
        return found, ""
    setting, value, needed = misfit
    if is_auto:
        return None, (f"Training from scratch, because the bundled model {found.name} has `{setting}={needed!r}`, not "
                      f"{value}")
    raise ConfigError(setting, f"cannot be {value}, because `start_from={str(start_from)!r}` selects a model with "
                               f"`{setting}={needed!r}`", f"leave out `{setting}`, or choose another `start_from`")


def start_from_pretrained(found: Pretrained, split: Split, given: Mapping[str, Any], train_config: TrainConfig,
                          is_auto: bool, on_event: OnEvent) -> Run | None:
    """Return a run that starts from a pretrained model, or None if ``is_auto`` and this does not pay for the text.

    ``given`` are the model settings that are set; the others, and the learning rate, come from the recipe.
    """
    model_config, config = tune(found.model.network.config, given, train_config, len(split.train))
    run, new_characters = Run.start_from(found.model, split, model_config, config)
    run.model.origin = found.origin(split.corpus)
    if is_auto and not _pays(found, run, split, on_event):
        return None
    if not is_auto:
        on_event(StartChosen(f"Starting from {found.name}"))
        if run.model.origin.overlap:
            on_event(Warned(f"{found.name} has read {100 * run.model.origin.overlap:.0f} % of this text, so the losses "
                            f"will be too low"))
    on_event(VocabularyChanged(len(run.model.vocabulary) - len(new_characters), new_characters))
    on_event(ModelChosen(model_config, tuple(name for name in ("dropout", "weight_drop") if name not in given)))
    return run


def _pays(found: Pretrained, run: Run, split: Split, on_event: OnEvent) -> bool:
    """Return whether ``run``, which starts from the bundled model, should be trained, and report why."""
    model, origin = run.model, run.model.origin
    assert origin is not None
    scratch = f"Training from scratch, because the bundled model {found.name}"
    start = f"`start_from={found.name!r}` starts from it"
    if origin.overlap:
        on_event(StartChosen(f"{scratch} has read {100 * origin.overlap:.0f} % of this text; {start}"))
        return False
    training, text, starts = split.train.ids, split.validation.ids[:_EVALUATED], split.validation.starts
    if len(text) < 2:
        cut = len(training) - max(2, min(_EVALUATED, len(training) // 10))
        training, text, starts = training[:cut], training[cut:], split.train.starts - cut
    loss = evaluate(model.network, text, starts=starts[(starts >= 0) & (starts < len(text))]).nats
    baseline = witten_bell(training[-_COUNTED:], text, len(model.vocabulary), BASELINE_ORDER).nats
    unit = model.text_config.level
    if _is_close(loss, baseline):
        on_event(StartChosen(f"Starting from the bundled model {found.name}: {loss:.2f} nats/{unit} on this text before "
                             f"training, n-gram baseline {baseline:.2f}; `start_from='none'` trains from scratch"))
        return True
    on_event(StartChosen(f"{scratch} predicts this text badly: {loss:.2f} nats/{unit}, n-gram baseline {baseline:.2f}; "
                         f"{start}"))
    return False


def _is_close(loss: float, baseline: float) -> bool:
    """Return whether a loss before training is close enough to that of the n-gram baseline."""
    return loss < baseline
