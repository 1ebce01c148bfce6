import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import math
import os
import socket

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charrnn.config import END, TextConfig
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.corpus import DEFAULT_CORPUS, Corpus
from charrnn.text.decoding import decode_blocks
from charrnn.text.files import display_name, read_blocks
from charrnn.text.record import TextRecord, digest_of_sizes
from charrnn.text.tokens import Tokens

PROPERTY = settings(max_examples=60)
BOM = b"\xef\xbb\xbf"


def read_text(path):
    return "".join(decode_blocks(read_blocks(path), display_name(path), TextConfig()))


def decode(data, name, config=None):
    return "".join(decode_blocks([data], name, config or TextConfig()))


def text_of(corpus):
    return corpus.vocabulary.decode(corpus.ids)


def write(folder, **files):
    """Write files of bytes in ``folder``, named by the keywords with .txt; return their paths."""
    paths = []
    for name, data in files.items():
        path = folder / f"{name}.txt"
        path.write_bytes(data)
        paths.append(path)
    return paths


def record_of(source, characters, fingerprint="0" * 64):
    """Return the record of a text of ``characters`` in the files that exist."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    sizes = [file.stat().st_size for file in files]
    return TextRecord(fingerprint, characters, len(sizes), sum(sizes), digest_of_sizes(sizes))


def error_of(call, *arguments):
    with pytest.raises(CorpusError) as caught:
        call(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@PROPERTY
@given(st.text(min_size=1, max_size=80))
def test_the_ids_decode_to_the_text(text):
    corpus = Corpus.from_text(text)
    assert text_of(corpus) == text
    assert len(corpus) == len(text)
    assert len(corpus.vocabulary) == len(set(text))


@pytest.mark.parametrize("text", [
    "one\r\ntwo\r\n", "one\rtwo\n\r", "a\x00b", "  \n\n", "\x1a\x0c\x0b", "a\ufeffb", "e\u0301\U0001f600"])
def test_a_file_is_read_unchanged(tmp_path, text):
    (path,) = write(tmp_path, notes=text.encode())
    assert text_of(Corpus.read(path)) == text
    assert read_text(path) == text


def test_the_byte_order_mark_of_each_file_is_left_out(tmp_path):
    paths = write(tmp_path, one=BOM + b"one ", two=BOM + b"two" + BOM)
    assert text_of(Corpus.read(*paths)) == "one two\ufeff"


def test_several_files_are_read_in_the_given_order(tmp_path):
    a, b = write(tmp_path, a=b"first", b=b"second")
    assert text_of(Corpus.read(b, a, str(b))) == "secondfirstsecond"
    assert Corpus.read(b, a).sources == (str(b), str(a))


def test_a_folder_is_read_recursively_and_sorted_by_path(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "deep").mkdir()
    (tmp_path / "d.txt").mkdir()
    write(tmp_path, c=b"5", a=b"1")
    write(tmp_path / "b", y=b"3", z=b"4")
    write(tmp_path / "b" / "deep", x=b"2")
    write(tmp_path / "d.txt", inner=b"6")
    (tmp_path / "a.md").write_bytes(b"not read")
    (tmp_path / "b" / "data").write_bytes(b"\xff")
    assert text_of(Corpus.read(tmp_path)) == "123456"
    assert Corpus.read(str(tmp_path)).sources == (str(tmp_path),)


def test_a_folder_and_a_file_can_be_combined(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder, a=b"a", b=b"b")
    (extra,) = write(tmp_path, extra=b"c")
    assert text_of(Corpus.read(folder, extra)) == "abc"


def test_a_folder_without_texts_is_refused(tmp_path):
    (tmp_path / "notes.md").write_bytes(b"text")
    (tmp_path / "empty.txt").mkdir()
    message = error_of(Corpus.read, tmp_path)
    assert message.startswith(f"{tmp_path}: ")
    assert "*.txt" in message


@pytest.mark.parametrize(("data", "offset", "byte"), [
    (b"caf\xe9 au lait", "3", "0xe9"),
    (b"\xff\xffa\x00", "0", "0xff"),
    (BOM + b"ab\x80", "5", "0x80"),
    (b"a" * 18_204 + b"\xe9 and more", "18,204", "0xe9"),
    ("é".encode() * 600 + b"\xc3", "1,200", "0xc3"),
    (b"ab\xe2\x82", "2", "0xe2"),
    (b"ab\xed\xa0\x80", "2", "0xed"),
    (b"ab\xc0\x80", "2", "0xc0"),
    (b"ab\xf4\x90\x80\x80", "2", "0xf4")])
def test_invalid_utf8_is_refused_with_its_first_invalid_byte(tmp_path, data, offset, byte):
    (path,) = write(tmp_path, notes=data)
    assert error_of(Corpus.read, path).startswith(f"{path}: invalid UTF-8 at byte {offset} ({byte})")
    assert error_of(decode, data, "standard input").startswith(f"standard input: invalid UTF-8 at byte {offset} ({byte})")


@PROPERTY
@given(st.text(max_size=40), st.binary(max_size=3))
def test_the_offset_is_that_of_the_first_invalid_byte(before, after):
    start = before.encode()
    assume(start or not after.startswith(b"\xfe"))  # that would be the byte order mark of UTF-16
    assert f"at byte {len(start):,} (0xff)" in error_of(decode, start + b"\xff" + after, "x")


@pytest.mark.parametrize("data", [b"", BOM])
def test_an_empty_file_is_refused(tmp_path, data):
    (path,) = write(tmp_path, nothing=data)
    message = error_of(Corpus.read, path)
    assert str(path) in message
    assert "empty" in message


def test_an_empty_file_among_others_is_allowed(tmp_path):
    assert text_of(Corpus.read(*write(tmp_path, a=b"", b=b"text", c=BOM))) == "text"


def test_an_empty_string_is_refused():
    assert "empty" in error_of(Corpus.from_text, "")


def test_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "missing.txt"
    message = error_of(Corpus.read, path)
    assert message.startswith(f"{path}: ")
    assert "no such file" in message


def test_a_path_through_a_file_is_refused(tmp_path):
    (path,) = write(tmp_path, notes=b"text")
    assert error_of(Corpus.read, path / "below").startswith(f"{path / 'below'}: ")


def test_an_impossible_path_is_refused():
    assert "notes" in error_of(Corpus.read, "notes\x00.txt")


def test_a_text_with_surrogates_is_refused():
    with pytest.raises(CorpusError):
        Corpus.from_text("text with \udcff")


def test_the_builtin_corpus_needs_no_file_and_no_network(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.chdir(tmp_path)
    corpus = Corpus.read(DEFAULT_CORPUS)
    assert 350_000 < len(corpus) < 900_000
    assert 80 < len(corpus.vocabulary) < 256
    assert corpus.sources == (DEFAULT_CORPUS,)
    assert corpus.name == DEFAULT_CORPUS
    assert not list(tmp_path.iterdir())


def test_the_builtin_corpus_contains_the_topics_of_the_reference():
    from pydoc_data.topics import topics

    text = text_of(Corpus.read(DEFAULT_CORPUS))
    assert len(text) == sum(map(len, topics.values())) + 2 * (len(topics) - 1)
    assert all(topic in text for topic in topics.values())
    assert Corpus.read(DEFAULT_CORPUS).fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_the_topics_of_the_builtin_corpus_are_sorted_by_name(monkeypatch):
    monkeypatch.setattr("pydoc_data.topics.topics", {"while": "third", "assert": "first", "for": "second"})
    assert text_of(Corpus.read(DEFAULT_CORPUS)) == "first\n\nsecond\n\nthird"


def test_the_builtin_corpus_is_found_by_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Corpus.read(DEFAULT_CORPUS).sources == (DEFAULT_CORPUS,)
    assert Corpus.read(*Corpus.read(DEFAULT_CORPUS).sources).fingerprint == Corpus.read(DEFAULT_CORPUS).fingerprint


def test_a_text_that_is_much_larger_than_recorded_is_refused_without_reading_it(tmp_path, monkeypatch):
    """The record of a hostile checkpoint may have the sizes of any file."""
    with open(tmp_path / "huge.txt", "wb") as file:
        file.truncate(2**40)
    monkeypatch.setattr("charrnn.text.reader.read_blocks", None)  # reading would fail
    for source in (tmp_path, tmp_path / "huge.txt"):
        with pytest.raises(CorpusError, match="much larger than the text of this run"):
            Corpus.read(str(source), record=record_of(source, 1000))


def test_an_empty_name_is_refused():
    assert "the name of a text is empty" in error_of(Corpus.read, "")


def test_a_file_with_the_name_of_a_builtin_corpus_is_read_instead(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT_CORPUS).write_bytes(b"mine")
    assert text_of(Corpus.read(DEFAULT_CORPUS)) == "mine"


def test_files_can_be_given_as_strings(tmp_path):
    a, b = write(tmp_path, a=b"a", b=b"b")
    assert text_of(Corpus.read(str(a), str(b))) == "ab"


@PROPERTY
@given(st.text(min_size=1, max_size=40))
def test_the_fingerprint_is_the_sha256_of_the_text_in_utf8(text):
    assert Corpus.from_text(text).fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_the_fingerprint_does_not_depend_on_how_the_text_is_stored(tmp_path):
    whole, start, end = write(tmp_path, whole=BOM + b"one two", start=b"one ", end=b"two")
    assert Corpus.read(whole).fingerprint == Corpus.read(start, end).fingerprint == Corpus.from_text("one two").fingerprint


@pytest.mark.parametrize(("source", "name"), [("a/novel.txt", "novel"), ("notes", "notes"), ("x.tar.gz", "x.tar")])
def test_the_name_is_the_stem_of_the_first_source(source, name):
    assert Corpus.from_text("text", [source, "other.txt"]).name == name
    assert Corpus.from_text("text").name == "text"


@pytest.mark.parametrize(("length", "fractions", "sizes"), [
    (1000, (), (900, 100, 0)), (1000, (0.1, 0.0), (900, 100, 0)), (1000, (0.1, 0.05), (850, 100, 50)),
    (1000, (0.0, 0.0), (1000, 0, 0)), (1000, (0.0, 0.25), (750, 0, 250)), (1000, (0.5, 0.25), (250, 500, 250)),
    (20, (0.1, 0.1), (16, 2, 2))])
def test_the_parts_have_the_sizes_of_their_fractions(length, fractions, sizes):
    corpus = Corpus.from_text("ab" * (length // 2))
    assert tuple(map(len, corpus.split(*fractions).parts)) == sizes


@PROPERTY
@given(st.integers(2, 3000), st.floats(0, 0.98), st.floats(0, 0.98))
def test_the_parts_are_consecutive_and_cover_the_text(length, validation, test):
    test = min(test, 0.99 - validation)
    corpus = Corpus.from_text("".join(map(chr, range(32, 32 + length))))
    try:
        parts = corpus.split(validation, test)
    except ConfigError as error:
        fraction = {"validation": validation, "test": test}[error.field]
        assert 0 < fraction * length < 3
        return
    assert np.array_equal(np.concatenate([part.ids for part in parts.parts]), corpus.ids)
    assert all(np.shares_memory(part.ids, corpus.ids) for part in parts.parts if len(part))
    assert abs(len(parts.validation) - validation * length) < 1 + 1e-6
    assert abs(len(parts.test) - test * length) < 1 + 1e-6
    assert len(parts.validation) > 0 or not validation
    assert len(parts.test) > 0 or not test


@pytest.mark.parametrize(("length", "fractions", "field"), [
    (10, (0.1, 0.0), "validation"), (15, (0.1, 0.05), "test"), (10, (0.0, 0.1), "test"), (10, (0.5, 0.1), "test"),
    (1, (0.1, 0.0), "validation"), (1000, (0.0001, 0.0), "validation")])
def test_a_part_of_fewer_than_two_characters_is_refused(length, fractions, field):
    with pytest.raises(ConfigError) as caught:
        Corpus.from_text("x" * length).split(*fractions)
    assert caught.value.field == field
    assert f"has only {length:,} character" in str(caught.value)


@pytest.mark.parametrize(("fractions", "field"), [
    ((1.0, 0.0), "validation"), ((1.5, 0.0), "validation"), ((-0.5, 0.0), "validation"), ((math.nan, 0.0), "validation"),
    ((0.1, 1.5), "test"), ((0.1, -0.5), "test"), ((0.1, math.nan), "test"), ((0.6, 0.6), "test"), ((0.5, 0.5), "test")])
def test_fractions_out_of_range_are_refused_by_name(fractions, field):
    with pytest.raises(ConfigError) as caught:
        Corpus.from_text("ab" * 50).split(*fractions)
    assert caught.value.field == field


# Encodings and invalid texts

@pytest.mark.parametrize(("encoding", "text"), [("latin-1", "café"), ("utf-16", "a héron"), ("utf-16-le", "a héron"),
                                                ("cp1251", "слово"), ("shift-jis", "日本語")])
def test_a_text_in_another_encoding_is_read(tmp_path, encoding, text):
    (path,) = write(tmp_path, notes=text.encode(encoding))
    corpus = Corpus.read(path, encoding=encoding)
    assert corpus.vocabulary.decode(corpus.ids) == text
    assert corpus.fingerprint == Corpus.from_text(text).fingerprint
    assert corpus.text_config.errors == "strict"


@pytest.mark.parametrize(("errors", "text"), [("replace", "a\ufffdb\ufffd"), ("ignore", "ab")])
def test_invalid_bytes_can_be_replaced_or_left_out(tmp_path, errors, text):
    (path,) = write(tmp_path, notes=b"a\xffb\xfe")
    corpus = Corpus.read(path, errors=errors)
    assert corpus.vocabulary.decode(corpus.ids) == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_recognised_and_named(tmp_path, encoding):
    (path,) = write(tmp_path, notes=("A line of plain text.\n" * 20).encode(encoding))
    assert error_of(Corpus.read, path) == f"{path}: is {encoding.upper()}, not UTF-8; set encoding='{encoding}'"


def test_nul_is_an_ordinary_character(tmp_path):
    (path,) = write(tmp_path, notes=b"ab\0cd\0\r\n\r" * 50)
    assert Corpus.read(path).vocabulary.characters == ("\0", "\n", "\r", "a", "b", "c", "d")


@pytest.mark.parametrize(("encoding", "errors"), [("no-such", "strict"), ("utf-8", "surrogateescape"), ("rot13", "strict"),
                                                  ("zlib", "strict"), ("utf-8\0", "strict")])
def test_an_invalid_encoding_or_error_handler_is_refused_by_name(tmp_path, encoding, errors):
    (path,) = write(tmp_path, notes=b"abc")
    with pytest.raises(ConfigError) as caught:
        Corpus.read(path, encoding=encoding, errors=errors)
    assert caught.value.field == ("errors" if encoding == "utf-8" else "encoding")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_file_that_is_not_regular_is_refused_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in error_of(Corpus.read, tmp_path / "pipe")
    assert "not a regular file" in error_of(Corpus.read, os.devnull)


# Surrogates, bytes, compressed files and standard input

@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape"])
def test_a_surrogate_in_a_file_is_refused(tmp_path, encoding):
    (path,) = write(tmp_path, notes={"utf-7": b"+2AA-x", "unicode_escape": b"\\ud800"}[encoding])
    with pytest.raises(CorpusError, match="contains surrogates"):
        Corpus.read(path, encoding=encoding)


@pytest.mark.parametrize("keep", [False, True])
def test_an_empty_text_is_refused_whether_or_not_it_is_kept(tmp_path, monkeypatch, keep):
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    (path,) = write(tmp_path, nothing=b"")
    with pytest.raises(CorpusError, match=r"nothing.txt: is empty \(0 characters\)"):
        Corpus.read(str(path), keep=keep)


@pytest.mark.parametrize("config", [
    TextConfig(), TextConfig(level="byte"), TextConfig(documents="lines"), TextConfig(normalize="NFC", lowercase=True),
    TextConfig(min_count=2), TextConfig(level="byte", documents="lines")], ids=str)
def test_a_string_and_a_file_give_the_same_corpus(tmp_path, config):
    text = "Cafe\u0301 one\r\ntwo two\r\n\r\nA \U0001f600"
    (path,) = write(tmp_path, notes=text.encode())
    one, two = Corpus.from_text(text, [str(path)], config), Corpus.read(str(path), text_config=config)
    for name in ("vocabulary", "fingerprint", "folded", "text_config", "sources", "path"):
        assert getattr(one, name) == getattr(two, name)
    assert one.ids.tolist() == two.ids.tolist()
    assert one.starts.tolist() == two.starts.tolist()
    assert one.starts.dtype == two.starts.dtype == np.int64


def test_bytes_are_read_unchanged(tmp_path):
    data = bytes(range(256))[::-1] * 3
    (path,) = write(tmp_path, any=data)
    corpus = Corpus.read(path, level="byte")
    assert text_of(corpus).encode("latin-1") == data
    assert len(corpus.vocabulary) == 256
    assert corpus.fingerprint != Corpus.from_text(data.decode("latin-1")).fingerprint


def test_compressed_files_in_a_folder_are_read(tmp_path):
    for name, data in (("a.txt.gz", gzip.compress(b"1")), ("b.txt", b"2"), ("c.txt.xz", lzma.compress(b"3")),
                       ("d.py.bz2", bz2.compress(b"4"))):
        (tmp_path / name).write_bytes(data)
    assert text_of(Corpus.read(tmp_path)) == "123"
    assert text_of(Corpus.read(tmp_path, glob="*.py")) == "4"
    assert text_of(Corpus.read(tmp_path, glob="*")) == "1234"


def test_the_name_of_standard_input_is_text():
    assert Corpus.from_text("text", ["-"]).name == Corpus.from_text("text", ["-", "a.txt"]).name == "text"


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert text_of(Corpus.read("-")) == "piped"


@pytest.mark.parametrize("packed", [False, True])
def test_all_bytes_are_counted_while_they_are_read(tmp_path, monkeypatch, packed):
    monkeypatch.setattr("charrnn.text.files._BLOCK", 5)
    data, calls = b"some text, and more", []
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(data))
    names = ["a.txt", "b.txt.gz"] if packed else ["a.txt", "a.txt"]
    size = sum((tmp_path / name).stat().st_size for name in names)
    Corpus.read(*[str(tmp_path / name) for name in names], on_bytes=lambda count, total: calls.append((count, total)))
    assert sum(count for count, _ in calls) == size
    assert {total for _, total in calls} == {size}
    assert len(calls) > 5


def test_a_text_that_is_too_large_is_not_read_to_its_end(tmp_path, monkeypatch):
    """A small compressed file may contain a large text."""
    monkeypatch.setattr("charrnn.text.reader.SMALL", 1000)
    monkeypatch.setattr("charrnn.text.files._BLOCK", 100)
    path, read = tmp_path / "bomb.txt.gz", []
    path.write_bytes(gzip.compress(b"a" * 10**5))
    add = Tokens.add
    monkeypatch.setattr(Tokens, "add", lambda tokens, text: read.append(text) or add(tokens, text))
    for characters in (10, 100):
        read.clear()
        with pytest.raises(CorpusError, match="much larger than the text of this run"):
            Corpus.read(str(path), record=record_of(path, characters))
        assert sum(map(len, read)) <= max(1000, 16 * characters) + 100


@pytest.mark.parametrize(("size", "characters", "is_read"), [(1000, 10, True), (1001, 10, False), (1600, 100, True),
                                                             (1601, 100, False)])
def test_a_text_may_be_sixteen_times_as_large_as_recorded(tmp_path, monkeypatch, size, characters, is_read):
    """Within this limit only the fingerprint decides: a text of lines has fewer characters than its file."""
    monkeypatch.setattr("charrnn.text.reader.SMALL", 1000)
    (path,) = write(tmp_path, notes=b"a" * size)
    record = record_of(path, characters, Corpus.read(path).fingerprint)
    with contextlib.nullcontext() if is_read else pytest.raises(CorpusError, match="much larger"):
        assert len(Corpus.read(str(path), record=record)) == size


# Lines and files

@pytest.mark.parametrize("grouped", [False, True])
def test_each_part_has_its_starts(grouped):
    corpus = Corpus.from_text("".join(f"{number:03}\n" for number in range(100)), documents="lines", group_copies=grouped)
    assert corpus.starts.tolist() == [4 * number for number in range(100)]
    split = corpus.split(0.2, 0.1)
    assert sum(len(part.starts) for part in split.parts) == 100
    for part in split.parts:
        assert {corpus.vocabulary.decode(part.ids[place:place + 1]) for place in part.starts} == {"\n"}
        assert len(part.starts) >= len(part) // 4
    assert split.train.starts[0] == 0
    assert split.validation.starts[0] == -len(split.train) % 4


def test_a_start_at_the_beginning_of_a_part_is_only_in_that_part():
    corpus = Corpus.from_text("x" * 100, group_copies=False)
    corpus.starts = np.array([0, 79, 80, 90, 99])
    assert [part.starts.tolist() for part in corpus.split(0.1, 0.1).parts] == [[0, 79], [0], [0, 9]]
    assert [part.starts.tolist() for part in corpus.split(0.0, 0.0).parts] == [[0, 79, 80, 90, 99], [], []]


def test_files_are_documents_if_requested(tmp_path):
    paths = write(tmp_path, a=b"one", b=b"", c=b"three", d=b"")
    corpus = Corpus.read(*paths, documents="files")
    assert sorted(corpus.documents()) == ["one", "three"]
    assert [text_of(corpus)[place] for place in corpus.starts] == [END, END]
    assert Corpus.read(*paths).starts.tolist() == []


@pytest.mark.parametrize("block", [1, 3, 7, 2**20])
@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("grouped", [False, True])
def test_lines_of_the_training_part_are_found(monkeypatch, block, level, grouped):
    monkeypatch.setattr("charrnn.text.corpus._BLOCK", block)
    lines = [f"line {number}" for number in range(20)]
    corpus = Corpus.from_text("\n".join(lines), documents="lines", level=level, group_copies=grouped)
    order = text_of(corpus)[1:-1].split("\n")
    wanted = {*lines, "line", "ine 1", "", "line 1\nline 2", "another"}
    assert corpus.split(0.0, 0.0).training_documents(wanted) == set(lines)
    fraction = 0.25 if grouped else 0.23  # without groups, this ends inside a line
    last = len(corpus.split(fraction, 0.25).train)
    whole = set(text_of(corpus)[:last + 1].split("\n")[1:-1])  # the end mark after the part
    assert whole < set(lines)
    assert (text_of(corpus)[last] == "\n") == grouped
    assert corpus.split(fraction, 0.25).training_documents(wanted) == whole == set(order[:len(whole)])


# Default fractions

@pytest.mark.parametrize(("size", "validation"), [(1000, 100), (9_999_960, 999_996), (10**7, 10**6), (2 * 10**7, 10**6)])
def test_validation_takes_a_tenth_and_at_most_a_million_characters_by_default(size, validation):
    corpus = Corpus.from_text("ab")
    corpus.ids = np.zeros(size, np.uint8)
    assert len(corpus.split().validation) == validation
    assert len(corpus.split(test=0.1).validation) == validation
    assert len(corpus.split(0.25).validation) == size // 4
    assert len(corpus.split(0.0).validation) == 0
