"""RowFile: a text file to which a run adds lines; lines of steps that will be repeated are removed."""

from __future__ import annotations

import os
from pathlib import Path


class RowFile:
    """The lines of the file at ``path``, after ``header``.

    New lines are kept in memory until ``flush``, which is called just before the run is saved. So a resumed run finds the
    lines of all its steps. It passes the size of these lines to ``keep``, and the next ``flush`` removes what follows them:
    lines of steps that will be repeated, or an incomplete line.
    """

    def __init__(self, path: Path, header: str = "") -> None:
        self.path = path
        self.header = header
        self._size = 0
        self._pending = header

    def keep(self, size: int) -> None:
        """Keep the first ``size`` bytes of the file, and drop the pending lines."""
        self._size, self._pending = size, ""

    def write(self, line: str) -> None:
        """Add a line, with its line break."""
        self._pending += line

    def flush(self) -> None:
        """Write the pending lines to disk. Raises OSError if that fails; the lines stay pending.

        A file without lines is removed.
        """
        if not (self._size or self._pending):
            self.path.unlink(missing_ok=True)
            return
        with open(self.path, "ab") as file:
            if file.tell() < self._size:  # the file was removed
                self._size, self._pending = 0, self.header + self._pending
            data = self._pending.encode()
            file.truncate(self._size)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(data)
        self._pending = ""

    def save_copy(self, path: Path) -> None:
        """Write all lines that can be read, and the pending lines, to ``path``. Raises OSError."""
        written = b"".join(lines_of(self.path))[:self._size] or self.header.encode()
        path.write_bytes(written + self._pending.removeprefix(self.header).encode())


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a file with their line ends, or no lines if it cannot be read or is not a regular file."""
    try:
        return path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    except OSError:
        return []
