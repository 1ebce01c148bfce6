"""charrnn sample"""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import RUN, Cli, refused

from charrnn import Run


def test_sample_writes_the_prime_and_so_many_characters(here: Path, cli: Cli) -> None:
    for length in (0, 1, 77):
        answer = cli("sample", RUN, "--length", length, "--prime", "the cat", "--seed", 3)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith("the cat")
        assert len(answer.out) - len("the cat") - length in (0, 1)
        assert answer.out.endswith("\n")


def test_sample_writes_a_thousand_characters_by_default(here: Path, cli: Cli) -> None:
    assert len(cli("sample", RUN).out) in (1000, 1001)


def test_the_same_seed_gives_the_same_text_and_no_seed_another_each_time(here: Path, cli: Cli) -> None:
    assert cli("sample", RUN, "--seed", 5).out == cli("sample", RUN, "--seed", 5).out
    texts = {cli("sample", RUN, "--seed", 5).out, cli("sample", RUN, "--seed", 6).out, cli("sample", RUN).out,
             cli("sample", RUN).out}
    assert len(texts) == 4


@pytest.mark.parametrize("options", [("--temperature", 1e-9), ("--top-k", 1), ("--top-p", 1e-9), ("--greedy",)], ids=str)
def test_options_that_leave_no_choice_take_the_likeliest(here: Path, cli: Cli, options: tuple) -> None:
    sample = ("sample", RUN, "--length", 50, "--seed", 1)
    assert cli(*sample, *options).out == cli(*sample, "--greedy").out


def test_a_prime_may_come_from_standard_input(here: Path, cli: Cli) -> None:
    options = ("--length", 20, "--seed", 1)
    assert cli("sample", RUN, "--prime", "-", *options, stdin="café\nZoë").out == (
        cli("sample", RUN, "--prime", "café\nZoë", *options).out)


def test_samples_are_written_one_after_the_other_with_a_line_between(here: Path, cli: Cli) -> None:
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


def test_sample_takes_best_of_a_folder_and_a_file_as_it_is(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "last.h5")
    run.model.network.parameters.flat[...] = 0
    run.save(RUN / "last.h5")
    best, last, either = (cli("sample", path, "--seed", 1).out for path in (RUN / "best.h5", RUN / "last.h5", RUN))
    assert either == best != last


def test_an_unknown_character_of_the_prime_is_named(here: Path, cli: Cli) -> None:
    refused(cli("sample", RUN, "--prime", "the ß"), "'ß' (U+00DF, LATIN SMALL LETTER SHARP S)")
    refused(cli("sample", RUN, "--prime", "-", stdin="the ß"), "'ß' (U+00DF, LATIN SMALL LETTER SHARP S)")
