"""``charrnn sample``"""

from __future__ import annotations

import math
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._console import COMPILING, argument_text, say
from charrnn.cli._options import Command, Option
from charrnn.cli._output import Output
from charrnn.config import SAMPLE_LENGTH, check_range
from charrnn.errors import CharRNNError, ConfigError, printable

if TYPE_CHECKING:
    from charrnn.inference.language_model import LanguageModel
    from charrnn.text.corpus import Corpus
    from charrnn.text.split import Split

_SIDE_BY_SIDE, _MOST_CHARACTERS = 64, 2**20
"""Largest number of samples to generate side by side, and of their characters to keep in memory."""

_CHOICE = "Choice of characters"

_Group = tuple[int, Iterator[list[str]]]
"""The number of samples that are generated side by side, and lists of their next characters."""


@click.command(name="sample", cls=Command, main_options=("prime", "length", "count", "until", "seed", "interactive"))
@click.argument("run_or_checkpoint", type=click.Path(), required=False)
@click.option("--prime", default="", metavar="TEXT",
              help="Text to continue; '-' reads it from standard input and drops a final newline.")
@click.option("--length", type=int, default=SAMPLE_LENGTH, show_default=True, metavar="N",
              help="Characters to generate after the prime.")
@click.option("--count", type=int, default=1, show_default=True, metavar="N",
              help="Samples to generate, with a line '---' between them.")
@click.option("--until", metavar="TEXT", help="Stop after this text has been generated.")
@click.option("--seed", type=int, metavar="N", help="Random seed.  [default: a new one each time]")
@click.option("--interactive", is_flag=True, help="Read lines from standard input, and continue the text after each.")
@click.option("--temperature", type=float, default=1.0, show_default=True, metavar="X", cls=Option, group=_CHOICE,
              help="Below 1 favours likely characters, above 1 unlikely ones; 0 is greedy.")
@click.option("--top-k", type=int, metavar="N", cls=Option, group=_CHOICE,
              help="Choose only among the N most likely characters.")
@click.option("--top-p", type=float, metavar="P", cls=Option, group=_CHOICE,
              help="Choose only among the most likely characters that together have at least this probability.")
@click.option("--greedy", is_flag=True, cls=Option, group=_CHOICE, help="Always choose the most likely character.")
@click.option("--allow", metavar="CHARACTERS", cls=Option, group=_CHOICE, help="Choose only among these characters.")
@click.option("--match", metavar="REGEX", cls=Option, group=_CHOICE,
              help="Write only text that matches this regular expression as a whole.")
@click.option("--words-from-text", is_flag=True, cls=Option, group=_CHOICE,
              help="Write only words that occur in the training text.")
@click.option("--new-only", is_flag=True, cls=Option, group=_CHOICE,
              help="Write no document that occurs in the training text.")
@click.option("--best-of", type=int, metavar="N", cls=Option, group=_CHOICE,
              help="Of N samples, write the one with the lowest nats per character.")
