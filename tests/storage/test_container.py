"""charrnn.storage.container"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from charrnn.errors import CheckpointError
from charrnn.storage import atomic
from charrnn.storage import container as checkpoint

ARRAYS = {"parameters/w": np.arange(6, dtype="<f4").reshape(2, 3), "parameters/deep/b": np.array([-0.0, 1e-300]),
          "vocabulary/codepoints": np.array([10, 97, 0x10FFFF], dtype="<u4")}
FACTS = {"step": 3, "names": ["café", None, True], "loss": 0.1}
MANIFEST = {name: (array.dtype.str, array.shape) for name, array in ARRAYS.items()}

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-2**63, 2**63 - 1) | FINITE | st.text(),
                    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3))
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def read(path: Path, manifest: Any = MANIFEST) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return checkpoint.read(path, lambda facts: manifest)


def refusal(path: Path, manifest: Any = MANIFEST) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(CheckpointError) as error:
        read(path, manifest)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    checkpoint.write(path, ARRAYS, FACTS)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for the examples of one property."""
    return tmp_path_factory.mktemp("examples") / "run.h5"


def test_what_is_written_is_read_back(path: Path) -> None:
    arrays, facts = read(path)
    assert facts == FACTS
    assert {name: (array.dtype.str, array.shape) for name, array in arrays.items()} == MANIFEST
    for name, array in arrays.items():
        assert array.tobytes() == ARRAYS[name].tobytes()


@hypothesis_settings(max_examples=25)
@given(facts=st.dictionaries(st.text(), JSON, max_size=4), rng=st.randoms(use_true_random=False),
       kinds=st.lists(st.tuples(st.sampled_from(["<f4", "<f8", "<u4"]), SHAPES), max_size=4))
def test_any_arrays_and_facts_come_back_to_the_last_bit(scratch: Path, facts: dict, rng: Random, kinds: list) -> None:
    arrays = {f"group{k % 2}/array{k}": np.frombuffer(rng.randbytes(np.empty(shape, dtype).nbytes), dtype).reshape(shape)
              for k, (dtype, shape) in enumerate(kinds)}
    checkpoint.write(scratch, arrays, facts)
    found, found_facts = read(scratch, {name: (array.dtype.str, array.shape) for name, array in arrays.items()})
    assert found_facts == facts
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in arrays.items()}


def test_the_same_content_gives_the_same_bytes() -> None:
    turned = {name: np.asfortranarray(array).astype(array.dtype.newbyteorder(">")) for name, array in
              reversed(ARRAYS.items())}
    assert checkpoint.to_bytes(turned, dict(reversed(FACTS.items()))) == checkpoint.to_bytes(ARRAYS, FACTS)


def test_any_hdf5_tool_opens_the_file(path: Path) -> None:
    with h5py.File(path) as file:
        assert set(file) == {"meta", "parameters", "vocabulary"}
        for name, array in ARRAYS.items():
            assert file[name][...].tobytes() == array.tobytes()
            assert not file[name].attrs
        meta = json.loads(file["meta"][...].tobytes())
    assert (meta["format"], meta["format_version"], meta["facts"]) == ("charrnn", 1, FACTS)


# Damage

def test_no_byte_can_be_flipped(path: Path, tmp_path: Path) -> None:
    data, damaged = path.read_bytes(), tmp_path / "damaged.h5"
    for place in range(len(data)):
        damaged.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1:])
        refusal(damaged)


def test_nothing_can_be_cut_off(path: Path) -> None:
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        refusal(path)


@hypothesis_settings(max_examples=100)
@given(data=st.data())
def test_nothing_can_be_added_taken_out_or_swapped(scratch: Path, data: st.DataObject) -> None:
    whole = checkpoint.to_bytes(ARRAYS, FACTS)
    first, last = sorted(data.draw(st.lists(st.integers(0, len(whole)), min_size=2, max_size=2, unique=True)))
    start, middle, end = whole[:first], whole[first:last], whole[last:]
    damaged = data.draw(st.sampled_from([start + data.draw(st.binary(min_size=1, max_size=99)) + middle + end, start + end,
                                         end + middle + start, start + middle[::-1] + end]))
    scratch.write_bytes(damaged)
    if damaged == whole:
        read(scratch)
    else:
        refusal(scratch)


