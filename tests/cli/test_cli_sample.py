"""charrnn sample"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import RUN, SMALL, Cli, on_terminal, refused

from charrnn import LanguageModel, Run


def test_sample_writes_the_prime_and_then_the_given_number_of_characters(here: Path, cli: Cli) -> None:
    for length in (0, 1, 77):
        answer = cli("sample", RUN, "--length", length, "--prime", "the cat", "--seed", 3)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith("the cat")
        assert len(answer.out) - len("the cat") - length in (0, 1)
        assert answer.out.endswith("\n")


def test_sample_writes_a_thousand_characters_by_default(here: Path, cli: Cli) -> None:
    assert len(cli("sample", RUN).out) in (1000, 1001)


def test_a_seed_gives_the_same_text_and_no_seed_a_new_one_each_time(here: Path, cli: Cli) -> None:
    assert cli("sample", RUN, "--seed", 5).out == cli("sample", RUN, "--seed", 5).out
    texts = {cli("sample", RUN, "--seed", 5).out, cli("sample", RUN, "--seed", 6).out, cli("sample", RUN).out,
             cli("sample", RUN).out}
    assert len(texts) == 4


@pytest.mark.parametrize(
    "options", [("--temperature", 0), ("--temperature", 1e-9), ("--top-k", 1), ("--top-p", 1e-9), ("--greedy",)], ids=str)
def test_options_that_leave_no_choice_are_greedy(here: Path, cli: Cli, options: tuple) -> None:
    sample = ("sample", RUN, "--length", 50, "--seed", 1)
    assert cli(*sample, *options).out == cli(*sample, "--greedy").out


def test_a_prime_can_be_read_from_standard_input(here: Path, cli: Cli) -> None:
    options = ("--length", 20, "--seed", 1)
    assert cli("sample", RUN, "--prime", "-", *options, stdin="café\nZoë").out == (
        cli("sample", RUN, "--prime", "café\nZoë", *options).out)


def test_samples_are_separated_by_a_line(here: Path, cli: Cli) -> None:
    alone = cli("sample", RUN, "--length", 30, "--seed", 2, "--prime", "a").out
    answer = cli("sample", RUN, "--length", 30, "--seed", 2, "--prime", "a", "--count", 3)
    parts = answer.out.split("\n---\n")
    assert len(parts) == 3
    assert parts[0].rstrip("\n") == alone.rstrip("\n")
    assert all(len(part.rstrip("\n")) <= 31 and part.startswith("a") for part in parts)
    assert len(set(parts)) == 3
    assert answer.out.endswith("\n")


def test_until_ends_a_sample_and_the_prime_is_not_searched(here: Path, cli: Cli) -> None:
    answer = cli("sample", RUN, "--until", "a", "--prime", "a cat", "--seed", 1, "--length", 10**4, "--count", 3)
    for part in answer.out.removesuffix("\n").split("\n---\n"):
        assert part.startswith("a cat")
        assert part.endswith("a")
        assert part.removeprefix("a cat").count("a") == 1


def test_sample_uses_the_best_state_of_a_folder_and_a_file_as_given(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "last.h5")
    run.model.network.parameters.flat[...] = 0
    run.save(RUN / "last.h5")
    best, last, either = (cli("sample", path, "--seed", 1).out for path in (RUN / "best.h5", RUN / "last.h5", RUN))
    assert either == best != last


def test_an_unknown_character_in_the_prime_is_named(here: Path, cli: Cli) -> None:
    refused(cli("sample", RUN, "--prime", "the ß"), "'ß' (U+00DF, LATIN SMALL LETTER SHARP S)")
    refused(cli("sample", RUN, "--prime", "-", stdin="the ß"), "'ß' (U+00DF, LATIN SMALL LETTER SHARP S)")


def test_a_prime_from_standard_input_loses_one_final_newline(here: Path, cli: Cli) -> None:
    options = ("--length", 20, "--seed", 1)
    expected = cli("sample", RUN, "--prime", "the cat", *options).out
    assert cli("sample", RUN, "--prime", "-", *options, stdin="the cat\n").out == expected
    assert cli("sample", RUN, "--prime", "-", *options, stdin="the cat\n\n").out.startswith("the cat\n")


def test_a_byte_order_mark_of_standard_input_is_not_part_of_the_prime(here: Path, cli: Cli) -> None:
    assert cli("sample", RUN, "--prime", "-", "--length", 0, stdin="\ufeffthe").out == "the\n"


def test_invalid_bytes_on_standard_input_have_a_hint_that_sample_can_follow(
        here: Path, environment: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-m", "charrnn", "sample", RUN, "--prime", "-"], input=b"caf\xe9",
                          capture_output=True, env=environment)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == ("Error: Invalid value for '--prime': standard input: invalid UTF-8 at byte 3 (0xe9); "
                                    "convert it to UTF-8, for example with iconv\n")


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8"}], ids=str)
def test_a_prime_is_read_and_written_in_any_locale(
        empty: Path, cli: Cli, environment: dict[str, str], locale: dict) -> None:
    Path("fa.txt").write_text("سلام دنیا\u200cها خوب است. " * 30, encoding="utf-8")
    assert cli("train", "fa.txt", *SMALL, "--steps", 1, "--name", "fa").code == 0
    command = [sys.executable, "-m", "charrnn", "sample", "fa", "--length", "5000", "--prime"]
    done = subprocess.run([*command, "سلام", "--until", "دن"], capture_output=True, env=environment | locale)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith("سلام")
    assert done.stdout.decode().endswith("دن\n")
    done = subprocess.run([*command, b"\xff"], capture_output=True, env=environment | locale)
    assert done.stderr == b"Error: Invalid value for '--prime': byte 0xff is not valid UTF-8\n"
    assert done.returncode == 2


def test_a_million_samples_are_printed_as_they_are_generated(here: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "charrnn", "sample", str(RUN), "--count", "1000000", "--length", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout.read(100_000).count(b"\n---\n") > 3000
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_samples_are_generated_in_groups_of_bounded_size(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    generate = LanguageModel.generate

    def counted(model: LanguageModel, count: int, *arguments: Any, **settings: Any) -> Any:
        asked.append(count)
        return generate(model, count, *arguments, **settings)

    monkeypatch.setattr(LanguageModel, "generate", counted)
    options = ("sample", RUN, "--count", 5, "--length", 30, "--seed", 2, "--prime", "a")
    together = cli(*options).out
    monkeypatch.setattr("charrnn.cli.sample._SIDE_BY_SIDE", 2)
    assert cli(*options).out == together
    monkeypatch.setattr("charrnn.cli.sample._MOST_CHARACTERS", 40)
    assert cli(*options).out == together
    assert asked == [5, 2, 2, 1, 1, 1, 1, 1, 1]
    assert together.count("\n---\n") == 4


def test_empty_samples_are_counted_too(here: Path, cli: Cli) -> None:
    assert cli("sample", RUN, "--count", 3, "--length", 0).out == "---\n---\n"


def test_control_characters_are_escaped_on_a_terminal_and_not_in_a_pipe(
        empty: Path, cli: Cli, environment: dict[str, str]) -> None:
    Path("codes.txt").write_text("\x1b[2J\r\x07\tab\n\x9b" * 60, encoding="utf-8")
    assert cli("train", "codes.txt", *SMALL, "--steps", 1, "--name", "codes").code == 0
    sample = ("-m", "charrnn", "sample", "codes", "--length", 300, "--seed", 1)
    raw = cli(*sample[2:]).out
    assert {"\x1b", "\r", "\x07", "\x9b"} <= set(raw)
    shown = on_terminal(*sample, environment=environment).decode()
    assert not set(shown) & {"\x1b", "\r", "\x07", "\x9b"}
    for character in "\x1b\x07\x9b":
        raw = raw.replace(character, character.encode("unicode_escape").decode())
    assert shown == raw.replace("\r", "")


# Choosing the run

def test_a_run_is_found_by_its_name(here: Path, cli: Cli) -> None:
    for command in (("sample", "--seed", 1), ("inspect",), ("evaluate",), ("resume", "-q")):
        by_name, by_path = (cli(command[0], run, *command[1:]) for run in (RUN.name, RUN))
        assert by_name == by_path
        assert by_name.code == 0


def test_without_a_name_the_newest_run_is_used_and_named(here: Path, cli: Cli) -> None:
    old = cli("sample", RUN, "--seed", 1)
    assert cli("sample", "--seed", 1) == old._replace(err=f"Sampling from {RUN}, the newest run\n")
    new = Path("checkpoints", "a-sweep", "cell=gru\n")
    shutil.copytree(RUN, new)
    os.utime(new / "last.h5", (2e9, 2e9))
    assert cli("sample", "--seed", 1).err == "Sampling from checkpoints/a-sweep/cell=gru\\n, the newest run\n"


def test_without_a_run_the_bundled_model_is_used_and_named(empty: Path, cli: Cli, bundled: Path) -> None:
    named = cli("sample", "english", "--seed", 1)
    assert (named.code, named.err) == (0, "")
    assert len(named.out) >= 1000
    for _ in range(2):
        assert cli("sample", "--seed", 1) == named._replace(
            err="Sampling from the bundled model english, because checkpoints/ contains no run\n")
        Path("checkpoints").mkdir(exist_ok=True)
        Path("checkpoints", "README.md").touch()
    (bundled / "english.h5").unlink()
    refused(cli("sample"), "english.h5: the bundled model is missing; install charrnn again")
