"""charrnn.text.files and charrnn.text.decoding: files -> text, block by block."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.inference.locate import BEST, LAST
from charrnn.text import decoding, files
from charrnn.text.decoding import decode_blocks, normalize, normalize_blocks
from charrnn.text.files import FileDigest, display_name, find_files, join_names, read_blocks
from charrnn.text.formats import recognise
from charrnn.text.record import TextFile

PROPERTY = settings(max_examples=60)
COMPRESSORS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}

# Letters whose lower case or composed form depends on their neighbours, and these neighbours.
TRICKY = ("aA\u0301\u0323\u0327\u212b\u03a3\u0391.\u00a8' \n\r\u1100\u1161\u11a8\uac00\u3131\uff76\uff9e\ufb01\u0130,"
          "\u4e2d\U0001d6ba")
TRICKY_TEXTS = st.text(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=30)
CONFIGS = st.builds(lambda normalize, lowercase, documents: TextConfig(normalize=normalize, lowercase=lowercase,
                                                                       documents=documents),
                    st.sampled_from(["none", "NFC", "NFKC"]), st.booleans(), st.sampled_from([None, "lines", "files"]))


def decode(data, name, config=None):
    return "".join(decode_blocks([data], name, config or TextConfig()))


def read_text(path):
    return "".join(decode_blocks(read_blocks(path), display_name(path), TextConfig()))


def cut(data, cuts):
    """Return ``data`` in pieces, cut at these indices."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[first:last] for first, last in pairwise(bounds)]


def whole(text: str, config: TextConfig) -> str:
    """Return the normalized text, as it is defined for a whole text."""
    if config.documents:
        text = text.replace("\r\n", "\n")
    if config.documents == "lines":
        text += "\n" if text and not text.endswith("\n") else ""
    if config.normalize != "none":
        text = unicodedata.normalize(config.normalize, text)
    return text.lower() if config.lowercase else text


def error_of(call: Callable, *arguments) -> str:
    with pytest.raises(CorpusError) as caught:
        call(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# Normal forms

@settings(max_examples=150)
@given(TRICKY_TEXTS, CONFIGS, st.lists(st.integers(0, 40), max_size=30))
@example("a\u0301", TextConfig(normalize="NFC"), [1])
@example("\u1100\u1161\u11a8", TextConfig(normalize="NFC"), [1, 2])
@example("\uac00\u11a8", TextConfig(normalize="NFC"), [1])
@example("\uff76\uff9e", TextConfig(normalize="NFKC"), [1])
@example("\u0391\u03a3\u0391", TextConfig(lowercase=True), [2])
@example("\u0391\u03a3.\u0391", TextConfig(lowercase=True), [2, 3])
@example("\u0391\u03a3\u00a8\u0391", TextConfig(lowercase=True), [2, 3])
@example("\u0391\u03a3", TextConfig(lowercase=True), [1])
@example("a\r\nb", TextConfig(documents="lines"), [2])
@example("\r\n", TextConfig(documents="lines"), [1])
@example("a b\r", TextConfig(documents="lines"), [3])
@example("a\n", TextConfig(documents="lines"), [1])
def test_blocks_are_normalized_like_the_whole_text(text, config, cuts):
    assert "".join(normalize_blocks(cut(text, cuts), config)) == whole(text, config)


@given(TRICKY_TEXTS, CONFIGS)
@PROPERTY
@example("a\r", TextConfig(documents="lines"))
def test_a_string_is_normalized_like_a_file_but_gets_no_newline_at_the_end(text, config):
    ends = text.replace("\r\n", "\n") if config.documents else text
    assert normalize(text, config) == whole(ends, replace(config, documents=None))


def test_no_text_is_cut_before_a_character_that_composes_with_the_previous_one():
    seconds = set()
    for point in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(point)).split()
        composed = chr(point)
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.normalize("NFC", composed) == composed:
            seconds.add(chr(int(parts[1], 16)))
    seconds.update(map(chr, [*range(0x1161, 0x1176), *range(0x11a8, 0x11c3)]))  # Hangul composes by rule
    assert len(seconds) > 90
    for second in seconds:
        assert decoding._cut("x" + second) == 0
    assert decoding._cut("xy") == 1


