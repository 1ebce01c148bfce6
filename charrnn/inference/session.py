"""Session: a text that a user and a model write in turns."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np

from charrnn.config import END, check_range
from charrnn.errors import ConfigError, check_type
from charrnn.inference.language_model import LanguageModel
from charrnn.inference.sampling import check_settings, draw, read_prime
from charrnn.nn.state import State
from charrnn.randomness import generator
from charrnn.text.decoding import normalize


class Session:
    """A text that continues from turn to turn, because the state of the model is carried.

    ``temperature``, ``top_k``, ``top_p``, ``greedy`` and ``seed`` are those of ``LanguageModel.stream``. After the end mark
    of a document, the next turn starts a new one. Raises ConfigError if a setting is out of range or the model is one of
    bytes.
    """

    def __init__(self, model: LanguageModel, *, temperature: float = 1.0, top_k: int | None = None,
                 top_p: float | None = None, greedy: bool = False, seed: int | None = None) -> None:
        check_type("model", model, LanguageModel)
        check_settings(temperature, top_k, top_p)
        if model.text_config.level == "byte":
            raise ConfigError("model", "is a model of bytes, but a session needs one of characters", "train without "
                              "`level='byte'`")
        self._model = model
        self._network = model.network.replica()
        self._settings = (0.0, None, None) if greedy else (temperature, top_k, top_p)
        self._random = generator(secrets.randbits(32) if seed is None else seed, "sample")
        self._logits = np.empty((1, 0))
        self._state: State | None = None

    def read(self, text: str) -> None:
        """Read a text. Raises VocabularyError if a character is not in the vocabulary; then nothing is read."""
        model = self._model
        ids = model.vocabulary.encode(normalize(text, model.text_config))
        state = self._state
        if model.separator is not None:
            if state is None:
                ids = np.append(model.separator, ids)
            if len(ends := np.flatnonzero(ids == model.separator)):  # each document starts from the zero state
                ids, state = ids[ends[-1]:], None
        if len(ids) or state is None:
            self._logits, self._state = read_prime(self._network, model.vocabulary, ids, state=state)

    def write(self, length: int | None = None, until: str = "\n") -> Iterator[str]:
        """Yield at most ``length`` characters of the model's turn, up to ``until`` or the end of a document."""
        if length is not None:
            check_range("length", length, int, least=0)
        if self._state is None:
            self.read("")
        vocabulary, written = self._model.vocabulary, ""
        while (length is None or len(written) < length) and not (until and written.endswith(until)):
            logits = self._logits.copy()
            if vocabulary.unknown is not None:
                logits[:, vocabulary.unknown] = -np.inf
            (number,) = draw(logits, self._random.random(1), *self._settings)
            self._logits, self._state = read_prime(self._network, vocabulary, np.array([number]), state=self._state)
            written += vocabulary.characters[number]
            if number == self._model.separator:
                self._state = None
            if written[-1] != END:
                yield written[-1]
            if self._state is None:
                return
