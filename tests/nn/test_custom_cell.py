"""A cell that is registered at run time can do everything that built-in cells can; a cell in a file needs one entry."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import gated
import numpy as np
import pytest

import charrnn
from charrnn import Corpus, Run, Trainer
from charrnn.config import CELL_NAMES, LEARNING_RATES, ModelConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.nn.cells import CELLS, register, unregister
from charrnn.nn.dropout import weight_masks
from charrnn.nn.gradient_check import TOLERANCE, check_gradients
from charrnn.nn.model import CharRNN, one_hot
from charrnn.randomness import generator

TEXT = "the quick brown fox jumps over the lazy dog. " * 20


@pytest.fixture(autouse=True)
def _register():
    register("gated", gated.Gated)
    yield
    unregister("gated")


def test_adds_and_removes_names():
    assert CELLS["gated"] is gated.Gated
    assert ModelConfig("gated").cell == "gated"
    with pytest.raises(ValueError, match=r"^a cell named 'lstm' already exists"):
        register("lstm", gated.Gated)
    register("other", gated.Gated)
    unregister("other")
    assert "other" not in CELLS
    assert CELL_NAMES == ["lnlstm", "lstm", "gru", "rnn", "gated"]
    with pytest.raises(ConfigError, match="must be one of lnlstm, lstm, gru, rnn, gated, not 'other'"):
        ModelConfig("other")


RESET = np.zeros((5, 3), bool)
RESET[[0, 2, 3, 4], [0, 1, 1, 0]] = True


@pytest.mark.parametrize("reset", [None, RESET], ids=["whole", "reset"])
@pytest.mark.parametrize("as_one_hot", [False, True])
@pytest.mark.parametrize(("layers", "dropout", "embedding_size", "weight_drop"),
                         [(1, 0, 0, 0), (2, 0.3, 0, 0.4), (2, 0.3, 4, 0.4)])
def test_its_gradients_equal_numeric_ones(layers, dropout, embedding_size, weight_drop, as_one_hot, reset):
    config = ModelConfig("gated", 3, layers, dropout, embedding_size, weight_drop)
    results = list(check_gradients(config, vocabulary_size=6, seq_len=5, as_one_hot=as_one_hot, reset=reset))
    assert len(results) == layers * (5 + 1) + 2 + bool(embedding_size)
    for result in results:
        assert result.norm > 1e-4, f"{result.name}: nothing to compare"
        assert result.error < TOLERANCE, result


def test_it_draws_its_own_weights_and_masks():
    model = CharRNN(ModelConfig("gated", 6), 5, generator(1, "weights"))
    assert (model.parameters["layer0/b_u"] == 1).all()
    assert model.parameters["layer0/w_u"].any()
    (mask,) = weight_masks(ModelConfig("gated", 6, weight_drop=0.5), 1, 1, np.float32)
    assert mask.shape == model.parameters["layer0/w_h"].shape == (6, 6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ids_and_one_hot_rows_give_the_same_result(dtype):
    model = CharRNN(ModelConfig("gated", 6, 2), 5, generator(1, "weights"), dtype)
    ids = generator(2, "check").integers(5, size=(8, 3))
    by_id, _ = model.forward(ids, model.initial_state(3))
    by_row, _ = model.forward(one_hot(ids, 5, dtype), model.initial_state(3))
    np.testing.assert_allclose(by_id, by_row, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_it_can_be_trained_resumed_evaluated_and_sampled(dtype, threads, tmp_path):
    corpus = Corpus.from_text(TEXT)

    def start():
        return Run.start(corpus, ModelConfig("gated", 12, 2, 0.1, weight_drop=0.1), TrainConfig(
            steps=30, batch_size=4, seq_len=10, threads=threads, warmup=2), dtype)

    whole, stopped = start(), start()
    assert whole.config.learning_rate == LEARNING_RATES["adam"] * 0.3
    steps = list(Trainer(whole, corpus))
    trainer = Trainer(stopped, corpus)
    for _ in range(11):
        trainer.step()
    stopped.save(tmp_path / "run.h5")
    resumed = Run.load(tmp_path / "run.h5")
    list(Trainer(resumed, corpus))
    assert resumed.to_bytes() == whole.to_bytes()
    assert steps[-1].loss < steps[0].loss - 0.2
    assert whole.model.network.dtype == dtype
    assert whole.model.evaluate(corpus.ids[:300]).nats < steps[0].loss
    text = whole.model.sample("the ", 40, seed=3)
    assert len(text) == 44
    assert set(text) <= set(TEXT)


def test_a_cell_needs_one_file_and_one_entry(tmp_path):
    """A copy of the package needs only the file in cells/ and the name in CELL_NAMES."""
    shutil.copytree(Path(charrnn.__file__).parent, tmp_path / "charrnn", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(gated.__file__, tmp_path / "charrnn" / "nn" / "cells" / "gated.py")
    config = tmp_path / "charrnn" / "config.py"
    config.write_text(config.read_text().replace('"rnn"]', '"rnn", "gated"]', 1))
    (tmp_path / "text.txt").write_text(TEXT)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CHARRNN_KERNELS": "reference"}
    for arguments in (["gradcheck", "--cell", "gated"],
                      ["train", "text.txt", "--cell", "gated", "--hidden-size", "8", "--steps", "4", "--seq-len", "10"]):
        done = subprocess.run([sys.executable, "-m", "charrnn", *arguments], cwd=tmp_path, env=environment,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert list((tmp_path / "checkpoints").rglob("last.h5"))
