"""charrnn.text.catalog and its command, with a server on the loopback address."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from serving import Behaviour, Server, cut, endless, serving, stall, status, whole

import charrnn.cli
from charrnn.errors import DownloadError
from charrnn.storage.atomic import owner
from charrnn.text import catalog, download
from charrnn.text.builtin import BUILTIN_TEXTS, BuiltinText
from charrnn.text.catalog import CATALOG, Entry
from charrnn.text.download import Digest

TEXT = "".join(random.Random(1).choices("etaoin shrdlu\n", k=300_000)).encode()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def digest(data: bytes) -> Digest:
    return Digest(len(data), hashlib.sha256(data).hexdigest())


PACKED = zipped(other=b"not this", packed=TEXT)


class House:
    """A destination folder, and a server with ``plain``, a text, and ``packed``, an archive that contains the same text."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.progress: list[tuple[str, int, int]] = []
        self.warnings: list[str] = []

    def fetch(self, name: str, *behaviours: Behaviour, overwrite: bool = False) -> bool:
        self.server.behaviours = list(behaviours)
        return catalog.fetch(name, self.folder, overwrite, lambda *step: self.progress.append(step), self.warnings.append)

    def error(self, name: str, *behaviours: Behaviour, overwrite: bool = False) -> str:
        with pytest.raises(DownloadError) as error:
            self.fetch(name, *behaviours, overwrite=overwrite)
        assert "\n" not in str(error.value)
        return str(error.value)

    @property
    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        for name, archive in (("plain", None), ("packed", digest(PACKED))):
            monkeypatch.setitem(CATALOG, name, Entry(name, "what", "licence", server.address, digest(TEXT), archive))
        yield House(tmp_path / "corpora", server)


PACKAGES = pytest.mark.parametrize(("name", "data"), [("plain", TEXT), ("packed", PACKED)])


# The table

def test_each_entry_is_complete() -> None:
    assert catalog.corpus_names() == ["python-reference", "python-source", "names", "tinyshakespeare", "text8", "enwik8"]
    for name, entry in CATALOG.items():
        assert entry.name == name
        assert entry.address.startswith("https://")
        assert entry.address.endswith(".zip") == (entry.archive is not None)
        for each in (entry.text, entry.fetched):
            assert each.size > 200_000
            assert len(bytes.fromhex(each.sha256)) == 32
    digests = [each.sha256 for entry in CATALOG.values() for each in {entry.text, entry.fetched}]
    assert len(set(digests)) == len(digests) == 6


# Fetching

@PACKAGES
def test_a_corpus_is_the_only_file_in_the_folder(house: House, name: str, data: bytes) -> None:
    assert house.fetch(name, whole(data))
    assert house.files == {f"{name}.txt": TEXT}
    assert house.progress[-1] == ("writing", len(TEXT), len(TEXT))
    assert ("download", len(data), len(data)) in house.progress
    assert not house.warnings


@PACKAGES
def test_a_valid_file_is_left_alone(house: House, name: str, data: bytes) -> None:
    house.fetch(name, whole(data))
    path = house.folder / f"{name}.txt"
    before = path.stat()
    assert not house.fetch(name, status(500))
    assert not house.fetch(name, status(500), overwrite=True)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(house.server.asked) == 1


@pytest.mark.parametrize("other", [b"mine", TEXT[:-1] + b"!"])
def test_a_different_file_is_replaced_only_with_overwrite(house: House, other: bytes) -> None:
    house.folder.mkdir()
    path = house.folder / "plain.txt"
    path.write_bytes(other)
    assert house.error("plain", whole(TEXT)) == (
        f"{path}: already exists and is not plain; pass overwrite=True to replace it, or set into to another folder")
    assert house.files == {"plain.txt": other}
    assert not house.server.asked
    assert house.fetch("plain", whole(TEXT), overwrite=True)
    assert house.files == {"plain.txt": TEXT}


@pytest.mark.parametrize("behaviour", [whole(TEXT[:-1] + b"!"), cut(TEXT, 200_000), status(404)],
                         ids=["wrong", "cut", "404"])
