"""The parts of a text: training, validation and test."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from charrnn.config import check_range
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.text.corpus import Corpus


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a corpus: ``ids`` (N,), and ``starts``, the sorted int64 indices at which its documents start."""

    ids: np.ndarray
    starts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Split:
    """The parts of ``corpus``, in the order of the text. The validation and the test part may be empty."""

    corpus: Corpus
    train: Part
    validation: Part
    test: Part

    @property
    def parts(self) -> tuple[Part, Part, Part]:
        """The training, the validation and the test part."""
        return self.train, self.validation, self.test

    def require(self, validation: float | None, test: float) -> None:
        """Raise ConfigError unless the split was made with these fractions."""
        if self.corpus.bounds(validation, test) != (len(self.train), len(self.train) + len(self.validation)):
            raise ConfigError("validation", "the split was made with another `validation` or `test`",
                              "use the same fractions for both")

    def training_documents(self, wanted: Collection[str]) -> set[str]:
        """Return those of the ``wanted`` documents that occur completely in the training part.

        The empty document is left out.
        """
        wanted = set(wanted)
        with_last_end = self.corpus.ids[:len(self.train) + 1]
        return {document for document in self.corpus.documents(with_last_end) if document in wanted}


def split_bounds(characters: int, validation: float, test: float) -> tuple[int, int]:
    """Return the ends of the training and the validation part. Raises ConfigError if a fraction is out of range."""
    check_range("validation", validation, float, least=0, below=1)
    check_range("test", test, float, least=0, below=1 - validation)
    fractions = (1 - validation - test, 1 - test)
    first, second = (int(round(characters * fraction, 6)) for fraction in fractions)  # because 100 * (1 - 0.8) < 20
    return first, second


def between_documents(ids: np.ndarray, starts: np.ndarray, near: int, below: int) -> int:
    """Return the index that is nearest to ``near`` and lies between two different documents, above 0 and below ``below``.

    The documents of ``ids`` (N,) start at ``starts``, at the end mark of the document before. Raises ConfigError if there
    is no such place.
    """
    def document(k: int) -> np.ndarray:
        return ids[starts[k] + 1:starts[k + 1] + 1 if k + 1 < len(starts) else len(ids)]

    def is_place(k: int) -> bool:
        return not np.array_equal(document(k - 1), document(k))

    near = min(near, below)
    middle = int(np.searchsorted(starts, near))
    lower = next((int(starts[k]) for k in range(min(middle, len(starts)) - 1, 0, -1) if is_place(k)), None)
    upper = next((int(starts[k]) for k in range(max(middle, 1), len(starts)) if is_place(k)), None)
    places = [place for place in (lower, upper) if place is not None and place < below]
    if not places:
        raise ConfigError("validation", "the text has too few different documents to be divided",
                          "use a longer text, or set `validation` and `test` to 0")
    return min(places, key=lambda place: abs(place - near))