@pytest.mark.parametrize("content", [b"", b"x", b"some text\n" * 99, b"\x89HDF\r\n\x1a\n\x03" + bytes(200)])
def test_another_file_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes.h5").write_bytes(content)
    assert "not a valid checkpoint" in refusal(tmp_path / "notes.h5")


def test_a_plain_hdf5_file_is_none(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["parameters/w"] = np.zeros(99)
    assert "not a valid checkpoint" in refusal(tmp_path / "plain.h5")


def test_a_missing_file_a_folder_and_a_pipe_are_none(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.h5")
    assert "not a regular file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.h5")
    assert "not a regular file" in refusal(tmp_path / "pipe.h5")


def test_a_newer_format_is_named(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-56:-52] = struct.pack("<I", 2)
    path.write_bytes(data)
    assert "version 2" in refusal(path)


# Content that is whole and cannot be

def signed(image: bytes) -> bytes:
    """An HDF5 image with the footer that the module's docstring describes."""
    return image + struct.pack("<8sIIQ32s8s", b"charrnn\x00", 1, 0, len(image), hashlib.sha256(image).digest(),
                               b"end\r\n\x1a\n\x00")


def forged(path: Path, build: Callable[[h5py.File], Any], meta: Any = None) -> None:
    """Write a checkpoint with the right digest; ``build`` makes the dataset ``w``, two float32 by its list."""
    image = BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        build(file)
        listed = {"format": "charrnn", "format_version": 1, "arrays": {"w": ["<f4", [2]]}, "facts": {}}
        text = json.dumps(listed if meta is None else meta(listed)).encode()
        file.create_dataset("meta", data=np.frombuffer(text, np.uint8), track_times=False)
    path.write_bytes(signed(image.getvalue()))


def plain(file: h5py.File, name: str = "w") -> None:
    file.create_dataset(name, data=np.ones(2, "<f4"), track_times=False)


def elsewhere(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2,), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "w", (2,))
    file.create_virtual_dataset("w", layout)


def test_the_forgery_itself_is_accepted(tmp_path: Path) -> None:
    forged(tmp_path / "run.h5", plain)
    arrays, _ = read(tmp_path / "run.h5", {"w": ("<f4", (2,))})
    assert arrays["w"].tolist() == [1, 1]


@pytest.mark.parametrize(("build", "reason"), [
    (lambda file: None, "is missing"),
    (lambda file: file.create_group("w"), "is no dataset"),
    (lambda file: file.__setitem__("w", h5py.SoftLink("/meta")), "is a link"),
    (lambda file: file.__setitem__("w", h5py.ExternalLink("other.h5", "w")), "is a link"),
    (lambda file: file.create_dataset("w", data=np.ones(2, "<f4"), chunks=(1,)), "not stored plainly"),
    (lambda file: file.create_dataset("w", data=np.ones(2, "<f4"), compression="gzip"), "not stored plainly"),
    (lambda file: file.create_dataset("w", data=np.ones(2, "<f4"), fletcher32=True), "not stored plainly"),
    (lambda file: file.create_dataset("w", (2,), "<f4", external=[("/dev/zero", 0, 8)]), "not stored plainly"),
    (elsewhere, "not stored plainly"),
    (lambda file: file.create_dataset("w", (2,), "<f4"), "not stored whole"),
    (lambda file: file.create_dataset("w", (2**40,), "<f4"), "not of shape"),
    (lambda file: file.create_dataset("w", data=np.ones(3, "<f4")), "not of shape"),
    (lambda file: file.create_dataset("w", data=np.ones((2, 1), "<f4")), "not of shape"),
    (lambda file: file.create_dataset("w", data=np.float32(1)), "not of shape"),
    (lambda file: file.create_dataset("w", data=np.ones(2, "<f8")), "not of type"),
    (lambda file: file.create_dataset("w", data=np.ones(2, ">f4")), "not of type"),
], ids=["missing", "group", "soft link", "external link", "chunked", "gzip", "filter", "external storage", "virtual",
        "never stored", "huge", "longer", "other shape", "scalar", "other type", "other byte order"])
