"""What the page of a run or of a model shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import make_model

from charrnn import Corpus, Run
from charrnn.errors import CorpusError
from charrnn.inference.language_model import load
from charrnn.inference.origin import Origin
from charrnn.page import contents as contents_module
from charrnn.page.contents import READING, contents_of_model, contents_of_run, decode
from charrnn.page.page import comparison_page, model_page
from charrnn.training.api import train


@pytest.fixture(scope="module")
def text(make_text: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "notes.txt"
    path.write_text(make_text(3000), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with samples and evaluations."""
    path = tmp_path_factory.mktemp("runs") / "first"
    train(text, name="first", checkpoints=path.parent, start_from="none",
          hidden_size=8, batch_size=3, seq_len=8, steps=8, eval_every=4, threads=1)
    return path


def test_a_run(folder: Path, text: Path) -> None:
    run = Run.load(folder)
    split = run.split(Corpus.read(text))
    stages: list[str] = []
    found = contents_of_run(run, split, on_stage=stages.append)
    assert stages == ["samples", "units", "novelty", "curves"]
    assert found.name == "first"
    size = found.model.network.parameters.flat.size
    assert found.summary == (
        "A recurrent network that has read 3,000 characters of notes.txt, one after the other, and has learned to predict "
        "the next one. What it remembers of a text are the values of its 8 units.")
    assert found.model.network.parameters.flat.tolist() == run.best.network.parameters.flat.tolist()
    assert [sample.step for sample in found.samples] == [0, 1, 2, 4, 8]
    assert [temperature for temperature, _ in found.temperatures] == [0.5, 0.75, 1.0]
    assert found.temperatures[0][1] == run.best.sample("", 400, temperature=0.5, seed=1)
    assert {len(text) for _, text in found.temperatures} == {400}
    assert found.curves is not None
    assert found.curves.baseline is not None
    assert found.novelty is not None
    assert found.units == []  # the validation part is too short
    figures = {name: " ".join(cells) for name, cells in found.figures}
    assert list(figures) == ["network", "vocabulary", "text", "training", "training loss", "validation loss",
                             "n-gram baseline"]
    assert figures["network"] == f"LNLSTM, 8 units, {size:,} parameters"
    assert figures["text"] == "notes.txt: 3,000 characters"
    assert figures["training"].startswith("8 of 8 steps, ")
    assert run.best_record is not None
    assert figures["validation loss"].startswith(f"{run.best_record.validation_loss:.4f} nats/char")
    assert figures["validation loss"].endswith(f", after step {run.best_record.step}")
    assert figures["n-gram baseline"] == f"{found.curves.baseline:.4f} nats/char"
    settings = {name: " ".join(cells) for name, cells in found.settings}
    assert settings["hidden size"] == "8"
    assert settings["eval every"] == "4"
    assert "level" not in settings
    assert settings["numpy"] == np.__version__
    page = model_page(found)
    assert "Copied passages" in page
    assert str(text.parent) not in page


