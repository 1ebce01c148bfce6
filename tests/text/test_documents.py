"""charrnn.text.documents"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn import Corpus
from charrnn.config import END, TextConfig
from charrnn.errors import CorpusError
from charrnn.text.documents import mark_ends, read_documents

TEXTS = st.text("ab-\n\n\n \r\té", max_size=40)
SEPARATORS = ["---", "\n---\n", "-", "\n", "\n\n", "--\n", "\n--", "a\n", "aa", "aba", " ", "\n \n", "b\n\n"]


def cut(text: str, places: Sequence[int]) -> list[str]:
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[first:last] for first, last in pairwise(bounds)]


def marked(*blocks: str, **settings: Any) -> str:
    return "".join(read_documents(blocks, "notes.txt", TextConfig(**settings)))


def documents(*blocks: str, **settings: Any) -> list[str]:
    """Return the documents of a text, and check that an end mark follows each."""
    text = marked(*blocks, **settings)
    assert not text.startswith(END)
    assert END * 2 not in text
    assert not text or text.endswith(END)
    return text.split(END)[:-1]


# All divisions into blocks

@settings(max_examples=300)
@given(TEXTS, st.lists(st.integers(0, 40), max_size=8), st.sampled_from(SEPARATORS))
@example("a\n---\n\n---\nb", [7], "\n---\n")
@example("\n---\nb", [1], "\n---\n")
@example("aaaa", [1, 2, 3], "aa")
def test_documents_between_separators_are_those_of_the_whole_text(text, places, separator):
    whole = text.replace("\r\n", "\n")
    found = documents(*cut(text, places), separator=separator)
    assert found == documents(text, separator=separator)
    assert found == list(filter(None, (part.strip("\n") for part in whole.split(separator))))


@settings(max_examples=300)
@given(TEXTS, st.lists(st.integers(0, 40), max_size=8))
@example("a\n\n \nb", [3])
@example("a\n ", [2])
@example(" \n\n a", [1, 2])
def test_paragraphs_are_separated_by_blank_lines(text, places):
    expected, lines = [], []
    for line in [*text.replace("\r\n", "\n").split("\n"), ""]:
        if line.strip():
            lines.append(line)
        elif lines:
            expected.append("\n".join(lines))
            lines = []
    assert documents(*cut(text, places), documents="paragraphs") == expected


@given(TEXTS, st.lists(st.integers(0, 40), max_size=8))
def test_a_file_is_one_document_without_line_breaks_at_its_ends(text, places):
    whole = text.replace("\r\n", "\n").strip("\n")
    assert documents(*cut(text, places), documents="files") == [whole] * bool(whole)


@given(TEXTS, st.lists(st.integers(0, 40), max_size=8))
def test_lines_and_continuous_texts_have_no_end_marks(text, places):
    assert marked(*cut(text, places)) == text
    whole = text.replace("\r\n", "\n")
    assert marked(*cut(text, places), documents="lines") == (whole + "\n" if whole and whole[-1] != "\n" else whole)


# Cases

@pytest.mark.parametrize(("text", "found"), [
    ("", []), ("\n\n\n", []), (" \n\t\n ", []), ("a", ["a"]), ("a\nb\n\nc\n", ["a\nb", "c"]), ("a\r\n\r\nb", ["a", "b"]),
    ("a\n  \n\t\n \nb", ["a", "b"]), ("\n \na", ["a"]), ("a\n\n  b\n\n", ["a", "  b"]), ("a \n\nb", ["a ", "b"])])
def test_paragraphs(text, found):
    assert documents(text, documents="paragraphs") == found


@pytest.mark.parametrize(("text", "separator", "found"), [
    ("one---two---three", "---", ["one", "two", "three"]), ("one\n---\ntwo\n", "---", ["one", "two"]),
    ("one\n---\ntwo\n", "\n---\n", ["one", "two"]), ("one\n\n---\n\n\ntwo", "\n---\n", ["one", "two"]),
    ("------", "---", []), ("a---\n---b", "---", ["a", "b"]), ("a.*b", ".*", ["a", "b"]), ("a\n\nb", "---", ["a\n\nb"]),
    ("a---", "---", ["a"]), ("--- a", "---", [" a"]), ("a\r\n%%\r\nb", "\n%%\n", ["a", "b"]),
    ("a\r\n%%\r\nb", "\r\n%%\r\n", ["a", "b"])])
def test_separators(text, separator, found):
    assert documents(text, separator=separator) == found


def test_the_separator_is_normalized_like_the_text():
    assert documents("One END Two", separator=" END ", lowercase=True) == ["one", "two"]
    assert documents("a\u00e9b", separator="e\u0301", normalize="NFC") == ["a", "b"]
    corpus = Corpus.from_text("one\u00e9two", separator="\u00e9", level="byte")
    assert sorted(corpus.documents()) == ["one", "two"]


def test_documents_may_be_longer_than_a_block_and_than_a_window():
    long = "word " * 2000 + "end"
    blocks = [f"{long}\n\nb\n\n{long}"[first:first + 7] for first in range(0, 20_016, 7)]
    assert documents(*blocks, documents="paragraphs") == [long, "b", long]
    yielded = list(mark_ends(blocks, TextConfig(documents="paragraphs")))
    assert max(map(len, yielded)) < 100  # the text is not collected in memory
    corpus = Corpus.from_text("".join(blocks), documents="paragraphs")
    assert sorted(corpus.documents()) == ["b", long, long]
    assert corpus.distinct == 2


@pytest.mark.parametrize("unit", ["lines", "paragraphs", "files"])
def test_a_document_of_one_character(unit):
    corpus = Corpus.from_text("x", documents=unit)
    assert [*corpus.documents()] == ["x"]
    assert len(corpus) == 3
    assert corpus.starts.tolist() == [0]
    assert corpus.distinct == 1


@pytest.mark.parametrize("config", [{"documents": "paragraphs"}, {"separator": "-"}, {"documents": "files"}], ids=str)
def test_a_text_without_documents_is_refused(config):
    with pytest.raises(CorpusError, match=r"is empty|are empty"):
        Corpus.from_text("\n\n", **config)


@pytest.mark.parametrize("config", [
    {}, {"documents": "lines"}, {"documents": "paragraphs"}, {"separator": "-"}, {"documents": "files"}, {"column": "a"}],
    ids=str)
@pytest.mark.parametrize("surrogate", [END, "\udcff"])
def test_a_surrogate_is_not_an_end_mark(config, surrogate):
    with pytest.raises(CorpusError, match="contains surrogates"):
        Corpus.from_text(f"a\nb{surrogate}c\n", **config)


def test_files_are_separate_even_without_a_line_break_at_their_ends(tmp_path):
    for name, text in (("a", "one\n\ntwo"), ("b", "three"), ("c", ""), ("d", "\n\nfour\n")):
        (tmp_path / f"{name}.txt").write_text(text)
    assert sorted(Corpus.read(tmp_path, documents="paragraphs").documents()) == ["four", "one", "three", "two"]
    assert sorted(Corpus.read(tmp_path, documents="files").documents()) == ["four", "one\n\ntwo", "three"]
    assert sorted(Corpus.read(tmp_path, separator="e").documents()) == ["four", "on", "thr", "two"]


# Lines of older files

@pytest.mark.parametrize(("settings", "ids", "fingerprint"), [
    ({"shuffle_seed": 3}, [0, 2, 4, 10, 1, 0, 2, 6, 9, 7, 0, 6, 5, 1, 0, 8, 3, 7, 1, 1, 0, 8, 11, 6, 0, 8, 11, 6, 0],
     "b971618f2273be635e2a7764e24e29674dda841d537d2d722ccee9f1382faa41"),
    ({"min_count": 2, "lowercase": True},
     [0, 2, 7, 7, 1, 0, 3, 7, 1, 0, 2, 3, 7, 4, 0, 5, 6, 3, 0, 5, 7, 4, 1, 1, 0, 5, 6, 3, 0],
     "4dd4ac7259cf534e48f521c1edbbee18c496d11bf29bdb761f5d281572d44c1e"),
    ({"level": "byte"}, [0, 2, 4, 10, 1, 0, 6, 5, 1, 0, 2, 6, 9, 7, 0, 8, 11, 6, 0, 8, 3, 7, 1, 1, 0, 8, 11, 6, 0],
     "614c1a0b4a3128c76d91c2a0e989a4106e169e949d259b8cf91efefb24e7a92b")], ids=str)
def test_lines_of_older_files_keep_their_order_and_fingerprint(settings, ids, fingerprint):
    from charrnn.config import from_dict

    config = from_dict(TextConfig, {"lines": True, "reset_at_files": False, **settings})
    corpus = Corpus.from_text("one\r\ntwo\n\nthree\nfour\ntwo\nfive", text_config=config)
    assert corpus.ids.tolist() == ids
    assert corpus.starts.tolist() == [place for place, number in enumerate(ids[:-1]) if not number]
    assert corpus.fingerprint == fingerprint
    longer = Corpus.from_text("".join(f"line {number * number % 97}\n" for number in range(300)), text_config=config)
    assert [len(part) for part in longer.split(0.2, 0.1).parts] == [1646, 470, 236]


def test_files_that_were_documents_in_older_files_become_a_continuous_text():
    from charrnn.config import from_dict

    config = from_dict(TextConfig, {"reset_at_files": True})
    corpus = Corpus.from_text("one\n\ntwo", text_config=config)
    assert corpus.starts.tolist() == []
    assert corpus.fingerprint == Corpus.from_text("one\n\ntwo").fingerprint
    assert re.fullmatch("[0-9a-f]{64}", corpus.fingerprint)
