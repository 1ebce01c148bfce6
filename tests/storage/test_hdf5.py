"""charrnn.storage.hdf5"""

from __future__ import annotations

from io import BufferedReader, BytesIO
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest
from forging import to_image
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from charrnn.storage.hdf5 import Image, checksum, layout

ARRAYS = {"parameters/w": np.arange(6, dtype="<f4").reshape(2, 3), "parameters/deep/b": np.array([-0.0, 1e-300]),
          "text": np.frombuffer(b"{}", np.uint8), "points": np.array([10, 97, 0x10FFFF], dtype="<u4")}

KINDS = st.tuples(st.sampled_from(["<f4", "<f8", "<u8", "<u4", "<u2", "|u1"]), st.lists(st.integers(0, 4), max_size=4))


def an_image(data: bytes) -> Image:
    return Image(BufferedReader(BytesIO(data)), len(data))  # type: ignore[arg-type]


def test_checksum() -> None:
    assert checksum(b"Four score and seven years ago") == 0x17770551  # from lookup3.c itself


@hypothesis_settings(max_examples=50)
@given(kinds=st.lists(KINDS, max_size=6), rng=st.randoms(use_true_random=False))
def test_the_hdf5_library_reads_what_is_written(kinds: list, rng: Random) -> None:
    arrays = {f"group{k % 3}/array{k}": np.frombuffer(rng.randbytes(np.empty(shape, dtype).nbytes), dtype).reshape(shape)
              for k, (dtype, shape) in enumerate(kinds)}
    data = to_image(arrays)
    found = an_image(data).find_all(arrays)
    with h5py.File(BytesIO(data)) as file:
        for name, array in arrays.items():
            assert (file[name].dtype, file[name].shape) == (array.dtype, array.shape)
            assert file[name][()].tobytes() == array.tobytes() == an_image(data).read(found[name]).tobytes()
            assert not file[name].attrs


def test_the_hdf5_library_goes_on_writing() -> None:
    image = BytesIO(to_image(ARRAYS))
    with h5py.File(image, "r+", libver=("v110", "v110")) as file:
        del file["parameters/w"]
        file["parameters"].attrs["a"] = "text"
        for k in range(99):
            file[f"parameters/more{k}"] = np.full(k, k)
    with h5py.File(image) as file:
        assert len(file["parameters"]) == 100
        np.testing.assert_array_equal(file["parameters/deep/b"], ARRAYS["parameters/deep/b"])


def test_many_arrays_in_one_group() -> None:
    arrays = {f"group/array{k}": np.full(2, k, "<f4") for k in range(1000)}
    data = to_image(arrays)
    image = an_image(data)
    found = image.find_all(arrays)
    with h5py.File(BytesIO(data)) as file:
        for name, array in arrays.items():
            assert image.read(found[name]).tolist() == file[name][()].tolist() == array.tolist()


def test_what_the_hdf5_library_writes_plainly_is_read() -> None:
    data = BytesIO()
    with h5py.File(data, "w", libver=("v110", "v110")) as file:
        for name, array in ARRAYS.items():
            file.create_dataset(name, data=array, track_times=name == "text")
    image = an_image(data.getvalue())
    for name, stored in image.find_all(ARRAYS).items():
        assert image.read(stored).tobytes() == ARRAYS[name].tobytes()


def test_the_same_arrays_give_the_same_bytes() -> None:
    turned = {name: np.asfortranarray(array) for name, array in reversed(ARRAYS.items())}
    assert to_image(turned) == to_image(ARRAYS)


@pytest.mark.parametrize(("names", "reason"), [
    ([*ARRAYS, "more"], "/more is missing"),
    ([*ARRAYS, "parameters/more"], "/parameters/more is missing"),
    (["text", "points", "parameters/w"], "/parameters/deep does not belong to it"),
    (["text", "points"], "/parameters does not belong to it"),
    (["text", "points", "parameters"], "/parameters is no dataset"),
    ([*ARRAYS, "text/more"], "/text is no plain group"),
])
def test_all_arrays_must_be_named(names: list[str], reason: str) -> None:
    if "text/more" in names:
        names.remove("text")
    with pytest.raises(ValueError, match=reason):
        an_image(to_image(ARRAYS)).find_all(names)


def test_every_cut_and_every_byte_of_metadata_ends_in_a_value_error_or_an_answer() -> None:
    data = to_image({"a/b": np.ones(2, "<f4")})
    for size in range(len(data)):
        with pytest.raises(ValueError, match="HDF5"):
            an_image(data[:size])
    for place in range(len(data)):
        for value in (0, 1, 2, 255, data[place] ^ 16):
            try:
                image = an_image(data[:place] + bytes([value]) + data[place + 1:])
                for stored in image.find_all(["a/b"]).values():
                    if stored.shape == (2,):
                        image.read(stored)
            except ValueError:
                pass


# Layouts and maps

WIDE = {"ids": np.arange(300, dtype="<u2"), "starts": np.array([0, 2**63], "<u8"), "bytes": np.arange(7, dtype="|u1"),
        "empty": np.empty(0, "<u8"), "points": np.array([1, 2**32 - 1], "<u4"), "deep/er/x": np.ones((2, 3), "<f8")}


def test_a_layout_says_where_each_arrays_bytes_belong() -> None:
    pieces = layout({name: (array.dtype.str, array.shape) for name, array in WIDE.items()})
    assert sorted(piece for piece in pieces if isinstance(piece, str)) == sorted(WIDE)
    data = b"".join(WIDE[piece].tobytes() if isinstance(piece, str) else piece for piece in pieces)
    assert data == to_image(WIDE)
    with h5py.File(BytesIO(data)) as file:
        for name, array in WIDE.items():
            assert (file[name].dtype.str, file[name][()].tolist()) == (array.dtype.str, array.tolist())


def test_what_is_mapped_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "image.h5"
    path.write_bytes(to_image(WIDE) + b"and more")
    with open(path, "rb") as file:
        image = Image(file, len(to_image(WIDE)))
        for name, stored in image.find_all(WIDE).items():
            mapped, read = image.map(stored), image.read(stored)
            assert (mapped.dtype, mapped.shape) == (read.dtype, read.shape)
            assert mapped.tobytes() == read.tobytes() == WIDE[name].tobytes()
            assert isinstance(mapped, np.memmap) == (name != "empty")
            assert not mapped.size or not mapped.flags.writeable
            assert read.flags.writeable
            assert not mapped.size or mapped.offset % 8 == 0


@pytest.mark.parametrize("change", [{"type": None}, {"shape": None}, {"place": None}])
def test_what_is_not_stored_plainly_is_not_mapped(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "image.h5"
    path.write_bytes(to_image(WIDE))
    with open(path, "rb") as file:
        image = Image(file, path.stat().st_size)
        with pytest.raises(ValueError, match="HDF5"):
            image.map(image.find("ids")._replace(**change))
