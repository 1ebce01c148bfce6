"""``charrnn cache``"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from charrnn.config import TextConfig


@click.command(name="cache")
@click.option("--clear", is_flag=True, help="Remove the token files. They are written again when they are needed.")
def command(clear: bool) -> None:
    """List the token files of long texts, in the user's cache folder or in $CHARRNN_CACHE."""
    from charrnn.errors import CorpusError, printable
    from charrnn.storage.cache import cache_folder
    from charrnn.text import token_file

    left, size = token_file.abandoned_files(), 0
    files = [*token_file.token_files(), *left]
    for path in files:
        size += path.stat().st_size
        if clear:
            try:
                path.unlink()
            except OSError as error:
                raise CorpusError(f"{path}: cannot be removed ({error.strerror})",
                                  "check its owner and permissions") from error
            continue
        click.echo(f"{_megabytes(path.stat().st_size)}  {printable(path.name)}")
        click.echo(f"              {'left by a process that was killed' if path in left else _described(path)}")
    click.echo(f"{_megabytes(size)}  {'removed from' if clear else 'in'} {cache_folder()}, {len(files):,} "
               f"token file{'s'[:len(files) != 1]}")


def _described(path: Path) -> str:
    from charrnn.errors import CheckpointError, printable
    from charrnn.text.files import join_names
    from charrnn.text.token_file import metadata_of

    try:
        metadata = metadata_of(path)
    except CheckpointError:
        return "corrupt; will be rebuilt"
    content = f"{join_names(metadata['sources'])}: {metadata['characters']:,} ids, {metadata['vocabulary']:,} distinct"
    return printable(", ".join([content, *_options(metadata["text"])]))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:9,.1f} MB"


def _options(text_config: dict[str, Any]) -> list[str]:
    """Return the settings that differ from their defaults, as options."""
    return [f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
            for name, value in text_config.items() if value != {item.name: item.default
                                                            for item in dataclasses.fields(TextConfig)}[name]]
