"""Sweeps: every combination is an ordinary run; sweeps are stopped and resumed, in one process and on ranks."""

import signal
import subprocess
import sys
import time

import pytest
from test_mpi import TEXT, needs_mpi, under_mpi

from charrnn.cli._grid import parse_grid
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError, RunError
from charrnn.text.corpus import Corpus
from charrnn.training.events import StepTaken
from charrnn.training.run import Run
from charrnn.training.sweep import combinations, sweep, train_one
from charrnn.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("reference_kernels")

MODEL = {"cell": "gru", "hidden_size": 5}
TRAIN = {"steps": 12, "batch_size": 4, "seq_len": 8, "threads": 1}
COMMAND = ["sweep", "text.txt", "--grid", "hidden-size=6,7", "--grid", "learning-rate=3e-3,0.1", "--batch-size", "4",
           "--seq-len", "8", "--threads", "1", "--eval-every", "30", "--name", "all"]


def test_a_grid_is_parsed_by_the_types_of_its_settings():
    assert parse_grid(["hidden-size=8,16", "learning_rate=1e-3", "cell=rnn, gru", "stateful=yes,no"]) == {
        "hidden_size": [8, 16], "learning_rate": [0.001], "cell": ["rnn", "gru"], "stateful": [True, False]}


@pytest.mark.parametrize("texts", [["hidden-size"], ["hidden-size="], ["hidden-size=8,x"], ["size=8"], ["=8"],
                                   ["stateful=2"],
                                   ["hidden-size=8", "hidden_size=9"], ["hidden-size=8,8"], ["learning-rate=0.1,1e-1"]])
def test_an_invalid_grid_is_refused(texts):
    with pytest.raises(ConfigError, match="grid"):
        parse_grid(texts)


@pytest.mark.parametrize(("text", "message"), [
    ("cell", "grid: 'cell' has no values; write them as in hidden-size=128,256"),
    ("size=8", "grid: 'size' is not a setting of the model or of training; use a name such as "
               "hidden-size or learning-rate"),
    ("hidden-size=8,x", "grid: hidden-size must be a whole number, not 'x'"),
    ("dropout=x", "grid: dropout must be a number, not 'x'"), ("stateful=2", "grid: stateful must be yes or no, not '2'"),
    ("hidden-size=8,8", "grid: contains a value of hidden-size twice; remove the duplicate")])
