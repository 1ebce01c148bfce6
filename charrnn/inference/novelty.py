"""Novelty: whether a model copies its training text."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import NOVELTY_LENGTH, check_range
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.passages import LEAST, Progress, longest_passages, no_progress
from charrnn.text.split import Split

SIZES = (8, 16, 32)
"""The lengths of the n-grams that are counted."""

PIECE = 1000
"""Maximum number of characters of a sample, and of a piece of the validation text."""

_MOST_LENGTH = 1_000_000
"""Maximum number of characters to generate; the index takes about 700 bytes of memory for each of them."""

_TOGETHER = 64
"""Maximum number of samples that are generated together."""

_FRACTION, _PASSAGES = 0.02, 10
"""Limits of ``Comparison.copies``."""

_ENOUGH = 0.1
"""N-grams of a length are compared if there are at least this many for each character: short texts contain no long ones."""


class Passage(NamedTuple):
    """A passage of piece number ``piece`` that occurs in the training text: its index in the piece, and its length."""

    piece: int
    start: int
    length: int


class Novelty(NamedTuple):
    """How much of some pieces of text occurs in a training text.

    ``pieces`` are the ids (N,) of each piece, ``lengths`` the result of ``longest_passages``: for each character of a piece
    (N,), the length of the longest passage that starts there and occurs in the training text; 0 if it is below 8.
    """

    pieces: list[np.ndarray]
    lengths: list[np.ndarray]

    @property
    def characters(self) -> int:
        """The number of characters of all pieces."""
        return sum(map(len, self.pieces))

    @property
    def longest(self) -> int:
        """The length of the longest passage that occurs in the training text; 0 if it is below 8."""
        return max((int(lengths.max(initial=0)) for lengths in self.lengths), default=0)

    def count(self, size: int) -> int:
        """Return the number of n-grams of ``size`` characters."""
        return sum(max(0, len(piece) - size + 1) for piece in self.pieces)

    def fraction(self, size: int) -> float:
        """Return the fraction of the n-grams of ``size`` characters that occur in the training text.

        It is NaN if all pieces are shorter. Raises ConfigError if ``size`` is below 8.
        """
        check_range("size", size, int, least=LEAST)
        found = sum(int(np.count_nonzero(lengths >= size)) for lengths in self.lengths)
        return found / self.count(size) if self.count(size) else math.nan

    def separate(self, size: int) -> int:
        """Return the number of separate passages of at least ``size`` characters that occur in the training text.

        Passages that overlap by ``size`` - 1 characters or more count once.
        """
        check_range("size", size, int, least=LEAST)
        return sum(int(np.count_nonzero(np.diff(lengths >= size, prepend=False) & (lengths >= size)))
                   for lengths in self.lengths)

    def passages(self, count: int) -> list[Passage]:
        """Return the ``count`` longest passages that occur in the training text, the longest first.

        They differ and do not overlap.
        """
        passages = [Passage(number, start, int(lengths[start])) for number, lengths in enumerate(self.lengths)
                    for start in np.flatnonzero(lengths >= np.append(0, lengths[:-1])).tolist() if lengths[start]]
        free = [np.ones(len(piece), bool) for piece in self.pieces]
        found: dict[bytes, Passage] = {}
        for passage in sorted(passages, key=lambda passage: -passage.length):
            if len(found) == count:
                break
            here = free[passage.piece][passage.start:passage.start + passage.length]
            if here.all() and found.setdefault(self.ids(passage).tobytes(), passage) is passage:
                here[:] = False
        return list(found.values())

    def ids(self, passage: Passage) -> np.ndarray:
        """Return the ids of a passage."""
        return self.pieces[passage.piece][passage.start:passage.start + passage.length]


class Comparison(NamedTuple):
    """The novelty of a generated text and, for comparison, of as much text that the model was not trained on, if any."""

    generated: Novelty
    held_out: Novelty | None

    @property
    def size(self) -> int:
        """The length of the n-grams that decide: 16, or 8 if most generated documents are shorter."""
        return 16 if self.generated.count(16) >= _ENOUGH * self.generated.characters else LEAST

    @property
    def copies(self) -> bool | None:
        """Whether the model copies its training text; None without held-out text.

        It does if the generated text has more than twice as many n-grams of ``size`` characters in common with the
        training text as the held-out text has, and 2 % of all and 2 ``size`` more; or if it has more than twice as many
        separate passages of at least ``size`` characters, and 10 more. Passages must be counted too, because in many texts
        a few long ones are repeated word for word, such as a licence or a table.

        Measured at a temperature of 1, in percent of the 16-grams, and separate passages in 10,000 characters: 52 % and 200
        (held-out text: 1.8 % and 57) after 71 epochs on 27 KB, 31 % and 263 (23 % and 85) after 25 epochs on 108 KB; both
        training losses were below 0.2 nats. Models that did not memorize: 1.5 % and 33 (1.8 % and 57), 21 % and 53 (23 %
        and 85), 7 % and 49 (23 % and 85), 4 % and 49 (25 % and 158).
        """
        if self.held_out is None:
            return None
        size, count = self.size, self.generated.count(self.size)
        if not count:
            return False
        usual = self.held_out.fraction(size) if self.held_out.count(size) else 0.0
        return (count * self.generated.fraction(size) > count * (2 * usual + _FRACTION) + 2 * size
                or self.generated.separate(size) > 2 * self.held_out.separate(size) + _PASSAGES)

    @property
    def verdict(self) -> str:
        """The answer in words."""
        if self.held_out is None:
            return "there is no validation text to compare this with"
        if self.copies:
            return "this model copies its training text"
        return "this model does not copy: unseen text has as much in common with the training text"

    def line(self, name: str, unit: str = "char") -> str:
        """Return the result on one line. ``name`` is the name of the training text, and ``unit`` is "char" or "byte"."""
        size = self.size
        found = self.generated.separate(size)
        passages = f"{found:,} passage{'s'[:found != 1]} of at least {size} {'byte' if unit == 'byte' else 'character'}s"
        usual = ("" if self.held_out is None else
                 f", validation text {self.held_out.separate(size):,} ({percent(self.held_out.fraction(size))})")
        part = percent(self.generated.fraction(size))
        return f"Generated text shares {passages} with {name} ({part} of its {size}-grams){usual}; {self.verdict}"


    def table(self, split: Split, model: LanguageModel) -> tuple[list[str], list[tuple[str, list[str]]]]:
        """Return the figures as a table: the names of the columns, and rows of a name and cells.

        ``split`` and ``model`` are those that were compared.
        """
        names = {"generated": self.generated, "validation" if len(split.validation) else "test": self.held_out}
        texts = {name: text for name, text in names.items() if text is not None}
        unit = "byte" if model.text_config.level == "byte" else "character"
        rows = {f"{unit}s": [f"{text.characters:,}" for text in texts.values()]}
        for size in SIZES:
            rows[f"{size}-{unit} passages"] = [percent(text.fraction(size)) for text in texts.values()]
        if model.text_config.unit is not None:
            rows[f"whole {model.text_config.unit}s"] = [percent(_whole_documents(text, split)) for text in texts.values()]
        rows[f"passages of {self.size} or more"] = [f"{text.separate(self.size):,}" for text in texts.values()]
        rows["longest passage"] = [f"{text.longest:,}" if text.longest else f"below {LEAST}" for text in texts.values()]
        return list(texts), list(rows.items())


def _whole_documents(text: Novelty, split: Split) -> float:
    """Return the fraction of the documents of ``text`` that are documents of the training part."""
    end = split.corpus.text_config.end or ""
    documents = [split.corpus.vocabulary.decode(piece).strip(end) for piece in text.pieces]
    copied = split.training_documents(set(documents))
    return sum(document in copied for document in documents) / len(documents)


def percent(fraction: float) -> str:
    """Return a fraction as a percentage, "-" if it is NaN."""
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f} %"


def compare(model: LanguageModel, split: Split, length: int = NOVELTY_LENGTH, *, temperature: float = 1.0, seed: int = 1,
            most: int | None = None, seconds: float | None = None, progress: Progress = no_progress) -> Comparison:
    """Generate about ``length`` characters, and find the passages that occur in the training part of ``split``.

    The text is generated in samples of at most 1,000 characters; a model of documents generates documents. It is compared
    with as much text of the validation part, or of the test part if there is no validation part. Both are divided into
    pieces of the same length, because a longer text contains longer passages of the training text by chance. If that part
    is shorter than ``length``, which is at most 1,000,000, less text is generated; if it is empty, there is no comparison.

    Only the last ``most`` characters of the training part are read. After ``seconds`` no more text is generated.
    ``progress`` is called with the number of characters that were generated or read. Raises ConfigError if a setting is out
    of range, ValueError if the model and the text do not match.
    """
    check_range("length", length, int, least=1, most=_MOST_LENGTH)
    held_out = split.validation if len(split.validation) else split.test
    if model.text_config.end is not None:
        size, starts = PIECE, held_out.starts
        wanted = math.ceil(length * max(1, len(split.train.starts)) / max(1, len(split.train)))
    else:
        size = min(PIECE, length, len(held_out) or length)
        starts = np.arange(0, len(held_out) - size + 1, size)
        wanted = math.ceil(length / size)
    count = min(wanted, len(starts) or wanted)
    samples = _samples(model, count, size, seconds, progress, temperature=temperature, seed=seed)
    chosen = np.arange(len(samples) if len(starts) else 0) * len(starts) // count
    if model.text_config.end is not None:
        ends = np.minimum(np.append(starts[1:] + 1, len(held_out)), starts + size)[chosen]  # each with its end mark
    else:
        ends = starts[chosen] + [len(sample) for sample in samples[:len(chosen)]]
    pieces = samples + [np.array(held_out.ids[start:end]) for start, end in zip(starts[chosen], ends)]
    training = split.train.ids if most is None else split.train.ids[-most:]
    lengths = longest_passages(training, pieces, len(model.vocabulary), model.vocabulary.unknown, progress)
    generated, others = (Novelty(pieces[part], lengths[part]) for part in (slice(len(samples)), slice(len(samples), None)))
    return Comparison(generated, others if others.pieces else None)


def _samples(model: LanguageModel, count: int, size: int, seconds: float | None, progress: Progress, **settings: Any
             ) -> list[np.ndarray]:
    """Return the ids of ``count`` samples of at most ``size`` characters; fewer and shorter ones after ``seconds``."""
    end = time.monotonic() + (math.inf if seconds is None else seconds)
    start = model.text_config.end or ""
    samples: list[np.ndarray] = []
    while len(samples) < count and (not samples or time.monotonic() < end):
        turns = []
        together = min(_TOGETHER, count - len(samples))
        for characters in model.generate(together, length=size, first=len(samples), **settings):
            turns.append(characters)
            progress(sum(map(bool, characters)))
            if time.monotonic() >= end:
                break
        samples += [model.vocabulary.encode(start + "".join(sample)) for sample in zip(*turns)]
    return samples
