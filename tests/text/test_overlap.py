"""charrnn.text.overlap"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from charrnn import Corpus
from charrnn.text.overlap import fingerprints, overlap

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(seed: int, count: int = 4000) -> str:
    """Return words of random letters."""
    chance = random.Random(seed)
    return " ".join("".join(chance.choices(LETTERS, k=chance.randint(2, 9))) for _ in range(count))


BOOK, OTHER = words(1), words(2)


def test_a_text_of_random_letters_has_one_fingerprint_for_256_letters() -> None:
    found = fingerprints([BOOK])
    letters = sum(character != " " for character in BOOK)
    assert (found.dtype, found.ndim) == (np.uint32, 1)
    assert bool((found[1:] > found[:-1]).all())
    assert 0.7 < len(found) * 256 / letters < 1.4


def test_the_fingerprints_of_several_texts_are_those_of_each() -> None:
    assert np.array_equal(fingerprints([BOOK, OTHER]), np.union1d(fingerprints([BOOK]), fingerprints([OTHER])))
    assert len(fingerprints([])) == len(fingerprints(["", "short", "文字" * 100])) == 0


def test_a_copy_and_a_part_of_a_copy_overlap_completely() -> None:
    known = fingerprints([BOOK])
    assert overlap(Corpus.from_text(BOOK), known) == 1
    assert overlap(Corpus.from_text(BOOK[5000:12000]), known) == 1
    assert overlap(Corpus.from_text(OTHER), known) == 0
    assert overlap(Corpus.from_text(BOOK), np.empty(0, np.uint32)) == 0


def test_typography_case_and_accents_hide_no_copy() -> None:
    accents = str.maketrans("aeo", "äéÔ")
    changed = "\n".join(f"“{line.upper()}” —" for line in BOOK.translate(accents).split(" "))
    assert overlap(Corpus.from_text(changed), fingerprints([BOOK])) == 1


@pytest.mark.parametrize(("copied", "least", "most"), [(0.5, 0.35, 0.65), (0.2, 0.1, 0.35), (0.01, 0, 0)])
def test_the_overlap_is_the_copied_fraction_unless_it_is_tiny(copied: float, least: float, most: float) -> None:
    cut = int(copied * len(BOOK))
    text = OTHER[:len(BOOK) - cut] + BOOK[:cut]
    assert least <= overlap(Corpus.from_text(text), fingerprints([BOOK])) <= most


def test_a_long_text_is_sampled_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.text.overlap._BLOCK", 2**13)
    text = "".join(words(seed, 7000) for seed in range(3, 20)) + words(30, 90_000)
    assert len(text) > 64 * 2**14  # so only a part of the text is read
    found = overlap(Corpus.from_text(text), fingerprints([text[-500_000:]]))
    assert abs(found - 500_000 / len(text)) < 0.1


def test_a_text_of_bytes_can_overlap(tmp_path: Path) -> None:
    (tmp_path / "book.bin").write_bytes(BOOK.encode())
    assert overlap(Corpus.read(tmp_path / "book.bin", level="byte"), fingerprints([BOOK])) == 1


def test_the_unknown_character_is_no_letter() -> None:
    corpus = Corpus.from_text(BOOK + "é", min_count=2)
    assert corpus.vocabulary.unknown is not None
    assert overlap(corpus, fingerprints([BOOK])) == 1
