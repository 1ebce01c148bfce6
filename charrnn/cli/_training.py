"""What ``train`` and ``resume`` have in common: the steps with their progress, saving, signals and last words."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import click

from charrnn.errors import RunError, printable

if TYPE_CHECKING:
    from tqdm import tqdm

    from charrnn.config import ModelConfig, Reading, TrainConfig
    from charrnn.text.corpus import Corpus, Split
    from charrnn.training.run import Run
    from charrnn.training.run_folder import RunFolder
    from charrnn.training.trainer import Step

_COUNTED = 8_000_000
"""Characters at the end of the training part that are counted, to hold a model against: they take seconds."""

_NAMED = 20
"""How many characters a message names."""


def say(message: str, quiet: bool = False) -> None:
    """A line for the user, or several, on standard error; names and characters in it may come from anywhere."""
    if not quiet:
        with _nobody_may_read():
            click.echo("\n".join(map(printable, message.split("\n"))), err=True)


@contextlib.contextmanager
def _nobody_may_read() -> Iterator[None]:
    """Go on where whoever read standard error has gone, or has no room: that is no reason to end a training."""
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def warn(message: str) -> None:
    """A warning, which is shown in any case, on one line."""
    say(printable(f"Warning: {message}"))


def read(sources: Sequence[str], reading: Reading, quiet: bool, **settings: Any) -> Corpus:
    """``Corpus.open``, with a bar where it takes longer than a second."""
    from charrnn.text.corpus import Corpus

    with bar(quiet, unit="B", unit_scale=True, delay=1, leave=False) as progress:
        def show(count: int, size: int) -> None:
            progress.total = size or None
            progress.update(count)

        return Corpus.open(sources, reading, on_bytes=show, **settings)


def changed(reading: Reading, encoding: str | None, errors: str | None) -> Reading:
    """How another text is read: as the one before, but for what is given."""
    return replace(reading, encoding=encoding or reading.encoding, errors=errors or reading.errors)


def text_of(run: Run, place: str | Path, advice: str, quiet: bool = False) -> Corpus:
    """The corpus that ``run`` was trained on, where its checkpoint at ``place`` says that it lies.

    The checkpoint may come from anywhere, so nothing is read that cannot be that corpus. Raises RunError, with
    ``advice``, for a text that does not lie anywhere, CorpusError for one that cannot be read.
    """
    from charrnn.text.files import STANDARD_INPUT

    if not run.source.names or STANDARD_INPUT in run.source.names:
        raise RunError(f"{place}: was trained on a text that is in no file; {advice}")
    return read(run.source.names, run.source.reading, quiet, characters=run.source.characters)


def choose_size(text: Corpus, model: ModelConfig, named: Collection[str], train: TrainConfig) -> ModelConfig:
    """The size of a model for a text, where none is named."""
    from charrnn.mpi import ranks
    from charrnn.nn import kernels
    from charrnn.text.corpus import bounds
    from charrnn.training import recipe

    cores = (train.threads or ranks().cores) * ranks().count
    characters, _ = bounds(len(text), text.share(train.validation), train.test)
    return recipe.choose(model, named, train, characters, len(text.vocabulary), cores, kernels.name("float32"))


def say_choice(model: ModelConfig, named: Collection[str], quiet: bool) -> None:
    """Say what was chosen for the text, as the options that would name it."""
    from charrnn.config import CHOSEN

    if "hidden_size" not in named:
        say("Chosen for it: " + " ".join(f"--{name.replace('_', '-')} {getattr(model, name):g}" for name in CHOSEN
                                         if name not in named), quiet)


def fix_minutes(run: Run, corpus: Corpus, quiet: bool, minutes: float | None = None, spent: float = 0.0) -> None:
    """Fix the plan of a run whose length is given in minutes, and say which steps would be the same."""
    from charrnn.mpi import ranks
    from charrnn.training.run import EVALUATIONS
    from charrnn.training.trainer import fix_plan

    minutes, given = minutes or run.config.minutes, run.config.eval_every
    ranks().call(fix_plan, run, corpus, minutes, spent)
    fix_plan(run, corpus, minutes, spent)
    usual = given or -(-run.planned // EVALUATIONS) == run.config.eval_every
    say(f"{minutes:g} minutes: the same as --steps {run.planned}"
        + ("" if usual else f" --eval-every {run.config.eval_every}"), quiet)


def say_batch(run: Run, wanted: int, quiet: bool) -> None:
    """Say so where the text was too short for the streams that were wanted."""
    if run.config.batch_size < wanted:
        say(f"The text is short: {run.config.batch_size} streams are read side by side, not {wanted}", quiet)


def describe_corpus(corpus: Corpus) -> str:
    """What is trained on, in a line."""
    from charrnn.text.builtin import BUILT_IN
    from charrnn.text.files import listed

    names = listed(corpus.sources)
    if names in BUILT_IN:
        names += f" ({BUILT_IN[names].what})"
    reading, characters = corpus.reading, len(corpus.vocabulary) - (corpus.vocabulary.unknown is not None)
    text = f"{names}: {len(corpus):,} {'characters' if reading.level == 'char' else 'bytes'}, {characters:,} different"
    if reading.min_count > 1:
        text += f" and {len(corpus.folded):,} rarer ones, taken for one"
    if reading.lines or reading.reset_at_files:
        text += f", {len(corpus.starts):,} {'lines' if reading.lines else 'files'}"
    return text


def say_folded(characters: str, share: float | None = None) -> None:
    """Say which characters of a text became the unknown one, and what share of it they were."""
    if characters:
        of_it = "" if share is None else f" ({100 * share:.2g} % of the text)"
        more = f" and {len(characters) - _NAMED:,} more" if len(characters) > _NAMED else ""
        say(f"Unknown to the model, and taken for one{of_it}: {', '.join(map(repr, characters[:_NAMED]))}{more}")


def describe_model(run: Run) -> str:
    """What is trained, in a line."""
    config = run.model.config
    layers = "" if config.layers == 1 else f"{config.layers} layers of "
    embedding = f"embedding of {config.embedding_size:,}, " if config.embedding_size else ""
    return (f"{config.cell}, {layers}{config.hidden_size:,} hidden units, {embedding}"
            f"{run.model.parameters.flat.size:,} parameters")


def describe_plan(run: Run) -> str:
    """How long, in a line."""
    config = run.config
    return (f"{run.planned:,} step{'s'[:run.planned != 1]} of {config.batch_size} x {config.seq_len} characters, "
            f"{run.planned / run.source.windows:.3g} epochs, {config.threads} thread{'s'[:config.threads != 1]}")


def go_on(run: Run, corpus: Corpus, folder: RunFolder, quiet: bool) -> None:
    """Take the run to its end, or to a signal; print its result. Exits with 130 or 143 after a signal."""
    from charrnn.mpi import ranks
    from charrnn.text.files import STANDARD_INPUT
    from charrnn.training.run_folder import Keeper, StopSignals, follow
    from charrnn.training.trainer import Trainer

    trainer = Trainer(run, corpus)
    ranks().call(follow, run, corpus)
    with StopSignals(ranks()) as stop:
        with _Progress(run, quiet) as progress:
            keeper = Keeper(run, trainer, folder, progress.show, lambda line: progress.write(f"Warning: {line}"))
            keeper.train(stop)
        ranks().dismiss()
        if keeper.unsaved:
            raise click.ClickException(f"{folder.path}: the run could not be saved at its end, step {run.step:,}; "
                                       f"see the warning above")
        place = shlex.quote(str(folder.path))
        resume = f"charrnn resume {place}{' --corpus FILE' if STANDARD_INPUT in run.source.names else ''}"
    if stop.received is not None and not run.finished:
        say(f"Stopped after step {run.step:,} of {run.planned:,} and saved. Go on with: {resume}")
        sys.exit(128 + stop.received)
    if run.best is not None and stop.received is None and not quiet:
        with contextlib.suppress(KeyboardInterrupt):  # the training is over and saved; its result is still to come
            say(_against_counting(run.best.validation_loss, corpus.split(run.config.validation, run.config.test),
                                  len(run.vocabulary), run.source.reading.level))
    say(f"Sample from it: charrnn sample {place}", quiet)
    if run.best is not None and run.out_of_patience and run.step < run.planned:
        say(f"Stopped early at step {run.step:,} of {run.planned:,}: no better than step {run.best.step:,} for "
            f"{run.config.patience} evaluations; to go on, give 'charrnn resume {place}' a larger --patience", quiet)
    else:
        say(f"Train longer:   {resume} --steps {2 * run.planned}", quiet)
    print_result(run)


def _against_counting(loss: float, split: Split, vocabulary_size: int, unit: str) -> str:
    """What counting alone reaches on the validation part, and how a model of this loss (nats) stands against it."""
    from charrnn.config import BASELINE_ORDER
    from charrnn.inference.ngram import witten_bell

    counted = split.train[-_COUNTED:]
    nats = witten_bell(counted, split.validation, vocabulary_size, BASELINE_ORDER).nats
    part = f", of the last {len(counted):,} characters of the training part" * (len(counted) < len(split.train))
    stand = "better" if loss <= nats else "worse: train longer, or give it a larger --hidden-size"
    return (f"Counting alone (order {BASELINE_ORDER}{part}) reaches {nats:.4f} nats/{unit}; this model is "
            f"{abs(loss - nats):.4f} {stand}")


def print_result(run: Run) -> None:
    """The last line on standard output: the best validation loss, or without validation the training loss."""
    from charrnn.inference.evaluation import Evaluation

    if run.best is not None:
        click.echo(Evaluation(run.best.validation_loss, 0).line("validation", run.source.reading.level))
    else:
        click.echo(Evaluation(run.smoothed_loss, 0).line("train", run.source.reading.level))


class _StandardError:
    """Standard error, which nobody may read."""

    def write(self, text: str) -> None:
        with _nobody_may_read():
            sys.stderr.write(text)

    def flush(self) -> None:
        with _nobody_may_read():
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


_standard_error = cast(TextIO, _StandardError())


def bar(quiet: bool, **settings: Any) -> tqdm[NoReturn]:
    """A progress bar on standard error; a line every half minute where that is no terminal."""
    from tqdm import tqdm

    return tqdm(**settings, disable=quiet, file=_standard_error, dynamic_ncols=True,
                mininterval=0.1 if sys.stderr.isatty() else 30)


class _Progress:
    """A progress bar, with a line above it for each evaluation."""

    def __init__(self, run: Run, quiet: bool) -> None:
        self.run, self.quiet, self.unit = run, quiet, run.source.reading.level
        self.bar = bar(quiet, total=run.planned, initial=run.step, unit="step")

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, step: Step) -> None:
        self.bar.set_postfix_str(f"{self.run.smoothed_loss:.3f} nats/{self.unit}", refresh=False)
        self.bar.update()
        if step.validation_loss is not None and not self.quiet:
            mark = "  best" if step.is_best else ""
            self.write(f"step {step.number:>7,}  epoch {step.epoch:6.2f}  train {self.run.smoothed_loss:.4f}  "
                       f"validation {step.validation_loss:.4f} nats/{self.unit}{mark}")

    def write(self, line: str) -> None:
        self.bar.write(line, file=_standard_error)