def test_an_array_that_is_not_stored_plainly_is_refused(
        tmp_path: Path, build: Callable[[h5py.File], None], reason: str) -> None:
    forged(tmp_path / "run.h5", build)
    assert reason in refusal(tmp_path / "run.h5", {"w": ("<f4", (2,))})


def test_a_huge_array_that_is_listed_and_not_stored_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    forged(tmp_path / "run.h5", lambda file: file.create_dataset("w", (2**40,), "<f4"),
           lambda meta: meta | {"arrays": {"w": ["<f4", [2**40]]}})
    assert "not stored whole" in refusal(tmp_path / "run.h5", {"w": ("<f4", (2**40,))})


def test_arrays_that_are_larger_than_the_file_together_are_refused(tmp_path: Path) -> None:
    def build(file: h5py.File) -> None:
        file.create_dataset("w", data=np.ones(999, "<f4"))
        file["v"] = file["w"]

    manifest = {"w": ("<f4", (999,)), "v": ("<f4", (999,))}
    forged(tmp_path / "run.h5", build, lambda meta: meta | {"arrays": manifest})
    assert "larger than the file" in refusal(tmp_path / "run.h5", manifest)


@pytest.mark.parametrize("change", [
    lambda meta: [],
    lambda meta: meta | {"format": "other"},
    lambda meta: meta | {"format_version": 2},
    lambda meta: meta | {"facts": []},
    lambda meta: meta | {"facts": {"loss": float("nan")}},
    lambda meta: meta | {"facts": {"loss": float("inf")}},
    lambda meta: meta | {"more": 1},
    lambda meta: {name: meta[name] for name in meta if name != "arrays"},
    lambda meta: meta | {"arrays": {}},
    lambda meta: meta | {"arrays": meta["arrays"] | {"v": ["<f4", [2]]}},
    lambda meta: meta | {"arrays": {"w": ["<f4", [3]]}},
    lambda meta: meta | {"arrays": None},
], ids=["no object", "format", "version", "facts", "NaN", "infinity", "more", "less", "no array listed", "one more listed",
        "other shape listed", "no list"])
def test_facts_that_are_not_as_the_format_says_are_refused(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    forged(tmp_path / "run.h5", plain, change)
    assert "not a valid checkpoint" in refusal(tmp_path / "run.h5", {"w": ("<f4", (2,))})


@pytest.mark.parametrize("error", [ValueError("a wrong step"), TypeError("a wrong step"), KeyError("a wrong step")])
def test_what_the_caller_says_of_the_facts_is_the_verdict(path: Path, error: Exception) -> None:
    def describe(facts: dict[str, Any]) -> Any:
        raise error

    with pytest.raises(CheckpointError, match="a wrong step"):
        checkpoint.read(path, describe)


# Writing

def test_a_symbolic_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "links" / "latest.h5"
    link.parent.mkdir()
    link.symlink_to(path)
    checkpoint.write(link, ARRAYS, {"step": 4})
    assert link.is_symlink()
    assert read(path)[1] == {"step": 4}
    assert os.listdir(link.parent) == ["latest.h5"]


def test_permissions_are_those_of_any_new_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
        path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException) -> None:
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            checkpoint.write(path, ARRAYS, {"step": 4})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: Path, python: Callable) -> None:
    pytest.importorskip("resource")
    before = path.read_bytes()
    program = (f"import resource, numpy; from charrnn.storage import container as checkpoint\n"
               f"resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
               f"try: checkpoint.write({str(path)!r}, {{'w': numpy.zeros(9999)}}, {{}})\n"
               f"except OSError as error: print(error.strerror)")
    done = python("-c", program)
    assert (done.code, done.out, done.err) == (0, "File too large\n", "")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("facts", [{"loss": float("nan")}, {"what": object()}])
def test_facts_that_cannot_be_written_touch_nothing(path: Path, facts: dict[str, Any]) -> None:
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        checkpoint.write(path, ARRAYS, facts)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(path: Path, python: Callable, moment: str) -> None:
    before = path.read_bytes()
    program = (f"import os, signal; from charrnn.storage import container as checkpoint\n"
               f"os.{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
               f"checkpoint.write({str(path)!r}, {{}}, {{}})")
    assert python("-c", program).code == -signal.SIGKILL
    assert path.read_bytes() == before
    assert len(os.listdir(path.parent)) == 2
    checkpoint.write(path, ARRAYS, FACTS)
    assert os.listdir(path.parent) == [path.name]


