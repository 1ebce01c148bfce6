"""The networks in docs/learn are those of the package, and the chapters print what they show."""

from __future__ import annotations

import json
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from charrnn import Corpus, ModelConfig, Run, TrainConfig, Trainer
from charrnn.nn.model import CharRNN
from charrnn.nn.state import map_state

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "learn"
TEXT = "".join(np.random.default_rng(3).choice(["ab ", "cde ", "dab\n"], 1000))
NAMES = {"w_x": "layer0/w_x", "w_h": "layer0/w_h", "b_h": "layer0/b", "w_y": "output/w", "b_y": "output/b"}

pytestmark = pytest.mark.usefixtures("reference_kernels")


@pytest.fixture(scope="module")
def modules() -> Any:
    """Import rnn.py and lstm.py."""
    sys.path.insert(0, str(FOLDER))
    try:
        import lstm
        import rnn
        yield {"rnn": (rnn, rnn.RNN), "lstm": (lstm, lstm.LSTM)}
    finally:
        sys.path.remove(str(FOLDER))


def give_weights(network: Any, model: CharRNN) -> None:
    """Copy the weights of a network of docs/learn to one of the package."""
    assert {NAMES[name]: array.shape for name, array in network.weights.items()} == {
        name: array.shape for name, array in model.parameters.items()}
    for name, array in network.weights.items():
        model.parameters[NAMES[name]][...] = array


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_loss_and_gradients_are_those_of_the_package(modules: dict[str, tuple[ModuleType, Any]], cell: str) -> None:
    rng = np.random.default_rng(1)
    network = modules[cell][1](7, hidden=11, seed=4)
    for array in network.weights.values():
        array += 0.1 * rng.standard_normal(array.shape)
    model = CharRNN(ModelConfig(cell, 11), 7, rng, np.float64)
    give_weights(network, model)
    ids, state = rng.integers(7, size=(9, 5)), rng.standard_normal(network.start(5).shape)
    parts = iter([state] if cell == "rnn" else state)
    given = map_state(lambda _: next(parts), model.initial_state(5))
    window = model.window(ids[:-1], ids[1:], given)
    loss, gradients, last = network.loss(ids[:-1], ids[1:], state)
    assert loss == pytest.approx(window.loss, rel=0, abs=1e-9)
    for name, gradient in gradients.items():
        assert np.abs(gradient - window.gradients[NAMES[name]]).max() < 1e-9, name
        assert np.abs(gradient).max() > 1e-3, name
    expected = [array for layer in window.state for array in layer]
    assert np.abs(np.reshape(last, np.shape(expected)) - np.array(expected)).max() < 1e-9
    assert modules["rnn"][0].largest_error(network, ids[:3], ids[1:4], state) < 1e-7


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_the_first_hundred_losses_are_those_of_the_package(modules: dict[str, tuple[ModuleType, Any]], cell: str) -> None:
    corpus = Corpus.from_text(TEXT)
    characters, ids = modules["rnn"][0].encode(TEXT)
    assert characters == list(corpus.vocabulary.characters)
    assert np.array_equal(ids, corpus.ids)
    network = modules[cell][1](len(characters), hidden=16)
    config = TrainConfig(batch_size=4, seq_len=10, steps=100, optimizer="adagrad", learning_rate=0.05, schedule="constant",
                         warmup=0, clip_norm=0, clip_value=5, reset=0, validation=0, threads=1)
    run = Run.start(corpus, ModelConfig(cell, 16), config, np.float64)
    give_weights(network, run.model.network)
    expected = [step.loss for step in Trainer(run, corpus)]
    found = list(modules["rnn"][0].train(network, ids, epochs=2, streams=4, steps=10))[:100]
    assert len(found) == 100
    assert run.source.windows < 100, "so the second epoch has begun"
    assert np.abs(np.array(found) - expected).max() < 1e-9
    assert found[-1] < found[0] - 0.1


def test_the_networks_write_text(modules: dict[str, tuple[ModuleType, Any]]) -> None:
    for module, kind in modules.values():
        text = modules["rnn"][0].sample(kind(3, hidden=4), ["a", "b", "c"], "ab", 50, seed=2)
        assert text.startswith("ab")
        assert len(text) == 52
        assert set(text) == set("abc"), module.__name__


def test_the_program_says_what_is_wrong_with_its_argument(
        modules: dict[str, tuple[ModuleType, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, kind = modules["rnn"]
    (tmp_path / "short.txt").write_text("ab" * 256)
    for arguments, message in ([], "usage: python rnn.py TEXT"), ([tmp_path / "short.txt"], "a window needs more than 512"):
        monkeypatch.setattr(sys, "argv", ["rnn.py", *map(str, arguments)])
        with pytest.raises(SystemExit, match=message):
            module.main(kind)


# The chapters

@pytest.fixture(scope="module")
def script() -> Any:
    """Return scripts/learn as a module."""
    loader = SourceFileLoader("learn_script", str(FOLDER.parent.parent / "scripts" / "learn"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(FOLDER.glob("[0-9]-*.md")), ids=lambda path: path.stem)
def test_a_chapter_prints_what_it_shows(script: Any, path: Path) -> None:
    """With another version of Python, whose reference is another text, the code is run without a comparison."""
    pytest.importorskip("matplotlib")
    if sys.version_info[:2] == (3, 11):
        assert script.differences(path) == []
    else:
        assert list(script.run(path.read_text(encoding="utf-8"), False))


def test_the_notebook_contains_the_chapters_and_their_outputs(script: Any) -> None:
    book = json.loads((FOLDER / "charrnn.ipynb").read_text(encoding="utf-8"))
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in book["cells"]]
    assert found == [cell for cell in script.cells() if cell[1]], "run .venv/bin/python scripts/learn --notebook"
    outputs = [output for cell in book["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data"}


def test_another_output_is_found(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "chapter.md"
    path.write_text("```python\nprint(1.5, 'nats')\n```\n\n```text\n1.55 nats\n```\n", encoding="utf-8")
    assert len(script.differences(path)) == 1
    monkeypatch.setattr(sys, "argv", ["learn", "--check", str(path)])
    with pytest.raises(SystemExit, match=r"^chapter.md: print\(1.5, .*\nexpected:\n1.55 nats\n\nprinted:\n1.5 nats\n$"):
        script.main()
    path.write_text(script.updated(path), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "```python\nprint(1.5, 'nats')\n```\n\n```text\n1.5 nats\n```\n"
    assert script.differences(path) == []
    with pytest.raises(SystemExit) as end:
        script.main()
    assert not end.value.code
    assert script.is_close("1.5 nats", "1.51 nats")
    assert not script.is_close("1.5 nats", "1.5 bits")
