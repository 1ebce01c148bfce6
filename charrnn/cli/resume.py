"""``charrnn resume``"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli._options import quiet, setting
from charrnn.config import Reading, TrainConfig
from charrnn.errors import ConfigError, RunError

if TYPE_CHECKING:
    from charrnn.text.corpus import Corpus
    from charrnn.training.run import Run
    from charrnn.training.run_folder import RunFolder


@click.command(name="resume")
@click.argument("run_or_checkpoint", type=click.Path())
@click.option("--corpus", metavar="FILE", type=click.Path(), multiple=True,
              help="Where the training text is now, if not where it was; several times for several files.")
@setting(Reading, "encoding", keep_default=False, instead="as before")
@click.option("--fine-tune", is_flag=True, help="--corpus is another text, which a new run (--name) is to learn.")
@setting(Reading, "errors", keep_default=False, instead="as before")
@setting(TrainConfig, "epochs")
@setting(TrainConfig, "steps")
@click.option("--minutes", type=float, metavar="X",
              help="Length of the training in minutes, those before the stop included; for --fine-tune 2 by default.")
@click.option("--patience", type=int, metavar="N",
              help="Stop early after this many evaluations in a row without a new best.  [default: as before]")
@click.option("--threads", type=int, metavar="N",
              help="Threads that share the streams; by default as many as before, which gives the same bits.")
@click.option("--name", metavar="NEW", help="Start a new run from this state, in a folder of this name beside the old one.")
@click.option("--overwrite", is_flag=True, help="Replace a run of that name.")
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

    from charrnn.cli import _training as training
    from charrnn.training.run import Run
    from charrnn.training.run_folder import RunFolder, checkpoint_at

    path = checkpoint_at(run_or_checkpoint, "last")
    old = RunFolder.of(path)
    folder = _new_folder(old, name, overwrite) if name is not None else old
    if folder is None or (name is None and path.name != "last.h5"):
        raise RunError(f"{path}: is not the last state of a run; give --name NEW to start a new run from it")
    run = Run.load(path)
    if corpus:
        text = training.read(corpus, training.changed(run.source.reading, encoding, errors), quiet)
    else:
        text = training.text_of(run, path, "name a file with that text with --corpus", quiet)
    if fine_tune:
        run = _fine_tune(run, text, length, quiet)
        folder.make()
    else:
        _go_on(run, text, length, old or folder, quiet)
        if name is not None:
            folder.begin_with(run, old)
    training.say(f"{path}: {training.describe_model(run)}\nAfter step {run.step:,} of {training.describe_plan(run)}", quiet)
    training.go_on(run, text, folder, quiet)


def _new_folder(old: RunFolder | None, name: str, overwrite: bool) -> RunFolder:
    from charrnn.training.run_folder import RunFolder

    return RunFolder.at(old.path.resolve().parent if old else Path("checkpoints"), name, overwrite)


def _go_on(run: Run, text: Corpus, length: TrainConfig, folder: RunFolder, quiet: bool) -> None:
    """Make ``run`` ready for its next step here and now, with the length that was asked for."""
    from charrnn.cli import _training as training
    from charrnn.nn.parallel import environment
    from charrnn.text.files import listed
    from charrnn.training.metrics_table import Metrics
    from charrnn.training.run import steps_of

    if run.source.fingerprint != text.fingerprint:
        raise RunError(f"{listed(text.sources)}: is not the text this run was trained on ({run.source.characters:,} "
                       f"characters then, {len(text):,} now); name that one with --corpus, or learn this one with "
                       f"--corpus FILE --fine-tune --name NEW")
    threads = min(length.threads or run.config.threads or 1, run.config.batch_size)
    now = environment(run.model.dtype)
    if differences := _differences(run, now, threads):
        training.warn(f"{', '.join(differences)}; the result may differ in its last bits")
    run.environment, run.config = now, replace(run.config, threads=threads)
    if length.patience is not None:
        run.config = replace(run.config, patience=length.patience)
    run.source = run.source._replace(names=text.sources, reading=text.reading)
    if length.steps is not None or length.epochs is not None:
        run.plan(length.steps or steps_of(length.epochs or 0, run.source.windows))
    elif length.minutes is not None:
        spent = Metrics(folder.metrics, run.step).seconds
        if run.step and not spent:
            raise ConfigError("minutes", f"count from the start of the run, and {folder.metrics} does not say how many "
                                         f"are over; give --steps")
        training.fix_minutes(run, text, quiet, length.minutes, spent)
    if run.out_of_patience:
        training.warn(f"there was no better than step {run.best and run.best.step} for {run.config.patience} evaluations, "
                      f"so this run does not go on; give a larger --patience")


def _fine_tune(old: Run, text: Corpus, length: TrainConfig, quiet: bool) -> Run:
    """A new run that begins with the weights of ``old``; says what becomes of the characters."""
    from charrnn.cli import _training as training
    from charrnn.training.run import Run

    config = replace(old.config, steps=length.steps, epochs=length.epochs, minutes=length.minutes, eval_every=None,
                     threads=length.threads or old.config.threads)
    run, fresh = Run.start_from(old, text, config)
    shown = "".join(fresh[:40]) + (" ..." if len(fresh) > 40 else "")
    training.say(training.describe_corpus(text), quiet)
    training.say(f"{len(text.vocabulary) - len(fresh):,} of its characters are known; "
                 + (f"{len(fresh):,} get fresh weights: {shown}" if fresh else "none needs fresh weights"), quiet)
    training.say_batch(run, old.config.batch_size, quiet)
    if run.config.steps is None:
        training.fix_minutes(run, text, quiet)
    return run


def _differences(run: Run, now: dict[str, str], threads: int) -> list[str]:
    """What is not as it was when the checkpoint was written."""
    then = run.environment
    found = [f"{name} was {then[name]!r} and is {now.get(name)!r}" for name in then if now.get(name) != then[name]]
    if threads != run.config.threads:
        found.append(f"threads were {run.config.threads} and are {threads}")
    return found
