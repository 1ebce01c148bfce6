"""charrnn.storage.container"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pytest
from forging import contents, edited, hdf5_places, image_of, meta_of, of_format_1, resigned, signed, with_arrays, with_meta
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import charrnn
from charrnn import __version__
from charrnn.errors import CheckpointError
from charrnn.storage import container as checkpoint

ARRAYS = {"parameters/w": np.arange(6, dtype="<f4").reshape(2, 3), "parameters/deep/b": np.array([-0.0, 1e-300]),
          "vocabulary/codepoints": np.array([10, 97, 0x10FFFF], dtype="<u4")}
METADATA = {"step": 3, "names": ["café", None, True], "loss": 0.1}
MANIFEST: checkpoint.Manifest = {name: (array.dtype.str, array.shape) for name, array in ARRAYS.items()}
DATA = checkpoint.to_bytes(ARRAYS, METADATA)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(st.none() | st.booleans() | st.integers(-2**63, 2**63 - 1) | FINITE | st.text(),
                    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3))
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
DTYPES = st.sampled_from(["<f2", "<f4", "<f8", "<u1", "<u2", "<u4", "<u8"])


def read(path: Path, manifest: checkpoint.Manifest = MANIFEST, **options: Any
         ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return checkpoint.read(path, lambda metadata: manifest, **options)


def refusal(path: Path, data: bytes | None = None, manifest: checkpoint.Manifest = MANIFEST, **options: Any) -> str:
    """Return the error message for a file."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        read(path, manifest, **options)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    checkpoint.write(path, ARRAYS, METADATA)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a file that the examples of a property overwrite."""
    return tmp_path_factory.mktemp("examples") / "run.h5"


def to_values(arrays: dict[str, np.ndarray]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}


# Saving and loading

def test_saved_arrays_and_metadata_are_loaded_again(path: Path) -> None:
    arrays, metadata = read(path)
    assert metadata == METADATA
    assert to_values(arrays) == to_values(ARRAYS)
    assert all(array.flags.writeable for array in arrays.values())


@hypothesis_settings(max_examples=40)
@given(metadata=st.dictionaries(st.text(), JSON, max_size=4), rng=st.randoms(use_true_random=False),
       kinds=st.lists(st.tuples(DTYPES, SHAPES), max_size=4))
def test_arrays_and_metadata_are_restored_to_the_last_bit(scratch: Path, metadata: dict, rng: Random, kinds: list) -> None:
    arrays = {f"group{k % 2}/array{k}": np.frombuffer(rng.randbytes(np.empty(shape, dtype).nbytes), dtype).reshape(shape)
              for k, (dtype, shape) in enumerate(kinds)}
    manifest = {f"group{k % 2}/array{k}": kind for k, kind in enumerate(kinds)}
    checkpoint.write(scratch, arrays, metadata)
    for mapped in ((), arrays):
        found, found_metadata = read(scratch, manifest, mapped=mapped)
        assert found_metadata == metadata
        assert to_values(found) == to_values(arrays)
    assert checkpoint.read_metadata(scratch, lambda _: manifest) == metadata
    assert to_values(contents(scratch.read_bytes())[0]) == to_values(arrays)


def test_the_same_content_gives_the_same_bytes() -> None:
    turned = {name: np.asfortranarray(array).astype(array.dtype.newbyteorder(">")) for name, array in
              reversed(ARRAYS.items())}
    assert checkpoint.to_bytes(turned, dict(reversed(METADATA.items()))) == DATA


def test_any_hdf5_tool_opens_the_file(path: Path) -> None:
    with h5py.File(path) as file:
        assert set(file) == {"meta", "parameters", "vocabulary"}
        for name, array in ARRAYS.items():
            assert file[name][...].tobytes() == array.tobytes()
            assert not file[name].attrs
        meta = file["meta"][()].decode()
    offset, length = meta_of(DATA)
    assert meta == DATA[offset:offset + length].decode()
    assert contents(DATA)[1] == {
        "format": "charrnn", "format_version": 2, "charrnn": charrnn.__version__, "metadata": METADATA,
        "arrays": {name: [array.dtype.str, list(array.shape), contents(DATA)[1]["arrays"][name][2]]
                   for name, array in ARRAYS.items()}}


