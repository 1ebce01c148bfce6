"""charrnn.cli with texts of all kinds: reading, storing, training, sampling and evaluating."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import without_size

from charrnn import Corpus, Run
from charrnn.config import TextConfig
from charrnn.inference.evaluation import evaluate
from charrnn.inference.sampling import generate
from charrnn.storage import atomic
from charrnn.storage.cache import cache_folder
from charrnn.text import token_file, tokens

Cli = Callable[..., Any]

SMALL = ("--hidden-size", 8, "--batch-size", 3, "--seq-len", 8, "--threads", 1, "--quiet")
NAMES = [f"{first}{last}" for first in ("Anna", "Ben", "Cleo", "Dora", "Émile", "Zoë")
         for last in ("", "lie", "dor", "mira")]
RUN = Path("checkpoints/run")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with texts and a cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    Path("names.txt").write_text("\n".join(NAMES), encoding="utf-8", newline="")
    Path("folder").mkdir()
    for name, text in (("b.py", "def b():\n    pass\n" * 9), ("a.py", "import os\n" * 9), ("c.txt", "no code\n" * 30)):
        Path("folder", name).write_text(text)
    Path("folder", "d.py.gz").write_bytes(gzip.compress(b"print('packed')\n" * 9))
    Path("binary").write_bytes(random.Random(1).randbytes(700))
    return tmp_path


@pytest.fixture
def train(cli: Cli) -> Cli:
    """Return a function that trains the run."""
    def call(*arguments: Any, steps: int = 4, **settings: Any) -> Any:
        answer = cli("train", *arguments, *SMALL, "--steps", steps, "--eval-every", 2, "--name", "run", "--overwrite",
                     **settings)
        assert (answer.code, answer.err) == (0, "")
        return answer

    return call


def refused(answer: Any, *words: str) -> None:
    assert answer.code != 0
    assert answer.out == ""
    assert answer.err.splitlines()[-1].startswith("Error: ")
    assert len(answer.err.splitlines()) == 1 or answer.err.startswith("Usage: ")
    for word in words:
        assert word in answer.err


def bias(values: dict[str, float]) -> None:
    """Set the output biases of some characters, and all other output weights to zero; None is the unknown character."""
    run = Run.load(RUN / "best.h5")
    run.model.network.parameters["output/w"][...] = 0
    run.model.network.parameters["output/b"][...] = 0
    for character, value in values.items():
        place = run.model.vocabulary.unknown if character is None else run.model.vocabulary.id(character)
        run.model.network.parameters["output/b"][place] = value
    run.save(RUN / "best.h5")


# Training on a text that is read with any options

OPTIONS = [("names.txt", "--documents", "lines"),
        ("names.txt", "--documents", "lines", "--shuffle-seed", 0, "--min-count", 3),
        ("folder", "--glob", "*.py", "--documents", "files"), ("folder", "names.txt", "--min-count", 5, "--lowercase"),
        ("binary", "--level", "byte"), ("binary", "folder", "--glob", "*", "--level", "byte", "--min-count", 3),
        ("names.txt", "--normalize", "NFKC", "--errors", "ignore", "--encoding", "utf-8-sig"),
        ("names.txt", "--level", "byte", "--documents", "lines")]


@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "from a token file"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(map(str, options)))
def test_a_resumed_run_ends_in_the_same_bytes(train: Cli, cli: Cli, monkeypatch: pytest.MonkeyPatch,
                                              options: tuple, kept: bool) -> None:
    whole = train(*options, "--schedule", "constant", steps=6)
    last = Path(RUN, "last.h5").read_bytes()
    text_config = Run.load(RUN / "last.h5").model.text_config
    assert text_config != TextConfig()
    if kept:
        monkeypatch.setattr(tokens, "SMALL", 64)
    train(*options, "--schedule", "constant", steps=4)
    assert Run.load(RUN / "last.h5").model.text_config == text_config
    answer = cli("resume", RUN, "--steps", 6, "--quiet")
    assert (answer.code, answer.err, answer.out) == (0, "", whole.out)
    assert Path(RUN, "last.h5").read_bytes() == last
    assert without_size(cli("evaluate", RUN).out) == whole.out
    assert len(token_file.token_files()) == kept


def test_train_describes_its_text(cli: Cli) -> None:
    def said(*arguments: Any) -> str:
        answer = cli("train", *arguments, *SMALL[:-1], "--steps", 1, "--name", "run", "--overwrite")
        assert answer.code == 0
        return answer.err.splitlines()[0]

    text = "\n".join(NAMES)
    assert said("names.txt") == f"names.txt: {len(text):,} characters, {len(set(text))} distinct"
    assert said("names.txt", "--documents", "lines") == (
        f"names.txt: {len(text) + 2:,} characters, {len(set(text))} distinct, 24 lines, 24 distinct")
    assert said("folder", "--glob", "*.py", "--documents", "files").endswith("distinct, 3 files, 3 distinct")
    assert said("binary", "--level", "byte").startswith("binary: 700 bytes, ")
    rare = sum(text.count(character) < 5 for character in set(text))
    assert rare > 2
    assert said("names.txt", "--min-count", 5).endswith(f" {len(set(text)) - rare} distinct and {rare} rarer ones, "
                                                        f"replaced by the unknown character")


def test_train_says_how_many_files_a_folder_has(cli: Cli) -> None:
    def described(*arguments: Any) -> str:
        answer = cli("train", *arguments, *SMALL[:-1], "--steps", 1, "--name", "run", "--overwrite")
        assert answer.code == 0
        return answer.err.partition(": ")[0]

    for name in (".git/notes.txt", "checkpoints/old/best.h5", "checkpoints/old/log.txt"):
        Path("folder", name).parent.mkdir(parents=True, exist_ok=True)
        Path("folder", name).write_text(f"{name}\n" * 99)
    assert described("folder") == "folder (1 file)"
    assert described("folder", "--glob", "*") == "folder (4 files)"
    assert described("folder", "names.txt") == "folder, names.txt (2 files)"
    assert described("names.txt") == "names.txt"


def test_standard_input_has_a_name(cli: Cli) -> None:
    text = "\n".join(NAMES)
    answer = cli("train", "-", *SMALL[:-1], "--steps", 1, "--name", "run", stdin=text)
    assert f"standard input: {len(text):,} characters, {len(set(text))} distinct" in answer.err.splitlines()
    assert cli("baseline", "-", stdin=text).err.startswith("standard input: ")


def test_files_with_the_same_content_give_a_warning_and_are_trained_on(cli: Cli) -> None:
    Path("folder", "copy.txt").write_bytes(Path("folder", "c.txt").read_bytes())
    expected = ("Warning: folder/c.txt and folder/copy.txt have the same content, so the model may be validated on text "
                "that it is trained on\n")
    for command in (("train", "folder", *SMALL, "--steps", 1, "--name", "run"), ("prepare", "folder", "--quiet"),
                    ("prepare", "folder", "--quiet"), ("train", "folder", *SMALL, "--steps", 1, "--name", "other")):
        answer = cli(*command)
        assert (answer.code, answer.err) == (0, expected)


def test_a_text_that_has_grown_is_resumed_and_evaluated_as_it_was(train: Cli, cli: Cli) -> None:
    whole = train("names.txt", "--schedule", "constant", steps=6)
    last = Path(RUN, "last.h5").read_bytes()
    train("names.txt", "--schedule", "constant", steps=4)
    size = Path("names.txt").stat().st_size
    with open("names.txt", "a", encoding="utf-8") as file:
        file.write("\nXaver")
    warning = f"Warning: names.txt: has grown since the run was started; only its first {size} bytes are used\n"
    assert cli("resume", RUN, "--steps", 6, "--quiet") == (0, whole.out, warning)
    assert Path(RUN, "last.h5").read_bytes() == last
    evaluated = cli("evaluate", RUN)
    assert (evaluated.code, without_size(evaluated.out), evaluated.err) == (0, whole.out, warning)
    Path("names.txt").write_text("other")
    refused(cli("resume", RUN, "--steps", 7, "--quiet"), "names.txt: has 5 bytes, but the text of this run had ",
            "--corpus")


def test_a_corpus_that_is_not_downloaded_yet_is_named(cli: Cli) -> None:
    for command in (("train", "text8"), ("baseline", "text8"), ("prepare", "text8")):
        refused(cli(*command), "text8: no such file; run 'charrnn corpora get text8' and use corpora/text8.txt")
    Path("corpora").mkdir()
    Path("corpora", "text8.txt").write_text("text")
    refused(cli("train", "text8"), "text8: no such file; use corpora/text8.txt")


def test_other_kinds_of_file_are_refused_and_an_option_is_suggested(train: Cli, cli: Cli) -> None:
    refused(cli("train", "binary"), "pass --level byte to read any file as bytes, or set --encoding if it is text")
    Path("image").write_bytes(b"\x89PNG\r\n\x1a\n" * 99)
    refused(cli("train", "image"), "image: is a PNG image; pass --level byte to read it as bytes")
    assert "nats/byte" in train("image", "--level", "byte").out


def test_a_byte_model_is_measured_per_byte(train: Cli, cli: Cli) -> None:
    assert "nats/byte" in train("binary", "--level", "byte").out
    Path("other").write_bytes(Path("binary").read_bytes()[::-1])
    assert "text " in cli("evaluate", RUN, "other").out
    assert "bits/byte" in cli("evaluate", RUN, "other").out
    refused(cli("evaluate", RUN, "other", "--encoding", "latin-1"), "--encoding", "--level byte")


def test_inspect_shows_how_a_text_was_read(train: Cli, cli: Cli) -> None:
    train("names.txt", "--documents", "lines", "--min-count", 2)
    answer = cli("inspect", RUN)
    assert answer.code == 0
    shown = [line.split() for line in answer.out.splitlines()]
    assert ["documents", "lines"] in shown
    assert ["min", "count", "2"] in shown
    assert not [line for line in shown if line[:1] == ["level"]]  # because it has its default value
    train("binary", "--level", "byte")
    assert "level               byte" in cli("inspect", RUN).out.splitlines()
    assert ": 700 bytes, sha256 " in cli("inspect", RUN).out


@pytest.mark.parametrize(("arguments", "words"), [
    (("--level", "byte", "--lowercase"), ["--lowercase", "--level byte"]),
    (("--documents", "lines", "--separator", "x"), ["--separator", "--documents"]),
    (("--min-count", 0), ["--min-count", "at least 1"]), (("--min-count", 9999), ["no character", "--min-count"]),
    (("--glob", "."), ["--glob"]), (("--shuffle-seed", -1), ["--shuffle-seed"])])
def test_a_text_that_cannot_be_read_with_the_options_is_refused(cli: Cli, arguments: tuple, words: list[str]) -> None:
    refused(cli("train", "names.txt", *arguments), *words)
    assert not Path("checkpoints").exists()


# Defaults of the validation fraction and of the embedding

def test_many_characters_get_an_embedding(train: Cli) -> None:
    Path("many.txt").write_text("".join(map(chr, range(0x4e00, 0x4e00 + 1001))), encoding="utf-8")
    train("many.txt", steps=1)
    assert Run.load(RUN / "last.h5").model.network.config.embedding_size == 128
    train("many.txt", "--embedding-size", 0, steps=1)
    assert Run.load(RUN / "last.h5").model.network.config.embedding_size == 0
    Path("many.txt").write_text("".join(map(chr, range(0x4e00, 0x4e00 + 1000))), encoding="utf-8")
    train("many.txt", steps=1)
    assert Run.load(RUN / "last.h5").model.network.config.embedding_size == 0


def test_the_validation_fraction_is_fixed_in_the_run(train: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    train("folder", "--glob", "*", steps=1)
    assert Run.load(RUN / "last.h5").config.validation == 0.1
    monkeypatch.setattr("charrnn.config.MOST_VALIDATION", 30)
    train("folder", "--glob", "*", steps=1)
    run = Run.load(RUN / "last.h5")
    assert run.config.validation == 30 / run.source.characters
    train("folder", "--glob", "*", "--validation", 0.2, steps=1)
    assert Run.load(RUN / "last.h5").config.validation == 0.2


# Unknown characters

def test_unknown_characters_of_an_evaluated_text_are_printed(train: Cli, cli: Cli) -> None:
    train("names.txt", "--min-count", 5)
    Path("other.txt").write_text("Anna and 中\U0001f600 dor\x1b[2J", encoding="utf-8")
    answer = cli("evaluate", RUN, "other.txt")
    assert answer.code == 0
    unknown = sorted(set("Anna and 中\U0001f600 dor\x1b[2J") - set(Run.load(RUN / "best.h5").model.vocabulary.characters))
    fraction = sum(character in unknown for character in "Anna and 中\U0001f600 dor\x1b[2J") / 19
    assert answer.err == (f"Not in the vocabulary, replaced by the unknown character ({100 * fraction:.2g} % of the text): "
                          f"{', '.join(map(repr, unknown))}\n")
    assert "\x1b" not in answer.err
    Path("other.txt").write_text("annali")
    assert cli("evaluate", RUN, "other.txt").err == ""


def test_at_most_twenty_unknown_characters_are_named(train: Cli, cli: Cli) -> None:
    train("names.txt", "--min-count", 5)
    Path("other.txt").write_text("".join(map(chr, range(0x4e00, 0x4e00 + 23))), encoding="utf-8")
    assert cli("evaluate", RUN, "other.txt").err.endswith(f"'{chr(0x4e00 + 19)}' and 3 more\n")


def test_unknown_characters_are_refused_without_min_count(train: Cli, cli: Cli) -> None:
    train("names.txt")
    Path("other.txt").write_text("Anna中", encoding="utf-8")
    refused(cli("evaluate", RUN, "other.txt"), "'中' (U+4E2D", "at position 4", "--min-count 2")
    refused(cli("sample", RUN, "--prime", "中"), "U+4E2D", "--min-count 2")


@pytest.mark.parametrize("options", [("--greedy",), ("--temperature", 1000), ("--top-k", 9999), ("--top-p", 1.0), ()],
                         ids=str)
def test_a_prime_may_contain_unknown_characters_but_none_is_ever_sampled(train: Cli, cli: Cli, options: tuple) -> None:
    train("names.txt", "--min-count", 5)
    bias({None: 50.0})
    answer = cli("sample", RUN, "--prime", "an中", "--length", 300, "--seed", 1, *options)
    assert answer.code == 0
    assert answer.err == "Not in the vocabulary, replaced by the unknown character: '中'\n"
    assert answer.out.startswith("an中")
    text = answer.out[3:].removesuffix("\n")
    assert len(answer.out) >= 303
    assert set(text) <= set(Run.load(RUN / "best.h5").model.vocabulary.characters[:-1]) | {"\n"}
    assert "\ufffd" not in text


def test_an_unknown_byte_of_a_prime_is_named(train: Cli, cli: Cli) -> None:
    Path("few").write_bytes(b"abc\n" * 50)
    train("few", "--level", "byte")
    refused(cli("sample", RUN, "--prime", "aé"), "--prime", "0xa9", "--min-count 2")
    train("few", "--level", "byte", "--min-count", 2)
    answer = cli("sample", RUN, "--prime", "aé", "--length", 5)
    assert answer.code == 0
    assert "replaced by the unknown character" in answer.err


# Lines

def test_whole_lines_are_written_and_copied_ones_are_marked_on_a_terminal(
        train: Cli, cli: Cli, terminal: None) -> None:
    train("names.txt", "--documents", "lines", "--validation", 0.3)
    corpus = Corpus.read("names.txt", documents="lines")
    known = set(corpus.vocabulary.decode(corpus.split(0.3).train.ids).split("\n")[1:-1])
    assert 5 < len(known) < 20
    bias({"\n": 2.5})
    answer = cli("sample", RUN, "--count", 300, "--seed", 3, "--length", 50)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.split("\n")
    assert lines.pop() == ""
    assert len(lines) == 300
    assert all(line.endswith("  *") == (line.removesuffix("  *") in known) for line in lines)
    assert "" in lines  # an empty line, which no text contains
    one, other = sorted(known)[0], next(name for name in NAMES if name not in known)
    bias({"\n": 500.0})
    assert cli("sample", RUN, "--prime", one).out == f"{one}  *\n"
    assert cli("sample", RUN, "--prime", other).out == f"{other}\n"
    assert cli("sample", RUN, "--count", 3).out == "\n\n\n"


def test_lines_in_a_pipe_are_not_marked_and_the_training_text_is_not_needed(train: Cli, cli: Cli) -> None:
    train("names.txt", "--documents", "lines")
    bias({"\n": 500.0})
    Path("names.txt").unlink()
    answer = cli("sample", RUN, "--prime", NAMES[0], "--count", 2)
    assert (answer.code, answer.out, answer.err) == (0, f"{NAMES[0]}\n{NAMES[0]}\n", "")


def test_the_number_of_groups_does_not_change_the_lines(train: Cli, cli: Cli, terminal: None,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    train("names.txt", "--documents", "lines")
    bias({"\n": 2.5})
    together = cli("sample", RUN, "--count", 50, "--seed", 3, "--prime", NAMES[0])
    monkeypatch.setattr("charrnn.cli.sample._SIDE_BY_SIDE", 3)
    assert cli("sample", RUN, "--count", 50, "--seed", 3, "--prime", NAMES[0]) == together
    assert len(together.out.splitlines()) == 50
    assert "  *\n" in together.out


def test_a_line_starts_as_in_the_training_text(train: Cli, cli: Cli) -> None:
    train("names.txt", "--documents", "lines", "--learning-rate", 0.1, steps=30)
    run = Run.load(RUN / "best.h5")

    def line(prime: str, seed: int) -> str:
        return "".join(character for (character,) in generate(
            run.model.network, run.model.vocabulary, 1, prime=prime, length=20, until="\n", seed=seed)).strip("\n")

    found = [cli("sample", RUN, "--prime", "B", "--length", 20, "--seed", seed).out.removesuffix("\n").removesuffix("  *")
             for seed in range(9)]
    assert found == [line("\nB", seed) for seed in range(9)]
    assert found != [line("B", seed) for seed in range(9)]


def test_a_line_ends_at_its_newline_or_after_the_length(train: Cli, cli: Cli, environment: dict[str, str]) -> None:
    train("names.txt", "--documents", "lines")
    bias({"\n": -500.0})
    assert [len(line) for line in cli("sample", RUN, "--count", 2, "--length", 9, "--seed", 1).out.splitlines()] == [9, 9]
    bias({"B": 500.0})
    assert cli("sample", RUN, "--until", "BB", "--prime", "A").out == "ABB\n"


def test_no_line_is_marked_if_the_text_is_missing_or_changed_and_a_message_says_so(
        train: Cli, cli: Cli, terminal: None) -> None:
    train("names.txt", "--documents", "lines")
    bias({"\n": 500.0})
    before = cli("sample", RUN, "--prime", NAMES[0], "--seed", 1)
    Path("names.txt").write_text("\n".join(NAMES[:-1]), encoding="utf-8")
    answer = cli("sample", RUN, "--prime", NAMES[0], "--seed", 1)
    assert (answer.code, answer.out) == (0, f"{NAMES[0]}\n")
    assert answer.err == "Training text not found or changed; documents copied from it will not be marked\n"
    Path("names.txt").unlink()
    answer = cli("sample", RUN, "--prime", NAMES[0], "--seed", 1)
    assert (answer.code, answer.out) == (0, f"{NAMES[0]}\n")
    assert answer.err == "Training text not found or changed; documents copied from it will not be marked\n"
    assert before.err == ""


def test_lines_of_bytes_are_written_as_bytes(train: Cli, cli: Cli, terminal: None) -> None:
    train("names.txt", "--documents", "lines", "--level", "byte")
    bias({"\n": 500.0})
    corpus = Corpus.read("names.txt", documents="lines", level="byte")
    known = corpus.vocabulary.decode(corpus.split().train.ids).split("\n")[1:-1]
    name = next(name for name in NAMES if name.encode().decode("latin-1") in known and not name.isascii())
    assert cli("sample", RUN, "--prime", name, "--count", 2).out == f"{name}  *\n{name}  *\n"


# Bytes

def written(*arguments: Any, stdin: bytes = b"", environment: dict[str, str]) -> bytes:
    """Return the standard output of a command, as bytes."""
    done = subprocess.run([sys.executable, "-m", "charrnn", *map(str, arguments)], env=environment, input=stdin,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_any_bytes_can_be_learned_primed_and_sampled(train: Cli, environment: dict[str, str]) -> None:
    data = bytes(range(256)) * 2
    Path("all").write_bytes(data)
    train("all", "--level", "byte")
    prime = bytes([0, 255, 13, 10, 128, 0xc3])
    assert written("sample", RUN, "--prime", "-", "--length", 0, stdin=prime, environment=environment) == prime
    prime = b"\xff\xc3"
    assert written("sample", RUN, "--prime", os.fsdecode(prime), "--length", 0, environment=environment) == prime
    text = written("sample", RUN, "--length", 4000, "--seed", 1, "--temperature", 1000, environment=environment)
    assert len(text) == 4000
    assert len(set(text)) > 250


def test_prime_and_until_of_a_byte_model_may_be_any_characters(train: Cli, cli: Cli, environment: dict[str, str]) -> None:
    train("names.txt", "--level", "byte")
    assert cli("sample", RUN, "--prime", "Zoë", "--length", 0).out == "Zoë"
    assert cli("sample", RUN, "--prime", "-", "--length", 0, stdin="Zoë").out == "Zoë"
    bias({"\xc3": 30.0, "\xab": 30.0})
    text = written("sample", RUN, "--until", "ë", "--length", 5000, "--seed", 1, environment=environment)
    assert len(text) < 100
    assert text.endswith("ë".encode())
    assert text.count("ë".encode()) == 1


def test_a_terminal_never_gets_half_a_character(train: Cli, environment: dict[str, str]) -> None:
    pty = pytest.importorskip("pty")
    train("names.txt", "--level", "byte")

    def shown(*arguments: Any) -> bytes:
        leader, follower = pty.openpty()
        process = subprocess.Popen([sys.executable, "-m", "charrnn", "sample", str(RUN), *map(str, arguments)],
                                   env=environment, stdout=follower, stderr=subprocess.PIPE)
        os.close(follower)
        data = b""
        try:
            while block := os.read(leader, 4096):
                data += block
        except OSError:  # how Linux signals the end of a terminal
            pass
        os.close(leader)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() == 0
        return data.replace(b"\r\n", b"\n")

    assert shown("--prime", "Zoë", "--length", 0) == "Zoë\n".encode()
    text = shown("--length", 300, "--temperature", 1000, "--seed", 1).decode()  # decoding fails for half a character
    assert "\ufffd" in text
    bias({"\xc3": 500.0})
    assert set(shown("--length", 5).decode()) == {"\ufffd", "\n"}
    assert shown("--prime", "Z", "--length", 1) == "Z\ufffd\n".encode()


# prepare and cache

def test_prepare_keeps_a_text_and_train_finds_it(train: Cli, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = cli("prepare", "names.txt", "--documents", "lines")
    assert answer.code == 0
    path = Path(answer.out.rstrip("\n"))
    assert path.parent == Path("cache").resolve()
    assert answer.err.endswith(", 24 lines, 24 distinct\n")
    assert cli("prepare", "names.txt", "--documents", "lines", "--quiet").err == ""
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(token_file, "save", None)
    train("names.txt", "--documents", "lines")
    assert path.stat().st_mtime_ns == before
    assert Path(cli("prepare", "names.txt", "--documents", "lines").out.rstrip("\n")) == path


def test_prepare_refuses_a_text_that_cannot_be_read_again(cli: Cli) -> None:
    refused(cli("prepare"), "Missing argument")
    refused(cli("prepare", "-"), "standard input")
    refused(cli("prepare", "names.txt", "-"), "standard input")
    refused(cli("prepare", "python-reference"), "python-reference", "no token file is kept")
    refused(cli("prepare", "missing.txt"), "missing.txt", "no such file")
    Path("empty.txt").touch()
    refused(cli("prepare", "empty.txt"), "empty.txt", "is empty")
    assert token_file.token_files() == []


def test_cache_lists_and_clears_token_files_and_nothing_else(cli: Cli) -> None:
    assert cli("cache").out == f"      0.0 MB  in {cache_folder()}, 0 token files\n"
    assert cli("cache", "--clear").code == 0
    first = Path(cli("prepare", "names.txt", "--documents", "lines", "--min-count", 2, "--glob", "*.\x1b").out.rstrip("\n"))
    second = Path(cli("prepare", "folder", "names.txt").out.rstrip("\n"))
    damaged = Path("cache", "novel-0123456789abcdef.h5")
    damaged.write_bytes(bytes(150_000))
    for name in ("notes.h5", "mine.txt"):
        Path("cache", name).write_text("mine")
    answer = cli("cache")
    assert (answer.code, answer.err) == (0, "")
    assert "\x1b" not in answer.out
    lines = answer.out.splitlines()
    assert len(lines) == 7
    for path in (first, second, damaged):
        assert any(line.endswith(f"MB  {path.name}") for line in lines)
    size = len("\n".join(NAMES)) + 2
    distinct = len(Corpus.read("names.txt", documents="lines", min_count=2).vocabulary)
    assert (f"{Path('names.txt').resolve()}: {size:,} ids, {distinct} distinct, "
            "--documents lines, --glob *.\\x1b, --min-count 2") in [
        line.strip() for line in lines]
    assert any(f"{Path('folder').resolve()}, {Path('names.txt').resolve()}: " in line for line in lines)
    assert "              corrupt; will be rebuilt" in lines
    total = sum(path.stat().st_size for path in (first, second, damaged)) / 1e6
    assert lines[-1] == f"{total:9,.1f} MB  in {cache_folder()}, 3 token files"
    answer = cli("cache", "--clear")
    assert answer.out == f"{total:9,.1f} MB  removed from {cache_folder()}, 3 token files\n"
    assert sorted(os.listdir("cache")) == ["mine.txt", "notes.h5"]


def test_one_token_file_is_singular(cli: Cli) -> None:
    cli("prepare", "names.txt")
    assert cli("cache").out.endswith("1 token file\n")


def test_a_file_that_cannot_be_removed_is_an_error_of_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("prepare", "names.txt")
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    refused(cli("cache", "--clear"), "cannot be removed (Permission denied)")


def test_a_missing_cache_folder_is_an_error_only_for_prepare(train: Cli, cli: Cli,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_CACHE", str(Path("names.txt").resolve()))
    refused(cli("prepare", "folder"), "the token file cannot be written", "CHARRNN_CACHE")
    train("names.txt")
    monkeypatch.setattr(tokens, "SMALL", 64)
    answer = cli("train", "names.txt", *SMALL, "--steps", 4, "--name", "run", "--overwrite")
    assert answer.code == 0
    assert answer.err.startswith(f"Warning: {Path('names.txt').resolve()}: not writable (File exists), so the ids of the ")
    assert len(answer.err.splitlines()) == 1
    assert without_size(cli("evaluate", RUN).out) == answer.out
    assert cli("cache").code == 0


def test_a_long_text_from_standard_input_is_trained_on(train: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(NAMES)
    one = train("names.txt").out
    monkeypatch.setattr(tokens, "SMALL", 64)
    monkeypatch.setattr("charrnn.cli._loop.warn", lambda message: None)
    assert train("-", stdin=text).out == one
    assert list(cache_folder().iterdir()) == []


def test_a_long_text_is_evaluated_without_the_cache_of_its_training(train: Cli, cli: Cli,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    train("names.txt", "--min-count", 5)
    Path("other.txt").write_text("Annadora and 中\n" * 9, encoding="utf-8")
    short = cli("evaluate", RUN, "other.txt")
    monkeypatch.setattr(tokens, "SMALL", 64)
    assert cli("evaluate", RUN, "other.txt") == short
    assert short.code == 0


@pytest.mark.parametrize("options", [("--documents", "lines"), ("--documents", "files")])
def test_the_state_is_reset_at_documents_of_an_evaluated_text(train: Cli, cli: Cli, options: tuple) -> None:
    Path("other").mkdir()
    for name in NAMES[::2]:
        Path("other", f"{name}.txt").write_text(f"{name}\n", encoding="utf-8")
    train("names.txt", "other", *options, steps=40)
    run = Run.load(RUN / "best.h5")
    text = Corpus.read("other", text_config=run.model.text_config, vocabulary=run.model.vocabulary)
    assert len(text.starts) == 12
    expected = evaluate(run.model.network, text.ids, starts=text.starts).line(
        "text", size=True, document=text.text_config.unit)
    assert expected != evaluate(run.model.network, text.ids).line("text", size=True)
    assert cli("evaluate", RUN, "other").out == f"{expected}\n"


def test_a_progress_bar_shows_the_bytes_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.cli import _corpus

    class Bar:
        total, count = 0, 0

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: int) -> None:
            self.count += count

    bar = Bar()
    monkeypatch.setattr(_corpus, "progress_bar", lambda quiet, **settings: bar)
    _corpus.read_corpus(["names.txt", "folder"], TextConfig(), False)
    assert bar.count == bar.total == Path("names.txt").stat().st_size + Path("folder", "c.txt").stat().st_size


def test_a_text_is_evaluated_as_the_training_text_was_read(train: Cli, cli: Cli) -> None:
    train("names.txt", "--lowercase", "--normalize", "NFC", "--validation", 0.1)
    Path("low.txt").write_text("zoëanna\n" * 20, encoding="utf-8")
    Path("high.txt").write_text("ZOE\u0308ANNA\n" * 20, encoding="utf-8")
    low, high = cli("evaluate", RUN, "low.txt"), cli("evaluate", RUN, "high.txt")
    assert low.code == 0
    assert low == high
    Path("latin.txt").write_bytes("zoëanna\n".encode("latin-1") * 20)
    refused(cli("evaluate", RUN, "latin.txt"), "invalid UTF-8")
    assert cli("evaluate", RUN, "latin.txt", "--encoding", "latin-1") == low


def test_a_line_that_is_cut_off_is_not_marked_and_a_message_says_so(train: Cli, cli: Cli, terminal: None) -> None:
    train("names.txt", "--documents", "lines")
    answer = cli("sample", RUN, "--prime", "Ann", "--length", 0, "--count", 3)
    assert (answer.code, answer.out) == (0, "Ann\nAnn\nAnn\n")
    assert answer.err == "3 of 3 lines were cut off; use a larger --length\n"
    assert cli("sample", RUN, "--prime", "Ann", "--length", 0).err == "1 of 1 line was cut off; use a larger --length\n"
    assert cli("sample", RUN, "--prime", NAMES[0], "--length", 0).out == NAMES[0] + "\n"
    one = cli("sample", RUN, "--prime", "-", "--seed", 1, stdin="An\n")
    assert one.out == cli("sample", RUN, "--prime", "An", "--seed", 1).out
    assert len(one.out.splitlines()) == 1
    refused(cli("sample", RUN, "--prime", "An\nna"), "--prime", "several lines")
    until = cli("sample", RUN, "--until", "n", "--count", 8, "--seed", 2)
    assert not until.err
    assert any(line.endswith("n") for line in until.out.splitlines())
    for line in until.out.splitlines():
        assert line.removesuffix("  *") == line or line.removesuffix("  *") in NAMES


def test_cache_shows_and_clears_leftovers_of_killed_processes(train: Cli, cli: Cli) -> None:
    left = cache_folder() / f"standard-input-{atomic.owner().partition('-')[0]}-999999999-0123abcd.h5"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    assert "left by a process that was killed" in cli("cache").out
    assert cli("cache", "--clear").code == 0
    assert not left.exists()


def test_a_long_list_of_names_is_shortened(train: Cli, cli: Cli) -> None:
    for number in range(9):
        Path(f"{number}.txt").write_text(f"{number:04}\n" * 50)
    answer = cli("baseline", *(f"{number}.txt" for number in range(9)))
    assert answer.err.startswith("0.txt and 8 more: 2,250 characters")


@pytest.mark.parametrize("name", ["x.gz", "x.bz2", "x.xz"])
def test_a_file_that_is_not_compressed_despite_its_name_is_an_error(train: Cli, cli: Cli, name: str) -> None:
    Path(name).write_bytes(b"no archive at all")
    refused(cli("prepare", name), name, "cannot be decompressed", "check that the file is complete")


def test_the_position_of_an_unknown_character_of_a_line_does_not_count_the_newline_before_it(train: Cli, cli: Cli) -> None:
    train("names.txt", "--documents", "lines")
    refused(cli("sample", RUN, "--prime", f"{NAMES[0]}中"), f"at position {len(NAMES[0])} ")
