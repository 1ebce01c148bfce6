"""charrnn.text.catalog and its command, against a server on the loopback address."""

from __future__ import annotations

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
from serving import Behaviour, Server, cut, endless, ranges, serving, stall, status, whole

import charrnn.cli
from charrnn.errors import DownloadError
from charrnn.text import catalog as corpora
from charrnn.text import download
from charrnn.text.builtin import BUILT_IN, BuiltIn
from charrnn.text.catalog import CLASSICS, Classic, Content

TEXT = "".join(random.Random(1).choices("etaoin shrdlu\n", k=300_000)).encode()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def content(data: bytes) -> Content:
    return Content(len(data), hashlib.sha256(data).hexdigest())


PACKED = zipped(other=b"not this", packed=TEXT)


class House:
    """A folder to fetch into, and a server to fetch from, which has ``plain``, a text, and ``packed``, the same zipped."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.shown: list[tuple[str, int, int]] = []
        self.told: list[str] = []

    def get(self, name: str, *behaviours: Behaviour, overwrite: bool = False) -> bool:
        self.server.behaviours = list(behaviours)
        return corpora.get(name, self.folder, overwrite, lambda *step: self.shown.append(step), self.told.append)

    def error(self, name: str, *behaviours: Behaviour) -> str:
        with pytest.raises(DownloadError) as error:
            self.get(name, *behaviours)
        assert "\n" not in str(error.value)
        return str(error.value)

    @property
    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0, 0.0, 0.0))
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        for name, archive in (("plain", None), ("packed", content(PACKED))):
            monkeypatch.setitem(CLASSICS, name, Classic(name, "what", "licence", server.address, content(TEXT), archive))
        yield House(tmp_path / "corpora", server)


PACKAGES = pytest.mark.parametrize(("name", "data", "part"), [("plain", TEXT, "plain.txt.part"),
                                                              ("packed", PACKED, "packed.zip.part")])


# The table

def test_each_entry_is_whole() -> None:
    assert [*BUILT_IN, *CLASSICS] == ["python-reference", "python-source", "names", "tinyshakespeare", "text8", "enwik8"]
    for name, classic in CLASSICS.items():
        assert classic.name == name
        assert classic.address.startswith("https://")
        assert classic.address.endswith(".zip") == (classic.archive is not None)
        for each in (classic.text, classic.fetched):
            assert each.size > 200_000
            assert len(bytes.fromhex(each.sha256)) == 32
    digests = [each.sha256 for classic in CLASSICS.values() for each in {classic.text, classic.fetched}]
    assert len(set(digests)) == len(digests) == 6


# Fetching

@PACKAGES
def test_a_corpus_is_fetched_and_nothing_else_stays(house: House, name: str, data: bytes, part: str) -> None:
    assert house.get(name, ranges(data))
    assert house.files == {f"{name}.txt": TEXT}
    assert house.shown[-1] == ("writing", len(TEXT), len(TEXT))
    assert ("download", len(data), len(data)) in house.shown
    assert not house.told


@PACKAGES
def test_what_is_there_and_right_is_not_fetched_again(house: House, name: str, data: bytes, part: str) -> None:
    house.get(name, ranges(data))
    assert not house.get(name, status(500))
    assert not house.get(name, status(500), overwrite=True)
    assert len(house.server.asked) == 1


@pytest.mark.parametrize("other", [b"mine", TEXT[:-1] + b"!"])
def test_another_text_is_not_replaced_unless_that_is_wanted(house: House, other: bytes) -> None:
    house.folder.mkdir()
    path = house.folder / "plain.txt"
    path.write_bytes(other)
    assert house.error("plain", ranges(TEXT)) == (
        f"{path}: is there, and is another text than plain; give --overwrite to replace it, or another folder with --into")
    assert house.files == {"plain.txt": other}
    assert house.get("plain", ranges(TEXT), overwrite=True)
    assert house.files == {"plain.txt": TEXT}


def test_a_text_that_is_to_be_replaced_stays_until_the_new_one_is_there(house: House) -> None:
    house.folder.mkdir()
    (house.folder / "plain.txt").write_bytes(b"mine")
    with pytest.raises(DownloadError):
        house.get("plain", whole(TEXT[:-1] + b"!"), overwrite=True)
    assert house.files == {"plain.txt": b"mine"}


@PACKAGES
def test_a_broken_download_stays_and_is_gone_on_with(house: House, name: str, data: bytes, part: str) -> None:
    half = len(data) // 2
    assert "it goes on where it stopped" in house.error(name, cut(data, half), status(503))
    assert house.files == {part: data[:half]}
    house.server.asked.clear()
    assert house.get(name, ranges(data))
    assert house.server.asked == [("/file", f"bytes={half}-")]
    assert house.files == {f"{name}.txt": TEXT}


@PACKAGES
def test_wrong_content_never_gets_the_name_and_is_thrown_away(house: House, name: str, data: bytes, part: str) -> None:
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    error = house.error(name, ranges(wrong))
    assert error.startswith(f"{house.server.address}: has another content than it should (SHA-256 "
                            f"{content(wrong).sha256[:12]}, not {content(data).sha256[:12]}), so it was thrown away")
    assert house.files == {}
    assert len(house.server.asked) == 1


@PACKAGES
def test_pieces_of_different_files_are_noticed_and_it_starts_again(house: House, name: str, data: bytes, part: str) -> None:
    house.folder.mkdir()
    (house.folder / part).write_bytes(b"z" * (len(data) // 2))
    assert house.get(name, ranges(data))
    assert house.told == ["the pieces do not belong together; starting again"]
    assert [wanted for _, wanted in house.server.asked] == [f"bytes={len(data) // 2}-", None]
    assert house.files == {f"{name}.txt": TEXT}


def test_it_starts_again_only_once(house: House) -> None:
    wrong = TEXT[:-1] + b"!"
    assert "has another content" in house.error("plain", cut(wrong, 200_000))
    assert len(house.server.asked) == 4
    assert house.told.count("the pieces do not belong together; starting again") == 1
    assert house.files == {}


@pytest.mark.parametrize("before", [TEXT + b"more", b"z" * len(TEXT), b"z" * 10 * len(TEXT)],
                         ids=["longer", "wrong", "long"])
def test_a_part_that_is_none_is_thrown_away(house: House, before: bytes) -> None:
    house.folder.mkdir()
    (house.folder / "plain.txt.part").write_bytes(before)
    assert house.get("plain", ranges(TEXT))
    assert house.files == {"plain.txt": TEXT}


def test_an_endless_body_is_cut_at_the_size_that_is_expected(house: House) -> None:
    assert "has another content" in house.error("plain", endless)
    assert max(done for _, done, _ in house.shown) == len(TEXT)
    assert house.files == {}


@pytest.mark.parametrize("behaviour", [status(404), status(500), status(302, Location="/file"), whole(TEXT + b"more")],
                         ids=["404", "500", "redirect", "longer"])
def test_where_nothing_comes_nothing_stays(house: House, behaviour: Behaviour) -> None:
    assert house.server.address in house.error("plain", behaviour)
    assert house.files == {}


# Unpacking

@pytest.mark.parametrize(("archive", "says"), [
    (zipped(packed=TEXT + b"more"), "would not hold what it should"), (zipped(packed=TEXT[:-1]), "would not hold what"),
    (zipped(packed=TEXT[:-1] + b"!"), "would not hold what"), (zipped(packed=bytes(10**8)), "would not hold what"),
    (zipped(other=TEXT), "is no zip file with packed in it"), (b"no zip file", "is no zip file with packed in it"),
    (PACKED[:5000] + b"damaged" + PACKED[5007:], "is no zip file with packed in it"),
], ids=["longer", "shorter", "wrong", "bomb", "without", "none", "damaged"])
def test_a_text_that_is_not_what_it_should_be_is_not_written(house: House, monkeypatch: pytest.MonkeyPatch, archive: bytes,
                                                             says: str) -> None:
    monkeypatch.setitem(CLASSICS, "packed", CLASSICS["packed"]._replace(archive=content(archive)))
    assert says in house.error("packed", whole(archive))
    assert set(house.files) <= {"packed.zip.part"}
    assert not [step for step in house.shown if step[0] == "writing" and step[1] > len(TEXT)]


def test_what_was_stopped_in_unpacking_is_not_fetched_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            house.get("packed", ranges(PACKED))
    assert house.files == {"packed.zip.part": PACKED}
    assert house.get("packed", status(500))
    assert house.files == {"packed.txt": TEXT}


# Writing

def test_the_name_appears_when_all_is_on_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(f"fsync {os.fstat(number).st_size}"), sync(number)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(f"replace {Path(new).name}"), replace(old, new)))
    house.get("packed", ranges(PACKED))
    assert done[:2] == [f"fsync {len(TEXT)}", "replace packed.txt"]


def test_two_at_once_do_no_harm(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second runs while the first unpacks, and takes its archive away."""
    monkeypatch.setattr(corpora, "_BLOCK", 50_000)
    inner: list[bool] = []

    def show(doing: str, done: int, _: int) -> None:
        if doing == "writing" and not inner:
            inner.append(house.get("packed", status(500)))  # it takes the archive that the first has fetched

    house.server.behaviours = [ranges(PACKED)]
    assert corpora.get("packed", house.folder, False, show, house.told.append)
    assert inner == [True]
    assert house.files == {"packed.txt": TEXT}


