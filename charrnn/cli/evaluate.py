"""``charrnn evaluate``"""

from __future__ import annotations

import click

from charrnn.cli._options import setting
from charrnn.config import Reading
from charrnn.errors import CorpusError, RunError


@click.command(name="evaluate")
@click.argument("run_or_checkpoint", type=click.Path())
@click.argument("text_file", required=False, type=click.Path())
@click.option("--streams", type=int, metavar="N", help="Parallel streams the text is read in, each from a zero state; 1 is "
              "the reference.  [default: as many as leave each 4,000 characters, at most 64]")
@setting(Reading, "encoding", keep_default=False, instead="as in the training")
@setting(Reading, "errors", keep_default=False, instead="as in the training")
def command(run_or_checkpoint: str, text_file: str | None, streams: int | None, encoding: str | None,
            errors: str | None) -> None:
    """Print how well a model predicts a text, in nats and bits per character and as perplexity; less is better.

    RUN_OR_CHECKPOINT is a run folder, whose best.h5 is taken, or a checkpoint. Without TEXT_FILE the text is the
    validation part of the corpus it was trained on (and its test part, where there is one).
    """
    from charrnn.cli import _training as training
    from charrnn.inference.evaluation import evaluate
    from charrnn.text.files import listed
    from charrnn.training.run import Run
    from charrnn.training.run_folder import checkpoint_at

    run = Run.load(checkpoint_at(run_or_checkpoint))
    reading = training.changed(run.source.reading, encoding, errors)
    if text_file is not None:
        text = training.read([text_file], reading, False, vocabulary=run.vocabulary)
        if len(text) < 2:
            raise CorpusError(f"{text_file}: has {len(text)} characters, and 2 are the least; give a longer text")
        training.say_folded(text.folded, text.share_unknown())
        click.echo(evaluate(run.model, text.ids, streams=streams, starts=text.starts).line("text", reading.level))
        return
    corpus = training.text_of(run, run_or_checkpoint, "name a TEXT_FILE")
    if corpus.fingerprint != run.source.fingerprint:
        raise CorpusError(f"{listed(corpus.sources)}: is no longer the text the model was trained on; name a TEXT_FILE")
    split, starts = (of(run.config.validation, run.config.test) for of in (corpus.split, corpus.split_starts))
    if not len(split.test) and not len(split.validation):
        raise RunError(f"{run_or_checkpoint}: was trained without a validation part; name a TEXT_FILE")
    for name in ("test", "validation"):
        if len(part := getattr(split, name)):
            found = evaluate(run.model, part, streams=streams, starts=getattr(starts, name))
            click.echo(found.line(name, reading.level))
