"""charrnn.storage.layout"""

from __future__ import annotations

import hashlib
import math
import signal
from collections.abc import Callable
from io import BytesIO
from random import Random
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from charrnn.storage.layout import Manifest, Recorder, check_index, lay_out

DTYPES = ["<f2", "<f4", "<f8", "<u1", "<u2", "<u4", "<u8"]
MANIFESTS = st.dictionaries(st.from_regex(r"(g[0-9]{1,30}/){0,3}a[0-9]{1,30}", fullmatch=True), st.tuples(
    st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=4).map(tuple)), max_size=12)
GOLDEN: Manifest = {"parameters/layer0/w_x": ("<f4", (65, 256)), "parameters/layer0/b": ("<f4", (256,)),
                    "state/layer0/hidden": ("<f8", (3, 64)), "ids": ("<u2", (12_345_678_901,)), "starts": ("<u8", (0,)),
                    "half": ("<f2", (7,)), "bytes": ("<u1", ()), **{f"many/a{k:03}": ("<u4", (k,)) for k in range(300)}}


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def text_of(index: dict[str, list[Any]]) -> bytes:
    return repr(index).encode()


@hypothesis_settings(max_examples=50)
@given(manifest=MANIFESTS, rng=st.randoms(use_true_random=False))
def test_h5py_finds_the_arrays_where_the_index_says(manifest: Manifest, rng: Random) -> None:
    layout = lay_out(manifest, text_of)
    index = eval(layout.text)
    assert index.keys() == manifest.keys()
    data = bytearray(layout.image.between(0, layout.image.size))
    values = {name: rng.randbytes(size_of(*kind)) for name, kind in manifest.items()}
    for name, (dtype, shape, offset) in index.items():
        assert (dtype, tuple(shape)) == manifest[name]
        data[offset:offset + len(values[name])] = values[name]
    offset, size = layout.extents["meta"]
    data[offset:offset + size] = layout.text
    check_index(index, manifest, False, len(data), layout.extents["meta"])
    with h5py.File(BytesIO(data)) as file:
        assert file["meta"][()] == layout.text
        for name, (dtype, shape) in manifest.items():
            assert (file[name].dtype, file[name].shape) == (np.dtype(dtype), shape)
            assert file[name][()].tobytes() == values[name]
            assert not file[name].attrs


def test_a_layout_has_the_same_bytes_with_every_version_of_hdf5() -> None:
    """If this fails with a new version of h5py or HDF5, it writes other bytes; old files can still be loaded."""
    layout = lay_out(GOLDEN, text_of)
    found, position = hashlib.sha256(layout.text), 0
    for offset, size in [*sorted(layout.extents.values()), (layout.image.size, 0)]:
        found.update(layout.image.between(position, offset))
        position = offset + size
    assert found.hexdigest() == "49431ba41172f9110f7fa78bd0e5140636f9f0a0eee47c81557d3b2a3221a19e"


def test_the_order_of_the_manifest_and_global_settings_of_h5py_do_not_matter() -> None:
    def laid_out(manifest: Manifest) -> tuple[bytes, Any]:
        layout = lay_out(manifest, text_of)
        return layout.image.between(0, 10_000), layout[1:]

    before = laid_out(GOLDEN)
    h5py.get_config().track_order = True
    try:
        assert laid_out(dict(reversed(GOLDEN.items()))) == before
    finally:
        h5py.get_config().track_order = False


def test_the_length_of_the_text_does_not_move_the_arrays() -> None:
    short, long = (lay_out(GOLDEN, lambda index, size=size: bytes(size)) for size in (1, 100_000))
    assert {**long.extents, "meta": 0} == {**short.extents, "meta": 0}


def test_values_take_no_memory() -> None:
    layout = lay_out({"ids": ("<u1", (2**40,)), "starts": ("<u8", (2**37,))}, text_of)
    assert layout.image.size > 2**41
    assert len(layout.image._pages) < 10


def test_a_token_file_is_written_in_the_order_in_which_its_values_are_produced() -> None:
    for documents in (1, 10**9):
        extents = lay_out({"ids": ("<u1", (10**9,)), "starts": ("<u8", (documents,)),
                           "vocabulary/codepoints": ("<u4", (99,))}, text_of).extents
        assert sorted(extents, key=lambda name: extents[name]) == ["ids", "starts", "vocabulary/codepoints", "meta"]


