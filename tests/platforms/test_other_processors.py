"""Processors without AVX, such as those of ARM: the compiled kernels give the results of the reference."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import charrnn
from charrnn.nn.parallel import environment

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")

PROGRAM = Path(__file__).parent.parent / "support" / "other_processor.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the results of kernels that are compiled for a processor without any feature."""
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "PYTHONDONTWRITEBYTECODE": "1",
                   "NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("numba")),
                   "PYTHONPATH": str(Path(charrnn.__file__).parent.parent)}
    done = subprocess.run([sys.executable, PROGRAM], env=environment, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    return lines


def test_the_kernels_are_compiled_without_avx(found: list[dict[str, Any]]) -> None:
    assert not found[0]["bfloat16"]
    assert found[0]["columns"] == 16
    assert set(found[0]["registers"]) <= {"xmm"}, "the registers of AVX have 256 or 512 bits"


def test_their_results_are_those_of_the_reference(found: list[dict[str, Any]]) -> None:
    assert 0 < found[0]["difference"] < 3e-6


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles the code of another processor")
def test_the_tile_uses_vectors_of_an_arm_processor(found: list[dict[str, Any]]) -> None:
    """It is only compiled. Each step multiplies 3 rows by 16 columns, 4 at a time."""
    if len(found) < 2:
        pytest.skip("this LLVM cannot compile the tile for another processor")
    assert found[1]["multiply-adds"] >= 12
    assert found[1]["calls of fma"] == 0


def test_a_processor_whose_features_llvm_does_not_know_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.nn.kernels import tile

    def unknown() -> None:
        raise RuntimeError("failed to get host cpu features.")

    monkeypatch.setattr(tile.config, "CPU_FEATURES", None)
    assert tile._features() == {name for name, has_it in tile.binding.get_host_cpu_features().items() if has_it}
    monkeypatch.setattr(tile, "binding", SimpleNamespace(get_host_cpu_features=unknown))
    assert tile._features() == set()


def test_a_run_records_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """``resume`` then says that the last bits may differ."""
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert environment()["machine"] == "arm64"
