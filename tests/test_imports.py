"""The shape of the package: who imports whom, what is loaded when, and that everything says what it is."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import charrnn
import charrnn.cli

ORDER = ["errors", "config", "randomness", "vocabulary", "hdf5", "checkpoint",
         "texts", "lines", "tokens", "token_file", "built_in", "corpus", "download", "corpora", "batches", "parameters",
         "kernels", "cells", "model",
         "gradient_check", "recipe", "dropout", "optimizers", "ranks", "parallel", "facts", "run",
         "evaluation", "ngram", "trainer", "metrics",
         "run_folder", "sweep", "sampler", "cli"]
"""A module imports only from those above it."""

HOME = Path(charrnn.__file__).parent
MODULES = ["charrnn", *sorted(item.name for item in pkgutil.walk_packages(charrnn.__path__, "charrnn."))]
if importlib.util.find_spec("numba") is None:
    MODULES = [name for name in MODULES if name not in ("charrnn.kernels.compiled", "charrnn.kernels.packed")]  # an extra
TERMINAL = {"click", "tqdm"}
HEAVY = {"numpy", "h5py", "numba"}


def noun(module: str) -> str:
    """Of ``charrnn.cells.lstm`` it is ``cells``."""
    return (module.split(".") + [""])[1]


def imports(module: str) -> Iterator[str]:
    """Every module that ``module`` imports, in functions too; of ``from charrnn import run`` it is ``charrnn.run``."""
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else str(node.module)


def test_the_order_names_every_module() -> None:
    assert set(ORDER) | {"__main__", ""} == set(map(noun, MODULES))


def test_the_order_is_that_of_the_documentation() -> None:
    text = (HOME.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)(?:\.py|/)` \|", text, re.MULTILINE) == ORDER


@pytest.mark.parametrize("module", [name for name in MODULES if noun(name) in ORDER])
def test_a_module_imports_only_from_those_above_it(module: str) -> None:
    place = ORDER.index(noun(module))
    below = {name for name in imports(module) if name.startswith("charrnn.") and noun(name) != noun(module)
             and ORDER.index(noun(name)) > place}
    assert not below
    own = {name for name in imports(module) if name == "charrnn"}
    assert not own or noun(module) == "cli"  # for the version


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_imports_click_and_tqdm(module: str) -> None:
    assert noun(module) == "cli" or not {name.split(".")[0] for name in imports(module)} & TERMINAL


@pytest.mark.parametrize("arguments", [
    ("-c", "import charrnn"), ("-c", "import charrnn.config"), ("-c", "import charrnn.cli"), ("-m", "charrnn", "--help"),
    ("-m", "charrnn", "--version"), ("-m", "charrnn", "train", "--help"), ("-m", "charrnn", "sample", "--help"),
    ("-m", "charrnn", "corpora"),
    ("-m", "charrnn", "train", "--hidden-size", "0"),
], ids=" ".join)
def test_what_is_heavy_is_not_loaded_before_it_is_needed(python: Callable, arguments: tuple[str, ...]) -> None:
    done = python("-X", "importtime", *arguments)
    loaded = {line.split("|")[-1].strip() for line in done.err.splitlines() if line.startswith("import time:")}
    assert "charrnn" in loaded
    assert not loaded & HEAVY


def test_what_is_public_is_there() -> None:
    assert sorted(charrnn.__all__) == charrnn.__all__
    for name in charrnn.__all__:
        assert getattr(charrnn, name).__name__ == name
        assert name in dir(charrnn)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = charrnn.other


def test_the_names_of_the_design_are_public() -> None:
    assert {"CharRNN", "Corpus", "ModelConfig", "Run", "TrainConfig", "Trainer", "sample"} <= set(charrnn.__all__)


# Everything says what it is

@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_class_and_function_has_a_docstring(module: str) -> None:
    loaded = importlib.import_module(module)
    own = {name: value for name, value in vars(loaded).items() if not name.startswith("_")
           and (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module}
    without = [name for name, value in own.items() if not (inspect.getdoc(value) or "").strip()]
    assert (loaded.__doc__ or "").strip()
    assert not without


def commands() -> dict[str, click.Command]:
    context = click.Context(charrnn.cli.charrnn)
    return {name: charrnn.cli.charrnn.get_command(context, name) for name in charrnn.cli.charrnn.list_commands(context)}


def test_the_commands_are_those_of_the_documentation() -> None:
    assert list(commands()) == ["corpora", "train", "resume", "sweep", "sample", "evaluate", "baseline", "inspect",
                                "prepare", "cache", "gradcheck"]


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_has_help(name: str) -> None:
    command = commands()[name]
    assert command.name == name
    assert (command.help or "").strip()
    assert not [option.opts for option in command.params
                if isinstance(option, click.Option) and not (option.help or "").strip()]


@pytest.mark.parametrize("name", commands())
def test_help_fits_a_terminal_and_is_shown_without_an_error(cli: Callable, name: str) -> None:
    for flag in ("--help", "-h"):
        answer = cli(name, flag)
        assert answer.code == 0
        assert f"charrnn {name} " in answer.out.splitlines()[0]
        assert not answer.err
        assert max(map(len, answer.out.splitlines())) <= 80