def test_a_file_to_be_replaced_stays_if_the_download_fails(house: House, behaviour: Behaviour) -> None:
    house.folder.mkdir()
    (house.folder / "plain.txt").write_bytes(b"mine")
    house.error("plain", behaviour, overwrite=True)
    assert house.files == {"plain.txt": b"mine"}


@PACKAGES
def test_a_broken_download_starts_again(house: House, name: str, data: bytes) -> None:
    assert house.fetch(name, cut(data, 1000), status(503), whole(data))
    assert house.warnings == [
        f"the connection was cut, at 1,000 of {len(data):,} bytes; trying again in 0 s",
        f"the server answers 503 Service Unavailable, at 0 of {len(data):,} bytes; trying again in 0 s"]
    assert house.files == {f"{name}.txt": TEXT}


@PACKAGES
def test_wrong_content_never_gets_the_name(house: House, name: str, data: bytes) -> None:
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    error = house.error(name, whole(wrong))
    assert error.startswith(f"{house.server.address}: unexpected content (SHA-256 {digest(wrong).sha256[:12]}, not "
                            f"{digest(data).sha256[:12]}); use another network")
    assert house.files == {}
    assert len(house.server.asked) == 1


def test_an_endless_body_is_cut_at_the_expected_size(house: House) -> None:
    assert "unexpected content" in house.error("plain", endless)
    assert max(done for _, done, _ in house.progress) == len(TEXT)
    assert house.files == {}


@pytest.mark.parametrize("behaviour", [status(404), status(500), status(302, Location="/file"), whole(TEXT + b"more"),
                                       cut(TEXT, 200_000)], ids=["404", "500", "redirect", "longer", "cut"])
def test_a_failed_download_names_the_address_and_leaves_no_files(house: House, behaviour: Behaviour) -> None:
    assert house.server.address in house.error("plain", behaviour)
    assert house.files == {}


# Unpacking

@pytest.mark.parametrize(("archive", "says"), [
    (zipped(packed=TEXT + b"more"), "the text has unexpected content"),
    (zipped(packed=TEXT[:-1]), "the text has unexpected content"),
    (zipped(packed=TEXT[:-1] + b"!"), "the text has unexpected content"),
    (zipped(packed=bytes(10**8)), "the text has unexpected content"),
    (zipped(other=TEXT), "not a zip archive that contains packed"),
    (b"no zip file", "not a zip archive that contains packed"),
    (PACKED[:5000] + b"damaged" + PACKED[5007:], "not a zip archive that contains packed"),
], ids=["longer", "shorter", "wrong", "bomb", "without", "none", "damaged"])
def test_an_archive_without_the_expected_text_is_an_error(house: House, monkeypatch: pytest.MonkeyPatch, archive: bytes,
                                                          says: str) -> None:
    monkeypatch.setitem(CATALOG, "packed", CATALOG["packed"]._replace(archive=digest(archive)))
    assert says in house.error("packed", whole(archive))
    assert house.files == {}
    assert not [step for step in house.progress if step[0] == "writing" and step[1] > len(TEXT)]


# Writing

@pytest.mark.parametrize("action", ["download", "writing"])
@PACKAGES
def test_ctrl_c_leaves_no_files(house: House, name: str, data: bytes, action: str) -> None:
    def stop(current: str, *_: int) -> None:
        if current == action:
            raise KeyboardInterrupt

    house.server.behaviours = [whole(data)]
    with pytest.raises(KeyboardInterrupt):
        catalog.fetch(name, house.folder, False, stop, house.warnings.append)
    assert house.files == {}


def test_the_file_gets_its_name_when_all_is_on_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(f"fsync {os.fstat(number).st_size}"), sync(number)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(f"replace {Path(new).name}"), replace(old, new)))
    house.fetch("packed", whole(PACKED))
    assert done[:2] == [f"fsync {len(TEXT)}", "replace packed.txt"]


def test_two_downloads_at_once_do_no_harm(house: House) -> None:
    """The second one runs while the first one writes."""
    inner: list[bool] = []

    def interrupt(action: str, *_: int) -> None:
        if action == "writing" and not inner:
            inner.append(house.fetch("packed", whole(PACKED)))

    house.server.behaviours = [whole(PACKED)]
    assert catalog.fetch("packed", house.folder, False, interrupt, house.warnings.append)
    assert inner == [True]
    assert house.files == {"packed.txt": TEXT}


