"""The speed of each kind of kernels on this machine, and the choice between them.

The first training on a machine measures this for about a second. The result is kept in ``speed.json`` in the cache folder,
for each combination of machine, number of threads and versions. If the file is missing or damaged, it is measured again.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn import __version__
from charrnn.config import ModelConfig, TrainConfig
from charrnn.cpu import blas
from charrnn.mpi import Ranks
from charrnn.nn.kernels import (
    VARIABLE,
    describe_kernels,
    has_bfloat16,
    kernels_name,
    reporting_compilation,
    resolve_precision,
)
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Team, default_threads
from charrnn.randomness import generator
from charrnn.storage.atomic import replace_file
from charrnn.storage.cache import cache_folder
from charrnn.training.events import CompilationStarted, OnEvent, SpeedMeasured, Warned
from charrnn.training.recipe import TYPICAL_SPEED, weight_count
from charrnn.training.run import Run

FILE = "speed.json"

_unwritten: dict[Path, dict[str, dict[str, float]]] = {}
"""The measurements of this process for files that cannot be written."""

_MODEL, _VOCABULARY, _SEQ_LEN = ModelConfig("lstm", 256), 65, 64
"""The network whose steps are timed. It is small, so that a measurement takes little time."""

_SECONDS, _LEAST_ROUNDS = 1.0, 3
_NAMES = ("reference", "compiled", "bfloat16")
_LEAST_GAIN = 1.05
"""The least speed-up for which bfloat16 is used."""


class Arithmetic(NamedTuple):
    """How a run computes: the name of its kernels, its precision, and its speed in operations per second of one core."""

    kernels: str
    precision: str
    speed: float


def choose_arithmetic(config: TrainConfig, needs_speed: bool, on_event: OnEvent, on_measured: OnEvent | None = None,
                      dtype: Any = np.float32) -> Arithmetic:
    """Return the fastest kernels and precision that ``config``, CHARRNN_KERNELS and the ``dtype`` of the weights allow.

    If there is only one choice, the speed is measured only if ``needs_speed`` is true; otherwise it is ``TYPICAL_SPEED``.
    ``on_measured``, by default ``on_event``, receives ``SpeedMeasured``. Raises ConfigError if the precision is not
    supported here.
    """
    with reporting_compilation(lambda: on_event(CompilationStarted())):
        return _choose(config, needs_speed, on_event, on_measured or on_event, np.dtype(dtype))


def _choose(config: TrainConfig, needs_speed: bool, on_event: OnEvent, on_measured: OnEvent, dtype: np.dtype) -> Arithmetic:
    best = kernels_name(dtype)
    precision = resolve_precision(config.precision, dtype, best)
    candidates = [best]
    if best == "compiled" and precision == "bfloat16":
        candidates = ["bfloat16"] if config.precision == "bfloat16" else ["compiled", "bfloat16"]
    if best == "compiled" and config.precision != "bfloat16" and not os.environ.get(VARIABLE):
        candidates.insert(0, "reference")
    if len(candidates) == 1 and not needs_speed:
        return Arithmetic(best, precision, TYPICAL_SPEED)
    speeds = _speeds(candidates, on_event, on_measured)
    rank = {name: speeds[name] / (_LEAST_GAIN if name == "bfloat16" else 1) for name in candidates}
    fastest = max(candidates, key=rank.__getitem__)
    kernels, precision = ("compiled", fastest) if fastest == "bfloat16" else (fastest, "float32")
    return Arithmetic(kernels, precision, speeds[fastest])


def leave_bfloat16(run: Run, on_event: OnEvent) -> None:
    """Change the precision of a run to float32, with a warning, if it is bfloat16 and not supported here."""
    network = run.model.network
    if run.config.precision == "bfloat16" and not has_bfloat16(kernels_name(network.dtype, network.kernels)):
        on_event(Warned("products in bfloat16 are not supported here; the run continues in float32"))
        run.config = replace(run.config, precision="float32")
        network.bfloat16 = False


def _speeds(names: list[str], on_event: OnEvent, on_measured: OnEvent) -> Mapping[str, float]:
    """Return the speed of each of ``names``, from the file of earlier measurements or measured now."""
    path, machine = cache_folder() / FILE, _machine()
    kept = _unwritten.get(path) or _read(path)
    known = kept.get(machine, {})
    if missing := [name for name in names if name not in known]:
        known = {**known, **measure(missing)}
        on_measured(SpeedMeasured(known))
        kept = {**kept, machine: known}
        try:
            replace_file(path, [json.dumps(kept, indent=1).encode()], create_folder=True)
        except OSError as error:
            if path not in _unwritten:
                on_event(Warned(f"{path}: cannot be written ({error.strerror or error}), so charrnn will measure the "
                                "speed of this machine again next time"))
            _unwritten[path] = kept
    return known


def measure(names: list[str]) -> dict[str, float]:
    """Return the floating-point operations per second of one core in a training step, for each of ``names``.

    They are "reference" and "compiled", kernels in float32, and "bfloat16", compiled kernels with products of bfloat16
    numbers. Only the operations in products of matrices count. CPU time is used, so other processes hardly matter.
    """
    batch_size = TrainConfig.batch_size
    threads = default_threads(batch_size)
    ids = (np.arange((_SEQ_LEN + 1) * batch_size, dtype=np.uint8) % _VOCABULARY).reshape(-1, batch_size)
    teams = {name: _team(name, threads) for name in names}
    seconds, rounds = dict.fromkeys(names, 0.0), 0
    for team in teams.values():  # compiles the kernels
        team.loss_and_gradients(ids[:-1], ids[1:], team.model.initial_state(batch_size))
    started = time.perf_counter()
    while time.perf_counter() - started < _SECONDS or rounds < _LEAST_ROUNDS:
        rounds += 1
        for name, team in teams.items():
            before = time.process_time()
            team.loss_and_gradients(ids[:-1], ids[1:], team.model.initial_state(batch_size))
            seconds[name] += time.process_time() - before
    operations = 6 * weight_count(_MODEL, _VOCABULARY) * batch_size * _SEQ_LEN * rounds
    return {name: operations / max(used, 1e-9) for name, used in seconds.items()}


def _team(name: str, threads: int) -> Team:
    model = CharRNN(_MODEL, _VOCABULARY, generator(1, "weights"))
    model.kernels, model.bfloat16 = ("compiled", True) if name == "bfloat16" else (name, False)
    team = Team(model, threads, Ranks())
    team.warm_up()
    return team


def _machine() -> str:
    """Return what identifies a measurement: machine, threads and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    return "; ".join((platform.node(), platform.machine(), model, f"{default_threads(TrainConfig.batch_size)} threads",
                      f"numpy {np.__version__}", blas(), describe_kernels(np.float32), f"charrnn {__version__}"))


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Return the measurements in a file; none if it is missing or damaged."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    is_valid = isinstance(kept, dict) and all(
        isinstance(speeds, dict) and all(name in _NAMES and type(speed) is float and 0 < speed < 1e18
                                         for name, speed in speeds.items())
        for speeds in kept.values())
    return kept if is_valid else {}
