"""Preparation of a run: read the text, split it, choose the model, fix the plan, lock the folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.config import CHOSEN, NONE, ModelConfig, TextConfig, TrainConfig
from charrnn.errors import ConfigError, CorpusError, RunError, check_type
from charrnn.inference.language_model import file_metadata
from charrnn.inference.locate import LAST, checkpoint_at
from charrnn.mpi import ranks
from charrnn.nn.kernels import reporting_compilation
from charrnn.nn.parallel import default_threads, environment, kernels_in
from charrnn.text.builtin import BUILTIN_TEXTS
from charrnn.text.corpus import Corpus
from charrnn.text.files import STANDARD_INPUT, join_names
from charrnn.text.reader import OnBytes
from charrnn.text.record import TextRecord
from charrnn.text.split import Split
from charrnn.training.events import (
    BytesRead,
    CompilationStarted,
    ModelChosen,
    OnEvent,
    PlanFixed,
    RunMade,
    TextRead,
    Warned,
)
from charrnn.training.metrics_table import MetricsTable
from charrnn.training.pretrained import find_pretrained, start_from_pretrained
from charrnn.training.recipe import MOST_TUNING_PASSES, choose_model, most_passes
from charrnn.training.run import Run, steps_of
from charrnn.training.run_folder import Inherited, RunFolder, inherit
from charrnn.training.run_lock import RunLock
from charrnn.training.schema import Source, source_of
from charrnn.training.speed import Arithmetic, choose_arithmetic, leave_bfloat16
from charrnn.training.trainer import fix_plan

TextSource = Corpus | str | Path | Sequence[str | Path]
"""A text: a corpus, or the names of files; see ``Corpus.read``."""


RESUMED_SETTINGS = ("steps", "epochs", "minutes", "eval_every", "patience", "threads")
"""The settings that may change when a run is resumed."""


class Job(NamedTuple):
    """A run that is ready for its next step, the parts of its text, and the folder in which it is kept.

    ``lock`` keeps other processes from training in the folder until it is released. ``new`` is the data that a new run
    inherits; it is None for a run that is resumed in its folder.
    """

    run: Run
    split: Split
    folder: RunFolder
    lock: RunLock
    new: Inherited | None


def prepare(source: TextSource, text_config: TextConfig, model_settings: Mapping[str, Any], train_config: TrainConfig,
            on_event: OnEvent, *, start_from: str | Path = NONE, name: str | None = None,
            checkpoints: str | Path = "checkpoints", overwrite: bool = False) -> Job:
    """Prepare a new run, from scratch or from the weights of another model; see ``pretrained.find_pretrained``.

    From scratch, if ``model_settings`` contains no hidden size, the size and the dropout are chosen for the text, and a
    length in minutes ends after ``most_passes``. Raises ConfigError, CorpusError, CheckpointError or RunError if the
    settings, the text, the folder or the model cannot be used.
    """
    model_config = ModelConfig(**model_settings)
    choices: list[Any] = []  # events that are sent after the last check that can fail
    found = find_pretrained(start_from, model_settings, source.text_config if isinstance(source, Corpus) else text_config,
                            choices.append)
    with ExitStack() as stack:
        if name is not None:
            folder, lock = _claim(stack, RunFolder.at(checkpoints, name), overwrite, on_event,
                                  lambda old: _may_be(source, old))
        corpus = read(source, text_config, on_event)
        split = corpus.split(train_config.validation, train_config.test)
        cores = (train_config.threads or default_threads(train_config.batch_size)) * ranks().count
        is_size_open = found is not None or "hidden_size" not in model_settings
        needs_speed = train_config.budget is not None and is_size_open
        dtype = "float32" if found is None else found.model.network.dtype
        arithmetic = choose_arithmetic(train_config, needs_speed, on_event, choices.append, dtype)
        train_config = replace(train_config, precision=arithmetic.precision)
        run = None
        if found is not None:
            run = start_from_pretrained(found, split, model_settings, train_config, cores, arithmetic, choices.append)
        most_epochs: float | None = MOST_TUNING_PASSES
        if run is None:
            run = _start_from_scratch(split, model_config, model_settings, train_config, cores, arithmetic, choices.append)
            most_epochs = None if "hidden_size" in model_settings else most_passes(len(split.train), len(corpus.vocabulary))
        if name is None:
            folder, lock = _claim(stack, RunFolder.at(checkpoints, _default_name(run, corpus)), overwrite, on_event,
                                  lambda old: old.fingerprint == corpus.fingerprint)
        for event in (TextRead(corpus), *choices, RunMade(run, train_config.batch_size)):
            on_event(event)
        if run.config.steps is None:
            fix_minutes(run, split, on_event, most_epochs=most_epochs)
        return _job(stack, run, split, folder, lock, Inherited())


def _start_from_scratch(split: Split, model_config: ModelConfig, given: Mapping[str, Any], train_config: TrainConfig,
                        cores: int, arithmetic: Arithmetic, on_event: OnEvent) -> Run:
    """Return a run with initial weights. If no hidden size is given, the size and the dropout come from the recipe."""
    if "hidden_size" not in given:
        model_config, passes = choose_model(model_config, given, train_config, len(split.train),
                                            len(split.corpus.vocabulary), cores, arithmetic.speed)
        names = tuple(name for name in CHOSEN if name not in given)
        on_event(ModelChosen(model_config, names, len(split.train), passes))
    return Run.start(split, model_config, train_config, kernels=arithmetic.kernels)


def prepare_resume(path: str | Path, length: TrainConfig, on_event: OnEvent, *, corpus: TextSource | None = None,
                   encoding: str | None = None, errors: str | None = None, name: str | None = None,
                   overwrite: bool = False) -> Job:
    """Prepare a saved run for its next step.

    ``length`` contains the settings that may change (``RESUMED_SETTINGS``). ``corpus`` is the text, if it was moved;
    ``encoding`` and ``errors`` say how to read it. With ``name``, training continues in a new run beside the old one.
    Raises RunError, CheckpointError, CorpusError or ConfigError if the run cannot be resumed.
    """
    for setting, value in (("encoding", encoding), ("errors", errors)):
        if value is not None and corpus is None:
            raise ConfigError(setting, "applies only to a text that is passed as `corpus`", "pass `corpus` too")
    path = checkpoint_at(path, LAST)
    old = RunFolder.of(path)
    if name is None and old is not None and path == old.best and _step_at(old.best) == _step_at(old.last):
        path = old.last  # the best state is the last one
    if name is None and (old is None or path != old.last):
        Run.load(path)  # raises a clearer error if the file contains no run
        raise RunError(f"{path}: is not the last state of a run", "choose a `name` for a new run that starts from it")
    with ExitStack() as stack:
        if name is not None:
            folder, lock = _claim(stack, _beside(old, name), overwrite, on_event)
        elif old is not None:
            folder, lock = old, _lock(stack, old, on_event)
        run = Run.load(path)
        split = _text_of(run, path, corpus, changed(run.model.text_config, encoding, errors), on_event)
        _continue_here(run, length, on_event)
        _change_plan(run, split, length, old or folder, on_event)
        return _job(stack, run, split, folder, lock, None if name is None else inherit(run, old))


def read(source: TextSource, text_config: TextConfig, on_event: OnEvent) -> Corpus:
    """Return ``source`` if it is a corpus; otherwise read the files that it names."""
    if isinstance(source, Corpus):
        return _warned(source, on_event)
    check_type("source", source, str, Path, Sequence)
    sources = [source] if isinstance(source, (str, Path)) else source
    return _warned(Corpus.read(*sources, text_config=text_config, on_bytes=_on_bytes(on_event)), on_event)


def _warned(corpus: Corpus, on_event: OnEvent) -> Corpus:
    """Report the warnings of a corpus as events; return the corpus."""
    for warning in corpus.warnings:
        on_event(Warned(warning))
    return corpus


def _text_of(run: Run, path: Path, source: TextSource | None, text_config: TextConfig, on_event: OnEvent) -> Split:
    """Return the parts of the text of a run, read from ``source`` or from the files that the checkpoint names."""
    if source is None:
        try:
            corpus = _warned(corpus_of(run.source, run.model.text_config, path, "pass it as `corpus`", _on_bytes(on_event)),
                             on_event)
        except CorpusError as error:
            raise CorpusError(error.message, "if the text was moved, pass it as `corpus`") from error
    else:
        corpus = read(source, text_config, on_event)
    if run.source.fingerprint != corpus.fingerprint:
        raise RunError(f"{join_names(corpus.sources) or 'the text'}: is not the text this run was trained on "
                       f"({run.source.characters:,} characters then, {len(corpus):,} now)",
                       "pass the text of the run as `corpus`, or train a new run on this text that starts from it")
    run.source = source_of(corpus, run.source.windows)
    if not isinstance(source, Corpus):
        run.model.text_config = corpus.text_config
    return run.split(corpus)


def corpus_of(source: Source, text_config: TextConfig, place: str | Path, advice: str, on_bytes: OnBytes | None = None
              ) -> Corpus:
    """Read the corpus of a run from the files that its checkpoint, at ``place``, names.

    The checkpoint may come from anywhere, so only files of the recorded sizes are read. Raises RunError if the text was not
    in a file, CorpusError if it cannot be read or is not the text of the run; ``advice`` is the hint of both.
    """
    is_builtin = len(source.names) == 1 and source.names[0] in BUILTIN_TEXTS
    if not source.names or STANDARD_INPUT in source.names or not (source.files or is_builtin):
        raise RunError(f"{place}: was trained on a text that is not in a file", advice)
    record = TextRecord(source.fingerprint, source.characters, source.files, source.bytes, source.sizes)
    try:
        return Corpus.read(*source.names, text_config=text_config, record=record, on_bytes=on_bytes)
    except CorpusError as error:
        raise CorpusError(error.message, advice) from error


def changed(text_config: TextConfig, encoding: str | None, errors: str | None) -> TextConfig:
    """Return the settings with another ``encoding`` and other ``errors``, unless these are None."""
    return replace(text_config, encoding=encoding or text_config.encoding, errors=errors or text_config.errors)


def fix_minutes(run: Run, split: Split, on_event: OnEvent, minutes: float | None = None, spent: float = 0.0,
                most_epochs: float | None = None) -> None:
    """Convert a length in minutes to a number of steps, on all ranks, for at most ``most_epochs`` passes over the text."""
    minutes, eval_every = minutes or run.config.minutes or 0.0, run.config.eval_every
    ranks().call(fix_plan, run, split.corpus, minutes, spent)
    with reporting_compilation(lambda: on_event(CompilationStarted())):
        fix_plan(run, split, minutes, spent)
    most = run.planned if most_epochs is None else steps_of(most_epochs, run.source.windows)
    if most < run.planned:
        run.config = replace(run.config, eval_every=eval_every)  # that of the long plan is too long
        run.plan(most)
    else:
        most_epochs = None
    on_event(PlanFixed(minutes, run.planned, run.config.eval_every if eval_every is None else None, most_epochs))


def _lock(stack: ExitStack, folder: RunFolder, on_event: OnEvent) -> RunLock:
    """Lock a folder until ``stack`` is closed, unless ``_job`` takes over the lock."""
    lock = stack.enter_context(RunLock(folder.path))
    if not lock.is_supported:
        on_event(Warned(f"{folder.path}: cannot be locked on this system; do not train this run in two processes"))
    return lock


def _claim(stack: ExitStack, folder: RunFolder, overwrite: bool, on_event: OnEvent,
           is_same_text: Callable[[Source], bool] | None = None) -> tuple[RunFolder, RunLock]:
    """Lock the folder of a new run. Raises RunError if it contains a run, unless ``overwrite``."""
    lock = _lock(stack, folder, on_event)
    if not overwrite:
        folder.refuse_run(is_same_text)
    return folder, lock


def _job(stack: ExitStack, run: Run, split: Split, folder: RunFolder, lock: RunLock, new: Inherited | None) -> Job:
    run.folder = folder.path
    stack.pop_all()
    return Job(run, split, folder, lock, new)


def _default_name(run: Run, corpus: Corpus) -> str:
    """Return the name of a run on ``corpus``: text-lnlstm-256, or text-from-english."""
    config, origin = run.model.network.config, run.model.origin
    if origin is None:
        return f"{corpus.name}-{config.cell}-{config.hidden_size}"
    return f"{corpus.name}-from-{origin.short_name}"


def _may_be(source: TextSource, old: Source) -> bool:
    """Return whether ``source`` seems to be the text of a run, without reading it."""
    if isinstance(source, Corpus):
        return source.fingerprint == old.fingerprint
    names = (str(source),) if isinstance(source, (str, Path)) else tuple(map(str, source))
    return names == old.names and STANDARD_INPUT not in names


def _step_at(path: Path) -> int | None:
    """Return the step of the run in a checkpoint, None if there is no such file."""
    return file_metadata(path).get("step") if path.exists() else None


def _on_bytes(on_event: OnEvent) -> OnBytes:
    return lambda count, size: on_event(BytesRead(count, size))


def _beside(old: RunFolder | None, name: str) -> RunFolder:
    """Return the folder of a new run that starts from a run in the folder ``old``."""
    if old is None:
        return RunFolder.at("checkpoints", name)
    return RunFolder.at((old.path if old.path.name not in ("", "..") else old.path.resolve()).parent, name)


def _continue_here(run: Run, length: TrainConfig, on_event: OnEvent) -> None:
    """Record the current machine, number of threads and patience; warn if the result may differ in its last bits."""
    threads = min(length.threads or run.config.threads or 1, run.config.batch_size)
    network = run.model.network
    before, now = run.environment, environment(network.dtype, kernels_in(run.environment))
    changes = {name: (value, now.get(name)) for name, value in before.items()}
    changes["threads"] = run.config.threads, threads  # type: ignore[assignment]
    shown = [f"{name} from {old} to {new}" for name, (old, new) in changes.items() if new != old]
    if shown:
        on_event(Warned(f"changed since the last save: {', '.join(shown)}; the result may differ in its last bits"))
    leave_bfloat16(run, on_event)
    run.environment = now
    run.config = replace(run.config, threads=threads,
                         patience=run.config.patience if length.patience is None else length.patience)


def _change_plan(run: Run, split: Split, length: TrainConfig, folder: RunFolder, on_event: OnEvent) -> None:
    run.config = replace(run.config, eval_every=length.eval_every or run.config.eval_every)
    if length.minutes is None:
        steps = run.planned if length.epochs is None else steps_of(length.epochs, run.source.windows)
        run.plan(length.steps or steps)
    else:
        spent = MetricsTable(folder.metrics, run.step, folder.metrics).seconds
        if run.step and not spent:
            raise ConfigError("minutes", f"counts from the start of the run, and {folder.metrics} does not say how many "
                                         f"minutes have passed", "pass `steps` instead")
        fix_minutes(run, split, on_event, length.minutes, spent)
    if run.out_of_patience and (length.steps or length.epochs or length.minutes):
        on_event(Warned(f"this run does not continue, because it is out of patience (`patience={run.config.patience}`); "
                        f"raise `patience`"))
