"""``charrnn inspect``"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.errors import printable

if TYPE_CHECKING:
    from charrnn.inference.language_model import LanguageModel
    from charrnn.training.run import Run


@click.command(name="inspect")
@click.argument("run_or_checkpoint", type=click.Path())
def command(run_or_checkpoint: str) -> None:
    """Show what a run, a checkpoint or a model is, how it was trained, and its history."""
    from charrnn.inference.language_model import is_only_a_model, load
    from charrnn.inference.locate import LAST, checkpoint_at
    from charrnn.training.run import Run
    from charrnn.training.run_folder import RunFolder

    path = checkpoint_at(run_or_checkpoint, LAST)
    folder = RunFolder.of(run_or_checkpoint) if Path(run_or_checkpoint).is_dir() else None
    if is_only_a_model(path):
        _show_model(path, load(path))
        return
    run = Run.load(path)
    if folder is not None and folder.best.exists() and folder.best != path:
        best = Run.load(folder.best)
        _line(str(folder.best), f"step {best.step:,}, the best so far")
    _show_run(path, run)


def _show_model(path: Path, model: LanguageModel) -> None:
    """Print a file that contains only a model, as names and values."""
    _line(str(path), f"a model, {path.stat().st_size:,} bytes")
    _show_network(model)
    _show_settings(model.text_config, changed_only=True)
    _show_settings(model.network.config)


def _show_run(path: Path, run: Run) -> None:
    """Print a checkpoint as names and values, then its evaluations as a table."""
    from charrnn.text.files import join_names

    model, size = run.model, path.stat().st_size
    _line(str(path), f"step {run.step:,} of {run.planned:,}, epoch {run.epoch:.2f}, {size:,} bytes")
    _line("corpus", f"{join_names(run.source.names)}: {run.source.characters:,} {_units(model)}, "
                    f"sha256 {run.source.fingerprint[:12]}")
    _show_network(model)
    _show_settings(model.text_config, changed_only=True)
    _show_settings(model.network.config)
    _show_settings(run.config)
    for name, value in run.environment.items():
        _line(name, value)
    if run.rate_factor < 1:
        _line("rate factor", f"{run.rate_factor:g}, after steps that ended in no numbers")
    unit = model.text_config.level
    _line("training loss", f"{run.smoothed_loss:.4f} nats/{unit}, smoothed")
    if run.history:
        click.echo(f"\n{'step':>10}  {'train':>8}  {'validation':>10}  nats/{unit}")
    best = run.best_record
    for record in run.history:
        mark = "  best" if record is best else ""
        click.echo(f"{record.step:>10,}  {record.train_loss:8.4f}  {record.validation_loss:10.4f}{mark}")


def _show_network(model: LanguageModel) -> None:
    _line("vocabulary", f"{len(model.vocabulary):,} {_units(model)}: {_excerpt(model.vocabulary.characters)}")
    parameters = model.network.parameters.flat
    _line("parameters", f"{parameters.size:,} of {parameters.dtype}")


def _show_settings(config: Any, changed_only: bool = False) -> None:
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if value is not None and not (changed_only and value == item.default):
            _line(item.name.replace("_", " "), _plain(value))


def _units(model: LanguageModel) -> str:
    return "characters" if model.text_config.level == "char" else "bytes"


def _line(name: str, value: str) -> None:
    click.echo(f"{printable(name):<18}  {printable(value)}")


def _plain(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else f"{value}"


def _excerpt(characters: tuple[str, ...], most: int = 64) -> str:
    return "".join(characters[:most]) + (" ..." if len(characters) > most else "")
