"""Runs of the pipeline: started in a process of their own, watched by their event log, asked to stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from hdm_pipeline.session.runs import RunFollower, RunState
from hdm_studio.errors import ConflictError

_ERROR = re.compile(
    r"^error: (?P<what>.*?)(?:\n {2}where: +(?P<where>.*?))?(?:\n {2}remedy: +(?P<remedy>.*?))?\s*\Z", re.S | re.M
)
"""How the command line prints an `HdmError`."""

_FAILED = (1, 2)
"""Exit codes of runs that failed."""

_INTERRUPTED = (1, -signal.SIGINT, -signal.SIGKILL)
"""Exit codes of runs that were asked to stop at once, or before they had begun."""

_LAST_STEPS = 2.0
"""Seconds that a process takes to end."""

_POLITE = 2
"""How often a run is asked before it is killed."""

_TOLD_BYTES = 4000
"""Of what a run printed when it failed."""


class Runs:
    """The runs of one pipeline file. May be used by several threads.

    A run is a process of its own, in a session of its own: neither Ctrl-C in the studio's terminal nor the studio's end
    ends it, as it may have hours of work to do. Runs that were started elsewhere are watched and stopped likewise.

    Args:
        file: the pipeline file.
        follow: `Session.follow`: whether to pass over what the last run has logged.
        interrupt: `Session.interrupt_run`.
    """

    def __init__(self, file: Path, follow: Callable[[bool], RunFollower], interrupt: Callable[[], bool]) -> None:
        self._file, self._follow, self._interrupt = file, follow, interrupt
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._printed: IO[bytes] | None = None
        self._asked = 0
        self._follower = follow(False)

    def state(self) -> tuple[RunState, bool]:
        """How far the run is, or how the last one ended; and whether it was started here."""
        with self._lock:
            return self._state()

    def _state(self) -> tuple[RunState, bool]:
        code = None if self._process is None else self._process.poll()
        self._follower.poll()
        found = self._follower.state()
        if self._process is None:
            return found, False
        if code is None and found.state == "failed":
            code = self._ending()
        if code is None:  # it writes nothing before it has a plan
            return (replace(found, state="running", phase="starting") if found.state == "idle" else found), True
        if found.state in ("running", "stopping"):  # ours has ended: this is another one
            self._process = None
            return found, False
        if code in _INTERRUPTED and self._asked:
            return replace(found, state="stopped", phase="ended", error=None), True
        if code in _FAILED:
            return replace(found, state="failed", phase="ended", error=self._error()), True
        return found, True

    def _ending(self) -> int | None:
        """The exit code of a run that has noted its end, or lost its lock by it, and is about to be gone."""
        with suppress(subprocess.TimeoutExpired):
            return None if self._process is None else self._process.wait(_LAST_STEPS)
        return None

    def start(self) -> None:
        """Start a run.

        Raises:
            ConflictError: one goes on.
        """
        with self._lock:
            found, _ = self._state()
            if found.state in ("running", "stopping"):
                raise ConflictError(
                    "a run goes on already", where=found.owner, remedy="wait for it to end, or stop it first"
                )
            self._follower, self._asked = self._follow(True), 0
            # A file, not a pipe: a run that outlives the studio can still write to it.
            self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the run is ours
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hdm_pipeline", "run", str(self._file), "--events"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._printed,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Ask the run to stop after the blocks that are being worked on; if it was asked before, at once.

        One that was started here and hangs all the same is killed the third time, which costs it no finished block.

        Raises:
            OutputError: it was started elsewhere, and cannot be reached from here.
            ConflictError: there is no run.
        """
        with self._lock:
            found, ours = self._state()
            if ours and self._process is not None and self._process.poll() is None:
                self._asked += 1
                # Also before it has the lock.
                self._process.send_signal(signal.SIGINT if self._asked <= _POLITE else signal.SIGKILL)
            elif found.state not in ("running", "stopping") or not self._interrupt():
                raise ConflictError("there is no run to stop", where="run", remedy="load the page again")

    def running_process(self) -> int | None:
        """Number of the process of a run that was started here and goes on."""
        with self._lock:
            return self._process.pid if self._process is not None and self._process.poll() is None else None

    def _error(self) -> dict[str, str]:
        """What the run printed last."""
        if self._printed is None:
            return {}
        # Not by seeking: the run writes where this file stands.
        file = self._printed.fileno()
        text = os.pread(file, _TOLD_BYTES, max(0, os.fstat(file).st_size - _TOLD_BYTES)).decode(errors="replace")
        start = text.rfind("error: ")
        if start >= 0 and (match := _ERROR.match(text[start:])):
            return {"type": "HdmError", **{key: value or "" for key, value in match.groupdict().items()}}
        last = text.strip().splitlines()
        return {"type": "ExecutionError", "what": last[-1] if last else "the run failed", "where": "", "remedy": ""}
