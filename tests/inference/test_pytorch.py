"""charrnn.inference.pytorch, and the programs of docs/pytorch.md"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gated
import numpy as np
import pytest
from small_models import make_model

import charrnn
from charrnn import LanguageModel, TextConfig
from charrnn.errors import CharRNNError
from charrnn.inference.origin import Origin
from charrnn.inference.pytorch import export, metadata, state_dict
from charrnn.nn.cells import register, unregister
from charrnn.text.decoding import normalize

PAGE = Path(__file__).parents[2] / "docs" / "pytorch.md"
LETTERS = "\n .,TabcdefghijklmnopqrstuvwxyzÉ\U0001f600\"\\\x00"
TEXT = "The quick fox.\nÉ \U0001f600"
SHAPES = list(itertools.product(["lstm", "gru", "rnn", "lnlstm"], [1, 2, 3], [0, 5], ["float32", "float64"]))
FLOAT16 = [(cell, 2, 5, "float16") for cell in ("lstm", "gru", "rnn", "lnlstm")]

all_shapes = pytest.mark.parametrize(("cell", "layers", "embedding_size", "dtype"), SHAPES + FLOAT16)


def exported(path: Path, cell: str = "lstm", layers: int = 1, embedding_size: int = 0, dtype: str = "float64",
             **settings: Any) -> LanguageModel:
    """Return a model with random weights, biases included, and export it to ``path``.

    If ``dtype`` is float16, the model has been loaded from a file of this dtype.
    """
    model = make_model(settings.pop("characters", LETTERS), cell, 6, layers,
                       "float32" if dtype == "float16" else dtype, embedding_size, **settings)
    for name, weights in model.network.parameters.items():
        if weights.ndim == 1:
            weights[...] = np.random.default_rng(len(name)).uniform(-1, 1, weights.shape)
    if dtype == "float16":
        model.save(path.with_suffix(".h5"), dtype)
        model = charrnn.load(path.with_suffix(".h5"))
    export(model, path)
    return model


def content(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the metadata of an exported file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        assert list(file.metadata()) == ["charrnn"]
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["charrnn"])  # noqa: SIM118


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def layer_norm(x: np.ndarray) -> np.ndarray:
    """Return torch.nn.functional.layer_norm(x, x.shape), according to its documentation."""
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def torch_logits(weights: dict[str, np.ndarray], cell: str, ids: np.ndarray) -> np.ndarray:
    """Return the logits (T, V) that PyTorch computes for ids (T,) from a zero state, according to its documentation.

    The equations are those of https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html, torch.nn.GRU.html,
    torch.nn.RNN.html, torch.nn.Embedding.html and torch.nn.Linear.html (PyTorch 2.14). The rows of weight_ih and weight_hh
    are the blocks (W_ii|W_if|W_ig|W_io), (W_ir|W_iz|W_in) and W_ih.
    """
    layers = sum(name.startswith("rnn.weight_ih_l") for name in weights)
    embedding = weights.get("embedding.weight", np.eye(len(weights["output.weight"])))
    states = [(np.zeros(6), np.zeros(6))] * layers
    logits = []
    for number in ids:
        x = embedding[number]
        for k in range(layers):
            h, c = states[k]
            of_x, of_h = weights[f"rnn.weight_ih_l{k}"] @ x, weights[f"rnn.weight_hh_l{k}"] @ h
            if cell != "lnlstm":
                of_x, of_h = of_x + weights[f"rnn.bias_ih_l{k}"], of_h + weights[f"rnn.bias_hh_l{k}"]
            if cell == "lnlstm":  # the module in docs/pytorch.md
                blocks = list(zip(np.split(weights[f"rnn.gain_l{k}"], 4), np.split(weights[f"rnn.bias_l{k}"], 4)))
                f, o, g = (gain * layer_norm(part) + b for part, (gain, b) in zip(np.split(of_x + of_h, 3), blocks))
                c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
                h = sigmoid(o) * np.tanh(blocks[3][0] * layer_norm(c) + blocks[3][1])
            elif cell == "lstm":
                i, f, g, o = np.split(of_x + of_h, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            elif cell == "gru":
                (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(of_x, 3), np.split(of_h, 3)
                z = sigmoid(x_z + h_z)
                n = np.tanh(x_n + sigmoid(x_r + h_r) * h_n)
                h = (1 - z) * n + z * h
            else:
                h = np.tanh(of_x + of_h)
            states[k] = h, c
            x = h
        logits.append(weights["output.weight"] @ x + weights["output.bias"])
    return np.array(logits)


def charrnn_logits(model: LanguageModel, ids: np.ndarray) -> np.ndarray:
    """Return the logits (T, V) of a model for ids (T,) from a zero state."""
    return model.network.forward(np.asarray(ids)[:, None], model.network.initial_state(1))[0][:, 0]


# The file, without PyTorch

@all_shapes
def test_the_documented_equations_of_pytorch_give_the_same_logits(
        cell: str, layers: int, embedding_size: int, dtype: str, tmp_path: Path) -> None:
    model = exported(tmp_path / "model.safetensors", cell, layers, embedding_size, dtype)
    weights, about = content(tmp_path / "model.safetensors")
    assert about["dtype"] == ("float32" if dtype == "float16" else dtype)
    assert {array.dtype.name for array in weights.values()} == {about["dtype"]}
    ids = np.array([about["start"], *map(about["characters"].index, TEXT)])
    expected = charrnn_logits(model, ids)
    assert np.ptp(expected) > 1
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(torch_logits(weights, cell, ids), expected, rtol=tolerance, atol=tolerance)


def test_the_metadata_turns_text_into_ids(tmp_path: Path) -> None:
    model = exported(tmp_path / "model.safetensors", min_count=2, lowercase=True)
    about = content(tmp_path / "model.safetensors")[1]
    assert about == metadata(model)
    assert about["format_version"] == 1
    assert (about["config"]["cell"], about["config"]["hidden_size"], about["config"]["layers"]) == ("lstm", 6, 1)
    assert (about["text"]["lowercase"], about["text"]["min_count"]) == (True, 2)
    ids = [about["characters"].find(character) for character in LETTERS]
    assert ids == model.vocabulary.encode(LETTERS).tolist()
    assert about["vocabulary"] == len(model.vocabulary) == len(about["characters"]) + 1
    assert about["unknown"] == model.vocabulary.encode("ß")[0] == len(about["characters"])
    assert about["start"] == model.vocabulary.start
    export(make_model("abc\ufffd"), tmp_path / "other.safetensors")
    about = content(tmp_path / "other.safetensors")[1]
    assert (about["characters"], about["unknown"], about["start"], about["vocabulary"]) == ("abc\ufffd", None, 0, 4)


@pytest.mark.parametrize(("settings", "documented"), [
    ({"level": "byte"}, lambda text: text.encode().decode("latin-1")),
    ({"documents": "lines"}, lambda text: text.replace("\r\n", "\n")),
    ({"normalize": "NFC"}, lambda text: unicodedata.normalize("NFC", text)),
    ({"normalize": "NFKC", "lowercase": True}, lambda text: unicodedata.normalize("NFKC", text).lower()),
])
def test_the_documented_conversions_are_those_of_charrnn(settings: dict[str, Any], documented: Callable) -> None:
    text = "Cafe\u0301 \ufb01n\u00e9 ΟΔΟΣ\r\n\u212b\n"
    assert normalize(text, TextConfig(**settings)) == documented(text)
    for name, value in settings.items():
        assert f'`"{name}": {json.dumps(value)}`' in PAGE.read_text()


def test_each_line_of_a_model_of_lines_is_read_alone(tmp_path: Path) -> None:
    model = exported(tmp_path / "model.safetensors", characters=LETTERS, documents="lines")
    weights, about = content(tmp_path / "model.safetensors")
    nats: list[float] = []
    for line in ("the fox\n", "\n", "a\n"):
        ids = [about["start"], *map(about["characters"].index, line)]
        logits = torch_logits(weights, "lstm", np.array(ids[:-1]))
        nats += (np.log(np.exp(logits).sum(1)) - logits[np.arange(len(line)), ids[1:]]).tolist()
    np.testing.assert_allclose(nats, model.score("the fox\n\na\n").nats, rtol=1e-12)


def test_a_model_that_started_from_another_one_says_so(tmp_path: Path) -> None:
    model = make_model()
    model.origin = Origin(("mine.h5", "english"), "0" * 64)
    export(model, tmp_path / "model.safetensors")
    assert content(tmp_path / "model.safetensors")[1]["origin"]["names"] == ["mine.h5", "english"]


def test_the_arrays_are_copies() -> None:
    model = make_model(embedding_size=5)
    arrays = state_dict(model)
    assert set(arrays) == {"embedding.weight", "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0",
                           "output.weight", "output.bias"}
    for array in arrays.values():
        assert array.flags.c_contiguous
        assert not np.shares_memory(array, model.network.parameters.flat)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        exported(tmp_path / name, "gru", 3)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


# Errors

def test_a_custom_cell_cannot_be_exported(tmp_path: Path) -> None:
    register("gated", gated.Gated)
    try:
        with pytest.raises(CharRNNError, match=r"^the cell 'gated' cannot be exported, because it is not part of charrnn; "
                           r"export a model whose cell is one of lstm, gru, rnn, lnlstm$"):
            export(make_model(cell="gated"), tmp_path / "new" / "model.safetensors")
    finally:
        unregister("gated")
    assert not list(tmp_path.iterdir())


def test_rejects_what_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model must be of type LanguageModel, not CharRNN"):
        export(make_model().network, tmp_path / "model.safetensors")  # type: ignore[arg-type]


def test_says_what_to_install_if_safetensors_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(CharRNNError, match=r"^the export needs the package safetensors.*pip install '\.\[export\]'$"):
        export(make_model(), tmp_path / "model.safetensors")


def test_an_existing_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("mine")
    with pytest.raises(CharRNNError, match=r"already exists; .* `?overwrite=True"):
        export(make_model(), path)
    assert path.read_text() == "mine"
    export(make_model(), path, overwrite=True)
    assert len(content(path)[0]) == 6


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    folder, fifo = tmp_path / "folder", tmp_path / "fifo"
    folder.mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(fifo)
    else:
        fifo.mkdir()
    for path in (folder, fifo):
        for overwrite in (False, True):
            with pytest.raises(CharRNNError, match="is not a regular file"):
                export(make_model(), path, overwrite)
    assert sorted(tmp_path.rglob("*")) == [fifo, folder]
    assert not fifo.is_file()


def test_an_error_in_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("mine")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CharRNNError, match=r"model.safetensors: cannot be written \(No space left on device\); check"):
        export(make_model(), path, overwrite=True)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


# The programs of the page, with PyTorch

@all_shapes
def test_the_programs_of_the_page_compute_the_same_logits_and_loss(
        cell: str, layers: int, embedding_size: int, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)  # the threads of PyTorch spin, which is slow on a busy machine
    load_file, loss, sample = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    text = re.findall(r'^text = "(.*)"$', loss, re.MULTILINE)[0]
    monkeypatch.chdir(tmp_path)
    model = exported(Path("english.safetensors"), cell, layers, embedding_size, dtype, characters=text,
                     min_count=layers)  # with and without an unknown character
    found: dict[str, Any] = {}
    exec(load_file + loss, found)
    module = found["model"].rnn
    assert type(module) is (found["LNLSTM"] if cell == "lnlstm" else getattr(torch.nn, cell.upper()))
    assert (module.layers if cell == "lnlstm" else module.num_layers) == layers
    ids = [model.vocabulary.start, *model.vocabulary.encode(text)]
    assert found["ids"].tolist() == ids
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(found["logits"][:, 0].tolist(), charrnn_logits(model, np.array(ids[:-1])),
                               rtol=tolerance, atol=tolerance)
    printed = torch.nn.functional.cross_entropy(found["logits"][:, 0], found["ids"][1:]).item()
    assert printed == pytest.approx(model.score(text).nats.mean(), rel=10 * tolerance)
    exec(sample, found)
    assert found["sample"].startswith(text)
    assert len(found["sample"]) == len(text) + 200
