"""Signals that stop a training between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from charrnn.mpi import Ranks


class StopSignals:
    """Inside its ``with`` block, SIGINT and SIGTERM are noted in ``received``, and only a second one ends the program.

    Outside the main thread Python delivers no signals, and this does nothing.
    """

    def __init__(self, ranks: Ranks | None = None) -> None:
        self.received: int | None = None
        self._ranks = ranks or Ranks()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self) -> bool:
        """Return whether any of the ranks has received a signal; all ranks must call it."""
        received = [number for number in self._ranks.all(self.received) if number is not None]
        self.received = received[0] if received else None
        return bool(received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.received = number
