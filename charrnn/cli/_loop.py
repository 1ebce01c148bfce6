"""Output of ``train`` and ``resume``: the events of training, how it ended, and its result."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._console import COMPILING, option, progress_bar, say, standard_error, warn, without_controls
from charrnn.cli._corpus import describe_corpus, reading_progress
from charrnn.config import END
from charrnn.errors import CharRNNError, printable, with_parameters
from charrnn.system import quoted
from charrnn.text.files import STANDARD_INPUT
from charrnn.training.events import (
    BytesRead,
    CompilationStarted,
    ModelChosen,
    PlanFixed,
    RunMade,
    Sampled,
    Saved,
    SpeedMeasured,
    StartChosen,
    Started,
    StepTaken,
    TextRead,
    VocabularyChanged,
    Warned,
)

if TYPE_CHECKING:
    from charrnn.config import ModelConfig
    from charrnn.text.split import Split
    from charrnn.training.prepare import Job
    from charrnn.training.run import Run
    from charrnn.training.samples import Sample
    from charrnn.training.trainer import Step

_LONG = 60
"""The novelty of generated text is measured only after a training of at least this number of seconds."""

_NOVELTY_SECONDS, _NOVELTY_CHARACTERS = 0.7, 1_000_000
"""Seconds for generating this text, and maximum number of characters of the training part to compare it with."""

_KINDS = {"reference": "with NumPy", "compiled": "with compiled kernels", "bfloat16": "in bfloat16"}
"""Names of the kernels in the line about the speed."""

_SHOWN = 120
"""Characters of a sample that are shown while training."""


class Printer:
    """Prints the events of training on standard error. ``resumed`` is the checkpoint of a run that is resumed."""

    def __init__(self, quiet: bool, resumed: Path | None = None) -> None:
        self.quiet = quiet
        self.resumed = resumed
        self.is_long_enough = False
        """Whether the plan is shorter than the minutes, because more passes would not help."""
        self._exit = contextlib.ExitStack()
        self._bar: Any = None
        self._on_bytes: Any = None
        self._start, self._chosen = "--from none", ""  # options
        self._has_compiled = False

    def __enter__(self) -> Printer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the progress bar, if there is one."""
        self._exit.close()
        self._bar = self._on_bytes = None

    def __call__(self, event: Any) -> None:
        if self._on_bytes is not None and not isinstance(event, BytesRead):
            self.close()  # the progress bar of reading
        match event:
            case BytesRead(count, size):
                if self._on_bytes is None:
                    self._on_bytes = self._exit.enter_context(reading_progress(self.quiet))
                self._on_bytes(count, size)
            case TextRead(corpus):
                from charrnn.text.advice import advice

                self._say(describe_corpus(corpus))
                if hint := advice(corpus):
                    self._say(printable(with_parameters(hint, option)))
            case StartChosen(message):
                self._say(printable(with_parameters(message, option)))
            case ModelChosen(config, names, characters, passes):
                self._chosen = " ".join(f"{option(name)} {getattr(config, name):g}" for name in names)
                often = f"{passes:.2g}" if passes < 10 else f"{passes:,.0f}"
                how = ", with dropout" if any(getattr(config, name) for name in names if name != "hidden_size") else ""
                self._say(f"Chosen for {characters:,} characters of training text, read about {often} times{how}: "
                          f"{self._chosen}")
            case VocabularyChanged(known, new):
                shown = "".join(new[:40]).replace(END, "<end>") + (" ..." if len(new) > 40 else "")
                if new:
                    self._say(f"{known:,} of these characters have trained weights; initial weights for "
                              f"{counted(len(new), 'new character')}: {shown}")
            case RunMade(run, batch_size):
                self._say_made(run, batch_size)
            case PlanFixed(minutes, steps, eval_every, epochs):
                length = counted(minutes, "minute")
                if epochs is not None:
                    self.is_long_enough = True
                    length = f"Training ends after {counted(epochs, 'epoch')}, before {length} have passed"
                interval = "" if eval_every is None else f" --eval-every {eval_every}"
                self._say(f"{length}: the same as {self._start} --steps {steps}{interval} {self._chosen}".rstrip())
            case CompilationStarted() if not self._has_compiled:
                self._has_compiled = True
                self._say(COMPILING)
            case SpeedMeasured(speeds):
                shown = ", ".join(f"{speed / 1e9:.0f} {_KINDS[name]}" for name, speed in speeds.items())
                self._say(f"Speed of this machine (measured once), GFLOP/s per core: {shown}")
            case Started(run):
                self._say_started(run)
            case StepTaken(run, step):
                self._show_step(run, step)
            case Sampled(run, sample):
                self._show_sample(run, sample)
            case Saved(step):
                if not self.quiet:
                    self._write(f"Saved after step {step:,}")
            case Warned(message):
                self._write(f"Warning: {with_parameters(message, option)}")

    def _write(self, line: str, escape: Callable[[str], str] = printable) -> None:
        """Print a line with control characters escaped, above the progress bar if there is one."""
        if self._bar is None:
            say(line, escape=escape)
        else:
            self._bar.write(escape(line), file=standard_error)

    def _say(self, message: str) -> None:
        say(message, self.quiet)

    def _say_made(self, run: Run, batch_size: int) -> None:
        if run.model.origin is not None:
            self._start = f"--from {quoted(run.model.origin.names[0])}"
        if run.config.precision != "float32":
            self._start += f" --precision {run.config.precision}"
        self._say(_describe_model(run))
        if STANDARD_INPUT in run.source.names:
            warn("a text from standard input cannot be read again; 'charrnn resume' will need --corpus FILE")
        if run.config.batch_size < batch_size:
            streams = counted(run.config.batch_size, "stream")
            self._say(f"The text is short: {streams} in parallel instead of {batch_size:,}")

    def _say_started(self, run: Run) -> None:
        if self.resumed is None:
            self._say(_describe_plan(run))
        elif not run.finished:
            start = f"Continuing after step {run.step:,}" if run.step else "Starting"
            self._say(f"{self.resumed}: {_describe_model(run)}\n{start}: {_describe_plan(run)}")
        is_new = self.resumed is None  # a resumed run keeps its kernels
        if is_new and not run.finished and find_spec("numba") is None and not os.environ.get("CHARRNN_KERNELS"):
            self._say("Training is about 1.5 times as fast with numba: pip install numba")

    def _show_step(self, run: Run, step: Step) -> None:
        unit = run.model.text_config.level
        if self._bar is None:  # made after the first step, so that its time does not include the compilation of kernels
            bar = progress_bar(self.quiet, total=run.planned, initial=step.number - 1, unit=unit,
                               units_per_step=run.config.batch_size * run.config.seq_len)
            self._bar = self._exit.enter_context(contextlib.closing(bar))
        losses = f"train {run.smoothed_loss:.3f}"
        if run.history:
            losses += f", validation {run.history[-1].validation_loss:.3f}"
        self._bar.set_postfix_str(losses, refresh=False)
        self._bar.update()
        if step.validation_loss is not None and not self.quiet:
            mark = "  best" if step.is_best else ""
            self._bar.write(f"step {step.number:>7,}  epoch {step.epoch:6.2f}  train {run.smoothed_loss:.4f}  "
                            f"validation {step.validation_loss:.4f} nats/{unit}{mark}", file=standard_error)

    def _show_sample(self, run: Run, sample: Sample) -> None:
        """Print the start of a sample, without empty lines."""
        if self.quiet:
            return
        loss = "" if sample.loss is None else f"  train {sample.loss:.4f}"
        self._write(f"step {sample.step:>7,}  epoch {run.epoch:6.2f}{loss}  writes:")
        for line in sample.text[:_SHOWN].split("\n"):
            if line.strip():
                self._write(f"  | {line}", without_controls)


