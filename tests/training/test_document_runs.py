"""Runs on documents: saved and resumed exactly, and started from another model"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn import Corpus, Run, TextConfig, TrainConfig, Trainer
from charrnn.config import END
from charrnn.errors import CheckpointError, CorpusError
from charrnn.training.samples import write

NAMES = ("anna", "otto", "hanna", "nora", "tom", "emma", "ida")


@pytest.fixture(params=["lines", "paragraphs", "separator", "column", "files"])
def documents(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    """Return a corpus of 80 documents of two words, of every kind."""
    texts = [f"{NAMES[k % 7]} {NAMES[k * k % 5]}" for k in range(80)]
    if request.param == "files":
        for k, text in enumerate(texts):
            (tmp_path / f"{k:02}.txt").write_text(text, encoding="utf-8")
        return Corpus.read(str(tmp_path), text_config=TextConfig(documents="files"))
    path = tmp_path / "text.csv"
    between, setting = {"lines": ("\n", {"documents": "lines"}), "paragraphs": ("\n\n", {"documents": "paragraphs"}),
                        "separator": ("%%", {"separator": "%%"}), "column": ("\n", {"column": "text"})}[request.param]
    path.write_text("text\n" * (request.param == "column") + between.join(texts), encoding="utf-8")
    return Corpus.read(str(path), text_config=TextConfig(**setting))


def test_a_run_can_be_saved_and_resumed_exactly(
        documents: Corpus, start: Callable[..., Run], take: Callable[..., list], to_file: Callable[[Run], bytes],
        tmp_path: Path) -> None:
    assert len(documents.starts) == 80
    settings: dict[str, Any] = {"steps": 9, "eval_every": 3, "dropout": 0.1}
    whole, part = (start(documents, **settings) for _ in range(2))
    take(whole, text=documents)
    take(part, 4, documents)
    part.save(tmp_path / "part.h5")
    resumed = Run.load(tmp_path / "part.h5")
    assert resumed.model.text_config == documents.text_config
    take(resumed, text=documents)
    assert to_file(resumed) == to_file(whole)
    for text in (write(whole.model, 60, 1), whole.model.sample(seed=2), "".join(whole.model.stream(length=99, seed=3))):
        assert END not in text


def test_a_run_can_start_from_a_model_of_another_kind(documents: Corpus, start: Callable[..., Run], corpus: Corpus) -> None:
    first = start(corpus).model
    run, new = Run.start_from(first, documents, train_config=TrainConfig(batch_size=3, seq_len=8, threads=1, steps=1))
    model = run.model
    assert model.text_config == documents.text_config
    assert model.separator == model.vocabulary.id("\n" if model.text_config.documents == "lines" else END)
    assert (END in new) == (model.text_config.end == END)
    shared = set(model.vocabulary.characters) & set(first.vocabulary.characters)
    assert {"a", "n", "o"} <= shared
    for character in shared:
        old, kept = (each.network.parameters["layer0/w_x"][each.vocabulary.id(character)] for each in (first, model))
        assert (old == kept).all()


def test_a_wrong_number_of_windows_is_refused(
        start: Callable[..., Run], tmp_path: Path) -> None:
    """The training part ends with a document, so the number of its windows is only known to be below that of the text."""
    corpus = Corpus.from_text("\n".join(f"{NAMES[k % 7]} {NAMES[k * k % 5]}" for k in range(80)), documents="lines")
    run, path = start(corpus), tmp_path / "run.h5"
    most = (len(corpus) - 1) // run.config.seq_len // run.config.batch_size
    windows = run.source.windows
    assert 2 < windows < most
    for possible in (windows - 1, most):
        run.source = run.source._replace(windows=possible)
        run.save(path)
        loaded = Run.load(path)
        with pytest.raises(CorpusError, match=f"^the run was trained on {possible} windows, but this text has {windows}; "):
            Trainer(loaded, corpus)
    run.source = run.source._replace(windows=most + 1)
    run.save(path)
    with pytest.raises(CheckpointError, match="the number of windows does not match the corpus"):
        Run.load(path)
