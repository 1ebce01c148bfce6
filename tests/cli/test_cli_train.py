"""charrnn train: input, output and files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import FIGURES, RUN, SMALL, Cli, files, refused, steps

from charrnn import ModelConfig, Run
from charrnn.cli._console import progress_bar
from charrnn.cli._loop import Printer
from charrnn.training.events import ModelChosen


def test_only_the_result_of_train_is_printed_on_standard_output(trained: tuple[Path, Any]) -> None:
    folder, (code, out, err) = trained
    assert code == 0
    nats, bits, perplexity = map(float, re.fullmatch("validation " + FIGURES, out).groups())
    assert (bits, perplexity) == (pytest.approx(nats / 0.693147, abs=1e-3), pytest.approx(2.718282**nats, abs=1e-2))
    assert nats == pytest.approx(Run.load(folder / RUN / "best.h5").best_record.validation_loss, abs=1e-4)
    for text in ("notes.txt: 600 characters", "8 hidden units", "12 steps", "step      12", f"charrnn sample {RUN}",
                 f"charrnn resume {RUN}"):
        assert text in err
    assert sorted(os.listdir(folder / RUN)) == ["best.h5", "last.h5", "metrics.csv", "samples.jsonl"]
    assert steps(folder / RUN) == list(range(1, 13))


def test_train_uses_its_options(empty: Path, cli: Cli) -> None:
    options = """--cell gru --hidden-size 9 --layers 2 --dropout 0.25 --embedding-size 3 --weight-drop 0.1
        --batch-size 2 --seq-len 7 --no-stateful --reset 0.25 --steps 2 --optimizer sgd --learning-rate 0.5 --schedule step
        --warmup 1 --weight-decay 0.01
        --momentum 0.8 --beta1 0.7 --beta2 0.97
        --clip-norm 2 --clip-value 0.5 --validation 0.2 --test 0.15 --eval-every 1 --patience 5 --seed 7
        --threads 2 --checkpoint-every 3 --checkpoint-minutes 9 --keep 2 --no-samples --sample-every 4 --no-recover
        --precision float32
        --name mine --checkpoints runs/here --quiet"""
    answer = cli("train", "notes.txt", *options.split())
    assert (answer.code, answer.err) == (0, "")
    run = Run.load("runs/here/mine/last.h5")
    assert vars(run.model.network.config) == {"cell": "gru", "hidden_size": 9, "layers": 2, "dropout": 0.25,
                                              "embedding_size": 3, "weight_drop": 0.1}
    assert vars(run.config) == {
        "batch_size": 2, "seq_len": 7, "stateful": False, "reset": 0.25, "epochs": None, "steps": 2, "minutes": None,
        "optimizer": "sgd", "learning_rate": 0.5, "schedule": "step", "warmup": 1, "weight_decay": 0.01, "momentum": 0.8,
        "beta1": 0.7, "beta2": 0.97, "clip_norm": 2.0, "clip_value": 0.5, "validation": 0.2, "test": 0.15, "eval_every": 1,
        "patience": 5, "seed": 7, "threads": 2, "checkpoint_every": 3, "checkpoint_minutes": 9.0, "keep": 2,
        "samples": False, "sample_every": 4,
        "recover": False, "precision": "float32"}
    assert sorted(os.listdir("runs/here/mine")) == ["best.h5", "last.h5", "metrics.csv", "step-1.h5", "step-2.h5"]


def test_samples_are_shown_while_training(empty: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("hostile.txt").write_text("\x1b[2J\x07\u200c" * 200, encoding="utf-8")
    answer = cli("train", "hostile.txt", *SMALL, "--steps", 5, "--name", "a")
    assert re.findall(r"^step +(\d+)  epoch +[\d.]+(?:  train [\d.]+)?  writes:$", answer.err, re.MULTILINE) == [
        "0", "1", "2", "4", "5"]
    assert "\x1b" not in answer.err
    assert re.search(r"^  \| .*\\x1b", answer.err, re.MULTILINE)
    assert "\u200c" in answer.err, "a joiner of Persian is part of the text"
    monkeypatch.setattr("charrnn.cli._loop._SHOWN", 12)
    Path("long.txt").write_text("abcd" * 150)
    Path("blank.txt").write_text("a\n\n" * 200)
    samples = [sample for name in ("long", "blank")
               for sample in cli("train", f"{name}.txt", *SMALL, "--steps", 2, "--name", name).err.split("writes:\n")[1:]]
    assert len(samples) == 6
    for sample in samples:
        lines = [line for line in sample.splitlines() if line.startswith("  |")]
        assert all(line[4:].strip() for line in lines)
        assert sum(len(line) - 4 for line in lines) <= 12
    assert "writes:" not in cli("train", "notes.txt", *SMALL, "--steps", 2, "--no-samples").err
    assert cli("train", "notes.txt", *SMALL, "--steps", 2, "--name", "b", "--quiet").err == ""


def test_the_bar_counts_the_steps_of_the_whole_run_and_shows_the_latest_losses(
        here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[dict[str, Any]] = []
    texts: list[str] = []

    def bar(quiet: bool, **settings: Any) -> Any:
        bars.append(settings)
        shown = progress_bar(True)
        shown.set_postfix_str = lambda text, refresh: texts.append(text)
        return shown

    monkeypatch.setattr("charrnn.cli._loop.progress_bar", bar)
    assert cli("resume", RUN, "--steps", 20).code == 0
    assert [(bar["initial"], bar["total"], bar["units_per_step"]) for bar in bars] == [(12, 20, 24)]
    run = Run.load(RUN / "last.h5")
    assert texts[-1] == f"train {run.smoothed_loss:.3f}, validation {run.history[-1].validation_loss:.3f}"


def test_a_size_is_chosen_and_printed_if_none_is_set(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", "--batch-size", 3, "--seq-len", 8, "--steps", 300, "--weight-drop", 0.25)
    assert answer.code == 0
    config = Run.load("checkpoints/notes-lnlstm-32/last.h5").model.network.config
    assert config.dropout > 0
    assert config.weight_drop == 0.25
    assert (f"Chosen for 540 characters of training text, read about 13 times, with dropout: --hidden-size 32 "
            f"--dropout {config.dropout:g}\n") in answer.err


@pytest.mark.parametrize(("names", "passes", "shown"), [
    (("hidden_size",), 123.4, "read about 123 times: --hidden-size 64\n"),
    (("hidden_size", "dropout"), 5.47, "read about 5.5 times, with dropout: --hidden-size 64 --dropout 0.3\n"),
    (("hidden_size", "weight_drop"), 1234.5, "read about 1,234 times: --hidden-size 64 --weight-drop 0\n")])
def test_the_number_of_passes_and_the_dropout_that_was_chosen_are_shown(
        capsys: pytest.CaptureFixture[str], names: tuple[str, ...], passes: float, shown: str) -> None:
    Printer(quiet=False)(ModelChosen(ModelConfig(hidden_size=64, dropout=0.3), names, 5400, passes))
    assert capsys.readouterr().err == f"Chosen for 5,400 characters of training text, {shown}"


def test_nothing_is_chosen_if_a_size_is_set(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 40)
    assert "Chosen" not in answer.err
    config = Run.load(RUN / "last.h5").model.network.config
    assert (config.hidden_size, config.dropout, config.weight_drop) == (8, 0, 0)


@pytest.mark.parametrize("length", [("--epochs", "0.5"), ("--minutes", "0.001")])
def test_the_length_can_be_set_in_epochs_or_minutes(empty: Path, cli: Cli, length: tuple[str, str]) -> None:
    answer = cli("train", "notes.txt", *SMALL, *length)
    assert answer.code == 0
    run = Run.load(RUN / "last.h5")
    assert run.step == run.planned
    if "--epochs" in length:
        assert run.planned == 11
    else:
        assert f"the same as --from none --steps {run.planned}" in answer.err


def test_quiet_prints_nothing_on_standard_error(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2, "--quiet")
    assert answer.err == ""
    assert re.fullmatch("validation " + FIGURES, answer.out)
    answer = cli("resume", RUN, "--steps", 3, "--quiet")
    assert answer.err == ""
    assert re.fullmatch("validation " + FIGURES, answer.out)


def test_the_result_is_the_training_loss_without_a_validation_part(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 4, "--validation", 0)
    assert re.fullmatch("train " + FIGURES.replace("carried, 1 stream", "running mean of the training loss"), answer.out)
    assert answer.out.startswith(f"train {Run.load(RUN / 'last.h5').smoothed_loss:.4f} ")
    assert sorted(os.listdir(RUN)) == ["last.h5", "metrics.csv", "samples.jsonl"]
    refused(cli("evaluate", RUN), "TEXT_FILE")
    assert cli("sample", RUN, "--length", 5).code == 0


def test_train_uses_the_built_in_corpus_by_default_and_says_so(empty: Path, cli: Cli) -> None:
    answer = cli("train", *SMALL, "--steps", 1, "--validation", 0)
    assert answer.code == 0
    assert "the language reference that comes with Python" in answer.err
    assert (empty / "checkpoints" / "python-reference-lnlstm-8" / "last.h5").exists()


def test_a_folder_of_texts_is_one_corpus(empty: Path, cli: Cli, make_text: Callable[..., str]) -> None:
    for seed, name in enumerate(("b.txt", "a/c.txt", "a/ignored.md")):
        (empty / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (empty / "texts" / name).write_text(make_text(150, seed=seed + 2), encoding="utf-8")
    assert cli("train", "texts", *SMALL, "--steps", 1).err.startswith("texts (2 files): 300 characters")
    answer = cli("train", "texts", "notes.txt", *SMALL, "--steps", 1, "--overwrite")
    assert answer.err.startswith("texts, notes.txt (3 files): 900 characters")


def test_a_short_text_shrinks_the_batch_and_says_so(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--batch-size", 500, "--steps", 1)
    assert answer.code == 0
    assert "67 streams in parallel instead of 500" in answer.err


def test_training_without_a_new_best_stops_early_and_says_so(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 500, "--eval-every", 1, "--patience", 2, "--learning-rate", 5)
    assert answer.code == 0
    assert "Stopped early" in answer.err
    run = Run.load(RUN / "last.h5")
    assert run.step == run.best_record.step + 2 < 500
    assert cli("evaluate", RUN).out.startswith(answer.out.partition("  (")[0])


def test_an_existing_run_is_replaced_only_with_overwrite(here: Path, cli: Cli) -> None:
    before = files(here)
    refused(cli("train", "notes.txt", *SMALL, "--steps", 2), str(RUN), "--overwrite", "charrnn resume")
    refused(cli("train", "notes.txt", "--name", RUN.name), str(RUN))
    assert files(here) == before
    assert cli("train", "notes.txt", *SMALL, "--steps", 2, "--overwrite").code == 0
    assert Run.load(RUN / "last.h5").step == 2
    assert steps(RUN) == [1, 2]


@pytest.mark.parametrize("options", [("--seq-len", 10**5), ("--hidden-size", 0), ("missing.txt",), ("--validation", 0.999)],
                         ids=str)
def test_a_rejected_command_replaces_nothing(here: Path, cli: Cli, options: tuple) -> None:
    before = files(here)
    refused(cli("train", "notes.txt", *SMALL, "--overwrite", "--steps", 2, *options, "--name", RUN.name))
    assert files(here) == before


@pytest.mark.parametrize("options", [("--learning-rate", 1e308, "--validation", 0), ("--learning-rate", 1e308),
                                     ("--learning-rate", 3e37, "--hidden-size", 64), ("--weight-decay", 1e300)], ids=str)
def test_a_non_finite_loss_ends_with_an_error_and_a_valid_run(
        empty: Path, cli: Cli, options: tuple) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 1, "--warmup", 0, "--quiet", "--name", "run", *options)
    refused(answer, "--learning-rate")
    Run.load("checkpoints/run/last.h5")


@pytest.mark.parametrize(("options", "code"), [((), 1), (("--errors", "replace"), 0), (("--encoding", "latin-1"), 0),
                                               (("--encoding", "nonsense"), 2)])
def test_train_reads_other_encodings(empty: Path, cli: Cli, options: tuple, code: int) -> None:
    Path("notes.txt").write_bytes(Path("notes.txt").read_bytes() + b"caf\xe9")
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2, "--quiet", *options)
    assert answer.code == code
    if code:
        refused(answer, "--encoding")


def test_resuming_an_incomplete_run_is_not_suggested(empty: Path, cli: Cli) -> None:
    RUN.mkdir(parents=True)
    (RUN / "metrics.csv").write_text("step\n")
    answer = cli("train", "notes.txt", *SMALL, "--steps", 2)
    refused(answer, "--overwrite")
    assert "charrnn resume" not in answer.err


def test_no_longer_plan_is_suggested_after_an_early_stop(empty: Path, cli: Cli) -> None:
    answer = cli("train", "notes.txt", *SMALL, "--steps", 9, "--eval-every", 1, "--patience", 1, "--learning-rate", 1e-30)
    assert answer.code == 0
    assert "Stopped early" in answer.err
    assert "--steps" not in answer.err


def test_a_run_that_cannot_be_saved_ends_with_an_error(
        empty: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    answer = cli("train", "notes.txt", "--steps", 1, *SMALL, "--quiet")
    assert answer.code == 1
    assert answer.out == ""
    *warnings, error = answer.err.splitlines()
    assert all(line.startswith("Warning: ") and "No space left on device" in line for line in warnings)
    assert error.startswith(f"Error: {RUN}: ")


def test_too_little_memory_is_an_error_on_one_line(empty: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("Unable to allocate 9 EiB")

    monkeypatch.setattr("charrnn.training.run.CharRNN", fail)
    refused(cli("train", "notes.txt", "--steps", 1, *SMALL), "not enough memory", "--hidden-size")
    assert os.listdir(empty) == ["notes.txt"]