def command(run_or_checkpoint: str | None, prime: str, length: int, count: int, until: str | None, interactive: bool,
            words_from_text: bool, new_only: bool, best_of: int | None, **choice: Any) -> None:
    """Generate text from the model of RUN_OR_CHECKPOINT.

    RUN_OR_CHECKPOINT is a run folder (whose best.h5 is used), the name of a run in checkpoints/, a checkpoint, a model
    file, or 'english', the bundled model of English prose. Without it, the newest run in checkpoints/ is used, or 'english'
    if there is no run.

    A model of documents (train --documents) writes --count whole documents. On a terminal, '  *' marks documents without
    line breaks that occur in the training part, and control characters are escaped. A model of bytes (train --level byte)
    writes bytes.
    """
    from charrnn.cli._conversation import converse
    from charrnn.cli._corpus import say_folded
    from charrnn.inference.language_model import load
    from charrnn.inference.words import words_of
    from charrnn.text.decoding import normalize

    check_range("count", count, int, least=1)
    if best_of is not None:
        check_range("best_of", best_of, int, least=1)
    path = _model_file(run_or_checkpoint)
    model = load(path)
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
    choice["seed"] = secrets.randbits(32) if choice["seed"] is None else choice["seed"]
    out = Output(is_bytes)
    if interactive:
        if is_bytes:
            raise ConfigError("interactive", "needs a model of characters, and this is one of bytes", "leave it out")
        others = {"count": count > 1, "best_of": best_of, "allow": choice.pop("allow"), "match": choice.pop("match"),
                  "words": words_from_text, "exclude": new_only}
        if used := [name for name, value in others.items() if value]:
            raise ConfigError(used[0], "cannot be combined with `interactive`", "leave out one of them")
        converse(model, prime, length, "\n" if until is None else until, out, **choice)
        return
    texts = {name: choice.pop(name) for name in ("allow", "match")}
    wanted: dict[str, Any] = {name: _argument(name, value, is_bytes) for name, value in texts.items() if value is not None}
    if words_from_text:
        wanted["words"] = words_of(_training_corpus(path, "use a run, or leave out `words`").text())
    if new_only:
        wanted["exclude"] = _training_corpus(path, "use a run, or leave out `exclude`").documents()
    if wanted:
        choice["constraint"] = model.constraint(prime, length, **wanted)
    most = max(1, min(_SIDE_BY_SIDE, _MOST_CHARACTERS // max(1, length)))

    ends = tuple(text for text in (text_config.end, until and normalize(until, text_config)) if text)

    def groups(number: int, start: int = 0) -> Iterator[_Group]:
        for first in range(0, number, most):
            size = min(most, number - first)
            yield size, model.generate(size, prime, length, until=until, first=start + first,
                                       on_compilation=lambda: say(COMPILING), **choice)

    def best(of: int) -> Iterator[_Group]:
        skipped = len(normalize(prime, text_config).removesuffix(text_config.end or ""))
        for number in range(count):
            samples = chain.from_iterable(_in_order(*group) for group in groups(of, number * of))
            yield 1, iter([[_best(model, skipped, ends, map("".join, samples))]])

    samples = groups(count) if best_of is None else best(best_of)
    if text_config.end is not None:
        _write_documents(samples, model, ends, path, out)
    else:
        _write(samples, out)


def _best(model: LanguageModel, skipped: int, ends: tuple[str, ...], samples: Iterable[str]) -> str:
    """Return the sample with the lowest nats per character after the ``skipped`` ones.

    Incomplete samples, which do not end with one of ``ends``, are considered only if all are incomplete.
    """
    texts = list(samples)
    whole = [text for text in texts if text.endswith(ends)] or texts
    scores = model.score([model.vocabulary.encode(text) for text in whole])
    means = [float(score.nats[skipped:].mean()) if len(score) > skipped else math.inf for score in scores]
    return whole[means.index(min(means))]


def _model_file(given: str | None) -> Path:
    """Return the file that contains the model, and say which model was chosen if none is given."""
    from charrnn.inference.bundled import DEFAULT_MODEL, bundled_file
    from charrnn.inference.locate import CHECKPOINTS, checkpoint_at, newest_run

    if given is not None:
        return checkpoint_at(given)
    if (newest := newest_run()) is not None:
        path, which = checkpoint_at(newest), f"Sampling from {newest}, the newest run"
    else:
        path = checkpoint_at(bundled_file())
        which = f"Sampling from the bundled model {DEFAULT_MODEL}, because {CHECKPOINTS}/ contains no run"
    say(printable(which))
    return path


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


def _write(groups: Iterator[_Group], out: Output) -> None:
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


def _write_documents(groups: Iterator[_Group], model: LanguageModel, ends: tuple[str, ...], path: Path, out: Output
                     ) -> None:
    """Write the documents, each on a line if they have no line breaks, otherwise with a line ``---`` between them.

    On a terminal, mark complete documents without line breaks that occur in the training part.
    """
    end, unit = model.text_config.end or "", model.text_config.unit
    is_single_line = model.is_single_line
    split = _training_split(path) if out.is_terminal and is_single_line else None
    count = cut = 0
    for size, turns in groups:
        samples = ["".join(sample) for sample in _in_order(size, turns)]
        documents = [sample.partition(end)[0] for sample in samples]
        copied = set() if split is None else split.training_documents(documents)
        for document, sample in zip(documents, samples):
            is_copied = document in copied and document != sample
            if count and not is_single_line:
                out.write("---\n")
            out.write(f"{document}{'  *' if is_copied else ''}\n")
            count += 1
        out.flush()
        cut += sum(not sample.endswith(ends) for sample in samples)
    if cut:
        say(f"{cut:,} of {count:,} {unit}{'s'[:count != 1]} {'was' if cut == 1 else 'were'} cut off; use a larger --length")


def _training_corpus(path: Path, advice: str) -> Corpus:
    """Return the text on which the model at ``path`` was trained. Raises CharRNNError, with a hint, if there is none."""
    from charrnn.cli._corpus import load_run, read_corpus_of

    return read_corpus_of(load_run(path, "text", advice), str(path), advice)


def _training_split(path: Path) -> Split | None:
    """Return the parts of the text on which a model was trained, if it still exists and has not changed."""
    from charrnn.training.schema import read_source

    try:
        _, _, train_config = read_source(path)
        return _training_corpus(path, "").split(train_config.validation, train_config.test)
    except CharRNNError:
        say("Training text not found or changed; documents copied from it will not be marked")
        return None
