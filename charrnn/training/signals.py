"""Signals that stop training after a step, or request a save."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from charrnn.mpi import Ranks

_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
_SAVING = "SIGUSR1"


class StopSignals:
    """Records signals inside its ``with`` block; training checks for them after each step.

    ``received`` is the first SIGINT, SIGTERM or SIGHUP; SIGHUP is recorded only if it is not ignored (``nohup``). A second
    signal ends the program at once, except SIGHUP, because a closed terminal may send several. SIGUSR1 requests a save.
    Outside the main thread nothing is recorded, because Python delivers no signals there.
    """

    def __init__(self, ranks: Ranks | None = None) -> None:
        self.received: int | None = None
        self._save_requested = False
        self._ranks = ranks or Ranks()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for name, handler in (*((name, self._note) for name in _STOPPING), (_SAVING, self._request_save)):
                number = getattr(signal, name, None)
                if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                    continue
                self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self) -> bool:
        """Return whether any rank has received a signal to stop. All ranks must call this method."""
        received = [number for number in self._ranks.all(self.received) if number is not None]
        self.received = received[0] if received else None
        return bool(received)

    def save_requested(self) -> bool:
        """Return whether a save was requested since the last call."""
        requested, self._save_requested = self._save_requested, False
        return requested

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        elif number in (signal.SIGINT, signal.SIGTERM):
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    def _request_save(self, number: int, frame: FrameType | None) -> None:
        self._save_requested = True