def test_only_the_first_save_imports_h5py(path: Path, python: Callable) -> None:
    """So a hostile file never reaches the HDF5 library, and loading starts fast."""
    program = (f"import sys; from charrnn.storage import container as checkpoint\n"
               f"arrays, metadata = checkpoint.read({str(path)!r}, lambda metadata: {MANIFEST!r})\n"
               f"print('h5py' in sys.modules)\n"
               f"checkpoint.write({str(path)!r}, arrays, metadata); print('h5py' in sys.modules)")
    assert python("-c", program) == (0, "False\nTrue\n", "")
    assert path.read_bytes() == DATA


def test_some_of_the_arrays_are_read_and_the_whole_file_is_verified(path: Path) -> None:
    some = {name: entry for name, entry in MANIFEST.items() if name.startswith("parameters/")}
    arrays, metadata = read(path, some, partial=True)
    assert (list(arrays), metadata) == (["parameters/w", "parameters/deep/b"], METADATA)
    assert "does not contain the arrays" in refusal(path, None, some)
    assert "does not contain the arrays" in refusal(path, None, {**some, "parameters/other": ("<f4", (1,))}, partial=True)
    data = with_arrays(DATA, {}, contents(DATA)[1])
    place = data.index(ARRAYS["vocabulary/codepoints"].tobytes())
    assert "SHA-256" in refusal(path, data[:place] + b"x" + data[place + 1:], some, partial=True)
    meta = contents(DATA)[1]
    meta["arrays"]["parameters/w"][2] += 1
    assert "parameters/w: offset" in refusal(path, with_meta(DATA, meta), some, partial=True)


def test_mapped_arrays_stay_in_the_file(path: Path) -> None:
    arrays, metadata = read(path, mapped=["parameters/w"])
    assert metadata == METADATA
    assert to_values(arrays) == to_values(ARRAYS)
    assert [name for name, array in arrays.items() if isinstance(array, np.memmap)] == ["parameters/w"]
    assert not arrays["parameters/w"].flags.writeable
    path.unlink()
    assert arrays["parameters/w"].tobytes() == ARRAYS["parameters/w"].tobytes()


@pytest.mark.parametrize(("metadata", "error"), [
    ({"loss": float("nan")}, ValueError), ({"what": object()}, TypeError), ({"names": "x" * 13 * 2**20}, OSError),
    ({"history": [0] * 600_000}, OSError)])
def test_metadata_that_cannot_be_stored_leaves_the_old_file(path: Path, metadata: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        checkpoint.write(path, ARRAYS, metadata)
    assert path.read_bytes() == DATA
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("array", [np.zeros(2, "<i4"), np.zeros(2, bool), np.zeros(2, complex), np.array(["a"]),
                                   np.array([None])])
def test_arrays_that_cannot_be_stored_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="/w: unsupported dtype"):
        checkpoint.to_bytes({"w": array}, {})


# Pieces

def test_blocks_give_the_same_file_as_whole_arrays() -> None:
    w, b, points = ARRAYS.values()
    blocks = {"parameters/w": [w[:1], w[1:]], "parameters/deep/b": (np.array(value) for value in b),
              "vocabulary/codepoints": [np.empty(0, "<u4"), points[::-1][::-1]]}
    assert b"".join(checkpoint.to_pieces(MANIFEST, METADATA, blocks)) == DATA


def test_blocks_are_consumed_one_by_one() -> None:
    taken = []

    def blocks() -> Iterator[np.ndarray]:
        for number in range(9):
            taken.append(number)
            yield np.full(1000, number, "<u2")

    size = 0
    for piece in checkpoint.to_pieces({"ids": ("<u2", (9000,))}, {}, {"ids": blocks()}):
        size += len(piece)
        assert len(taken) <= 1 + size // 2000
    assert len(taken) == 9


