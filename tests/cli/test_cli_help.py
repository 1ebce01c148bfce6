"""The help of the commands: groups, lengths, names of options."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from command_line import Cli

from charrnn.cli import _COMMANDS, charrnn
from charrnn.cli._console import option
from charrnn.cli._options import _GROUPS, MAIN, Command, Option, setting
from charrnn.config import TextConfig


def commands(group: click.Group = charrnn, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield all commands and subcommands, each with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands())
LONG = [path for path, command in ALL.items() if len(command.params) > 8]


def sections(help_text: str) -> dict[str, list[list[str]]]:
    """Return the sections of a help text: lists of their items, each a list of lines."""
    found: dict[str, list[list[str]]] = {}
    for line in help_text.splitlines():
        if re.match(r"[A-Z][a-z ]*:$", line):
            found[line[:-1]] = items = []
        elif found and re.match(r"  \S", line):
            items.append([line])
        elif found and line:
            items[-1].append(line)
    return found


def flags(item: list[str]) -> list[str]:
    """Return the options that an item of a help text shows."""
    return re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", item[0].strip().partition("  ")[0])


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_of_every_command_is_in_exactly_one_group(cli: Cli, path: tuple[str, ...]) -> None:
    items = [item for items in sections(cli(*path, "--help").out).values() for item in items]
    shown = [flag for item in items for flag in flags(item)]
    expected = [flag for parameter in ALL[path].params if isinstance(parameter, click.Option)
                for flag in (*parameter.opts, *parameter.secondary_opts)]
    assert sorted(shown) == sorted([*expected, "-h", "--help"])


@pytest.mark.parametrize("path", LONG, ids=" ".join)
def test_a_command_with_many_options_shows_them_by_purpose(cli: Cli, path: tuple[str, ...]) -> None:
    names = list(sections(cli(*path, "--help").out))
    assert len(names) > 1
    assert names == [group for group in _GROUPS if group in names]
    assert names[-1] == "Other"


def test_long_commands_are_found() -> None:
    assert {("train",), ("sweep",), ("resume",), ("sample",), ("prepare",), ("baseline",)} <= set(LONG)


@pytest.mark.parametrize("path", [path for path, command in ALL.items() if isinstance(command, Command)], ids=" ".join)
def test_the_main_options_come_first_and_in_their_order(cli: Cli, path: tuple[str, ...]) -> None:
    main = [option(name) for name in ALL[path].main_options]
    shown = sections(cli(*path, "--help").out)
    assert [flag for item in shown.get(MAIN, []) for flag in flags(item)] == main
    assert not main or next(iter(shown)) == MAIN


def test_train_has_six_main_options(cli: Cli) -> None:
    shown = sections(cli("train", "--help").out)
    assert len(shown[MAIN]) == 6
    assert list(shown) == [MAIN, "Length", "Model", "Text", "Optimization", "Evaluation", "Saving", "Other"]


def test_an_unknown_group_is_an_error() -> None:
    command = Command("new", params=[Option(["--other"], group="Nowhere", help="Something.")])
    with pytest.raises(ValueError, match="not in tuple"):
        command.get_help(click.Context(command))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_help_of_an_option_names_all_its_choices(cli: Cli, path: tuple[str, ...]) -> None:
    text = {flag: " ".join(item) for items in sections(cli(*path, "--help").out).values() for item in items
            for flag in flags(item)}
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option) and isinstance(parameter.type, click.Choice):
            assert set(parameter.type.choices) <= set(re.findall(r"[\w-]+", text[parameter.opts[0]])), parameter


@pytest.mark.parametrize("path", LONG, ids=" ".join)
def test_an_option_takes_at_most_three_short_lines(cli: Cli, path: tuple[str, ...]) -> None:
    """At most two lines of help; a long option has its help on the next line."""
    for items in sections(cli(*path, "--help").out).values():
        for item in items:
            text = [line for line in item if re.search(r"\S  +\S|^ {10}", line)]
            assert len(text) <= 2, item
            assert all(len(line) <= 80 for line in item)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_names_options_and_not_parameters(cli: Cli, path: tuple[str, ...]) -> None:
    assert "`" not in cli(*path, "--help").out


def test_help_shows_parameters_as_options(monkeypatch: pytest.MonkeyPatch) -> None:
    field = TextConfig.__dataclass_fields__["glob"]
    monkeypatch.setattr(field, "metadata", {**field.metadata, "help": "See `documents` and `start_from='none'`."})
    command = setting(TextConfig, "glob")(lambda: None)
    (found,) = command.__click_params__  # type: ignore[attr-defined]
    assert found.help.startswith("See --documents and --from none.")


def test_a_flag_that_is_on_by_default_has_an_opposite(cli: Cli) -> None:
    shown = [flags(item) for items in sections(cli("train", "--help").out).values() for item in items]
    assert ["--stateful", "--no-stateful"] in shown
    assert ["--recover", "--no-recover"] in shown


def test_the_commands_are_listed_by_purpose(cli: Cli) -> None:
    answer = cli("--help")
    groups = {group: [item[0].split()[0] for item in items] for group, items in sections(answer.out).items()}
    del groups["Options"]
    assert list(groups) == ["Train", "Use", "Examine", "Texts"]
    assert groups == {group: list(commands) for group, commands in _COMMANDS.items()}
    assert [name for names in groups.values() for name in names] == charrnn.list_commands(click.Context(charrnn))
    assert max(map(len, answer.out.splitlines())) <= 80


def test_without_a_command_the_help_is_shown(cli: Cli) -> None:
    assert cli() == cli("--help")
    assert cli().code == 0
