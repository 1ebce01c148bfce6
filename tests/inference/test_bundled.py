"""charrnn.inference.bundled and the files of the bundled models"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import Corpus
from charrnn.errors import CheckpointError
from charrnn.inference import bundled as bundled_module
from charrnn.inference.bundled import BUNDLED_MODELS, MODELS, bundled_file, overlap_with, provenance, save_fingerprints
from charrnn.inference.origin import Origin


@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_a_bundled_model_is_complete_and_small(name: str) -> None:
    """It knows the characters of modern English texts, and writes English words."""
    assert sum(path.stat().st_size for path in MODELS.glob(f"{name}*")) < 5_000_000
    model = charrnn.load(name)
    assert model.origin is not None
    assert model.origin.names == (name,)
    assert model.vocabulary.missing("".join(map(chr, range(32, 127))) + "\n‘’“”—–…éèêàçñöüäï£") == []
    words = set(model.sample("It was", 2000, temperature=0.5, seed=1).lower().split())
    assert len({"the", "of", "and", "to", "a", "in", "that", "he"} & words) >= 6
    assert overlap_with(name, Corpus.from_text("The quick brown fox jumps over the lazy dog. " * 500)) == 0


def test_every_bundled_file_belongs_to_a_model() -> None:
    names = {f"{name}{suffix}.h5" for name in BUNDLED_MODELS for suffix in ("", "-books")}
    assert {path.name for path in MODELS.iterdir()} == names


@pytest.mark.parametrize("prime", ["1970, I drank", "3", "%", "“", "\n\n\n", "@home #1", "ÉÄü", "zzzzz", "<b>"])
def test_any_start_gives_varied_text(prime: str) -> None:
    """A network whose cells have grown without limit repeats one character after some starts."""
    model = charrnn.load("english")
    text = model.sample(prime, 300, seed=1)[len(prime):]
    assert len(set(text)) > 15
    assert model.evaluate(f"{prime}. It was a fine day, and there was nothing to do but to wait.").nats < 4.5


def test_fingerprints_are_of_the_right_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled_module, "MODELS", tmp_path)
    text = Corpus.from_text("abc" * 1000)
    save_fingerprints(tmp_path / "english-books.h5", np.arange(5, dtype=np.uint32))
    assert overlap_with("english", text) == 0
    assert overlap_with("./english", text) == overlap_with("other", text) == 0
    charrnn.load(MODELS / "english.h5").save(tmp_path / "english-books.h5")
    with pytest.raises(CheckpointError, match="the file contains no fingerprints; install charrnn again"):
        overlap_with("english", text)
    (tmp_path / "english-books.h5").unlink()
    with pytest.raises(CheckpointError, match="is missing; install charrnn again"):
        provenance(Origin(("a.h5", "english"), 64 * "0"), text)
    assert provenance(Origin(("a.h5",), 64 * "0"), text) == "started from a.h5"
    assert provenance(None, text) == ""
    assert bundled_file() == tmp_path / "english.h5"
