"""LanguageModel: a network with the vocabulary and the text settings that it was trained with."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np

from charrnn.config import END, SAMPLE_LENGTH, ModelConfig, TextConfig, from_dict, to_dict
from charrnn.errors import ConfigError, check_type
from charrnn.inference.bundled import advising, provenance
from charrnn.inference.constraint import Automaton, Constraint
from charrnn.inference.evaluation import Evaluation, evaluate
from charrnn.inference.expression import Expression
from charrnn.inference.locate import checkpoint_at
from charrnn.inference.origin import Origin
from charrnn.inference.sampling import decoded, generate, without_first
from charrnn.inference.scoring import Score, nats_of, spread
from charrnn.inference.words import Words
from charrnn.nn.model import CharRNN, parameter_shapes
from charrnn.nn.validation import check_sequence
from charrnn.storage import container
from charrnn.storage.container import Manifest
from charrnn.storage.metadata import require, require_finite, require_types
from charrnn.text.corpus import Corpus
from charrnn.text.decoding import normalize
from charrnn.text.documents import mark_ends
from charrnn.text.reader import text_blocks
from charrnn.text.record import TextFile
from charrnn.text.vocabulary import CODE_POINTS, UNKNOWN, Vocabulary

DTYPES = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}
"""The dtypes of the weights in a file. float16 is for files only: a network computes in float32 or float64."""

_TYPES = {"config": dict, "text": dict, "dtype": str, "vocabulary": int}
_CODEPOINTS = "vocabulary/codepoints"


class LanguageModel:
    """A network, its vocabulary, and the settings that turn text into characters of that vocabulary.

    ``origin`` is the model from whose weights its training started, if it did not start from random weights. Several
    threads may use one model at the same time. Raises ValueError if the parts do not match, TypeError if a part has the
    wrong type.
    """

    def __init__(self, network: CharRNN, vocabulary: Vocabulary, text_config: TextConfig | None = None,
                 origin: Origin | None = None) -> None:
        text_config = TextConfig() if text_config is None else text_config
        check_type("network", network, CharRNN)
        check_type("vocabulary", vocabulary, Vocabulary)
        check_type("text_config", text_config, TextConfig)
        check_type("origin", origin, Origin, type(None))
        if network.vocabulary_size != len(vocabulary):
            raise ValueError(f"the network is for {network.vocabulary_size:,} characters, but the vocabulary has "
                             f"{len(vocabulary):,}")
        if (vocabulary.unknown is not None) != (text_config.min_count > 1):
            raise ValueError("the vocabulary must contain the unknown character if and only if min_count is above 1")
        if (text_config.end == END) != (END in vocabulary) or (text_config.end == "\n" and "\n" not in vocabulary):
            raise ValueError("the vocabulary must contain the end mark if and only if the text settings need one")
        self.network = network
        self.vocabulary = vocabulary
        self.text_config = text_config
        self.origin = origin

    def __repr__(self) -> str:
        config = self.network.config
        layers = "" if config.layers == 1 else f"{config.layers} layers of "
        unit = "byte" if self.text_config.level == "byte" else "character"
        return (f"LanguageModel({config.cell}, {layers}{config.hidden_size:,} hidden units, "
                f"{len(self.vocabulary):,} {unit}s, {self.network.parameters.flat.size:,} parameters)")

    def _repr_html_(self) -> str | None:
        """Return the page of the model for a notebook, or None if the model is too large for it."""
        from charrnn.page.api import in_notebook

        return in_notebook(self)

    @property
    def separator(self) -> int | None:
        """The id before which the state is reset: that of the end mark in a model of documents, otherwise None."""
        return None if self.text_config.end is None else self.vocabulary.id(self.text_config.end)

    @property
    def is_single_line(self) -> bool:
        """Whether the model generates documents without line breaks."""
        return self.text_config.end == "\n" or (self.text_config.end is not None and "\n" not in self.vocabulary)

    def sample(self, prime: str = "", length: int = SAMPLE_LENGTH, *, temperature: float = 1.0, top_k: int | None = None,
               top_p: float | None = None, greedy: bool = False, until: str | None = None, seed: int | None = None,
               allow: str | None = None, match: str | None = None, words: Iterable[str] | None = None,
               exclude: Iterable[str] | None = None) -> str:
        """Return ``prime`` followed by ``length`` generated characters. See ``stream`` for the arguments."""
        return "".join(self.stream(prime, length, temperature=temperature, top_k=top_k, top_p=top_p, greedy=greedy,
                                   until=until, seed=seed, allow=allow, match=match, words=words, exclude=exclude))

    def stream(self, prime: str = "", length: int | None = None, *, temperature: float = 1.0, top_k: int | None = None,
               top_p: float | None = None, greedy: bool = False, until: str | None = None, seed: int | None = None,
               allow: str | None = None, match: str | None = None, words: Iterable[str] | None = None,
               exclude: Iterable[str] | None = None) -> Iterator[str]:
        """Yield the characters of ``prime``, then the generated characters, of which a few are computed at a time.

        ``length`` counts the characters after the prime (bytes for a model of bytes) and the end mark of a document; if it
        is None, there is no maximum length. ``temperature`` divides the logits. ``top_k`` keeps the k most likely
        characters, ``top_p`` the fewest whose probabilities sum to at least that value, and ``greedy`` takes the most
        likely character each time. The stream ends after ``until`` has been generated; that of a model of documents also
        ends after one document. The same ``seed`` gives the same text with the same kernels (docs/kernels.md); None gives a
        different text each time.

        Only characters of ``allow`` are generated. The text, including the prime, matches the regular expression ``match``
        as a whole, all its words are in ``words``, and it is not one of ``exclude``. A character is drawn only if such a
        text can still be completed within ``length``. ``until`` cannot be combined with these arguments. See
        ``constraint.Constraint``.

        Raises ConfigError if a setting is out of range or there is no such text, VocabularyError if a character of the
        prime is not in the vocabulary.
        """
        turns = self.generate(1, prime, length, temperature=temperature, top_k=top_k, top_p=top_p, greedy=greedy,
                              until=until, seed=seed, allow=allow, match=match, words=words, exclude=exclude)
        if self.text_config.level == "byte":
            return decoded(turns)
        return (character for (character,) in turns if character != END)

    def generate(self, count: int, prime: str = "", length: int | None = None, *, until: str | None = None,
                 seed: int | None = None, allow: str | None = None, match: str | None = None,
                 words: Iterable[str] | None = None, exclude: Iterable[str] | None = None, **settings: Any
                 ) -> Iterator[list[str]]:
        """Generate ``count`` samples in parallel: yield lists of their next characters, "" for samples that have ended.

        A model of bytes yields one character below 256 for each byte. A document ends with ``config.END``, or a newline if
        documents are lines; without it, the document is incomplete. See ``stream`` for the other arguments, and
        ``inference.sampling.generate`` for ``first`` and ``on_compilation``.
        """
        check_type("prime", prime, str)
        if until is not None:
            check_type("until", until, str)
        end = self.text_config.end
        given: dict[str, Any] = {"allow": allow, "match": match, "words": words, "exclude": exclude}
        if wanted := {name: value for name, value in given.items() if value is not None}:
            settings["constraint"] = self.constraint(prime, length, **wanted)
        if until is not None and settings.get("constraint") is not None:
            raise ConfigError("until", f"cannot be combined with `{next(iter(wanted), 'constraint')}`",
                              "leave out one of them")
        until = None if until is None else normalize(until, self.text_config)
        prime = (end or "") + self._checked_prime(prime)
        turns = generate(self.network, self.vocabulary, count, prime=prime, length=length, until=until, end=end,
                         seed=secrets.randbits(32) if seed is None else seed, **settings)
        return turns if end is None else without_first(turns)

    def constraint(self, prime: str = "", length: int | None = None, *, allow: str | None = None, match: str | None = None,
                   words: Iterable[str] | None = None, exclude: Iterable[str] | None = None) -> Constraint:
        """Return a constraint for these arguments of ``stream``. It can be passed to ``generate`` several times.

        Raises ConfigError if a setting is invalid or no text satisfies all of them.
        """
        given = {"allow": allow, "match": match, "words": words, "exclude": exclude}
        if self.text_config.level == "byte":
            raise ConfigError(next((name for name in given if given[name] is not None), "allow"),
                              "needs a model of characters, and this is one of bytes",
                              "train without `level='byte'`")
        if self.text_config.end is None and exclude is not None:
            raise ConfigError("exclude", "needs a model of documents", "train a model with `documents`")
        prime = self._checked_prime(prime)
        self.vocabulary.encode(prime)  # before the automata read it, so that the error names the unknown character
        characters = [character for number, character in enumerate(self.vocabulary.characters)
                      if number != self.vocabulary.unknown and character != self.text_config.end]
        automata: list[Automaton] = []
        if match is not None:
            automata.append(Expression(match, characters))
        if words is not None:
            automata.append(Words({normalize(word, self.text_config) for word in words}, characters))
        excluded = (normalize(document, self.text_config) for document in exclude or ())
        return Constraint(self.vocabulary, automata, allow=allow, exclude=excluded, end=self.text_config.end,
                          prime=prime, length=length)

    def _checked_prime(self, prime: str) -> str:
        """Return a prime as the model reads it. Raises ConfigError if it contains several documents."""
        prime, end = normalize(prime, self.text_config), self.text_config.end
        if end is not None:
            if end in (prime := prime.removesuffix(end)):
                raise ConfigError("prime", f"contains several {self.text_config.unit}s, but this model generates one at a "
                                           "time", f"pass a part of one {self.text_config.unit}")
            self.vocabulary.encode(prime)  # its error names the position without the end mark that comes first
        return prime

    @overload
    def score(self, text: str | Path | np.ndarray, streams: int | None = None) -> Score: ...

    @overload
    def score(self, text: list[str] | list[Path] | list[np.ndarray], streams: int | None = None) -> list[Score]: ...

    def score(self, text: Any, streams: int | None = None) -> Any:
        """Return a ``Score``: how surprising each character of a text is. For a list of texts, return a list of scores.

        A string is text, a ``pathlib.Path`` a file, and an array (N,) contains ids. Before the first character, the network
        reads ``vocabulary.start`` from a zero state, as in sampling without a prime. A text of more than 100,000 characters
        is divided into parallel streams, each of which reads 1,000 characters of context first; ``streams=1`` is exact. The
        score of an unknown character is NaN, and a model whose vocabulary has no unknown character does not read it.
        ``inference/blockwise.py`` scores a file without keeping its text in memory.

        Raises ValueError if ids are not in the vocabulary, CorpusError if a file cannot be read, TypeError if ``text`` is
        neither a text nor a list of texts, ConfigError if ``streams`` is below 1.
        """
        if isinstance(text, (str, Path, np.ndarray)):
            return self._score([text], streams)[0]
        check_type("text", text, str, Path, np.ndarray, list, tuple)
        return self._score(list(text), streams)

    def _score(self, texts: list[Any], streams: int | None) -> list[Score]:
        unknown = self.vocabulary.unknown
        characters, known, read = [], [], []
        for text in texts:
            if isinstance(text, (str, Path)):
                text = (self._marked(text) if isinstance(text, str) else
                        "".join(text_blocks(TextFile.of(text), self.text_config)))
                ids, is_known = self.vocabulary.encode_known(text)
            else:
                ids = text
                check_sequence("text", ids, len(self.vocabulary))
                is_known = ids != (len(self.vocabulary) if unknown is None else unknown)
                text = self.vocabulary.decode(ids)
            characters.append(text)
            known.append(is_known)
            read.append(ids[is_known] if unknown is None else ids)
        nats = nats_of(self.network, read, self.vocabulary.start, self.separator, streams)
        return [Score(text, spread(of_text, is_known)) for text, of_text, is_known in zip(characters, nats, known)]

    def _marked(self, text: str) -> str:
        """Return a text as the model reads it, with an end mark after each document unless the documents are lines."""
        text = normalize(text, self.text_config)
        return "".join(mark_ends([text], self.text_config)) if self.text_config.end == END else text

    def evaluate(self, text: str | np.ndarray | Path, streams: int | None = None, *, window: int | None = None
                 ) -> Evaluation:
        """Return the mean loss on a text in nats and bits per character, and its perplexity.

        A string is text, a ``pathlib.Path`` a file, and an array (N,) contains ids. By default all characters but the
        first are predicted, with the state carried through each of ``streams`` parallel streams. With ``window`` = W the
        text is read in windows of W characters, each from a zero state, and a remainder is left out. A model that was
        trained on documents also starts each document from a zero state. See ``evaluation.evaluate``. The result also says
        from which model the training of this one started, and how much of a string or a file a bundled model has read.

        Raises VocabularyError if a character is unknown, CorpusError if the text is empty or the file cannot be read,
        ValueError if there is only one character or an id is invalid, ConfigError if ``streams`` or ``window`` is out of
        range or both are passed.
        """
        if isinstance(text, np.ndarray):
            check_sequence("text", text, len(self.vocabulary))
            starts = None if self.separator is None else np.flatnonzero(text == self.separator)
            found = evaluate(self.network, text, streams=streams, window=window, starts=starts)
            return found.marked(str(self.origin or ""))
        if isinstance(text, Path):
            corpus = Corpus.read(text, text_config=self.text_config, vocabulary=self.vocabulary)
        else:
            check_type("text", text, str, Path, np.ndarray)
            corpus = Corpus.from_text(text, text_config=self.text_config, vocabulary=self.vocabulary)
        found = evaluate(self.network, corpus.ids, streams=streams, window=window, starts=corpus.starts)
        return found.marked(provenance(self.origin, corpus))

    def save(self, path: str | Path, dtype: str | None = None) -> None:
        """Write a file that contains only the model; ``dtype="float16"`` halves its size.

        Raises OSError if the file cannot be written, ConfigError if ``dtype`` is invalid or cannot hold the weights.
        """
        if dtype is not None and dtype not in DTYPES:
            raise ConfigError("dtype", f"must be one of {', '.join(DTYPES)}, not {dtype!r}")
        metadata = {**self.metadata(), "dtype": dtype or self.network.dtype.name}
        with np.errstate(over="ignore"):
            arrays = self.arrays(metadata["dtype"])
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ConfigError("dtype", f"{metadata['dtype']} cannot hold the weights, which are too large or not finite")
        container.write(path, arrays, {"kind": "model", "model": metadata})

    def take_weights(self, other: LanguageModel) -> list[str]:
        """Copy the weights of a model of the same shape; return the characters that ``other`` lacks.

        Weights that belong to a character are copied if it is in both vocabularies. Raises ValueError if the models differ
        in cell or sizes.
        """
        shape, other_shape = ((config.cell, config.hidden_size, config.layers, config.embedding_size)
                              for config in (self.network.config, other.network.config))
        if shape != other_shape:
            raise ValueError(f"the weights of {other!r} do not fit into {self!r}")
        points = self.vocabulary.codepoints
        _, to, of = np.intersect1d(points, other.vocabulary.codepoints, assume_unique=True, return_indices=True)
        per_character = "embedding/w" if other.network.config.embedding_size else "layer0/w_x"
        for name, weights in self.network.parameters.items():
            if name == per_character:
                weights[to] = other.network.parameters[name][of]
            elif name.startswith("output/"):
                weights[..., to] = other.network.parameters[name][..., of]
            else:
                weights[...] = other.network.parameters[name]
        return [chr(point) for point in np.delete(points, to) if point != UNKNOWN]

    def arrays(self, dtype: str | None = None) -> dict[str, np.ndarray]:
        """Return the arrays that a file of this model contains."""
        weights = {f"parameters/{name}": array.astype(dtype or array.dtype, copy=False)
                   for name, array in self.network.parameters.items()}
        return {**weights, _CODEPOINTS: self.vocabulary.codepoints}

    def metadata(self) -> dict[str, Any]:
        """Return the metadata that a file of this model contains, as plain values."""
        origin = {} if self.origin is None else {"origin": self.origin.to_metadata()}
        return {"config": to_dict(self.network.config), "text": to_dict(self.text_config),
                "dtype": self.network.dtype.name, "vocabulary": len(self.vocabulary), **origin}

    def __reduce__(self) -> Any:
        return restore, (self.arrays(), self.metadata())


def load(path: str | Path) -> LanguageModel:
    """Load the model of a run (its best state), of a checkpoint or model-only file, or the bundled model "english".

    Raises RunError if no such file exists, CheckpointError if the file is invalid.
    """
    path = checkpoint_at(path)

    def expected(metadata: Mapping[str, Any]) -> Manifest:
        if metadata.get("kind") not in ("model", "run") or not isinstance(metadata.get("model"), dict):
            raise ValueError("the file contains no model")
        return expected_arrays(metadata["model"])

    with advising(path):
        arrays, metadata = container.read(path, expected, partial=True)
        with container.reported(path):
            require_finite(arrays)
            return restore(arrays, metadata["model"])


def file_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a file, which may contain anything. Raises CheckpointError if the file format is invalid."""
    with advising(path):
        return container.read_metadata(path, lambda metadata: {}, partial=True)


