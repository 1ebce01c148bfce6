"""charrnn.training.signals; what a signal does to a training is in test_api.py and test_run_folder.py"""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from charrnn.training.signals import StopSignals


class TwoRanks:
    """This rank and another one, which has received ``other``."""

    def __init__(self, other: int | None) -> None:
        self.other = other

    def all(self, value: Any) -> list[Any]:
        return [value, self.other]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_handlers_are_restored(number: int) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals() as stop:
        assert not stop.agreed()
        assert stop.received is None
        signal.raise_signal(number)
        assert stop.received == number
        assert stop.agreed()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


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
