"""Origin: the trained model from whose weights the training of another model started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.inference.locate import BEST, LAST
from charrnn.storage.metadata import require, require_types

_TYPES = {"names": list, "weights": str, "overlap": float}


class Origin(NamedTuple):
    """The trained model from whose weights the training of a model started.

    ``names`` are the paths of its checkpoint and of those it started from in turn, the latest first; a bundled model has
    only a name. ``weights`` is a hexadecimal digest of the weights at the start. ``overlap`` is the fraction of the text
    that a bundled model among them has read, as far as fingerprints show (``text/overlap.py``).
    """

    names: tuple[str, ...]
    weights: str
    overlap: float = 0.0

    def __str__(self) -> str:
        """Return "started from english", or "started from english, which has read 93 % of the text"."""
        read = f", which has read {100 * self.overlap:.0f} % of the text" if self.overlap else ""
        return f"started from {', from '.join(self.names)}{read}"

    @property
    def short_name(self) -> str:
        """The name of a bundled model or a run, or that of a file without its suffix."""
        path = Path(self.names[0])
        return path.parent.name if path.name in (BEST, LAST) and path.parent.name else path.stem

    def to_metadata(self) -> dict[str, Any]:
        """Return the origin as plain values."""
        return {**self._asdict(), "names": list(self.names)}

    @classmethod
    def from_metadata(cls, metadata: Any) -> Origin | None:
        """Return an origin from plain values; None is no origin. Raises ValueError if they are invalid."""
        if metadata is None:
            return None
        require(isinstance(metadata, Mapping), "the origin is invalid")
        require_types(metadata, _TYPES, "the origin")
        names = metadata["names"]
        require(bool(names) and all(type(name) is str for name in names), "the names of the origin are invalid")
        require(0 <= metadata["overlap"] <= 1, "the overlap of the origin is out of range")
        return cls(tuple(names), metadata["weights"], metadata["overlap"])
