"""Bytes -> text, block by block: encodings, byte order marks, normal forms, lower case."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.formats import is_binary, recognise

_LONGEST_WORD = 4096
"""Number of characters before the end of a block that are searched for an index at which it can be cut."""

_LONGEST_REST = 2**22
"""Largest number of characters of a block that are kept for the next one, if it cannot be cut safely."""


def decode_blocks(blocks: Iterable[bytes], name: str, text_config: TextConfig,
                  is_cut: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """Decode ``blocks`` of bytes and bring the text into the form that ``text_config`` asks for.

    A leading byte order mark is removed. Line ends stay as they are, unless lines are documents. If ``is_cut()`` says at
    the end that the bytes are only the beginning of a file, an incomplete character at the end is left out. Raises
    CorpusError, with ``name`` and the offset, for bytes that are invalid in the encoding, and for files of a known format
    that is not plain text.
    """
    return normalize_blocks(_decoded(blocks, name, text_config, is_cut), text_config)


def decode(data: bytes, name: str, text_config: TextConfig | None = None) -> str:
    """Decode all of ``data``; see ``decode_blocks``."""
    return "".join(decode_blocks([data], name, text_config or TextConfig()))


def _decoded(blocks: Iterable[bytes], name: str, text_config: TextConfig, is_cut: Callable[[], bool] = lambda: False
             ) -> Iterator[str]:
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
    except UnicodeDecodeError as error:  # error.object is the rest of the last block and this one
        position = count - len(error.object) + error.start
        byte = error.object[error.start]
        raise CorpusError(f"{name}: not {text_config.encoding.upper()} at byte {position:,} (0x{byte:02x})",
                          _hint_for(text_config.encoding, error.object)) from error
    except UnicodeError as error:
        raise CorpusError(f"{name}: not {text_config.encoding.upper()} ({error})", "set another `encoding`") from error


def _check_start(block: bytes, name: str, text_config: TextConfig) -> None:
    """Raise CorpusError if the first block of a file shows that it is not plain text, or not in UTF-8."""
    if found := recognise(block):
        raise CorpusError(f"{name}: is {found.name}", found.hint)
    is_default = (text_config.encoding, text_config.errors) == ("utf-8", "strict")
    if is_default and (wide := _wide_encoding(block)):
        raise CorpusError(f"{name}: is {wide.upper()}, not UTF-8", f"set `encoding={wide!r}`")


def _hint_for(encoding: str, data: bytes) -> str:
    """Return what to do about a file that is not in ``encoding``."""
    if is_binary(data):
        return "pass `level='byte'` to read any file as bytes, or set `encoding` if it is a text"
    other = "latin-1" if encoding == "utf-8" else "utf-8"
    return f"set `encoding={other!r}`, or pass `errors='replace'`"


def _wide_encoding(head: bytes) -> str | None:
    """Return the UTF-16 or UTF-32 encoding of a file that begins with ``head``, or None.

    It is recognised by a byte order mark, or by NUL in most of every second byte.
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
    """Bring a text into its Unicode normal form and into lower case if ``text_config`` says so, block by block.

    If lines are documents, ``\r\n`` becomes ``\n``, and a missing newline is added at the end. Blocks are cut where no
    character depends on its neighbours, so the result does not depend on the blocks.
    """
    if text_config.normalize == "none" and not text_config.lowercase and not text_config.lines:
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
    if text_config.lines and not (rest or last).endswith("\n"):
        rest += "\n"
    yield rest


def normalize(text: str, text_config: TextConfig) -> str:
    """Bring a whole text into the form that ``text_config`` asks for.

    For a model of bytes, each byte becomes the character with its number. No newline is added at the end. Raises
    CorpusError if the text contains surrogates that do not represent bytes.
    """
    if text_config.level == "byte":
        try:
            text = text.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError as error:
            raise CorpusError("the text contains surrogates", "use a text of Unicode characters") from error
    return _normalized(text, text_config)


def _normalized(text: str, text_config: TextConfig) -> str:
    if text_config.lines:
        text = text.replace("\r\n", "\n")
    if text_config.normalize != "none":
        text = unicodedata.normalize("NFC" if text_config.normalize == "NFC" else "NFKC", text)
    return text.lower() if text_config.lowercase else text


def _cut(text: str, in_words: bool = False) -> int:
    """Return an index at which ``text`` can be cut so that its parts are normalized as the whole would be; 0 if none.

    It is after a newline or before a blank; otherwise before a character that does not compose with the one before it.
    With ``in_words`` that character must not be part of a word either, because a final sigma depends on the word.
    """
    if index := text.rfind("\n") + 1:
        return index
    if (index := text.rfind(" ")) > 0:
        return index
    for index in range(len(text) - 1, max(0, len(text) - _LONGEST_WORD), -1):
        first = unicodedata.normalize("NFKD", text[index])[0]
        if unicodedata.category(first)[0] != "M" and not "\u1160" <= first <= "\u11ff" \
                and not (in_words and (_is_in_words(first) or _is_in_words(text[index]))):  # Hangul parts compose, too
            return index
    if len(text) <= _LONGEST_REST:
        return 0
    return _cut(text) if in_words else len(text)


def _is_in_words(character: str) -> bool:
    """Return whether a capital sigma before ``character`` can be inside a word, where it does not become a final sigma."""
    return f"A\u03a3{character}A".lower()[1] != "\u03c2"