@pytest.mark.parametrize("form", ["none", "NFC", "NFKC"])
def test_no_word_is_cut_if_a_sigma_could_become_its_last_letter(form):
    config = TextConfig(normalize=form, lowercase=True)
    points = [point for point in range(0x30000) if unicodedata.category(chr(point)) not in ("Cn", "Co", "Cs", "Lo")]
    for character in map(chr, points):
        text = f"A\u03a3{character}"
        if decoding._cut(text, True) == 2:
            assert whole("A\u03a3", config) + whole(character + "A\u03a3 ", config) == whole(text + "A\u03a3 ", config)
            assert whole("A", config) + whole(character + "\u03a3 ", config) == whole(f"A{character}\u03a3 ", config)


def test_a_long_text_is_cut_even_if_no_index_is_safe(monkeypatch):
    monkeypatch.setattr(decoding, "_LONGEST_REST", 40)
    marks = ["\u0301" * 30] * 5
    pieces = list(normalize_blocks(marks, TextConfig(normalize="NFC")))
    assert "".join(pieces) == "".join(marks)
    assert max(map(len, pieces)) <= 60


@pytest.mark.parametrize("lowercase", [False, True])
def test_long_words_are_yielded_before_the_end(monkeypatch, lowercase):
    monkeypatch.setattr(decoding, "_LONGEST_REST", 40)
    config = TextConfig(normalize="NFC", lowercase=lowercase)
    pieces = [piece for piece in normalize_blocks(["ab" * 15] * 5, config) if piece]
    assert "".join(pieces) == "ab" * 75
    assert len(pieces) > 2


def test_bytes_become_the_characters_with_their_values():
    config = TextConfig(level="byte")
    assert normalize("é\n", config) == "\xc3\xa9\n"
    assert normalize("\udcff", config) == "\xff"  # Python represents an invalid byte on the command line in this way
    assert "".join(decode_blocks([b"\xef\xbb\xbf\xff\r\n"], "x", config)) == "\xef\xbb\xbf\xff\r\n"


# Decoding

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "shift-jis", "euc-jp", "gb18030", "big5",
             "iso2022-jp", "latin-1", "cp1251"]


@settings(max_examples=200)
@given(st.sampled_from(ENCODINGS), st.text("aé я日本\U0001f600\n+~\\", max_size=20),
       st.lists(st.integers(0, 99), max_size=20))
def test_blocks_may_end_inside_a_character(encoding, text, cuts):
    data = text.encode(encoding, "ignore")
    text = data.decode(encoding)
    assert "".join(decode_blocks(cut(data, cuts), "x", TextConfig(encoding=encoding))) == text


@settings(max_examples=200)
@given(st.sampled_from(["utf-8", "utf-8-sig", "shift-jis", "gb18030", "euc-jp", "ascii", "utf-16-le", "utf-32-be"]),
       st.text("aé日\U0001f600", max_size=8), st.binary(min_size=1, max_size=4), st.lists(st.integers(0, 40), max_size=9))
def test_the_offset_of_an_invalid_byte_does_not_depend_on_the_blocks(encoding, before, fault, cuts):
    data = before.encode(encoding, "ignore") + fault
    config = TextConfig(encoding=encoding)
    assume(not (encoding == "utf-8" and any(decoding._wide_encoding(piece) for piece in [data, *cut(data, cuts)])))
    assume(not any(recognise(piece) for piece in [data, *cut(data, cuts)]))
    try:
        expected = data.decode(encoding)
    except UnicodeDecodeError as error:
        place = error.start + len(data) - len(error.object)
        message = error_of(lambda: list(decode_blocks(cut(data, cuts), "a.txt", config)))
        assert message.startswith(f"a.txt: invalid {config.encoding.upper()} at byte {place:,} (0x{data[place]:02x}); ")
        return
    found = "".join(decode_blocks(cut(data, cuts), "a.txt", config))
    assert found == expected.removeprefix("\ufeff")


@pytest.mark.parametrize(("encoding", "advice"), [("utf-8", "latin-1"), ("ascii", "utf-8"), ("euc-jp", "utf-8")])
def test_the_hint_names_another_encoding(encoding, advice):
    assert f"; set encoding='{advice}', or pass errors='replace'" in error_of(
        decode, b"\xff", "x", TextConfig(encoding=encoding))


@pytest.mark.parametrize("cuts", [[], [1], [1, 2], [3], [4]])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32-be"])
def test_only_the_first_byte_order_mark_is_removed_wherever_the_first_block_ends(encoding, cuts):
    data = "\ufeff\ufeffa".encode(encoding)
    assert "".join(decode_blocks(cut(data, cuts), "x", TextConfig(encoding=encoding, errors="ignore"))) == "\ufeffa"


