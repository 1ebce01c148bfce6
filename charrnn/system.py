"""What differs between operating systems and is not hidden by Python."""

from __future__ import annotations

import errno
import os
import re
import shlex

IS_WINDOWS = os.name == "nt"

_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$",
            *(f"{port}{number}" for port in ("com", "lpt") for number in "123456789¹²³")}
"""Names that refer to devices in every folder of Windows, also with a suffix."""


def fault_of_name(name: str) -> str | None:
    """Return why ``name`` cannot be the name of a file or folder on this system, or None.

    Windows does not report these names: it opens a device, another drive or a hidden stream of a file, or it changes them.
    """
    if not IS_WINDOWS:
        return None
    if found := re.search(r'[\x00-\x1f<>:"/\\|?*]', name):
        return f"contains {found[0]!r}, which Windows does not allow in a name"
    if name.endswith((".", " ")):
        return "ends with a dot or a space, which Windows removes"
    if name.partition(".")[0].rstrip(" ").lower() in _DEVICES:
        return "is the name of a device on Windows"
    return None


def quoted(argument: str) -> str:
    """Return an argument as it is typed in a shell of this system. The shells of Windows share only double quotes."""
    if not IS_WINDOWS:
        return shlex.quote(argument)
    if re.fullmatch(r"[\w.:\\/+@=-]+", argument):
        return argument
    return '"{}"'.format(argument.replace('"', r'\"'))


def is_lost_reader(error: OSError) -> bool:
    """Return whether writing failed because the reader of a pipe has closed it. Windows then reports an invalid argument.

    An invalid name of a file has the same number there, but such an error contains the name.
    """
    is_invalid = error.errno == errno.EINVAL and error.filename is None
    return isinstance(error, BrokenPipeError) or (IS_WINDOWS and is_invalid)
