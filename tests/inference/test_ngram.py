"""charrnn.inference.ngram, compared with the definition written out with dictionaries."""

from __future__ import annotations

import math
import mmap
import os
import re
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.inference import ngram
from charrnn.inference.evaluation import Evaluation
from charrnn.inference.ngram import witten_bell

SMALL = ("--hidden-size", 8, "--batch-size", 3, "--seq-len", 8, "--threads", 1)
FIGURES = r"\d+\.\d{4} nats/char  \d+\.\d{3} bits/char  perplexity \d+\.\d{2}\n"


def by_definition(training: list[int], text: list[int], vocabulary_size: int, order: int) -> float:
    """Return the mean loss in nats, computed from the definition."""
    followers: dict[tuple, Counter] = defaultdict(Counter)
    for place, character in enumerate(training):
        for length in range(min(order, place) + 1):
            followers[tuple(training[place - length:place])][character] += 1

    def probability(character: int, context: tuple) -> float:
        shorter = probability(character, context[1:]) if context else 1 / vocabulary_size
        if context not in followers:
            return shorter
        here = followers[context]
        return (here[character] + len(here) * shorter) / (sum(here.values()) + len(here))

    return -sum(math.log(probability(text[place], tuple(text[max(0, place - order):place])))
                for place in range(1, len(text))) / (len(text) - 1)


def draw(characters: int, vocabulary_size: int, seed: int = 1) -> np.ndarray:
    """Return ids with repetitions, in the dtype of a vocabulary of this size; small ids are frequent."""
    rng = np.random.default_rng(seed)
    ids = (vocabulary_size * rng.random(characters)**3).astype(np.min_scalar_type(vocabulary_size - 1))
    for _ in range(characters // 20):
        source, target = rng.integers(0, max(1, characters - 10), 2)
        ids[target:target + 10] = ids[source:source + 10]
    return ids


def assert_agrees(training: np.ndarray, text: np.ndarray, vocabulary_size: int, order: int) -> None:
    result = witten_bell(training, text, vocabulary_size, order)
    expected = by_definition(training.tolist(), text.tolist(), vocabulary_size, order)
    assert result.nats == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert result.characters == len(text) - 1


# The loss

@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 7, 32])
@pytest.mark.parametrize("vocabulary_size", [2, 27, 256, 257, 10_000, 0x110000])
def test_the_loss_agrees_with_the_definition(vocabulary_size: int, order: int) -> None:
    ids = draw(2000, vocabulary_size)
    assert_agrees(ids[:1700], ids[1700:], vocabulary_size, order)


def test_distinguishes_many_contexts_of_a_large_vocabulary() -> None:
    """The product of the number of contexts and the size of the vocabulary does not fit into 32 bits."""
    ids = np.random.default_rng(3).integers(0x110000, size=8000).astype(np.uint32)
    ids[4000:6000] = ids[6000:]
    assert_agrees(ids[:6000], ids[6000:], 0x110000, 2)


def test_collects_many_distinct_ngrams_over_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "BLOCK", 500)
    ids = draw(15_000, 1000)
    assert_agrees(ids[:12_000], ids[12_000:], 1000, 3)


@settings(max_examples=80)
@given(training=st.lists(st.integers(0, 3), max_size=60), text=st.lists(st.integers(0, 3), min_size=2, max_size=40),
       order=st.integers(0, 6), dtype=st.sampled_from(["uint8", "uint16", "uint32", "uint64"]), block=st.integers(1, 70))
@example(training=[], text=[0, 1], order=3, dtype="uint8", block=7)
@example(training=[1], text=[0, 1], order=0, dtype="uint8", block=1)
@example(training=[0, 1], text=[0, 1, 0], order=6, dtype="uint8", block=2)  # shorter than the order
@example(training=[0, 0, 0, 1], text=[0, 1, 2], order=1, dtype="uint8", block=4)  # nothing follows the 1 at the end
def test_the_loss_of_any_text_in_blocks_of_any_size_agrees_with_the_definition(
        training: list, text: list, order: int, dtype: str, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngram, "BLOCK", block)
        assert_agrees(np.array(training, dtype), np.array(text, dtype), 4, order)


