"""Standard output for text that a model writes."""

from __future__ import annotations

import codecs
import sys

from charrnn.cli._console import without_controls


class Output:
    """Standard output for the text of a model. A terminal gets no control characters and no incomplete characters."""

    def __init__(self, is_bytes: bool) -> None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
        self.is_bytes = is_bytes
        self.is_terminal = sys.stdout.isatty()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, text: str) -> None:
        """Write text. In a model of bytes, each character of it is one byte."""
        if self.is_bytes and not self.is_terminal:
            sys.stdout.buffer.write(text.encode("latin-1"))
            return
        if self.is_bytes:
            text = self._decoder.decode(text.encode("latin-1"))
        sys.stdout.write(without_controls(text.replace("\r", "")) if self.is_terminal else text)

    def flush(self) -> None:
        """Flush standard output."""
        sys.stdout.flush()