def test_an_error_in_a_grid_says_what_is_wrong(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_grid([text])
    assert str(caught.value) == message


def test_every_combination_occurs_once_with_all_other_settings():
    todo = combinations({"hidden_size": [8, 16], "learning_rate": [0.1, 0.01, 1e-3]}, MODEL, TRAIN)
    assert [(each.model_config.hidden_size, each.train_config.learning_rate) for each in todo] == [
        (8, 0.1), (8, 0.01), (8, 0.001), (16, 0.1), (16, 0.01), (16, 0.001)]
    assert {(each.model_config.cell, each.train_config.steps) for each in todo} == {("gru", 12)}
    assert [each.name for each in todo][:2] == ["hidden-size=8_learning-rate=0.1", "hidden-size=8_learning-rate=0.01"]


def numbers_into(numbers):
    """Return a callback that appends the number of each step to ``numbers``."""
    return lambda event: numbers.append(event.step.number) if isinstance(event, StepTaken) else None



def test_a_value_out_of_range_is_refused_before_anything_is_trained():
    with pytest.raises(ConfigError, match="hidden_size"):
        combinations({"hidden_size": [8, 0]}, MODEL, TRAIN)


def test_each_run_of_a_sweep_equals_a_single_run(tmp_path):
    corpus = Corpus.from_text(TEXT)
    todo = combinations({"hidden_size": [5, 6]}, MODEL, TRAIN)
    seen = []
    results = list(sweep(corpus, todo, tmp_path, numbers_into(seen)))
    assert seen == [*range(1, 13)] * 2
    for result, size in zip(results, (5, 6)):
        run = Run.start(corpus, ModelConfig("gru", size), TrainConfig(**TRAIN))
        for _ in Trainer(run, corpus):
            pass
        assert result.loss == run.best_record.validation_loss
        assert (tmp_path / f"hidden-size={size}" / "last.h5").read_bytes() == run.to_bytes()


def test_finished_runs_are_not_trained_again_and_others_are_resumed(tmp_path):
    corpus = Corpus.from_text(TEXT)
    (only,) = combinations({"hidden_size": [5]}, MODEL, TRAIN)
    whole = train_one(corpus, only, tmp_path / "whole")
    run = Run.start(corpus, only.model_config, only.train_config)
    trainer = Trainer(run, corpus)
    for _ in range(7):
        trainer.step()
    (tmp_path / "part" / only.name).mkdir(parents=True)
    run.save(tmp_path / "part" / only.name / "last.h5")
    steps = []
    assert train_one(corpus, only, tmp_path / "part", numbers_into(steps)) == whole
    assert steps == [8, 9, 10, 11, 12]
    again = train_one(corpus, only, tmp_path / "part", numbers_into(steps))
    assert again == whole._replace(was_finished=True)
    assert not whole.was_finished
    assert len(steps) == 5


@pytest.mark.parametrize(("text", "change"), [(TEXT[1:], {}), (TEXT, {"seed": 2}), (TEXT, {"steps": 13}),
                                             (TEXT, {"eval_every": 5})])
def test_a_folder_with_another_run_is_refused(text, change, tmp_path):
    (only,) = combinations({"hidden_size": [5]}, MODEL, TRAIN)
    train_one(Corpus.from_text(TEXT), only, tmp_path)
    (other,) = combinations({"hidden_size": [5]}, MODEL, {**TRAIN, **change})
    with pytest.raises(RunError, match="a run with other settings or another text; choose another name for the sweep"):
        train_one(Corpus.from_text(text), other, tmp_path)


def test_a_run_that_fails_does_not_end_the_sweep(tmp_path):
    settings = {**TRAIN, "optimizer": "sgd", "clip_norm": 0.0, "recover": False, "eval_every": 12}
    todo = combinations({"learning_rate": [1e38, 0.1]}, MODEL, settings)
    failed, good = sweep(Corpus.from_text(TEXT), todo, tmp_path)
    assert "non-finite loss" in str(failed.error)
    assert failed.loss is None
    assert good.loss > 0


def test_a_setting_that_does_not_fit_the_text_does_not_end_the_sweep(tmp_path):
    todo = combinations({"seq_len": [10**6, 8]}, MODEL, TRAIN)
    failed, good = sweep(Corpus.from_text(TEXT), todo, tmp_path)
    assert str(failed.error).startswith("seq_len: ")
    assert (failed.steps, failed.planned, failed.loss) == (0, 0, None)
    assert good.loss > 0
    assert [path.name for path in tmp_path.iterdir()] == ["seq-len=8"]


def test_a_model_that_does_not_fit_into_memory_does_not_end_the_sweep(tmp_path, monkeypatch):
    right = Run.start.__func__

    def start(cls, split, model_config, train_config, **settings):
        if model_config.hidden_size == 6:
            raise MemoryError
        return right(cls, split, model_config, train_config, **settings)

    monkeypatch.setattr(Run, "start", classmethod(start))
    failed, good = sweep(Corpus.from_text(TEXT), combinations({"hidden_size": [6, 5]}, MODEL, TRAIN), tmp_path)
    assert str(failed.error) == "not enough memory; lower hidden_size or batch_size"
    assert good.loss > 0


def test_two_sweeps_in_one_folder_are_refused(tmp_path):
    (only,) = combinations({"hidden_size": [5]}, MODEL, TRAIN)
    errors = []

    def on_event(event):
        if isinstance(event, StepTaken):
            with pytest.raises(RunError, match="is training this run"):
                train_one(Corpus.from_text(TEXT), only, tmp_path)
            errors.append(event)

    assert train_one(Corpus.from_text(TEXT), only, tmp_path, on_event).loss > 0
    assert len(errors) == 12
    assert sorted(path.name for path in (tmp_path / only.name).iterdir()) == [
        "best.h5", "last.h5", "metrics.csv", "samples.jsonl"]


def test_a_combination_that_fails_keeps_its_name_in_the_table_and_the_code_is_1(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    command = ["sweep", "text.txt", "--grid", "seq-len=70000,8", "--hidden-size", "4", "--batch-size", "4", "--steps", "3",
               "--threads", "1", "--level", "byte", "--name", "all"]
    result = charrnn(*command, cwd=tmp_path, code=1)
    header, good, failed = result.stdout.splitlines()
    assert header.split() == ["seq-len", "steps", "validation", "nats/byte", "bits/byte", "run"]
    assert good.split()[-1] == "seq-len=8"
    assert failed.split() == ["70000", "0", "failed", "seq-len=70000"]
    assert "seq-len=70000: failed: --seq-len: a window of 70,000 needs" in result.stderr
    assert result.stderr.endswith("Error: 1 of 2 runs failed\n")
    assert "char" not in result.stderr.replace("characters", "")
    quiet = charrnn(*command, "--quiet", cwd=tmp_path, code=1)
    assert quiet.stdout == result.stdout
    assert [line.partition(" ")[0] for line in quiet.stderr.splitlines()] == ["seq-len=70000:", "Error:"]


def charrnn(*arguments, cwd, code=0):
    result = subprocess.run([sys.executable, "-m", "charrnn", *arguments], capture_output=True, text=True, cwd=cwd)
    assert result.returncode == code, result.stderr
    return result


def files(folder):
    return {path.parent.name: path.read_bytes() for path in folder.glob("checkpoints/all/*/last.h5")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder and the table of a sweep that was not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(TEXT)
    return folder, charrnn(*COMMAND, "--steps", "60", cwd=folder).stdout


def test_the_table_is_sorted_by_loss(whole):
    folder, table = whole
    header, *rows = table.splitlines()
    assert header.split() == ["hidden-size", "learning-rate", "steps", "validation", "nats/char", "bits/char", "run"]
    losses = [float(row.split()[3]) for row in rows]
    assert len(losses) == 4
    assert losses == sorted(losses)
    for row in rows:
        *_, loss, bits, name = row.split()
        run = Run.load(folder / "checkpoints" / "all" / name / "last.h5")
        assert loss == f"{run.best_record.validation_loss:.4f}"
        assert float(bits) == pytest.approx(run.best_record.validation_loss / 0.693147, abs=6e-4)


def test_the_same_command_again_only_shows_the_table(whole):
    folder, table = whole
    before = files(folder)
    again = charrnn(*COMMAND, "--steps", "60", cwd=folder)
    assert again.stdout == table
    assert again.stderr.count("finished before") == 4
    assert files(folder) == before


def test_a_killed_sweep_is_resumed(whole, tmp_path):
    _, table = whole
    (tmp_path / "text.txt").write_text(TEXT)
    command = [sys.executable, "-m", "charrnn", *COMMAND, "--steps", "60", "--checkpoint-every", "7"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not len(files(tmp_path)) >= 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 1 <= len(files(tmp_path)) <= 4
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.stdout == table, again.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_sweep_with_its_code_and_the_runs_are_saved(number, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    process = subprocess.Popen([sys.executable, "-m", "charrnn", *COMMAND, "--steps", "100000"], cwd=tmp_path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    deadline = time.monotonic() + 60
    while not files(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number, errors
    assert "stopped after step" in errors
    assert "the same command resumes this sweep" in errors
    (name,) = files(tmp_path)
    assert 0 < Run.load(tmp_path / "checkpoints" / "all" / name / "last.h5").step < 100000


@needs_mpi
@pytest.mark.parametrize("runner", ["mpi4py", "mpi4py.futures"])
def test_ranks_train_the_runs_of_a_sweep(runner, whole, tmp_path):
    folder, table = whole
    (tmp_path / "text.txt").write_text(TEXT)
    result = under_mpi(3, "-m", "charrnn", *COMMAND, "--steps", "60", cwd=tmp_path, runner=runner)
    assert result.returncode == 0, result.stderr
    assert result.stdout == table
    assert files(tmp_path) == files(folder)


def test_runs_with_and_without_validation_cannot_be_combined():
    with pytest.raises(ConfigError, match="cannot be compared"):
        combinations({"validation": [0.0, 0.1]}, MODEL, TRAIN)
    assert len(combinations({"validation": [0.0]}, MODEL, TRAIN)) == 1


def test_steps_in_the_grid_are_one_column_of_the_table(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    table = charrnn("sweep", "text.txt", "--grid", "steps=3,5", "--hidden-size", "4", "--batch-size", "4", "--seq-len", "8",
                    cwd=tmp_path).stdout
    header, *rows = table.splitlines()
    assert header.split()[:2] == ["steps", "validation"]
    assert {row.split()[0] for row in rows} == {"3", "5"}


def test_a_sweep_in_the_folder_of_a_run_is_refused(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    charrnn("train", "text.txt", "--steps", "2", "--hidden-size", "4", "--name", "all", cwd=tmp_path)
    result = charrnn(*COMMAND, "--steps", "2", cwd=tmp_path, code=2)
    assert result.stderr == ("Error: Invalid value for '--name': is the name of a run, checkpoints/all; choose another "
                             "name for the sweep\n")
