"""``charrnn plot``"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._console import option, say
from charrnn.errors import CharRNNError, ConfigError, RunError, printable, with_parameters

if TYPE_CHECKING:
    from charrnn.training.curves import Curves
    from charrnn.training.run import Run

_WIDEST = 100
"""Largest number of columns of a curve on a terminal."""


@click.command(name="plot")
@click.argument("run", nargs=-1, type=click.Path())
@click.option("--output", "-o", type=click.Path(), metavar="FILE", help="Draw a picture, FILE.png or FILE.svg.")
@click.option("--baseline/--no-baseline", default=True,
              help="Count the n-gram baseline on the text of the run.  [default: on]")
def command(run: tuple[str, ...], output: str | None, baseline: bool) -> None:
    """Draw the loss curves of one or several runs.

    RUN is a run folder, the name of a run in checkpoints/, or a checkpoint. Without it, the newest run in checkpoints/ is
    drawn.

    Without --output, the curves are drawn with characters on standard output: all losses of one run, or the validation
    losses of several runs. A picture also shows the learning rate, and needs matplotlib: pip install matplotlib
    """
    from charrnn.inference.locate import CHECKPOINTS, newest_run
    from charrnn.storage.atomic import replace_file
    from charrnn.training.plot import FORMATS, draw, to_bytes

    kind = Path(output or "").suffix.lower().removeprefix(".")
    if output is not None and kind not in FORMATS:
        raise ConfigError("output", "must end in .png or .svg")
    newest = None if run else newest_run()
    if newest is not None:
        say(printable(f"Drawing {newest}, the newest run"))
    elif not run:
        raise RunError(f"{CHECKPOINTS}: contains no run", "train a model, or use the path of a run folder")
    curves = _read(run or (str(newest),), baseline)
    if output is not None:
        replace_file(output, [to_bytes(draw(curves), kind)])
        return
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    for line in _chart(curves, width):
        click.echo(line)


def _read(names: Sequence[str], with_baseline: bool) -> list[Curves]:
    """Return the curves of runs; those of the same text share its baseline."""
    from charrnn.cli._corpus import load_run
    from charrnn.inference.locate import LAST, checkpoint_at
    from charrnn.training.curves import curves_of

    found = []
    counted: dict[Any, float | None] = {}
    for name in names:
        path = checkpoint_at(name, LAST)
        run = load_run(path, "history", "use a run folder")
        curves = curves_of(run)
        if run.folder is None:
            curves = curves._replace(name=path.stem)
        if with_baseline and run.config.validation:
            text = run.source._replace(windows=1), run.model.text_config, run.config.validation, run.config.test
            if text not in counted:
                counted[text] = _baseline_of(run, name)
            curves = curves._replace(baseline=counted[text])
        found.append(curves)
    if len({curves.name for curves in found}) < len(found):
        found = [curves._replace(name=name) for curves, name in zip(found, names)]
    return found


def _baseline_of(run: Run, name: str) -> float | None:
    """Return the n-gram baseline of a run; if its text cannot be read, say why and return None."""
    from charrnn.cli._corpus import read_corpus_of
    from charrnn.training.curves import baseline_of

    try:
        return baseline_of(run, read_corpus_of(run, name, ""))
    except CharRNNError as error:
        say(printable(f"n-gram baseline left out: {with_parameters(error.message, option)}"))
        return None


def _chart(runs: Sequence[Curves], width: int) -> list[str]:
    """Return the lines of a chart: the losses of one run, or the main loss of each of several runs."""
    import numpy as np

    from charrnn.cli._chart import Curve, chart
    from charrnn.training.curves import Points, check_units, limits

    check_units(runs)
    lines = []
    for curves in runs:
        kind = "validation" if curves.main is curves.validation else "training"
        step, loss = curves.best
        lines.append(Curve(f"{kind} {loss:.4f} at step {step:,.0f}" if len(runs) == 1 else
                           f"{printable(curves.name)}, {kind} {loss:.4f}", *curves.main))
    if len(runs) == 1 and len(runs[0].losses) == 2:
        lines.append(Curve(f"training {runs[0].train.values[-1]:.4f}", *runs[0].train))
    baselines = {curves.baseline for curves in runs if curves.baseline is not None}
    if len(baselines) == 1:
        (nats,) = baselines
        last = max(curve.steps[-1] for curve in lines)
        lines.append(Curve(f"n-gram baseline {nats:.4f}", np.array([0, last]), np.array([nats, nats])))
    title = f"{printable(runs[0].name)}: " if len(runs) == 1 else ""
    drawn = [Points(curve.steps, curve.values) for curve in lines]
    return [f"{title}nats/{runs[0].unit} by step", *chart(lines, limits(drawn, ()), width, _can_show_dots())]


def _can_show_dots() -> bool:
    """Return whether standard output can show Braille characters. The font of the Linux console does not contain them."""
    try:
        "\u28ff".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return os.environ.get("TERM") not in ("dumb", "linux")
