"""Calls of the public Python interface with invalid arguments raise an error that names the fault; none crashes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import invalid_calls
import numpy as np
import pytest

import charrnn
from charrnn import ModelConfig, TrainConfig

ALLOWED = {"ValueError", "TypeError", "IndexError", "KeyError", "FileNotFoundError",
           *(cls.__name__ for cls in (charrnn.CharRNNError, *charrnn.CharRNNError.__subclasses__()))}


@pytest.mark.parametrize("kernels", ["reference", pytest.param("compiled", marks=pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed"))])
def test_invalid_arguments_raise_an_error_that_names_the_fault(kernels: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, invalid_calls.__file__], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "CHARRNN_KERNELS": kernels, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, f"ended by {done.stderr.splitlines()[-1]}"
    results = json.loads(done.stdout)
    expected = invalid_calls.all_calls()
    assert len(expected) > 500
    assert [expression for expression, *_ in results] == [expression for expression, _ in expected]
    wrong = [f"{expression} -> {kind or 'no error'}: {message!r} does not name {fault!r}"
             for (expression, kind, message), (_, fault) in zip(results, expected)
             if kind not in ALLOWED or not re.search(fault, message)]
    assert not wrong, "\n".join(wrong)


def test_every_public_name_is_called() -> None:
    called = "\n".join(expression for expression, _ in invalid_calls.all_calls())
    not_called = {"CharRNNError", "Evaluation", "Score"}  # results and errors, whose arguments are not validated
    assert {name for name in charrnn.__all__ if not re.search(rf"\b{name}\b", called)} == not_called


def test_settings_may_be_numpy_numbers() -> None:
    config = ModelConfig(hidden_size=np.int64(128), dropout=np.float32(0.5))
    assert (config.hidden_size, config.dropout) == (128, 0.5)
    assert (type(config.hidden_size), type(config.dropout)) == (int, float)
    assert TrainConfig(steps=np.uint8(3), learning_rate=np.float64(0.1)) == TrainConfig(steps=3, learning_rate=0.1)
