"""Sampling: generate text, character by character."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Iterator

import numpy as np

from charrnn.config import END, check_range
from charrnn.cpu import one_blas_thread
from charrnn.errors import check_type
from charrnn.inference.constraint import Constraint, Position
from charrnn.nn.kernels import reporting_compilation
from charrnn.nn.model import CharRNN
from charrnn.nn.sampler import Sampler
from charrnn.nn.state import State, map_state
from charrnn.nn.validation import check_sequence
from charrnn.randomness import generator
from charrnn.text.vocabulary import Vocabulary

_ROUNDING = 1e-12
"""Tolerance for sums of probabilities."""

_TURNS_AT_ONCE = 16
"""Characters that are computed in one call; four times as many with compiled kernels."""

_TURNS_BEFORE_LOADING = 1024
"""Characters before a long sample changes to compiled kernels, so that its start appears at once."""

_SECONDS_OF_A_TURN, _SECONDS_TO_READ, _SECONDS_TO_MULTIPLY = 1e-4, 1e-10, 4e-11
"""Approximate seconds with NumPy: per turn, per weight, and per weight and stream."""

_WORTH_LOADING = 4.0
"""A sample that takes NumPy longer than this to finish uses the compiled kernels, which take 1 to 2 seconds to load."""

_NOTHING = -2
"""Used instead of an id if a constraint allows no character."""

_Settings = tuple[float, "int | None", "float | None"]
"""Temperature, top_k, top_p."""


def distribution(logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
                 ) -> np.ndarray:
    """Return the probabilities (B, V) of the next characters, in float64, for ``logits`` (B, V).

    They are softmax(logits / temperature). ``top_k`` keeps the k most likely characters. ``top_p`` then keeps the fewest
    characters whose probabilities sum to at least that value (Holtzman et al. 2020, "The Curious Case of Neural Text
    Degeneration"). The other characters get 0, and the sum is 1. Of equally likely characters the first are kept. A
    temperature of 0 keeps only the most likely character. Raises ConfigError if a setting is out of range, ValueError if
    ``logits`` is not an array (B, V) of numbers.
    """
    check_settings(temperature, top_k, top_p)
    if (not isinstance(logits, np.ndarray) or logits.ndim != 2 or logits.dtype.kind not in "fiu" or not logits.shape[1]
            or np.isnan(logits).any()):
        raise ValueError("logits must be an array (B, V) of numbers")
    p = _weights(logits, temperature, top_k, top_p)
    return p / p.sum(axis=-1, keepdims=True)


def _weights(logits: np.ndarray, temperature: float, top_k: int | None, top_p: float | None) -> np.ndarray:
    """Return numbers (B, V) that are proportional to the probabilities."""
    if temperature == 0:
        return (np.arange(logits.shape[-1]) == logits.argmax(axis=-1)[:, None]).astype(np.float64)
    scaled = logits.astype(np.float64)
    scaled -= scaled.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # near a temperature of 0, all logits but the largest become -inf, as intended
        scaled /= temperature
    p = np.exp(scaled, out=scaled)
    if top_k is None and top_p is None:
        return p
    order = np.argsort(-p, axis=-1, kind="stable")
    descending = np.take_along_axis(p, order, axis=-1)
    if top_k is not None:
        descending[:, top_k:] = 0
    if top_p is not None and top_p < 1:
        descending /= descending.sum(axis=-1, keepdims=True)
        reached = np.cumsum(descending, axis=-1) >= top_p * (1 - _ROUNDING)
        descending[:, 1:][reached[:, :-1]] = 0
    np.put_along_axis(p, order, descending, axis=-1)
    return p


def generate(network: CharRNN, vocabulary: Vocabulary, count: int, *, prime: str = "", length: int | None = None,
             temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, greedy: bool = False,
             until: str | None = None, end: str | None = None, seed: int = 0, first: int = 0,
             constraint: Constraint | None = None, on_compilation: Callable[[], object] = list) -> Iterator[list[str]]:
    """Generate ``count`` samples in parallel: yield lists of their next characters, "" for samples that have ended.

    The prime comes first and does not count towards ``length``. If ``length`` is None, there is no maximum length. A sample
    ends once ``until`` or the character ``end`` has been generated; the prime is not searched. ``greedy`` takes the most
    likely character instead of sampling. Sample n has its own random generator, made from the seed and n; ``first`` is the
    number of the first sample. The unknown character is never generated. With a ``constraint``, only characters that it
    allows are drawn, and a sample also ends where none may follow. Several threads may use one network at the same time.

    Long samples continue with compiled kernels, which round differently. ``on_compilation`` is called before they are
    compiled, once on a machine.

    Raises ConfigError if a setting is out of range, VocabularyError if a character of the prime is not in the vocabulary,
    ValueError if the vocabulary does not match the network.
    """
    if network.vocabulary_size != len(vocabulary):
        raise ValueError(f"the network is for {network.vocabulary_size:,} characters, but the vocabulary has "
                         f"{len(vocabulary):,}")
    check_type("prime", prime, str)
    if until is not None:
        check_type("until", until, str)
    check_range("count", count, int, least=1)
    check_range("seed", seed, int, least=0)
    check_range("first", first, int, least=0)
    if length is not None:
        check_range("length", length, int, least=0)
    check_settings(temperature, top_k, top_p)
    generators = [generator(seed, "sample", stream=number) for number in range(first, first + count)]
    settings = (0.0, None, None) if greedy else (temperature, top_k, top_p)
    return _generate(network.replica(), vocabulary, prime, vocabulary.encode(prime), length, (until, end), settings,
                     generators, constraint, on_compilation)


def check_settings(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ConfigError if a setting is out of range."""
    check_range("temperature", temperature, float, least=0)
    if top_k is not None:
        check_range("top_k", top_k, int, least=1)
    if top_p is not None:
        check_range("top_p", top_p, float, above=0, most=1)


def _generate(network: CharRNN, vocabulary: Vocabulary, prime: str, prime_ids: np.ndarray, length: int | None,
              ends: tuple[str | None, str | None], settings: _Settings, generators: list[np.random.Generator],
              constraint: Constraint | None, on_compilation: Callable[[], object]) -> Iterator[list[str]]:
    count = len(generators)
    until, end = ends
    for character in prime:
        yield [character] * count
    tails = [""] * count
    running = [True] * count
    turns: Iterator[list[int]]
    if constraint is None:
        turns = _draw_turns(network, prime_ids, length, settings, vocabulary, generators, on_compilation)
    else:
        turns = _draw_allowed(network, prime_ids, length, settings, vocabulary, generators, constraint)
    while any(running) and (ids := next(turns, None)) is not None:
        running = [alive and k != _NOTHING for k, alive in zip(ids, running)]
        characters = [vocabulary.characters[k] if alive else "" for k, alive in zip(ids, running)]
        yield characters
        running = [alive and character != end for character, alive in zip(characters, running)]
        if until:
            tails = [(tail + character)[-len(until):] for tail, character in zip(tails, characters)]
            running = [alive and tail != until for tail, alive in zip(tails, running)]


def _draw_turns(network: CharRNN, prime: np.ndarray, length: int | None, settings: _Settings, vocabulary: Vocabulary,
                generators: list[np.random.Generator], on_compilation: Callable[[], object]) -> Iterator[list[int]]:
    """Yield the ids of the next characters of all streams, ``length`` times; raise ValueError if the model computes NaN.

    Several turns are computed at once.
    """
    count = len(generators)
    sampler: Sampler | None = None
    with one_blas_thread():  # only here, because the caller may use BLAS
        logits, state = read_prime(network, vocabulary, prime, count)
    written = 0
    while length is None or written < length:
        if written == _TURNS_BEFORE_LOADING and length is not None and _is_long(network, count, length - written):
            with reporting_compilation(on_compilation):
                sampler = Sampler(network, logits, state, *settings, vocabulary.unknown)
        at_once = _TURNS_AT_ONCE if sampler is None else 4 * _TURNS_AT_ONCE
        at_once = at_once if length is None else min(at_once, length - written)
        uniform = np.stack([rng.random(at_once) for rng in generators], axis=1)
        with one_blas_thread():
            if sampler is None:
                ids, logits, state = _sample(network, logits, state, uniform, settings, vocabulary.unknown)
            else:
                ids = sampler(uniform)
        for turn in ids.tolist():
            if min(turn) < 0:
                raise ValueError("the model computes NaN; its weights are not finite")
            yield turn
        written += at_once


def _draw_allowed(network: CharRNN, prime: np.ndarray, length: int | None, settings: _Settings, vocabulary: Vocabulary,
                  generators: list[np.random.Generator], constraint: Constraint) -> Iterator[list[int]]:
    """Yield the ids of the next characters of all streams, as ``_draw_turns``; ``_NOTHING`` if none is allowed."""
    positions: list[Position | None] = [constraint.start] * len(generators)
    with one_blas_thread():
        logits, state = read_prime(network, vocabulary, prime, len(generators))
    written = 0
    while length is None or written < length:
        if np.isnan(logits).any():
            raise ValueError("the model computes NaN; its weights are not finite")
        allowed = np.array([np.zeros(len(vocabulary), bool) if position is None else
                            constraint.allowed(position, None if length is None else length - written)
                            for position in positions])
        uniform = np.array([rng.random() for rng in generators])
        is_over = np.logical_not(allowed.any(axis=1))
        allowed[is_over, 0] = True
        ids = draw(np.where(allowed, logits, -np.inf), uniform, *settings)
        positions = [None if over or position is None else constraint.after(position, k)
                     for position, k, over in zip(positions, ids.tolist(), is_over.tolist())]
        yield np.where(is_over, _NOTHING, ids).tolist()
        with one_blas_thread():
            step, state = network.forward(ids[None], state)
        logits = step[0]
        written += 1


def _sample(network: CharRNN, logits: np.ndarray, state: State, uniform: np.ndarray, settings: _Settings,
            excluded: int | None) -> tuple[np.ndarray, np.ndarray, State]:
    """Return the ids (N, B) for uniform numbers (N, B), and the logits and the state after reading them; -1 means NaN."""
    ids = np.full(uniform.shape, -1)
    for n, numbers in enumerate(uniform):
        if math.isnan(logits.max()):
            break
        if excluded is not None:
            logits[:, excluded] = -np.inf
        ids[n] = draw(logits, numbers, *settings)
        step, state = network.forward(ids[n:n + 1], state)
        logits = step[0]
    return ids, logits, state


def _is_long(network: CharRNN, count: int, length: int) -> bool:
    """Return whether compiled kernels should generate the remaining ``length`` turns.

    Nothing is measured, so that the same arguments always give the same text.
    """
    weights = network.parameters.flat.size
    seconds = length * (_SECONDS_OF_A_TURN + weights * (_SECONDS_TO_READ + count * _SECONDS_TO_MULTIPLY))
    return seconds > _WORTH_LOADING and Sampler.supports(network)


def read_prime(network: CharRNN, vocabulary: Vocabulary, prime: np.ndarray, count: int = 1, state: State | None = None
               ) -> tuple[np.ndarray, State]:
    """Return the logits (count, V) and the state after reading the ids ``prime`` (N,) from ``state``, by default zero.

    If the prime is empty, the network reads ``vocabulary.start``.
    """
    check_sequence("prime", prime, network.vocabulary_size)
    check_range("count", count, int, least=1)
    if not len(prime):
        prime = np.array([vocabulary.start])
    state = network.initial_state(1) if state is None else state
    for start in range(0, len(prime), 256):
        logits, state = network.forward(prime[start:start + 256, None], state)
    return np.repeat(logits[-1], count, axis=0), map_state(lambda array: np.repeat(array, count, axis=0), state)


def draw(logits: np.ndarray, uniform: np.ndarray, temperature: float, top_k: int | None, top_p: float | None
          ) -> np.ndarray:
    """Draw an id for each row of ``logits`` (B, V), by inverting the cumulative distribution at a uniform number (B,)."""
    if temperature == 0:
        return logits.argmax(axis=-1)
    sums = np.cumsum(_weights(logits, temperature, top_k, top_p), axis=-1)
    drawn = uniform[:, None] * sums[:, -1:]
    return np.minimum((sums <= drawn).sum(axis=-1), logits.shape[-1] - 1)


def without_first(turns: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield all turns but the first, which is the end mark that a model of documents reads first."""
    next(turns)
    yield from turns


def decoded(turns: Iterator[list[str]]) -> Iterator[str]:
    """Decode the bytes of one sample as UTF-8; invalid bytes become U+FFFD, and the end mark is left out."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for (byte,) in turns:
        if byte == END:
            continue
        yield from decoder.decode(byte.encode("latin-1"))
    yield from decoder.decode(b"", final=True)