@pytest.mark.parametrize("dtype", [">f4", "<i4", "|b1", "<c8", "|O", "|S4", "float32", "|u1"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match="/w: unsupported dtype"):
        lay_out({"w": (dtype, (2,))}, text_of)


def test_an_interrupt_waits_until_hdf5_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised in a callback from HDF5, a KeyboardInterrupt would become a SystemError."""
    before = lay_out(GOLDEN, text_of).text
    write, sent = Recorder.write, []

    def interrupted(self: Recorder, data: Any) -> int:
        if not sent:  # a second interrupt could come after this test
            sent.append(True)
            signal.raise_signal(signal.SIGINT)
        return write(self, data)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                lay_out({"w": ("<f4", (2,))}, text_of)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert lay_out(GOLDEN, text_of).text == before


@hypothesis_settings(max_examples=100)
@given(data=st.data())
def test_a_recorder_behaves_like_a_file(data: st.DataObject) -> None:
    recorder, file = Recorder(), BytesIO()
    for _ in range(data.draw(st.integers(1, 9))):
        offset, size = data.draw(st.integers(0, 9000)), data.draw(st.integers(0, 9000))
        assert recorder.seek(offset) == file.seek(offset) == recorder.tell()
        if data.draw(st.booleans()):
            written = bytes([data.draw(st.integers(1, 255))]) * size
            if size:  # only then does BytesIO grow
                assert recorder.write(written) == file.write(written)
        else:
            assert recorder.read(size).ljust(size, b"\0") == file.read(size).ljust(size, b"\0")
        recorder.seek(0, 2)
        assert recorder.tell() == recorder.seek(0, 1) == file.seek(0, 2)
    assert recorder.between(0, recorder.size) == file.getvalue()


# The index of a file

MANIFEST: Manifest = {"a": ("<f4", (2, 3)), "b": ("<u1", (8,)), "none": ("<f8", (0,))}
INDEX = {"a": ["<f4", [2, 3], 96], "b": ["<u1", [8], 128], "none": ["<f8", [0], 0]}
LENGTH, META = 240, (200, 40)


def changed(name: str, *entry: Any) -> dict[str, Any]:
    return {**INDEX, name: list(entry)}


def test_a_valid_index_is_accepted() -> None:
    arrays = check_index(INDEX, MANIFEST, False, LENGTH, META)
    assert {name: [*stored] for name, stored in arrays.items()} == {
        "a": ["<f4", (2, 3), 96, 24], "b": ["<u1", (8,), 128, 8], "none": ["<f8", (0,), 0, 0]}


@pytest.mark.parametrize("offset", [0, 88, 120, 136, 176, 192])
def test_an_array_can_be_wherever_there_is_room(offset: int) -> None:
    assert check_index(changed("b", "<u1", [8], offset), MANIFEST, False, LENGTH, META)["b"].offset == offset


@pytest.mark.parametrize(("index", "reason"), [
    (None, "the index does not contain"),
    ([], "the index does not contain"),
    ({}, "the index does not contain"),
    ({"a": INDEX["a"], "b": INDEX["b"]}, "the index does not contain"),
    ({**INDEX, "more": ["<f4", [1], 0]}, "the index does not contain"),
    ({**INDEX, "a": None}, "/a: invalid entry"),
    ({**INDEX, "a": {"0": 0, "1": 1, "2": 2}}, "/a: invalid entry"),
    (changed("a", "<f4", [2, 3]), "/a: invalid entry"),
    (changed("a", "<f4", [2, 3], 96, 24), "/a: invalid entry"),
    (changed("a", "<f4", [2, 3], 96.0), "/a: invalid entry"),
    (changed("a", "<f4", [2, 3], "96"), "/a: invalid entry"),
    (changed("none", "<f8", [0], False), "/none: invalid entry"),
    (changed("a", "<f4", [2, 3], None), "/a: invalid entry"),
    (changed("a", "<u4", [2, 3], 96), "/a: dtype is <u4, not <f4"),
    (changed("a", ">f4", [2, 3], 96), "/a: dtype is >f4, not <f4"),
    (changed("a", None, [2, 3], 96), "/a: dtype is None, not <f4"),
    (changed("a", "<f4", [3, 2], 96), r"/a: shape is \[3, 2\], not \[2, 3\]"),
    (changed("a", "<f4", [6], 96), r"/a: shape is \[6\], not \[2, 3\]"),
    (changed("a", "<f4", [2, 3, 1], 96), r"/a: shape is \[2, 3, 1\], not \[2, 3\]"),
    (changed("a", "<f4", "23", 96), r"/a: shape is 23, not \[2, 3\]"),
    (changed("b", "<u1", [9], 128), r"/b: shape is \[9\], not \[8\]"),
    (changed("a", "<f4", [2, 3], 100), "/a: offset is not a multiple of 8"),
    (changed("b", "<u1", [8], 129), "/b: offset is not a multiple of 8"),
    (changed("a", "<f4", [2, 3], -8), "/a: outside the file"),
    (changed("a", "<f4", [2, 3], -(2**63)), "/a: outside the file"),
    (changed("none", "<f8", [0], -8), "/none: outside the file"),
    (changed("b", "<u1", [8], 240), "/b: outside the file"),  # in the footer
    (changed("a", "<f4", [2, 3], 224), "/a: outside the file"),  # ends in the footer
    (changed("b", "<u1", [8], 2**63), "/b: outside the file"),
    (changed("b", "<u1", [8], 2**64 - 8), "/b: outside the file"),
    (changed("none", "<f8", [0], 248), "/none: outside the file"),
    (changed("b", "<u1", [8], 96), "/b: overlaps /a"),
    (changed("b", "<u1", [8], 112), "/a: overlaps /b"),
    (changed("a", "<f4", [2, 3], 112), "/a: overlaps /b"),
    (changed("b", "<u1", [8], 200), "/b: overlaps /meta"),
    (changed("b", "<u1", [8], 232), "/meta: overlaps /b"),
    (changed("a", "<f4", [2, 3], 184), "/a: overlaps /meta"),
])
def test_an_invalid_index_is_refused(index: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        check_index(index, MANIFEST, False, LENGTH, META)


def test_a_large_array_over_several_others_is_refused() -> None:
    manifest: Manifest = {"a": ("<u1", (40,)), "b": ("<u1", (8,)), "c": ("<u1", (8,))}
    index = {"a": ["<u1", [40], 0], "b": ["<u1", [8], 8], "c": ["<u1", [8], 24]}
    with pytest.raises(ValueError, match="/a: overlaps /b"):
        check_index(index, manifest, False, LENGTH, META)


@pytest.mark.parametrize("build", [lambda name: f"{name}/more", lambda name: name.partition("/")[0], lambda name: "meta"])
def test_names_that_exclude_each_other_are_refused(build: Callable[[str], str]) -> None:
    with pytest.raises((ValueError, OSError, KeyError, RuntimeError)):
        lay_out({"group/a": ("<f4", (1,)), build("group/a"): ("<f4", (2,))}, text_of)
