"""The values of ``--grid``: "hidden-size=128,256" -> {"hidden_size": [128, 256]}."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError

_WORDS = {"yes": True, "true": True, "no": False, "false": False}


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Parse strings such as "hidden-size=128,256" into settings and values. Raises ConfigError if one is malformed."""
    kinds = {item.name: item.metadata["kind"]
             for config in (ModelConfig, TrainConfig) for item in dataclasses.fields(config)}
    grid: dict[str, list[Any]] = {}
    for text in texts:
        flag, equals, values = text.partition("=")
        name = flag.strip().replace("-", "_")
        if not equals:
            raise ConfigError("grid", f"{text!r} has no values", "write them as in hidden-size=128,256")
        if name not in kinds:
            raise ConfigError("grid", f"{flag!r} is not a setting of the model or of training",
                              "use a name such as hidden-size or learning-rate")
        if name in grid:
            raise ConfigError("grid", f"contains {flag} twice", "write all its values after one '='")
        grid[name] = [_value(flag, kinds[name], value.strip()) for value in values.split(",")]
        if len(set(grid[name])) < len(grid[name]):
            raise ConfigError("grid", f"contains a value of {flag} twice", "remove the duplicate")
    return grid


def _value(flag: str, kind: type, text: str) -> Any:
    try:
        return _WORDS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError) as error:
        wanted = {bool: "yes or no", int: "a whole number", float: "a number"}[kind]
        raise ConfigError("grid", f"{flag} must be {wanted}, not {text!r}") from error