@pytest.mark.parametrize("count", [0, 8, 10])
def test_blocks_that_do_not_add_up_are_an_error(count: int) -> None:
    with pytest.raises(ValueError, match=rf"/ids: {count} bytes of values instead of 9"):
        b"".join(checkpoint.to_pieces({"ids": ("<u1", (9,))}, {}, {"ids": [np.zeros(count, "<u1")]}))


# Damage

def test_a_changed_byte_is_detected(path: Path) -> None:
    with path.open("r+b", buffering=0) as file:
        for place in range(len(DATA)):
            os.pwrite(file.fileno(), bytes([DATA[place] ^ 1 << place % 8]), place)
            refusal(path)
            os.pwrite(file.fileno(), DATA[place:place + 1], place)
    read(path)


def test_truncation_is_detected(path: Path) -> None:
    for size in (*range(len(DATA) - 1, len(DATA) - 100, -1), *range(len(DATA) - 100, -1, -19), 1, 0):
        os.truncate(path, size)
        assert ("invalid footer: the file is truncated or modified" if size >= 4 else "not a checkpoint") in refusal(path)


@hypothesis_settings(max_examples=100)
@given(data=st.data())
def test_added_removed_and_swapped_bytes_are_detected(scratch: Path, data: st.DataObject) -> None:
    first, last = sorted(data.draw(st.lists(st.integers(0, len(DATA)), min_size=2, max_size=2, unique=True)))
    start, middle, end = DATA[:first], DATA[first:last], DATA[last:]
    damaged = data.draw(st.sampled_from([start + data.draw(st.binary(min_size=1, max_size=99)) + middle + end, start + end,
                                         end + middle + start, start + middle[::-1] + end]))
    scratch.write_bytes(damaged)
    if damaged == DATA:
        read(scratch)
    else:
        refusal(scratch)


def test_the_digest_is_compared_unless_verification_is_off(path: Path) -> None:
    place = DATA.index(ARRAYS["parameters/w"].tobytes())
    damaged = DATA[:place] + b"x" + DATA[place + 1:]
    assert refusal(path, damaged).endswith("SHA-256 mismatch: the file is damaged")
    assert "SHA-256 mismatch" in refusal(path, damaged, mapped=["parameters/w"])
    assert read(path, verify=False)[1] == checkpoint.read_metadata(path, lambda metadata: MANIFEST) == METADATA
    refusal(path, damaged[:-1], verify=False)


# Other files

@pytest.mark.parametrize("content", [
    b"", b"x", b"some text\n" * 99, DATA[-80:-1], DATA[-79:], DATA[-48:], DATA[-80:-72] + DATA[-8:]])
def test_other_kinds_of_file_are_refused(path: Path, content: bytes) -> None:
    assert refusal(path, content) == f"{path}: not a checkpoint or model file of charrnn"


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n\x03" + bytes(200), image_of(DATA)])
def test_hdf5_files_without_a_footer_are_refused(path: Path, content: bytes) -> None:
    assert refusal(path, content) == f"{path}: not a valid checkpoint: invalid footer: the file is truncated or modified"


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.h5")
    assert "not a regular file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.h5")
    assert "not a regular file" in refusal(tmp_path / "pipe.h5")


def test_other_versions_are_named(path: Path) -> None:
    this = f"(charrnn {charrnn.__version__} supports version 2)"
    assert refusal(path, of_format_1(image_of(DATA))) == f"{path}: unsupported format version 1 {this}; retrain the model"
    assert refusal(path, signed(image_of(DATA), meta_of(DATA), version=3)) == (
        f"{path}: unsupported format version 3 {this}; update charrnn")


def test_running_out_of_memory_is_reported_on_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", empty)
    assert "out of memory" in refusal(path)


def test_a_file_that_is_truncated_while_it_is_read_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = checkpoint.check_index

    def check_and_cut(*arguments: Any) -> Any:
        os.truncate(path, 100)
        return check(*arguments)

    monkeypatch.setattr(checkpoint, "check_index", check_and_cut)
    assert "the file was truncated while it was read" in refusal(path)


# Forged files with a correct SHA-256: footer, metadata, index

