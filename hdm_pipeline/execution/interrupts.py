"""Ctrl-C, SIGTERM and a closed terminal: the first asks a run to stop where it loses nothing, the second ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hdm_pipeline.reporting.events import Listener, Stopping


@contextmanager
def interrupts(tell: Listener) -> Iterator[Callable[[], bool]]:
    """Within: the first SIGINT, SIGTERM or SIGHUP asks to stop between steps or blocks; the second of the first two
    raises KeyboardInterrupt.

    A terminal that is closed sends SIGHUP, often twice (the shell's, and the system's). Where it is ignored (`nohup`),
    it stays ignored. Yields whether it was asked. Signals can only be caught in the main thread; in another one this
    does nothing.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            if number == signal.SIGHUP:
                return
            raise KeyboardInterrupt
        asked.set()
        tell(Stopping())

    with _handled(handle, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield asked.is_set


@contextmanager
def terminations() -> Iterator[None]:
    """Within: SIGTERM, and a terminal that is closed, end what is done as Ctrl-C does, by a KeyboardInterrupt.

    For what a run does before and after `interrupts`: it gives its lock back, and says that it was interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handled(signal.default_int_handler, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    """Within: these signals are handled so; a SIGHUP that is ignored stays ignored."""
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    before = {number: signal.signal(number, handle) for number in numbers if number not in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
