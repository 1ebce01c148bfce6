"""The models that come with charrnn, and what they have read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.inference.origin import Origin
from charrnn.storage import container
from charrnn.storage.container import Manifest
from charrnn.storage.metadata import require
from charrnn.text.corpus import Corpus
from charrnn.text.overlap import overlap

BUNDLED_MODELS = ("english",)
"""The names of the bundled models; docs/english.md describes them."""

DEFAULT_MODEL = BUNDLED_MODELS[0]
"""The model that ``sample`` uses if there is no run, and from which training starts if that helps."""

MODELS = Path(__file__).parent.parent / "models"
"""The folder of the bundled models: the model NAME.h5, and NAME-books.h5 with the fingerprints of the books it has read."""

REINSTALL = "install charrnn again"
"""What to do if one of these files is missing or damaged."""


def bundled_file(name: str = DEFAULT_MODEL) -> Path:
    """Return the path of a bundled model."""
    return MODELS / f"{name}.h5"


def is_bundled(path: Path) -> bool:
    """Return whether a path is that of a bundled model."""
    return path.parent == MODELS


@contextmanager
def advising(path: str | Path) -> Iterator[None]:
    """Add what to do to an error about a bundled file."""
    try:
        yield
    except CheckpointError as error:
        if not is_bundled(Path(path)):
            raise
        raise CheckpointError(error.message, REINSTALL) from error


def name_of(path: Path) -> str:
    """Return the name of a model for messages: that of a bundled model, otherwise its path.

    A file in the current folder that has the name of a bundled model is ``./NAME``.
    """
    return path.stem if is_bundled(path) else f"./{path}" if str(path) in BUNDLED_MODELS else str(path)


def save_fingerprints(path: Path, fingerprints: np.ndarray) -> None:
    """Write the fingerprints (N,) of the books that a model has read."""
    container.write(path, {"fingerprints": fingerprints}, {"kind": "fingerprints", "count": len(fingerprints)})


def overlap_with(name: str, corpus: Corpus) -> float:
    """Return the fraction of a corpus that the bundled model ``name`` has read; 0 for the name of another model.

    Raises CheckpointError if the fingerprints are missing or damaged.
    """
    if name not in BUNDLED_MODELS:
        return 0.0
    path = MODELS / f"{name}-books.h5"
    if not path.exists():
        raise CheckpointError(f"{path}: is missing", REINSTALL)
    with advising(path):
        arrays, _ = container.read(path, _expected)
    return overlap(corpus, arrays["fingerprints"])


def _expected(metadata: dict) -> Manifest:
    count = metadata.get("count")
    require(metadata.get("kind") == "fingerprints" and type(count) is int and 0 <= count < 2**31,
            "the file contains no fingerprints")
    return {"fingerprints": ("<u4", (metadata["count"],))}


def provenance(origin: Origin | None, corpus: Corpus) -> str:
    """Return the note for a figure of a model on a corpus: its origin, and how much of the corpus that has read.

    It is "" for a model that was trained from scratch.
    """
    return "" if origin is None else str(origin._replace(overlap=overlap_with(origin.names[-1], corpus)))