INVALID = "invalid footer: the file is truncated or modified"
FORGERIES: dict[str, tuple[bytes, str]] = {
    "magic": (signed(image_of(DATA), meta_of(DATA), magic=b"charrnn\1"), "invalid footer"),
    "end mark": (signed(image_of(DATA), meta_of(DATA), end=b"end\n\n\x1a\n\0"), "invalid footer"),
    "zero": (signed(image_of(DATA), meta_of(DATA), zero=1), INVALID),
    "length": (signed(image_of(DATA), meta_of(DATA), length=len(DATA)), INVALID),
    "more behind": (DATA[:-80] + b"more" + DATA[-80:], INVALID),
    "meta beyond the end": (signed(image_of(DATA), (len(DATA), 10)), "/meta: outside the file"),
    "meta into the footer": (signed(image_of(DATA), (meta_of(DATA)[0], len(DATA))), "/meta: outside the file"),
    "meta at 2**64 - 8": (signed(image_of(DATA), (2**64 - 8, 16)), "/meta: outside the file"),
    "meta of 2**63": (signed(image_of(DATA), (0, 2**63)), "/meta: larger than 12,582,912 bytes"),
    "meta of nothing": (signed(image_of(DATA), (8, 0)), "invalid JSON in the metadata"),
    "meta too short": (signed(image_of(DATA), (meta_of(DATA)[0], meta_of(DATA)[1] - 1)), "invalid JSON in the metadata"),
    "meta of HDF5": (signed(image_of(DATA), (0, 96)), "invalid JSON in the metadata"),
}
TEXTS: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (b'"\xff"', "invalid JSON in the metadata"),
    "not JSON": (b"{'a': 1}", "invalid JSON in the metadata"),
    "deep": (b"[" * 100_000, "nesting too deep in the metadata"),
    "many values": (b"[" + b"0," * 2**19 + b"0,0]", "too many values in the metadata"),
    "NaN": (b"[NaN]", "NaN in the metadata"),
    "infinity": (b"[-Infinity]", "-Infinity in the metadata"),
    "a long integer": (b"[" + b"1" * 21 + b"]", "integer with too many digits in the metadata"),
    "a duplicate key": (b'{"format": "charrnn", "format": "charrnn"}', "duplicate key in the metadata"),
    "a duplicate key inside": (b'{"metadata": {"a": 1, "a": 1}}', "duplicate key in the metadata"),
    "a list": (b"[]", "missing or unknown keys in the metadata"),
}
META = contents(DATA)[1]
METAS: dict[str, tuple[Any, str]] = {
    **{f"{name} missing": ({key: META[key] for key in META if key != name}, "missing or unknown keys") for name in META},
    "one more key": (META | {"more": 1}, "missing or unknown keys in the metadata"),
    "format": (META | {"format": "other"}, "invalid format or version in the metadata"),
    "version": (META | {"format_version": 1}, "invalid format or version in the metadata"),
    "program": (META | {"charrnn": 1}, "invalid format or version in the metadata"),
    "metadata": (META | {"metadata": []}, "metadata is not a JSON object"),
    "no index": (META | {"arrays": None}, "the index does not contain"),
    "offset": (META | {"arrays": META["arrays"] | {"parameters/w": ["<f4", [2, 3], 2**40]}}, "/parameters/w: outside"),
    "array over meta": (META | {"arrays": META["arrays"] | {"parameters/w": ["<f4", [2, 3], len(DATA) // 8 * 8 - 96]}},
                        "/parameters/w: overlaps /meta"),
}


@pytest.mark.parametrize(("data", "reason"), [
    *FORGERIES.values(), *((with_meta(DATA, text), reason) for text, reason in TEXTS.values()),
    *((with_meta(DATA, meta), reason) for meta, reason in METAS.values())], ids=[*FORGERIES, *TEXTS, *METAS])
def test_a_forged_file_is_refused_even_without_verification(path: Path, data: bytes, reason: str) -> None:
    for verify in (True, False):
        assert f"{path}: not a valid checkpoint: {reason}" in refusal(path, data, verify=verify)
    with pytest.raises(CheckpointError):
        checkpoint.read_metadata(path, lambda metadata: MANIFEST)


def test_an_array_that_the_file_cannot_contain_is_not_allocated(path: Path) -> None:
    huge: checkpoint.Manifest = {**MANIFEST, "parameters/w": ("<f4", (2**40,))}
    meta = META | {"arrays": META["arrays"] | {"parameters/w": ["<f4", [2**40], META["arrays"]["parameters/w"][2]]}}
    assert "/parameters/w: shape is" in refusal(path, DATA, huge)
    assert "/parameters/w: outside the file" in refusal(path, with_meta(DATA, meta), huge)


@pytest.mark.parametrize("error", [ValueError("a wrong step"), TypeError("a wrong step"), KeyError("a wrong step")])
def test_the_caller_validates_the_metadata(path: Path, error: Exception) -> None:
    def expected(metadata: dict[str, Any]) -> checkpoint.Manifest:
        assert metadata == METADATA
        raise error

    for load in (checkpoint.read, checkpoint.read_metadata):
        with pytest.raises(CheckpointError, match=r"not a valid checkpoint: a wrong step$"):
            load(path, expected)  # type: ignore[operator]
    path.write_bytes(with_meta(DATA, META | {"charrnn": "9.8"}))
    with pytest.raises(CheckpointError, match=rf"a wrong step \(written by charrnn 9.8, this is {__version__}\)$"):
        checkpoint.read(path, expected)


def test_a_file_can_be_as_large_as_the_limit(path: Path) -> None:
    size = len(image_of(DATA))
    assert read(path, largest=size)
    assert checkpoint.read_metadata(path, lambda metadata: MANIFEST, size)
    assert f"larger than {size - 1:,} bytes" in refusal(path, largest=size - 1)


# The HDF5 part of the file, which is not parsed

def test_the_structures_of_hdf5_are_not_used(path: Path) -> None:
    data = bytearray(DATA)
    for place in hdf5_places(DATA):
        data[place] ^= 255
    path.write_bytes(resigned(bytes(data)))
    arrays, metadata = read(path)
    assert (to_values(arrays), metadata) == (to_values(ARRAYS), METADATA)


def elsewhere(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, 3), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "parameters/w", (2, 3))
    file.create_virtual_dataset("v", layout)


@pytest.mark.parametrize("edit", [
    elsewhere,
    lambda file: file.__setitem__("v", h5py.ExternalLink("other.h5", "w")),
    lambda file: file.create_dataset("v", (2,), "<f4", external=[("/dev/zero", 0, 8)]),
    lambda file: file.create_dataset("v", data=np.zeros(10**6), compression="gzip"),
    lambda file: file.attrs.__setitem__("a", "text of variable length")],
    ids=["virtual", "external link", "external storage", "filter", "attribute"])
def test_other_content_of_hdf5_is_not_loaded(path: Path, edit: Callable[[h5py.File], Any], python: Callable) -> None:
    path.write_bytes(edited(DATA, edit))
    program = (f"import sys; from charrnn.storage import container as checkpoint\n"
               f"opened = []; sys.addaudithook(lambda what, details: what == 'open' and opened.append(details[0]))\n"
               f"arrays, metadata = checkpoint.read({str(path)!r}, lambda metadata: {MANIFEST!r})\n"
               f"print([str(name) for name in opened if not isinstance(name, int)], metadata['step'])")
    assert python("-c", program) == (0, f"{[str(path)]} 3\n", "")
    assert to_values(read(path)[0]) == to_values(ARRAYS)


def test_footer_fields_are_where_the_documentation_says() -> None:
    magic, version, zero, length, offset, size, _, end = struct.unpack("<8sIIQQQ32s8s", DATA[-80:])
    assert (magic, version, zero, length, end) == (b"charrnn\0", 2, 0, len(DATA) - 80, b"end\r\n\x1a\n\0")
    assert resigned(DATA) == DATA
    assert DATA[offset:offset + size].startswith(b'{"arrays":{"parameters/deep/b":["<f8",[2],')
