"""``charrnn sweep``"""

from __future__ import annotations

import math
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._options import Command, Option, pick, quiet, settings
from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.errors import CharRNNError, ConfigError

if TYPE_CHECKING:
    from charrnn.training.sweep import Result


@click.command(name="sweep", cls=Command, main_options=("grid", "minutes", "hidden_size", "documents", "name"))
@click.argument("corpus", nargs=-1, type=click.Path())
@click.option("--grid", multiple=True, required=True, metavar="NAME=X,Y,...", cls=Option, group="Other",
              help="A setting and the values to try; repeat the option for more settings.")
@settings(ModelConfig)
@settings(TrainConfig)
@settings(TextConfig)
@click.option("--name", metavar="NAME", cls=Option, group="Saving",
              help="Name of the sweep's folder.  [default: CORPUS-sweep-SETTINGS]")
@click.option("--checkpoints", metavar="DIR", default="checkpoints", show_default=True, type=click.Path(), cls=Option,
              group="Saving", help="Folder for runs.")
@quiet
def command(corpus: tuple[str, ...], grid: tuple[str, ...], name: str | None, checkpoints: str,
            quiet: bool, **values: Any) -> None:
    """Train a model on CORPUS with every combination of some settings, and print a table of their results.

    Each combination is a run folder in CHECKPOINTS/NAME. The same command resumes a sweep that was stopped. Under MPI,
    ranks train at the same time: 'mpiexec -n 5 python -m mpi4py -m charrnn sweep ...' trains four runs at once, because
    rank 0 only distributes them.
    """
    from charrnn.cli._console import say
    from charrnn.cli._corpus import describe_corpus, read_corpus
    from charrnn.cli._grid import parse_grid
    from charrnn.cli._loop import counted
    from charrnn.text.corpus import DEFAULT_CORPUS
    from charrnn.training.run_folder import RunFolder
    from charrnn.training.sweep import combinations, sweep

    wanted = parse_grid(grid)
    todo = combinations(wanted, pick(ModelConfig, values), pick(TrainConfig, values))
    text_config = TextConfig(**values)
    text = read_corpus(corpus or (DEFAULT_CORPUS,), text_config, quiet)
    folder = RunFolder.at(checkpoints, name or f"{text.name}-sweep-{'-'.join(flag.replace('_', '-') for flag in wanted)}")
    if folder.exists():
        raise ConfigError("name", f"is the name of a run, {folder.path}", "choose another name for the sweep")
    say(describe_corpus(text), quiet)
    say(f"{counted(len(todo), 'run')}, in {folder.path}", quiet)
    unit = text_config.level
    results = []
    with _Progress(quiet, unit) as progress:
        for result in sweep(text, todo, folder.path, progress.show):
            progress.end(f"{result.combination.name}: {_outcome(result, unit)}", result.error is not None)
            results.append(result)
    _print(results, list(wanted), "train" if todo[0].train_config.validation == 0 else "validation", unit)
    if len(results) < len(todo) or any(result.stopped for result in results):
        say("Stopped; the same command resumes this sweep")
        sys.exit(128 + next((result.stopped for result in results if result.stopped), signal.SIGINT))
    if failed := sum(result.error is not None for result in results):
        say(f"Error: {failed} of {counted(len(results), 'run')} failed")
        sys.exit(1)


def _outcome(result: Result, unit: str) -> str:
    from charrnn.cli._console import option

    if isinstance(result.error, ConfigError):
        problem = CharRNNError(result.error.problem, result.error.hint)
        return f"failed: {option(result.error.field)}: {problem.text(option)}"
    if result.error is not None:
        return f"failed: {result.error.text(option)}"
    if result.loss is None:
        return f"stopped after step {result.steps:,} of {result.planned:,}"
    return f"{result.loss:.4f} nats/{unit}{', finished before' * result.was_finished}"


def _print(results: list[Result], names: list[str], part: str, unit: str) -> None:
    """Print the table, the best result first."""
    steps = [] if "steps" in names else ["steps"]
    header = [*(name.replace("_", "-") for name in names), *steps, f"{part} nats/{unit}", f"bits/{unit}", "run"]
    rows = [header]
    for result in sorted(results, key=lambda result: math.inf if result.loss is None else result.loss):
        losses = ["", ""] if result.loss is None else [f"{result.loss:.4f}", f"{result.loss / math.log(2):.3f}"]
        if result.error is not None:
            losses = ["failed", ""]
        values = (f"{value:g}" if isinstance(value, float) else str(value) for value in result.combination.values.values())
        rows.append([*values, *(f"{result.steps:,}" for _ in steps), *losses, result.combination.name])
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        click.echo("  ".join(f"{cell:>{width}}" for cell, width in zip(row[:-1], widths)) + f"  {row[-1]}")


class _Progress:
    """Shows a progress bar for the current run, and a line for each run that has ended."""

    def __init__(self, quiet: bool, unit: str) -> None:
        self.quiet = quiet
        self.unit = unit
        self.bar: Any = None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, event: Any) -> None:
        """Show a step in the bar, and a compilation or a warning as a line."""
        from charrnn.cli._loop import Printer
        from charrnn.training.events import CompilationStarted, StepTaken, Warned

        if isinstance(event, (CompilationStarted, Warned)):
            Printer(self.quiet)(event)
        if not isinstance(event, StepTaken):
            return
        run, step = event
        if self.bar is None:
            from charrnn.cli._console import progress_bar

            self.bar = progress_bar(self.quiet, total=run.planned, initial=step.number - 1, unit="step", leave=False)
        self.bar.set_postfix_str(f"{run.smoothed_loss:.3f} nats/{self.unit}", refresh=False)
        self.bar.update()

    def end(self, line: str, is_error: bool) -> None:
        """Remove the bar, and print a line about the run that has ended; print an error even if ``quiet``."""
        from charrnn.cli._console import say

        self.__exit__()
        self.bar = None
        say(line, self.quiet and not is_error)
