"""Replace files atomically: at any time, a path refers to the complete old file or to the complete new file."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from charrnn import system

OWNER = r"([0-9a-f]{6})-([0-9]{1,10})"
"""A pattern that matches the result of ``owner``; its groups are the host and the process id."""

_DAY = 86_400
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each new attempt to replace a file on Windows."""

_NAME = re.compile(rf"{OWNER}-[0-9a-f]{{8}}\.tmp")
_being_written: set[str] = set()


def replace_file(path: str | Path, pieces: Iterable[bytes | memoryview], create_folder: bool = False) -> None:
    """Atomically replace the file at ``path`` with a file that contains ``pieces``.

    The pieces are written to a temporary file in the same folder, which is then renamed; with ``create_folder`` a missing
    folder is created. If ``path`` is a symbolic link, the file that it points to is replaced. A device such as /dev/null is
    not replaced: the pieces are written to it. Temporary files that killed processes left behind are removed. Raises
    OSError, which names ``path``, if the file cannot be written. In this case and after an exception from ``pieces``, the
    old file is unchanged and the temporary file is removed.
    """
    target = Path(os.path.realpath(path))
    if target.is_char_device():
        try:
            with target.open("wb") as device:
                device.writelines(pieces)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        return
    if create_folder and not target.parent.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    temporary = target.with_name(f".{target.name}.{owner()}-{secrets.token_hex(4)}.tmp")
    _being_written.add(temporary.name)
    try:
        descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
        _replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error  # the caller does not know the temporary file
        raise
    finally:
        _being_written.discard(temporary.name)
    _sync_folder(target.parent)


def _replace(temporary: Path, target: Path) -> None:
    """Rename a file over another one.

    Windows refuses this while a process has the other file open, for example while a virus scanner reads it.
    """
    for pause in _PAUSES if system.IS_WINDOWS else ():
        try:
            return os.replace(str(temporary), target)
        except PermissionError:
            time.sleep(pause)
    return os.replace(str(temporary), target)


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk if the system supports it, so that a renamed file survives a power failure."""
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
    """Remove temporary files of ``path`` that killed processes left behind."""
    prefix = f".{path.name}."
    for name in glob.glob(f"{glob.escape(prefix)}*.tmp", root_dir=path.parent):
        match = _NAME.fullmatch(name, len(prefix))
        if match is None:
            continue
        is_own = f"{match[1]}-{match[2]}" == owner()
        if name not in _being_written if is_own else is_abandoned(path.parent / name, match[1], int(match[2])):
            with contextlib.suppress(OSError):  # Windows does not remove a file that is open
                (path.parent / name).unlink()


def owner() -> str:
    """Return the part of the name of a temporary file that identifies this process: host identifier and process id."""
    return f"{_host()}-{os.getpid()}"


def is_abandoned(path: Path, host: str, process: int) -> bool:
    """Return whether the process that wrote a temporary file is known or assumed to have ended.

    Machines and containers can share a folder, and process ids mean nothing on another host. So a file of this host is
    abandoned if its process is not running, and a file of another host if it was modified more than a day ago. The latter
    applies to every file on Windows, where ``os.kill`` would end the process.
    """
    if host == _host() and not system.IS_WINDOWS:
        return not _is_running(process)
    try:
        return path.stat().st_mtime < time.time() - _DAY
    except OSError:
        return False


@cache
def _host() -> str:
    """Return six hexadecimal digits that identify this machine or container, in which process ids are unique."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{platform.node()}\0{namespace}".encode("utf-8", "surrogateescape")).hexdigest()[:6]


def _is_running(process: int) -> bool:
    """Return whether a process with this id exists, or True if that cannot be determined."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True
