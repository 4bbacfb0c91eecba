"""Limits of one run, and how it is told to stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hdm_pipeline.execution.events import Event, Listener


@dataclass(frozen=True)
class RunOptions:
    """How one run differs from what the pipeline file says.

    Attributes:
        limit: most scenes to work on.
        time_budget: seconds after which no new work is started.
        retry_quarantined: try scenes again that were put aside under the same key.
        wait: wait for another run on the same output to end, instead of refusing.
        rebuild_ledger: put a damaged ledger aside and start an empty one; all scenes are then done again.
    """

    limit: int | None = None
    time_budget: float | None = None
    retry_quarantined: bool = False
    wait: bool = False
    rebuild_ledger: bool = False


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    Attributes:
        done: scenes published by this run.
        done_before: scenes that were there already.
        quarantined: error of each scene that is put aside, by scene id.
        left: scenes not reached (interrupted, out of time, or over the limit).
        report: path of `run.json`.
    """

    done: tuple[str, ...]
    done_before: int
    quarantined: Mapping[str, Mapping[str, Any]]
    left: int
    report: Path

    @property
    def exit_code(self) -> int:
        """0 all is well, 3 some scenes are quarantined."""
        return 3 if self.quarantined else 0


def lock_owner() -> str:
    """How this process signs the run lock."""
    return f"{socket.gethostname()}:{os.getpid()}"


def fan_out(listeners: Sequence[Listener]) -> Listener:
    """One listener that tells several, in order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


def stopper(deadline: float | None, interrupted: Callable[[], bool]) -> Callable[[], bool]:
    """True once interrupted, or past `deadline` on the monotonic clock."""
    return lambda: interrupted() or (deadline is not None and time.monotonic() >= deadline)


@contextmanager
def interrupts(tell: Listener) -> Iterator[Callable[[], bool]]:
    """Within: the first SIGINT or SIGTERM asks to stop between blocks, the second raises KeyboardInterrupt.

    Yields whether it was asked. Signals can be caught in the main thread alone; elsewhere this does nothing.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        tell(Event("stopping"))

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
