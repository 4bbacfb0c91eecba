"""Ctrl-C and SIGTERM: the first asks a run to stop where it loses nothing, the second ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hdm_pipeline.reporting.events import Listener, Stopping


@contextmanager
def interrupts(tell: Listener) -> Iterator[Callable[[], bool]]:
    """Within: the first SIGINT or SIGTERM asks to stop between steps or blocks, the second raises KeyboardInterrupt.

    Yields whether it was asked. Signals can only be caught in the main thread; in another one this does nothing.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        tell(Stopping())

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
