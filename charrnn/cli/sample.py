"""``charrnn sample``"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import click

from charrnn.config import SAMPLE_LENGTH
from charrnn.errors import CharRNNError, ConfigError


@click.command(name="sample")
@click.argument("run_or_checkpoint", type=click.Path())
@click.option("--length", type=int, default=SAMPLE_LENGTH, show_default=True, metavar="N",
              help="Characters to write after the prime.")
@click.option("--temperature", type=float, default=1.0, show_default=True, metavar="X",
              help="Below 1 the likely becomes likelier, above 1 less so.")
@click.option("--top-k", type=int, metavar="N", help="Draw from the N likeliest characters only.  [default: from all]")
@click.option("--top-p", type=float, metavar="X",
              help="Draw from the fewest characters that together have this probability.  [default: from all]")
@click.option("--greedy", is_flag=True, help="Take the likeliest character each time instead of drawing.")
@click.option("--prime", default="", metavar="TEXT", help="Text to go on from; '-' reads it from standard input.")
@click.option("--until", metavar="TEXT", help="Stop once this text has been written.")
@click.option("--count", type=int, default=1, show_default=True, metavar="N",
              help="Samples to write, a line '---' between them.")
@click.option("--seed", type=int, metavar="N", help="The same seed gives the same text.  [default: another each time]")
def command(run_or_checkpoint: str, length: int, temperature: float, top_k: int | None, top_p: float | None, greedy: bool,
            prime: str, until: str | None, count: int, seed: int | None) -> None:
    """Write text from the model of RUN_OR_CHECKPOINT: a run folder, whose best.h5 is taken, or a checkpoint.

    A model of lines (train --lines) writes whole lines, --count of them; '  *' marks those that stand in the training
    text. A model of bytes (train --level byte) writes bytes.
    """
    from charrnn.cli._corpus import say_folded
    from charrnn.inference.language_model import load
    from charrnn.inference.locate import checkpoint_at
    from charrnn.text.decoding import decode, normalize

    path = checkpoint_at(run_or_checkpoint)
    model = load(path)
    text_config, vocabulary = model.text_config, model.vocabulary
    if prime == "-":
        data = sys.stdin.buffer.read()
        prime = (data.decode("utf-8", "surrogateescape") if text_config.level == "byte" else decode(data, "standard input"))
    missing = vocabulary.missing(normalize(prime, text_config))
    if missing and text_config.level == "byte" and vocabulary.unknown is None:
        raise ConfigError("prime", f"has a byte that does not stand in the training text, 0x{ord(missing[0]):02x}; leave "
                                   f"it out, or train with --min-count 2, which knows a place for such")
    if vocabulary.unknown is not None:
        say_folded("".join(missing))
    turns = model.generate(count, prime, length, temperature=temperature, top_k=top_k, top_p=top_p, greedy=greedy,
                           until=until, seed=seed)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    out = _Bytes() if text_config.level == "byte" else sys.stdout
    if text_config.lines:
        _write_lines(["".join(texts) for texts in zip(*turns)], path, out)
    else:
        _write(turns, count, out)


def _write(turns: Iterator[list[str]], count: int, out: TextIO | _Bytes) -> None:
    """The first sample as it comes, then the others, with a line between them."""
    others: list[list[str]] = []
    last = "\n"
    for first, *rest in turns:
        out.write(first)
        last = first or last
        out.flush()
        others.append(rest)
    for number in range(count - 1):
        text = "".join(rest[number] for rest in others)
        out.write(f"{'' if last.endswith(chr(10)) else chr(10)}---\n{text}")
        last = text or last
    if not last.endswith("\n") and (out is sys.stdout or sys.stdout.isatty()):
        out.write("\n")
    out.flush()


def _write_lines(samples: list[str], path: Path, out: TextIO | _Bytes) -> None:
    """Write a line for each sample; complete lines that occur in the training text are marked, if it is still there."""
    from charrnn.cli._console import say

    lines = [sample.partition("\n")[0] for sample in samples]
    cut = sum("\n" not in sample for sample in samples)
    known = _training_lines(path, lines)
    for line, sample in zip(lines, samples):
        out.write(f"{line}{'  *' if line in known and sample != line else ''}\n")
    out.flush()
    if cut:
        say(f"{cut:,} of {len(lines):,} were cut off before their line's end; give a larger --length")


def _training_lines(path: Path, lines: list[str]) -> set[str]:
    """Return those of the lines that occur in the text on which the model at ``path`` was trained."""
    from charrnn.cli._console import say
    from charrnn.training.prepare import corpus_of
    from charrnn.training.schema import read_source

    try:
        source, text_config, train_config = read_source(path)
        text = corpus_of(source, text_config, path, "")
    except CharRNNError:
        say("Training text not found or changed; lines copied from it will not be marked")
        return set()
    return text.split(train_config.validation, train_config.test).training_lines(lines)


class _Bytes:
    """Standard output for characters that stand for bytes; a terminal gets them as UTF-8, and never half a character."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace") if sys.stdout.isatty() else None

    def write(self, text: str) -> None:
        data = text.encode("latin-1")
        if self._decoder is None:
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(self._decoder.decode(data))

    def flush(self) -> None:
        sys.stdout.flush()
