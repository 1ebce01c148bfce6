"""charrnn.errors"""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import click
import pytest

from charrnn import errors
from charrnn.cli import charrnn
from charrnn.cli._console import option
from charrnn.errors import CharRNNError, CheckpointError, ConfigError, CorpusError, RunError, printable
from charrnn.training.run import Run


def test_escapes_characters_that_are_not_printable() -> None:
    assert printable("naïve 文字\t\x1b[2J\r\n\u202e\udc80") == "naïve 文字\\t\\x1b[2J\\r\\n\\u202e\\udc80"


def test_a_message_is_one_line_whatever_it_quotes(tmp_path: Path) -> None:
    assert str(ConfigError("a\nb", "is not known")) == "a\\nb: is not known"
    (tmp_path / "a\nb\x1b.h5").write_text("")
    with pytest.raises(CheckpointError) as error:
        Run.load(tmp_path / "a\nb\x1b.h5")
    assert str(error.value) == f"{tmp_path}/a\\nb\\x1b.h5: not a checkpoint or model file of charrnn"


def test_an_error_has_a_message_and_a_hint_that_name_parameters() -> None:
    error = CorpusError("a.txt: not UTF-8", "pass `encoding='latin-1'`, or lower `min_count`")
    assert str(error) == "a.txt: not UTF-8; pass encoding='latin-1', or lower min_count"
    assert (error.message, error.hint) == ("a.txt: not UTF-8", "pass `encoding='latin-1'`, or lower `min_count`")
    assert CorpusError("a.txt: empty").hint is None


def test_the_command_line_shows_parameters_as_options() -> None:
    error = CorpusError("a.txt: not UTF-8", "pass `encoding='latin-1'`, `overwrite=True`, or lower `clip_norm`")
    assert error.text(option) == "a.txt: not UTF-8; pass --encoding latin-1, --overwrite, or lower --clip-norm"


@pytest.mark.parametrize("error", [CorpusError("a", "b"), RunError("a"), ConfigError("dropout", "is 2", "lower it")])
def test_an_error_can_be_pickled_and_copied(error: CharRNNError) -> None:
    for copy in pickle.loads(pickle.dumps(error)), deepcopy(error):
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


def messages(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are not docstrings."""
    tree = ast.parse(path.read_text())
    strings = {id(node): node.value for node in ast.walk(tree)
               if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            strings.pop(id(node.value), None)
    yield from strings.values()


HOME = Path(errors.__file__).parent
LIBRARY = [path for path in sorted(HOME.rglob("*.py")) if path.relative_to(HOME).parts[0] != "cli"]
assert HOME / "config.py" in LIBRARY


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(HOME)))
def test_the_library_names_parameters_and_not_options(path: Path) -> None:
    assert [text for text in messages(path) if re.search(r"--[a-z]", text)] == []


def test_every_parameter_in_a_message_is_an_option_of_a_command() -> None:
    context = click.Context(charrnn)
    commands = [charrnn.get_command(context, name) for name in charrnn.list_commands(context)]
    commands += [inner for command in commands if isinstance(command, click.Group) for inner in command.commands.values()]
    options = {flag for command in commands for parameter in command.params for flag in parameter.opts}
    named = {name for path in LIBRARY for text in messages(path) for name in re.findall(r"`([a-z_]+)(?:=[^`]*)?`", text)}
    assert named
    assert {name for name in named if option(name) not in options} == set()
