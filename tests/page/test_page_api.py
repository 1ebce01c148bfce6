"""``Run.page``, and a model in a notebook."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_models import make_model

from charrnn import Corpus, Run
from charrnn.errors import CharRNNError, ConfigError
from charrnn.page import api
from charrnn.page.api import in_notebook, to_bytes
from charrnn.training.api import train


@pytest.fixture(scope="module")
def folder(make_text: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with notes.txt and a run, "run", that was trained with it."""
    path = tmp_path_factory.mktemp("api")
    (path / "notes.txt").write_text(make_text(1000), encoding="utf-8")
    train(path / "notes.txt", name="run", checkpoints=path, start_from="none",
          hidden_size=4, batch_size=3, seq_len=8, steps=4, threads=1)
    return path


def test_the_page_of_a_run(folder: Path, tmp_path: Path) -> None:
    """The text is read from its file; it may also be passed."""
    run = Run.load(folder / "run")
    paths = [tmp_path / name for name in ("found.html", "corpus.html", "split.html", "whole.html")]
    corpus = Corpus.read(folder / "notes.txt")
    run.page(paths[0])
    run.page(str(paths[1]), corpus)
    run.page(paths[2], text=run.split(corpus))
    run.page(paths[3], corpus, "float32")
    pages = [path.read_bytes() for path in paths]
    assert pages[0] == pages[1] == pages[2]
    assert b"n-gram baseline" in pages[0]
    assert b"Copied passages" in pages[0]
    size = run.model.network.parameters.flat.size
    assert abs(len(pages[3]) - len(pages[0]) - size * 2 * 4 / 3) < 10
    run.page(paths[0])
    assert paths[0].read_bytes() == pages[0]
    with pytest.raises(ConfigError, match="must be one of float16, float32"):
        run.page(paths[0], dtype="float64")
    with pytest.raises(OSError, match="missing"):
        run.page(tmp_path / "missing" / "page.html")
    assert paths[0].read_bytes() == pages[0]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_run_whose_text_is_lost_or_has_changed(folder: Path, tmp_path: Path) -> None:
    run = Run.load(folder / "run")
    notes = folder / "notes.txt"
    content = notes.read_bytes()
    try:
        notes.write_bytes(b"." + content[1:])
        run.page(tmp_path / "changed.html")
        notes.unlink()
        run.page(tmp_path / "lost.html")
    finally:
        notes.write_bytes(content)
    page = (tmp_path / "lost.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "changed.html").read_text(encoding="utf-8")
    assert "n-gram" not in page
    assert ">Training</h2>" in page


def test_a_model_in_a_notebook() -> None:
    model = make_model()
    frame = model._repr_html_()
    assert frame is not None
    found = re.fullmatch(r'<iframe sandbox="allow-scripts allow-forms" srcdoc="([^"]*)" title="[^"]+" width="100%" '
                         r'height="\d+"></iframe>', frame)
    assert found is not None
    page = html.unescape(found[1])
    assert page.startswith("<!doctype html>")
    assert 'id="weights"' in page
    assert "<" not in found[1]


def test_models_that_a_notebook_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    monkeypatch.setattr(api, "_MOST_PARAMETERS", model.network.parameters.flat.size - 1)
    assert in_notebook(model) is None
    monkeypatch.setattr(api, "_MOST_PARAMETERS", model.network.parameters.flat.size)
    assert in_notebook(model) is not None
    model.network.parameters.flat[0] = 1e6  # too large for float16
    assert model._repr_html_() is None

    def fail(*_: object) -> str:
        raise CharRNNError("there is no JavaScript for it")

    monkeypatch.setattr(api, "model_page", fail)
    assert in_notebook(make_model()) is None


def test_a_model_that_is_not_finite_is_shown_as_text() -> None:
    model = make_model()
    model.network.parameters.flat[:] = np.nan
    assert model._repr_html_() is None


def test_to_bytes() -> None:
    assert to_bytes("é\ud800\0") == "é?\0".encode()
