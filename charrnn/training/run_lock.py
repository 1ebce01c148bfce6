"""RunLock: allows only one process at a time to train in a run folder."""

from __future__ import annotations

import contextlib
import os
import platform
import weakref
from pathlib import Path
from typing import IO

from charrnn.errors import RunError

_NAME = ".lock"


class RunLock:
    """A lock on ``folder``, held by the process that trains in it until ``release`` or the end of a ``with`` block.

    It is a lock of the operating system (flock) on a hidden file, so it ends with its process in any case. The file names
    the process. The file is removed with the lock, together with folders that were created for it and are still empty.
    Raises RunError if another process holds the lock, or if the folder cannot be created or written. ``is_supported`` is
    False if the system or the file system does not support such locks; then nothing is locked.
    """

    def __init__(self, folder: Path) -> None:
        self.is_supported = True
        path, created = folder / _NAME, [each for each in (folder, *folder.parents) if not each.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = self._locked(path)
        except OSError as error:
            _remove_empty(created)
            raise RunError(f"{folder}: cannot be written ({error.strerror or error})",
                           "choose another folder, or check its owner, its permissions and the free space") from error
        self.release = weakref.finalize(self, _release, file, path, created)
        """Release the lock."""

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _locked(self, path: Path) -> IO[str]:
        """Return the locked file at ``path``. Raises OSError if it cannot be written."""
        while True:
            file = path.open("a+", encoding="utf-8")
            try:
                self._lock(file)
                if _is_at(file, path):  # otherwise the process that had the lock has just removed the file
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {platform.node()}")
                    file.flush()
                    return file
            except BlockingIOError as error:
                file.seek(0)
                owner = file.read(1000) or "another process"
                file.close()
                raise RunError(f"{path.parent}: {owner} is training this run",
                               "wait until it has finished, or stop it") from error
            except OSError:
                _discard(file, path)
                raise
            file.close()

    def _lock(self, file: IO[str]) -> None:
        """Lock a file. Raises BlockingIOError if another process has locked it."""
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except (ImportError, OSError):  # Windows has no flock, and some network file systems have no locks
            self.is_supported = False


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _release(file: IO[str], path: Path, created: list[Path]) -> None:
    _discard(file, path)
    _remove_empty(created)


def _discard(file: IO[str], path: Path) -> None:
    """Close a file, which ends its lock, and remove it if it is still at ``path``.

    It is removed first, so that no other process locks it in between. Windows removes only a file that is closed.
    """
    is_left = _is_at(file, path)
    if is_left:
        with contextlib.suppress(OSError):
            path.unlink()
            is_left = False
    with contextlib.suppress(OSError):
        file.close()
    if is_left:
        with contextlib.suppress(OSError):
            path.unlink()


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders that are empty; ``folders`` starts with the innermost one."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
