"""charrnn.training.signals; test_api.py and test_run_folder.py test what a signal does to a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from charrnn.training.signals import StopSignals


class TwoRanks:
    """This rank and another one, which has received ``other``."""

    def __init__(self, other: int | None) -> None:
        self.other = other

    def all(self, value: Any) -> list[Any]:
        return [value, self.other]


@pytest.fixture(autouse=True)
def _default_hangup() -> Iterator[None]:
    """Restore the default action of SIGHUP, because the parent process may ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_recorded_and_the_handlers_are_restored(number: int) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    before = [signal.getsignal(each) for each in numbers]
    with StopSignals() as stop:
        assert not stop.agreed()
        assert stop.received is None
        signal.raise_signal(number)
        assert stop.received == number
        assert stop.agreed()
        assert not stop.save_requested()
    assert [signal.getsignal(each) for each in numbers] == before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_program_and_the_handlers_are_restored(second: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopSignals():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt if second == signal.SIGINT else SystemExit) as caught:
            signal.raise_signal(second)
    if second == signal.SIGTERM:
        assert caught.value.code == 143
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM])
def test_a_hangup_after_another_signal_does_not_end_the_program(first: int) -> None:
    """A closed terminal may send several hangups."""
    with StopSignals() as stop:
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGHUP)
        assert stop.received == first


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert not stop.agreed()


def test_a_save_is_requested_once() -> None:
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGUSR1)
        assert stop.save_requested()
        assert not stop.save_requested()
        assert not stop.agreed()


def test_in_another_thread_nothing_is_changed() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with StopSignals() as stop:
            found.append((signal.getsignal(signal.SIGINT), stop.agreed(), stop.received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(before, False, None)]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("here", "there", "agreed"), [
    (None, None, None), (signal.SIGINT, None, signal.SIGINT), (None, signal.SIGTERM, signal.SIGTERM),
    (signal.SIGINT, signal.SIGTERM, signal.SIGINT)])
def test_ranks_agree_on_the_first_signal(here: int | None, there: int | None, agreed: int | None) -> None:
    stop = StopSignals(TwoRanks(there))
    stop.received = here
    assert stop.agreed() is (agreed is not None)
    assert stop.received == agreed