def _describe_model(run: Run) -> str:
    """Return a one-line summary of the model."""
    network = run.model.network
    config: ModelConfig = network.config
    layers = "" if config.layers == 1 else f"{config.layers} layers of "
    embedding = f"embedding of {config.embedding_size:,}, " if config.embedding_size else ""
    return (f"{config.cell}, {layers}{counted(config.hidden_size, 'hidden unit')}, {embedding}"
            f"{counted(network.parameters.flat.size, 'parameter')}")


def _describe_plan(run: Run) -> str:
    """Return a one-line summary of the length of training."""
    config = run.config
    unit = "byte" if run.model.text_config.level == "byte" else "character"
    return (f"{counted(run.planned, 'step')} of {config.batch_size} x {config.seq_len} {unit}s, "
            f"{counted(run.planned / run.source.windows, 'epoch')}, {counted(config.threads or 1, 'thread')}")


def counted(number: float, noun: str) -> str:
    """Return a number with its noun: "1 step", "2,000 steps", "0.525 epochs"."""
    shown = f"{number:,.0f}" if number == int(number) or number >= 1000 else f"{number:.3g}"
    return f"{shown} {noun}{'' if shown == '1' else 's'}"


def carry_out(job: Job, printer: Printer) -> None:
    """Train until the run is finished or a signal arrives, and print its result. Exits with 128 + the signal's number."""
    from charrnn.training import api

    run, was_finished = job.run, job.run.finished and job.new is None
    start = time.monotonic()
    received = api.carry_out(job, printer)
    seconds = time.monotonic() - start
    printer.close()
    place = quoted(str(job.folder.path))
    resume = f"charrnn resume {place}{' --corpus FILE' if STANDARD_INPUT in run.source.names else ''}"
    if received is not None and not run.finished:
        say(f"Stopped after step {run.step:,} of {run.planned:,} and saved. Resume with: {resume}")
        sys.exit(128 + received)
    best, quiet = run.best_record, printer.quiet
    if best is not None and run.out_of_patience and run.step < run.planned:
        end = (f"Stopped early at step {run.step:,} of {run.planned:,}: no improvement in "
               f"{counted(run.config.patience or 0, 'evaluation')} since step {best.step:,}")
        longer = f"{resume} --patience {2 * (run.config.patience or 0)}"
    else:
        end, longer = "", f"{resume} --steps {2 * run.planned}"
    if was_finished:
        say(f"{end or f'Already finished, at step {run.step:,}'}. Train longer: {longer}", quiet)
        return _print_result(run, job.split)
    if best is not None and received is None and not quiet:
        # the run is saved, and its result must still be printed
        with contextlib.suppress(KeyboardInterrupt, CharRNNError, OSError):
            say(_against_baseline(run, best.validation_loss, job.split))
            if seconds >= _LONG:
                say(_novelty(run, job.split))
    if end:
        say(end, quiet)
    say(f"Sample from it: charrnn sample {place}\nMake a page:    charrnn page {place}"
        + ("" if _memorizes(run) or printer.is_long_enough else f"\nTrain longer:   {longer}"), quiet)
    return _print_result(run, job.split)


