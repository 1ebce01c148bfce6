"""The structure of the package: imports, lazy loading, docstrings and help."""

from __future__ import annotations

import ast
import configparser
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

PACKAGES = {
    "": ("errors", "system", "config", "randomness", "cpu", "mpi"),
    "storage": ("atomic", "cache", "metadata", "layout", "container"),
    "text": ("vocabulary", "download", "builtin", "catalog", "formats", "files", "record", "decoding", "columns",
             "documents", "shuffled", "tokens", "reader", "token_file", "spool", "known_text", "split", "corpus", "overlap",
             "advice", "windows"),
    "nn": ("parameters", "state", "validation", "kernels", "projection", "cells", "dropout", "output", "buffers",
           "model", "sampler", "parallel", "gradient_check"),
    "inference": ("origin", "bundled", "locate", "evaluation", "scoring", "ngram", "constraint", "expression", "words",
                  "sampling", "language_model", "session", "pytorch", "passages", "novelty", "blockwise", "rows"),
    "training": ("optimizers", "schema", "row_file", "metrics_rows", "curves", "plot", "rollback", "run", "recipe",
                 "trainer", "metrics_table", "samples", "run_folder", "run_lock", "signals", "events", "speed",
                 "keeper", "pretrained", "prepare", "api", "sweep"),
    "page": ("features", "units", "weights", "module", "charts", "contents", "page", "api"),
}
"""The modules of each package; a module imports only from the modules before it."""

MAY_IMPORT = {"": "", "storage": ("",), "text": ("", "storage"), "nn": ("",), "inference": ("", "storage", "text", "nn"),
              "training": ("", "storage", "text", "nn", "inference"),
              "page": ("", "storage", "text", "nn", "inference", "training"),
              "cli": ("", "storage", "text", "nn", "inference", "training", "page")}
"""The packages whose modules each package may import; "" contains the modules that belong to no package."""

DISPLAYS = {("charrnn.training.run", "charrnn.page.api"), ("charrnn.inference.language_model", "charrnn.page.api")}
"""The only imports that point the other way, inside methods that show an object as a page."""

TYPES = {("charrnn.text.split", "charrnn.text.corpus")}
"""The only import that points the other way for the type of an attribute; it is not carried out."""

HOME = Path(charrnn.__file__).parent
MODULES = ["charrnn", *sorted(item.name for item in pkgutil.walk_packages(charrnn.__path__, "charrnn."))]
if importlib.util.find_spec("numba") is None:
    MODULES = [name for name in MODULES if name.rpartition(".")[2] not in ("compiled", "gates", "jit", "packed", "tile")
               and name != "charrnn.nn.kernels.sampling"]
TERMINAL = {"click", "tqdm"}
HEAVY = {"numpy", "h5py", "numba", "matplotlib"}


def place(module: str) -> tuple[str, str]:
    """Return (package, module): ("nn", "cells") for ``charrnn.nn.cells.lstm``, ("", "errors") for ``charrnn.errors``."""
    first, second, *_ = [*module.split(".")[1:], "", ""]
    return (first, second) if first in MAY_IMPORT and first else ("", first)


def imports(module: str) -> Iterator[str]:
    """Yield every module that ``module`` imports, including imports inside functions.

    For ``from charrnn import run`` this is ``charrnn.run``.
    """
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else str(node.module)


def test_the_order_contains_every_module() -> None:
    named = {(package, module) for package, modules in PACKAGES.items() for module in modules}
    packages = {(package, "") for package in MAY_IMPORT}
    assert {place(module) for module in MODULES if place(module)[0] != "cli"} - packages == named | {("", "__main__")}


def test_the_order_is_documented() -> None:
    text = (HOME.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+/)?(?:(\w+)(?:\.py|/))` \|", text, re.MULTILINE)
    assert documented == [(package and f"{package}/", module)
                          for package, modules in PACKAGES.items() for module in modules] + [("", "cli")]


@pytest.mark.parametrize("module", [name for name in MODULES if place(name)[1] not in ("", "__main__")])
def test_imports_point_one_way(module: str) -> None:
    package, own = place(module)
    for name in imports(module):
        if not name.startswith("charrnn") or name == module or (module, name) in DISPLAYS | TYPES:
            continue
        if name == "charrnn":
            assert package == "cli" or module in ("charrnn.storage.container", "charrnn.training.speed")  # for the version
            continue
        other_package, other = place(name)
        if other_package != package:
            assert other_package in MAY_IMPORT[package], f"{module} imports {name}"
        elif package in PACKAGES and own in PACKAGES[package] and other != own:
            assert PACKAGES[package].index(other) < PACKAGES[package].index(own), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_imports_click_and_tqdm(module: str) -> None:
    assert place(module)[0] == "cli" or not {name.split(".")[0] for name in imports(module)} & TERMINAL


@pytest.mark.parametrize("arguments", [
    ("-c", "import charrnn"), ("-c", "import charrnn.config"), ("-c", "import charrnn.cli"), ("-m", "charrnn", "--help"),
    ("-m", "charrnn", "--version"), ("-m", "charrnn", "train", "--help"), ("-m", "charrnn", "sample", "--help"),
    ("-m", "charrnn", "corpora"), ("-m", "charrnn", "export", "--help"),
    ("-m", "charrnn", "train", "--hidden-size", "0"),
], ids=" ".join)
def test_heavy_packages_are_not_loaded_before_they_are_needed(python: Callable, arguments: tuple[str, ...]) -> None:
    done = python("-X", "importtime", *arguments)
    loaded = {line.split("|")[-1].strip() for line in done.err.splitlines() if line.startswith("import time:")}
    assert "charrnn" in loaded
    assert not loaded & HEAVY


def test_all_public_names_exist() -> None:
    assert sorted(charrnn.__all__) == charrnn.__all__
    for name in charrnn.__all__:
        assert getattr(charrnn, name).__name__ == name
        assert name in dir(charrnn)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = charrnn.other


def test_types_are_published() -> None:
    """A type checker reads the types of an installed package only if it contains py.typed (PEP 561)."""
    assert (HOME / "py.typed").exists()
    setup = configparser.ConfigParser()
    setup.read(HOME.parent / "setup.cfg")
    assert setup["options.package_data"]["charrnn"] == "py.typed, models/*"


def test_the_main_names_are_public() -> None:
    assert {"CharRNN", "Corpus", "LanguageModel", "ModelConfig", "Run", "Score", "TrainConfig", "Trainer", "load", "resume",
            "train"} <= set(charrnn.__all__)


# Docstrings and help

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


def test_the_commands_are_in_the_documented_order() -> None:
    assert list(commands()) == ["train", "resume", "sweep", "sample", "evaluate", "score", "export", "inspect", "novelty",
                                "plot", "page", "baseline", "gradcheck", "corpora", "prepare", "cache"]


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
