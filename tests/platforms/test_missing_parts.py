"""Parts that a system or an installation does not have: functions of POSIX, numba, a home folder, a BLAS with limits."""

from __future__ import annotations

import ast
import errno
import importlib
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
from command_line import SMALL
from other_systems import POSIX_MODULES, POSIX_NAMES, Output, command, without_posix

import charrnn
from charrnn import CharRNN, Corpus, ModelConfig, TrainConfig, cpu
from charrnn.nn import kernels
from charrnn.nn.parallel import Team
from charrnn.storage import cache
from charrnn.training import speed
from charrnn.training.signals import StopSignals

HOME = Path(charrnn.__file__).parent
TRAIN = ("train", "notes.txt", *SMALL, "--steps", 1, "--from", "none", "--name", "a")


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_text: Callable[..., str]) -> Path:
    """Enter a folder that contains only a text; use the reference kernels."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CHARRNN_KERNELS", "reference")
    Path("notes.txt").write_text(make_text(400), encoding="utf-8")
    return Path("notes.txt")


def lines(done: Output) -> list[str]:
    """Return the lines of a command on standard error."""
    assert done.code == 0, done.err
    return done.err.decode("cp1252").splitlines()


# Functions of POSIX

def test_training_works_without_the_functions_of_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example without fork, SIGHUP and the affinity of processes."""
    without_posix(monkeypatch)
    assert cpu.core_numbers() == set(range(os.cpu_count() or 1))
    assert lines(command(*TRAIN, "--threads", 2))
    assert lines(command("resume", "a", "--steps", 2))


def test_signals_that_the_system_does_not_have_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    without_posix(monkeypatch)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT
        assert not stop.save_requested()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def uses(path: Path) -> Iterator[str]:
    """Yield the names and modules of POSIX that a module uses without asking whether they exist."""
    source = path.read_text(encoding="utf-8")
    names = {(module.__name__, name) for module, names in POSIX_NAMES.items() for name in names}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = node.value.id, node.attr
            if used in names and f'hasattr({used[0]}, "{used[1]}")' not in source:
                yield f"{path.name}: {'.'.join(used)}"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [item.name for item in node.names]
            for name in {*POSIX_MODULES, "multiprocessing"}.intersection(modules):
                if "except (ImportError" not in source:
                    yield f"{path.name}: {name}"


def test_no_module_needs_posix_or_starts_processes() -> None:
    assert [use for path in sorted(HOME.rglob("*.py")) for use in uses(path)] == []


# numba

@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process look for numba again, without an environment variable that selects the kernels."""
    monkeypatch.delenv("CHARRNN_KERNELS")
    monkeypatch.setattr(speed, "measure", None)
    asked = kernels._numba_is_installed, kernels._fault_of_numba, kernels._warn
    for function in asked:
        function.cache_clear()
    yield
    for function in asked:
        function.cache_clear()


def test_without_numba_training_says_so_in_one_line_and_continues(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    said = lines(command(*TRAIN))
    assert [line for line in said if "numba" in line] == [
        "Training is about 1.5 times as fast with numba: pip install numba"]
    assert lines(command(*TRAIN, "--overwrite", "--quiet")) == []
    assert b"kernels             reference" in command("inspect", "a").out


@pytest.mark.parametrize(("error", "remedy"), [
    (ImportError("Numba needs NumPy 2.4 or less. Got NumPy 2.9.\nMore"), "pip install '.[fast]' installs a tested version"),
    (OSError("Could not find/load shared object file"), "pip install '.[fast]' installs a tested version"),
    (SystemError("initialization of _internal failed"), "pip install '.[fast]' installs a tested version"),
    (RuntimeError("cannot cache function 'rnn_forward': no locator available for file 'compiled.py'"),
     "set NUMBA_CACHE_DIR to a folder that can be written"),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "")
def test_a_numba_that_does_not_work_is_one_line_with_a_remedy(
        fresh: None, monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str) -> None:
    import_before = importlib.import_module

    def refuse(name: str, *arguments: Any) -> Any:
        if name.endswith(".compiled"):
            raise error
        return import_before(name, *arguments)

    monkeypatch.setattr(kernels, "_numba_is_installed", lambda: True)
    monkeypatch.setattr(kernels, "_numba_version", lambda: "9.9")
    monkeypatch.setitem(sys.modules, "numba.core", None)
    monkeypatch.setattr(importlib, "import_module", refuse)
    first = str(error).partition("\n")[0]
    expected = f"numba 9.9 does not work here ({type(error).__name__}: {first})"
    assert lines(command(*TRAIN, "--quiet")) == [
        f"Warning: {expected}; using the reference kernels, which are slower ({remedy})"]
    monkeypatch.setenv("CHARRNN_KERNELS", "compiled")
    refused = command(*TRAIN, "--quiet", "--overwrite")
    assert (refused.code, refused.err.decode().splitlines()) == (
        1, [f"Error: CHARRNN_KERNELS=compiled is set, but {expected}; {remedy}"])


# The home folder

@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take the home folder away; return the folder for temporary files."""
    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME", "HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "pwd", None)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    cache._temporary_folder.cache_clear()
    monkeypatch.setattr(cache.atexit, "register", lambda *_, **__: None)
    return tmp_path / "temporary"


