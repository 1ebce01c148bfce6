"""The errors a user can meet. Each is one line that says what is wrong, where, and what to do.

::

    CharRNNError
      ConfigError         a setting is out of range, or two settings do not go together
      CorpusError         a text cannot be read or used
      DownloadError       a text cannot be fetched
      VocabularyError     a character that the model has never seen
      CheckpointError     a file is not a whole, valid checkpoint
      RunError            a run folder cannot be made, found or continued
      TrainingError       training cannot go on
"""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with what could break a line or move a terminal's cursor written as escapes: it may come from anywhere."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class CharRNNError(Exception):
    """Whatever charrnn tells a user; ``str(error)`` is one line, whatever names and values it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ConfigError(CharRNNError):
    """A setting is out of range, or two settings do not go together.

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
    """A character that the model has never seen."""


class CheckpointError(CharRNNError):
    """A file is not a whole, valid checkpoint."""


class RunError(CharRNNError):
    """A run folder cannot be made, found or continued."""


class TrainingError(CharRNNError):
    """Training cannot go on."""
