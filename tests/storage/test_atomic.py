"""charrnn.storage.atomic"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.storage import atomic
from charrnn.storage.atomic import replace_file

HOST = atomic.owner().partition("-")[0]
OTHER = "000000" if HOST != "000000" else "111111"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    replace_file(path, [b"old ", memoryview(b"file")])
    return path


def test_a_file_contains_the_pieces(path: Path) -> None:
    assert path.read_bytes() == b"old file"
    replace_file(path, [])
    assert path.read_bytes() == b""


def test_a_symbolic_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "links" / "latest.h5"
    link.parent.mkdir()
    link.symlink_to(path)
    replace_file(link, [b"new"])
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert os.listdir(link.parent) == ["latest.h5"]


@pytest.mark.parametrize(("name", "minor"), [("null", 3), ("full", 7)])
def test_a_device_is_not_replaced(tmp_path: Path, name: str, minor: int) -> None:
    device = tmp_path / name
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        device.open("wb").close()
    except (OSError, AttributeError):
        pytest.skip("no device can be made here")
    with pytest.raises(OSError, match=f"No space left.*{device}") if name == "full" else contextlib.nullcontext():
        replace_file(device, [b"new"])
    assert device.is_char_device()
    assert os.listdir(tmp_path) == [name]


def test_a_missing_folder_is_created_on_request(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "new" / "folder" / "run.h5", [b"new"])
    assert os.listdir(tmp_path) == []
    replace_file(tmp_path / "new" / "folder" / "run.h5", [b"new"], create_folder=True)
    assert (tmp_path / "new" / "folder" / "run.h5").read_bytes() == b"new"


@pytest.mark.parametrize("parts", [("file", "run.h5"), ("folder",), ("folder", "x" * 300)], ids=str)
def test_an_error_names_the_path_that_was_given(tmp_path: Path, parts: tuple[str, ...]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path.joinpath(*parts)
    with pytest.raises(OSError) as caught:  # noqa: PT011 (which subclass it is depends on the system)
        replace_file(path, [b"new"])
    assert caught.value.filename == str(path)
    assert (os.listdir(tmp_path / "folder"), (tmp_path / "file").read_bytes()) == ([], b"")


def test_permissions_are_those_of_any_new_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_file_and_folder_are_flushed_around_the_renaming(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name, call in (("fsync", os.fsync), ("replace", os.replace)):
        monkeypatch.setattr(os, name, lambda *arguments, name=name, call=call: (calls.append(name), call(*arguments)))
    replace_file(path, [b"new"])
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
        path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            replace_file(path, [b"new"])
    assert path.read_bytes() == b"old file"
    assert os.listdir(path.parent) == [path.name]


def test_an_exception_from_the_pieces_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise ValueError("and no more")

    with pytest.raises(ValueError, match="and no more"):
        replace_file(path, pieces())
    assert path.read_bytes() == b"old file"
    assert os.listdir(path.parent) == [path.name]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: Path, python: Callable) -> None:
    pytest.importorskip("resource")
    program = (f"import resource; from charrnn.storage.atomic import replace_file\n"
               f"resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
               f"try: replace_file({str(path)!r}, [bytes(9999)])\n"
               f"except OSError as error: print(error.strerror)")
    done = python("-c", program)
    assert (done.code, done.out, done.err) == (0, "File too large\n", "")
    assert path.read_bytes() == b"old file"
    assert os.listdir(path.parent) == [path.name]


# Leftovers

@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(path: Path, python: Callable, moment: str) -> None:
    program = (f"import os, signal; from charrnn.storage.atomic import replace_file\n"
               f"os.{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
               f"replace_file({str(path)!r}, [b'new'])")
    assert python("-c", program).code == -signal.SIGKILL
    assert path.read_bytes() == b"old file"
    assert len(os.listdir(path.parent)) == 2
    replace_file(path, [b"new"])
    assert os.listdir(path.parent) == [path.name]


@pytest.fixture
def process() -> Iterator[subprocess.Popen]:
    """Start a process that runs until its input ends."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def test_the_temporary_file_of_a_running_process_is_kept(path: Path, process: subprocess.Popen) -> None:
    leftover = path.with_name(f".{path.name}.{HOST}-{process.pid}-0123abcd.tmp")
    leftover.touch()
    os.utime(leftover, (0, 0))
    replace_file(path, [b"new"])
    assert leftover.exists()
    process.communicate(b"\n")
    replace_file(path, [b"new"])
    assert not leftover.exists()


@pytest.mark.parametrize(("age", "is_kept"), [(0, True), (23.9, True), (24.1, False), (-1000, True)])
def test_the_temporary_file_of_another_host_is_kept_for_a_day(path: Path, age: float, is_kept: bool) -> None:
    """Process ids of another host say nothing about the processes of this host."""
    for process in (999_999_999, os.getpid()):
        leftover = path.with_name(f".{path.name}.{OTHER}-{process}-0123abcd.tmp")
        leftover.touch()
        os.utime(leftover, (time.time() - age * 3600,) * 2)
        replace_file(path, [b"new"])
        assert leftover.exists() == is_kept


def test_two_writes_in_one_process_do_not_affect_each_other(path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"outer"
        replace_file(path, [b"inner"])
        assert len(os.listdir(path.parent)) == 2

    replace_file(path, pieces())
    assert path.read_bytes() == b"outer"


def test_a_leftover_of_an_earlier_process_with_this_id_is_removed(path: Path) -> None:
    leftover = path.with_name(f".{path.name}.{atomic.owner()}-0123abcd.tmp")
    leftover.touch()
    replace_file(path, [b"new"])
    assert not leftover.exists()


@pytest.mark.parametrize("name", [
    f".other.h5.{HOST}-999999999-0123abcd.tmp", ".run.h5.backup.tmp", f"run.h5.{HOST}-999999999-0123abcd.tmp",
    f".run.h5.{HOST}-999999999-0123abcd.txt", f".run.h5.{HOST}--1-0123abcd.tmp", ".run.h5.999999999-0123abcd.tmp",
    f".run.h5.x.{HOST}-999999999-0123abcd.tmp", f".run.h5.{HOST}-x-0123abcd.tmp"])
def test_other_files_are_kept(path: Path, name: str) -> None:
    (path.parent / name).touch()
    replace_file(path, [b"new"])
    assert (path.parent / name).exists()


def test_a_file_name_that_looks_like_a_pattern_matches_only_itself(tmp_path: Path) -> None:
    names = [f".{name}.{HOST}-999999999-0123abcd.tmp" for name in ("a.h5", "[ab].h5")]
    for name in names:
        (tmp_path / name).touch()
    replace_file(tmp_path / "[ab].h5", [b"new"])
    assert [(tmp_path / name).exists() for name in names] == [True, False]


def test_the_host_identifier_is_shared_by_its_processes_only(python: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = python("-c", "import os; from charrnn.storage import atomic; print(atomic.owner(), os.getpid())").out.split()
    assert owners == [f"{HOST}-{owners[1]}", owners[1]]
    found = set()
    for name, namespace in (("a", "pid:[1]"), ("b", "pid:[1]"), ("a", "pid:[2]")):
        monkeypatch.setattr("platform.node", lambda name=name: name)
        monkeypatch.setattr(os, "readlink", lambda path, namespace=namespace: namespace)
        found.add(atomic._host.__wrapped__())
    assert len(found) == 3
