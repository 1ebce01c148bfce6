"""What ``train`` and ``resume`` have in common: the events of a training as lines, its end, its result."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._console import progress_bar, say, standard_error, warn
from charrnn.cli._corpus import describe_corpus, reading_progress
from charrnn.errors import printable
from charrnn.text.files import STANDARD_INPUT
from charrnn.training.events import (
    BytesRead,
    ModelChosen,
    PlanFixed,
    RunMade,
    Started,
    StepTaken,
    TextRead,
    VocabularyChanged,
    Warned,
)

if TYPE_CHECKING:
    from charrnn.config import ModelConfig
    from charrnn.text.corpus import Split
    from charrnn.training.prepare import Job
    from charrnn.training.run import Run
    from charrnn.training.trainer import Step

_COUNTED = 8_000_000
"""Characters at the end of the training part that the n-gram baseline counts; more would take too long."""


class Printer:
    """Prints the events of a training on standard error. ``resumed`` is the checkpoint that it continues, if any."""

    def __init__(self, quiet: bool, resumed: Path | None = None) -> None:
        self.quiet = quiet
        self.resumed = resumed
        self._exit = contextlib.ExitStack()
        self._bar: Any = None
        self._on_bytes: Any = None

    def __enter__(self) -> Printer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove a progress bar that is still there."""
        self._exit.close()
        self._bar = self._on_bytes = None

    def __call__(self, event: Any) -> None:
        if self._on_bytes is not None and not isinstance(event, BytesRead):
            self.close()  # the bar of reading
        match event:
            case BytesRead(count, size):
                if self._on_bytes is None:
                    self._on_bytes = self._exit.enter_context(reading_progress(self.quiet))
                self._on_bytes(count, size)
            case TextRead(corpus):
                self._say(describe_corpus(corpus))
            case ModelChosen(config, names):
                self._say("Chosen for it: " + " ".join(f"--{name.replace('_', '-')} {getattr(config, name):g}"
                                                       for name in names))
            case VocabularyChanged(known, new):
                shown = "".join(new[:40]) + (" ..." if len(new) > 40 else "")
                self._say(f"{known:,} of its characters are known; "
                          + (f"{len(new):,} get fresh weights: {shown}" if new else "none needs fresh weights"))
            case RunMade(run, batch_size):
                self._say_made(run, batch_size)
            case PlanFixed(minutes, steps, eval_every):
                interval = "" if eval_every is None else f" --eval-every {eval_every}"
                self._say(f"{minutes:g} minutes: the same as --steps {steps}{interval}")
            case Started(run):
                self._say_started(run)
            case StepTaken(run, step):
                self._show_step(run, step)
            case Warned(message):
                if self._bar is None:
                    warn(message)
                else:
                    self._bar.write(printable(f"Warning: {message}"), file=standard_error)

    def _say(self, message: str) -> None:
        say(message, self.quiet)

    def _say_made(self, run: Run, batch_size: int) -> None:
        if self.resumed is None:
            self._say(_describe_model(run))
            if STANDARD_INPUT in run.source.names:
                warn("a text from standard input is not there any more later: 'charrnn resume' will need --corpus FILE")
        if run.config.batch_size < batch_size:
            self._say(f"The text is short: {run.config.batch_size} streams are read side by side, not {batch_size}")

    def _say_started(self, run: Run) -> None:
        if self.resumed is None:
            self._say(_describe_plan(run))
        else:
            self._say(f"{self.resumed}: {_describe_model(run)}\nAfter step {run.step:,} of {_describe_plan(run)}")

    def _show_step(self, run: Run, step: Step) -> None:
        if self._bar is None:  # only now, so that its time does not include the compilation of kernels
            bar = progress_bar(self.quiet, total=run.planned, initial=step.number - 1, unit="step")
            self._bar = self._exit.enter_context(contextlib.closing(bar))
        unit = run.model.text_config.level
        self._bar.set_postfix_str(f"{run.smoothed_loss:.3f} nats/{unit}", refresh=False)
        self._bar.update()
        if step.validation_loss is not None and not self.quiet:
            mark = "  best" if step.is_best else ""
            self._bar.write(f"step {step.number:>7,}  epoch {step.epoch:6.2f}  train {run.smoothed_loss:.4f}  "
                            f"validation {step.validation_loss:.4f} nats/{unit}{mark}", file=standard_error)


