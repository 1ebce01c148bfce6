"""charrnn.text.advice"""

from __future__ import annotations

import random

import pytest

from charrnn import Corpus
from charrnn.text.advice import advice

WORDS = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "juniper", "knoll", "lagoon"]
rng = random.Random(1)
NAMES = "".join(f"{rng.choice(WORDS)} {rng.choice(WORDS)}\n" for _ in range(300))
SENTENCES = "".join(" ".join(rng.choices(WORDS, k=11)) + ".\n" for _ in range(300))
VERSE = "".join(f"{rng.choice(WORDS)} and {rng.choice(WORDS)}{rng.choice(',.;!')}\n" for _ in range(300))
CODE = "".join("    " * (number % 3) + f"{rng.choice(WORDS)} = {number}\n" for number in range(300))
WRAPPED = "".join(" ".join(rng.choices(WORDS, k=6)) + "\n" for _ in range(300))
LINES = "The text looks like a list of independent lines; to generate whole lines, pass `documents='lines'`"


def test_a_list_of_names_is_recognised() -> None:
    assert advice(Corpus.from_text(NAMES)) == LINES
    assert advice(Corpus.from_text(NAMES.replace(" ", ""))) == LINES
    assert advice(Corpus.from_text(NAMES * 100)) == LINES


@pytest.mark.parametrize("text", [
    SENTENCES, VERSE, CODE, WRAPPED, NAMES.replace("\n", "\n\n"), NAMES[:900], NAMES.replace("\n", " "), "x"],
    ids=["sentences", "verse", "code", "wrapped", "blank lines", "short", "one line", "one character"])
def test_other_texts_give_no_advice(text: str) -> None:
    assert advice(Corpus.from_text(text)) == ""


@pytest.mark.parametrize("count", [99, 100])
def test_a_list_has_at_least_a_hundred_lines(count: int) -> None:
    assert (advice(Corpus.from_text("amber\n" * count)) == LINES) == (count == 100)


def test_only_the_beginning_of_a_long_text_is_judged() -> None:
    assert advice(Corpus.from_text(NAMES * 50 + SENTENCES * 2)) == LINES


@pytest.mark.parametrize("settings", [{"documents": "lines"}, {"documents": "paragraphs"}, {"separator": "a"},
                                      {"level": "byte"}],
                         ids=str)
def test_there_is_no_advice_if_documents_or_bytes_are_chosen(settings) -> None:
    assert advice(Corpus.from_text(NAMES, ["table.csv"], **settings)) == ""


def test_tables_are_recognised_by_their_names(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name\na\n")
    found = advice(Corpus.read(path))
    assert found.endswith(".csv is read as one continuous text; to train on the values of one column, pass `column`")
    assert advice(Corpus.read(path, column="name")) == ""


@pytest.mark.parametrize(("count", "size", "is_folder", "is_advised"), [
    (20, 1000, True, True), (19, 1000, True, False), (20, 1000, False, False), (20, 10_001, True, False),
    (20, 10_000, True, True)])
def test_many_small_files_in_a_folder_are_recognised(tmp_path, count, size, is_folder, is_advised) -> None:
    for number in range(count):
        (tmp_path / f"{number}.txt").write_text((SENTENCES * 9)[:size])
    found = advice(Corpus.read(*([tmp_path] if is_folder else sorted(tmp_path.iterdir()))))
    assert found == (f"These {count} small files are read as one continuous text; to generate whole files, pass "
                     "`documents='files'`" if is_advised else "")