def test_a_link_stays_a_link(house: House, tmp_path: Path) -> None:
    house.folder.mkdir()
    (tmp_path / "disk").mkdir()
    (house.folder / "plain.txt").symlink_to(tmp_path / "disk" / "text")
    house.get("plain", ranges(TEXT))
    assert (house.folder / "plain.txt").is_symlink()
    assert (tmp_path / "disk" / "text").read_bytes() == TEXT


def test_what_killed_writers_left_is_removed(house: House) -> None:
    house.folder.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f".plain.txt.{dead.pid}-a.tmp", f".plain.txt.{os.getppid()}-b.tmp", f".other.txt.{dead.pid}-c.tmp"):
        (house.folder / name).write_bytes(b"x")
    house.get("plain", ranges(TEXT))
    assert set(house.files) == {"plain.txt", f".plain.txt.{os.getppid()}-b.tmp", f".other.txt.{dead.pid}-c.tmp"}


def test_a_folder_that_cannot_be_made_or_a_part_that_is_a_folder_is_an_error_of_one_line(house: House) -> None:
    house.folder.write_bytes(b"a file")
    assert f"{house.folder}: cannot be written or read (File exists)" in house.error("plain", ranges(TEXT))
    house.folder.unlink()
    (house.folder / "plain.txt.part").mkdir(parents=True)
    assert "plain.txt.part: cannot be written or read (Is a directory)" in house.error("plain", ranges(TEXT))
    assert not house.server.asked


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_an_error_of_one_line(house: House) -> None:
    house.folder.mkdir(0o500)
    assert "cannot be written or read (Permission denied)" in house.error("plain", ranges(TEXT))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_an_error_of_one_line(house: House) -> None:
    house.folder.mkdir()
    (house.folder / "plain.txt.part").symlink_to("/dev/full")
    assert house.error("plain", ranges(TEXT)).startswith(
        f"{house.folder}/plain.txt: cannot be written or read (No space left on device); make room")
    assert len(house.server.asked) == 1


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file can be larger than a third of the text."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(TEXT) // 3, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
@PACKAGES
def test_where_there_is_no_room_what_fits_stays_to_go_on_with(house: House, name: str, data: bytes, part: str) -> None:
    error = house.error(name, ranges(data))
    assert "cannot be written or read (File too large); make room" in error
    assert house.files == {part: data[:len(TEXT) // 3]}


# What every Python carries

def test_a_built_in_text_can_be_had_as_a_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "python-source", BuiltIn("what", 12, lambda: "café\r\n"))
    assert house.get("python-source")
    assert house.files == {"python-source.txt": "café\r\n".encode()}
    assert not house.get("python-source")
    (house.folder / "python-source.txt").write_bytes(b"of another Python")
    assert "is another text than python-source" in house.error("python-source")


# The command

def test_the_list_names_each_with_all_that_is_known_and_fits_a_terminal(cli: Callable, tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli("corpora")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines[1:7]] == [*BUILT_IN, *CLASSICS]
    for classic in CLASSICS.values():
        assert {classic.address, f"SHA-256 {classic.fetched.sha256}"} <= set(map(str.strip, lines))
        assert f"{classic.name}: {classic.fetched.size:,} bytes to fetch" in lines
        (line,) = [line for line in lines if line.startswith(f"{classic.name} ")]
        assert f"  {classic.licence}  " in line
        assert f" {classic.text.size / 1e6:.1f} MB" in line
        assert line.endswith(classic.what)


def test_the_list_says_what_is_here(house: House, cli: Callable) -> None:
    def here() -> list[str]:
        rows = map(str.split, cli("corpora").out.splitlines())
        return [row[4] for row in rows if row and row[0] in ("python-source", "plain", "packed")]

    assert here() == ["yes", "no", "no"]
    house.get("plain", ranges(TEXT))
    (house.folder / "packed.txt").write_bytes(b"mine")
    assert here() == ["yes", "yes", "other"]


def test_get_says_what_it_has_done(house: House, cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    group = charrnn.cli.charrnn.get_command(click.Context(charrnn.cli.charrnn), "corpora")
    assert isinstance(group, click.Group)
    monkeypatch.setattr(group.commands["get"].params[0], "type", click.Choice(corpora.names()))
    house.server.behaviours = [cut(TEXT, 200_000), ranges(TEXT)]
    answer = cli("corpora", "get", "plain")
    assert (answer.code, answer.out) == (0, "corpora/plain.txt: 300,000 bytes, checked\n")
    assert answer.err.splitlines()[-1] == "Train on it: charrnn train corpora/plain.txt"
    assert "Warning: the connection was cut, at 200,000 of 300,000 bytes; trying again in 0 s" in answer.err
    assert "writing: 100%" in answer.err
    bars = re.findall(r"download: [^\r\n]*", answer.err)
    assert "200k/300k" in "".join(bars)
    assert "300k/300k" in bars[-1]
    again = cli("corpora", "get", "plain", "--quiet")
    assert again == (0, "corpora/plain.txt: 300,000 bytes, checked; it was there already\n", "")
    house.server.behaviours = [ranges(TEXT)]
    assert cli("corpora", "get", "plain", "--into", "my texts", "-q").out == "my texts/plain.txt: 300,000 bytes, checked\n"
    (house.folder / "plain.txt").write_bytes(b"mine")
    refused = cli("corpora", "get", "plain")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("Error: corpora/plain.txt: is there, and is another text")
    assert len(refused.err.splitlines()) == 1
    assert cli("corpora", "get", "plain", "--overwrite", "-q").code == 0
    house.server.behaviours = [status(404)]
    failed = cli("corpora", "get", "packed", "-q")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == f"Error: {house.server.address}: the server answers 404 Not Found; get the text from elsewhere\n"


def test_a_name_that_is_not_in_the_list_is_refused_with_those_that_are(cli: Callable) -> None:
    answer = cli("corpora", "get", "enwik9")
    assert answer.code == 2
    assert "'enwik9' is not one of 'python-reference', 'python-source', 'names'" in answer.err


def test_help_of_get_fits_a_terminal(cli: Callable) -> None:
    answer = cli("corpora", "get", "--help")
    assert answer.code == 0
    assert max(map(len, answer.out.splitlines())) <= 80
    assert "--overwrite" in answer.out


PROGRAM = """
import sys
from charrnn.text import catalog as corpora
from charrnn.cli import main
corpora.CLASSICS["names"] = corpora.Classic("names", "", "", sys.argv.pop(), corpora.Content({size}, "{sha256}"))
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_leaves_the_part_and_the_same_command_goes_on(
        house: House, environment: dict[str, str], number: int, code: int) -> None:
    command = [sys.executable, "-c", PROGRAM.format(**content(TEXT)._asdict()), "corpora", "get", "names", "-q",
               "--into", str(house.folder), house.server.address]
    settings = {"env": {**environment, "no_proxy": "*"}, "cwd": Path(charrnn.cli.__file__).parents[2]}
    house.server.behaviours = [stall(TEXT, 200_000), ranges(TEXT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)
    part = house.folder / "names.txt.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b"")
    assert err == (b"Stopped. The same command goes on where it stopped.\n" if number == signal.SIGINT else b"")
    have = part.stat().st_size
    assert 0 < have <= 200_000
    assert list(house.files) == ["names.txt.part"]
    done = subprocess.run(command, capture_output=True, **settings)
    assert (done.returncode, done.stdout) == (0, f"{house.folder}/names.txt: 300,000 bytes, checked\n".encode())
    assert house.server.asked[-1] == ("/file", f"bytes={have}-")
    assert house.files == {"names.txt": TEXT}
