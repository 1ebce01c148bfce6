"""Simulations of what differs on Windows and macOS, for tests on Linux. They change only the process of the test."""

from __future__ import annotations

import errno
import io
import mmap
import os
import pathlib
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from charrnn import system

POSIX_NAMES: dict[Any, tuple[str, ...]] = {
    os: ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "chown", "fchmod", "fork", "forkpty", "getegid",
         "geteuid", "getgid", "getloadavg", "getpgid", "getuid", "killpg", "mkfifo", "mknod", "nice", "posix_fadvise",
         "posix_fallocate", "pread", "pwrite", "sched_getaffinity", "sched_setaffinity", "setsid", "statvfs", "sync",
         "sysconf", "uname"),
    signal: ("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2",
             "alarm", "pause", "pthread_sigmask", "setitimer", "sigwait"),
    mmap: ("MADV_DONTNEED", "MADV_SEQUENTIAL", "MADV_WILLNEED", "MAP_PRIVATE", "MAP_SHARED", "PROT_READ", "PROT_WRITE"),
}
"""Names that Python does not have on Windows."""

POSIX_MODULES = ("curses", "fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
"""Modules that Python does not have on Windows."""


class Output(NamedTuple):
    """The exit code and the output of a command, as bytes."""

    code: int
    out: bytes
    err: bytes


def like_windows(patch: pytest.MonkeyPatch) -> None:
    """Simulate Windows: without the names of POSIX, and with the rules of Windows for names and open files."""
    patch.setattr(system, "IS_WINDOWS", True)
    without_posix(patch)
    refuse_open_files(patch)
    refuse_to_open_folders(patch)


def without_posix(patch: pytest.MonkeyPatch) -> None:
    """Remove the names and modules that exist only on POSIX systems."""
    for module, names in POSIX_NAMES.items():
        for name in names:
            patch.delattr(module, name, raising=False)
    for name in POSIX_MODULES:
        patch.setitem(sys.modules, name, None)  # importing it is an ImportError


def refuse_to_open_folders(patch: pytest.MonkeyPatch) -> None:
    """Make ``os.open`` refuse folders, except for the nameless files of ``tempfile``, which Linux opens in this way."""
    open_before, nameless = os.open, getattr(os, "O_TMPFILE", 0)

    def refuse(path: Any, flags: int, *arguments: Any, **settings: Any) -> int:
        if os.path.isdir(path) and not (nameless and flags & nameless == nameless):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return open_before(path, flags, *arguments, **settings)

    patch.setattr(os, "open", refuse)


def refuse_open_files(patch: pytest.MonkeyPatch) -> None:
    """Make ``os.replace``, ``os.rename`` and ``os.unlink`` refuse a file that this process has open or mapped."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("the open and mapped files of this process are not known here")

    def refusing(function: Callable[..., Any], which: int) -> Callable[..., Any]:
        def refuse(*arguments: Any, **settings: Any) -> Any:
            for argument in arguments[:which]:
                if settings.get("dir_fd") is None and is_in_use(argument):
                    raise PermissionError(errno.EACCES, "The process cannot access the file because it is being used by "
                                                        "another process", os.fspath(argument))
            return function(*arguments, **settings)

        return refuse

    for name, which in (("replace", 2), ("rename", 2), ("unlink", 1), ("remove", 1)):
        patch.setattr(os, name, refusing(getattr(os, name), which))
    unlink = os.unlink

    def unlink_path(self: Path, missing_ok: bool = False) -> None:
        try:
            unlink(self)
        except FileNotFoundError:
            if not missing_ok:
                raise

    patch.setattr(pathlib.Path, "unlink", unlink_path)  # Python 3.10 has taken a reference to os.unlink


def is_in_use(path: Any) -> bool:
    """Return whether this process has a file open or mapped."""
    place = os.path.realpath(path)
    if not os.path.isfile(place):
        return False
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        if any(line.rstrip("\n").endswith(f" {place}") for line in file):
            return True
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}") == place:
                return True
        except OSError:  # the descriptor of the list itself
            continue
    return False


def command(*arguments: Any, stdin: bytes = b"", encoding: str = "cp1252") -> Output:
    """Run a command in this process, with the streams that Windows gives it in a pipe: a code page and CRLF."""
    from charrnn.cli import main

    out, err = io.BytesIO(), io.BytesIO()
    with pytest.MonkeyPatch.context() as streams, warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a new process: the command prints each warning once
        streams.setattr(sys, "argv", ["charrnn", *map(str, arguments)])
        streams.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding=encoding))
        streams.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding, newline="\r\n"))
        streams.setattr(sys, "stderr", io.TextIOWrapper(err, encoding=encoding, errors="backslashreplace", newline="\r\n"))
        with pytest.raises(SystemExit) as end:
            main()
        sys.stdout.flush()
        sys.stderr.flush()
        return Output(int(end.value.code or 0), out.getvalue(), err.getvalue())


class ClosedPipe(io.RawIOBase):
    """A pipe whose reader has closed it, as Windows reports it: with an invalid argument."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")


def second_name(path: Path) -> Path:
    """Return another name of a folder, in upper case, as a case-insensitive file system has it."""
    other = path.with_name(path.name.upper())
    other.symlink_to(path.absolute(), target_is_directory=True)
    return other
