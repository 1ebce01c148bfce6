"""The contents of a run's checkpoint, and their validation.

A file may come from anywhere and contain anything, so everything is validated before it is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import ModelConfig, TextConfig, TrainConfig, from_dict, to_dict
from charrnn.errors import ConfigError, CorpusError
from charrnn.inference import language_model
from charrnn.nn.cells import CELLS
from charrnn.nn.model import parameter_shapes
from charrnn.storage import container
from charrnn.storage.container import Manifest
from charrnn.storage.metadata import require, require_finite, require_types
from charrnn.text.corpus import Corpus
from charrnn.text.files import join_names
from charrnn.text.record import digest_of_sizes
from charrnn.text.split import split_bounds
from charrnn.training.optimizers import OPTIMIZERS

_TYPES = {
    "kind": str, "model": dict, "train": dict, "step": int, "epoch": int, "window": int, "since": int,
    "smoothed_loss": float, "rate_factor": float, "failures": int, "rollback_step": int, "history": list, "source": dict,
    "environment": dict,
}
_SOURCE_TYPES = {"names": list, "fingerprint": str, "characters": int, "windows": int, "files": int, "bytes": int,
                 "sizes": str}


class Record(NamedTuple):
    """One evaluation: the step after which it took place, the smoothed training loss and the validation loss (nats)."""

    step: int
    train_loss: float
    validation_loss: float


class Source(NamedTuple):
    """The corpus of a run: names as given, fingerprint, number of characters, windows per epoch.

    ``files``, ``bytes`` and ``sizes`` are the number of files, their bytes and a digest of their sizes at the start of the
    run. Files that do not match them are not read when it is resumed. A text that was not read from files has no files.
    """

    names: tuple[str, ...]
    fingerprint: str
    characters: int
    windows: int
    files: int
    bytes: int
    sizes: str


def source_of(corpus: Corpus, windows: int) -> Source:
    """Return the record of a corpus that a run keeps."""
    return Source(corpus.sources, corpus.fingerprint, len(corpus), windows, len(corpus.sizes), sum(corpus.sizes),
                  digest_of_sizes(corpus.sizes))


def check_text(source: Source, corpus: Corpus) -> None:
    """Raise CorpusError unless ``corpus`` is the text of a run."""
    if corpus.fingerprint != source.fingerprint:
        raise CorpusError(f"{join_names(corpus.sources) or 'the text'}: is not the text this run was trained on "
                          f"({source.characters:,} characters then, {len(corpus):,} now)")


def block_names(config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the blocks of parameters that a step changes.

    Each block has the layout of the parameters. Saving, loading, copying, validation and rollback iterate over this list.
    """
    return ("parameters", *(f"optimizer/{slot}" for slot in OPTIMIZERS[config.optimizer].SLOTS))


def arrays_of(run: Any) -> dict[str, np.ndarray]:
    """Return the arrays that the checkpoint of a ``Run`` contains."""
    arrays: dict[str, np.ndarray] = run.model.arrays()
    for block, parameters in run.blocks.items():
        arrays.update({f"{block}/{name}": array for name, array in parameters.items()})
    for k, layer in enumerate(run.state):
        arrays.update({f"state/layer{k}/{name}": array for name, array in layer._asdict().items()})
    if run.rollback is not None and run.rollback.step != run.step:
        arrays.update({f"rollback/{name}": block for name, block in run.rollback.blocks.items()})
    return arrays


def metadata_of(run: Any) -> dict[str, Any]:
    """Return the metadata that the checkpoint of a ``Run`` contains."""
    epoch, window = divmod(run.step, run.source.windows)
    return {
        "kind": "run", "model": run.model.metadata(), "train": to_dict(run.config), "step": run.step,
        "epoch": epoch, "window": window, "since": run.since, "rate_factor": run.rate_factor,
        "failures": run.failures, "rollback_step": run.rollback_step, "smoothed_loss": run.smoothed_loss,
        "history": [list(record) for record in run.history], "source": run.source._asdict(),
        "environment": run.environment,
    }


