"""charrnn.inference.novelty: figures from a search in strings, the pieces that are compared, and the verdict."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_models import LETTERS, make_model

from charrnn import Corpus, Run
from charrnn.errors import ConfigError
from charrnn.inference import novelty
from charrnn.inference.novelty import Comparison, Novelty, Passage, compare, percent
from charrnn.inference.passages import longest_passages
from charrnn.text.split import Split


def split_of(text: str, validation: float | None = 0.2, test: float = 0.0, **settings: Any) -> Split:
    return Corpus.from_text(LETTERS + text, **settings).split(validation, test)


def random_text(characters: int, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(LETTERS, k=characters))


def novelty_of(lengths: list[list[int]]) -> Novelty:
    """Return a result with these lengths, whose pieces consist of distinct ids."""
    return Novelty([1000 * number + np.arange(len(part)) for number, part in enumerate(lengths)],
                   [np.array(part, np.int64) for part in lengths])


def comparison_of(generated: int, held_out: int, characters: int = 10_000) -> Comparison:
    """Return a comparison of texts of which this number of 16-grams occur in the training text."""
    return Comparison(*(novelty_of([[16] * number + [0] * (characters - number)]) for number in (generated, held_out)))


# The figures

@pytest.mark.parametrize("size", [8, 9, 16, 32, 5000])
def test_the_fraction_of_the_ngrams_agrees_with_a_search_in_strings(make_text: Callable[..., str], size: int) -> None:
    text = make_text(3000)
    pieces = [make_text(length, seed) + text[100 * seed:100 * seed + length]
              for seed, length in ((2, 300), (3, 40), (4, 3))]
    corpus = Corpus.from_text(text)
    ids = [corpus.vocabulary.encode(piece) for piece in pieces]
    result = Novelty(ids, longest_passages(corpus.ids, ids, len(corpus.vocabulary)))
    ngrams = [piece[start:start + size] for piece in pieces for start in range(len(piece) - size + 1)]
    assert result.count(size) == len(ngrams)
    assert result.characters == sum(map(len, pieces))
    if ngrams:
        assert 0 < result.fraction(size) < 1
        assert result.fraction(size) == sum(ngram in text for ngram in ngrams) / len(ngrams)
        found = [[piece[start:start + size] in text for start in range(len(piece) - size + 1)] for piece in pieces]
        assert result.separate(size) == sum(len("".join(" x"[hit] for hit in hits).split()) for hits in found)
    else:
        assert math.isnan(result.fraction(size))


def test_a_fraction_of_short_ngrams_is_not_available() -> None:
    with pytest.raises(ConfigError, match="size: must be at least 8"):
        novelty_of([[8]]).fraction(7)


def test_the_longest_passages_do_not_overlap_and_are_not_repeated() -> None:
    result = novelty_of([[10, 9, 12, 11, *[0] * 20], [*range(20, 7, -1), *[0] * 7], [0] * 30])
    assert result.passages(9) == [Passage(1, 0, 20), Passage(0, 2, 12)]  # that of 10 overlaps that of 12
    assert result.passages(1) == [Passage(1, 0, 20)]
    assert result.ids(Passage(0, 2, 12)).tolist() == list(range(2, 14))
    assert result.longest == 20
    same = np.arange(9)
    assert Novelty([same, same], [np.array([9, 8, *[0] * 7])] * 2).passages(5) == [Passage(0, 0, 9)]


def test_there_may_be_no_passages() -> None:
    for result in (novelty_of([]), novelty_of([[]]), novelty_of([[0] * 10])):
        assert (result.longest, result.passages(3)) == (0, [])


# The texts that are compared

def test_the_samples_are_those_of_the_model_and_are_compared_with_as_much_validation_text(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "PIECE", 100)
    split = split_of(random_text(2000))
    model = make_model()
    found = compare(model, split, 250, temperature=0.9, seed=7)
    expected = ["".join(sample) for sample in zip(*model.generate(3, length=100, temperature=0.9, seed=7))]
    assert [model.vocabulary.decode(piece) for piece in found.generated.pieces] == expected
    text = model.vocabulary.decode(split.validation.ids)
    held_out = [model.vocabulary.decode(piece) for piece in found.held_out.pieces]
    places = [text.index(piece) for piece in held_out]
    assert list(map(len, held_out)) == [100] * 3
    assert places == [0, 100, 200]
    for result in (found.generated, found.held_out):
        lengths = longest_passages(split.train.ids, result.pieces, len(model.vocabulary))
        assert all(map(np.array_equal, result.lengths, lengths))
    assert found.held_out.fraction(8) < 0.01


def test_many_samples_are_generated_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "PIECE", 20)
    split = split_of(random_text(10_000))
    model = make_model()
    found = compare(model, split, 1400)
    expected = ["".join(sample) for sample in zip(*model.generate(70, length=20, seed=1))]
    assert [model.vocabulary.decode(piece) for piece in found.generated.pieces] == expected
    assert [len(piece) for piece in found.held_out.pieces] == [20] * 70


@pytest.mark.parametrize(("validation", "test"), [(0.2, 0.0), (0.2, 0.4), (0.0, 0.4)])
def test_the_validation_part_or_else_the_test_part_limits_the_length(validation: float, test: float) -> None:
    split = split_of(random_text(600), validation, test)
    expected = (split.validation if validation else split.test).ids
    found = compare(make_model(), split, 10**6)
    assert [len(piece) for piece in found.generated.pieces] == [len(expected)]
    assert np.array_equal(found.held_out.pieces, [expected])


def test_without_held_out_text_there_is_no_verdict() -> None:
    found = compare(make_model(), split_of(random_text(2000), 0.0), 100)
    assert found.generated.characters == 100
    assert (found.held_out, found.copies) == (None, None)
    assert re.fullmatch(r"Generated text shares \d+ passages? of at least 16 characters with it \(.* % of its 16-grams\); "
                        r"there is no validation text to compare this with", found.line("it"))


def test_a_model_of_lines_generates_lines_that_are_compared_with_lines() -> None:
    lines = [random_text(12, seed).replace("\n", "a") for seed in range(400)]
    split = split_of("\n".join(lines), 0.25, documents="lines")
    model = make_model(documents="lines")
    found = compare(model, split, 300)
    text = [model.vocabulary.decode(piece) for piece in found.generated.pieces]
    sampled = ["".join(sample) for sample in zip(*model.generate(len(text), length=1000, seed=1))]
    assert text == ["\n" + sample for sample in sampled]
    assert len(text) == math.ceil(300 * len(split.train.starts) / len(split.train))
    held_out = [model.vocabulary.decode(piece) for piece in found.held_out.pieces]
    assert len(held_out) == len(text)
    assert len(set(held_out)) == len(text)
    for piece in held_out:
        assert piece[1:-1] in lines
        assert piece == f"\n{piece[1:-1]}\n"
    assert found.size == 8
    most = compare(model, split, 10**6)
    assert len(most.generated.pieces) == len(most.held_out.pieces) == len(split.validation.starts)


def test_spaces_at_the_ends_of_a_document_belong_to_it() -> None:
    split = split_of("\n otto \n emma \n anna ", 0, documents="lines")
    pieces = [split.corpus.vocabulary.encode(f"\n{line}\n") for line in (" otto ", "otto", " otto")]
    found = Novelty(pieces, [np.zeros(len(piece), np.int64) for piece in pieces])
    assert novelty._whole_documents(found, split) == pytest.approx(1 / 3)


def test_a_model_of_bytes_is_compared_with_bytes() -> None:
    corpus = Corpus.from_text("é, naïve café " * 100, level="byte")
    model = make_model("".join(corpus.vocabulary.characters), level="byte")
    found = compare(model, corpus.split(0.2), 50)
    assert found.generated.characters == 50
    assert found.held_out.fraction(32) == 1
    assert "of at least 16 bytes with it" in found.line("it", "byte")


def test_only_the_last_characters_are_read_if_a_limit_is_given() -> None:
    split = split_of(random_text(300) * 2)  # the validation part occurs early in the training part
    read: list[int] = []
    assert compare(make_model(), split, 40).held_out.fraction(32) == 1
    assert compare(make_model(), split, 40, most=100, progress=read.append).held_out.fraction(32) == 0
    assert sum(read) == 40 + 100


def test_generating_ends_when_the_time_is_over() -> None:
    found = compare(make_model(), split_of(random_text(30_000)), 3000, seconds=0)
    assert [len(piece) for piece in found.generated.pieces] == [1] * 3
    assert [len(piece) for piece in found.held_out.pieces] == [1] * 3
    assert found.copies is False
    assert found.line("it").startswith("Generated text shares 0 passages of at least 8 characters with it (- of its 8-g")


@pytest.mark.parametrize("values", [{"length": 0}, {"length": 10**6 + 1},
                                    {"length": 1.5}, {"temperature": -1}, {"seed": -1}], ids=repr)
def test_rejects_settings_out_of_range(values: dict) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(values))}: "):
        compare(make_model(), split_of(random_text(2000)), **values)


# The verdict

@pytest.mark.parametrize(("generated", "held_out", "copies"), [
    (0, 0, False), (200, 100, False), (2600, 1200, False), (431, 100, False), (432, 100, True), (232, 0, True),
    (231, 0, False), (6000, 5000, False), (10_000, 4000, True)])
def test_a_model_copies_if_it_has_far_more_ngrams_in_common_with_the_text(
        generated: int, held_out: int, copies: bool) -> None:
    found = comparison_of(generated, held_out)
    assert found.copies is copies
    assert ("copies its training text" in found.verdict) is copies
    assert ("does not copy" in found.verdict) is not copies


@pytest.mark.parametrize(("generated", "held_out", "copies"), [
    (10, 0, False), (11, 0, True), (30, 10, False), (31, 10, True)])
def test_a_model_copies_if_it_has_far_more_separate_passages_in_common_with_the_text(
        generated: int, held_out: int, copies: bool) -> None:
    many, few = ([[17, 16, 15, 14] * number + [0] * (100_000 - 4 * number)] for number in (generated, held_out))
    found = Comparison(novelty_of(many), novelty_of(few))
    assert (found.generated.separate(16), found.held_out.separate(16)) == (generated, held_out)
    assert found.copies is copies


def test_lines_too_short_for_long_ngrams_are_compared_by_short_ones() -> None:
    lines = novelty_of([[12, 11, 10, 9, 8, *[0] * 7]] * 100)
    others = novelty_of([[0] * 12] * 100)
    assert Comparison(lines, others).size == 8
    assert Comparison(lines, others).copies is True
    assert Comparison(others, lines).copies is False
    assert Comparison(novelty_of([[0] * 16] * 9), others).size == 8
    assert Comparison(novelty_of([[0] * 20] * 9), others).size == 16


def test_a_run_that_memorized_its_text_is_told_apart(start: Callable[..., Run], take: Callable[..., list]) -> None:
    corpus = Corpus.from_text(random_text(500))
    run = start(corpus, hidden_size=64, batch_size=2, seq_len=32, steps=300, learning_rate=0.02, validation=0.6)
    split = run.split(corpus)
    take(run, 10, corpus)
    before = compare(run.model, split)
    take(run, None, corpus)
    after = compare(run.model, split)
    assert before.copies is False
    assert after.copies is True
    assert before.generated.longest < 16
    assert after.held_out.longest < 16
    assert after.generated.longest > 50


def test_a_line_gives_the_figures_and_the_verdict() -> None:
    assert comparison_of(900, 100).line("the text") == (
        "Generated text shares 1 passage of at least 16 characters with the text (9.0 % of its 16-grams), validation text "
        "1 (1.0 %); this model copies its training text")
    assert percent(math.nan) == "-"
    assert percent(1.0) == "100.0 %"
