"""The errors that charrnn reports. Each is one line that says what is wrong, where, and what to do about it.

::

    CharRNNError
      ConfigError         a setting is out of range, or settings cannot be combined
      CorpusError         a text cannot be read or used
      DownloadError       a text cannot be fetched
      VocabularyError     a character is not in the vocabulary
      CheckpointError     a file is not a valid checkpoint
      RunError            a run folder cannot be created, found or resumed
      TrainingError       training cannot continue
"""

from __future__ import annotations

import re
from collections.abc import Callable


def printable(text: str) -> str:
    """Return ``text`` with unprintable characters escaped, because it may quote arbitrary input."""
    if text.isprintable():  # much faster
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def with_parameters(text: str, parameter: Callable[[str], str] = str) -> str:
    """Return ``text`` with each parameter in backticks replaced by the result of ``parameter``."""
    return re.sub(r"`([a-z][a-z0-9_]*(?:=[^`]*)?)`", lambda match: parameter(match[1]), text)


def check_type(name: str, value: object, *types: type) -> None:
    """Raise TypeError for the argument ``name`` unless its value has one of the types."""
    if not isinstance(value, types):
        expected = " or ".join(item.__name__ for item in types)
        raise TypeError(f"{name} must be of type {expected}, not {type(value).__name__}")


class CharRNNError(Exception):
    """The base class of all errors of charrnn. ``str(error)`` is one line, whatever names and values it quotes.

    ``message`` says what is wrong and where, ``hint`` what to do about it. In both, parameters are in backticks, with
    Python syntax: "lower `learning_rate`", "pass `errors='replace'`". The command line shows them as options.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def text(self, parameter: Callable[[str], str] = str) -> str:
        """Return message and hint on one line, with each parameter replaced by the result of ``parameter``."""
        return printable(with_parameters(self.message if self.hint is None else f"{self.message}; {self.hint}", parameter))

    def __str__(self) -> str:
        return self.text()


class ConfigError(CharRNNError):
    """A setting is out of range, or settings cannot be combined.

    ``field`` is the name of the setting, and ``problem`` says what is wrong with it.
    """

    def __init__(self, field: str, problem: str, hint: str | None = None) -> None:
        super().__init__(f"{field}: {problem}", hint)
        self.args = field, problem, hint
        self.field = field
        self.problem = problem


class CorpusError(CharRNNError):
    """A text cannot be read or used."""


class DownloadError(CharRNNError):
    """A text cannot be fetched."""


class VocabularyError(CharRNNError):
    """A character is not in the vocabulary."""


class CheckpointError(CharRNNError):
    """A file is not a valid checkpoint."""


class RunError(CharRNNError):
    """A run folder cannot be created, found or resumed."""


class TrainingError(CharRNNError):
    """Training cannot continue."""
