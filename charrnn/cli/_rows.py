"""The rows of ``charrnn score`` as a table, as CSV and as JSON Lines."""

from __future__ import annotations

import codecs
import csv
import json
import math
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from charrnn.config import END
from charrnn.errors import printable

if TYPE_CHECKING:
    from charrnn.inference.rows import Row

FIELDS = ("source", "number", "text", "characters", "nats", "bits", "unknown")

_SURPRISING = -math.log(0.01)
"""Characters with a probability below 1 % are highlighted."""


class Output:
    """Writes rows on standard output.

    ``sources`` are the names of all texts. ``is_bytes`` says that the model is one of bytes. With ``highlight``, a table on
    a terminal shows surprising characters in colour.
    """

    def __init__(self, by: str, sources: list[str], is_bytes: bool, highlight: bool = False) -> None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
        self.by = by
        self.sources = sources
        self.is_bytes = is_bytes
        self.highlight = highlight
        self.is_terminal = sys.stdout.isatty()

    def head(self) -> None:
        """Write what comes before the first row."""

    def row(self, source: str, row: Row) -> None:
        """Write a row of the text ``source``."""
        raise NotImplementedError

    def values(self, source: str, row: Row) -> tuple[Any, ...]:
        """Return the values of the ``FIELDS`` of a row; what does not exist is None."""
        text = "" if row.text == END else row.text if row.text is None or not self.is_bytes else _decoded(row.text)
        figures = (None, None) if math.isnan(row.nats) else (row.nats, row.bits)
        return source, row.number, text, row.characters, *figures, row.unknown

    def flush(self) -> None:
        """Flush standard output."""
        sys.stdout.flush()


class JsonLines(Output):
    """One JSON object on each line. Characters other than printable ASCII are escaped."""

    def row(self, source: str, row: Row) -> None:
        sys.stdout.write(json.dumps(dict(zip(FIELDS, self.values(source, row)))) + "\n")


class Csv(Output):
    """Comma-separated values with a header. On a terminal, control characters are escaped.

    All texts are quoted, because the module ``csv`` would not quote one that contains only a carriage return.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._write = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerow

    def head(self) -> None:
        self._write(FIELDS)

    def row(self, source: str, row: Row) -> None:
        values = self.values(source, row)
        self._write([printable(value) if isinstance(value, str) else value for value in values] if self.is_terminal
                    else values)


class Table(Output):
    """A table with columns of fixed width, so that each row can be printed as it comes, and escaped text at the end."""

    def __init__(self, by: str, sources: list[str], *arguments: Any) -> None:
        super().__init__(by, sources, *arguments)
        has_colour = self.is_terminal and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
        self._highlight = self.highlight and has_colour
        self._sources = {source: printable(source) for source in sources} if len(sources) > 1 and by != "text" else {}
        self._width = max(map(len, [*self._sources.values(), "source"]))

    def head(self) -> None:
        count = "" if self.by == "character" else f"{'characters':>12}{'unknown':>9}"
        number, last = {"character": ("number", "character"), "line": ("line", "text"), "document": ("document", "text"),
                        "text": ("text", "source")}[self.by]
        self._write("source", f"{number:>8}{count}{'nats':>14}{'bits':>14}  {last}")

    def row(self, source: str, row: Row) -> None:
        count = "" if self.by == "character" else f"{row.characters:>12,}{row.unknown:>9,}"
        figures = f"{'unknown':>14}{'':14}" if math.isnan(row.nats) else f"{row.nats:>14.4f}{row.bits:>14.4f}"
        text = self._text(row) if row.text is not None else printable(source)
        self._write(self._sources.get(source, ""), f"{row.number:>8}{count}{figures}  {text}")

    def _write(self, source: str, rest: str) -> None:
        line = f"{source:<{self._width}}{rest}" if self._sources else rest
        sys.stdout.write(line.rstrip(" ") + "\n")

    def _text(self, row: Row) -> str:
        text = row.text or ""
        if text == END:
            return "end"
        if self.by == "character":
            return repr(text.encode("latin-1") if self.is_bytes else text)
        if self._highlight:
            return self._highlighted(text, row.each.tolist())
        return printable(_decoded(text) if self.is_bytes else text)

    def _highlighted(self, text: str, each: list[float]) -> str:
        """Return the escaped text with surprising characters in colour; a surprising line break is shown as an escape."""
        if len(each) > len(text) and each[-1] > _SURPRISING:
            text += "\n"
        parts = _byte_groups(text, each) if self.is_bytes else zip(text, each)
        return "".join(click.style(printable(part), fg="red", bold=True) if nats > _SURPRISING else printable(part)
                       for part, nats in parts)


FORMATS = {"table": Table, "csv": Csv, "jsonl": JsonLines}


def _decoded(data: str) -> str:
    """Decode the text of a model of bytes as UTF-8; bytes that are not valid become escapes."""
    return data.encode("latin-1").decode("utf-8", "backslashreplace")


def _byte_groups(data: str, each: list[float]) -> Iterator[tuple[str, float]]:
    """Yield the characters that the bytes of ``data`` encode, and the largest nats of their bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    largest = 0.0
    for position, (byte, nats) in enumerate(zip(data, each), 1):
        largest = max(largest, nats)  # an unknown byte (NaN) does not count
        if text := decoder.decode(byte.encode("latin-1"), position == len(data)):
            yield text, largest
            largest = 0.0
