"""One run that is trained by several MPI ranks."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.config import ModelConfig, TrainConfig
from charrnn.mpi import Ranks
from charrnn.text.corpus import Corpus
from charrnn.training.run import Run
from charrnn.training.run_lock import RunLock
from charrnn.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("reference_kernels")

MPIEXEC = Path(sys.executable).parent / "mpiexec"
needs_mpi = pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None or not MPIEXEC.exists(),
                               reason="mpi4py and mpich are not installed (pip install '.[mpi]')")
TEXT = "".join("to be, or not to be: that is the question" [k * k % 41] for k in range(4000))

PROGRAM = """
import json, sys
from test_mpi import a_run, take
from charrnn import Run
from charrnn.mpi import ranks
from charrnn.nn import kernels

kernels._kernels_with_bfloat16 = lambda: ("reference",)  # simulates a processor with bfloat16
settings, stop, path = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
run, corpus = a_run(**settings)
take(run, corpus, stop)
if ranks().number == 0:
    run.save(path)
ranks().all("saved")
if stop < run.planned:
    run = Run.load(path)
    take(run, corpus, run.planned)
    if ranks().number == 0:
        run.save(path)
"""


def a_run(dtype="float64", **settings):
    corpus = Corpus.from_text(TEXT)
    values = {"batch_size": 5, "seq_len": 8, "steps": 50, "eval_every": 20, "threads": 2, "precision": "float32",
              **settings}
    model = ModelConfig(values.pop("cell", "lstm"), hidden_size=12, layers=2, dropout=0.2, weight_drop=0.2)
    return Run.start(corpus, model, TrainConfig(**values), np.dtype(dtype).type), corpus


def take(run, corpus, until):
    trainer = Trainer(run, corpus)
    while run.step < until:
        trainer.step()


def under_mpi(count, *command, runner="mpi4py", **settings):
    home = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home.parent), str(home)])}
    return subprocess.run([MPIEXEC, "-n", str(count), sys.executable, "-m", runner, *command], env=environment,
                          capture_output=True, text=True, timeout=120, **settings)


def on_ranks(count, tmp_path, stop=50, **settings):
    """Train a run for 50 steps on ``count`` ranks, saving and loading it after step ``stop``. Return its file."""
    path = tmp_path / f"{count}.h5"
    (tmp_path / "program.py").write_text(PROGRAM)
    result = under_mpi(count, tmp_path / "program.py", json.dumps(settings), str(stop), str(path))
    assert result.returncode == 0, result.stderr
    return path


@needs_mpi
@pytest.mark.parametrize(("count", "settings", "tolerance"), [
    (2, {"cell": "lnlstm"}, 1e-9), (3, {"cell": "gru"}, 1e-9), (6, {"cell": "rnn"}, 1e-9),
    (2, {"dtype": "float32", "optimizer": "sgd", "learning_rate": 0.1}, 1e-5)])
def test_ranks_compute_the_same_as_one_process(count, settings, tolerance, tmp_path):
    """With six ranks for five streams, one of them has no stream."""
    run, corpus = a_run(**settings)
    take(run, corpus, 50)
    shared = Run.load(on_ranks(count, tmp_path, **settings))
    assert shared.environment["ranks"] == str(count)
    assert shared.step == 50
    np.testing.assert_allclose(shared.model.network.parameters.flat, run.model.network.parameters.flat, atol=tolerance)
    np.testing.assert_allclose(np.concatenate(shared.state), np.concatenate(run.state), atol=tolerance)
    np.testing.assert_allclose(shared.history, run.history, atol=tolerance)


@needs_mpi
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_number_of_ranks_gives_the_same_bits_even_after_resuming(tmp_path, precision):
    settings = {"dtype": "float32", "learning_rate": 0.02, "precision": precision}
    files = []
    for k, stop in enumerate((50, 50, 23) if precision == "float32" else (50, 23)):
        (tmp_path / str(k)).mkdir()
        files.append(on_ranks(2, tmp_path / str(k), stop, **settings).read_bytes())
    assert len(set(files)) == 1
    assert Run.load(tmp_path / "0" / "2.h5").config.precision == precision


@needs_mpi
def test_ranks_start_from_the_weights_of_another_model(tmp_path):
    """In float64, two ranks end at the same weights as one process."""
    (tmp_path / "text.txt").write_text(TEXT)
    older, _ = a_run()
    older.save(tmp_path / "older.h5")
    setting = ["train", "text.txt", "--from", "older.h5", "--batch-size", "5", "--seq-len", "8", "--steps", "9", "--quiet"]
    both = under_mpi(2, "-m", "charrnn", *setting, "--name", "both", cwd=tmp_path)
    assert both.returncode == 0, both.stderr
    one = subprocess.run([sys.executable, "-m", "charrnn", *setting, "--name", "one"], cwd=tmp_path, capture_output=True,
                         text=True, timeout=120)
    assert one.returncode == 0, one.stderr
    runs = [Run.load(tmp_path / "checkpoints" / name / "last.h5") for name in ("both", "one")]
    assert [run.model.origin.names for run in runs] == [("older.h5",)] * 2
    assert [run.environment["ranks"] for run in runs] == ["2", "1"]
    np.testing.assert_allclose(*[run.model.network.parameters.flat for run in runs], atol=1e-9)


@needs_mpi
def test_a_run_that_was_trained_under_mpi_can_be_resumed_without_it(tmp_path):
    setting = ["-m", "charrnn", "train", "text.txt", "--hidden-size", "8", "--batch-size", "4", "--seq-len", "8",
               "--threads", "1", "--name", "a"]
    (tmp_path / "text.txt").write_text(TEXT)
    first = under_mpi(2, *setting, "--minutes", "0.01", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("validation ")
    assert first.stdout.count("\n") == 1, "only rank 0 prints"
    assert first.stderr.count("the same as --from none --steps") == 1
    steps = Run.load(tmp_path / "checkpoints" / "a" / "last.h5").step + 5
    again = subprocess.run([sys.executable, "-m", "charrnn", "resume", "checkpoints/a", "--steps", str(steps)],
                           capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("Warning: changed since the last save: ranks from 2 to 1; the result may differ in its last "
                              "bits") == 1


@needs_mpi
@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--hidden-size", "0"], 2, "Error: Invalid value for '--hidden-size': must be at least 1, not 0"),
    (["nothing.txt"], 1, "Error: nothing.txt: no such file; pass the name of a text file"),
    (["--optimizer", "sgd", "--learning-rate", "1e38", "--clip-norm", "0", "--no-recover", "--hidden-size", "4",
      "--steps", "9", "--eval-every", "9"], 1, ": non-finite loss, gradient or weights")])
def test_an_error_is_printed_once_and_ends_the_job(arguments, code, message, tmp_path):
    result = under_mpi(2, "-m", "charrnn", "train", *arguments, cwd=tmp_path)
    assert result.returncode == code
    assert result.stderr.count(message) == 1
    assert "Traceback" not in result.stderr


DRIFTING = """
import sys
from test_mpi import a_run
from charrnn import Trainer
from charrnn.mpi import ranks

