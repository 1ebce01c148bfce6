"""``charrnn inspect``"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._options import train_command
from charrnn.config import END, ModelConfig, TextConfig, TrainConfig, from_dict
from charrnn.errors import CheckpointError, RunError, printable

if TYPE_CHECKING:
    from charrnn.inference.language_model import LanguageModel
    from charrnn.training.run import Run


@click.command(name="inspect")
@click.argument("run_or_checkpoint", type=click.Path(), required=False)
def command(run_or_checkpoint: str | None) -> None:
    """Show a run, a checkpoint or a model: what it is, how it was trained, and its history.

    RUN_OR_CHECKPOINT is a run folder, the name of a run in checkpoints/, or an .h5 file. For a folder of runs (by default
    checkpoints/), list the runs, newest first.
    """
    from charrnn.inference.language_model import is_only_a_model
    from charrnn.inference.locate import BEST, CHECKPOINTS, LAST, checkpoint_at, find, newest_run, runs_in
    from charrnn.training.run import Run

    if run_or_checkpoint is None and newest_run() is None:
        raise RunError(f"{CHECKPOINTS}: contains no run", "train a model, or use the path of a run folder or an .h5 file")
    place = find(CHECKPOINTS if run_or_checkpoint is None else run_or_checkpoint)
    is_run = (place / BEST).exists() or (place / LAST).exists()
    if place.is_dir() and not is_run and (runs := runs_in(place)):
        _show_runs(place, runs)
        return
    path = checkpoint_at(place, LAST)
    if is_only_a_model(path):
        _show_model(path)
        return
    run = Run.load(path)
    best_path = place / BEST
    if place.is_dir() and best_path.exists() and best_path != path:
        _line(str(best_path), f"step {Run.load(best_path).step:,}, the best so far")
    _show_run(path, run)


def _show_runs(folder: Path, runs: list[Path]) -> None:
    """Print a table of the runs in a folder."""
    rows: list[tuple[str, ...]] = [("run", "saved", "step", "best validation", "model", "text")]
    rows += [(printable(str(run.relative_to(folder))), *map(printable, _summary(run))) for run in runs]
    widths = [max(len(row[k]) for row in rows if len(row) > k + 1) for k in range(len(rows[0]) - 1)]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, [*widths[:len(row) - 1], 0])))


def _summary(folder: Path) -> tuple[str, ...]:
    """Return the cells of a run in the table; for any other file, the last cell is a description or an error."""
    from charrnn.inference.language_model import is_only_a_model
    from charrnn.inference.locate import LAST, checkpoint_at
    from charrnn.inference.origin import Origin
    from charrnn.storage import container
    from charrnn.text.files import join_names
    from charrnn.training import schema

    path = checkpoint_at(folder, LAST)
    saved = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
    try:
        if is_only_a_model(path):
            return saved, "a model without a run"
        metadata = container.read_metadata(path, schema.expected_arrays)
    except CheckpointError as error:
        return saved, error.message.removeprefix(f"{path}: ")
    config = from_dict(ModelConfig, metadata["model"]["config"])
    level = from_dict(TextConfig, metadata["model"]["text"]).level
    planned = from_dict(TrainConfig, metadata["train"]).steps
    losses = [loss for step, _, loss in metadata["history"] if step > metadata["since"]]
    layers = "" if config.layers == 1 else f"{config.layers} x "
    origin = Origin.from_metadata(metadata["model"].get("origin"))
    start = "" if origin is None else f" from {origin.short_name}"
    return (saved, f"{metadata['step']:,} of {planned:,}", f"{min(losses):.4f} nats/{level}" if losses else "",
            f"{config.cell} {layers}{config.hidden_size:,}{start}", join_names(metadata["source"]["names"]))


def _show_model(path: Path) -> None:
    """Print the names and values of a file that contains only a model."""
    from charrnn.inference.language_model import file_metadata, load

    model = load(path)
    _line(str(path), f"a model, {path.stat().st_size:,} bytes")
    _show_network(model, file_metadata(path)["model"]["dtype"])
    _show_settings(model.text_config, changed_only=True)
    _show_settings(model.network.config)
    _show_parameters(model)


def _show_run(path: Path, run: Run) -> None:
    """Print the names and values of a checkpoint, then a table of its evaluations."""
    from charrnn.text.files import join_names

    model = run.model
    _line(str(path), f"step {run.step:,} of {run.planned:,}, epoch {run.epoch:.2f}, {path.stat().st_size:,} bytes")
    _line("corpus", f"{join_names(run.source.names)}: {_units(model, run.source.characters)}, "
                    f"sha256 {run.source.fingerprint[:12]}")
    _show_network(model, model.network.dtype.name)
    _show_settings(model.text_config, changed_only=True)
    _show_settings(model.network.config)
    _show_settings(run.config)
    for name, value in run.environment.items():
        _line(name, value)
    if run.rate_factor < 1:
        _line("rate factor", f"{run.rate_factor:g}, after steps with a non-finite loss or gradient")
    unit = model.text_config.level
    _line("training loss", f"{run.smoothed_loss:.4f} nats/{unit}, smoothed")
    if model.network.dtype == "float32":
        _line("repeat it with", train_command(run))
    _show_parameters(model)
    if run.history:
        click.echo(f"\n{'step':>10}  {'train':>8}  {'validation':>10}  nats/{unit}")
    best = run.best_record
    for record in run.history:
        mark = "  best" if record is best else ""
        click.echo(f"{record.step:>10,}  {record.train_loss:8.4f}  {record.validation_loss:10.4f}{mark}")


def _show_network(model: LanguageModel, dtype: str) -> None:
    characters = tuple(character for character in model.vocabulary.characters if character != END)
    end = " and an end mark" * (END in model.vocabulary)
    _line("vocabulary", f"{_units(model, len(characters))}{end}: {_excerpt(characters)}")
    _line("parameters", f"{model.network.parameters.flat.size:,} of {dtype}")
    if model.origin is not None:
        _line("origin", f"{model.origin}, weights sha256 {model.origin.weights[:12]}")


def _show_parameters(model: LanguageModel) -> None:
    """Print a table of the parameters of the network, layer by layer."""
    parameters = model.network.parameters
    rows = [(name, " x ".join(f"{size:,}" for size in array.shape), f"{array.size:,}")
            for name, array in parameters.items()]
    rows = [("layer", "shape", "parameters"), *rows, ("all", "", f"{parameters.flat.size:,}")]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    click.echo()
    for name, shape, size in rows:
        click.echo(f"{name:<{widths[0]}}  {shape:>{widths[1]}}  {size:>{widths[2]}}")


def _show_settings(config: Any, changed_only: bool = False) -> None:
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if value is not None and not (changed_only and value == item.default):
            _line(item.name.replace("_", " "), _plain(value))


def _units(model: LanguageModel, count: int) -> str:
    unit = "character" if model.text_config.level == "char" else "byte"
    return f"{count:,} {unit}{'s'[:count != 1]}"


def _line(name: str, value: str) -> None:
    click.echo(f"{printable(name):<18}  {printable(value)}")


def _plain(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else f"{value}"


def _excerpt(characters: tuple[str, ...], most: int = 64) -> str:
    return "".join(characters[:most]) + (" ..." if len(characters) > most else "")