@pytest.mark.parametrize(("encoding", "data"), [("idna", b"xn--a..b"), ("punycode", b"ab--!!")])
def test_an_unusual_decoding_error_is_one_line(encoding, data):
    message = error_of(decode, data, "x", TextConfig(encoding=encoding))
    assert re.search(rf"invalid {encoding.upper()} (\(|at byte \d)", message)  # Python 3.13 knows the byte


@pytest.mark.parametrize(("data", "name"), [
    (codecs.BOM_UTF16_LE + "中文".encode("utf-16-le"), "utf-16"),
    (codecs.BOM_UTF16_BE + "中".encode("utf-16-be"), "utf-16"),
    (codecs.BOM_UTF32_LE + b"a\0\0\0", "utf-32"), (codecs.BOM_UTF32_BE + b"\0\0\0a", "utf-32"),
    ("plain".encode("utf-16-le"), "utf-16-le"), ("plain, with 日本 in it".encode("utf-16-le"), "utf-16-le"),
    ("plain".encode("utf-16-be"), "utf-16-be"),
    (("a" * 2000 + "中" * 9000).encode("utf-16-le"), "utf-16-le"), ("of é and ü: latin".encode("utf-16-be"), "utf-16-be")])
def test_a_wide_encoding_is_recognised_by_its_beginning(data, name):
    assert error_of(decode, data, "x") == f"x: is {name.upper()}, not UTF-8; set encoding='{name}'"


@pytest.mark.parametrize("text", ["a\0", "ab\0\0", "\0" * 8, "a\0b\0c", "a\0b\0c\0dddd", "aaaa" + "\0b" * 2])
def test_a_text_with_nuls_is_not_a_wide_encoding(text):
    assert decode(text.encode(), "x") == text


def test_wide_encodings_are_recognised_only_with_the_default_settings():
    data = "plain".encode("utf-16-le")
    assert decode(data, "x", TextConfig(encoding="utf-16-le")) == "plain"
    assert decode(data, "x", TextConfig(encoding="latin-1")) == "p\0l\0a\0i\0n\0"
    assert decode(data, "x", TextConfig(errors="replace")) == "p\0l\0a\0i\0n\0"


def test_wide_encodings_are_recognised_only_at_the_beginning():
    assert "".join(decode_blocks([b"text ", b"a\0b\0c\0d\0"], "x", TextConfig())) == "text a\0b\0c\0d\0"


# Files and folders

