"""Bytes -> text, block by block: encodings, byte order marks, normal forms, lower case."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.formats import is_binary, recognise

_LONGEST_WORD = 4096
"""Number of characters at the end of a block that are searched for a place where the text can be cut."""

_LONGEST_REST = 2**22
"""Largest number of characters that are carried over to the next block if there is no safe place to cut."""


def decode_blocks(blocks: Iterable[bytes], name: str, text_config: TextConfig,
                  is_cut: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """Decode ``blocks`` of bytes according to ``text_config``.

    A leading byte order mark is removed, and line endings stay as they are. If ``is_cut()`` is true
    after the last block, the bytes are only the beginning of a file, and an incomplete character at the end is dropped.
    Raises CorpusError, with ``name`` and the offset, for bytes that are invalid in the encoding, and for files of a known
    format that is not plain text.
    """
    if text_config.level == "byte":
        yield from (block.decode("latin-1") for block in blocks)
        return
    decoder = codecs.getincrementaldecoder(text_config.encoding)(text_config.errors)
    count, is_start = 0, True
    try:
        for block in blocks:
            if not count:
                _check_start(block, name, text_config)
            count += len(block)
            text = decoder.decode(block)
            if is_start and text:
                text, is_start = text.removeprefix("\ufeff"), False
            yield text
        if text_config.errors != "strict" or not decoder.getstate()[0] or not is_cut():
            yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:  # error.object is the rest of the previous block and this one
        position = count - len(error.object) + error.start
        byte = error.object[error.start]
        raise CorpusError(f"{name}: invalid {text_config.encoding.upper()} at byte {position:,} (0x{byte:02x})",
                          _hint_for(text_config.encoding, error.object)) from error
    except UnicodeError as error:
        raise CorpusError(f"{name}: invalid {text_config.encoding.upper()} ({error})", "set another `encoding`") from error


def _check_start(block: bytes, name: str, text_config: TextConfig) -> None:
    """Raise CorpusError if the first block of a file shows that it is not plain text, or not UTF-8."""
    if found := recognise(block):
        raise CorpusError(f"{name}: is {found.name}", found.hint)
    is_default = (text_config.encoding, text_config.errors) == ("utf-8", "strict")
    if is_default and (wide := _wide_encoding(block)):
        raise CorpusError(f"{name}: is {wide.upper()}, not UTF-8", f"set `encoding={wide!r}`")


def _hint_for(encoding: str, data: bytes) -> str:
    """Return the hint for a file that is not in ``encoding``."""
    if is_binary(data):
        return "pass `level='byte'` to read any file as bytes, or set `encoding` if it is text"
    other = "latin-1" if encoding == "utf-8" else "utf-8"
    return f"set `encoding={other!r}`, or pass `errors='replace'`"


def _wide_encoding(head: bytes) -> str | None:
    """Return the UTF-16 or UTF-32 encoding of a file that begins with ``head``, or None.

    It is recognised by its byte order mark, or because most bytes at even or at odd offsets are NUL.
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(head) >= 4 and len(head) % 2 == 0:
        head = head[:1000]
        for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            if head[first::2].count(0) > 0.7 * len(head) / 2 and head[1 - first::2].count(0) < 0.1 * len(head) / 2:
                return name
    return None


def normalize_blocks(blocks: Iterable[str], text_config: TextConfig) -> Iterator[str]:
    r"""Apply the Unicode normal form and the lower case of ``text_config`` to a text, block by block.

    If the text consists of documents, ``\r\n`` becomes ``\n``; if these are lines, a missing newline is added at the end.
    Blocks are cut where no character depends on its neighbours, so the result does not depend on the blocks.
    """
    if text_config.normalize == "none" and not text_config.lowercase and text_config.end is None:
        yield from blocks
        return
    rest, last = "", "\n"
    for block in blocks:
        text = rest + block
        cut = _cut(text, text_config.lowercase)
        text, rest = text[:cut], text[cut:]
        if text:
            text = _normalized(text, text_config)
            last = text[-1:] or last
            yield text
    rest = _normalized(rest, text_config)
    if text_config.end == "\n" and not (rest or last).endswith("\n"):
        rest += "\n"
    yield rest


def normalize(text: str, text_config: TextConfig) -> str:
    """Normalize a whole text according to ``text_config``.

    If the level is "byte", each byte of the text in UTF-8 becomes the character with its value. No newline is added at the
    end. Raises CorpusError if the text contains surrogates that do not represent bytes.
    """
    if text_config.level == "byte":
        try:
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError as error:
            raise CorpusError("the text contains surrogates", "use a text of Unicode characters") from error
    return _normalized(text, text_config)


def _normalized(text: str, text_config: TextConfig) -> str:
    if text_config.end is not None:
        text = text.replace("\r\n", "\n")
    if text_config.normalize != "none":
        text = unicodedata.normalize("NFC" if text_config.normalize == "NFC" else "NFKC", text)
    return text.lower() if text_config.lowercase else text


def _cut(text: str, in_words: bool = False) -> int:
    """Return an index at which ``text`` can be cut without changing how it is normalized; 0 if none.

    It is after a newline or before a space, otherwise before a character that does not compose with the previous one.
    With ``in_words``, that character must not be part of a word either, because a final sigma depends on the word.
    """
    if index := text.rfind("\n") + 1:
        return index
    if (index := text.rfind(" ")) > 0:
        return index
    for index in range(len(text) - 1, max(0, len(text) - _LONGEST_WORD), -1):
        first = unicodedata.normalize("NFKD", text[index])[0]
        if unicodedata.category(first)[0] != "M" and not "\u1160" <= first <= "\u11ff" \
                and not (in_words and (_is_in_words(first) or _is_in_words(text[index]))):  # Hangul parts compose too
            return index
    if len(text) <= _LONGEST_REST:
        return 0
    return _cut(text) if in_words else len(text)


def _is_in_words(character: str) -> bool:
    """Return whether a capital sigma before ``character`` can be inside a word and so not become a final sigma."""
    return f"A\u03a3{character}A".lower()[1] != "\u03c2"
