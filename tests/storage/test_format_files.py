"""Stored files of this format must always load; older and newer files are converted, or refused with a one-line error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forging import contents, image_of, of_format_1, with_meta
from format_text import TEXT
from small_models import make_model

import charrnn
from charrnn import Corpus, ModelConfig, Run, TextConfig, TrainConfig, Trainer
from charrnn.config import FORMER_SETTINGS
from charrnn.errors import CheckpointError
from charrnn.training.schema import Record

SUPPORT = Path(__file__).parent.parent / "support"
RUN, MODEL = SUPPORT / "format2-run.h5", SUPPORT / "format2-model.h5"
KINDS = {"text": TextConfig, "config": ModelConfig, "train": TrainConfig}


@pytest.fixture(params=["reference", ""])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Select the reference kernels, and then the default kernels of this machine."""
    monkeypatch.setenv("CHARRNN_KERNELS", request.param)


# Files of format 2, made by scripts/make_format_files

def test_the_files_are_small() -> None:
    assert (RUN.stat().st_size, MODEL.stat().st_size) == (37_054, 13_739)


@pytest.mark.usefixtures("kernels")
def test_the_run_of_format_2_loads() -> None:
    run = Run.load(RUN)
    assert (run.step, run.planned, run.rollback_step, run.source.names) == (320, 400, 300, ("fox.txt",))
    assert run.history == [Record(150, 1.075065385488415, 0.4882038489545453), Record(300, 0.45717066024488684,
                                                                                      0.3111561044910285)]
    assert run.smoothed_loss == 0.4153119394235911
    assert run.config == TrainConfig(
        batch_size=4, seq_len=16, steps=400, learning_rate=0.03, warmup=5, eval_every=150, validation=0.2, seed=7,
        threads=1, precision="float32", reset=0, weight_decay=0, beta1=0.9, beta2=0.99)
    assert (run.optimizer.beta1, run.optimizer.beta2, run.optimizer.weight_decay) == (0.9, 0.99, 0)
    stored, restored = contents(RUN.read_bytes())[0], contents(run.to_bytes())[0]
    assert {name: array.tolist() for name, array in restored.items()} == {
        name: array.tolist() for name, array in stored.items()}
    model = charrnn.load(RUN)
    assert model.network.config == ModelConfig("lstm", 5, embedding_size=0)
    assert model.text_config == TextConfig()
    assert model.sample("a", 40, greedy=True) == "a on.\nthe mat cafat sat on the mat sat on"
    assert model.evaluate(TEXT[:200]).nats == pytest.approx(0.228895, abs=1e-6)
    assert model.score("A fox?").total == pytest.approx(17.50677, abs=1e-4)


@pytest.mark.usefixtures("kernels")
def test_the_model_of_format_2_loads() -> None:
    model = charrnn.load(MODEL)
    assert model.network.config == ModelConfig("gru", 8, 2, embedding_size=4)
    assert model.network.dtype == np.float32
    assert model.text_config == TextConfig(documents="lines", lowercase=True, normalize="NFC", min_count=20,
                                           group_copies=False)
    assert model.sample("A", 40, greedy=True) == "a cat sat on a hat.\n"
    assert model.evaluate(TEXT[:200]).nats == pytest.approx(0.107004, abs=1e-6)
    score = model.score("A fox?")
    assert (score.text, score.unknown) == ("a fox?", 2)
    assert score.total == pytest.approx(17.63651, abs=1e-4)


@pytest.mark.usefixtures("kernels")
def test_the_run_of_format_2_can_be_resumed() -> None:
    run, corpus = Run.load(RUN), Corpus.from_text(TEXT)
    trainer = Trainer(run, corpus)
    losses = [trainer.step().loss for _ in range(3)]
    assert losses == pytest.approx([0.193556, 0.204039, 0.208269], abs=1e-4)
    for _ in range(77):
        trainer.step()
    assert run.finished
    assert [record.step for record in run.history] == [150, 300, 400]
    assert run.history[-1].validation_loss == pytest.approx(0.3185, abs=0.02)


