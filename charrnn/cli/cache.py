"""``charrnn cache``"""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from charrnn.config import Reading


@click.command(name="cache")
@click.option("--clear", is_flag=True, help="Remove them; they are made again when they are needed.")
def command(clear: bool) -> None:
    """List the token files: what was kept of long texts, in the user's cache folder or where CHARRNN_CACHE says."""
    from charrnn import token_file
    from charrnn.errors import CheckpointError, CorpusError, printable

    files, size = token_file.listed(), 0
    for path in files:
        size += path.stat().st_size
        if clear:
            try:
                path.unlink()
            except OSError as error:
                raise CorpusError(f"{path}: cannot be removed ({error.strerror}); see whose it is") from None
            continue
        try:
            facts = token_file.facts_of(path)
            shown = f"{', '.join(facts['sources'])}: {facts['characters']:,} ids of {facts['vocabulary']:,}"
            shown += "".join(f", {option}" for option in _options(facts["reading"]))
        except CheckpointError:
            shown = "damaged, to be made anew"
        click.echo(f"{_megabytes(path.stat().st_size)}  {printable(path.name)}\n              {printable(shown)}")
    click.echo(f"{_megabytes(size)}  {'removed from' if clear else 'in'} {token_file.folder()}, {len(files):,} "
               f"token file{'s'[:len(files) != 1]}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:9,.1f} MB"


def _options(reading: dict[str, Any]) -> list[str]:
    """What is not as it is by default, as options."""
    return [f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
            for name, value in reading.items() if value != {item.name: item.default
                                                            for item in dataclasses.fields(Reading)}[name]]