def expected_arrays(metadata: dict[str, Any]) -> Manifest:
    """Return the dtypes and shapes of the arrays that belong to the metadata of a checkpoint.

    Raises ValueError if the metadata is invalid.
    """
    require_types(metadata, _TYPES, "the metadata")
    require(metadata["kind"] == "run", "not the checkpoint of a run")
    manifest = language_model.expected_arrays(metadata["model"])
    try:
        model = from_dict(ModelConfig, metadata["model"]["config"])
        config = from_dict(TrainConfig, metadata["train"])
    except ConfigError as error:
        raise ValueError(str(error)) from error
    dtype = metadata["model"]["dtype"]
    require(dtype in ("float32", "float64"), "the dtype of a run must be float32 or float64")
    _check_progress(metadata, config, from_dict(TextConfig, metadata["model"]["text"]))
    _check_history(metadata["history"], metadata["step"])
    require(all(type(value) is str for value in metadata["environment"].values()), "the environment must contain strings")
    return {**manifest, **_run_arrays(model, config, metadata, language_model.DTYPES[dtype])}


def _run_arrays(model: ModelConfig, config: TrainConfig, metadata: Mapping[str, Any], dtype: str) -> Manifest:
    shapes = parameter_shapes(model, metadata["model"]["vocabulary"])
    manifest: Manifest = {f"{block}/{name}": (dtype, shape)
                          for block in block_names(config) for name, shape in shapes.items()}
    state_shapes = CELLS[model.cell].state_shapes(config.batch_size, model.hidden_size)
    manifest.update({f"state/layer{k}/{name}": (dtype, shape)
                     for k in range(model.layers) for name, shape in state_shapes.items()})
    if metadata["rollback_step"] != metadata["step"]:
        size = sum(math.prod(shape) for shape in shapes.values())
        manifest.update({f"rollback/{block}": (dtype, (size,)) for block in block_names(config)})
    return manifest


def _check_progress(metadata: Mapping[str, Any], config: TrainConfig, text_config: TextConfig) -> None:
    source = source_from(metadata["source"])
    step, rollback_step, since = metadata["step"], metadata["rollback_step"], metadata["since"]
    require(None not in (config.steps, config.learning_rate, config.weight_decay, config.validation, config.threads)
            and config.precision != "auto", "the plan is not fixed")
    require((config.threads or 0) <= config.batch_size, "there are more threads than streams")
    require(step <= (config.steps or 0) and rollback_step <= step and since <= step, "the step is outside the plan")
    require((metadata["epoch"], metadata["window"]) == divmod(step, source.windows), "the position does not match the step")
    training, _ = split_bounds(source.characters, config.validation or 0.0, config.test)
    expected = (training - 1) // config.seq_len // config.batch_size
    is_exact = text_config.end is None or not text_config.group_copies  # otherwise the part ends with a document
    most = (source.characters - 1) // config.seq_len // config.batch_size
    require(source.windows == expected if is_exact else 1 <= source.windows <= most,
            "the number of windows does not match the corpus")
    require(math.isfinite(metadata["smoothed_loss"]), "the loss is not finite")
    require(0 < metadata["rate_factor"] <= 1, "the rate factor is out of range")
    require(metadata["failures"] <= step, "there are more failures than steps")


def _check_history(history: list[Any], step: int) -> None:
    before = 0
    for record in history:
        require(type(record) is list and [type(item) for item in record] == [int, float, float]
                and before < record[0] <= step and all(map(math.isfinite, record)), "the history is invalid")
        before = record[0]


def check_values(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError if an array contains a value that training cannot produce."""
    require_finite(arrays)
    for name, array in arrays.items():
        is_square = name.startswith(("optimizer/square", "rollback/optimizer/square"))
        require(not is_square or bool(np.all(array >= 0)), f"/{name} contains negative squares")


def read_source(path: str | Path) -> tuple[Source, TextConfig, TrainConfig]:
    """Return the source, the text settings and the training settings of the run in a checkpoint.

    Raises CheckpointError if the file does not contain a run.
    """
    metadata = container.read_metadata(path, expected_arrays)
    return (source_from(metadata["source"]), from_dict(TextConfig, metadata["model"]["text"]),
            from_dict(TrainConfig, metadata["train"]))


def source_from(metadata: Mapping[str, Any]) -> Source:
    """Return a Source from plain values. Raises ValueError if they are invalid."""
    require_types(metadata, _SOURCE_TYPES, "the metadata of the corpus")
    require(all(type(name) is str and "\0" not in name for name in metadata["names"]),
            "the names of the corpus are invalid")
    require(metadata["characters"] >= 1 and metadata["windows"] >= 1, "the size of the corpus is out of range")
    require(re.fullmatch("[0-9a-f]{64}", metadata["sizes"]) is not None, "the sizes of the files are invalid")
    require(metadata["files"] > 0 or metadata["bytes"] == 0, "the corpus has bytes but no files")
    return Source(**{**metadata, "names": tuple(metadata["names"])})
