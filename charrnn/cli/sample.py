"""``charrnn sample``"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

import click

from charrnn.config import SAMPLE_LENGTH
from charrnn.errors import CharRNNError, ConfigError

if TYPE_CHECKING:
    from charrnn.training.run import Run


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
    import secrets

    from charrnn.cli._training import say_folded
    from charrnn.inference.sampling import sample_many
    from charrnn.text.files import decode, shape
    from charrnn.training.run import Run
    from charrnn.training.run_folder import checkpoint_at

    run = Run.load(checkpoint_at(run_or_checkpoint))
    reading = run.source.reading
    if prime == "-":
        data = sys.stdin.buffer.read()
        prime = data.decode("latin-1") if reading.level == "byte" else shape(decode(data, "standard input"), reading)
    else:
        prime = shape(prime, reading)
    if reading.level == "byte" and run.vocabulary.unknown is None and (missing := run.vocabulary.missing(prime)):
        raise ConfigError("prime", f"has a byte that does not stand in the training text, 0x{ord(missing[0]):02x}; leave "
                                   f"it out, or train with --min-count 2, which knows a place for such")
    if run.vocabulary.unknown is not None:
        say_folded("".join(run.vocabulary.missing(prime)))
    if reading.lines:
        if "\n" in (prime := prime.removesuffix("\n")):
            raise ConfigError("prime", "has several lines, and this model writes lines, each by itself; give one")
        prime = "\n" + prime
    turns = sample_many(run.model, run.vocabulary, count, prime=prime, length=length, temperature=temperature,
                        top_k=top_k, top_p=top_p, greedy=greedy,
                        until="\n" if reading.lines and until is None else until and shape(until, reading),
                        seed=secrets.randbits(32) if seed is None else seed)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    out = _Bytes() if reading.level == "byte" else sys.stdout
    if reading.lines:
        _write_lines(["".join(texts)[1:] for texts in zip(*turns)], run, out)
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


def _write_lines(samples: list[str], run: Run, out: TextIO | _Bytes) -> None:
    """A line each; those that are whole and were trained on are marked, if the text is still there."""
    from charrnn.cli._training import say, text_of

    lines = [sample.partition("\n")[0] for sample in samples]
    cut = sum("\n" not in sample for sample in samples)
    known = set()
    try:
        text = text_of(run, "", "", quiet=True)
        if text.fingerprint == run.source.fingerprint:
            known = text.lines_among(lines, run.config.validation, run.config.test)
        else:
            say("The training text has changed, so that lines which stand in it are not marked")
    except CharRNNError:
        say("The training text is not there, so that lines which stand in it are not marked")
    for line, sample in zip(lines, samples):
        out.write(f"{line}{'  *' if line in known and sample != line else ''}\n")
    out.flush()
    if cut:
        say(f"{cut:,} of {len(lines):,} were cut off before their line's end; give a larger --length")


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
