"""Everything that comes before the first step: read the text, split it, choose the model, fix the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.config import CHOSEN, ModelConfig, TextConfig, TrainConfig
from charrnn.errors import ConfigError, CorpusError, RunError
from charrnn.inference.language_model import is_only_a_model
from charrnn.inference.locate import LAST, checkpoint_at
from charrnn.mpi import ranks
from charrnn.nn.kernels import kernels_name
from charrnn.nn.parallel import environment
from charrnn.text.builtin import BUILTIN_TEXTS
from charrnn.text.corpus import Corpus, Split
from charrnn.text.files import STANDARD_INPUT, join_names
from charrnn.text.reader import OnBytes
from charrnn.text.record import TextRecord
from charrnn.training.events import (
    BytesRead,
    ModelChosen,
    OnEvent,
    PlanFixed,
    RunMade,
    TextRead,
    VocabularyChanged,
    Warned,
)
from charrnn.training.metrics_table import MetricsTable
from charrnn.training.recipe import choose_model
from charrnn.training.run import EVALUATIONS, Run, steps_of
from charrnn.training.run_folder import RunFolder
from charrnn.training.schema import Source, source_of
from charrnn.training.trainer import fix_plan

TextSource = Corpus | str | Path | Sequence[str | Path]
"""A text: a corpus, or the names of files; see ``Corpus.read``."""


class Job(NamedTuple):
    """A run that is ready for its next step, the parts of its text, and the folder in which it is kept."""

    run: Run
    split: Split
    folder: RunFolder


def prepare(source: TextSource, text_config: TextConfig, model_settings: Mapping[str, Any], train_config: TrainConfig,
            on_event: OnEvent, *, name: str | None = None, checkpoints: str | Path = "checkpoints",
            overwrite: bool = False) -> Job:
    """Prepare a new run. If ``model_settings`` contains no hidden size, it and the dropout are chosen for the text.

    Raises ConfigError, CorpusError or RunError if something is wrong with the settings, the text or the folder.
    """
    model_config = ModelConfig(**model_settings)
    folder = None if name is None else RunFolder.at(checkpoints, name, overwrite)
    corpus = read(source, text_config, on_event)
    split = corpus.split(train_config.validation, train_config.test)
    cores = (train_config.threads or ranks().cores) * ranks().count
    model_config = choose_model(model_config, model_settings, train_config, len(split.train), len(corpus.vocabulary),
                                cores, kernels_name("float32"))
    if folder is None:
        name = f"{corpus.name}-{model_config.cell}-{model_config.hidden_size}"
        folder = RunFolder.at(checkpoints, name, overwrite)
    run = Run.start(split, model_config, train_config)
    on_event(TextRead(corpus))
    if "hidden_size" not in model_settings:
        on_event(ModelChosen(model_config, tuple(name for name in CHOSEN if name not in model_settings)))
    on_event(RunMade(run, train_config.batch_size))
    if run.config.steps is None:
        fix_minutes(run, split, on_event)
    return _job(run, split, folder)


def prepare_resume(path: str | Path, length: TrainConfig, on_event: OnEvent, *, source: TextSource | None = None,
                   encoding: str | None = None, errors: str | None = None, name: str | None = None,
                   overwrite: bool = False) -> Job:
    """Prepare a saved run to take its next step.

    ``length`` contains the settings that may change: the length, patience and threads. ``source`` is where the text is
    now, if it was moved. With ``name`` it becomes a new run beside the old one. Raises RunError, CheckpointError,
    CorpusError or ConfigError if that is not possible.
    """
    path = checkpoint_at(path, LAST)
    old = RunFolder.of(path)
    folder = old if name is None else _new_folder(old, name, overwrite)
    if (folder is None or (name is None and path.name != LAST)) and not is_only_a_model(path):
        raise RunError(f"{path}: is not the last state of a run; give --name NEW to start a new run from it")
    run = Run.load(path)
    assert folder is not None  # a file of a model alone was refused
    if source is None:
        corpus = _warned(corpus_of(run.source, run.model.text_config, path, "name a file with that text with --corpus",
                                   _on_bytes(on_event)), on_event)
    else:
        corpus = read(source, changed(run.model.text_config, encoding, errors), on_event)
    if run.source.fingerprint != corpus.fingerprint:
        raise RunError(f"{join_names(corpus.sources) or 'the text'}: is not the text this run was trained on "
                       f"({run.source.characters:,} characters then, {len(corpus):,} now); name that one with --corpus, or "
                       f"learn this one with --corpus FILE --fine-tune --name NEW")
    run.source = source_of(corpus, run.source.windows)
    if not isinstance(source, Corpus):
        run.model.text_config = corpus.text_config
    split = run.split(corpus)
    _continue_here(run, length, on_event)
    _change_plan(run, split, length, old or folder, on_event)
    if name is not None:
        folder.begin_with(run, old)
    return _job(run, split, folder)


def prepare_fine_tuning(path: str | Path, source: TextSource, length: TrainConfig, on_event: OnEvent, *, name: str,
                        encoding: str | None = None, errors: str | None = None, overwrite: bool = False) -> Job:
    """Prepare a new run that starts from the weights of another and learns another text."""
    path = checkpoint_at(path, LAST)
    folder = _new_folder(RunFolder.of(path), name, overwrite)
    old = Run.load(path)
    corpus = read(source, changed(old.model.text_config, encoding, errors), on_event)
    config = replace(old.config, steps=length.steps, epochs=length.epochs, minutes=length.minutes, eval_every=None,
                     threads=length.threads or old.config.threads)
    split = corpus.split(config.validation, config.test)
    run, new_characters = Run.start_from(old.model, split, config)
    on_event(TextRead(corpus))
    on_event(VocabularyChanged(len(corpus.vocabulary) - len(new_characters), new_characters))
    on_event(RunMade(run, config.batch_size))
    if run.config.steps is None:
        fix_minutes(run, split, on_event)
    return _job(run, split, folder)


def read(source: TextSource, text_config: TextConfig, on_event: OnEvent) -> Corpus:
    """Return the corpus that ``source`` is or names."""
    if isinstance(source, Corpus):
        return _warned(source, on_event)
    sources = [source] if isinstance(source, (str, Path)) else source
    return _warned(Corpus.read(*sources, text_config=text_config, on_bytes=_on_bytes(on_event)), on_event)


def _warned(corpus: Corpus, on_event: OnEvent) -> Corpus:
    """Pass on the warnings of a corpus; return it."""
    for warning in corpus.warnings:
        on_event(Warned(warning))
    return corpus


def corpus_of(source: Source, text_config: TextConfig, place: str | Path, advice: str, on_bytes: OnBytes | None = None
              ) -> Corpus:
    """Read the corpus of a run from where its checkpoint, at ``place``, says that it is.

    The checkpoint may come from anywhere, so only files of the recorded sizes are read. Raises RunError, with ``advice``,
    if the text was not in a file, CorpusError, with ``advice``, if it cannot be read or is not the text of the run.
    """
    is_builtin = len(source.names) == 1 and source.names[0] in BUILTIN_TEXTS
    if not source.names or STANDARD_INPUT in source.names or not (source.files or is_builtin):
        raise RunError(f"{place}: was trained on a text that is in no file", advice)
    record = TextRecord(source.fingerprint, source.characters, source.files, source.bytes, source.sizes)
    try:
        return Corpus.read(*source.names, text_config=text_config, record=record, on_bytes=on_bytes)
    except CorpusError as error:
        raise CorpusError(error.message, advice) from error


def changed(text_config: TextConfig, encoding: str | None, errors: str | None) -> TextConfig:
    """Return the settings with another encoding, or another treatment of errors, if one is given."""
    return replace(text_config, encoding=encoding or text_config.encoding, errors=errors or text_config.errors)


def fix_minutes(run: Run, split: Split, on_event: OnEvent, minutes: float | None = None, spent: float = 0.0) -> None:
    """Turn a length in minutes into a number of steps, on all ranks."""
    minutes, eval_every = minutes or run.config.minutes or 0.0, run.config.eval_every
    ranks().call(fix_plan, run, split.corpus, minutes, spent)
    fix_plan(run, split, minutes, spent)
    usual = eval_every or -(-run.planned // EVALUATIONS) == run.config.eval_every
    on_event(PlanFixed(minutes, run.planned, None if usual else run.config.eval_every))


def _job(run: Run, split: Split, folder: RunFolder) -> Job:
    run.folder = folder.path
    return Job(run, split, folder)


def _on_bytes(on_event: OnEvent) -> OnBytes:
    return lambda count, size: on_event(BytesRead(count, size))


def _new_folder(old: RunFolder | None, name: str, overwrite: bool) -> RunFolder:
    return RunFolder.at(old.path.resolve().parent if old else Path("checkpoints"), name, overwrite)


def _continue_here(run: Run, length: TrainConfig, on_event: OnEvent) -> None:
    """Adopt the present machine, thread count and patience; warn if the bits may differ."""
    threads = min(length.threads or run.config.threads or 1, run.config.batch_size)
    before, now = run.environment, environment(run.model.network.dtype)
    differences = [f"{name} was {before[name]!r} and is {now.get(name)!r}"
                   for name in before if now.get(name) != before[name]]
    if threads != run.config.threads:
        differences.append(f"threads were {run.config.threads} and are {threads}")
    if differences:
        on_event(Warned(f"{', '.join(differences)}; the result may differ in its last bits"))
    run.environment = now
    run.config = replace(run.config, threads=threads,
                         patience=run.config.patience if length.patience is None else length.patience)


def _change_plan(run: Run, split: Split, length: TrainConfig, folder: RunFolder, on_event: OnEvent) -> None:
    if length.steps is not None or length.epochs is not None:
        run.plan(length.steps or steps_of(length.epochs or 0, run.source.windows))
    elif length.minutes is not None:
        spent = MetricsTable(folder.metrics, run.step).seconds
        if run.step and not spent:
            raise ConfigError("minutes", f"count from the start of the run, and {folder.metrics} does not say how many "
                                         f"are over; give --steps")
        fix_minutes(run, split, on_event, length.minutes, spent)
    if run.out_of_patience:
        best = run.best_record
        on_event(Warned(f"there was no better than step {best and best.step} for {run.config.patience} evaluations, "
                        f"so this run does not go on; give a larger --patience"))
