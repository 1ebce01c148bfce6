"""``charrnn inspect``"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.errors import printable

if TYPE_CHECKING:
    from charrnn.training.run import Run


@click.command(name="inspect")
@click.argument("run_or_checkpoint", type=click.Path())
def command(run_or_checkpoint: str) -> None:
    """Show what a run or a checkpoint is, how it was trained, and its history."""
    from charrnn.training.run import Run
    from charrnn.training.run_folder import RunFolder, checkpoint_at

    if not Path(run_or_checkpoint).is_dir():
        path = checkpoint_at(run_or_checkpoint)
        _show(path, Run.load(path))
        return
    folder = RunFolder(run_or_checkpoint)
    last = checkpoint_at(folder.path, "last")
    run = Run.load(last)
    if folder.best.exists() and folder.best != last:
        best = Run.load(folder.best)
        _line(str(folder.best), f"step {best.step:,}, the best so far")
    _show(last, run)


def _show(path: Path, run: Run) -> None:
    """All of one checkpoint, as names and values, then its evaluations as a table."""
    from charrnn.text.files import listed

    config, size = run.config, path.stat().st_size
    _line(str(path), f"step {run.step:,} of {run.planned:,}, epoch {run.epoch:.2f}, {size:,} bytes")
    _line("corpus", f"{listed(run.source.names)}: {run.source.characters:,} {_units(run)}, "
                    f"sha256 {run.source.fingerprint[:12]}")
    _line("vocabulary", f"{len(run.vocabulary):,} {_units(run)}: {_excerpt(run.vocabulary.characters)}")
    _line("parameters", f"{run.model.parameters.flat.size:,} of {run.model.dtype}")
    for settings in (run.source.reading, run.model.config, config):
        for item in dataclasses.fields(settings):
            if getattr(settings, item.name) is not None and (settings is not run.source.reading
                                                             or getattr(settings, item.name) != item.default):
                _line(item.name.replace("_", " "), _plain(getattr(settings, item.name)))
    for name, value in run.environment.items():
        _line(name, value)
    if run.rate_factor < 1:
        _line("rate factor", f"{run.rate_factor:g}, after steps that ended in no numbers")
    _line("training loss", f"{run.smoothed_loss:.4f} nats/{run.source.reading.level}, smoothed")
    if run.history:
        click.echo(f"\n{'step':>10}  {'train':>8}  {'validation':>10}  nats/{run.source.reading.level}")
    best = run.best
    for record in run.history:
        mark = "  best" if record is best else ""
        click.echo(f"{record.step:>10,}  {record.train_loss:8.4f}  {record.validation_loss:10.4f}{mark}")


def _units(run: Run) -> str:
    return "characters" if run.source.reading.level == "char" else "bytes"


def _line(name: str, value: str) -> None:
    click.echo(f"{printable(name):<18}  {printable(value)}")


def _plain(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else f"{value}"


def _excerpt(characters: tuple[str, ...], most: int = 64) -> str:
    return "".join(characters[:most]) + (" ..." if len(characters) > most else "")
