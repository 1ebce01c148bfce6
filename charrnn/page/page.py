"""The HTML page of a run or a model, and the page that compares several runs."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from charrnn.inference.novelty import percent
from charrnn.page import charts
from charrnn.page.contents import TEMPERATURES, Contents, Rows
from charrnn.page.module import SCRIPTS, static
from charrnn.page.units import NamedUnit
from charrnn.page.weights import PARTS, describe, to_base64
from charrnn.training.curves import check_units
from charrnn.training.samples import Sample

_WORKER = *SCRIPTS, "worker.js"
_SCRIPT = "view.js", "write.js", "read.js", "course.js", "page.js"

_NAMES = {"hidden": "output h", "cell": "cell c", "i": "input gate i", "f": "forget gate f", "o": "output gate o",
          "g": "candidate g", "r": "reset gate r", "z": "update gate z", "n": "candidate n"}
_OF_UNIT = "layer", "part", "unit", "name", "kind", "low", "high"


def model_page(contents: Contents, dtype: str = "float16") -> str:
    """Return the page of a run or a model, with the model inside; its weights have the ``dtype`` float16 or float32.

    Raises ConfigError if ``dtype`` is invalid or cannot hold the weights, CharRNNError if JavaScript has no such cell.
    """
    model, curves = contents.model, contents.curves
    config = model.network.config
    losses = None if curves is None else charts.loss_chart([curves])
    has_rates = curves is not None and len(curves.learning_rate.steps) > 0
    script = static(*_SCRIPT)
    data = {"model": describe(model), "dtype": dtype, "units": [
        {name: getattr(unit, name) for name in _OF_UNIT} for unit in contents.units]}
    layers = [f"layer {k + 1}, " for k in range(config.layers)] if config.layers > 1 else [""]
    return _render(
        "model.html", script, title=contents.name, summary=contents.summary, data=_json(data), worker=static(*_WORKER),
        weights=to_base64(model, dtype), units=[_shown(unit, layers) for unit in contents.units],
        unit="byte" if model.text_config.level == "byte" else "character", temperature=TEMPERATURES[1],
        reading=contents.reading, hidden_size=config.hidden_size,
        parts=[(f"{k}/{part}", layer + _NAMES[part]) for k, layer in enumerate(layers) for part in PARTS[config.cell]],
        samples=[{"x": losses.x(min(sample.step, losses.last)) if losses else 0, "text": sample.text,
                  "when": _when(sample)} for sample in contents.samples],
        losses=losses, has_baseline=curves is not None and curves.baseline is not None,
        rates=charts.rate_chart(curves) if curves is not None and has_rates else None,
        figures=contents.figures, settings=contents.settings, temperatures=contents.temperatures,
        novelty=_novelty(contents), characters=charts.character_map(model))


def comparison_page(runs: Sequence[Contents]) -> str:
    """Return the page that compares several runs: their curves, figures and samples, without the models.

    Raises RunError if the losses of some are per character, and those of others per byte.
    """
    curves = [contents.curves for contents in runs if contents.curves is not None]
    check_units(curves)
    names = [contents.name for contents in runs]
    return _render("compare.html", "", title="Comparison of " + ", ".join(names), names=names, runs=runs,
                   losses=charts.loss_chart(curves) if curves else None,
                   figures=_joined([[*contents.figures, *_copied(contents)] for contents in runs]),
                   settings=[(name, cells) for name, cells in _joined([contents.settings for contents in runs])
                             if len(set(filter(None, cells))) > 1])


def _render(template: str, script: str, **values: Any) -> str:
    """Fill a template. The policy allows only this script and this style, and no requests."""
    style = static("page.css")
    policy = [f"default-src 'none'; style-src '{_digest(style)}'"]
    if script:
        policy.append(f"script-src '{_digest(script)}'; worker-src blob:")
    return _environment().get_template(template).render(
        policy="; ".join([*policy, "base-uri 'none'; form-action 'none'"]), style=style, script=script,
        width=charts.WIDTH, left=charts.LEFT, right=charts.RIGHT, top=charts.TOP, bottom=charts.BOTTOM, **values)


@cache
def _environment() -> Environment:
    return Environment(loader=PackageLoader("charrnn.page"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _json(value: Any) -> str:
    """Return JSON for a script element; an escaped "<" cannot end it."""
    return json.dumps(value).replace("<", "\\u003c")


def _when(sample: Sample) -> str:
    loss = "" if sample.loss is None else f", training loss {sample.loss:.3f}"
    return f"step {sample.step:,}{loss}"


def _shown(unit: NamedUnit, layers: Sequence[str]) -> dict[str, Any]:
    """Return a unit as the page describes it."""
    is_yes = unit.kind == "AUC"
    low, high = (f"{value:.2f}".replace("-0.00", "0.00") for value in (unit.low, unit.high))
    return {
        "name": unit.name, "direction": unit.direction,
        "place": f"{layers[unit.layer]}unit {unit.unit + 1}",
        "figure": (f"AUC {unit.score:.3f}; untrained network {unit.untrained:.3f}" if is_yes else
                   f"r = {unit.direction * unit.score:.2f}; untrained network {unit.untrained:.2f}"),
        "typical": f"median of its {_NAMES[unit.part]}: " + (f"{high} where this is true, {low} elsewhere" if is_yes else
                                                             f"{low} where this is small, {high} where it is large")}


def _novelty(contents: Contents) -> dict[str, Any] | None:
    if contents.novelty is None:
        return None
    head, rows = contents.novelty_table
    verdict = contents.novelty.verdict
    return {"head": ["", *head], "rows": rows, "verdict": f"{verdict[0].upper()}{verdict[1:]}."}


def _copied(contents: Contents) -> Rows:
    """Return the novelty of a run in one row."""
    if contents.novelty is None:
        return []
    size, texts = contents.novelty.size, (contents.novelty.generated, contents.novelty.held_out)
    found = [percent(text.fraction(size)) for text in texts if text is not None]
    return [(f"{size}-grams that occur in the training text", [f"generated text {found[0]}", *(
        f"(validation text {fraction})" for fraction in found[1:])])]


def _joined(tables: Sequence[Rows]) -> Rows:
    """Return one table with a column for each of ``tables``; a row that one of them lacks has an empty cell."""
    names = dict.fromkeys(name for table in tables for name, _ in table)
    cells = [{name: " ".join(values) for name, values in table} for table in tables]
    return [(name, [of.get(name, "") for of in cells]) for name in names]
