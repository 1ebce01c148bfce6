"""``charrnn corpora``"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from charrnn.cli._console import progress_bar, say, warn
from charrnn.cli._options import quiet
from charrnn.errors import printable
from charrnn.system import quoted
from charrnn.text.builtin import BUILTIN_TEXTS
from charrnn.text.catalog import CATALOG, DEFAULT_FOLDER, Entry, corpus_names, fetch, path_of

if TYPE_CHECKING:
    from tqdm import tqdm


@click.group(name="corpora", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the available texts; 'charrnn corpora get NAME' downloads one.

    Built-in texts need no download: 'charrnn train python-source'. The others are downloaded from the listed addresses,
    and kept only if their SHA-256 matches the listed one.
    """
    if context.invoked_subcommand is None:
        _list()


@command.command(name="get")
@click.argument("name", type=click.Choice(corpus_names()), metavar="NAME")
@click.option("--into", metavar="DIR", default=DEFAULT_FOLDER, show_default=True, type=click.Path(),
              help="Folder for the text.")
@click.option("--overwrite", is_flag=True, help="Replace a different file of that name.")
@quiet
def _get(name: str, into: str, overwrite: bool, quiet: bool) -> None:
    """Download the corpus NAME into a folder as NAME.txt, and verify it.

    If the connection breaks, the download is retried a few times. If it fails, or if Ctrl-C stops it, no partial file
    remains.
    """
    path = path_of(name, into)
    progress = _Progress(quiet)
    try:
        new = fetch(name, into, overwrite, progress.show, progress.warn)
    finally:
        progress.close()
    click.echo(printable(f"{path}: {path.stat().st_size:,} bytes, verified{'' if new else '; it already exists'}"))
    say(f"Train on it: charrnn train {quoted(str(path))}", quiet)


def _list() -> None:
    """Show a table of all corpora, then the address, size and SHA-256 of each download."""
    rows = [("name", "size", "licence", "local", "description")]
    rows += [(name, _megabytes(text.size), "PSF", "yes", text.what) for name, text in BUILTIN_TEXTS.items()]
    rows += [(name, _megabytes(entry.text.size), entry.licence, _here(entry), entry.what)
             for name, entry in CATALOG.items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for name, size, licence, here, what in rows:
        click.echo(f"{name:<{widths[0]}}  {size:>{widths[1]}}  {licence:<{widths[2]}}  {here:<{widths[3]}}  {what}")
    click.echo("\nThe first two come with Python: charrnn train python-source\n"
               "The others are downloaded into corpora/: charrnn corpora get NAME")
    for name, entry in CATALOG.items():
        click.echo(f"\n{name}: {entry.fetched.size:,} bytes to download\n  {entry.address}\n"
                   f"  SHA-256 {entry.fetched.sha256}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _here(entry: Entry) -> str:
    """Return whether the text is in the default folder; "other" if a file of its name has another size."""
    path = path_of(entry.name)
    if not path.is_file():
        return "no"
    return "yes" if path.stat().st_size == entry.text.size else "other"


class _Progress:
    """Shows one progress bar for each action."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.action = ""
        self.bar: tqdm[NoReturn] | None = None

    def show(self, action: str, done: int, size: int) -> None:
        if self.bar is None or action != self.action:
            self.close()
            self.action = action
            self.bar = progress_bar(self.quiet, desc=action, total=size, initial=done, unit="B", unit_scale=True)
        self.bar.update(done - self.bar.n)

    def warn(self, line: str) -> None:
        self.close()
        warn(line)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
