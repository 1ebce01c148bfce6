"""``charrnn resume``"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli.options import quiet, setting
from charrnn.config import TrainConfig

if TYPE_CHECKING:
    from charrnn.run import Run
    from charrnn.run_folder import RunFolder


@click.command(name="resume")
@click.argument("run_or_checkpoint", type=click.Path())
@click.option("--corpus", metavar="FILE", type=click.Path(), multiple=True,
              help="Where the training text is now, if not where it was; several times for several files.")
@setting(TrainConfig, "epochs")
@setting(TrainConfig, "steps")
@click.option("--minutes", type=float, metavar="X",
              help="Length of the training in minutes, those before the stop included.")
@click.option("--threads", type=int, metavar="N",
              help="Threads that share the streams; by default as many as before, which gives the same bits.")
@click.option("--name", metavar="NEW", help="Start a new run from this state, in a folder of this name beside the old one.")
@quiet
def command(run_or_checkpoint: str, corpus: tuple[str, ...], epochs: float | None, steps: int | None,
            minutes: float | None, threads: int | None, name: str | None, quiet: bool) -> None:
    """Go on with a training, exactly where it stood, to the end of its plan.

    RUN_OR_CHECKPOINT is a run folder, whose last.h5 is taken, or a checkpoint. --epochs, --steps and --minutes make the
    plan longer; they count from the start of the run. Another state than the run's last one can only be gone on with
    in a new run (--name).
    """
    TrainConfig(epochs=epochs, steps=steps, minutes=minutes, threads=threads)

    from charrnn.cli import training
    from charrnn.corpus import Corpus
    from charrnn.errors import RunError
    from charrnn.metrics import Metrics
    from charrnn.run import Run, environment
    from charrnn.run_folder import RunFolder, checkpoint_at
    from charrnn.trainer import fix_plan

    path = checkpoint_at(run_or_checkpoint, "last")
    old = RunFolder.of(path)
    folder = _new_folder(old, name) if name is not None else old
    if folder is None or (name is None and path.name != "last.h5"):
        raise RunError(f"{path}: is not the last state of a run; give --name NEW to start a new run from it")
    run = Run.load(path)
    text = Corpus.open(corpus or run.source.names)
    if run.source.fingerprint != text.fingerprint:
        raise RunError(f"{', '.join(text.sources)}: is not the text this run was trained on ({run.source.characters:,} "
                       f"characters then, {len(text):,} now); name that one with --corpus")
    threads = min(threads or run.config.threads or 1, run.config.batch_size)
    if differences := _differences(run, environment(), threads):
        training.say(f"Warning: {', '.join(differences)}; the result may differ in its last bits")
    run.environment, run.config = environment(), replace(run.config, threads=threads)
    if steps is not None or epochs is not None:
        run.plan(steps or max(1, round((epochs or 0) * run.source.windows)))
    elif minutes is not None:
        fix_plan(run, text, minutes, Metrics((old or folder).metrics, run.step).seconds)
    if name is not None:
        folder.begin_with(run, old)
    training.say(f"{path}: {training.describe_model(run)}\nAfter step {run.step:,} of {training.describe_plan(run)}", quiet)
    training.go_on(run, text, folder, quiet)


def _new_folder(old: RunFolder | None, name: str) -> RunFolder:
    from charrnn.run_folder import RunFolder

    return RunFolder.at(old.path.resolve().parent if old else Path("checkpoints"), name)


def _differences(run: Run, now: dict[str, str], threads: int) -> list[str]:
    """What is not as it was when the checkpoint was written."""
    then = run.environment
    found = [f"{name} was {then[name]!r} and is {now.get(name)!r}" for name in then if now.get(name) != then[name]]
    if threads != run.config.threads:
        found.append(f"threads were {run.config.threads} and are {threads}")
    return found
