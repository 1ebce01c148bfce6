"""``charrnn evaluate``"""

from __future__ import annotations

import click

from charrnn.cli._options import setting
from charrnn.config import TextConfig
from charrnn.errors import ConfigError, CorpusError, RunError


@click.command(name="evaluate")
@click.argument("run_or_checkpoint", type=click.Path())
@click.argument("text_file", required=False, type=click.Path())
@click.option("--streams", type=int, metavar="N", help="Read the text in N parallel streams; 1 is the most exact.  "
              "[default: one for each 4,000 characters, at most 64]")
@click.option("--window", type=int, metavar="N", help="Read windows of N characters that each start without context, "
              "instead of carrying the state.")
@setting(TextConfig, "encoding", keep_default=False, unset="as in training")
@setting(TextConfig, "errors", keep_default=False, unset="as in training")
def command(run_or_checkpoint: str, text_file: str | None, streams: int | None, window: int | None, encoding: str | None,
            errors: str | None) -> None:
    """Measure how well a model predicts a text; lower is better.

    Prints nats and bits per character, the perplexity, and how the text was read. RUN_OR_CHECKPOINT is a run folder (whose
    best.h5 is used), the name of a run in checkpoints/, a checkpoint, a model file or 'english', the bundled model. With
    the last two, pass a TEXT_FILE. Without TEXT_FILE, the text is the validation part of the corpus that the model was
    trained on, and the test part if there is one.
    """
    from charrnn.cli._corpus import read_corpus, reading_progress, say_folded, say_warnings
    from charrnn.inference.bundled import name_of, provenance
    from charrnn.inference.evaluation import evaluate
    from charrnn.inference.language_model import is_only_a_model, load
    from charrnn.inference.locate import checkpoint_at
    from charrnn.training.prepare import changed, corpus_of
    from charrnn.training.run import Run

    if streams is not None and window is not None:
        raise ConfigError("window", "cannot be combined with `streams`", "pass one of them")
    for name, value in (("encoding", encoding), ("errors", errors)):
        if value is not None and text_file is None:
            raise ConfigError(name, "applies only to a TEXT_FILE", "pass a TEXT_FILE too")
    path = checkpoint_at(run_or_checkpoint)
    if text_file is not None:
        model = load(path)
        text_config = changed(model.text_config, encoding, errors)
        text = read_corpus([text_file], text_config, False, vocabulary=model.vocabulary)
        if len(text) < 2:
            raise CorpusError(f"{text_file}: has {len(text)} character, and an evaluation needs at least 2",
                              "choose a longer text")
        say_folded(text.folded, text.unknown_fraction())
        found = evaluate(model.network, text.ids, streams=streams, window=window, starts=text.starts)
        click.echo(found.marked(provenance(model.origin, text)).line("text", text_config.level))
        return
    if is_only_a_model(path):
        raise RunError(f"{name_of(path)}: contains only a model and no text", "pass a TEXT_FILE")
    run = Run.load(path)
    with reading_progress(False) as on_bytes:
        corpus = corpus_of(run.source, run.model.text_config, run_or_checkpoint, "pass a TEXT_FILE", on_bytes)
    say_warnings(corpus)
    split = run.split(corpus)
    if not len(split.test) and not len(split.validation):
        raise RunError(f"{run_or_checkpoint}: was trained without a validation part", "pass a TEXT_FILE")
    for name, part in (("test", split.test), ("validation", split.validation)):
        if len(part):
            found = evaluate(run.model.network, part.ids, streams=streams, window=window, starts=part.starts)
            click.echo(found.marked(str(run.model.origin or "")).line(name, run.model.text_config.level))
