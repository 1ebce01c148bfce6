"""``charrnn novelty``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from charrnn.config import END, NOVELTY_LENGTH
from charrnn.errors import printable

if TYPE_CHECKING:
    import numpy as np

    from charrnn.inference.language_model import LanguageModel

_PASSAGES, _SHOWN = 5, 200
"""Number of passages to print, and of characters to print of each."""


@click.command(name="novelty")
@click.argument("run_or_checkpoint", type=click.Path())
@click.option("--length", type=int, default=NOVELTY_LENGTH, show_default=True, metavar="N",
              help="Characters to generate; at most as many as the validation text has.")
@click.option("--temperature", type=float, default=1.0, show_default=True, metavar="X",
              help="Below 1 favours likely characters, above 1 unlikely ones; 0 is greedy.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="Random seed.")
def command(run_or_checkpoint: str, length: int, temperature: float, seed: int) -> None:
    """Measure how much generated text occurs word for word in the training text.

    Generates text from a model and looks for all its passages of 8, 16 and 32 characters in the training text. The same
    figures for validation text, which the model was not trained on, show how much is usual. Prints the longest passages
    that occur in the training text, with control characters escaped. RUN_OR_CHECKPOINT is a run folder (whose best.h5 is
    used), the name of a run in checkpoints/, or a checkpoint; its training text must still exist.
    """
    from charrnn.cli._console import progress_bar, say
    from charrnn.cli._corpus import load_run, read_corpus_of
    from charrnn.inference.language_model import file_metadata
    from charrnn.inference.locate import BEST, LAST, checkpoint_at
    from charrnn.inference.novelty import compare

    path = checkpoint_at(run_or_checkpoint)
    run = load_run(path, "record of its training text", "pass a run")
    last = path.with_name(LAST)
    if path.name == BEST and run.folder is not None and last.exists() and (end := file_metadata(last)["step"]) != run.step:
        say(printable(f"Reading the best state, after step {run.step:,}; the last one, after step {end:,}, is {last}"))
    split = run.split(read_corpus_of(run, run_or_checkpoint, "put it back to measure the novelty"))
    total = length + len(split.train)
    with progress_bar(False, total=total, unit="char", unit_scale=True, delay=1, leave=False) as progress:
        found = compare(run.model, split, length, temperature=temperature, seed=seed, progress=progress.update)
    columns, rows = found.table(split, run.model)
    for row_name, cells in [("", columns), *rows]:
        click.echo(f"{row_name:<22}" + "".join(f"{cell:>12}" for cell in cells))
    if passages := found.generated.passages(_PASSAGES):
        click.echo("\nThe longest passages of the generated text that occur in the training text:")
    for passage in passages:
        click.echo(f"{passage.length:>7,}  {_shown(found.generated.ids(passage), run.model)}")
    click.echo(f"\n{found.verdict[0].upper()}{found.verdict[1:]}.")


def _shown(ids: np.ndarray, model: LanguageModel) -> str:
    """Return a passage on one line, shortened, with control characters and invalid bytes escaped."""
    text = model.vocabulary.decode(ids).replace(END, "<end>")
    if model.text_config.level == "byte":
        text = text.encode("latin-1").decode("utf-8", "backslashreplace")
    return printable(text[:_SHOWN]) + (" ..." if len(text) > _SHOWN else "")