def no_home(*_: Any, **__: Any) -> Path:
    """Behave like ``platformdirs.user_cache_path`` of newer versions."""
    raise RuntimeError("could not determine the home directory")


@pytest.mark.parametrize("found", [no_home, lambda *_, **__: Path("~", ".cache", "charrnn"), None],
                         ids=["new platformdirs", "old platformdirs", "installed platformdirs"])
def test_without_a_home_folder_the_cache_is_temporary(
        homeless: Path, monkeypatch: pytest.MonkeyPatch, found: Callable[..., Path] | None) -> None:
    if found is not None:
        monkeypatch.setattr(platformdirs, "user_cache_path", found)
    elif sys.version_info < (3, 11) or Path(os.path.expanduser("~")).is_absolute():  # Python 3.10 needs pwd
        pytest.skip("this system finds the home folder in another way")
    try:
        done = command(*TRAIN, "--quiet")
        (folder,) = homeless.iterdir()
        assert lines(done) == [f"Warning: no home folder was found, so files are kept in {folder} until the program "
                               "ends; set CHARRNN_CACHE to use another folder"]
        assert folder.stat().st_mode & 0o077 == 0
        assert sorted(os.listdir()) == ["checkpoints", "notes.txt"]
        assert cache.cache_folder() == folder
        Corpus.read("notes.txt", keep=True)
        assert [path.name.partition("-")[0] for path in folder.iterdir()] == ["notes"]
    finally:
        cache._temporary_folder.cache_clear()


def test_the_temporary_cache_is_removed_at_the_end(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(cache.atexit, "register", lambda *arguments, **settings: calls.append((arguments, settings)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = cache._temporary_folder()
        ((remove, *arguments), settings), = calls
        remove(*arguments, **settings)
        assert not folder.exists()
    finally:
        cache._temporary_folder.cache_clear()


def test_a_home_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed of the machine is measured once, and the run has the size for this speed."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "home" / "cache"))
    before = Path.mkdir

    def refuse(self: Path, *arguments: Any, **settings: Any) -> None:
        if "home" in str(self):
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        before(self, *arguments, **settings)

    monkeypatch.setattr(Path, "mkdir", refuse)
    measured: list[Any] = []
    monkeypatch.setattr(speed, "measure", lambda names: measured.append(names) or dict.fromkeys(names, 3e10))
    events: list[Any] = []
    for _ in range(2):
        assert speed.choose_arithmetic(TrainConfig(), True, events.append, lambda _: None).speed == 3e10
    path = tmp_path / "home" / "cache" / "speed.json"
    assert [event.message for event in events] == [
        f"{path}: cannot be written (Read-only file system), so charrnn will measure the speed of this machine again next "
        "time"]
    assert len(measured) == 1
    assert lines(command(*TRAIN, "--quiet")) == []


# BLAS

ACCELERATE = {"Build Dependencies": {"blas": {"name": "accelerate", "found": True, "version": "unknown"}}}


@pytest.mark.parametrize(("built", "shown"), [
    (ACCELERATE, "accelerate"),
    ({"Build Dependencies": {"blas": {"name": "scipy-openblas", "version": "0.3.29"}}}, "scipy-openblas 0.3.29"),
    ({"Build Dependencies": {"blas": {}}}, "unknown"), ({}, "unknown"),
], ids=["Accelerate", "another", "without a name", "without a record"])
def test_a_blas_that_threadpoolctl_does_not_know_has_its_name_from_numpy(
        monkeypatch: pytest.MonkeyPatch, built: dict, shown: str) -> None:
    monkeypatch.setattr(cpu, "_blas_libraries", list)
    monkeypatch.setattr(np, "show_config", lambda mode: built)
    assert cpu.blas() == shown


def test_a_run_records_this_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_blas_libraries", list)
    monkeypatch.setattr(np, "show_config", lambda mode: ACCELERATE)
    assert lines(command(*TRAIN, "--quiet")) == []
    assert b"blas                accelerate\r\n" in command("inspect", "a").out


def test_the_result_does_not_depend_on_a_limit_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.arange(36).reshape(9, 4) % 7
    results = []
    for libraries in (cpu._blas_libraries, list):
        monkeypatch.setattr(cpu, "_blas_libraries", libraries)
        model = CharRNN(ModelConfig(hidden_size=8), 7, np.random.default_rng(1))
        window = Team(model, 2).loss_and_gradients(ids[:-1], ids[1:], model.initial_state(4))
        results.append((float(window[0]), window[1].flat.tobytes()))
    assert results[0] == results[1]
