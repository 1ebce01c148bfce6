"""Functions for all commands that read a text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli._console import option, progress_bar, say, warn
from charrnn.config import END
from charrnn.errors import RunError, with_parameters

if TYPE_CHECKING:
    from charrnn.config import TextConfig
    from charrnn.text.corpus import Corpus
    from charrnn.training.run import Run

_NAMED = 20
"""Largest number of characters that a message lists."""


def read_corpus(sources: Sequence[str], text_config: TextConfig, quiet: bool, **settings: Any) -> Corpus:
    """Read a corpus, with a progress bar if it takes longer than a second; for the settings see ``Corpus.read``."""
    from charrnn.text.corpus import Corpus

    with reading_progress(quiet) as on_bytes:
        corpus = Corpus.read(*sources, text_config=text_config, on_bytes=on_bytes, **settings)
    say_warnings(corpus)
    return corpus


def load_run(path: Path, lacks: str, advice: str) -> Run:
    """Load the run at ``path``. Raises RunError if the file contains only a model, without the ``lacks`` of a run."""
    from charrnn.inference.bundled import name_of
    from charrnn.inference.language_model import is_only_a_model
    from charrnn.training.run import Run

    if is_only_a_model(path):
        raise RunError(f"{name_of(path)}: contains only a model and no {lacks}", advice)
    return Run.load(path)


def read_corpus_of(run: Run, given: str, advice: str, quiet: bool = False) -> Corpus:
    """Read the corpus of a run that the user called ``given``; see ``prepare.corpus_of``."""
    from charrnn.training.prepare import corpus_of

    with reading_progress(quiet) as on_bytes:
        corpus = corpus_of(run.source, run.model.text_config, given, advice, on_bytes)
    say_warnings(corpus)
    return corpus


def say_warnings(corpus: Corpus) -> None:
    """Print the warnings of a corpus."""
    for warning in corpus.warnings:
        warn(with_parameters(warning, option))


@contextmanager
def reading_progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar if reading takes longer than a second; yield a function of the bytes read and the total."""
    with progress_bar(quiet, unit="B", unit_scale=True, delay=1, leave=False) as progress:
        def show(count: int, size: int) -> None:
            progress.total = size or None
            progress.update(count)

        yield show


def describe_corpus(corpus: Corpus) -> str:
    """Return a one-line summary of a corpus."""
    from charrnn.text.builtin import BUILTIN_TEXTS
    from charrnn.text.files import join_names

    names = join_names(corpus.sources)
    if names in BUILTIN_TEXTS:
        names += f" ({BUILTIN_TEXTS[names].what})"
    elif any(map(os.path.isdir, corpus.sources)):
        names += f" ({len(corpus.sizes):,} file{'s'[:len(corpus.sizes) != 1]})"
    text_config, vocabulary = corpus.text_config, corpus.vocabulary
    characters = len(vocabulary) - (vocabulary.unknown is not None) - (END in vocabulary)
    unit = "character" if text_config.level == "char" else "byte"
    text = f"{names}: {len(corpus):,} {unit}{'s'[:len(corpus) != 1]}, {characters:,} distinct"
    if text_config.min_count > 1:
        text += f" and {len(corpus.folded):,} rarer ones, replaced by the unknown character"
    if text_config.unit is not None:
        text += f", {len(corpus.starts):,} {text_config.unit}{'s'[:len(corpus.starts) != 1]}"
        if corpus.distinct:
            text += f", {corpus.distinct:,} distinct"
    return text


def say_folded(characters: str, fraction: float | None = None) -> None:
    """Print the characters of a text that were replaced by the unknown character, and their fraction of the text."""
    if characters:
        of_text = "" if fraction is None else f" ({100 * fraction:.2g} % of the text)"
        more = f" and {len(characters) - _NAMED:,} more" if len(characters) > _NAMED else ""
        say(f"Not in the vocabulary, replaced by the unknown character{of_text}: "
            f"{', '.join(map(repr, characters[:_NAMED]))}{more}")
