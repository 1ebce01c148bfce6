"""Replace a file as a whole: at every moment it is either the old one or the new one."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

_being_written: set[str] = set()


def write_pieces(path: str | Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Replace the file at ``path`` as a whole: at every moment it is either the old one or the new one.

    The ``pieces`` come from ``to_bytes`` or ``to_pieces``. A symbolic link stays a link. Raises OSError where it cannot
    be written; then the old file stays.
    """
    target = Path(os.path.realpath(path))
    remove_leftovers(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    _being_written.add(temporary.name)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        _being_written.discard(temporary.name)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of writers of ``path`` that were killed."""
    for name in glob.glob(f".{glob.escape(path.name)}.*.tmp", root_dir=path.parent):
        owner = name[len(path.name) + 2:].partition("-")[0]
        if owner.isdecimal() and (name not in _being_written if int(owner) == os.getpid() else not is_running(int(owner))):
            (path.parent / name).unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether there is a process of this number, as far as can be known."""
    if os.name == "nt":  # where os.kill is no question
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True
