"""The page for Python and for notebooks."""

from __future__ import annotations

import html
from pathlib import Path

from charrnn.errors import CharRNNError
from charrnn.inference.language_model import LanguageModel
from charrnn.page.contents import contents_of_model, contents_of_run
from charrnn.page.page import model_page
from charrnn.storage.atomic import replace_file
from charrnn.text.corpus import Corpus
from charrnn.text.split import Split
from charrnn.training.prepare import corpus_of
from charrnn.training.run import Run

_MOST_PARAMETERS = 5_000_000
"""A larger model is not shown in a notebook, because its page would add more than 13 MB to the notebook."""


def to_bytes(page: str) -> bytes:
    """Return the bytes of a page or a module. What cannot be encoded, such as half of a surrogate pair, becomes "?"."""
    return page.encode("utf-8", "replace")


def write_page(path: str | Path, run: Run, text: Corpus | Split | None, dtype: str) -> None:
    """Write the page of a run; see ``Run.page``."""
    if text is None:
        split = _split_of(run)
    else:
        split = text if isinstance(text, Split) else run.split(text)
    replace_file(path, [to_bytes(model_page(contents_of_run(run, split), dtype))])


def in_notebook(model: LanguageModel) -> str | None:
    """Return a frame with the page of a model, without access to the notebook.

    Return None if the model is large, or if it cannot run in a page.
    """
    if model.network.parameters.flat.size > _MOST_PARAMETERS:
        return None
    try:
        page = model_page(contents_of_model(model, "Model"))
    except (CharRNNError, ValueError):  # ValueError: the weights are not finite
        return None
    return (f'<iframe sandbox="allow-scripts allow-forms" srcdoc="{html.escape(page)}" title="charrnn model" width="100%" '
            'height="720"></iframe>')


def _split_of(run: Run) -> Split | None:
    """Return the text of a run, if its files still exist and have not changed."""
    try:
        return run.split(corpus_of(run.source, run.model.text_config, "", ""))
    except CharRNNError:
        return None
