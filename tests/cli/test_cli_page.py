"""charrnn page"""

from __future__ import annotations

import base64
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import RUN, SMALL, Cli, files, on_terminal, refused

from charrnn import Run
from charrnn.cli import page as page_command
from charrnn.inference.language_model import load

NAME = "notes-lnlstm-8"


def weights_of(page: Path, dtype: str = "<f2") -> np.ndarray:
    text = page.read_text(encoding="utf-8")
    found = re.search('id="weights">(.*?)</script>', text)
    assert found is not None
    return np.frombuffer(base64.b64decode(found[1]), dtype)


def test_a_page_of_a_run(here: Path, cli: Cli) -> None:
    before = files(here)
    answer = cli("page", RUN)
    page = Path(f"{NAME}.html")
    assert answer == (0, f"{NAME}.html: {page.stat().st_size:,} bytes\n", "")
    text = page.read_text(encoding="utf-8")
    for part in (f"<title>{NAME}</title>", ">Training</h2>", "n-gram baseline", "Copied passages", 'id="replay"'):
        assert part in text
    best = load(RUN)
    assert np.array_equal(weights_of(page), best.network.parameters.flat.astype("<f2"))
    first = page.read_bytes()
    for name in (NAME, RUN / "last.h5", f"{RUN}/"):
        page.unlink()
        assert cli("page", name).code == 0
        assert page.read_bytes() == first
    page.unlink()
    assert files(here) == before


def test_without_a_name_the_newest_run_is_shown(here: Path, cli: Cli) -> None:
    assert cli("page").out.startswith(f"{NAME}.html: ")
    shutil.rmtree("checkpoints")
    refused(cli("page"), "contains no run", "train a model")
    refused(cli("page", "nothing"), "nothing")


