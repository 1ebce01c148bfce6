"""``charrnn page``"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._console import option, progress_bar, say
from charrnn.errors import CharRNNError, ConfigError, RunError, printable, with_parameters

if TYPE_CHECKING:
    from charrnn.page.contents import Contents


@click.command(name="page")
@click.argument("run_or_checkpoint", nargs=-1, type=click.Path())
@click.option("--output", "-o", type=click.Path(), metavar="FILE",
              help="File to write; replaced if it exists.  [default: NAME.html]")
@click.option("--float32", is_flag=True, help="Store the weights as float32 instead of float16.")
@click.option("--module", is_flag=True, help="Write a JavaScript module with the model, for use in other pages.")
def command(run_or_checkpoint: tuple[str, ...], output: str | None, float32: bool, module: bool) -> None:
    """Write an HTML page that contains a model and runs it.

    The page is one file that needs no server and no internet connection. It generates text, shades a text by its surprise,
    and shows which units of the network follow a feature of the text, and the samples from the training.

    RUN_OR_CHECKPOINT is a run folder (whose best.h5 is used), the name of a run in checkpoints/, a checkpoint, a model file
    or 'english', the bundled model. Without it, the page shows the newest run in checkpoints/.

    The page contains an excerpt of the validation text. With several runs, the page compares their curves, figures and
    samples, and contains no model.
    """
    from charrnn.inference.language_model import load
    from charrnn.inference.locate import CHECKPOINTS, checkpoint_at, newest_run
    from charrnn.page.api import to_bytes
    from charrnn.page.module import module as module_of
    from charrnn.page.page import comparison_page, model_page
    from charrnn.storage.atomic import replace_file

    newest = None if run_or_checkpoint else newest_run()
    names = run_or_checkpoint or ((str(newest),) if newest is not None else ())
    if not names:
        raise RunError(f"{CHECKPOINTS}: contains no run", "train a model, or use the path of a run folder or a model")
    dtype = "float32" if float32 else "float16"
    if len(names) > 1 and (float32 or module):
        raise ConfigError("float32" if float32 else "module", "needs a model, and a comparison contains none",
                          "pass one run")
    if module:
        path = checkpoint_at(names[0])
        data, default = _holding(names[0], lambda: module_of(load(path), dtype)), f"{_name(names[0])}.js"
    else:
        with progress_bar(False, bar_format="{desc} [{elapsed}]", delay=1, leave=False) as bar:
            found = [_contents(name, title, bar, len(names) == 1) for name, title in zip(names, _titles(names))]
        if len(found) == 1:
            data, default = _holding(names[0], lambda: model_page(found[0], dtype)), f"{_name(names[0])}.html"
        else:
            data, default = comparison_page(found), "comparison.html"
    target = Path(output or default)
    content = to_bytes(data)
    replace_file(target, [content])
    click.echo(printable(f"{target}: {len(content):,} bytes"))


def _holding(name: str, make: Callable[[], str]) -> str:
    """Return the result of ``make``. If the ``dtype`` cannot hold the weights, name the option of this command."""
    try:
        return make()
    except ConfigError as error:
        raise CharRNNError(f"{name}: {error.problem}", error.hint and "pass `float32`") from error


def _contents(given: str, title: str, bar: Any, is_alone: bool) -> Contents:
    """Return the contents of the page of a run or a model. If the text of a run cannot be read, say what is left out."""
    from charrnn.cli._corpus import read_corpus_of
    from charrnn.inference.bundled import name_of
    from charrnn.inference.language_model import is_only_a_model, load
    from charrnn.inference.locate import LAST, checkpoint_at
    from charrnn.page.contents import contents_of_model, contents_of_run
    from charrnn.training.run import Run

    def show(stage: str) -> None:
        bar.set_description_str(stage if is_alone else f"{title}: {stage}", refresh=False)
        bar.update()

    path = checkpoint_at(given, LAST)
    if is_only_a_model(path):
        return contents_of_model(load(path), Path(name_of(path)).stem if is_alone else title, show)
    run = Run.load(path)
    try:
        split = run.split(read_corpus_of(run, given, ""))
    except CharRNNError as error:
        units = "no named units, " * is_alone
        say(printable(f"{with_parameters(error.message, option)}; the page has {units}no novelty and no baseline"))
        split = None
    model = run.model if Path(given).is_file() else run.best
    return contents_of_run(run, split, title, model, show, with_units=is_alone)


def _titles(names: Sequence[str]) -> list[str]:
    """Return the names of runs or models without their folders, or with them if two are the same."""
    titles = [_name(name) for name in names]
    return titles if len(set(titles)) == len(titles) else list(names)


def _name(given: str) -> str:
    """Return the name of a run or a model for a file."""
    path = Path(given).resolve()
    return path.parent.name if path.name in ("best.h5", "last.h5") else path.name.removesuffix(".h5")
