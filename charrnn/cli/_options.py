"""Options made from the settings, so that each default, range and help text is declared once; help in groups."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from itertools import starmap
from typing import TYPE_CHECKING, Any, TypeVar

import click

from charrnn.cli._console import argument_text, option
from charrnn.config import CHOSEN, NONE, ModelConfig, TextConfig, TrainConfig
from charrnn.errors import with_parameters
from charrnn.system import quoted
from charrnn.text.files import STANDARD_INPUT

if TYPE_CHECKING:
    from charrnn.training.run import Run

Config = type[TextConfig] | type[ModelConfig] | type[TrainConfig]
Function = TypeVar("Function", bound=Callable[..., Any])

MAIN = "Main options"
_GROUPS = (MAIN, "Length", "Choice of characters", "Model", "Text", "Optimization", "Evaluation", "Saving", "Other")
"""The sections of a help text, in their order."""

_LONGEST_OPTION = 33
"""Columns for an option in a help text; the help of a longer one starts on the next line."""

_METAVARS = {int: "N", float: "X", str: "NAME", "glob": "PATTERN"}


class Option(click.Option):
    """An option that is shown in a group of the help."""

    def __init__(self, *arguments: Any, group: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group


class Command(click.Command):
    """A command that shows its options in groups; ``main_options`` are the names of the most important ones."""

    def __init__(self, *arguments: Any, main_options: tuple[str, ...] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.main_options = main_options

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group of options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        for parameter in sorted(options, key=self._rank):
            if record := parameter.get_help_record(ctx):
                groups.setdefault(self._group(parameter), []).append(record)
        for group in sorted(groups, key=_GROUPS.index):
            with formatter.section(group):
                formatter.write_dl(groups[group], col_max=_LONGEST_OPTION)

    def _group(self, parameter: click.Parameter) -> str:
        return MAIN if parameter.name in self.main_options else getattr(parameter, "group", "Other")

    def _rank(self, parameter: click.Parameter) -> int:
        return self.main_options.index(parameter.name) if parameter.name in self.main_options else len(self.main_options)


class _Escaped(click.ParamType):
    r"""A text in which ``\n``, ``\t`` and ``\\`` are escapes, because a line break is hard to type."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text with its escapes replaced."""
        escapes = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
        return re.sub(r"\\[nt\\]", lambda match: escapes[match[0]], argument_text(str(value)))


quiet = click.option("--quiet", "-q", is_flag=True, help="Show only warnings, errors and the result.")


def setting(config: Config, name: str, keep_default: bool = True, unset: str = "") -> Callable[[Function], Function]:
    """Return the option for a field of a config.

    Without ``keep_default``, its value is None if the user does not set it; the help shows ``unset`` as the default.
    """
    (item,) = [item for item in dataclasses.fields(config) if item.name == name]
    rule = item.metadata
    flag, settings = option(name), {"cls": Option, "group": rule["group"], "help": with_parameters(rule["help"], option)}
    if rule["kind"] is bool and not item.default:
        return click.option(flag, name, is_flag=True, **settings)
    default = item.default if keep_default else None
    shown = unset or rule["unset"] if default is None else _plain(default)
    if shown:
        settings["help"] += f"  [default: {shown}]"
    if rule["kind"] is bool:
        return click.option(f"{flag}/{option(f'{name}=False')}", name, default=default, **settings)
    range_ = rule["range"]
    if range_["choices"]:  # a long list would widen the column of the options; its help text names them
        shown = "[{}]".format("|".join(range_["choices"]))
        if len(flag) + len(shown) > _LONGEST_OPTION - 2:
            settings["metavar"] = "NAME"
        return click.option(flag, name, type=click.Choice(range_["choices"]), default=default, **settings)
    if name == "separator":
        return click.option(flag, name, type=_Escaped(), default=default, metavar="TEXT", **settings)
    metavar = "P" if 1 in (range_["below"], range_["most"]) else _METAVARS.get(name, _METAVARS[rule["kind"]])
    return click.option(flag, name, type=rule["kind"], default=default, metavar=metavar, **settings)


def _plain(value: Any) -> str:
    return "on" if value is True else f"{value:g}" if isinstance(value, (int, float)) else str(value)


def settings(config: Config, chosen: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Return the options for all fields of a config, in their order; ``chosen`` are those without a fixed default."""
    def decorate(command: Function) -> Function:
        for item in reversed(dataclasses.fields(config)):
            is_chosen = item.name in chosen
            command = setting(config, item.name, not is_chosen, "chosen" if is_chosen else "")(command)
        return command

    return decorate


def pick(config: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Remove the settings of ``config`` from ``values`` and return them."""
    return {item.name: values.pop(item.name) for item in dataclasses.fields(config)}


def train_command(run: Run) -> str:
    """Return the command that trains a run again, from the start to its planned end.

    Settings that have their default value are left out, unless the default depends on the text or the machine.
    """
    origin = run.model.origin
    values: dict[str, Any] = {"start_from": NONE if origin is None else origin.names[0]}
    for config in (run.model.text_config, run.model.network.config, run.config):
        values |= {item.name: getattr(config, item.name) for item in dataclasses.fields(config)
                   if item.name in CHOSEN or getattr(config, item.name) != item.default}
    names = [f"./{name}" if name.startswith("-") and name != STANDARD_INPUT else name for name in run.source.names]
    return " ".join(["charrnn train", *map(quoted, names), *starmap(_with_value, values.items())])


def _with_value(name: str, value: Any) -> str:
    """Return the option that sets a setting to exactly this value."""
    if isinstance(value, bool):
        return option(f"{name}={value}")
    text = str(value).removesuffix(".0") if isinstance(value, float) else str(value)
    if name == "separator":
        text = text.replace("\\", r"\\").replace("\n", r"\n").replace("\t", r"\t")
    return f"{option(name)} {quoted(text)}"
