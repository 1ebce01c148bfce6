"""Runs that are stopped by signals, and streams that are closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import RUN, SMALL, Cli, steps

from charrnn import Run

SIGNALLED = """
import os, sys
from charrnn.training.trainer import Trainer
take = Trainer.step
def step(self):
    if self.run.step + 1 == {step}:
        os.kill(os.getpid(), {number})
    return take(self)
Trainer.step = step
from charrnn.cli import main
main()
"""


@pytest.mark.parametrize(("number", "code", "step"), [
    (signal.SIGINT, 130, 1), (signal.SIGINT, 130, 5), (signal.SIGINT, 130, 6), (signal.SIGTERM, 143, 5),
    (signal.SIGKILL, -9, 5),
])
def test_a_run_that_was_stopped_and_resumed_ends_in_the_same_bytes(
        empty: Path, python: Cli, cli: Cli, trained: tuple[Path, Any], number: int, code: int, step: int) -> None:
    """The signal comes in a step, before the first evaluation, between two, and in a step with an evaluation."""
    answer = python("-c", SIGNALLED.format(step=step, number=int(number)), "train", "notes.txt", *SMALL, "--steps", 12,
                    "--eval-every", 3, cwd=empty)
    assert (answer.code, answer.out) == (code, "")
    assert "Traceback" not in answer.err
    if number != signal.SIGKILL:
        assert f"charrnn resume {RUN}" in answer.err
        assert f"Stopped after step {step} of 12" in answer.err
        assert Run.load(RUN / "last.h5").step == step
    answer = cli("resume", RUN)
    assert (answer.code, answer.out) == (0, trained[1].out)
    for name in ("last.h5", "best.h5"):
        assert (RUN / name).read_bytes() == (trained[0] / RUN / name).read_bytes()
    assert steps(RUN) == list(range(1, 13))


def test_control_c_ends_a_long_training(empty: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "charrnn", "train", "notes.txt", *map(str, SMALL), "--steps", "1000000",
               "--eval-every", "20"]
    with subprocess.Popen(command, cwd=empty, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if b"nats/char" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err.decode().splitlines()[-1].endswith(f"Resume with: charrnn resume {RUN}")
    assert Run.load(RUN / "last.h5").step >= 20


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_the_first_step_sets_the_exit_code(
        empty: Path, environment: dict[str, str], number: int, code: int) -> None:
    command = [sys.executable, "-c", "import sys, charrnn.cli as cli; sys.argv = ['charrnn', 'train', '-']; "
               "print('up', flush=True); cli.main()"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(20) == code
        assert b"Traceback" not in process.stderr.read()
    assert not Path("checkpoints").exists()


def test_a_closed_standard_error_does_not_end_a_training(empty: Path, environment: dict[str, str]) -> None:
    options = " ".join(map(str, SMALL))
    command = f'"{sys.executable}" -m charrnn train notes.txt {options} --steps 30 --eval-every 1 2>&1 >out.txt | true'
    subprocess.run(["sh", "-c", command], env=environment, check=True)
    deadline = 100
    while not Path("out.txt").read_text() and deadline:  # the shell waits for the end of the pipe, not of the training
        deadline -= 1
        time.sleep(0.1)
    assert Path("out.txt").read_text().startswith("validation ")
    assert Run.load(RUN / "last.h5").step == 30


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_closed_stream_is_not_an_error(here: Path, environment: dict[str, str], closed: str) -> None:
    for command in (f"sample {RUN} --length 5", f"resume {RUN} --steps 13 --quiet", f"inspect {RUN}"):
        done = subprocess.run(["sh", "-c", f'"{sys.executable}" -m charrnn {command} {closed}'], env=environment,
                              capture_output=True)
        assert (command, done.returncode, done.stderr) == (command, 0, b"")


def test_a_prime_from_a_closed_standard_input_gives_no_traceback(here: Path, environment: dict[str, str]) -> None:
    command = f'"{sys.executable}" -m charrnn sample {RUN} --prime - --length 5 <&-'
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [
    ("-m", "charrnn", "sample", RUN, "--length", 20_000), ("-m", "charrnn", "sample", RUN, "--length", 50, "--count", 2),
    ("-u", "-m", "charrnn", "sample", RUN, "--length", 50, "--count", 2), ("-m", "charrnn", "inspect", RUN),
    ("-m", "charrnn", "evaluate", RUN), ("-m", "charrnn", "gradcheck", "--hidden-size", 2), ("-m", "charrnn", "--help"),
], ids=lambda arguments: " ".join(map(str, arguments)))
def test_a_pipe_that_is_closed_early_is_not_an_error(here: Path, environment: dict[str, str], arguments: tuple) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run([sys.executable, *map(str, arguments)], stdout=out, stderr=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")


def test_head_may_close_the_pipe(here: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "charrnn", "sample", str(RUN), "--length", "20000", "--prime", "the cat"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout.read(7) == b"the cat"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="the system has no SIGUSR1")
def test_sigusr1_before_there_is_a_run_to_save_is_ignored() -> None:
    program = ("import signal, sys, charrnn.cli as cli; run = cli._run; sys.argv = ['charrnn', '--version']\n"
               "cli._run = lambda: (signal.raise_signal(signal.SIGUSR1), run())[1]; cli.main()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("charrnn")
