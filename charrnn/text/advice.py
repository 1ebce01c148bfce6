"""Advice on how a text could be divided into documents."""

from __future__ import annotations

import os
import re
import statistics

from charrnn.text.columns import looks_like_columns
from charrnn.text.corpus import Corpus
from charrnn.text.files import display_name

_READ = 200_000
"""Characters at the start of a text by which its lines are judged."""

_FILES, _SMALL_FILE = 20, 10_000
_LINES, _LINE, _LONG_LINE = 100, 40, 80


def advice(corpus: Corpus) -> str:
    """Return one line about a setting that would suit a continuous text, with parameters in backticks; "" if none would."""
    if corpus.text_config.end is not None or corpus.text_config.level == "byte":
        return ""
    tables = [source for source in corpus.sources if looks_like_columns(source)]
    if tables:
        return (f"{display_name(tables[0])} is read as one continuous text; to train on the values of one column, pass "
                "`column`")
    if len(corpus.sizes) >= _FILES and any(map(os.path.isdir, corpus.sources)) \
            and statistics.median(corpus.sizes) <= _SMALL_FILE:
        return (f"These {len(corpus.sizes):,} small files are read as one continuous text; to generate whole files, pass "
                "`documents='files'`")
    if _is_list("".join(next(corpus.text(corpus.ids[:_READ]), ""))):
        return "The text looks like a list of independent lines; to generate whole lines, pass `documents='lines'`"
    return ""


def _is_list(text: str) -> bool:
    """Return whether lines look like a list: short, not indented, seldom blank, seldom with punctuation or many words."""
    lines = text.split("\n")[:-1]
    if len(lines) < _LINES:
        return False

    def fraction(pattern: str) -> float:
        return sum(re.search(pattern, line) is not None for line in lines) / len(lines)

    lengths = sorted(map(len, lines))
    return (lengths[len(lines) // 2] <= _LINE and lengths[len(lines) * 95 // 100] <= _LONG_LINE
            and fraction(r"^\s*$") < 0.02 and fraction(r"^\s+\S") < 0.05 and fraction(r"[^\w\s)]\s*$") < 0.2
            and fraction(r"\S\s+\S+\s+\S+\s+\S+\s+\S+\s+\S") < 0.2)
