"""Fixtures that the tests share: generated texts, runs that train quickly, and the command line."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

from charrnn import Corpus, ModelConfig, Run, TrainConfig, Trainer
from charrnn.inference import bundled as bundled_module
from charrnn.inference.bundled import save_fingerprints
from charrnn.inference.origin import Origin, digest
from charrnn.text.overlap import fingerprints
from charrnn.training import samples

settings.register_profile("charrnn", deadline=None)  # tests must also pass on a slow machine
settings.load_profile("charrnn")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored

WORDS = ["the", "a", "cat", "dog", "runs", "jumps", "over", "lazy", "quick", "brown", "fox", "café", "naïve", "Zoë"]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Set a cache folder for the tests, so that they do not use the user's."""
    os.environ["CHARRNN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def short_samples() -> None:
    """Make samples in training short, because hundreds of tests train."""
    samples.LENGTH = 20


@pytest.fixture(scope="session")
def make_text() -> Callable[..., str]:
    """Return a function that generates a text of the given length from a seed."""
    def make(characters: int, seed: int = 1) -> str:
        rng = random.Random(seed)
        text = ""
        while len(text) < characters:
            text += rng.choice(WORDS) + rng.choice([" ", " ", " ", ", ", ".\n"])
        return text[:characters]

    return make


@pytest.fixture(scope="session")
def corpus(make_text: Callable[..., str]) -> Corpus:
    """Return a corpus of 400 characters: 14 windows per epoch with the settings of ``start``."""
    return Corpus.from_text(make_text(400), ["notes.txt"])


@pytest.fixture(scope="session")
def start(corpus: Corpus) -> Callable[..., Run]:
    """Return a function that starts a small run; it takes the settings of both configs by name."""
    def make(text: Corpus = corpus, dtype: Any = "float32", **values: Any) -> Run:
        values = {"hidden_size": 8, "batch_size": 3, "seq_len": 8, "warmup": 2, "threads": 1, **values}
        if not {"steps", "epochs", "minutes"} & set(values):
            values["steps"] = 6
        names = {item.name for item in dataclasses.fields(ModelConfig)}
        return Run.start(text, ModelConfig(**{name: values.pop(name) for name in names & set(values)}),
                         TrainConfig(**values), dtype)

    return make


@pytest.fixture(scope="session")
def take(corpus: Corpus) -> Callable[..., list]:
    """Return a function that takes ``count`` steps of a run, by default all remaining steps."""
    def steps(run: Run, count: int | None = None, text: Corpus = corpus) -> list:
        trainer = Trainer(run, text)
        return list(trainer) if count is None else [trainer.step() for _ in range(count)]

    return steps


@pytest.fixture(scope="session")
def to_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Run], bytes]:
    """Return a function that saves a run and returns the bytes of its checkpoint."""
    path = tmp_path_factory.mktemp("runs") / "run.h5"

    def save(run: Run) -> bytes:
        run.save(path)
        return path.read_bytes()

    return save


@pytest.fixture(scope="session")
def small_english(make_text: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small bundled model, which has learned the texts of ``make_text`` from one of them."""
    folder = tmp_path_factory.mktemp("models")
    book = make_text(20_000, seed=77)
    run = Run.start(Corpus.from_text(book), ModelConfig(hidden_size=24), TrainConfig(steps=300, batch_size=8, seq_len=32,
                                                                                     learning_rate=0.02, threads=1))
    for _ in Trainer(run, Corpus.from_text(book)):
        pass
    run.model.origin = Origin(("english",), digest(run.model.network.parameters.flat))
    run.model.save(folder / "english.h5", dtype="float16")
    save_fingerprints(folder / "english-books.h5", fingerprints([book]))
    return folder


@pytest.fixture
def bundled(small_english: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the folder of the bundled models by a copy of ``small_english``, and return it."""
    folder = tmp_path_factory.mktemp("bundled")
    shutil.copytree(small_english, folder, dirs_exist_ok=True)
    monkeypatch.setattr(bundled_module, "MODELS", folder)
    return folder


class Answer(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Return a function that runs a command in this process."""
    from charrnn.cli import main

    def call(*arguments: Any, stdin: str = "") -> Answer:
        monkeypatch.setattr(sys, "argv", ["charrnn", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Answer(int(end.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def reference_kernels() -> Iterator[None]:
    """Use the reference kernels in the tests of a module: a child process loads the compiled ones longer than it trains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_KERNELS", "reference")
        yield


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Return the environment of a child process: the reference kernels, and no Python variables of this process."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
        "CHARRNN_KERNELS": "reference", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="session")
def python(environment: dict[str, str]) -> Callable[..., Answer]:
    """Return a function that runs Python in a child process: ``python("-m", "charrnn")``, ``python("-c", program)``."""
    def call(*arguments: Any, cwd: Path | None = None, stdin: str = "") -> Answer:
        done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, input=stdin.encode(), env=environment,
                              capture_output=True)
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call
