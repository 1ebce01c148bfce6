"""What the commands print: lines and progress bars on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import click

from charrnn.errors import printable

if TYPE_CHECKING:
    from tqdm import tqdm


def option(parameter: str) -> str:
    """Return a parameter of the library, such as ``min_count=2``, as an option: ``--min-count 2``."""
    name, _, value = parameter.partition("=")
    flag = f"--{'no-' * (value == 'False')}{name.replace('_', '-')}"
    return flag if value in ("", "True", "False") else f"{flag} {value.strip(chr(39))}"


def say(message: str, quiet: bool = False) -> None:
    """Print one or more lines on standard error; names and characters in them may come from anywhere."""
    if not quiet:
        with _ignoring_lost_reader():
            click.echo("\n".join(map(printable, message.split("\n"))), err=True)


def warn(message: str) -> None:
    """Print a warning on one line, even with --quiet."""
    say(printable(f"Warning: {message}"))


def progress_bar(quiet: bool, **settings: Any) -> tqdm[NoReturn]:
    """Return a progress bar on standard error; without a terminal it is updated every half minute."""
    from tqdm import tqdm

    return tqdm(**settings, disable=quiet, file=standard_error, dynamic_ncols=True,
                mininterval=0.1 if sys.stderr.isatty() else 30)


@contextlib.contextmanager
def _ignoring_lost_reader() -> Iterator[None]:
    """Continue if standard error cannot be written any more: that is no reason to end a training."""
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class _StandardError:
    """Standard error, which may have lost its reader."""

    def write(self, text: str) -> None:
        with _ignoring_lost_reader():
            sys.stderr.write(text)

    def flush(self) -> None:
        with _ignoring_lost_reader():
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


standard_error = cast(TextIO, _StandardError())
