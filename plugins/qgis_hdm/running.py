"""Running a command: its lines as they come, and an end that loses nothing when the user cancels."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from qgis_hdm.commands import clean_environment

_TAIL = 40
"""Lines of standard error that are kept."""

_LOOK = 0.2
"""Seconds between two looks at whether the user has cancelled."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; negative for a signal.
        cancelled: the user had it stopped.
        errors: the last lines of its standard error.
    """

    code: int
    cancelled: bool
    errors: str


def run(
    command: Sequence[str],
    *,
    on_line: Callable[[str], None],
    on_error: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> Ended:
    """Run a command to its end.

    Cancelling sends SIGINT once and waits: hdm_pipeline then finishes the blocks that it is working on, and the next
    run goes on from there. The same happens where `on_line`, `on_error` or `cancelled` raises, and then that is raised.

    Args:
        command: program and arguments.
        on_line: is given each line of standard output, in this thread.
        on_error: is given each line of standard error, in this thread.
        cancelled: whether the user wants it to stop.

    Raises:
        OSError: the program cannot be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(os.environ),
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    lines: queue.Queue[tuple[Callable[[str], None], str] | None] = queue.Queue()
    readers = [_reader(process.stdout, on_line, lines), _reader(process.stderr, on_error, lines)]
    errors: deque[str] = deque(maxlen=_TAIL)
    asked, open_pipes = False, len(readers)
    try:
        while open_pipes:
            if not asked and cancelled():
                asked = True
                process.send_signal(signal.SIGINT)
            try:
                item = lines.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if item is None:
                open_pipes -= 1
                continue
            tell, line = item
            if tell is on_error:
                errors.append(line)
            tell(line)
    finally:
        if open_pipes and not asked:  # nobody listens any more
            process.send_signal(signal.SIGINT)
        for reader in readers:  # they empty the pipes, so that the command can end
            reader.join()
        code = process.wait()
    return Ended(code, asked, "\n".join(errors))


def _reader(
    pipe: IO[str] | None,
    tell: Callable[[str], None],
    lines: queue.Queue[tuple[Callable[[str], None], str] | None],
) -> threading.Thread:
    """A thread that puts the lines of a pipe into the queue, and None at its end."""

    def read() -> None:
        with pipe or open(os.devnull) as source:
            for line in source:
                lines.put((tell, line.rstrip("\n")))
        lines.put(None)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