def _against_baseline(run: Run, loss: float, split: Split) -> str:
    """Return the loss of the n-gram baseline on the validation part, and how a model with ``loss`` (nats) compares."""
    from charrnn.config import BASELINE_ORDER
    from charrnn.inference.ngram import MOST_COUNTED, baseline

    nats = baseline(split.train.ids, split.validation.ids, len(split.corpus.vocabulary)).nats
    part = f", from the last {MOST_COUNTED:,} characters of the training part" * (len(split.train) > MOST_COUNTED)
    verdict = "better" if loss <= nats else f"worse; {_advice(run, loss, len(split.corpus.vocabulary))}"
    return (f"The n-gram baseline (order {BASELINE_ORDER}{part}) reaches {nats:.4f} nats/{run.model.text_config.level}; "
            f"this model is {abs(loss - nats):.4f} {verdict}")


def _novelty(run: Run, split: Split) -> str:
    """Return how much of a generated text occurs in the training part. It takes less than two seconds."""
    from charrnn.inference.novelty import compare

    found = compare(run.best, split, most=_NOVELTY_CHARACTERS, seconds=_NOVELTY_SECONDS)
    part = f", in its last {_NOVELTY_CHARACTERS:,} characters" * (len(split.train) > _NOVELTY_CHARACTERS)
    return found.line(f"the training text{part}", run.model.text_config.level)


def _advice(run: Run, loss: float, vocabulary_size: int) -> str:
    """Return what may help a model whose best validation loss is worse than that of the baseline."""
    if loss > 1.5 * math.log(vocabulary_size):  # far worse than a guess among all characters: training diverged
        return "lower --learning-rate"
    if _memorizes(run):
        smaller = "or choose a smaller --hidden-size" if run.model.origin is None else "or lower --epochs"
        return f"it memorizes its training text: raise --dropout and --weight-drop, {smaller}"
    return "train longer, or " + ("choose a larger --hidden-size" if run.model.origin is None else "try --from none")


def _memorizes(run: Run) -> bool:
    """Return whether the validation loss has risen above its best value while the training loss is lower."""
    best = run.best_record
    return (best is not None and run.history[-1].validation_loss > 1.02 * best.validation_loss
            and run.smoothed_loss < best.validation_loss)


def _print_result(run: Run, split: Split) -> None:
    """Print the last line, on standard output: the best validation loss or, without validation, the training loss."""
    from charrnn.inference.evaluation import Evaluation, how_read

    best, unit, origin = run.best_record, run.model.text_config.level, run.model.origin
    if best is not None:
        characters = len(split.validation) - 1
        result, name = Evaluation(best.validation_loss, characters, how_read(characters),
                                  len(split.validation.starts)), "validation"
    else:
        result, name = Evaluation(run.smoothed_loss, 0, "running mean of the training loss"), "train"
    click.echo(result.marked(str(origin or "")).line(name, unit, document=run.model.text_config.unit))
