"""``charrnn baseline``"""

from __future__ import annotations

from typing import Any

import click

from charrnn.cli._options import Command, quiet, setting, settings
from charrnn.config import BASELINE_ORDER, TextConfig, TrainConfig
from charrnn.errors import ConfigError

_LONG = 10_000_000
"""Number of characters above which counting takes seconds, so that a progress bar is useful."""


@click.command(name="baseline", cls=Command, main_options=("order",))
@click.argument("corpus", nargs=-1, type=click.Path())
@click.option("--order", type=int, default=BASELINE_ORDER, show_default=True, metavar="N",
              help="Characters of context: 4 counts up to 5-grams, 0 single characters.")
@setting(TrainConfig, "validation")
@setting(TrainConfig, "test")
@settings(TextConfig)
@quiet
def command(corpus: tuple[str, ...], order: int, validation: float | None, test: float, quiet: bool, **values: Any) -> None:
    """Measure the n-gram baseline on CORPUS. A model trained on CORPUS should beat it.

    An n-gram model with interpolated Witten-Bell smoothing counts the n-grams of the training part, and predicts the
    validation part and the test part, if there is one. 'charrnn train' and 'charrnn evaluate' use the same parts, so
    their figures can be compared with the baseline.
    """
    from charrnn.cli._console import progress_bar, say
    from charrnn.cli._corpus import describe_corpus, read_corpus
    from charrnn.inference.ngram import check_order, witten_bell
    from charrnn.text.corpus import DEFAULT_CORPUS

    check_order(order)
    text = read_corpus(corpus or (DEFAULT_CORPUS,), TextConfig(**values), quiet)
    split = text.split(validation, test)
    parts = [(name, part) for name, part in (("test", split.test), ("validation", split.validation)) if len(part)]
    if not parts:
        raise ConfigError("validation", "leaves nothing to predict", "set `validation` or `test` above 0")
    say(describe_corpus(text), quiet)
    total = len(split.train) * len(parts)
    with progress_bar(quiet or total < _LONG, total=total, unit="char", unit_scale=True, leave=False) as progress:
        results = [(name, witten_bell(split.train.ids, part.ids, len(text.vocabulary), order, progress.update))
                   for name, part in parts]
    for name, result in results:
        click.echo(result.line(name, text.text_config.level))