def test_a_link_stays_a_link(house: House, tmp_path: Path) -> None:
    house.folder.mkdir()
    (tmp_path / "disk").mkdir()
    (house.folder / "plain.txt").symlink_to(tmp_path / "disk" / "text")
    house.fetch("plain", whole(TEXT))
    assert (house.folder / "plain.txt").is_symlink()
    assert (tmp_path / "disk" / "text").read_bytes() == TEXT


def test_files_that_killed_writers_left_are_removed(house: House) -> None:
    house.folder.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = owner().partition("-")[0]
    left, living, other = (f".{name}.{host}-{process}-0123abcd.tmp" for name, process in (
        ("plain.txt", dead.pid), ("plain.txt", os.getppid()), ("other.txt", dead.pid)))
    for name in (left, living, other):
        (house.folder / name).write_bytes(b"x")
    house.fetch("plain", whole(TEXT))
    assert set(house.files) == {"plain.txt", living, other}


def test_a_folder_that_cannot_be_created_is_an_error_of_one_line(house: House) -> None:
    house.folder.write_bytes(b"a file")
    assert house.error("plain", whole(TEXT)).startswith(f"{house.folder}: cannot be read or written (File exists); free ")
    assert not house.server.asked


def test_a_folder_with_the_name_of_the_file_is_an_error_of_one_line(house: House) -> None:
    (house.folder / "plain.txt").mkdir(parents=True)
    assert "plain.txt: already exists and is not plain" in house.error("plain", whole(TEXT))
    assert "plain.txt: cannot be read or written (Is a directory)" in house.error("plain", whole(TEXT), overwrite=True)
    assert [path.name for path in house.folder.iterdir()] == ["plain.txt"]


def test_a_link_into_a_missing_folder_is_an_error_before_the_download(house: House, tmp_path: Path) -> None:
    house.folder.mkdir()
    (house.folder / "plain.txt").symlink_to(tmp_path / "missing" / "text")
    assert "/plain.txt: cannot be read or written (No such file or directory)" in house.error("plain", whole(TEXT))
    assert not house.server.asked


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable_is_an_error_of_one_line(house: House) -> None:
    house.folder.mkdir(0o500)
    assert "/plain.txt: cannot be read or written (Permission denied)" in house.error("plain", whole(TEXT))
    assert not house.server.asked


@PACKAGES
def test_a_full_disk_is_an_error_of_one_line(house: House, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert house.error(name, whole(data)).startswith(
        f"{house.folder}/{name}.txt: cannot be read or written (No space left on device); free some disk space")
    assert house.files == {}
    assert len(house.server.asked) == 1


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Limit the size of files to a third of the text."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(TEXT) // 3, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
@PACKAGES
def test_a_file_that_does_not_fit_leaves_no_partial_file(house: House, name: str, data: bytes) -> None:
    assert "cannot be read or written (File too large); free some disk space" in house.error(name, whole(data))
    assert house.files == {}


# Texts that come with Python

def test_a_builtin_text_is_written_to_a_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILTIN_TEXTS, "python-source", BuiltinText("what", 12, lambda: "café\r\n"))
    assert house.fetch("python-source")
    assert house.files == {"python-source.txt": "café\r\n".encode()}
    assert not house.fetch("python-source")
    (house.folder / "python-source.txt").write_bytes(b"of another Python")
    assert "already exists and is not python-source" in house.error("python-source")


# The command

def test_the_list_is_complete_and_fits_a_terminal(cli: Callable, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli("corpora")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines[1:7]] == [*BUILTIN_TEXTS, *CATALOG]
    for entry in CATALOG.values():
        assert {entry.address, f"SHA-256 {entry.fetched.sha256}"} <= set(map(str.strip, lines))
        assert f"{entry.name}: {entry.fetched.size:,} bytes to download" in lines
        (line,) = [line for line in lines if line.startswith(f"{entry.name} ")]
        assert f"  {entry.licence}  " in line
        assert f" {entry.text.size / 1e6:.1f} MB" in line
        assert line.endswith(entry.what)


