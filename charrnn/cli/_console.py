"""Output of the commands on a terminal and on standard error: lines, progress, text from a model."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import click

from charrnn.errors import printable

if TYPE_CHECKING:
    from tqdm import tqdm

COMPILING = "Compiling the kernels for this machine (only the first time)"

_SECONDS_BETWEEN_LINES = 30

_OPTIONS = {"start_from": "from", "words": "words-from-text", "exclude": "new-only"}
"""Options with another name than the parameter: ``from`` is a keyword of Python, and the values of two others come from
the training text."""


def option(parameter: str) -> str:
    """Return a parameter of the library, such as ``min_count=2``, as an option: ``--min-count 2``."""
    name, _, value = parameter.partition("=")
    name = _OPTIONS.get(name, name)
    flag = f"--{'no-' * (value == 'False')}{name.replace('_', '-')}"
    return flag if value in ("", "True", "False") else f"{flag} {value.strip(chr(39))}"


def argument_text(argument: str) -> str:
    """Return an argument as text; with ``LC_ALL=C``, Python may have decoded its bytes to surrogates."""
    if any("\udc80" <= character <= "\udcff" for character in argument):
        return os.fsencode(argument).decode("utf-8", "surrogateescape")
    return argument


def without_controls(text: str) -> str:
    """Escape all control characters in text except newlines and tabs, so that it cannot control a terminal."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda match: printable(match[0]), text)


def say(message: str, quiet: bool = False, escape: Callable[[str], str] = printable) -> None:
    """Print one or more lines on standard error, each with control characters escaped, because names may contain them."""
    if not quiet:
        with _ignoring_lost_reader():
            click.echo("\n".join(map(escape, message.split("\n"))), err=True)


def warn(message: str) -> None:
    """Print a warning on one line, even with --quiet."""
    say(printable(f"Warning: {message}"))


def progress_bar(quiet: bool, units_per_step: int | None = None, **settings: Any) -> tqdm[NoReturn]:
    """Return a progress bar on standard error.

    In a file, in a pipe and on a terminal that cannot move its cursor, it prints a line every half minute instead. With
    ``units_per_step``, the bar counts steps, and shows the speed in units per second.
    """
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        @property
        def format_dict(self) -> Any:
            values = super().format_dict
            rate = values["rate"] or (values["n"] - values["initial"]) / max(values["elapsed"], 1e-9)
            return {**values, "speed": f"{rate * (units_per_step or 1):,.0f} {self.unit}/s"}

    is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if units_per_step is not None:
        settings["bar_format"] = ("{percentage:3.0f}%" + "|{bar}|" * is_terminal
                                  + " {n_fmt}/{total_fmt}{postfix}, {speed}, {remaining} left")
    if is_terminal:
        return Bar(**settings, disable=quiet, file=standard_error, dynamic_ncols=True)
    settings |= {"delay": _SECONDS_BETWEEN_LINES, "mininterval": _SECONDS_BETWEEN_LINES, "miniters": 1,
                 "ncols": 0 if units_per_step is None else None}  # with 0, tqdm ignores bar_format
    return Bar(**settings, disable=quiet, file=cast(TextIO, _LineStream()))


@contextlib.contextmanager
def _ignoring_lost_reader() -> Iterator[None]:
    """Ignore errors in writing to standard error: a run must not end because the reader has closed it."""
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class _StandardErrorStream:
    """Standard error that ignores errors in writing, because its reader may have closed it."""

    def write(self, text: str) -> None:
        with _ignoring_lost_reader():
            sys.stderr.write(text)

    def flush(self) -> None:
        with _ignoring_lost_reader():
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


class _LineStream(_StandardErrorStream):
    """Standard error for a progress bar that cannot overwrite itself: each state of the bar becomes a line."""

    def write(self, text: str) -> None:
        if line := text.strip():
            super().write(f"{line}\n")


standard_error = cast(TextIO, _StandardErrorStream())
