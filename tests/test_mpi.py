"""One training shared out over MPI ranks."""

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
from charrnn.training.trainer import Trainer

MPIEXEC = Path(sys.executable).parent / "mpiexec"
needs_mpi = pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None or not MPIEXEC.exists(),
                               reason="mpi4py and mpich are not installed (pip install '.[mpi]')")
TEXT = "".join("to be, or not to be: that is the question" [k * k % 41] for k in range(4000))

PROGRAM = """
import json, sys
from test_mpi import a_run, take
from charrnn import Run
from charrnn.mpi import ranks

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
    values = {"batch_size": 5, "seq_len": 8, "steps": 50, "eval_every": 20, "threads": 2, **settings}
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
    """The run after 50 steps on so many ranks; saved and loaded again on the way where ``stop`` says."""
    path = tmp_path / f"{count}.h5"
    (tmp_path / "program.py").write_text(PROGRAM)
    result = under_mpi(count, tmp_path / "program.py", json.dumps(settings), str(stop), str(path))
    assert result.returncode == 0, result.stderr
    return path


@needs_mpi
@pytest.mark.parametrize(("count", "settings", "tolerance"), [
    (2, {"cell": "lstm"}, 1e-9), (3, {"cell": "gru"}, 1e-9), (6, {"cell": "rnn"}, 1e-9),
    (2, {"dtype": "float32", "optimizer": "sgd", "learning_rate": 0.1}, 1e-5)])
def test_mpi_give_what_one_process_gives(count, settings, tolerance, tmp_path):
    """Six ranks for five streams: one has nothing to do but to keep up."""
    run, corpus = a_run(**settings)
    take(run, corpus, 50)
    shared = Run.load(on_ranks(count, tmp_path, **settings))
    assert shared.environment["ranks"] == str(count)
    assert shared.step == 50
    np.testing.assert_allclose(shared.model.network.parameters.flat, run.model.network.parameters.flat, atol=tolerance)
    np.testing.assert_allclose(np.concatenate(shared.state), np.concatenate(run.state), atol=tolerance)
    np.testing.assert_allclose(shared.history, run.history, atol=tolerance)


@needs_mpi
def test_the_same_ranks_give_the_same_bits_over_a_resume_too(tmp_path):
    settings = {"dtype": "float32", "learning_rate": 0.02}
    files = []
    for k, stop in enumerate((50, 50, 23)):
        (tmp_path / str(k)).mkdir()
        files.append(on_ranks(2, tmp_path / str(k), stop, **settings).read_bytes())
    assert files[0] == files[1]
    assert files[0] == files[2]


@needs_mpi
def test_the_command_line_under_mpi_and_a_resume_without(tmp_path):
    setting = ["-m", "charrnn", "train", "text.txt", "--hidden-size", "8", "--batch-size", "4", "--seq-len", "8",
               "--threads", "1", "--name", "a"]
    (tmp_path / "text.txt").write_text(TEXT)
    first = under_mpi(2, *setting, "--minutes", "0.01", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("validation ")
    assert first.stdout.count("\n") == 1, "only rank 0 talks"
    assert first.stderr.count("the same as --steps") == 1
    steps = Run.load(tmp_path / "checkpoints" / "a" / "last.h5").step + 5
    again = subprocess.run([sys.executable, "-m", "charrnn", "resume", "checkpoints/a", "--steps", str(steps)],
                           capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("Warning: ranks was '2' and is '1'; the result may differ in its last bits") == 1


@needs_mpi
@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--hidden-size", "0"], 2, "Error: Invalid value for '--hidden-size': must be at least 1, not 0"),
    (["nothing.txt"], 1, "Error: nothing.txt: no such file; pass the name of a text file"),
    (["--optimizer", "sgd", "--learning-rate", "1e30", "--clip-norm", "0", "--no-recover", "--hidden-size", "4",
      "--steps", "9"], 1, "ends in no numbers")])
def test_an_error_is_said_once_and_ends_the_job(arguments, code, message, tmp_path):
    result = under_mpi(2, "-m", "charrnn", "train", *arguments, cwd=tmp_path)
    assert result.returncode == code
    assert result.stderr.count(message) == 1
    assert "Traceback" not in result.stderr


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
def test_another_mpiexec_is_recognised(tmp_path):
    """A job of which mpi4py sees one rank would train as many runs as there are ranks, into one folder."""
    result = subprocess.run([sys.executable, "-m", "charrnn", "train"], env={**os.environ, "OMPI_COMM_WORLD_SIZE": "4"},
                            capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1
    assert "one of 4 MPI ranks, and mpi4py sees one" in result.stderr


def test_without_an_mpi_library_a_rank_says_what_to_install(tmp_path):
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("")
    (tmp_path / "mpi4py" / "MPI.py").write_text("raise RuntimeError('cannot load MPI library\\nlibmpi.so: not there')")
    environment = {**os.environ, "PMI_SIZE": "2", "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-m", "charrnn", "train"], env=environment, capture_output=True, text=True,
                            cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "Error: this is a rank of an MPI job, and MPI cannot be used (cannot "
                                                     "load MPI library); pip install '.[mpi]'\n")


def test_one_process_is_alone():
    alone, array = Ranks(), np.arange(3.0)
    alone.add_up(array)
    alone.call(print, "nobody is called")
    alone.help_out()
    alone.dismiss()
    alone.abort(3)
    assert (alone.number, alone.count, alone.first(5), alone.all(5), array.tolist()) == (0, 1, 5, [5], [0, 1, 2])
