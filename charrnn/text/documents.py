"""Divide a text into documents, with an end mark after each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from charrnn.config import END, TextConfig
from charrnn.text.columns import values_of
from charrnn.text.decoding import normalize, normalize_blocks

_INSIDE = {"files": "", "paragraphs": r"|\n[^\S\n]*\n", None: ""}
"""What separates the documents of one file, in addition to an end mark, as regular expressions."""


def read_documents(blocks: Iterable[str], name: str, text_config: TextConfig) -> Iterator[str]:
    """Return the normalized text of one file, with an end mark after each document unless the documents are lines.

    ``blocks`` are the decoded text, block by block; the result does not depend on how it is divided. ``name`` is the name
    of the file. Raises CorpusError if a column cannot be read, UnicodeEncodeError if the text contains a surrogate.
    """
    if text_config.end != END:
        return normalize_blocks(blocks, text_config)
    blocks = map(_checked, blocks)
    if text_config.column is not None:
        blocks = values_of(blocks, name, text_config.column)
    return mark_ends(normalize_blocks(blocks, text_config), text_config)


def mark_ends(blocks: Iterable[str], text_config: TextConfig) -> Iterator[str]:
    """Yield the text of one file with each separator replaced by an end mark, and with an end mark at its end.

    Line breaks at the start and the end of a document, and empty documents, are removed.
    """
    separator = normalize(text_config.separator or "", text_config)
    last = "\n" * (text_config.documents == "paragraphs") + END  # the last line of a file may be blank
    inside = f"|{re.escape(separator)}" if separator else _INSIDE[text_config.documents]
    after = r"[^\S\n]*\n" if text_config.documents == "paragraphs" else r"\n"
    pattern = re.compile(rf"(?<!\n)\n*(?:{END}{inside})(?:{END}{inside}|{after})*")
    rest, is_start = END, True  # this mark makes the pattern match line breaks at the start; it is removed again
    for block in chain(blocks, [None]):
        text = rest + (last if block is None else block)
        cut = len(text)
        if block is not None:  # what follows may continue a match at the end
            cut = _last_cut(text, len(separator) - 1)
            if separator:  # other matches contain only white space and end marks
                cut = next((found.start() for found in pattern.finditer(text) if found.start() < cut <= found.end()), cut)
        text, rest = pattern.sub(END, text[:cut]), text[cut:]
        if text:
            yield text.removeprefix(END) if is_start else text
            is_start = False


def _checked(block: str) -> str:
    """Return the block. Raises UnicodeEncodeError if it contains a surrogate, which could be an end mark."""
    block.encode("utf-8")
    return block


def _last_cut(text: str, length: int) -> int:
    """Return where ``text`` can be cut: before white space and end marks, and before the last ``length`` characters."""
    cut = len(text) - max(0, length)
    while cut > 0 and (text[cut - 1] == END or text[cut - 1].isspace()):
        cut = len(text[:cut].rstrip().rstrip(END))
    return max(0, cut)
