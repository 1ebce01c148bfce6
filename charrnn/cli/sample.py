"""``charrnn sample``"""

from __future__ import annotations

import codecs
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli._console import COMPILING, argument_text, say, without_controls
from charrnn.cli._options import Command, Option
from charrnn.config import SAMPLE_LENGTH, check_range
from charrnn.errors import CharRNNError, ConfigError, printable

if TYPE_CHECKING:
    from charrnn.text.corpus import Split

_SIDE_BY_SIDE, _MOST_CHARACTERS = 64, 2**20
"""Largest number of samples to generate side by side, and of their characters to keep in memory."""

_CHOICE = "Choice of characters"

_Group = tuple[int, Iterator[list[str]]]
"""The number of samples that are generated side by side, and lists of their next characters."""


@click.command(name="sample", cls=Command, main_options=("prime", "length", "count", "until", "seed"))
@click.argument("run_or_checkpoint", type=click.Path(), required=False)
@click.option("--prime", default="", metavar="TEXT",
              help="Text to continue; '-' reads it from standard input and drops a final newline.")
@click.option("--length", type=int, default=SAMPLE_LENGTH, show_default=True, metavar="N",
              help="Characters to generate after the prime.")
@click.option("--count", type=int, default=1, show_default=True, metavar="N",
              help="Samples to generate, with a line '---' between them.")
@click.option("--until", metavar="TEXT", help="Stop after this text has been generated.")
@click.option("--seed", type=int, metavar="N", help="Random seed.  [default: a new one each time]")
@click.option("--temperature", type=float, default=1.0, show_default=True, metavar="X", cls=Option, group=_CHOICE,
              help="Below 1 favours likely characters, above 1 unlikely ones; 0 is greedy.")
@click.option("--top-k", type=int, metavar="N", cls=Option, group=_CHOICE,
              help="Choose only among the N most likely characters.")
@click.option("--top-p", type=float, metavar="P", cls=Option, group=_CHOICE,
              help="Choose only among the most likely characters that together have at least this probability.")