def _describe_model(run: Run) -> str:
    """Return what is trained, on one line."""
    network = run.model.network
    config: ModelConfig = network.config
    layers = "" if config.layers == 1 else f"{config.layers} layers of "
    embedding = f"embedding of {config.embedding_size:,}, " if config.embedding_size else ""
    return (f"{config.cell}, {layers}{config.hidden_size:,} hidden units, {embedding}"
            f"{network.parameters.flat.size:,} parameters")


def _describe_plan(run: Run) -> str:
    """Return how long the training is, on one line."""
    config = run.config
    return (f"{run.planned:,} step{'s'[:run.planned != 1]} of {config.batch_size} x {config.seq_len} characters, "
            f"{run.planned / run.source.windows:.3g} epochs, {config.threads} thread{'s'[:config.threads != 1]}")


def carry_out(job: Job, printer: Printer) -> None:
    """Take the run to its end, or to a signal; print its result. Exits with 130 or 143 after a signal."""
    from charrnn.training import api

    run, split, folder = job
    received = api.carry_out(job, printer)
    printer.close()
    place = shlex.quote(str(folder.path))
    resume = f"charrnn resume {place}{' --corpus FILE' if STANDARD_INPUT in run.source.names else ''}"
    if received is not None and not run.finished:
        say(f"Stopped after step {run.step:,} of {run.planned:,} and saved. Go on with: {resume}")
        sys.exit(128 + received)
    best, quiet = run.best_record, printer.quiet
    if best is not None and received is None and not quiet:
        with contextlib.suppress(KeyboardInterrupt):  # the training is over and saved; its result is still to come
            say(_against_baseline(best.validation_loss, split, run.model.text_config.level))
    say(f"Sample from it: charrnn sample {place}", quiet)
    if best is not None and run.out_of_patience and run.step < run.planned:
        say(f"Stopped early at step {run.step:,} of {run.planned:,}: no better than step {best.step:,} for "
            f"{run.config.patience} evaluations; to go on, give 'charrnn resume {place}' a larger --patience", quiet)
    else:
        say(f"Train longer:   {resume} --steps {2 * run.planned}", quiet)
    _print_result(run, split)


def _against_baseline(loss: float, split: Split, unit: str) -> str:
    """Return what the n-gram baseline reaches on the validation part, and how a model of this loss (nats) compares."""
    from charrnn.config import BASELINE_ORDER
    from charrnn.inference.ngram import witten_bell

    counted = split.train.ids[-_COUNTED:]
    nats = witten_bell(counted, split.validation.ids, len(split.corpus.vocabulary), BASELINE_ORDER).nats
    part = f", of the last {len(counted):,} characters of the training part" * (len(counted) < len(split.train))
    stand = "better" if loss <= nats else "worse: train longer, or give it a larger --hidden-size"
    return (f"Counting alone (order {BASELINE_ORDER}{part}) reaches {nats:.4f} nats/{unit}; this model is "
            f"{abs(loss - nats):.4f} {stand}")


def _print_result(run: Run, split: Split) -> None:
    """Print the last line on standard output: the best validation loss, or without validation the training loss."""
    from charrnn.inference.evaluation import Evaluation, how_read

    best, unit = run.best_record, run.model.text_config.level
    if best is not None:
        characters = len(split.validation) - 1
        click.echo(Evaluation(best.validation_loss, characters, how_read(characters)).line("validation", unit))
    else:
        click.echo(Evaluation(run.smoothed_loss, 0, "running mean of the training loss").line("train", unit))