def test_a_file_of_format_1_is_refused_with_a_one_line_error(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    path.write_bytes(of_format_1(image_of(RUN.read_bytes())))
    for load in (charrnn.load, Run.load):
        with pytest.raises(CheckpointError) as caught:
            load(path)
        assert str(caught.value) == (f"{path}: unsupported format version 1 (charrnn {charrnn.__version__} supports "
                                     f"version 2); retrain the model")


# Settings that other versions write

def settings_of(meta: dict[str, Any], group: str) -> dict[str, Any]:
    """Return the settings of a group in /meta, which the caller may change."""
    metadata = meta["metadata"]
    return metadata["train"] if group == "train" else metadata["model"][group]


def changed(data: bytes, group: str, change: Callable[[dict[str, Any]], Any], version: str | None = None) -> bytes:
    """Return a file with changed settings, such as another version of charrnn may write."""
    _, meta = contents(data)
    change(settings_of(meta, group))
    if version is not None:
        meta["charrnn"] = version
    return with_meta(data, meta)


@pytest.fixture(scope="module")
def files(start: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return a run and a model written by the current code, with default settings as far as possible."""
    path = tmp_path_factory.mktemp("files") / "model.h5"
    make_model(dtype=np.float32, hidden_size=256).save(path)
    return {"run": start(steps=4).to_bytes(), "model": path.read_bytes()}


SETTINGS = [(group, item.name) for group, kind in KINDS.items() for item in dataclasses.fields(kind)]


@pytest.mark.parametrize(("group", "name"), SETTINGS)
def test_a_missing_setting_takes_its_value_for_older_files(
        files: dict[str, bytes], tmp_path: Path, group: str, name: str) -> None:
    """If the rest of the file depends on the missing setting, the file is refused with a one-line error."""
    path = tmp_path / "file.h5"
    kind = "run" if group == "train" else "model"
    path.write_bytes(changed(files[kind], group, lambda settings: settings.pop(name)))
    (item,) = (item for item in dataclasses.fields(KINDS[group]) if item.name == name)
    if name in ("embedding_size", "batch_size", "seq_len", "steps", "learning_rate", "validation", "threads"):
        with pytest.raises(CheckpointError, match=r"file\.h5: not a valid checkpoint: "):
            (Run if kind == "run" else charrnn).load(path)
        return
    loaded = Run.load(path).config if group == "train" else charrnn.load(path)
    config = loaded if group == "train" else loaded.text_config if group == "text" else loaded.network.config
    assert getattr(config, name) == item.metadata["absent"]


def test_the_value_for_older_files_may_differ_from_the_default(
        files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, group, name, value in (("model", "text", "lowercase", True), ("model", "config", "dropout", 0.5),
                                     ("run", "train", "momentum", 0.25)):
        (item,) = (item for item in dataclasses.fields(KINDS[group]) if item.name == name)
        monkeypatch.setattr(item, "metadata", {**item.metadata, "absent": value})
        path = tmp_path / f"{name}.h5"
        path.write_bytes(changed(files[kind], group, lambda settings, name=name: settings.pop(name)))
    assert charrnn.load(tmp_path / "lowercase.h5").score("ABA").text == "aba"
    assert charrnn.load(tmp_path / "dropout.h5").network.config.dropout == 0.5
    assert Run.load(tmp_path / "momentum.h5").config.momentum == 0.25
    (tmp_path / "whole.h5").write_bytes(files["model"])
    assert charrnn.load(tmp_path / "whole.h5").score("ABA").text == "ABA"


@pytest.mark.parametrize(("kind", "group"), [("run", "train"), ("run", "config"), ("model", "config"), ("model", "text")])
def test_an_unknown_setting_is_named_with_the_version_that_wrote_it(
        files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, group: str) -> None:
    monkeypatch.setattr("charrnn.storage.container.__version__", "0.2")
    path = tmp_path / "new.h5"
    path.write_bytes(changed(files[kind], group, lambda settings: settings.update(x=1), "0.3"))
    with pytest.raises(CheckpointError) as caught:
        (Run if kind == "run" else charrnn).load(path)
    assert str(caught.value) == (
        f"{path}: not a valid checkpoint: unknown setting 'x' (written by charrnn 0.3, this is 0.2)")
    path.write_bytes(changed(files[kind], group, lambda settings: settings.update(x=1), "0.2"))
    with pytest.raises(CheckpointError, match=r"unknown setting 'x'$"):
        (Run if kind == "run" else charrnn).load(path)


def test_the_model_of_a_run_loads_even_if_a_setting_of_its_training_is_unknown(
        files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "new.h5"
    path.write_bytes(changed(files["run"], "train", lambda settings: settings.update(x=1), "0.3"))
    assert charrnn.load(path).network.config.hidden_size == 8


def test_a_file_of_another_version_loads(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "new.h5"
    path.write_bytes(changed(files["run"], "train", lambda settings: None, "0.3"))
    assert Run.load(path).to_bytes() == files["run"]


def test_a_setting_that_was_renamed_or_removed_is_converted(
        files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMER_SETTINGS, ("TrainConfig", "bptt"), lambda value: {"seq_len": value})
    monkeypatch.setitem(FORMER_SETTINGS, ("TrainConfig", "nesterov"), lambda value: {})
    path = tmp_path / "old.h5"
    path.write_bytes(changed(files["run"], "train", lambda settings: settings.update(
        bptt=settings.pop("seq_len"), nesterov=True)))
    assert Run.load(path).to_bytes() == files["run"]
