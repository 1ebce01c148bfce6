"""charrnn export"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import RUN, Cli, files, refused

from charrnn import load
from charrnn.inference.pytorch import state_dict

FILE = "new/model.safetensors"


def exported(path: str = FILE) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


@pytest.mark.parametrize("name", [RUN, RUN.name, RUN / "last.h5", "model.h5", "english"], ids=str)
def test_export_writes_the_weights_of_any_model(here: Path, cli: Cli, name: str) -> None:
    load(RUN).save("model.h5", dtype="float16")
    answer = cli("export", name, "-o", FILE)
    model = load(name)
    missing = "PyTorch has no layer-normalized LSTM with coupled gates; docs/pytorch.md defines it\n"
    assert (answer.code, answer.err) == (0, missing if model.network.config.cell == "lnlstm" else "")
    assert answer.out == (f"{FILE}: {model.network.parameters.flat.size:,} parameters of float32, "
                          f"{Path(FILE).stat().st_size:,} bytes\n")
    expected = state_dict(model)
    found = exported()
    assert found.keys() == expected.keys()
    for tensor, array in expected.items():
        np.testing.assert_array_equal(found[tensor], array)


def test_export_replaces_a_file_only_with_overwrite(here: Path, cli: Cli) -> None:
    Path("mine").write_text("mine")
    refused(cli("export", RUN, "-o", "mine"), "mine: already exists; ", "another file", "--overwrite")
    assert Path("mine").read_text() == "mine"
    assert cli("export", RUN, "--output", "mine", "--overwrite").code == 0
    assert len(exported("mine")) == 6


def test_export_without_a_file_name_says_so(here: Path, cli: Cli) -> None:
    refused(cli("export", RUN), "Missing option '-o' / '--output'")
    refused(cli("export"), "Missing argument 'RUN_OR_CHECKPOINT'")


def test_a_missing_or_damaged_model_is_one_line_and_writes_nothing(here: Path, cli: Cli) -> None:
    best = RUN / "best.h5"
    data = best.read_bytes()
    best.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    Path("cut.h5").write_bytes(data[:-9])
    Path("empty.h5").touch()
    before = files(here)
    refused(cli("export", RUN, "-o", FILE), "best.h5: not a valid checkpoint: ", "SHA-256")
    for name, words in {"cut.h5": "truncated", "empty.h5": "not a checkpoint", "notes.txt": "not a checkpoint",
                        "missing": "no such run or checkpoint"}.items():
        refused(cli("export", name, "-o", FILE), name, words)
    assert files(here) == before


@pytest.mark.parametrize("target", ["notes.txt/model", "checkpoints", ".", "", "x" * 300])
def test_a_target_that_cannot_be_written_is_one_line(here: Path, cli: Cli, target: str) -> None:
    before = files(here)
    refused(cli("export", RUN, "-o", target, "--overwrite"), target, "; ")
    assert files(here) == before


def test_a_file_name_cannot_control_the_terminal(here: Path, cli: Cli) -> None:
    answer = cli("export", RUN, "-o", "a\x1b[2J")
    assert answer.code == 0
    assert answer.out.startswith("a\\x1b[2J: ")
    refused(cli("export", RUN, "-o", "a\x1b[2J"), "a\\x1b[2J: already exists")


def test_export_without_safetensors_says_what_to_install(
        here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    refused(cli("export", RUN, "-o", FILE), "safetensors", "pip install '.[export]'")
    assert not Path(FILE).exists()
