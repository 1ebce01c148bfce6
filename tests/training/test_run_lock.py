"""charrnn.training.run_lock"""

from __future__ import annotations

import errno
import gc
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import RunError
from charrnn.training.run_lock import RunLock

HOLDER = """
import sys
from pathlib import Path
from charrnn.training.run_lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """Start another process that locks the folder "run" until its standard input ends."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "run"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"locked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_lock_is_refused_and_the_owner_is_named(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run") as lock:
        assert lock.is_supported
        with pytest.raises(RunError) as caught:
            RunLock(tmp_path / "run")
        assert str(caught.value) == (f"{tmp_path}/run: process {os.getpid()} on {platform.node()} is training this run; "
                                     f"wait until it has finished, or stop it")
        with RunLock(tmp_path / "other"):
            pass
        with pytest.raises(RunError, match="is training this run"):
            RunLock(tmp_path / "run")


def test_a_lock_of_another_process_is_refused_and_the_process_is_named(holder: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"process {holder.pid} on "):
        RunLock(tmp_path / "run")


def test_a_lock_ends_with_its_process_and_leaves_nothing(holder: Any, tmp_path: Path) -> None:
    holder.communicate()
    assert holder.returncode == 0
    assert os.listdir(tmp_path) == []


def test_a_lock_of_a_killed_process_is_taken_over(holder: Any, tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    assert os.listdir(tmp_path / "run") == [".lock"]
    with RunLock(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text() == f"process {os.getpid()} on {platform.node()}"
    assert os.listdir(tmp_path / "run") == []


def test_folders_that_were_created_are_removed_if_they_are_empty(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with RunLock(tmp_path / "kept" / "a" / "b"):
        assert (tmp_path / "kept" / "a" / "b" / ".lock").exists()
    assert os.listdir(tmp_path / "kept") == []
    with RunLock(tmp_path / "kept"):
        pass
    assert os.listdir(tmp_path) == ["kept"]
    with RunLock(tmp_path / "kept" / "a"):
        (tmp_path / "kept" / "a" / "last.h5").touch()
    assert os.listdir(tmp_path / "kept" / "a") == ["last.h5"]


def test_a_lock_is_released_when_it_is_garbage_collected(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "run")
    del lock
    gc.collect()
    assert os.listdir(tmp_path) == []
    with RunLock(tmp_path / "run"):
        pass


def test_releasing_twice_leaves_the_lock_of_another_process_alone(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    first.release()
    with RunLock(tmp_path):
        first.release()
        assert os.listdir(tmp_path) == [".lock"]


def test_a_folder_that_was_replaced_keeps_the_lock_of_its_new_owner(tmp_path: Path) -> None:
    first = RunLock(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    with RunLock(tmp_path / "run"):
        first.release()
        assert os.listdir(tmp_path / "run") == [".lock"]
        with pytest.raises(RunError, match="is training this run"):
            RunLock(tmp_path / "run")


def test_a_lock_file_that_is_removed_before_it_is_locked_is_created_again(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is removed after it is opened. A lock on the removed file would not keep other processes out."""
    import fcntl

    flock, calls = fcntl.flock, []

    def late(file: Any, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            (tmp_path / ".lock").unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with RunLock(tmp_path):
        assert len(calls) == 2
        with pytest.raises(RunError, match="is training this run"):
            RunLock(tmp_path)


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), ImportError("No module named 'fcntl'")])
def test_nothing_is_locked_if_the_system_does_not_support_locks(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def flock(*_: Any) -> None:
        raise error

    monkeypatch.setattr("fcntl.flock", flock)
    with RunLock(tmp_path) as lock, RunLock(tmp_path) as other:
        assert (lock.is_supported, other.is_supported) == (False, False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["mkdir", "open", "write"])
def test_a_folder_that_cannot_be_written_is_refused_and_nothing_is_left(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    folder = tmp_path / "a" / "b"

    def refuse(*arguments: Any, **_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "write":
        monkeypatch.setattr("charrnn.training.run_lock.platform.node", refuse)  # called just before the write
    else:
        monkeypatch.setattr(Path, call, refuse)
    with pytest.raises(RunError) as caught:
        RunLock(folder)
    assert str(caught.value) == (f"{folder}: cannot be written (No space left on device); choose another folder, or check "
                                 f"its owner, its permissions and the free space")
    assert os.listdir(tmp_path) == []
