"""What the commands that read a text have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from charrnn.cli._console import progress_bar, say

if TYPE_CHECKING:
    from charrnn.config import TextConfig
    from charrnn.text.corpus import Corpus

_NAMED = 20
"""Number of characters that a message names."""


def read_corpus(sources: Sequence[str], text_config: TextConfig, quiet: bool, **settings: Any) -> Corpus:
    """Read a corpus, with a progress bar if it takes longer than a second; for the settings see ``Corpus.read``."""
    from charrnn.text.corpus import Corpus

    with reading_progress(quiet) as on_bytes:
        return Corpus.read(*sources, text_config=text_config, on_bytes=on_bytes, **settings)


@contextmanager
def reading_progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar if reading takes longer than a second; give the function to call with bytes read and in all."""
    with progress_bar(quiet, unit="B", unit_scale=True, delay=1, leave=False) as progress:
        def show(count: int, size: int) -> None:
            progress.total = size or None
            progress.update(count)

        yield show


def describe_corpus(corpus: Corpus) -> str:
    """Return what a corpus is, on one line."""
    from charrnn.text.builtin import BUILTIN_TEXTS
    from charrnn.text.files import join_names

    names = join_names(corpus.sources)
    if names in BUILTIN_TEXTS:
        names += f" ({BUILTIN_TEXTS[names].what})"
    text_config, characters = corpus.text_config, len(corpus.vocabulary) - (corpus.vocabulary.unknown is not None)
    unit = "characters" if text_config.level == "char" else "bytes"
    text = f"{names}: {len(corpus):,} {unit}, {characters:,} different"
    if text_config.min_count > 1:
        text += f" and {len(corpus.folded):,} rarer ones, taken for one"
    if text_config.lines or text_config.reset_at_files:
        text += f", {len(corpus.starts):,} {'lines' if text_config.lines else 'files'}"
    return text


def say_folded(characters: str, fraction: float | None = None) -> None:
    """Say which characters of a text were replaced by the unknown one, and which fraction of it they were."""
    if characters:
        of_it = "" if fraction is None else f" ({100 * fraction:.2g} % of the text)"
        more = f" and {len(characters) - _NAMED:,} more" if len(characters) > _NAMED else ""
        say(f"Unknown to the model, and taken for one{of_it}: {', '.join(map(repr, characters[:_NAMED]))}{more}")
