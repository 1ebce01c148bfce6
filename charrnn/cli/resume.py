"""``charrnn resume``"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli.options import quiet, setting
from charrnn.config import TrainConfig
from charrnn.errors import ConfigError, RunError

if TYPE_CHECKING:
    from charrnn.corpus import Corpus
    from charrnn.run import Run
    from charrnn.run_folder import RunFolder


@click.command(name="resume")
@click.argument("run_or_checkpoint", type=click.Path())
@click.option("--corpus", metavar="FILE", type=click.Path(), multiple=True,
              help="Where the training text is now, if not where it was; several times for several files.")
@click.option("--encoding", metavar="NAME", help="Encoding of --corpus.  [default: as before]")
@click.option("--fine-tune", is_flag=True, help="--corpus is another text, which a new run (--name) is to learn.")
@setting(TrainConfig, "epochs")
@setting(TrainConfig, "steps")
@click.option("--minutes", type=float, metavar="X",
              help="Length of the training in minutes, those before the stop included.")
@click.option("--threads", type=int, metavar="N",
              help="Threads that share the streams; by default as many as before, which gives the same bits.")
@click.option("--name", metavar="NEW", help="Start a new run from this state, in a folder of this name beside the old one.")
@quiet
def command(run_or_checkpoint: str, corpus: tuple[str, ...], encoding: str | None, fine_tune: bool, epochs: float | None,
            steps: int | None, minutes: float | None, threads: int | None, name: str | None, quiet: bool) -> None:
    """Go on with a training, exactly where it stood, to the end of its plan.

    RUN_OR_CHECKPOINT is a run folder, whose last.h5 is taken, or a checkpoint. --epochs, --steps and --minutes make the
    plan longer; they count from the start of the run. Another state than the run's last one can only be gone on with
    in a new run (--name).

    With --fine-tune the weights are kept and all else begins anew, on the text that --corpus names: step, plan,
    optimizer and vocabulary. A character that the model does not know gets fresh weights.
    """
    length = TrainConfig(epochs=epochs, steps=steps, minutes=minutes, threads=threads)
    if fine_tune and not (corpus and name):
        raise ConfigError("fine_tune", "needs the other text and a new run; give --corpus FILE and --name NEW")

    from charrnn.cli import training
    from charrnn.run import Run
    from charrnn.run_folder import RunFolder, checkpoint_at

    path = checkpoint_at(run_or_checkpoint, "last")
    old = RunFolder.of(path)
    folder = _new_folder(old, name) if name is not None else old
    if folder is None or (name is None and path.name != "last.h5"):
        raise RunError(f"{path}: is not the last state of a run; give --name NEW to start a new run from it")
    run = Run.load(path)
    text = _open(run, path, corpus, encoding)
    if fine_tune:
        run = _fine_tune(run, text, length, quiet)
        folder.make()
    else:
        _go_on(run, text, length, old or folder)
        if name is not None:
            folder.begin_with(run, old)
    training.say(f"{path}: {training.describe_model(run)}\nAfter step {run.step:,} of {training.describe_plan(run)}", quiet)
    training.go_on(run, text, folder, quiet)


def _new_folder(old: RunFolder | None, name: str) -> RunFolder:
    from charrnn.run_folder import RunFolder

    return RunFolder.at(old.path.resolve().parent if old else Path("checkpoints"), name)


def _open(run: Run, path: Path, corpus: tuple[str, ...], encoding: str | None) -> Corpus:
    from charrnn.corpus import STANDARD_INPUT, Corpus

    if not corpus and STANDARD_INPUT in run.source.names:
        raise RunError(f"{path}: was trained on a text from standard input; name a file with that text with --corpus")
    reading = run.source.reading
    return Corpus.open(corpus or run.source.names, reading._replace(encoding=encoding or reading.encoding))


def _go_on(run: Run, text: Corpus, length: TrainConfig, folder: RunFolder) -> None:
    """Make ``run`` ready for its next step here and now, with the length that was asked for."""
    from charrnn.cli import training
    from charrnn.metrics import Metrics
    from charrnn.run import environment
    from charrnn.trainer import fix_plan

    if run.source.fingerprint != text.fingerprint:
        raise RunError(f"{', '.join(text.sources)}: is not the text this run was trained on ({run.source.characters:,} "
                       f"characters then, {len(text):,} now); name that one with --corpus, or learn this one with "
                       f"--corpus FILE --fine-tune --name NEW")
    threads = min(length.threads or run.config.threads or 1, run.config.batch_size)
    now = environment(run.model.dtype)
    if differences := _differences(run, now, threads):
        training.warn(f"{', '.join(differences)}; the result may differ in its last bits")
    run.environment, run.config = now, replace(run.config, threads=threads)
    run.source = run.source._replace(names=text.sources, encoding=text.reading.encoding, errors=text.reading.errors)
    if length.steps is not None or length.epochs is not None:
        run.plan(length.steps or max(1, round((length.epochs or 0) * run.source.windows)))
    elif length.minutes is not None:
        fix_plan(run, text, length.minutes, Metrics(folder.metrics, run.step).seconds)


def _fine_tune(old: Run, text: Corpus, length: TrainConfig, quiet: bool) -> Run:
    """A new run that begins with the weights of ``old``; says what becomes of the characters."""
    from charrnn.cli import training
    from charrnn.run import Run
    from charrnn.trainer import fix_plan

    config = replace(old.config, steps=length.steps, epochs=length.epochs, minutes=length.minutes, eval_every=None,
                     threads=length.threads or old.config.threads)
    run, fresh = Run.start_from(old, text, config)
    shown = "".join(fresh[:40]).encode("unicode_escape").decode() + (" ..." if len(fresh) > 40 else "")
    training.say(training.describe_corpus(text), quiet)
    training.say(f"{len(text.vocabulary) - len(fresh):,} of its characters are known; "
                 + (f"{len(fresh):,} get fresh weights: {shown}" if fresh else "none needs fresh weights"), quiet)
    if run.config.steps is None:
        fix_plan(run, text)
    return run


def _differences(run: Run, now: dict[str, str], threads: int) -> list[str]:
    """What is not as it was when the checkpoint was written."""
    then = run.environment
    found = [f"{name} was {then[name]!r} and is {now.get(name)!r}" for name in then if now.get(name) != then[name]]
    if threads != run.config.threads:
        found.append(f"threads were {run.config.threads} and are {threads}")
    return found
