"""``charrnn score``"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from charrnn.cli._console import say, warn
from charrnn.cli._options import setting
from charrnn.config import END, TextConfig, check_range
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.inference.rows import Row
    from charrnn.inference.scoring import Score


@click.command(name="score")
@click.argument("run_or_checkpoint", type=click.Path())
@click.argument("texts", metavar="[TEXT]...", nargs=-1, type=click.Path())
@click.option("--by", type=click.Choice(["character", "line", "document", "text"]),
              help="The parts to print.  [default: document, or line for a continuous text]")
@click.option("--format", "form", type=click.Choice(["table", "csv", "jsonl"]), default="table", show_default=True,
              help="Print a table, comma-separated values or JSON Lines.")
@click.option("--top", type=int, metavar="N", help="Print only the N lines or documents with the highest sums.")
@setting(TextConfig, "encoding", keep_default=False, unset="as in training")
@setting(TextConfig, "errors", keep_default=False, unset="as in training")
def command(run_or_checkpoint: str, texts: tuple[str, ...], by: str | None, form: str, top: int | None,
            encoding: str | None, errors: str | None) -> None:
    """Print how surprising texts are to a model: negative log-probabilities, in nats and bits.

    RUN_OR_CHECKPOINT is a run folder (whose best.h5 is used), the name of a run in checkpoints/, a checkpoint, a model file
    or 'english', the bundled model. TEXT is a text file; each file of a folder is a text. Without TEXT, or for '-', the
    text is standard input, and each line is scored when it arrives.

    The sum of a line includes its line break, and that of a document its end mark. Characters that the model does not know
    are left out of the sums, and counted. In a continuous text, the state is carried from line to line; in a model of
    documents (train --documents), each document starts from the zero state. A file of more than 100,000 characters is read
    in parallel streams. With --top, a terminal shows characters with a probability below 1 % in colour.
    """
    from charrnn.cli._corpus import reading_progress
    from charrnn.cli._rows import FORMATS
    from charrnn.inference.blockwise import BlockScores
    from charrnn.inference.language_model import load
    from charrnn.inference.locate import checkpoint_at
    from charrnn.inference.rows import BY
    from charrnn.text.files import STANDARD_INPUT, find_files
    from charrnn.text.reader import text_blocks
    from charrnn.text.record import TextFile
    from charrnn.training.prepare import changed

    if top is not None:
        check_range("top", top, int, least=1)
        if by not in ("line", "document", None):
            raise ConfigError("top", f"applies to lines and documents, and cannot be combined with `by={by}`",
                              "leave out one of them")
    model = load(checkpoint_at(run_or_checkpoint))
    has_marks = model.text_config.end == END
    if by == "document" and model.text_config.end is None:
        raise ConfigError("by", "`by=document` needs a model of documents, and this one has a continuous text",
                          "use `by=line`")
    if by in (None, "document"):
        by = "document" if has_marks else "line"
    elif by == "line" and has_marks:
        raise ConfigError("by", "`by=line` cannot be used with this model, because its documents may contain several lines",
                          "use `by=document`")
    text_config = changed(model.text_config, encoding, errors)
    files = [str(file) for file in find_files(texts or [STANDARD_INPUT], text_config.glob)]
    output = FORMATS[form](by, files, text_config.level == "byte", top is not None)
    summary = _Summary(by)

    def blocks(name: str) -> Iterator[str]:
        file = TextFile.of(name)
        if name == STANDARD_INPUT:
            yield from text_blocks(file, text_config, live=True)
            return
        with reading_progress(False) as on_bytes:
            yield from text_blocks(file, text_config, on_bytes=lambda count: on_bytes(count, file.limit or 0))

    def flushing(scores: BlockScores) -> Iterator[Score]:
        for score in scores:
            yield score
            output.flush()

    def rows() -> Iterator[tuple[str, Row]]:
        for number, name in enumerate(files, 1):
            scores = BlockScores(model, blocks(name), live=name == STANDARD_INPUT)
            for row in BY[by](flushing(scores), number if by == "text" else 1):
                summary.add(row)
                yield name, row
            summary.end_text(scores.streams)

    output.head()
    output.flush()
    if top is None:
        chosen = rows()
    else:  # a copy, because the nats of a row are a view of those of a whole block
        copies = ((name, row._replace(each=row.each.copy())) for name, row in rows())
        chosen = iter(heapq.nlargest(top, copies, key=lambda item: item[1].nats))
    for name, row in chosen:
        output.row(name, row)
    output.flush()
    say(summary.line(text_config.level, str(model.origin or "")))
    if warning := summary.warning():
        warn(warning)


class _Summary:
    """The total of all rows, and how the texts were read."""

    def __init__(self, by: str) -> None:
        self._by = by
        self._texts = self._rows = self._characters = self._unknown = 0
        self._nats = 0.0
        self._streams: set[int] = set()
        self._counts: set[int] = set()  # of unknown characters, in each line, document or text
        self._before = 0

    def add(self, row: Row) -> None:
        self._rows += 1
        self._characters += row.characters
        self._unknown += row.unknown
        self._nats += 0 if math.isnan(row.nats) else row.nats
        if self._by != "character":
            self._counts.add(row.unknown)

    def end_text(self, streams: int) -> None:
        self._texts += 1
        self._streams.add(streams)
        if self._by == "character":
            self._counts.add(self._unknown - self._before)
        self._before = self._unknown

    def line(self, level: str, origin: str) -> str:
        """Return one line: ``2 lines, 17 characters (1 unknown): 41.2019 nats, ... (carried, 1 stream)``."""
        unit = "character" if level == "char" else "byte"
        counts = [(self._texts, "text")] * (self._texts > 1) + [(self._rows, self._by)] * (self._by in ("line", "document"))
        shown = ", ".join(f"{count:,} {noun}{'s'[:count != 1]}" for count, noun in [*counts, (self._characters, unit)])
        known = self._characters - self._unknown
        mean = f", {self._nats / known:.4f} nats/{level}" if known else ""
        streams = " to ".join(f"{count:,}" for count in sorted({min(self._streams), max(self._streams)}))
        how = f"carried, {streams} stream{'s'[:streams != '1']}" + f", {origin}" * bool(origin)
        return (f"{shown}{f' ({self._unknown:,} unknown)' * bool(self._unknown)}: {self._nats:.4f} nats, "
                f"{self._nats / math.log(2):.4f} bits{mean}  ({how})")

    def warning(self) -> str:
        """Return a warning if sums cannot be compared, because they leave out different numbers of characters."""
        if len(self._counts) < 2:
            return ""
        parts = f"{self._by}s" if self._by in ("line", "document") else "texts"
        return (f"the {parts} contain different numbers of unknown characters ({min(self._counts):,} to "
                f"{max(self._counts):,}), which are left out, so their sums cannot be compared")
