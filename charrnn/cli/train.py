"""``charrnn train``"""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from charrnn.cli._options import Command, Option, pick, quiet, settings
from charrnn.config import AUTO, CHOSEN, ModelConfig, TextConfig, TrainConfig


@click.command(name="train", cls=Command, main_options=("start_from", "minutes", "hidden_size", "documents", "name",
                                                       "seed"))
@click.argument("corpus", nargs=-1, type=click.Path())
@settings(ModelConfig, chosen=CHOSEN)
@settings(TrainConfig)
@settings(TextConfig)
@click.option("--from", "start_from", metavar="MODEL", default=AUTO, cls=Option, group="Model",
              help="Start from the weights of a run, a file or 'english'; none = from scratch.  [default: 'english' if it "
                   "helps]")
@click.option("--name", metavar="NAME", cls=Option, group="Saving",
              help="Name of the run's folder.  [default: CORPUS-CELL-SIZE or CORPUS-from-MODEL]")
@click.option("--checkpoints", metavar="DIR", default="checkpoints", show_default=True, type=click.Path(), cls=Option,
              group="Saving", help="Folder for runs.")
@click.option("--overwrite", is_flag=True, cls=Option, group="Saving", help="Replace a run of the same name.")
@quiet
@click.pass_context
def command(ctx: click.Context, /, corpus: tuple[str, ...], start_from: str, name: str | None, checkpoints: str,
            overwrite: bool, quiet: bool, **values: Any) -> None:
    """Train a model on CORPUS: text files and folders, one after the other; '-' is standard input.

    Without CORPUS, the text is the language reference that comes with Python; 'charrnn corpora' lists more texts.

    By default, training starts from the weights of the bundled model 'english' if that model predicts the text well. From
    scratch and without --hidden-size, the size and the dropout are chosen for the text, the length of training and the
    number of cores; with --minutes, the text is then read at most 50 times, even if there is time for more.

    The run is saved in CHECKPOINTS/NAME: best.h5, last.h5, metrics.csv and samples.jsonl. Ctrl-C saves and stops; 'charrnn
    resume' continues. SIGUSR1 saves, and training continues. The last line, on standard output, is the validation loss of
    best.h5.
    """
    model = {name: value for name, value in pick(ModelConfig, values).items()
             if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    ModelConfig(**model)
    train_config, text_config = TrainConfig(**pick(TrainConfig, values)), TextConfig(**values)

    from charrnn.cli._loop import Printer, carry_out
    from charrnn.text.corpus import DEFAULT_CORPUS
    from charrnn.training.prepare import prepare

    with Printer(quiet) as printer:
        job = prepare(corpus or (DEFAULT_CORPUS,), text_config, model, train_config, printer,
                      start_from=start_from, name=name, checkpoints=checkpoints, overwrite=overwrite)
        carry_out(job, printer)
