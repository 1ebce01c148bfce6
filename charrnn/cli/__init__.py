"""The command line: one file per command, which is imported when the command is called."""

from __future__ import annotations

import atexit
import difflib
import importlib
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import click

from charrnn import __version__
from charrnn.cli._console import option, warn
from charrnn.errors import CharRNNError, ConfigError, TrainingError, printable
from charrnn.mpi import Ranks, ranks, started_as_rank
from charrnn.system import is_lost_reader

_COMMANDS = {
    "Train": {
        "train": "Train a model on text files.",
        "resume": "Resume a run that was stopped, or train it longer.",
        "sweep": "Train with every combination of some settings.",
    },
    "Use": {
        "sample": "Generate text from a model.",
        "evaluate": "Measure how well a model predicts a text.",
        "score": "Print how surprising lines or characters are to a model.",
        "export": "Write the weights of a model for PyTorch.",
    },
    "Examine": {
        "inspect": "List runs, or show a run, a checkpoint or a model.",
        "novelty": "Measure how much a model copies its training text.",
        "plot": "Draw the loss curves of runs.",
        "page": "Write an HTML page that contains a model and runs it.",
        "baseline": "Measure how well n-grams predict a text.",
        "gradcheck": "Check the gradients of a cell numerically.",
    },
    "Texts": {
        "corpora": "List texts to train on, and download them.",
        "prepare": "Read a long text once, so that training starts sooner.",
        "cache": "List or remove the token files of long texts.",
    },
}
"""The commands, in the groups in which the help lists them."""


class _ReaderGoneError(Exception):
    """The reader of standard output has closed it. (click would report a BrokenPipeError as an error.)"""


class _Commands(click.Group):
    """The commands; the module of each is imported when the command is called."""

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        try:
            return super().make_context(*args, **settings)
        except OSError as error:
            if not is_lost_reader(error):
                raise
            raise _ReaderGoneError from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except OSError as error:
            if not is_lost_reader(error):
                raise
            raise _ReaderGoneError from None
        return result

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for group in _COMMANDS.values() for name in group]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"charrnn.cli.{name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if close := difflib.get_close_matches(args[0], self.list_commands(ctx), 1):
                raise click.UsageError(f"{error.message.rstrip('.')}. Did you mean {close[0]!r}?", ctx) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.list_commands(ctx)))
        for group, commands in _COMMANDS.items():
            with formatter.section(group):
                formatter.write_dl([(f"{name:<{width}}", summary) for name, summary in commands.items()])


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="charrnn",
                      message="%(prog)s %(version)s (distribution charrnn-np)")
@click.pass_context
def charrnn(context: click.Context) -> None:
    """Train a character-level recurrent language model on a text, and generate text from it.

    \b
    charrnn train notes.txt   train on a text for two minutes
    charrnn sample            generate text from the newest run
    charrnn COMMAND --help    show the options of a command
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Run the command line. Only this function turns errors into messages and exit codes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # the parent process may have closed them
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (open until the program ends)
    warnings.showwarning = lambda message, *_, **__: warn(str(message))
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda received, _: sys.exit(128 + received))
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until there is a run that it can save
    code = _exit_code_of(_run_as_rank if started_as_rank() else _run)
    atexit.register(_ignore_signals)
    sys.exit(code)


def _run() -> Any:
    return charrnn.main(prog_name="charrnn", standalone_mode=False)


def _run_as_rank() -> Any:
    """Run the command on rank 0 of an MPI job; the other ranks serve its calls. If a rank fails, end the job."""
    job = ranks()
    code = _exit_code_of(_serve, job) if job.number else _exit_code_of(_run)
    sys.stdout.flush()
    if code in (0, None):
        job.dismiss()
    else:
        job.abort(code if isinstance(code, int) else 1)
    return code


def _serve(job: Ranks) -> int:
    """Serve the calls of rank 0 until it has finished."""
    while True:
        try:
            job.help_out()
            return 0
        except TrainingError:  # rank 0 has the same error, reports it and ends the job
            continue


def _exit_code_of(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function, print an error that it raises, and return the exit code."""
    try:
        return function(*arguments)
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
    except _ReaderGoneError:  # discard what Python has buffered for the reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except MemoryError as error:
        click.echo(f"Error: not enough memory{': ' + str(error) if str(error) else ''}; lower --hidden-size, "
                   "--batch-size or --seq-len", err=True)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {printable(f'{where}{error.strerror or error}')}", err=True)
        return 1
    except Exception:
        if not started_as_rank():
            raise
        traceback.print_exc()
        return 1


def _usage_error(error: click.ClickException) -> str:
    """Return the message of a click error in the form of charrnn's errors, on one line: "Error: message; hint"."""
    message = re.sub(r"\s*\n\s*", " ", error.format_message().strip().rstrip("."))
    message, has_hint = re.subn(r"\. \(?(Did you mean|Choose from)(.*?)\)?$",
                                lambda match: f"; {match[1].lower()}{match[2]}", message)
    if isinstance(error, click.UsageError) and error.ctx and not has_hint:
        message += f"; see '{error.ctx.command_path} --help'"
    return f"Error: {printable(message)}"


def _ignore_signals() -> None:
    """Ignore signals while Python exits: the work is done, and a signal would only change the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
