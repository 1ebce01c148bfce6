"""Origin: the trained model from whose weights the training of another model started."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.errors import printable
from charrnn.storage.metadata import require, require_types

_TYPES = {"names": list, "weights": str, "overlap": float}


class Origin(NamedTuple):
    """The trained model from whose weights the training of a model started.

    ``names`` contains its path, then the path of the model that it started from, and so on; a bundled model has a name
    instead of a path. ``weights`` is the SHA-256 of its weights. ``overlap`` is the fraction of the text that a bundled
    model at the end of ``names`` has read, as far as fingerprints show (``text/overlap.py``). A bundled model is its own
    origin.
    """

    names: tuple[str, ...]
    weights: str
    overlap: float = 0.0

    def __str__(self) -> str:
        """Return one line: "started from a.h5, which started from english, which has read 93 % of the text"."""
        read = f", which has read {100 * self.overlap:.0f} % of the text" if self.overlap else ""
        return printable(f"started from {', which started from '.join(self.names)}{read}")

    @property
    def short_name(self) -> str:
        """The name of a bundled model or a run, or that of a file without its suffix."""
        path = Path(self.names[0]).resolve()
        return path.parent.name if path.name in ("best.h5", "last.h5") and path.parent.name else path.stem

    def to_metadata(self) -> dict[str, Any]:
        """Return the origin as plain values."""
        return {**self._asdict(), "names": list(self.names)}

    @classmethod
    def from_metadata(cls, metadata: Any) -> Origin | None:
        """Return an origin from plain values; None means no origin. Raises ValueError if they are invalid."""
        if metadata is None:
            return None
        require(isinstance(metadata, Mapping), "the origin is invalid")
        require_types(metadata, _TYPES, "the origin")
        names = metadata["names"]
        require(bool(names) and all(type(name) is str and name for name in names), "the names of the origin are invalid")
        require(re.fullmatch("[0-9a-f]{64}", metadata["weights"]) is not None, "the digest of the origin is invalid")
        require(0 <= metadata["overlap"] <= 1, "the overlap of the origin is out of range")
        return cls(tuple(names), metadata["weights"], metadata["overlap"])


def digest(weights: np.ndarray) -> str:
    """Return the SHA-256 of weights (N,)."""
    return hashlib.sha256(weights.tobytes()).hexdigest()
