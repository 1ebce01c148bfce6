"""``charrnn evaluate``"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from charrnn.cli._options import Command, Option, quiet, setting
from charrnn.config import END, TextConfig
from charrnn.errors import ConfigError, CorpusError, RunError, VocabularyError, printable

if TYPE_CHECKING:
    import numpy as np

    from charrnn.inference.evaluation import ByCharacter
    from charrnn.inference.language_model import LanguageModel

PARTS = ("train", "validation", "test")


class _Text(NamedTuple):
    """A text to evaluate: its name in the output, ids (N,), starts of documents, and a note on its figures."""

    name: str
    ids: np.ndarray
    starts: np.ndarray | None
    note: str


@click.command(name="evaluate", cls=Command)
@click.argument("run_or_checkpoint", type=click.Path())
@click.argument("texts", nargs=-1, type=click.Path(), metavar="[TEXT_FILE]...")
@click.option("--split", type=click.Choice(PARTS), metavar="PART", cls=Option, group="Text",
              help="train, validation or test: a part of the training text.  [default: validation]")
@click.option("--streams", type=int, metavar="N", cls=Option, group="Evaluation",
              help="Read the text in N parallel streams; 1 is the most exact.  [default: by length, at most 64]")
@click.option("--window", type=int, metavar="N", cls=Option, group="Evaluation",
              help="Read windows of N characters that each start without context.  [default: carry the state]")
@click.option("--by", type=click.Choice(["character"]), cls=Option, group="Evaluation",
              help="Also print a table of the characters, the largest part of the loss first.")
@setting(TextConfig, "encoding", keep_default=False, unset="as in training")
@setting(TextConfig, "errors", keep_default=False, unset="as in training")
@quiet
def command(run_or_checkpoint: str, texts: tuple[str, ...], split: str | None, streams: int | None, window: int | None,
            by: str | None, encoding: str | None, errors: str | None, quiet: bool) -> None:
    """Measure how well a model predicts a text; lower is better.

    Prints nats and bits per character, the perplexity, the size to which the model can compress the text, and how the text
    was read. RUN_OR_CHECKPOINT is a run folder (whose best.h5 is used), the name of a run in checkpoints/, a checkpoint, a
    model file or 'english', the bundled model. With the last two, pass a TEXT_FILE. Without TEXT_FILE, the text is the
    validation part of the corpus that the model was trained on, and the test part if there is one. Several files are
    evaluated one by one.
    """
    from charrnn.cli._console import progress_bar
    from charrnn.inference.evaluation import evaluate, evaluate_by_character
    from charrnn.inference.locate import checkpoint_at

    if streams is not None and window is not None:
        raise ConfigError("window", "cannot be combined with `streams`", "pass one of them")
    if split is not None and texts:
        raise ConfigError("split", "applies to the corpus of a run, not to a TEXT_FILE", "pass one of them")
    for name, value in (("encoding", encoding), ("errors", errors)):
        if value is not None and not texts:
            raise ConfigError(name, "applies only to a TEXT_FILE", "pass a TEXT_FILE too")
    path = checkpoint_at(run_or_checkpoint)
    model, parts = _files(path, texts, encoding, errors, quiet) if texts else _parts(path, run_or_checkpoint, split, quiet)
    unit, network = model.text_config.level, model.network
    for text in parts:
        with progress_bar(quiet, total=len(text.ids) - 1, unit=unit, unit_scale=True, delay=1, leave=False) as bar:
            if by is None:
                found, table = evaluate(network, text.ids, streams=streams, window=window, starts=text.starts,
                                        progress=bar.update), None
            else:
                found, table = evaluate_by_character(network, text.ids, streams=streams, window=window, starts=text.starts,
                                                     progress=bar.update)
        click.echo(printable(found.marked(text.note).line(text.name, unit, size=True,
                                                               document=model.text_config.unit)))
        if table is not None:
            _print_table(model, table)


def _files(path: Path, texts: tuple[str, ...], encoding: str | None, errors: str | None, quiet: bool
           ) -> tuple[LanguageModel, Iterator[_Text]]:
    """Return the model at ``path``, and an iterator that reads the files."""
    from charrnn.cli._corpus import read_corpus, say_folded
    from charrnn.inference.bundled import provenance
    from charrnn.inference.language_model import load
    from charrnn.training.prepare import changed

    model = load(path)

    def read() -> Iterator[_Text]:
        for name in texts:
            try:
                text = read_corpus([name], changed(model.text_config, encoding, errors), quiet, vocabulary=model.vocabulary)
            except VocabularyError as error:
                raise VocabularyError(f"{name}: {error.message}", error.hint) from error
            if len(text) < 2:
                raise CorpusError(f"{name}: has {len(text)} character, and an evaluation needs at least 2",
                                  "choose a longer text")
            say_folded(text.folded, text.unknown_fraction())
            yield _Text("text" if len(texts) == 1 else name, text.ids, text.starts, provenance(model.origin, text))

    return model, read()


def _parts(path: Path, given: str, which: str | None, quiet: bool) -> tuple[LanguageModel, Iterator[_Text]]:
    """Return the model of the run at ``path``, and the parts of its corpus to evaluate."""
    from charrnn.cli._corpus import load_run, read_corpus_of

    run = load_run(path, "text", "pass a TEXT_FILE")
    parts = dict(zip(PARTS, run.split(read_corpus_of(run, given, "pass a TEXT_FILE", quiet)).parts))
    wanted = [which] if which else [name for name in ("test", "validation") if len(parts[name])]
    if not wanted or not len(parts[wanted[0]]):
        raise RunError(f"{given}: was trained without a {which or 'validation'} part",
                       "pass a TEXT_FILE or another `split`")
    note = str(run.model.origin or "")
    return run.model, (_Text(name, parts[name].ids, parts[name].starts, note) for name in wanted)


def _print_table(model: LanguageModel, table: ByCharacter) -> None:
    """Print a row for each character that occurs, with its part of the text and of the loss."""
    import numpy as np

    counts, nats = table
    click.echo(f"{'character':<10}{'count':>12}{'nats':>9}{'bits':>9}{'of text':>9}{'of loss':>9}")
    for k in np.argsort(-nats, kind="stable"):
        if counts[k]:
            mean = nats[k] / counts[k]
            click.echo(f"{_name(model, int(k)):<10}{counts[k]:>12,}{mean:>9.4f}{mean / np.log(2):>9.3f}"
                       f"{counts[k] / counts.sum():>9.2%}{nats[k] / nats.sum():>9.2%}")


def _name(model: LanguageModel, number: int) -> str:
    """Return a character so that it is visible: quoted if it is a space or cannot be printed."""
    if number == model.vocabulary.unknown:
        return "unknown"
    character = model.vocabulary.characters[number]
    if character == END:
        return "end"
    is_visible = character.isprintable() and not character.isspace()
    if model.text_config.level == "byte":
        is_visible = is_visible and character.isascii()
    return character if is_visible else ascii(character)
