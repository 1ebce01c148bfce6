"""``charrnn evaluate``"""

from __future__ import annotations

import click

from charrnn.cli._options import setting
from charrnn.config import TextConfig
from charrnn.errors import CorpusError, RunError


@click.command(name="evaluate")
@click.argument("run_or_checkpoint", type=click.Path())
@click.argument("text_file", required=False, type=click.Path())
@click.option("--streams", type=int, metavar="N", help="Parallel streams the text is read in, each from a zero state; 1 is "
              "the reference.  [default: as many as leave each 4,000 characters, at most 64]")
@setting(TextConfig, "encoding", keep_default=False, instead="as in the training")
@setting(TextConfig, "errors", keep_default=False, instead="as in the training")
def command(run_or_checkpoint: str, text_file: str | None, streams: int | None, encoding: str | None,
            errors: str | None) -> None:
    """Print how well a model predicts a text, in nats and bits per character and as perplexity; less is better.

    RUN_OR_CHECKPOINT is a run folder, whose best.h5 is taken, or a checkpoint. Without TEXT_FILE the text is the
    validation part of the corpus it was trained on (and its test part, where there is one).
    """
    from charrnn.cli._corpus import read_corpus, reading_progress, say_folded, say_warnings
    from charrnn.inference.evaluation import evaluate
    from charrnn.inference.language_model import is_only_a_model, load
    from charrnn.inference.locate import checkpoint_at
    from charrnn.training.prepare import changed, corpus_of
    from charrnn.training.run import Run

    path = checkpoint_at(run_or_checkpoint)
    if text_file is not None:
        model = load(path)
        text_config = changed(model.text_config, encoding, errors)
        text = read_corpus([text_file], text_config, False, vocabulary=model.vocabulary)
        if len(text) < 2:
            raise CorpusError(f"{text_file}: has {len(text)} characters, and 2 are the least; give a longer text")
        say_folded(text.folded, text.unknown_fraction())
        click.echo(evaluate(model.network, text.ids, streams=streams, starts=text.starts).line("text", text_config.level))
        return
    if is_only_a_model(path):
        raise RunError(f"{path}: contains only a model and no text; name a TEXT_FILE")
    run = Run.load(path)
    text_config = changed(run.model.text_config, encoding, errors)  # checks them, though the text is read as it was
    with reading_progress(False) as on_bytes:
        corpus = corpus_of(run.source, run.model.text_config, run_or_checkpoint, "name a TEXT_FILE", on_bytes)
    say_warnings(corpus)
    split = run.split(corpus)
    if not len(split.test) and not len(split.validation):
        raise RunError(f"{run_or_checkpoint}: was trained without a validation part; name a TEXT_FILE")
    for name, part in (("test", split.test), ("validation", split.validation)):
        if len(part):
            found = evaluate(run.model.network, part.ids, streams=streams, starts=part.starts)
            click.echo(found.line(name, text_config.level))