def test_the_list_shows_which_texts_exist(house: House, cli: Callable) -> None:
    def here() -> list[str]:
        rows = map(str.split, cli("corpora").out.splitlines())
        return [row[4] for row in rows if row and row[0] in ("python-source", "plain", "packed")]

    assert here() == ["yes", "no", "no"]
    house.fetch("plain", whole(TEXT))
    (house.folder / "packed.txt").write_bytes(b"mine")
    assert here() == ["yes", "yes", "other"]


def test_get_reports_its_result(house: House, cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    group = charrnn.cli.charrnn.get_command(click.Context(charrnn.cli.charrnn), "corpora")
    assert isinstance(group, click.Group)
    monkeypatch.setattr(group.commands["get"].params[0], "type", click.Choice(catalog.corpus_names()))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    house.server.behaviours = [cut(TEXT, 200_000), whole(TEXT)]
    answer = cli("corpora", "get", "plain")
    assert (answer.code, answer.out) == (0, "corpora/plain.txt: 300,000 bytes, verified\n")
    assert answer.err.splitlines()[-1] == "Train on it: charrnn train corpora/plain.txt"
    assert "Warning: the connection was cut, at 200,000 of 300,000 bytes; trying again in 0 s" in answer.err
    assert "writing: 100%" in answer.err
    bars = re.findall(r"download: [^\r\n]*", answer.err)
    assert "200k/300k" in "".join(bars)
    assert "300k/300k" in bars[-1]
    again = cli("corpora", "get", "plain", "--quiet")
    assert again == (0, "corpora/plain.txt: 300,000 bytes, verified; it already exists\n", "")
    house.server.behaviours = [whole(TEXT)]
    assert cli("corpora", "get", "plain", "--into", "my texts", "-q").out == "my texts/plain.txt: 300,000 bytes, verified\n"
    (house.folder / "plain.txt").write_bytes(b"mine")
    refused = cli("corpora", "get", "plain")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("Error: corpora/plain.txt: already exists and is not plain")
    assert len(refused.err.splitlines()) == 1
    assert cli("corpora", "get", "plain", "--overwrite", "-q").code == 0
    house.server.behaviours = [status(404)]
    failed = cli("corpora", "get", "packed", "-q")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == f"Error: {house.server.address}: the server answers 404 Not Found; get the text from elsewhere\n"


def test_an_unknown_name_is_refused_with_the_known_ones(cli: Callable) -> None:
    answer = cli("corpora", "get", "enwik9")
    assert answer.code == 2
    assert "'enwik9' is not one of 'python-reference', 'python-source', 'names'" in answer.err


def test_help_of_get_fits_a_terminal(cli: Callable) -> None:
    answer = cli("corpora", "get", "--help")
    assert answer.code == 0
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "--overwrite" in answer.out
    assert "starts again" in answer.out


PROGRAM = """
import sys
from charrnn.cli import main
from charrnn.text.catalog import CATALOG, Digest, Entry
CATALOG["names"] = Entry("names", "", "", sys.argv.pop(), Digest({size}, "{sha256}"))
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_a_download_leaves_no_files_and_the_same_command_starts_again(
        house: House, environment: dict[str, str], number: int, code: int) -> None:
    command = [sys.executable, "-c", PROGRAM.format(**digest(TEXT)._asdict()), "corpora", "get", "names", "-q",
               "--into", str(house.folder), house.server.address]
    settings = {"env": {**environment, "no_proxy": "*"}, "cwd": Path(charrnn.cli.__file__).parents[2]}
    house.server.behaviours = [stall(TEXT, 200_000), whole(TEXT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)
    deadline = time.monotonic() + 60
    while not house.server.asked and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b"")
    assert err.strip() == (b"Stopped." if number == signal.SIGINT else b"")
    assert house.files == {}
    done = subprocess.run(command, capture_output=True, **settings)
    assert (done.returncode, done.stdout) == (0, f"{house.folder}/names.txt: 300,000 bytes, verified\n".encode())
    assert house.files == {"names.txt": TEXT}
