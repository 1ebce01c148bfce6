"""The user's cache folder, for files that can be recreated."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder that CHARRNN_CACHE names, or the cache folder of this system."""
    if chosen := os.environ.get("CHARRNN_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("charrnn", appauthor=False)
