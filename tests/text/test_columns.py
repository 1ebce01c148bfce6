"""charrnn.text.columns"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import Corpus
from charrnn.config import END
from charrnn.errors import CorpusError
from charrnn.text import columns
from charrnn.text.columns import looks_like_columns, values_of

VALUES = st.lists(st.text("ab,;\t\"\n é中", max_size=8), max_size=12)


def values(text: str, name: str = "table.csv", column: str = "name", size: int = 7) -> list[str]:
    """Return the values of a column of a text that is read in blocks of ``size`` characters."""
    blocks = [text[first:first + size] for first in range(0, len(text), size)]
    found = "".join(values_of(blocks, name, column))
    assert not found or found.endswith(END)
    return found.split(END)[:-1]


def error_of(text: str, name: str = "table.csv", column: str = "name") -> str:
    with pytest.raises(CorpusError) as caught:
        values(text, name, column)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# CSV

@given(VALUES, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.integers(1, 30))
def test_every_value_of_a_column_is_found(expected, delimiter, end, size):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
    writer.writerows([["id", "name", "more"], *([number, value, "x,;\ty"] for number, value in enumerate(expected))])
    assert values(file.getvalue(), size=size) == expected


def test_quotation_marks_delimiters_and_line_breaks_inside_a_value():
    assert values('id,name\n1,"a ""b"", c"\n2,"two\nlines"\n3,plain\n') == ['a "b", c', "two\nlines", "plain"]


@pytest.mark.parametrize(("text", "found"), [
    ("name\tid\na,b\t1\n", ["a,b"]), ("name;id\na,b;1\n", ["a,b"]), ("name\na\nb", ["a", "b"]),
    ("id,name\n1\n2,b\n\n3,c,d\n", ["b", "c"]),
    ("id,name\n1,\n2,b\n", ["", "b"]), ("name,name\n1,2\n", ["1"]), ('"a name",id\nx,1\n', []), ("name,id\n", [])])
def test_delimiters_and_rows_that_are_too_short(text, found):
    column = "a name" if "a name" in text else "name"
    assert values(text, column=column) == (found or (["x"] if column == "a name" else []))


def test_values_may_be_longer_than_the_limit_of_the_csv_module():
    long = "word " * 60_000
    assert values(f"name,id\n{long},1\nb,2\n", size=10_000) == [long, "b"]


def test_values_are_yielded_in_blocks(monkeypatch):
    monkeypatch.setattr(columns, "_BLOCK", 10)
    blocks = list(values_of(["name\n", "abcd\n" * 20], "a.csv", "name"))
    assert len(blocks) > 5
    assert max(map(len, blocks)) <= 15
    assert "".join(blocks) == f"abcd{END}" * 20


@pytest.mark.parametrize(("text", "line"), [('name\n"a"b\n', "2"), ('name\nx\n"open\n', "3"), ('name\n"a\nb"c\n', "3")])
def test_invalid_csv_is_refused_with_its_line(text, line):
    message = error_of(text)
    assert message.startswith(f"table.csv: line {line} is not valid CSV (")
    assert message.endswith("; check the quotation marks in that line")


def test_a_missing_column_lists_those_that_exist():
    assert error_of("id,title\n1,a\n") == "table.csv: has no column 'name'; its columns are 'id', 'title'"
    assert error_of("id;Name\n") == "table.csv: has no column 'name'; its columns are 'id', 'Name'"
    assert error_of("") == "table.csv: has no column 'name'; use a file with a header"
    many = error_of(",".join(f"c{number}" for number in range(25)))
    assert "'c19' and others" in many
    assert "'c20'" not in many
    assert error_of('{"id": 1}\n{"b": 2}', "a.jsonl") == "a.jsonl: has no column 'name'; its columns are 'id', 'b'"
    assert "a.jsonl: has no column" in error_of("\n", "a.jsonl")


# JSON Lines

@given(VALUES, st.booleans(), st.integers(1, 30))
def test_every_value_of_a_key_is_found(expected, ascii_only, size):
    text = "".join(json.dumps({"id": 1, "name": value}, ensure_ascii=ascii_only) + "\n" for value in expected)
    if expected:
        assert values(text, "a.jsonl", size=size) == expected


@pytest.mark.parametrize(("text", "found"), [
    ('{"name": "a"}\n\n  \n{"name": null}\n{"id": 3}\n{"name": "b"}', ["a", "b"]),
    ('{"name": 1.5}\n{"name": true}\n{"name": -3}\n', ["1.5", "true", "-3"]),
    ('{"name": "\\u4e2d\\ud83d\\ude00"}', ["中\U0001f600"]),
    ('{"name": ""}\r\n{"name": "a\\nb"}\r\n', ["", "a\nb"]), ('{"name": null}', [])])
def test_values_of_json_lines(text, found):
    assert values(text, "a.jsonl") == found


@pytest.mark.parametrize(("text", "message"), [
    ('{"name": "a"}\n{"name": \n', "line 2 is not valid JSON; use JSON Lines: one object on each line"),
    ('\n["a"]\n', "line 2 is not a JSON object; use JSON Lines: one object on each line"),
    ('[\n{"name": "a"}\n]', "line 1 is not valid JSON; use JSON Lines"),
    ('[{"name": "a"}, {"name": "b"}]', "line 1 is not a JSON object; use JSON Lines"),
    ('"name"', "line 1 is not a JSON object"), ("[" * 100_000, "line 1 is not valid JSON"),
    ('{"name": ["a"]}', "'name' in line 1 is an object or an array; choose a column of strings or numbers"),
    ('{"name": {}}', "'name' in line 1 is an object or an array; choose a column of strings or numbers"),
    ('{"name": "a"}\n{"name": "\\ud800"}', "line 2 contains surrogates, which are not characters; correct the escapes"),
    ('{"name": "\\udcff"}', "line 1 contains surrogates")])
def test_invalid_json_lines_are_refused_with_their_line(text, message):
    assert error_of(text, "a.jsonl").startswith(f"a.jsonl: {message}")


# Files

@pytest.mark.parametrize(("name", "is_json", "is_table"), [
    ("a.csv", False, True), ("A.CSV", False, True), ("a.tsv.gz", False, True), ("a.jsonl", True, True),
    ("a.ndjson.xz", True, True),
    ("a.json", True, False), ("a.txt", False, False), ("a.csv.txt", False, False), ("a.gz", False, False),
    ("-", False, False),
    ("b/c.JSONL.bz2", True, True)])
def test_the_suffix_selects_the_format(name, is_json, is_table):
    assert looks_like_columns(name) == is_table
    assert values('{"name": "a"}' if is_json else "name\na", name) == ["a"]


@pytest.mark.parametrize(("suffix", "compress"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress),
                                                  (".xz", lzma.compress)])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_columns_of_files_in_other_encodings(tmp_path, suffix, compress, encoding):
    setting = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    table = tmp_path / f"a.csv{suffix}"
    table.write_bytes(compress('name;id\r\n"café\r\nnoir";1\r\nthé;2\r\n'.encode(encoding)))
    corpus = Corpus.read(table, column="name", encoding=setting)
    assert sorted(corpus.documents()) == ["café\nnoir", "thé"]
    assert (corpus.text_config.column, corpus.distinct) == ("name", 2)
    lines = tmp_path / f"b.jsonl{suffix}"
    lines.write_bytes(compress('{"name": "thé"}\n{"name": "CAFÉ\\n"}'.encode(encoding)))
    assert sorted(Corpus.read(table, lines, column="name", encoding=setting, lowercase=True).documents()) == [
        "café", "café\nnoir", "thé", "thé"]


def test_values_may_contain_blank_lines_and_separators_of_other_settings():
    corpus = Corpus.from_text('name\n"\n\na\n\nb---c\n\n"\n""\n', column="name")
    assert [*corpus.documents()] == ["a\n\nb---c"]


def test_a_column_without_values_is_refused():
    with pytest.raises(CorpusError, match=r"is empty|are empty"):
        Corpus.from_text("name,id\n,1\n", column="name")
