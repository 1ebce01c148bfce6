"""Text from a model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.config import check_range
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import one_blas_thread
from charrnn.randomness import generator
from charrnn.text.vocabulary import Vocabulary

_ROUNDING = 1e-12
"""By how much sums of probabilities may be off."""


def distribution(logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
                 ) -> np.ndarray:
    """The probabilities (B, V), in float64, from which the next characters are drawn, for ``logits`` (B, V).

    softmax(logits / temperature), of which ``top_k`` keeps the k most likely characters, and ``top_p`` then the fewest
    that together reach at least that probability (Holtzman et al. 2020, "The Curious Case of Neural Text
    Degeneration"); what is kept is scaled to sum to 1. Of equally likely characters the first come first.
    """
    scaled = logits.astype(np.float64)
    scaled -= scaled.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # a temperature near 0 sends all but the likeliest to -inf, which is right
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


def sample(model: CharRNN, vocabulary: Vocabulary, *, prime: str = "", length: int | None = None,
           temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, greedy: bool = False,
           until: str | None = None, seed: int = 0) -> Iterator[str]:
    """Text from ``model``, character by character: first ``prime``, then ``length`` characters (for ever with None).

    See ``sample_many``, of which this is one sample.
    """
    turns = sample_many(model, vocabulary, 1, prime=prime, length=length, temperature=temperature, top_k=top_k,
                        top_p=top_p, greedy=greedy, until=until, seed=seed)
    return (characters[0] for characters in turns)


def sample_many(model: CharRNN, vocabulary: Vocabulary, count: int, *, prime: str = "", length: int | None = None,
                temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, greedy: bool = False,
                until: str | None = None, seed: int = 0) -> Iterator[list[str]]:
    """``count`` samples side by side: at each turn a list of their next characters, "" for those that have ended.

    The prime comes first and does not count into ``length``. ``until`` ends a sample once that text has been
    generated; the prime is not searched. ``greedy`` takes the most likely character instead of drawing one. Each
    sample draws by (seed, its number). The unknown character is never drawn. Raises ConfigError for a setting out of
    range, VocabularyError for a character of the prime that the model has never seen.
    """
    check_range("count", count, int, least=1)
    check_range("temperature", temperature, float, above=0)
    check_range("seed", seed, int, least=0)
    if length is not None:
        check_range("length", length, int, least=0)
    if top_k is not None:
        check_range("top_k", top_k, int, least=1)
    if top_p is not None:
        check_range("top_p", top_p, float, above=0, most=1)
    return _sample_many(model, vocabulary, count, vocabulary.encode(prime), prime, length, temperature, top_k, top_p,
                        greedy, until, seed)


def _sample_many(model: CharRNN, vocabulary: Vocabulary, count: int, prime_ids: np.ndarray, prime: str,
                 length: int | None, temperature: float, top_k: int | None, top_p: float | None, greedy: bool,
                 until: str | None, seed: int) -> Iterator[list[str]]:
    generators = [generator(seed, "sample", stream=number) for number in range(count)]
    for character in prime:
        yield [character] * count
    with one_blas_thread():
        logits, state = read_prime(model, vocabulary, prime_ids, count)
    tails, running, written = [""] * count, [True] * count, 0
    while any(running) and (length is None or written < length):
        if vocabulary.unknown is not None:
            logits[:, vocabulary.unknown] = -np.inf
        if greedy:
            ids = logits.argmax(axis=-1)
        else:
            ids = _draw(distribution(logits, temperature, top_k, top_p), generators)
        characters = [vocabulary.characters[k] if alive else "" for k, alive in zip(ids.tolist(), running)]
        written += 1
        yield characters
        if until:
            tails = [(tail + character)[-len(until):] for tail, character in zip(tails, characters)]
            running = [alive and tail != until for tail, alive in zip(tails, running)]
        with one_blas_thread():
            step, state = model.forward(ids[None], state)
        logits = step[0]


def read_prime(model: CharRNN, vocabulary: Vocabulary, prime: np.ndarray, count: int = 1
               ) -> tuple[np.ndarray, tuple]:
    """Logits (count, V) and state after the ids ``prime``, from a zero state.

    Without a prime the model is as after a newline, or after its first character where it knows no newline.
    """
    if not len(prime):
        prime = np.array([vocabulary.id("\n") if "\n" in vocabulary else 0])
    state = model.initial_state(1)
    for start in range(0, len(prime), 256):
        logits, state = model.forward(prime[start:start + 256, None], state)
    return (np.repeat(logits[-1], count, axis=0),
            tuple(type(layer)(*(np.repeat(array, count, axis=0) for array in layer)) for layer in state))


def _draw(p: np.ndarray, generators: list[np.random.Generator]) -> np.ndarray:
    """One id for each row of ``p`` (B, V), by inverting its distribution function at a uniform number."""
    sums = np.cumsum(p, axis=-1)
    drawn = np.array([[rng.random()] for rng in generators]) * sums[:, -1:]
    return np.minimum((sums <= drawn).sum(axis=-1), p.shape[-1] - 1)
