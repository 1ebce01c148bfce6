"""Options made of the settings, so that each default, range and help text exists once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import click

from charrnn.config import ModelConfig, TextConfig, TrainConfig

Kind = type[TextConfig] | type[ModelConfig] | type[TrainConfig]
Command = TypeVar("Command", bound=Callable[..., Any])

quiet = click.option("--quiet", "-q", is_flag=True, help="Show nothing but warnings, errors and the result.")

_METAVARS = {int: "N", float: "X", str: "NAME", "glob": "PATTERN"}
_SHARES = ("dropout", "weight_drop")
_OPPOSITES = {"stateful": "stateless", "recover": "no-recover"}


def setting(config: Kind, name: str, keep_default: bool = True, instead: str = "") -> Callable[[Command], Command]:
    """The option for a field of a config; without ``keep_default`` it is None where it is not given, which ``instead``
    explains."""
    (item,) = [item for item in dataclasses.fields(config) if item.name == name]
    rule = item.metadata
    flag = "--" + name.replace("_", "-")
    text = rule["help"]
    if rule["kind"] is bool and not item.default:
        return click.option(flag, name, is_flag=True, help=text)
    if rule["kind"] is bool:
        return click.option(f"--{name}/--{_OPPOSITES[name]}", name, default=item.default, show_default=True, help=text)
    default = item.default if keep_default else None
    if instead:
        text += f"  [default: {instead}]"
    if default is not None:
        text += f"  [default: {default:g}]" if rule["kind"] is not str else f"  [default: {default}]"
    kind = click.Choice(rule["range"]["choices"]) if rule["range"]["choices"] else rule["kind"]
    metavar = None if rule["range"]["choices"] else "P" if name in _SHARES else _METAVARS.get(name, _METAVARS[rule["kind"]])
    return click.option(flag, name, type=kind, default=default, metavar=metavar, help=text)


def settings(config: Kind, chosen: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """The options for all fields of a config, in their order; those that are ``chosen`` have no fixed default."""
    def decorate(command: Command) -> Command:
        for item in reversed(dataclasses.fields(config)):
            is_chosen = item.name in chosen
            command = setting(config, item.name, not is_chosen, "chosen" if is_chosen else "")(command)
        return command

    return decorate


def pick(config: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Take what belongs to ``config`` out of ``values``."""
    return {item.name: values.pop(item.name) for item in dataclasses.fields(config)}