@click.option("--greedy", is_flag=True, cls=Option, group=_CHOICE, help="Always choose the most likely character.")
def command(run_or_checkpoint: str | None, prime: str, length: int, count: int, until: str | None, seed: int | None,
            temperature: float, top_k: int | None, top_p: float | None, greedy: bool) -> None:
    """Generate text from the model of RUN_OR_CHECKPOINT.

    RUN_OR_CHECKPOINT is a run folder (whose best.h5 is used), the name of a run in checkpoints/, a checkpoint, a model
    file, or 'english', the bundled model of English prose. Without it, the newest run in checkpoints/ is used, or 'english'
    if there is no run.

    A model of lines (train --lines) writes --count whole lines. On a terminal, '  *' marks lines that occur in the
    training text, and control characters are escaped. A model of bytes (train --level byte) writes bytes.
    """
    from charrnn.cli._corpus import say_folded
    from charrnn.inference.bundled import DEFAULT_MODEL, bundled_file
    from charrnn.inference.language_model import load
    from charrnn.inference.locate import CHECKPOINTS, checkpoint_at, newest_run
    from charrnn.text.decoding import normalize

    check_range("count", count, int, least=1)
    if run_or_checkpoint is not None:
        path, which = checkpoint_at(run_or_checkpoint), ""
    elif (newest := newest_run()) is not None:
        path, which = checkpoint_at(newest), f"Sampling from {newest}, the newest run"
    else:
        path = checkpoint_at(bundled_file())
        which = f"Sampling from the bundled model {DEFAULT_MODEL}, because {CHECKPOINTS}/ contains no run"
    model = load(path)
    if which:
        say(printable(which))
    text_config, vocabulary = model.text_config, model.vocabulary
    is_bytes = text_config.level == "byte"
    prime = _standard_input(is_bytes) if prime == "-" else _argument("prime", prime, is_bytes)
    until = None if until is None else _argument("until", until, is_bytes)
    missing = vocabulary.missing(normalize(prime, text_config))
    if missing and is_bytes and vocabulary.unknown is None:
        raise ConfigError("prime", f"byte 0x{ord(missing[0]):02x} is not in the vocabulary", "remove or replace it, or "
                          "train with `min_count=2`, which adds an unknown byte")
    if vocabulary.unknown is not None:
        say_folded("".join(missing))
    seed = secrets.randbits(32) if seed is None else seed
    most = max(1, min(_SIDE_BY_SIDE, _MOST_CHARACTERS // max(1, length)))

    def groups() -> Iterator[_Group]:
        for first in range(0, count, most):
            size = min(most, count - first)
            yield size, model.generate(size, prime, length, temperature=temperature, top_k=top_k, top_p=top_p,
                                       greedy=greedy, until=until, seed=seed, first=first,
                                       on_compilation=lambda: say(COMPILING))

    out = _Output(is_bytes)
    if text_config.lines:
        _write_lines(groups(), path, out)
    else:
        _write(groups(), out)


def _argument(name: str, value: str, is_bytes: bool) -> str:
    """Return the text of an argument; a byte that is not UTF-8 becomes a surrogate, which only a byte model can read."""
    text = argument_text(value)
    surrogate = re.search("[\udc80-\udcff]", text)
    if surrogate and not is_bytes:
        raise ConfigError(name, f"byte 0x{ord(surrogate[0]) - 0xdc00:02x} is not valid UTF-8")
    return text


def _standard_input(is_bytes: bool) -> str:
    data = sys.stdin.buffer.read().removesuffix(b"\n")
    try:
        return data.decode("utf-8", "surrogateescape") if is_bytes else data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("prime", f"standard input: invalid UTF-8 at byte {error.start:,} (0x{data[error.start]:02x})",
                          "convert it to UTF-8, for example with iconv") from error


def _write(groups: Iterator[_Group], out: _Output) -> None:
    """Write the samples one after the other, with a line between them."""
    last = "\n"
    samples = chain.from_iterable(_in_order(size, turns) for size, turns in groups)
    for number, sample in enumerate(samples):
        if number:
            out.write("---\n" if last.endswith("\n") else "\n---\n")
            last = "\n"
        for text in sample:
            out.write(text)
            out.flush()
            last = text or last
    if not last.endswith("\n") and (out.is_terminal or not out.is_bytes):
        out.write("\n")
    out.flush()


def _in_order(size: int, turns: Iterator[list[str]]) -> Iterator[Iterable[str]]:
    """Yield, one after the other, samples that are generated side by side; the first one as it is generated."""
    others: list[list[str]] = [[] for _ in range(size - 1)]

    def first_sample() -> Iterator[str]:
        for first, *rest in turns:
            for sample, text in zip(others, rest):
                sample.append(text)
            yield first

    yield first_sample()
    yield from (["".join(sample)] for sample in others)


def _write_lines(groups: Iterator[_Group], path: Path, out: _Output) -> None:
    """Write a line for each sample. On a terminal, mark the complete lines that occur in the training text."""
    split = _training_split(path) if out.is_terminal else None
    count = cut = 0
    for size, turns in groups:
        samples = ["".join(sample) for sample in _in_order(size, turns)]
        lines = [sample.partition("\n")[0] for sample in samples]
        copied = set() if split is None else split.training_lines(lines)
        for line, sample in zip(lines, samples):
            is_copied = line in copied and line != sample
            out.write(f"{line}{'  *' if is_copied else ''}\n")
        out.flush()
        count += len(samples)
        cut += sum(line == sample for line, sample in zip(lines, samples))
    if cut:
        say(f"{cut:,} of {count:,} line{'s'[:count != 1]} {'was' if cut == 1 else 'were'} cut off; use a larger --length")


def _training_split(path: Path) -> Split | None:
    """Return the text on which the model at ``path`` was trained, if it still exists and has not changed."""
    from charrnn.training.prepare import corpus_of
    from charrnn.training.schema import read_source

    try:
        source, text_config, train_config = read_source(path)
        return corpus_of(source, text_config, path, "").split(train_config.validation, train_config.test)
    except CharRNNError:
        say("Training text not found or changed; lines copied from it will not be marked")
        return None


class _Output:
    """Standard output for the text of a model. A terminal gets no control characters and no incomplete characters."""

    def __init__(self, is_bytes: bool) -> None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
        self.is_bytes = is_bytes
        self.is_terminal = sys.stdout.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, text: str) -> None:
        """Write text. In a model of bytes, each character of it is one byte."""
        if self.is_bytes and not self.is_terminal:
            sys.stdout.buffer.write(text.encode("latin-1"))
            return
        if self.is_bytes:
            text = self._decoder.decode(text.encode("latin-1"))
        sys.stdout.write(without_controls(text.replace("\r", "")) if self.is_terminal else text)

    def flush(self) -> None:
        """Flush standard output."""
        sys.stdout.flush()
