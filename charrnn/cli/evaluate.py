"""``charrnn evaluate``"""

from __future__ import annotations

import click

from charrnn.cli.options import encoding, errors
from charrnn.errors import CorpusError, RunError


@click.command(name="evaluate")
@click.argument("run_or_checkpoint", type=click.Path())
@click.argument("text_file", required=False, type=click.Path())
@click.option("--streams", type=int, metavar="N", help="Parallel streams the text is read in, each from a zero state; 1 is "
              "the reference.  [default: as many as leave each 4,000 characters, at most 64]")
@encoding
@errors
def command(run_or_checkpoint: str, text_file: str | None, streams: int | None, encoding: str, errors: str) -> None:
    """Print how well a model predicts a text, in nats and bits per character and as perplexity; less is better.

    RUN_OR_CHECKPOINT is a run folder, whose best.h5 is taken, or a checkpoint. Without TEXT_FILE the text is the
    validation part of the corpus it was trained on (and its test part, where there is one).
    """
    from charrnn.cli.training import text_of
    from charrnn.corpus import Reading, read_text
    from charrnn.evaluation import evaluate
    from charrnn.run import Run
    from charrnn.run_folder import checkpoint_at

    reading = Reading(encoding, errors).check()
    run = Run.load(checkpoint_at(run_or_checkpoint))
    if text_file is not None:
        ids = run.vocabulary.encode(read_text(text_file, reading))
        if len(ids) < 2:
            raise CorpusError(f"{text_file}: has {len(ids)} characters, and 2 are the least; give a longer text")
        click.echo(evaluate(run.model, ids, streams=streams).line("text"))
        return
    corpus = text_of(run, run_or_checkpoint, "name a TEXT_FILE")
    if corpus.fingerprint != run.source.fingerprint:
        raise CorpusError(f"{', '.join(corpus.sources)}: is no longer the text the model was trained on; name a TEXT_FILE")
    split = corpus.split(run.config.validation, run.config.test)
    if not len(split.test) and not len(split.validation):
        raise RunError(f"{run_or_checkpoint}: was trained without a validation part; name a TEXT_FILE")
    for name, part in (("test", split.test), ("validation", split.validation)):
        if len(part):
            click.echo(evaluate(run.model, part, streams=streams).line(name))