@pytest.fixture
def process() -> Iterator[subprocess.Popen]:
    """A process that lives until its input ends."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def test_what_a_living_writer_writes_is_kept_until_it_is_dead(path: Path, process: subprocess.Popen) -> None:
    leftover = path.with_name(f".{path.name}.{process.pid}-0123abcd.tmp")
    leftover.touch()
    checkpoint.write(path, ARRAYS, FACTS)
    assert leftover.exists()
    process.kill()
    process.wait()
    checkpoint.write(path, ARRAYS, FACTS)
    assert not leftover.exists()


@pytest.mark.parametrize("name", [".other.h5.999999999-0123abcd.tmp", ".run.h5.backup.tmp", "run.h5.999999999-0123abcd.tmp",
                                  ".run.h5.999999999-0123abcd.txt", ".run.h5.-1-0123abcd.tmp"])
def test_files_of_others_are_kept(path: Path, name: str) -> None:
    (path.parent / name).touch()
    checkpoint.write(path, ARRAYS, FACTS)
    assert (path.parent / name).exists()


def test_a_name_that_looks_like_a_pattern_is_none(tmp_path: Path) -> None:
    other = tmp_path / ".a.h5.999999999-0123abcd.tmp"
    other.touch()
    checkpoint.write(tmp_path / "[ab].h5", ARRAYS, FACTS)
    assert other.exists()


# Pieces, and what is left in the file

def test_blocks_make_the_same_file_as_whole_arrays() -> None:
    blocks = {"parameters/w": [ARRAYS["parameters/w"][:1], ARRAYS["parameters/w"][1:]],
              "parameters/deep/b": ([value] for value in ARRAYS["parameters/deep/b"]),
              "vocabulary/codepoints": [np.empty(0, "<u4"), ARRAYS["vocabulary/codepoints"][::-1][::-1]]}
    blocks["parameters/deep/b"] = (np.array(block) for block in blocks["parameters/deep/b"])
    assert b"".join(checkpoint.to_pieces(MANIFEST, FACTS, blocks)) == checkpoint.to_bytes(ARRAYS, FACTS)


def test_blocks_are_taken_one_by_one(tmp_path: Path) -> None:
    alive = []

    def blocks() -> Iterator[np.ndarray]:
        for number in range(9):
            alive.append(number)
            yield np.full(1000, number, "<u2")

    size = 0
    for piece in checkpoint.to_pieces({"ids": ("<u2", (9000,))}, {}, {"ids": blocks()}):
        size += len(piece)
        assert len(alive) <= 1 + size // 2000
    assert len(alive) == 9


def test_what_fails_while_it_is_written_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    before = path.read_bytes()

    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise ValueError("and no more")

    with pytest.raises(ValueError, match="and no more"):
        atomic.write_pieces(path, pieces())
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_arrays_may_be_left_in_the_file(path: Path) -> None:
    arrays, facts = checkpoint.read(path, lambda facts: MANIFEST, mapped=["parameters/w"])
    assert facts == FACTS
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in ARRAYS.items()}
    assert [name for name, array in arrays.items() if isinstance(array, np.memmap)] == ["parameters/w"]
    path.unlink()
    assert arrays["parameters/w"].tobytes() == ARRAYS["parameters/w"].tobytes()


def test_the_digest_is_looked_at_unless_it_need_not(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(ARRAYS["parameters/w"].tobytes())] ^= 1
    path.write_bytes(data)
    assert "does not match its digest" in refusal(path)
    with pytest.raises(CheckpointError, match="does not match its digest"):
        checkpoint.read(path, lambda facts: MANIFEST, mapped=["parameters/w"])
    assert checkpoint.read(path, lambda facts: MANIFEST, verify=False)[1] == FACTS
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError):
        checkpoint.read(path, lambda facts: MANIFEST, verify=False)


def test_a_file_is_as_large_as_it_may_be(path: Path) -> None:
    size = path.stat().st_size - 64
    assert checkpoint.read(path, lambda facts: MANIFEST, size)
    with pytest.raises(CheckpointError, match=f"larger than {size - 1:,} bytes"):
        checkpoint.read(path, lambda facts: MANIFEST, size - 1)