run, corpus = a_run(dtype="float32", optimizer="sgd", learning_rate=0.01)
trainer = Trainer(run, corpus)
for step in trainer:
    if step.number == 30 and ranks().number == 2:
        run.model.network.parameters.flat[7] += 1e-6
    if step.fault:
        assert step.number == 40, step
        assert "rank 2 differed from those of rank 0" in step.fault, step.fault
        sys.stdout.write("reported\\n")
assert len({block.flat.tobytes() for block in ranks().all(run.model.network.parameters)}) == 1
"""


@needs_mpi
def test_ranks_that_drift_apart_get_the_weights_of_rank_0(tmp_path):
    (tmp_path / "program.py").write_text(DRIFTING)
    result = under_mpi(3, tmp_path / "program.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "reported\n" * 3


@needs_mpi
def test_only_rank_0_locks_the_run(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    command = ["-m", "charrnn", "train", "text.txt", "--hidden-size", "8", "--batch-size", "4", "--seq-len", "8", "--name",
               "a", "--steps", "4", "--overwrite"]
    for _ in range(2):
        result = under_mpi(2, *command, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(tmp_path / "checkpoints" / "a")) == ["best.h5", "last.h5", "metrics.csv", "samples.jsonl"]
    with RunLock(tmp_path / "checkpoints" / "a"):
        result = under_mpi(2, *command, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.count(f"process {os.getpid()} on ") == 1


@needs_mpi
@pytest.mark.parametrize("how", ["raise ZeroDivisionError('rank 1 has failed')", "os.kill(os.getpid(), 9)"])
def test_a_rank_that_fails_ends_the_job(how, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(f"""
import os, sys
from charrnn.mpi import ranks
from charrnn.training.trainer import Trainer
from charrnn import cli
right = Trainer.step
def step(self):
    if ranks().number == 1 and self.run.step == 7:
        {how}
    return right(self)
Trainer.step = step
sys.argv = "charrnn train --hidden-size 4 --steps 100000 --checkpoint-every 5 --name a --quiet".split()
cli.main()
""")
    result = under_mpi(2, program, cwd=tmp_path)
    assert result.returncode not in (0, None)
    assert Run.load(tmp_path / "checkpoints" / "a" / "last.h5").step == 5


@needs_mpi
def test_an_mpiexec_of_another_mpi_is_detected(tmp_path):
    """Otherwise each rank would train a run of its own, all in the same folder."""
    result = subprocess.run([sys.executable, "-m", "charrnn", "train"], env={**os.environ, "OMPI_COMM_WORLD_SIZE": "4"},
                            capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1
    assert "one of 4 MPI ranks, but mpi4py sees only one; start them with" in result.stderr


def test_the_error_without_an_mpi_library_says_what_to_install(tmp_path):
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("")
    (tmp_path / "mpi4py" / "MPI.py").write_text("raise RuntimeError('cannot load MPI library\\nlibmpi.so: not there')")
    environment = {**os.environ, "PMI_SIZE": "2", "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-m", "charrnn", "train"], env=environment, capture_output=True, text=True,
                            cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "Error: this process is a rank of an MPI job, but MPI cannot be used "
                                                     "(cannot load MPI library); pip install '.[mpi]'\n")


def test_one_process_without_mpi_is_the_only_rank():
    alone, array = Ranks(), np.arange(3.0)
    alone.add_up(array)
    alone.call(print, "not called")
    alone.help_out()
    alone.dismiss()
    alone.abort(3)
    assert (alone.number, alone.count, alone.first(5), alone.all(5), array.tolist()) == (0, 1, 5, [5], [0, 1, 2])