@settings(max_examples=50)
@given(context=st.lists(st.integers(0, 4), min_size=1, max_size=6), order=st.integers(0, 5), seed=st.integers(0, 99))
def test_the_probabilities_of_all_characters_sum_to_one(context: list, order: int, seed: int) -> None:
    training = draw(100, 5, seed)

    def loss(text: list) -> float:
        result = witten_bell(training, np.array(text, np.uint8), 5, order)
        return result.nats * result.characters

    before = loss(context) if len(context) > 1 else 0.0
    assert sum(math.exp(before - loss([*context, character])) for character in range(5)) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("block", [1, 13, 199, 200, 201, 800])
def test_the_size_of_the_blocks_does_not_change_the_loss(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    ids = draw(1000, 30)
    expected = witten_bell(ids[:800], ids[800:], 30, 5).nats
    monkeypatch.setattr(ngram, "BLOCK", block)
    assert witten_bell(ids[:800], ids[800:], 30, 5).nats == pytest.approx(expected, rel=1e-12)


def test_a_small_case_agrees_with_counts_by_hand() -> None:
    training, text = np.array([0, 1, 0, 1, 0, 2], np.uint8), np.array([0, 2], np.uint8)
    unigram = (1 + 3 / 4) / (6 + 3)  # 2 occurs once in six characters, of which three are distinct; the vocabulary has four
    assert witten_bell(training, text, 4, 0) == Evaluation(pytest.approx(-math.log(unigram), rel=1e-12), 1)
    bigram = (1 + 2 * unigram) / (3 + 2)  # 0 is followed by 1 twice and by 2 once
    assert witten_bell(training, text, 4, 1) == Evaluation(pytest.approx(-math.log(bigram), rel=1e-12), 1)


@pytest.mark.parametrize("order", [0, 1, 4])
def test_the_loss_is_zero_if_there_is_only_one_character(order: int) -> None:
    zeros = np.zeros(50, np.uint8)
    assert str(witten_bell(zeros, zeros[:2], 1, order).nats) == "0.0"


@pytest.mark.parametrize("order", [0, 4])
def test_all_characters_are_equally_likely_without_training(order: int) -> None:
    assert witten_bell(np.zeros(0, np.uint8), draw(40, 7), 7, order).nats == pytest.approx(math.log(7), rel=1e-12)


@pytest.mark.parametrize("order", [-1, 33, 10**30, 1.5, True, None])
def test_rejects_an_order_out_of_range_and_names_it(order: object) -> None:
    with pytest.raises(ConfigError, match="order"):
        witten_bell(draw(50, 5), draw(50, 5), 5, order)


@pytest.mark.parametrize("length", [0, 1])
def test_rejects_a_text_of_fewer_than_two_characters(length: int) -> None:
    with pytest.raises(ValueError, match="at least 2 characters"):
        witten_bell(draw(50, 5), draw(length, 5), 5, 2)


# Invalid ids

@pytest.mark.parametrize("ids", [np.array([0, 5]), np.array([0, -1]), np.array([0.0, 1]), np.array([[0], [1]]),
                                 np.array([True, False])], ids=repr)
def test_rejects_invalid_ids(ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^text: id"):
        witten_bell(draw(50, 5), ids, 5, 2)
    with pytest.raises(ValueError, match=r"^training: id"):
        witten_bell(ids, draw(50, 5), 5, 2)


# Reading

def test_progress_is_called_for_every_counted_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "BLOCK", 300)
    counted: list[int] = []
    witten_bell(draw(1000, 9), draw(500, 9), 9, 3, counted.append)
    assert counted == [300, 300, 300, 100]


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_a_memory_map_gives_the_same_loss_as_an_array(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dtype: str, mode: str) -> None:
    monkeypatch.setattr(ngram, "BLOCK", 700)
    ids = draw(5000, 200).astype(dtype)
    ids.tofile(tmp_path / "ids")
    mapped = np.memmap(tmp_path / "ids", dtype, mode)
    if mode == "c":  # a change that exists only in memory must not be lost
        mapped[:100] = ids[:100] = 0
    assert witten_bell(mapped[:4000], mapped[4000:], 200, 3) == witten_bell(ids[:4000], ids[4000:], 200, 3)
    assert np.array_equal(mapped, ids)


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED") or not os.path.exists("/proc/self/status"), reason="Linux only")
def test_pages_of_a_memory_map_are_released_after_reading(tmp_path: Path) -> None:
    def resident() -> int:
        return int(re.search(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

    size = 2**25
    with (tmp_path / "ids").open("wb") as file:
        file.truncate(size)
    before, most = resident(), 0

    def look(_: int) -> None:
        nonlocal most
        most = max(most, resident() - before)

    witten_bell(np.memmap(tmp_path / "ids", np.uint8, "r"), np.zeros(9, np.uint8), 2, 0, look)
    assert most < size // 2


def test_memory_depends_only_on_the_number_of_distinct_ngrams(monkeypatch: pytest.MonkeyPatch) -> None:
    """It depends neither on the length of the training part nor on that of the evaluated text."""
    monkeypatch.setattr(ngram, "BLOCK", 1000)
    ids = np.tile(draw(500, 50), 100)
    witten_bell(ids[:5000], ids[:5000], 50, 4)  # makes the allocations that are made only once
    tracemalloc.start()
    try:
        witten_bell(ids, ids, 50, 4)
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_looks_up_each_ngram_of_a_block_once_and_only_those_with_a_context_of_the_text() -> None:
    """Neither changes the loss, but both make it faster to compute."""
    ids = draw(3000, 40)
    levels = ngram._levels(ids[:500], 4)
    text = tuple(ids[:500].tolist())
    for length, (places, starts, keys, _) in enumerate(ngram._find(levels, ids)):
        contexts = {text[place - length:place] for place in range(length, len(text) + 1)}
        assert sorted(places) == [place for place in range(length, len(ids))
                                  if tuple(ids[place - length:place].tolist()) in contexts]
        assert (np.diff(keys) > 0).all()
        ngrams = {tuple(ids[place - length:place + 1].tolist()) for place in places}
        assert ngrams == {tuple(ids[place - length:place + 1].tolist()) for place in places[starts]}
        assert len(keys) == len(starts) == len(ngrams)


# The command

@pytest.fixture
def notes(make_text: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write notes.txt into the current folder, and return its text."""
    text = make_text(3000)
    (tmp_path / "notes.txt").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return text


def expected(text: str, order: int, first: float, second: float) -> float:
    """Return the loss of the part of ``text`` from fraction ``first`` to ``second``; the first 80 % are counted."""
    characters = sorted(set(text))
    ids = [characters.index(character) for character in text]
    bounds = [round(fraction * len(ids)) for fraction in (0.8, first, second)]
    return by_definition(ids[:bounds[0]], ids[bounds[1]:bounds[2]], len(characters), order)


@pytest.mark.parametrize(("options", "order"), [((), 4), (("--order", 2), 2), (("--order", 0), 0)])
def test_the_command_prints_a_line_as_evaluate_does(cli: Callable, notes: str, options: tuple, order: int) -> None:
    answer = cli("baseline", "notes.txt", "--validation", 0.2, *options)
    assert (answer.code, answer.out) == (0, Evaluation(expected(notes, order, 0.8, 1), 0).line("validation") + "\n")
    assert re.fullmatch("validation " + FIGURES, answer.out)
    assert answer.err == "notes.txt: 3,000 characters, 34 distinct\n"
    assert cli("baseline", "notes.txt", "--validation", 0.2, *options, "--quiet") == (0, answer.out, "")


def test_the_test_part_comes_first_if_there_is_one(cli: Callable, notes: str) -> None:
    validation, test = (Evaluation(expected(notes, 4, *part), 0) for part in ((0.8, 0.9), (0.9, 1)))
    answer = cli("baseline", "notes.txt", "--test", 0.1)
    assert answer.out == test.line("test") + "\n" + validation.line("validation") + "\n"
    assert len(cli("baseline", "notes.txt", "--test", 0.2, "--validation", 0).out.splitlines()) == 1


def test_the_text_is_read_as_train_reads_it(cli: Callable, notes: str) -> None:
    plain = cli("baseline", "notes.txt").out
    Path("notes.txt").write_text(notes, encoding="utf-16")
    assert cli("baseline", "notes.txt", "--encoding", "utf-16").out == plain
    assert cli("baseline", "-", stdin=notes).out == plain
    assert "the language reference that comes with Python" in cli("baseline", "--order", 0).err


def test_a_long_text_has_a_progress_bar(cli: Callable, notes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.cli import baseline

    monkeypatch.setattr(baseline, "_LONG", 1000)
    monkeypatch.setattr("charrnn.cli._console._SECONDS_BETWEEN_LINES", 0)
    assert "char/s" in cli("baseline", "notes.txt", "--test", 0.2).err


@pytest.mark.parametrize(("arguments", "message"), [
    (("notes.txt", "--order", -1), "Invalid value for '--order': must be at least 0"),
    (("notes.txt", "--order", 33), "Invalid value for '--order': must be at most 32"),
    (("notes.txt", "--validation", 0), "Invalid value for '--validation': leaves nothing to predict"),
    (("notes.txt", "--validation", 1), "Invalid value for '--validation'"),
    (("notes.txt", "--test", 0.95), "Invalid value for '--test'"),
    (("short.txt",), "Invalid value for '--validation': "),
    (("missing.txt",), "missing.txt: "),
    (("notes.txt", "--encoding", "utf-99"), "Invalid value for '--encoding'"),
], ids=str)
def test_reports_invalid_use_on_one_line(cli: Callable, notes: str, arguments: tuple, message: str) -> None:
    Path("short.txt").write_text("abc")
    answer = cli("baseline", *arguments)
    assert answer.code != 0
    assert answer.out == ""
    assert re.fullmatch(f"Error: {re.escape(message)}.*\n", answer.err)


# What train says

LINE = r"^The n-gram baseline \(order 4(.*?)\) reaches (\S+) nats/char; this model is (\S+) (better|worse.*)$"


def said(answer: object, counted: str = "") -> tuple[float, float, str]:
    """Return the numbers of the line about the n-gram baseline: its loss, the difference, and the verdict."""
    (found,) = re.findall(LINE, answer.err, re.MULTILINE)
    assert found[0] == counted
    return float(found[1]), float(found[2]), found[3]


def test_train_prints_the_ngram_baseline_and_that_a_bad_model_is_worse(cli: Callable, notes: str) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2, "--validation", 0.2, "--name", "run")
    nats, difference, meaning = said(answer)
    assert nats == pytest.approx(expected(notes, 4, 0.8, 1), abs=1e-4)
    assert difference == pytest.approx(float(answer.out.split()[1]) - nats, abs=2e-4)
    assert meaning == "worse; train longer, or choose a larger --hidden-size"
    again = cli("resume", "checkpoints/run", "--steps", 3)
    assert said(again)[0] == nats
    assert said(again)[1] == pytest.approx(float(again.out.split()[1]) - nats, abs=2e-4)


def test_a_better_model_than_the_baseline_is_reported_as_better(cli: Callable, make_text: Callable, tmp_path: Path) -> None:
    text = "abcdefgh" * 10 + "hgfedcba" * 2  # the part that is counted lacks every step backwards
    (tmp_path / "steps.txt").write_text(text)
    answer = cli("train", tmp_path / "steps.txt", *SMALL, "--steps", 1, "--learning-rate", 1e-9, "--validation", 0.16,
                 "--checkpoints", tmp_path)
    nats, difference, meaning = said(answer)
    assert meaning == "better"
    assert difference == pytest.approx(nats - float(answer.out.split()[1]), abs=2e-4)


def test_the_baseline_uses_only_the_end_of_a_long_text_and_the_line_says_so(
        cli: Callable, notes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "MOST_COUNTED", 1200)
    answer = cli("train", "notes.txt", *SMALL, "--steps", 1, "--validation", 0.2)
    nats, _, _ = said(answer, ", from the last 1,200 characters of the training part")
    characters = sorted(set(notes))
    ids = [characters.index(character) for character in notes]
    assert nats == pytest.approx(by_definition(ids[1200:2400], ids[2400:], len(characters), 4), abs=1e-4)


@pytest.mark.parametrize("options", [("--validation", 0), ("--quiet",)], ids=str)
def test_the_baseline_is_not_computed_without_a_validation_part_or_with_quiet(
        cli: Callable, notes: str, monkeypatch: pytest.MonkeyPatch, options: tuple) -> None:
    monkeypatch.setattr(ngram, "witten_bell", None)
    answer = cli("train", "notes.txt", *SMALL, "--steps", 1, *options)
    assert answer.code == 0
    assert "baseline" not in answer.err


def test_a_stopped_run_is_not_compared_with_the_baseline(
        cli: Callable, notes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.training.trainer import Trainer

    take = Trainer.step

    def step(self: Trainer) -> object:
        if self.run.step == 2:
            os.kill(os.getpid(), 2)
        return take(self)

    monkeypatch.setattr(Trainer, "step", step)
    answer = cli("train", "notes.txt", *SMALL, "--steps", 9, "--eval-every", 1)
    assert answer.code == 130
    assert "baseline" not in answer.err
