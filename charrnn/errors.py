"""The errors that a user can meet. Each is one line that says what is wrong, where, and what to do.

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


def printable(text: str) -> str:
    """Return ``text`` with control characters escaped, because it may come from anywhere."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class CharRNNError(Exception):
    """The base of all errors of charrnn. ``str(error)`` is one line, whatever names and values it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ConfigError(CharRNNError):
    """A setting is out of range, or settings cannot be combined.

    ``field`` is the setting's name in the API; the command line shows it as an option.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
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
