"""``charrnn resume``"""

from __future__ import annotations

import click

from charrnn.cli._options import Command, Option, quiet, setting
from charrnn.config import TextConfig, TrainConfig
from charrnn.errors import ConfigError


@click.command(name="resume", cls=Command, main_options=("steps", "minutes", "name", "corpus"))
@click.argument("run_or_checkpoint", type=click.Path())
@click.option("--corpus", metavar="FILE", type=click.Path(), multiple=True, cls=Option, group="Text",
              help="The training text, if it was moved; repeat it for further files.")
@click.option("--fine-tune", is_flag=True, cls=Option, group="Text",
              help="Learn another text (--corpus) in a new run (--name).")
@setting(TextConfig, "encoding", keep_default=False, unset="as before")
@setting(TextConfig, "errors", keep_default=False, unset="as before")
@setting(TrainConfig, "epochs")
@setting(TrainConfig, "steps")
@click.option("--minutes", type=float, metavar="X", cls=Option, group="Length",
              help="Length of training in minutes, including those before the stop.")
@setting(TrainConfig, "patience", unset="as before")
@setting(TrainConfig, "threads", unset="as before, which gives the same bits")
@click.option("--name", metavar="NEW", cls=Option, group="Saving", help="Start a new run of this name from this state.")
@click.option("--overwrite", is_flag=True, cls=Option, group="Saving", help="Replace a run of that name.")
@quiet
def command(run_or_checkpoint: str, corpus: tuple[str, ...], encoding: str | None, errors: str | None, fine_tune: bool,
            epochs: float | None, steps: int | None, minutes: float | None, patience: int | None, threads: int | None,
            name: str | None, overwrite: bool, quiet: bool) -> None:
    """Go on with a training, exactly where it stood, to the end of its plan.

    RUN_OR_CHECKPOINT is a run folder, whose last.h5 is taken, or a checkpoint. --epochs, --steps and --minutes make the
    plan longer; they count from the start of the run. Another state than the run's last one can only be gone on with
    in a new run (--name).

    With --fine-tune the weights are kept and all else begins anew, on the text that --corpus names: step, plan,
    optimizer and vocabulary. A character that the model does not know gets fresh weights.
    """
    length = TrainConfig(epochs=epochs, steps=steps, minutes=minutes, patience=patience, threads=threads)
    if fine_tune and not (corpus and name):
        raise ConfigError("fine_tune", "needs the other text and a new run; give --corpus FILE and --name NEW")

    from charrnn.cli._loop import Printer, carry_out
    from charrnn.inference.locate import LAST, checkpoint_at
    from charrnn.training.prepare import prepare_fine_tuning, prepare_resume

    path = checkpoint_at(run_or_checkpoint, LAST)
    with Printer(quiet, resumed=path) as printer:
        if fine_tune and name is not None:
            job = prepare_fine_tuning(path, corpus, length, printer, name=name, encoding=encoding, errors=errors,
                                      overwrite=overwrite)
        else:
            job = prepare_resume(path, length, printer, source=corpus or None, encoding=encoding, errors=errors, name=name,
                                 overwrite=overwrite)
        carry_out(job, printer)