def test_the_name_of_the_file(here: Path, cli: Cli) -> None:
    assert cli("page", RUN, "-o", "notes.html").out.startswith("notes.html: ")
    assert cli("page", RUN, "--output", "new.html").code == 0
    assert Path("new.html").read_bytes() == Path("notes.html").read_bytes()
    Path("folder").mkdir()
    refused(cli("page", RUN, "-o", "folder"), "folder")
    refused(cli("page", RUN, "-o", "missing/notes.html"), "missing/notes.html: No such file")
    assert sorted(path.name for path in here.iterdir()) == ["checkpoints", "folder", "new.html", "notes.html", "notes.txt"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(here: Path, cli: Cli) -> None:
    Path("closed").mkdir(mode=0o555)
    refused(cli("page", RUN, "-o", "closed/page.html"), "closed/page.html: Permission denied")


def test_a_file_that_contains_only_a_model(here: Path, cli: Cli) -> None:
    load(RUN).save("small.h5")
    shutil.rmtree("checkpoints")
    answer = cli("page", "small.h5")
    assert (answer.code, answer.err) == (0, "")
    text = Path("small.html").read_text(encoding="utf-8")
    assert "<title>small</title>" in text
    assert ">Training</h2>" not in text
    assert "<h2 id=\"write-title\">Write</h2>" in text


def test_the_bundled_model(empty: Path, cli: Cli, bundled: Path) -> None:
    answer = cli("page", "english")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("english.html: ")
    text = Path("english.html").read_text(encoding="utf-8")
    assert "<title>english</title>" in text
    assert "started from" not in text


def test_a_run_whose_text_is_lost(here: Path, cli: Cli) -> None:
    Path("notes.txt").rename("moved.txt")
    answer = cli("page", RUN)
    assert answer.code == 0
    (line,) = answer.err.splitlines()
    assert line.startswith("notes.txt: no such file; ")
    assert line.endswith("; the page has no named units, no novelty and no baseline")
    text = Path(f"{NAME}.html").read_text(encoding="utf-8")
    assert "n-gram baseline" not in text
    assert ">Training</h2>" in text
    Path("notes.txt").write_text("another text", encoding="utf-8")
    answer = cli("page", RUN)
    assert answer.code == 0
    assert "notes.txt" in answer.err
    assert len(answer.err.splitlines()) == 1


def test_all_digits_of_the_weights(here: Path, cli: Cli) -> None:
    cli("page", RUN)
    assert cli("page", RUN, "--float32", "-o", "large.html").code == 0
    flat = load(RUN).network.parameters.flat
    assert np.array_equal(weights_of(Path("large.html"), "<f4"), flat)
    larger = Path("large.html").stat().st_size - Path(f"{NAME}.html").stat().st_size
    assert larger == pytest.approx(flat.size * 8 / 3, abs=10)
    model = load(RUN)
    model.network.parameters.flat[0] = 1e6
    model.save("big.h5")
    for option in ((), ("--module",)):
        refused(cli("page", "big.h5", *option), "big.h5: float16 cannot hold the weights", "; pass --float32")
    assert cli("page", "big.h5", "--float32").code == 0


def test_a_module(here: Path, cli: Cli) -> None:
    answer = cli("page", RUN, "--module")
    assert answer == (0, f"{NAME}.js: {Path(f'{NAME}.js').stat().st_size:,} bytes\n", "")
    text = Path(f"{NAME}.js").read_text(encoding="utf-8")
    assert "export { logits, sample" in text
    assert cli("page", RUN, "--module", "--float32", "-o", "large.js").code == 0
    assert len(Path("large.js").read_text(encoding="utf-8")) > len(text) + 2000
    (weights,) = re.findall('const weights = "(.*?)"', text)
    assert np.array_equal(np.frombuffer(base64.b64decode(weights), "<f2"), load(RUN).network.parameters.flat.astype("<f2"))


def test_several_runs(here: Path, cli: Cli) -> None:
    shutil.copytree(RUN, "checkpoints/second")
    answer = cli("page", RUN, "second")
    assert answer == (0, f"comparison.html: {Path('comparison.html').stat().st_size:,} bytes\n", "")
    text = Path("comparison.html").read_text(encoding="utf-8")
    assert f"<title>Comparison of {NAME}, second</title>" in text
    assert "<script" not in text
    assert text.count("<polyline") == 3  # two runs and the baseline
    load(RUN).save("small.h5")
    assert cli("page", RUN, "small.h5", "-o", "with-model.html").code == 0
    assert Path("with-model.html").read_text(encoding="utf-8").count("<polyline") == 3
    for option in ("--module", "--float32"):
        refused(cli("page", RUN, "second", option), f"'{option}'", "needs a model, and a comparison contains none",
                "pass one run")
    refused(cli("page", RUN, "nothing"), "nothing")


def test_names_with_escape_sequences(here: Path, cli: Cli) -> None:
    name = "\x1b[31mred<b>\n"
    Path("checkpoints", NAME).rename(Path("checkpoints", name))
    Path("notes.txt").unlink()
    answer = cli("page", f"checkpoints/{name}")
    assert answer.code == 0
    assert "\x1b" not in answer.out + answer.err
    assert len(answer.out.splitlines()) == len(answer.err.splitlines()) == 1
    text = Path(f"{name}.html").read_text(encoding="utf-8")
    assert "<h1 dir=\"auto\">\x1b[31mred&lt;b&gt;\n</h1>" in text
    answer = cli("page", f"checkpoints/{name}", "-o", "missing\x1b/page.html")
    assert answer.code == 1
    assert "\x1b" not in answer.err


def test_progress(here: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """The bar gets the stages; in a terminal, it is shown after a second and removed."""
    stages: list[str] = []

    class Bar:
        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: Any) -> None:
            stages.append("end")

        def set_description_str(self, stage: str, **_: Any) -> None:
            stages.append(stage)

        def update(self) -> None:
            pass

    settings: list[dict[str, Any]] = []

    def bar(quiet: bool, **values: Any) -> Bar:
        settings.append(values)
        return Bar()

    monkeypatch.setattr(page_command, "progress_bar", bar)
    assert cli("page", RUN).code == 0
    assert stages == ["samples", "units", "novelty", "curves", "end"]
    assert settings[0]["delay"] == 1
    assert settings[0]["leave"] is False
    stages.clear()
    assert cli("page", RUN, NAME).code == 0
    assert stages == [*(f"{title}: {stage}" for title in (str(RUN), NAME) for stage in ("samples", "novelty", "curves")),
                      "end"]


def test_standard_output_is_one_line(here: Path, environment: dict[str, str]) -> None:
    out = on_terminal("-m", "charrnn", "page", RUN, environment=environment)
    assert out == f"{NAME}.html: {Path(f'{NAME}.html').stat().st_size:,} bytes\n".encode()


def test_help(cli: Cli) -> None:
    answer = cli("page", "--help")
    assert answer.code == 0
    for word in ("--output", "--float32", "--module", "RUN_OR_CHECKPOINT", "english"):
        assert word in answer.out
    assert "page " in cli("--help").out


def test_train_names_the_command(trained: tuple[Path, Any]) -> None:
    answer = trained[1]
    assert f"charrnn page {RUN}" in answer.err
    assert "charrnn page" not in answer.out


def test_a_run_of_another_time(here: Path, cli: Cli) -> None:
    """The page of a checkpoint shows the run until then."""
    run = Run.load(RUN / "best.h5")
    assert cli("page", RUN / "best.h5", "-o", "best.html").code == 0
    assert f"{run.step:,} of 12 steps" in Path("best.html").read_text(encoding="utf-8")


def test_a_named_file_is_the_model_of_the_page(here: Path, cli: Cli) -> None:
    """Without it, the page of a run contains the best model."""
    Path("random.txt").write_text("".join(random.Random(1).choices("abcdefgh \n", k=600)), newline="")
    assert cli("train", "random.txt", *SMALL, "--steps", 40, "--learning-rate", 0.3, "--from", "none").code == 0
    folder = RUN.with_name("random-lnlstm-8")
    runs = {name: Run.load(folder / name) for name in ("best.h5", "last.h5")}
    assert runs["best.h5"].step < runs["last.h5"].step
    for name, run in (("best.h5", runs["best.h5"]), ("last.h5", runs["last.h5"]), ("", runs["best.h5"])):
        assert cli("page", folder / name, "-o", "page.html", "--float32").code == 0
        assert np.array_equal(weights_of(Path("page.html"), "<f4"), run.model.network.parameters.flat)


def test_files_outside_of_run_folders_are_told_apart(here: Path, cli: Cli) -> None:
    for name in ("one.h5", "two.h5"):
        shutil.copy(RUN / "last.h5", name)
    assert cli("page", "one.h5", "two.h5", "-o", "page.html").code == 0
    page = Path("page.html").read_text(encoding="utf-8")
    for name in ("one", "two"):
        assert f'<th scope="col">{name}</th>' in page
        assert f"{name}, lowest" in page