def test_the_reading_is_from_validation_text(folder: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.load(folder)
    split = run.split(Corpus.read(text))
    ids = split.validation.ids
    second = decode(run.best, ids[len(ids) // 2:])
    reading = contents_of_run(run, split, with_units=False).reading
    assert reading == second[second.index("\n") + 1:][:READING].rstrip("\n")
    monkeypatch.setattr(contents_module, "READING", 5)
    reading = contents_of_run(run, split, with_units=False).reading
    assert len(reading) <= 5
    assert reading in second


def test_a_run_without_its_text(folder: Path) -> None:
    found = contents_of_run(Run.load(folder), None)
    assert (found.units, found.novelty) == ([], None)
    assert found.curves is not None
    assert found.curves.baseline is None
    assert found.reading == found.temperatures[1][1]
    figures = dict(found.figures)
    assert "n-gram baseline" not in figures
    assert "validation loss" in figures
    page = model_page(found)
    assert "n-gram" not in page
    assert "Copied passages" not in page
    assert ">Training</h2>" in page


def test_units_of_a_run(folder: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def search(model: Any, part: Any) -> list[Any]:
        searched.append(len(part))
        return []

    monkeypatch.setattr(contents_module, "find_units", search)
    run = Run.load(folder)
    split = run.split(Corpus.read(text))
    contents_of_run(run, split)
    contents_of_run(run, split, with_units=False)
    assert searched == [len(split.validation)]


def test_a_text_of_another_run_is_refused(folder: Path, make_text: Callable[..., str]) -> None:
    run = Run.load(folder)
    with pytest.raises(CorpusError):
        run.page(folder / "page.html", Corpus.from_text(make_text(3000, seed=2)))
    assert not (folder / "page.html").exists()


def test_samples_after_the_checkpoint_are_left_out(folder: Path) -> None:
    run = Run.load(folder)
    run.step = 5
    assert [sample.step for sample in contents_of_run(run, None).samples] == [0, 1, 2, 4]


def test_a_run_in_memory(start: Callable[..., Run], take: Callable[..., Any], corpus: Corpus) -> None:
    run = start()
    page = model_page(contents_of_run(run, None))  # before the first step
    assert ">Training</h2>" not in page
    assert "0 of 6 steps" in page
    take(run, 3)
    found = contents_of_run(run, run.split(corpus))
    assert (found.name, list(found.samples)) == ("model", [])
    assert found.curves is not None
    assert ">Training</h2>" in model_page(found)


def test_a_run_without_evaluations(start: Callable[..., Run], take: Callable[..., Any], make_text: Callable[..., str]
                                   ) -> None:
    text = Corpus.from_text(make_text(400))
    run = start(text, validation=0.0)
    take(run, text=text)
    found = contents_of_run(run, run.split(text))
    assert "validation loss" not in dict(found.figures)
    assert found.reading == found.temperatures[1][1]
    page = model_page(found)
    assert "n-gram" not in page
    assert "a text: 400 characters" in page
    assert comparison_page([found, found])


@pytest.mark.parametrize("settings", [
    {"characters": "".join(map(chr, sorted(set("\n abcé".encode())))), "level": "byte"}, {"documents": "lines"},
    {"documents": "paragraphs"}, {"min_count": 2},
    {"characters": "\n abc", "level": "byte", "min_count": 2}, {"cell": "rnn", "hidden_size": 1},
    {"cell": "gru", "layers": 2, "embedding_size": 1}, {"cell": "lnlstm", "layers": 2},
    {"characters": "a", "min_count": 2}])
def test_a_model(settings: dict[str, Any]) -> None:
    model = make_model(**settings)
    stages: list[str] = []
    found = contents_of_model(model, "some model", stages.append)
    assert stages == ["samples"]
    assert found.name == "some model"
    assert found.summary.startswith("A recurrent network that generates text. ")
    assert found.settings == []
    assert found.curves is None
    unit = "bytes" if model.text_config.level == "byte" else "characters"
    assert dict(found.figures)["vocabulary"] == [f"{len(model.vocabulary):,} {unit}"]
    assert len(found.temperatures) == 3
    assert model_page(found)


def test_a_model_with_an_origin(bundled: Path) -> None:
    model = load(bundled / "english.h5")
    assert "weights" not in dict(contents_of_model(model, "english").figures)
    model.origin = Origin(("english",), "0" * 64)
    assert dict(contents_of_model(model, "mine").figures)["weights"] == ["started from english"]


def test_decode() -> None:
    model = make_model("".join(map(chr, sorted(set("\n abcé€".encode())))), level="byte")
    ids = model.vocabulary.encode("aé€".encode().decode("latin-1"))
    assert decode(model, ids) == "aé€"
    assert decode(model, ids[2:]) == "\ufffd€"
    assert decode(model, ids[:-1]) == "aé\ufffd"
    unknown = make_model("\n abc", level="byte", min_count=2)
    assert decode(unknown, np.array([2, len(unknown.vocabulary) - 1, 3])) == "a\ufffdb"
    assert decode(make_model(min_count=2), np.array([2, 9])) == "a\ufffd"
