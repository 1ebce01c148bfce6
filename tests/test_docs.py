"""README.md, docs/ and scripts/readme"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from charrnn.cli import charrnn

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]


def commands(group: click.Group = charrnn, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield the name of every command, such as "train" or "corpora get", and the command."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    sections = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", (ROOT / "docs/commands.md").read_text(), re.MULTILINE))
    options = [flag for parameter in COMMANDS[name].params if isinstance(parameter, click.Option)
               for flag in (*parameter.opts, *parameter.secondary_opts) if flag.startswith("--")]
    assert name in sections
    assert [flag for flag in options if not re.search(rf"{flag}(?![-\w])", sections[name])] == []
    assert all(parameter.help for parameter in COMMANDS[name].params if isinstance(parameter, click.Option))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_has_a_target(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]*)\)", page.read_text()):
        name, _, heading = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        headings = [re.sub(r"[^\w -]", "", line).replace(" ", "-").lower()
                    for line in re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)] if heading else []
        assert not heading or heading in headings, target


def test_the_python_examples_of_readme_and_guide_run(tmp_path: Path) -> None:
    examples = [example for page in ("README.md", "docs/guide.md") for example in re.findall(
        r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)]
    assert len(examples) == 2
    for example in examples:
        done = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    assert (tmp_path / "example.h5").exists()


def checked(page: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ROOT / "scripts/readme", "--check", page], capture_output=True, text=True)


def test_a_page_with_outdated_output_is_reported(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```console\n$ charrnn gradcheck --cell rnn --layers 1\n$ charrnn train --steps x\n```\n")
    subprocess.run([sys.executable, ROOT / "scripts/readme", page], check=True)
    shown = page.read_text()
    assert "relative error below 1e-07" in shown
    assert "Error: Invalid value for '--steps'" in shown
    assert checked(page).returncode == 0

    page.write_text(shown.replace("1e-07", "1e-06"))
    assert checked(page).returncode == 0
    for old, new in (("relative error", "absolute error"), ("Error: Invalid", "Error: Bad"), ("--layers 1", "--layers 2")):
        assert old in shown
        page.write_text(shown.replace(old, new, 1))
        assert checked(page).returncode == 1, new
    assert "page.md: $ charrnn" in checked(page).stdout
