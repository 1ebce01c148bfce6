"""A conversation with a model on standard input and output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from charrnn import system
from charrnn.cli._console import option, say
from charrnn.errors import VocabularyError

if TYPE_CHECKING:
    from charrnn.cli._output import Output
    from charrnn.inference.language_model import LanguageModel


def converse(model: LanguageModel, prime: str, length: int, until: str, out: Output, **settings: Any) -> None:
    """Read lines from standard input. After each line, the model continues the text up to ``until``.

    A line break is added to each line, unless the model writes documents without line breaks. Ctrl-C ends the turn of the
    model, and Ctrl-D the conversation. The lines are read as UTF-8,
    whatever the locale is; an invalid byte becomes U+FFFD.
    """
    from charrnn.inference.session import Session

    session = Session(model, **settings)
    end = "" if model.is_single_line or "\n" not in model.vocabulary else "\n"  # a line may be the start of a document
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    is_asked = sys.stdin.isatty()
    if is_asked:
        end_key = "Ctrl-Z and Enter end" if system.IS_WINDOWS else "Ctrl-D ends"
        say(f"Write a line; the model continues the text. Ctrl-C stops it, {end_key} the conversation.")
    if prime:
        session.read(prime)
    while (line := _next_line(is_asked)) is not None:
        try:
            session.read(f"{line}{end}")
        except VocabularyError as error:
            say(f"Error: {error.text(option)}")
            continue
        last = "\n"
        try:
            for character in session.write(length, until):
                out.write(character)
                out.flush()
                last = character
        except KeyboardInterrupt:
            last = ""
        if last != "\n":
            out.write("\n")
            out.flush()


def _next_line(is_asked: bool) -> str | None:
    try:
        return input("> ") if is_asked else input()
    except EOFError:
        return None