def is_only_a_model(path: str | Path) -> bool:
    """Return whether a file contains a model and no training run. Raises CheckpointError if the file is invalid."""
    return file_metadata(path).get("kind") == "model"


def expected_arrays(metadata: Mapping[str, Any]) -> Manifest:
    """Return the arrays that belong to the metadata of a model. Raises ValueError if the metadata is invalid."""
    require_types({name: value for name, value in metadata.items() if name != "origin"}, _TYPES,
                  "the metadata of the model")
    Origin.from_metadata(metadata.get("origin"))
    try:
        config = from_dict(ModelConfig, metadata["config"])
        from_dict(TextConfig, metadata["text"])
    except ConfigError as error:
        raise ValueError(str(error)) from error
    size, dtype = metadata["vocabulary"], metadata["dtype"]
    require(dtype in DTYPES, f"dtype must be one of {', '.join(DTYPES)}")
    require(1 <= size <= CODE_POINTS + 1, "the size of the vocabulary is out of range")
    require(config.embedding_size is not None, "embedding_size is not set")
    shapes = parameter_shapes(config, size)
    return {**{f"parameters/{name}": (DTYPES[dtype], shape) for name, shape in shapes.items()},
            _CODEPOINTS: ("<u4", (size,))}


def restore(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> LanguageModel:
    """Build a model from the content of a file. Raises ValueError if the vocabulary is invalid."""
    vocabulary = Vocabulary(arrays[_CODEPOINTS])
    dtype = np.float64 if metadata["dtype"] == "float64" else np.float32
    network = CharRNN(from_dict(ModelConfig, metadata["config"]), len(vocabulary), dtype=dtype)
    for name, weights in network.parameters.items():
        weights[...] = arrays[f"parameters/{name}"]
    return LanguageModel(network, vocabulary, from_dict(TextConfig, metadata["text"]),
                         Origin.from_metadata(metadata.get("origin")))
