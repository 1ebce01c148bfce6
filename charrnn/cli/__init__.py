"""The command line: one file a command. What is heavy is imported when a command needs it."""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from charrnn import __version__
from charrnn.cli._console import option
from charrnn.errors import CharRNNError, ConfigError, TrainingError, printable
from charrnn.mpi import Ranks, ranks, started_as_rank

_COMMANDS = {
    "corpora": "List texts to train on, and fetch them.",
    "train": "Train a model on text files.",
    "resume": "Go on with a training that was stopped, or make it longer.",
    "sweep": "Train with every combination of some settings.",
    "sample": "Write text from a model.",
    "evaluate": "Measure how well a model predicts a text.",
    "baseline": "Measure how well counting alone predicts a text.",
    "inspect": "Show what a run or a checkpoint is.",
    "prepare": "Read a long text once, for trainings that start at once.",
    "cache": "List, or clear, what was kept of long texts.",
    "gradcheck": "Check the gradients of a cell numerically.",
}


class _ReaderGoneError(Exception):
    """Whoever read the output has seen enough. (click would make an error of it.)"""


class _Commands(click.Group):
    """The commands, each imported when it is called."""

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        try:
            return super().make_context(*args, **settings)
        except BrokenPipeError:
            raise _ReaderGoneError from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise _ReaderGoneError from None
        return result

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"charrnn.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="charrnn")
def charrnn() -> None:
    """Train a character-level recurrent language model on a text, and write text from it.

    \b
    charrnn train notes.txt                 train for two minutes
    charrnn sample checkpoints/notes-lstm-256
    charrnn COMMAND --help                  all that a command can do
    """


def main() -> None:
    """Run the command line; the one place that turns an error into a message and an exit code."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # whoever started this may have closed them
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (open to the end)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda received, _: sys.exit(128 + received))
    code = _end_of(_run_as_rank if started_as_rank() else _run)
    atexit.register(_ignore_signals)
    sys.exit(code)


def _run() -> Any:
    return charrnn.main(standalone_mode=False)


def _run_as_rank() -> Any:
    """Of an MPI job only rank 0 runs the command, and the others help. Where one fails, it ends them all."""
    job = ranks()
    code = _end_of(_help, job) if job.number else _end_of(_run)
    sys.stdout.flush()
    if code in (0, None):
        job.dismiss()
    else:
        job.abort(code if isinstance(code, int) else 1)
    return code


def _help(job: Ranks) -> int:
    while True:
        try:
            job.help_out()
            return 0
        except TrainingError:  # rank 0 has met it as well, says so, and ends the job
            continue


def _end_of(what: Callable[..., Any], *arguments: Any) -> Any:
    """The exit code with which ``what`` ends, errors turned into messages."""
    try:
        return what(*arguments)
    except SystemExit as end:
        return end.code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return 130
    except click.ClickException as error:
        click.echo(_usage_error(error), err=True)
        return error.exit_code
    except ConfigError as error:
        problem = CharRNNError(error.problem, error.hint).text(option)
        click.echo(f"Error: Invalid value for '{option(error.field)}': {problem}", err=True)
        return 2
    except CharRNNError as error:
        click.echo(f"Error: {error.text(option)}", err=True)
        return 1
    except _ReaderGoneError:  # what Python still holds back for the reader goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except MemoryError as error:
        click.echo(f"Error: not enough memory{': ' + str(error) if str(error) else ''}; give a smaller --hidden-size, "
                   "--batch-size or --seq-len", err=True)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        return 1
    except Exception:
        if not started_as_rank():
            raise
        traceback.print_exc()
        return 1


def _usage_error(error: click.ClickException) -> str:
    """Return an error of click on one line."""
    text = f"Error: {printable(error.format_message().rstrip('.'))}"
    if isinstance(error, click.UsageError) and error.ctx and "Did you mean" not in text:
        text += f"; see '{error.ctx.command_path} --help'"
    return text


def _ignore_signals() -> None:
    """Let Python end in peace: all is done, and a second Ctrl-C would only spoil the exit code, or leave a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
