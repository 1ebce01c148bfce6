"""Usage errors: invalid options, missing files, files that cannot be trusted."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from command_line import RUN, Cli, files, refused

from charrnn import Run, TrainConfig


@pytest.mark.parametrize(("arguments", "words"), [
    (("train", "missing.txt"), ["missing.txt", "no such file"]),
    (("train", "empty"), ["empty", "*.txt"]),
    (("train", "empty.txt"), ["empty.txt", "empty"]),
    (("train", "latin.txt"), ["latin.txt", "invalid UTF-8 at byte 3 (0xe9)"]),
    (("train", "short.txt"), ["--seq-len", f"at least {TrainConfig().seq_len + 1}"]),
    (("train", "tiny.txt"), ["--validation", "a longer text"]),
    (("train", "notes.txt", "--seq-len", 5, "--validation", 0.001), ["--validation", "0.001"]),
    (("train", "notes.txt", "--seq-len", 5, "--test", 0.001), ["--test", "0.001"]),
    (("train", "notes.txt", "--steps", 5, "--epochs", 2), ["--steps", "epochs"]),
    (("train", "notes.txt", "--validation", 0, "--patience", 2), ["--patience"]),
    (("train", "notes.txt", "--validation", 0.5, "--test", 0.5), ["--test"]),
    (("train", "notes.txt", "--checkpoints", "notes.txt", "--steps", 1, "-q"), ["notes.txt", "--checkpoints"]),
    (("resume", "missing"), ["missing"]), (("sample", "missing"), ["missing"]), (("evaluate", "missing"), ["missing"]),
    (("inspect", "missing"), ["missing"]), (("inspect", "empty"), ["empty", "best.h5"]), (("sample", "empty"), ["empty"]),
    (("sample", "notes.txt"), ["notes.txt", "not a checkpoint or model file"]),
    (("evaluate", "notes.txt"), ["notes.txt", "not a checkpoint or model file"]),
    (("inspect", "notes.txt"), ["notes.txt", "not a checkpoint or model file"]),
    (("inspect", "empty.txt"), ["empty.txt", "not a checkpoint or model file"]),
    (("resume", "notes.txt", "--name", "new"), ["notes.txt", "not a checkpoint or model file"]),
    (("other",), ["other"]), (("train", "--other"), ["--other"]), (("evaluate",), ["RUN_OR_CHECKPOINT"]),
], ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "")
def test_an_error_is_one_line_and_creates_no_file(empty: Path, cli: Cli, arguments: tuple, words: list[str]) -> None:
    (empty / "empty").mkdir()
    (empty / "empty.txt").touch()
    (empty / "latin.txt").write_bytes(b"caf\xe9 " * 99)
    (empty / "short.txt").write_text("short " * 9)
    (empty / "tiny.txt").write_text("tiny")
    before = files(empty)
    refused(cli(*arguments), *words)
    assert files(empty) == before
    assert sorted(os.listdir(empty)) == ["empty", "empty.txt", "latin.txt", "notes.txt", "short.txt", "tiny.txt"]


@pytest.mark.parametrize(("option", "values"), [
    ("--cell", ["elman"]), ("--hidden-size", [0, -1, "x", 10**30, -10**400]), ("--layers", [0]),
    ("--dropout", [1, -0.1, "nan"]), ("--embedding-size", [-1]), ("--batch-size", [0]), ("--seq-len", [0]),
    ("--steps", [0, 1.5]), ("--epochs", [0, "inf"]), ("--minutes", [0, -1, "nan"]), ("--optimizer", ["lion"]),
    ("--learning-rate", [0, -1, "nan", "inf"]), ("--schedule", ["x"]), ("--warmup", [-1]), ("--weight-decay", [-1, "nan"]),
    ("--momentum", [1]), ("--clip-norm", [-1, "nan"]), ("--clip-value", [-1]), ("--validation", [1, -0.1, "nan"]),
    ("--test", [1]), ("--eval-every", [0]), ("--patience", [0]), ("--seed", [-1, 2**64]), ("--threads", [0]),
    ("--name", ["", ".", "..", "a/b", "/a"]),
])
def test_rejects_options_of_train_out_of_range_by_name(empty: Path, cli: Cli, option: str, values: list) -> None:
    for value in values:
        refused(cli("train", "notes.txt", f"{option}={value}"), option)
    assert os.listdir(empty) == ["notes.txt"]


@pytest.mark.parametrize(("option", "values"), [
    ("--length", [-1]), ("--temperature", [-1, "nan", "inf"]), ("--top-k", [0]), ("--top-p", [0, 1.5, "nan"]),
    ("--count", [0]), ("--seed", [-1, 2**64]),
])
def test_rejects_options_of_sample_out_of_range_by_name(here: Path, cli: Cli, option: str, values: list) -> None:
    for value in values:
        refused(cli("sample", RUN, f"{option}={value}"), option)


@pytest.mark.parametrize("arguments", [
    ("resume", RUN, "--steps=0"), ("resume", RUN, "--minutes=nan"), ("resume", RUN, "--threads=0"),
    ("resume", RUN, "--epochs=3", "--steps=20"), ("resume", RUN, "--name=a/b"), ("evaluate", RUN, "--streams=0"),
    ("gradcheck", "--hidden-size=0"), ("gradcheck", "--layers=0"), ("gradcheck", "--dropout=1"), ("gradcheck", "--seed=-1"),
], ids=lambda arguments: " ".join(map(str, arguments)))
def test_rejects_options_of_other_commands_out_of_range_by_name(here: Path, cli: Cli, arguments: tuple) -> None:
    before = files(here)
    refused(cli(*arguments), str(arguments[-1]).split("=")[0])
    assert files(here) == before


@pytest.mark.parametrize("words", [("train", "--encoding", "nonsense"), ("evaluate", RUN, "--encoding", "nonsense")])
def test_rejects_an_invalid_encoding_even_if_it_is_not_used(here: Path, cli: Cli, words: tuple) -> None:
    refused(cli(*words), "--encoding")


@pytest.mark.parametrize("command", ["resume", "sample", "evaluate", "inspect"])
def test_rejects_a_damaged_checkpoint(here: Path, cli: Cli, command: str) -> None:
    for name in ("best.h5", "last.h5"):
        data = bytearray((RUN / name).read_bytes())
        data[len(data) // 2] ^= 1
        (RUN / name).write_bytes(data)
    before = files(here)
    refused(cli(command, RUN), str(RUN), "SHA-256 mismatch: the file is damaged")
    assert files(here) == before


@pytest.mark.parametrize(("names", "fault"), [
    (("-",), "not in a file"), ((), "not in a file"), (("big.txt",) * 4, "has more files"), ((".",), "has more files"),
    (("big.txt",), "has changed since the run was started"), (("folder",), "bytes, but the text of this run had"),
    (("secret.txt",), "has changed since the run was started"), (("/proc/self/environ",), "has 0 bytes"),
    (("python-reference",), "has changed since the run was started")], ids=str)
def test_a_checkpoint_cannot_make_a_command_read_another_text(
        here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], fault: str) -> None:
    """A checkpoint may name any file or folder; a text with another fingerprint is neither kept nor shown."""
    monkeypatch.setenv("CHARRNN_CACHE", str(here / "cache"))
    monkeypatch.setattr("charrnn.text.tokens.SMALL", 64)
    with open("big.txt", "wb") as file:
        file.truncate(2**30)
    run = Run.load(RUN / "last.h5")
    Path("secret.txt").write_text("s" * run.source.bytes)
    Path("folder").mkdir()
    Path("folder", "secret.txt").write_text("secret")
    run.source = run.source._replace(names=names)
    run.save("other.h5")
    refused(cli("evaluate", "other.h5"), fault, "TEXT_FILE")
    refused(cli("resume", "other.h5", "--name", "new"), fault, "--corpus")
    assert not list(here.glob("cache/*"))


def test_control_characters_in_a_checkpoint_are_escaped(here: Path, cli: Cli) -> None:
    run = Run.load(RUN / "last.h5")
    run.environment = {"\x1b[31mred\nline": "\x07x"}
    run.save("other.h5")
    for answer in (cli("resume", "other.h5", "--name", "new", "--steps", 13, "--quiet"), cli("inspect", "other.h5")):
        assert answer.code == 0
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", answer.out + answer.err)


@pytest.mark.parametrize(("arguments", "error"), [
    (("train", "--cell", "elman"),
     "Invalid value for '--cell': 'elman' is not one of 'lnlstm', 'lstm', 'gru', 'rnn'; see 'charrnn train --help'"),
    (("train", "--hidden-size", "x"),
     "Invalid value for '--hidden-size': 'x' is not a valid integer; see 'charrnn train --help'"),
    (("train", "--dropout", 1), "Invalid value for '--dropout': must be below 1, not 1"),
    (("train", "--steps", 5, "--epochs", 2), "Invalid value for '--steps': cannot be combined with --epochs"),
    (("train", "--level", "byte", "--lowercase"),
     "Invalid value for '--lowercase': applies to characters and cannot be combined with --level byte"),
    (("train", "--validation", 0, "--patience", 2),
     "Invalid value for '--patience': needs a validation part; set --validation above 0"),
    (("sample", "--legnth", 3), "No such option '--legnth'; did you mean '--length'?"),
    (("train", "--checkpoint", 3), "No such option '--checkpoint'; did you mean one of: '--checkpoint-every', "
                                   "'--checkpoint-minutes', '--checkpoints'?"),
    (("evaluate",), "Missing argument 'RUN_OR_CHECKPOINT'; see 'charrnn evaluate --help'"),
    (("sample", "a", "b"), "Got unexpected extra argument (b); see 'charrnn sample --help'"),
    (("other",), "No such command 'other'; see 'charrnn --help'"),
    (("trian",), "No such command 'trian'; did you mean 'train'?"),
    (("corpora", "get"), "Missing argument 'NAME'; choose from: python-reference, python-source, "),
    (("sweep",), "Missing option '--grid'; see 'charrnn sweep --help'"),
], ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "")
def test_click_errors_and_charrnn_errors_have_the_same_form(cli: Cli, arguments: tuple, error: str) -> None:
    answer = cli(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert answer.err.startswith(f"Error: {error}")
    assert error.endswith(" ") or answer.err == f"Error: {error}\n"


def test_an_error_of_the_operating_system_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error", "a\nb")

    monkeypatch.setattr("charrnn.inference.locate.checkpoint_at", fail)
    assert cli("sample", "run") == (1, "", "Error: a\\nb: Input/output error\n")


def test_the_version_is_shown(cli: Cli) -> None:
    import charrnn

    assert cli("--version").out == f"charrnn {charrnn.__version__} (distribution charrnn-np)\n"