def test_a_folder_gives_its_files_sorted_by_path(tmp_path):
    for name in ("b.txt", "a/z.txt", "a.txt", "B.txt", "a/b/c.txt", "a/notes.md", "c.txt.gz", "d.gz", "e.tar.gz",
                 "g.txt.zip", "h.txt.xz", "i.txt.bz2", ".hidden.txt", "txt", "j.txt~"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.txt").mkdir()
    wanted = ["B.txt", "a/b/c.txt", "a/z.txt", "a.txt", "b.txt", "c.txt.gz", "h.txt.xz", "i.txt.bz2"]
    assert [str(path) for path in find_files([tmp_path])] == [str(tmp_path / name) for name in wanted]
    assert find_files([tmp_path], "*.md") == [tmp_path / "a" / "notes.md"]
    assert find_files([tmp_path], "b/*") == [tmp_path / "a" / "b" / "c.txt"]
    assert find_files([tmp_path], "*.tar") == [tmp_path / "e.tar.gz"]
    assert find_files([tmp_path / "b.txt", str(tmp_path / "a"), "-"], "*.txt") == [
        tmp_path / "b.txt", tmp_path / "a" / "b" / "c.txt", tmp_path / "a" / "z.txt", "-"]
    assert "no file in or below this folder matches *.rst" in error_of(find_files, [tmp_path], "*.rst")


def test_hidden_files_and_folders_are_left_out_unless_they_are_named(tmp_path):
    for name in ("a.txt", ".hidden.txt", ".venv/lib/b.txt", "c/.git/d.txt", "c/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert find_files([tmp_path]) == [tmp_path / "a.txt", tmp_path / "c" / "e.txt"]
    assert find_files([tmp_path / ".venv"]) == [tmp_path / ".venv" / "lib" / "b.txt"]
    assert find_files([tmp_path], ".*") == [tmp_path / ".hidden.txt"]
    assert find_files([tmp_path / ".hidden.txt"]) == [tmp_path / ".hidden.txt"]


@pytest.mark.parametrize("name", ["best.h5", "last.h5"])
def test_folders_of_runs_are_left_out_unless_they_are_named(tmp_path, name):
    for path in ("a.txt", f"checkpoints/run/{name}", "checkpoints/run/b.txt", "checkpoints/run/more/c.txt",
                 "checkpoints/notes.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    assert find_files([tmp_path]) == [tmp_path / "a.txt", tmp_path / "checkpoints" / "notes.txt"]
    for folder in (tmp_path / "checkpoints" / "run", f"{tmp_path}/checkpoints/run", f"{tmp_path}/checkpoints/run/"):
        assert [path.name for path in find_files([folder])] == ["b.txt", "c.txt"]


def test_the_files_of_runs_have_the_names_that_runs_use():
    assert {BEST, LAST} == files.RUN_FILES


def test_the_search_ends_if_there_are_more_files_than_expected(tmp_path, monkeypatch):
    visited = []
    walk = os.walk
    monkeypatch.setattr(files.os, "walk", lambda *arguments, **named: (
        visited.append(each[0]) or each for each in walk(*arguments, **named)))
    for number in range(20):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "a.txt").touch()
    assert len(find_files([tmp_path], most=20)) == 20
    assert len(visited) == 21
    for most in (0, 3):
        visited.clear()
        assert len(find_files([tmp_path, tmp_path], most=most)) == most + 1
        assert len(visited) == most + 2
    monkeypatch.setattr(files, "_MOST_ENTRIES", 10)
    assert len(find_files([tmp_path], most=2)) == 3
    visited.clear()
    assert error_of(lambda: find_files([tmp_path], "*.rst", most=1)) == (
        f"{tmp_path}: has too many entries for a text of 1 file")
    assert len(visited) < 10
    assert "no file in or below this folder matches *.rst" in error_of(find_files, [tmp_path], "*.rst")


@pytest.mark.parametrize("exists", [False, True])
def test_the_name_of_a_corpus_that_can_be_downloaded_is_recognised(tmp_path, monkeypatch, exists):
    monkeypatch.chdir(tmp_path)
    if exists:
        (tmp_path / "corpora").mkdir()
        (tmp_path / "corpora" / "tinyshakespeare.txt").touch()
    found = error_of(lambda: list(read_blocks("tinyshakespeare")))
    assert found == "tinyshakespeare: no such file; " + (
        "use corpora/tinyshakespeare.txt" if exists else
        "run 'charrnn corpora get tinyshakespeare' and use corpora/tinyshakespeare.txt")
    assert error_of(lambda: list(read_blocks("shakespeare"))) == "shakespeare: no such file; pass the name of a text file"


def test_names_are_joined_for_messages():
    assert join_names(["a.txt", "-", Path("b")]) == "a.txt, standard input, b"
    assert join_names(["-", *"abcde"]) == "standard input and 5 more"


def test_a_named_file_is_read_whatever_the_glob(tmp_path):
    assert find_files([tmp_path / "notes.md", "missing"], "*.txt") == [tmp_path / "notes.md", "missing"]


# Compressed files

@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("block", [1, 7, 2**20])
def test_a_compressed_file_is_decompressed(tmp_path, monkeypatch, suffix, block):
    monkeypatch.setattr(files, "_BLOCK", block)
    path, content, digest, counts = tmp_path / f"a.txt{suffix}", "naïve text\r\n" * 9, FileDigest(), []
    path.write_bytes(COMPRESSORS[suffix](content.encode()))
    assert b"".join(read_blocks(path, digest, counts.append)).decode() == content
    assert digest.stored.digest() == hashlib.sha256(path.read_bytes()).digest()
    assert digest.content == hashlib.sha256(content.encode()).digest()
    assert digest.size == path.stat().st_size
    assert sum(counts) == path.stat().st_size
    assert b"".join(read_blocks(path, decompress=False)) == path.read_bytes()
    assert read_text(path) == content


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_several_compressed_streams_in_a_file_are_one_text(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESSORS[suffix](b"one ") + COMPRESSORS[suffix](b"two"))
    assert read_text(path) == "one two"


@pytest.mark.parametrize("suffix", [".bz2", ".xz"])
def test_bytes_after_the_compressed_data_are_not_text_but_are_counted(tmp_path, suffix):
    path, digest, counts = tmp_path / f"a.txt{suffix}", FileDigest(), []
    path.write_bytes(COMPRESSORS[suffix](b"text") + b"no archive " * 9999)
    assert b"".join(read_blocks(path, digest, counts.append)) == b"text"
    assert digest.stored.digest() == hashlib.sha256(path.read_bytes()).digest()
    assert sum(counts) == path.stat().st_size


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_corrupt_compressed_file_is_a_one_line_error(tmp_path, suffix):
    path, data = tmp_path / f"a.txt{suffix}", COMPRESSORS[suffix](bytes(range(128)) * 99)
    for size in {1, 5, len(data) // 2, len(data) - 9, len(data) - 1}:
        path.write_bytes(data[:size])
        assert error_of(read_text, path).startswith(f"{path}: cannot be ")
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1:])
        with contextlib.suppress(CorpusError):  # a header contains bytes that do not matter
            read_text(path)
    path.write_bytes(b"plain text with another suffix")
    assert "cannot be " in error_of(read_text, path)


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("block", [16, 2**20])
def test_a_compressed_file_with_another_name_is_decompressed_if_its_content_is_recognised(
        tmp_path, monkeypatch, suffix, block):
    monkeypatch.setattr(files, "_BLOCK", block)
    for text in (b"text " * 99, b""):
        data, path, digest, counts = COMPRESSORS[suffix](text), tmp_path / "a.gz.txt", FileDigest(), []
        path.write_bytes(data)
        assert b"".join(read_blocks(path)) == data
        assert b"".join(read_blocks(path, digest, counts.append, recognise=True)) == text
        assert digest.stored.digest() == hashlib.sha256(data).digest()
        assert digest.content == hashlib.sha256(text).digest()
        assert sum(counts) == digest.size == len(data)
        assert b"".join(read_blocks(path, decompress=False, recognise=True)) == data


def test_a_plain_file_is_read_in_the_same_way_with_recognise(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK", 16)
    for data in (b"", b"short", b"BZhello", bytes(range(100))):
        (tmp_path / "a.txt").write_bytes(data)
        digest = FileDigest()
        assert b"".join(read_blocks(tmp_path / "a.txt", digest, recognise=True)) == data
        assert digest.content == digest.stored.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("block", [1, 4, 2**20])
@pytest.mark.parametrize("recognise", [False, True])
def test_no_more_bytes_are_read_than_the_limit(tmp_path, monkeypatch, block, recognise):
    monkeypatch.setattr(files, "_BLOCK", block)
    (tmp_path / "a.txt").write_bytes(b"0123456789")
    for limit in (0, 1, 9, 10, 11):
        digest = FileDigest()
        blocks = read_blocks(tmp_path / "a.txt", digest, recognise=recognise, limit=limit)
        assert b"".join(blocks) == b"0123456789"[:limit]
        assert digest.content == hashlib.sha256(b"0123456789"[:limit]).digest()


def test_a_missing_decompressor_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "a.xz").write_bytes(lzma.compress(b"text"))
    monkeypatch.setitem(sys.modules, "lzma", None)
    assert "this Python cannot decompress such files" in error_of(read_text, tmp_path / "a.xz")


# Standard input

@pytest.mark.parametrize("recognise", [False, True])
def test_standard_input_is_read_to_its_end_and_decompressed_only_if_its_content_is_recognised(monkeypatch, recognise):
    data, counts = gzip.compress(b"text"), []
    monkeypatch.setattr(files, "_BLOCK", 5)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert b"".join(read_blocks("-", None, counts.append, recognise=recognise)) == (b"text" if recognise else data)
    assert sum(counts) == len(data)
    assert not sys.stdin.closed
    assert (display_name("-"), TextFile.of("-").size) == ("standard input", None)


def test_an_error_in_standard_input_names_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    assert error_of(read_text, "-").startswith("standard input: invalid UTF-8 at byte 2 (0xff)")


def test_sizes_are_those_of_the_files_on_disk(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "empty").touch()
    assert [TextFile.of(name).size for name in (tmp_path / "a", tmp_path / "empty", tmp_path / "b", "\0")] == [
        3, 0, None, None]
    assert [TextFile.of(name).limit for name in (tmp_path / "a", tmp_path / "empty", tmp_path / "b", "\0")] == [
        3, None, None, None]


def test_blocks_have_the_block_size(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK", 4)
    path: Path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789")
    assert list(read_blocks(path)) == [b"0123", b"4567", b"89"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files cannot be counted here")
def test_a_file_is_closed_if_it_is_refused_or_not_read_to_its_end(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"text")
    before = os.listdir("/proc/self/fd")
    assert "not a regular file" in error_of(lambda: list(read_blocks(os.devnull)))
    config = read_blocks(tmp_path / "a.txt")
    next(config)
    config.close()
    assert os.listdir("/proc/self/fd") == before
