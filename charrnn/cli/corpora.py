"""``charrnn corpora``"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from charrnn.cli._options import quiet
from charrnn.cli._training import bar, say, warn
from charrnn.errors import printable
from charrnn.text.builtin import BUILT_IN
from charrnn.text.catalog import CLASSICS, FOLDER, Classic, get, names, path_of

if TYPE_CHECKING:
    from tqdm import tqdm


@click.group(name="corpora", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the texts that can be had; 'charrnn corpora get NAME' fetches one.

    Those that are built in need no fetching: 'charrnn train python-source'. The others come from the addresses that are
    listed, and are kept only if they have the SHA-256 that is listed with them.
    """
    if context.invoked_subcommand is None:
        _list()


@command.command(name="get")
@click.argument("name", type=click.Choice(names()), metavar="NAME")
@click.option("--into", metavar="DIR", default=FOLDER, show_default=True, type=click.Path(),
              help="Folder to put the text into.")
@click.option("--overwrite", is_flag=True, help="Replace another text of the same name.")
@quiet
def _get(name: str, into: str, overwrite: bool, quiet: bool) -> None:
    """Put the corpus NAME into a folder, as NAME.txt, and check it.

    Where the connection breaks, or Ctrl-C stops it, the same command goes on.
    """
    path = path_of(name, into)
    progress = _Progress(quiet)
    try:
        fresh = get(name, into, overwrite, progress.show, progress.warn)
    except KeyboardInterrupt:
        progress.close()
        say("Stopped. The same command goes on where it stopped.")
        sys.exit(130)
    finally:
        progress.close()
    click.echo(printable(f"{path}: {path.stat().st_size:,} bytes, checked{'' if fresh else '; it was there already'}"))
    say(f"Train on it: charrnn train {shlex.quote(str(path))}", quiet)


def _list() -> None:
    """A table of all corpora, then where those that are fetched come from."""
    rows = [("name", "size", "licence", "here", "what")]
    rows += [(name, _megabytes(text.size), "PSF", "yes", text.what) for name, text in BUILT_IN.items()]
    rows += [(name, _megabytes(classic.text.size), classic.licence, _here(classic), classic.what)
             for name, classic in CLASSICS.items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for name, size, licence, here, what in rows:
        click.echo(f"{name:<{widths[0]}}  {size:>{widths[1]}}  {licence:<{widths[2]}}  {here:<{widths[3]}}  {what}")
    click.echo("\nThe first two come with Python: charrnn train python-source\n"
               "The others are fetched into corpora/: charrnn corpora get NAME")
    for name, classic in CLASSICS.items():
        click.echo(f"\n{name}: {classic.fetched.size:,} bytes to fetch\n  {classic.address}\n"
                   f"  SHA-256 {classic.fetched.sha256}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _here(classic: Classic) -> str:
    """Whether the text lies in the folder, by its size."""
    path = path_of(classic.name)
    if not path.is_file():
        return "no"
    return "yes" if path.stat().st_size == classic.text.size else "other"


class _Progress:
    """A progress bar for each thing that is done."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.doing = quiet, ""
        self.bar: tqdm[NoReturn] | None = None

    def show(self, doing: str, done: int, size: int) -> None:
        if self.bar is None or doing != self.doing:
            self.close()
            self.doing = doing
            self.bar = bar(self.quiet, desc=doing, total=size, initial=done, unit="B", unit_scale=True)
        self.bar.update(done - self.bar.n)  # less than nothing where it starts again

    def warn(self, line: str) -> None:
        self.close()
        warn(line)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
