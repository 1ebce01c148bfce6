"""Contents of small pages, made by hand, for the tests of the page."""

from __future__ import annotations

from typing import Any

import numpy as np
from small_models import make_model

from charrnn.inference.language_model import LanguageModel
from charrnn.page.contents import Contents
from charrnn.page.units import NamedUnit
from charrnn.training.curves import Curves, Points
from charrnn.training.samples import Sample

HOSTILE = ("</script><script>hit = 1</script><!-- ]]> <![CDATA[ <img src=x onerror=\"hit = 1\"> '\"`& {{ 1 }} %} </pre>"
           "</textarea></title></style>\u202e\u2066\0\x1b[31m\ud800\udc00 \ud83d \r \u2028 </svg>")
"""What would end each element of the page, or run, if it were not escaped; controls, and half of a surrogate pair."""


def small_contents(model: LanguageModel | None = None, **parts: Any) -> Contents:
    """Return the contents of a page without optional parts; ``parts`` replaces some."""
    model = make_model() if model is None else model
    made = Contents("demo", "A small network.", model, [("network", ["small"])], [], "abc de", [(0.5, "ab"), (0.75, "\nb"),
                                                                                             (1.0, "c")], [])
    return made._replace(**parts)


def named_unit(unit: int, name: str = "inside quotation marks", part: str = "cell", **values: Any) -> NamedUnit:
    """Return a unit of the first layer that has a name."""
    made = NamedUnit(0, part, unit, name, "AUC", 0.987, 0.9, 1, -0.5, 0.5)
    return made._replace(**values)


def curves(count: int = 40, name: str = "demo", baseline: float | None = 2.0, **parts: Any) -> Curves:
    """Return falling losses of ``count`` steps."""
    steps = np.arange(1.0, count + 1)
    losses = 1.5 + 2 / steps
    made = Curves(name, "char", Points(steps, losses), Points(steps[4::5], losses[4::5] + 0.1),
                  Points(steps, 0.01 / np.sqrt(steps)), baseline)
    return made._replace(**parts)


def samples(*texts: str) -> list[Sample]:
    """Return samples after 0, 1, 2, 4, ... steps."""
    steps = [0, *(2**k for k in range(len(texts) - 1))]
    return [Sample(step, text, 3.0 / (1 + step) if step else None, "", 1) for step, text in zip(steps, texts)]


def full_contents(model: LanguageModel | None = None, **parts: Any) -> Contents:
    """Return contents with units, curves and samples."""
    whole = {"units": [named_unit(0), named_unit(2, "position in the line", kind="r", score=0.83, direction=-1)],
             "curves": curves(), "samples": samples("", "\nfirst", "aa", "abc", "abc de"),
             "settings": [("cell", ["lstm"]), ("seed", ["1"])]}
    return small_contents(model, **{**whole, **parts})
