"""Sampling: generate text, character by character."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from charrnn.config import check_range
from charrnn.cpu import one_blas_thread
from charrnn.errors import check_type
from charrnn.nn.model import CharRNN
from charrnn.nn.state import State, map_state
from charrnn.nn.validation import check_sequence
from charrnn.randomness import generator
from charrnn.text.vocabulary import Vocabulary

_ROUNDING = 1e-12
"""Tolerance for sums of probabilities."""


def distribution(logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
                 ) -> np.ndarray:
    """Return the probabilities (B, V) of the next characters, in float64, for ``logits`` (B, V).

    They are softmax(logits / temperature). ``top_k`` keeps the k most likely characters. ``top_p`` then keeps the fewest
    characters whose probabilities sum to at least that value (Holtzman et al. 2020, "The Curious Case of Neural Text
    Degeneration"). The other characters get 0, and the sum is 1. Of equally likely characters the first are kept. A
    temperature of 0 keeps only the most likely character. Raises ConfigError if a setting is out of range, ValueError if
    ``logits`` is not an array (B, V) of numbers.
    """
    _check_settings(temperature, top_k, top_p)
    if (not isinstance(logits, np.ndarray) or logits.ndim != 2 or logits.dtype.kind not in "fiu" or not logits.shape[1]
            or np.isnan(logits).any()):
        raise ValueError("logits must be an array (B, V) of numbers")
    if temperature == 0:
        return (np.arange(logits.shape[-1]) == logits.argmax(axis=-1)[:, None]).astype(np.float64)
    scaled = logits.astype(np.float64)
    scaled -= scaled.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # near a temperature of 0, all logits but the largest become -inf, as intended
        p = np.exp(scaled / temperature)
    p /= p.sum(axis=-1, keepdims=True)
    if top_k is None and top_p is None:
        return p
    order = np.argsort(-p, axis=-1, kind="stable")
    descending = np.take_along_axis(p, order, axis=-1)
    if top_k is not None:
        descending[:, top_k:] = 0
        descending /= descending.sum(axis=-1, keepdims=True)
    if top_p is not None and top_p < 1:
        reached = np.cumsum(descending, axis=-1) >= top_p * (1 - _ROUNDING)
        descending[:, 1:][reached[:, :-1]] = 0
        descending /= descending.sum(axis=-1, keepdims=True)
    np.put_along_axis(p, order, descending, axis=-1)
    return p


def generate(network: CharRNN, vocabulary: Vocabulary, count: int, *, prime: str = "", length: int | None = None,
             temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, greedy: bool = False,
             until: str | None = None, seed: int = 0, first: int = 0) -> Iterator[list[str]]:
    """Generate ``count`` samples in parallel: yield lists of their next characters, "" for samples that have ended.

    The prime comes first and does not count towards ``length``. If ``length`` is None, the samples do not end. A sample
    ends once ``until`` has been generated; the prime is not searched. ``greedy`` takes the most likely character instead of
    sampling. Sample n has its own random generator, made from the seed and n; ``first`` is the number of the first sample.
    The unknown character is never generated. Several threads may use one network at the same time.

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
    _check_settings(temperature, top_k, top_p)
    choose = np.argmax if greedy else partial(_draw, temperature=temperature, top_k=top_k, top_p=top_p, generators=[
        generator(seed, "sample", stream=number) for number in range(first, first + count)])
    return _generate(network.replica(), vocabulary, count, prime, vocabulary.encode(prime), length, until, choose)


def _check_settings(temperature: float, top_k: int | None, top_p: float | None) -> None:
    check_range("temperature", temperature, float, least=0)
    if top_k is not None:
        check_range("top_k", top_k, int, least=1)
    if top_p is not None:
        check_range("top_p", top_p, float, above=0, most=1)


def _generate(network: CharRNN, vocabulary: Vocabulary, count: int, prime: str, prime_ids: np.ndarray,
              length: int | None, until: str | None, choose: Callable[..., np.ndarray]) -> Iterator[list[str]]:
    for character in prime:
        yield [character] * count
    with one_blas_thread():
        logits, state = read_prime(network, vocabulary, prime_ids, count)
    tails = [""] * count
    running = [True] * count
    written = 0
    while any(running) and (length is None or written < length):
        if np.isnan(logits).any():
            raise ValueError("the model computes NaN; its weights are not finite")
        if vocabulary.unknown is not None:
            logits[:, vocabulary.unknown] = -np.inf
        ids = choose(logits, axis=-1)
        characters = [vocabulary.characters[k] if alive else "" for k, alive in zip(ids.tolist(), running)]
        written += 1
        yield characters
        if until:
            tails = [(tail + character)[-len(until):] for tail, character in zip(tails, characters)]
            running = [alive and tail != until for tail, alive in zip(tails, running)]
        with one_blas_thread():
            step, state = network.forward(ids[None], state)
        logits = step[0]


def read_prime(network: CharRNN, vocabulary: Vocabulary, prime: np.ndarray, count: int = 1) -> tuple[np.ndarray, State]:
    """Return the logits (count, V) and the state after reading the ids ``prime`` (N,) from a zero state.

    If the prime is empty, the network reads ``vocabulary.start``.
    """
    check_sequence("prime", prime, network.vocabulary_size)
    check_range("count", count, int, least=1)
    if not len(prime):
        prime = np.array([vocabulary.start])
    state = network.initial_state(1)
    for start in range(0, len(prime), 256):
        logits, state = network.forward(prime[start:start + 256, None], state)
    return np.repeat(logits[-1], count, axis=0), map_state(lambda array: np.repeat(array, count, axis=0), state)


def _draw(logits: np.ndarray, axis: int, temperature: float, top_k: int | None, top_p: float | None,
          generators: list[np.random.Generator]) -> np.ndarray:
    """Sample an id for each row of ``logits`` (B, V), by inverting the cumulative distribution at a uniform number."""
    p = distribution(logits, temperature, top_k, top_p)
    sums = np.cumsum(p, axis=axis)
    drawn = np.array([[rng.random()] for rng in generators]) * sums[:, -1:]
    return np.minimum((sums <= drawn).sum(axis=axis), p.shape[-1] - 1)


def without_first(turns: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield all turns but the first, which is the newline that a model of lines reads first."""
    next(turns)
    yield from turns


def decoded(turns: Iterator[list[str]]) -> Iterator[str]:
    """Decode the bytes of one sample as UTF-8; invalid bytes become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for (byte,) in turns:
        yield from decoder.decode(byte.encode("latin-1"))
    yield from decoder.decode(b"", final=True)
