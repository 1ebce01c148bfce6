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
    """Read CORPUS and keep its ids in a token file, so that training on it starts in seconds.

    'train' does the same for a text of more than 16 MB. Token files are in the user's cache folder, or in $CHARRNN_CACHE.
    A token file is used for the same CORPUS with the same options, and written again if the text changes. Prints the
    path of the token file.
    """
    from charrnn.cli._console import say
    from charrnn.cli._corpus import describe_corpus, read_corpus
    from charrnn.text.files import STANDARD_INPUT

    if STANDARD_INPUT in corpus:
        raise CorpusError("standard input: cannot be read again, so no token file is kept", "pass the name of a file")
    text = read_corpus(corpus, TextConfig(**values), quiet, keep=True)
    if text.path is None:
        raise CorpusError(f"{corpus[0]}: comes with Python, so no token file is kept", "train on it directly")
    say(describe_corpus(text), quiet)
    click.echo(text.path)
