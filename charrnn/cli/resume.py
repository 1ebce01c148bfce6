"""``charrnn resume``"""

from __future__ import annotations

import click

from charrnn.cli._options import Command, Option, quiet, setting
from charrnn.config import TextConfig, TrainConfig


@click.command(name="resume", cls=Command, main_options=("steps", "minutes", "name", "corpus"))
@click.argument("run_or_checkpoint", type=click.Path())
@click.option("--corpus", metavar="FILE", type=click.Path(), multiple=True, cls=Option, group="Text",
              help="The training text, if it was moved; repeat the option for more files.")
@setting(TextConfig, "encoding", keep_default=False, unset="as before")
@setting(TextConfig, "errors", keep_default=False, unset="as before")
@setting(TrainConfig, "epochs")
@setting(TrainConfig, "steps")
@click.option("--minutes", type=float, metavar="X", cls=Option, group="Length",
              help="Length of training in minutes, including the time before the stop.")
@setting(TrainConfig, "eval_every", unset="as before, or a twentieth of the plan")
@setting(TrainConfig, "patience", unset="as before")
@setting(TrainConfig, "threads", unset="as before, for identical results")
@click.option("--name", metavar="NEW", cls=Option, group="Saving", help="Start a new run of this name from this state.")
@click.option("--overwrite", is_flag=True, cls=Option, group="Saving", help="Replace a run of that name.")
@quiet
def command(run_or_checkpoint: str, corpus: tuple[str, ...], encoding: str | None, errors: str | None,
            epochs: float | None, steps: int | None, minutes: float | None, eval_every: int | None, patience: int | None,
            threads: int | None, name: str | None, overwrite: bool, quiet: bool) -> None:
    """Resume a run exactly where it stopped and finish its planned steps.

    RUN_OR_CHECKPOINT is a run folder (whose last.h5 is resumed), the name of a run in checkpoints/, or a checkpoint.
    --epochs, --steps and --minutes make the plan longer; they count from the start of the run. To continue from a state
    that is not the last one of its run, start a new run with --name. 'charrnn train --from RUN' trains on another text.
    """
    length = TrainConfig(epochs=epochs, steps=steps, minutes=minutes, eval_every=eval_every, patience=patience,
                         threads=threads)

    from charrnn.cli._loop import Printer, carry_out
    from charrnn.inference.locate import LAST, checkpoint_at
    from charrnn.training.prepare import prepare_resume

    path = checkpoint_at(run_or_checkpoint, LAST)
    with Printer(quiet, resumed=path) as printer:
        job = prepare_resume(path, length, printer, corpus=corpus or None, encoding=encoding, errors=errors, name=name,
                             overwrite=overwrite)
        carry_out(job, printer)
