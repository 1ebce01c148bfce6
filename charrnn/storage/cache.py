"""The user's cache folder, for files that can be recreated."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder that CHARRNN_CACHE names, or the cache folder of this system.

    Without a home folder, it is a temporary folder that is removed when the program ends; the first call then warns.
    """
    if chosen := os.environ.get("CHARRNN_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_path

    with suppress(RuntimeError):  # there is no home folder
        path = user_cache_path("charrnn", appauthor=False)
        if path.is_absolute():  # older versions of platformdirs return "~/.cache" then
            return path
    return _temporary_folder()


@cache
def _temporary_folder() -> Path:
    """Create a folder for this process. Other users could put files into one with a known name."""
    folder = Path(tempfile.mkdtemp(prefix="charrnn-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    warnings.warn(f"no home folder was found, so files are kept in {folder} until the program ends; set CHARRNN_CACHE to "
                  "use another folder", RuntimeWarning, stacklevel=3)
    return folder
