"""``charrnn train``"""

from __future__ import annotations

from typing import Any

import click

from charrnn.cli._options import pick, quiet, settings
from charrnn.config import CHOSEN, ModelConfig, Reading, TrainConfig


@click.command(name="train")
@click.argument("corpus", nargs=-1, type=click.Path())
@settings(ModelConfig, chosen=CHOSEN)
@settings(TrainConfig)
@settings(Reading)
@click.option("--name", metavar="NAME", help="Name of the run's folder; by default made of corpus, cell and hidden size.")
@click.option("--checkpoints", metavar="DIR", default="checkpoints", show_default=True, type=click.Path(),
              help="Folder in which runs lie.")
@click.option("--overwrite", is_flag=True, help="Replace a run of the same name.")
@quiet
def command(corpus: tuple[str, ...], name: str | None, checkpoints: str, overwrite: bool,
            quiet: bool, **values: Any) -> None:
    """Train a model on CORPUS: text files and folders, one after the other; '-' is standard input.

    Without CORPUS it trains on the language reference that comes with Python; 'charrnn corpora' lists more. Where no
    hidden size is named, it and what is dropped are chosen for the text, the length of the training and the cores. The
    run lies in CHECKPOINTS/NAME: best.h5, last.h5 and metrics.csv. Ctrl-C stops and saves; 'charrnn resume' goes on.
    Standard output gets one line, the validation loss of best.h5.
    """
    named = {name: value for name, value in pick(ModelConfig, values).items() if value is not None}
    model_config, train_config = ModelConfig(**named), TrainConfig(**pick(TrainConfig, values))
    reading = Reading(**values)

    from charrnn.cli import _training as training
    from charrnn.text.corpus import BUILT_IN
    from charrnn.text.files import STANDARD_INPUT
    from charrnn.training.run import Run
    from charrnn.training.run_folder import RunFolder

    folder = RunFolder.at(checkpoints, name, overwrite) if name is not None else None
    text = training.read(corpus or (BUILT_IN,), reading, quiet)
    model_config = training.choose_size(text, model_config, named, train_config)
    if folder is None:
        folder = RunFolder.at(checkpoints, f"{text.name}-{model_config.cell}-{model_config.hidden_size}", overwrite)
    run = Run.start(text, model_config, train_config)
    training.say(training.describe_corpus(text), quiet)
    training.say_choice(model_config, named, quiet)
    training.say(training.describe_model(run), quiet)
    if STANDARD_INPUT in corpus:
        training.warn("a text from standard input is not there any more later: 'charrnn resume' will need --corpus FILE")
    training.say_batch(run, train_config.batch_size, quiet)
    if run.config.steps is None:
        training.fix_minutes(run, text, quiet)
    training.say(training.describe_plan(run), quiet)
    folder.make()
    training.go_on(run, text, folder, quiet)
