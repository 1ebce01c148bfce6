"""``charrnn prepare``"""

from __future__ import annotations

from typing import Any

import click

from charrnn.cli._options import Command, quiet, settings
from charrnn.config import TextConfig
from charrnn.errors import CorpusError


@click.command(name="prepare", cls=Command)
@click.argument("corpus", nargs=-1, required=True, type=click.Path())
@settings(TextConfig)
@quiet
def command(corpus: tuple[str, ...], quiet: bool, **values: Any) -> None:
    """Read CORPUS and keep it as a token file, from which a training starts in seconds.

    'train' does so by itself for a text of more than 16 MB. A token file lies in the user's cache folder (or where
    CHARRNN_CACHE says), is found by the same CORPUS and the same options, and is made anew when the text changes.
    Standard output gets its path.
    """
    from charrnn.cli._console import say
    from charrnn.cli._corpus import describe_corpus, read_corpus
    from charrnn.text.files import STANDARD_INPUT

    if STANDARD_INPUT in corpus:
        raise CorpusError("standard input: cannot be found again, so that no token file is kept of it; name a file")
    text = read_corpus(corpus, TextConfig(**values), quiet, keep=True)
    if text.path is None:
        raise CorpusError(f"{corpus[0]}: comes with Python, so that no token file is kept of it; train on it as it is")
    say(describe_corpus(text), quiet)
    click.echo(text.path)
