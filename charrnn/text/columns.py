"""One column of CSV, TSV and JSON Lines files, as documents."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import PurePath

from charrnn.config import END
from charrnn.errors import CorpusError

_JSON = (".jsonl", ".ndjson", ".json")
_COMPRESSED = (".gz", ".bz2", ".xz")
_DELIMITERS = ",\t;"
_BLOCK = 2**18
_NAMES_SHOWN = 20


def values_of(blocks: Iterable[str], name: str, column: str) -> Iterator[str]:
    """Yield the values of a column, each followed by an end mark, in blocks. Rows without a value are left out.

    ``blocks`` are the text of the file ``name``: JSON Lines if its suffix is .jsonl, .ndjson or .json, otherwise CSV with
    a header. The delimiter is the comma, the tab or the semicolon, whichever occurs most often in the header. Raises
    CorpusError if a row is invalid or there is no such column.
    """
    values = (_json_values if _suffix(name) in _JSON else _csv_values)(_lines(blocks), name, column)
    while block := list(_taken(values)):
        yield END.join([*block, ""])


def looks_like_columns(name: str) -> bool:
    """Return whether the name of a file says that it contains columns."""
    return _suffix(name) in (".csv", ".tsv", ".jsonl", ".ndjson")


def _suffix(name: str) -> str:
    path = PurePath(name)
    return (path.with_suffix("") if path.suffix in _COMPRESSED else path).suffix.lower()


def _taken(values: Iterator[str]) -> Iterator[str]:
    """Yield the next values, about ``_BLOCK`` characters."""
    size = 0
    for value in values:
        yield value
        size += len(value) + 1
        if size > _BLOCK:
            return


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    rest: list[str] = []
    for block in blocks:
        first, *others = block.split("\n")
        rest.append(first)
        for line in others:
            yield "".join(rest) + "\n"
            rest = [line]
    if last := "".join(rest):
        yield last


def _csv_values(lines: Iterator[str], name: str, column: str) -> Iterator[str]:
    header = next(lines, "")
    delimiter = max(_DELIMITERS, key=header.count)
    csv.field_size_limit(2**31 - 1)  # the default of 131,072 characters is too small for texts
    rows = csv.reader(chain([header], lines), delimiter=delimiter, strict=True)
    try:
        columns = next(rows, [])
        if column not in columns:
            raise _no_column(name, column, columns)
        index = columns.index(column)
        for row in rows:
            if len(row) > index:
                yield row[index]
    except csv.Error as error:
        raise CorpusError(f"{name}: line {rows.line_num:,} is not valid CSV ({error})",
                          "check the quotation marks in that line") from error


def _json_values(lines: Iterator[str], name: str, column: str) -> Iterator[str]:
    keys: dict[str, None] = {}
    found = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{name}: line {number:,} is not valid JSON", "use JSON Lines: one object on each line"
                              ) from error
        if not isinstance(row, dict):
            raise CorpusError(f"{name}: line {number:,} is not a JSON object", "use JSON Lines: one object on each line")
        if len(keys) <= _NAMES_SHOWN:
            keys |= dict.fromkeys(row)
        found = found or column in row
        value = row.get(column)
        if isinstance(value, (dict, list)):
            raise CorpusError(f"{name}: {column!r} in line {number:,} is an object or an array",
                              "choose a column of strings or numbers")
        if value is not None:
            yield _encodable(value if isinstance(value, str) else json.dumps(value), name, number)
    if not found:
        raise _no_column(name, column, list(keys))


def _encodable(value: str, name: str, number: int) -> str:
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise CorpusError(f"{name}: line {number:,} contains surrogates, which are not characters",
                              "correct the escapes in that line") from error
    return value


def _no_column(name: str, column: str, columns: list[str]) -> CorpusError:
    more = " and others" if len(columns) > _NAMES_SHOWN else ""
    return CorpusError(f"{name}: has no column {column!r}",
                       f"its columns are {', '.join(map(repr, columns[:_NAMES_SHOWN]))}{more}" if columns else
                       "use a file with a header")
