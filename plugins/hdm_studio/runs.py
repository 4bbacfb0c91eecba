"""Runs of the pipeline: started in a process of their own, watched by their event log, asked to stop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO

from hdm_pipeline import Session
from hdm_pipeline.session.runs import RunState
from hdm_studio.errors import ConflictError

_ERROR = re.compile(
    r"^error: (?P<what>.*?)(?:\n {2}where: +(?P<where>.*?))?(?:\n {2}remedy: +(?P<remedy>.*?))?\s*\Z", re.S | re.M
)
"""How the command line prints an `HdmError`."""

_TOLD_BYTES = 4000
"""Of what a run printed when it failed."""


class Runs:
    """The runs of one pipeline file. May be used by several threads.

    A run is a process of its own, in a session of its own: neither Ctrl-C in the studio's terminal nor the studio's end
    ends it, as it may have hours of work to do. Runs that were started elsewhere are watched and stopped likewise.
    """

    def __init__(self, session: Session, file: Path) -> None:
        self._session, self._file = session, file
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._printed: IO[bytes] | None = None
        self._follower = session.follow()

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
        if code is None:
            # Before it has the lock, and after it gave it back, it is still a process that works.
            going = found.state in ("running", "stopping")
            return (found if going else replace(found, state="running", phase="starting", error=None)), True
        if code in (1, 2):
            return replace(found, state="failed", phase="ended", error=self._error()), True
        return found, found.state not in ("running", "stopping")

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
            self._follower = self._session.follow(skip=True)
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

        Raises:
            OutputError: it was started elsewhere, and cannot be reached from here.
            ConflictError: there is no run.
        """
        with self._lock:
            found, ours = self._state()
            if ours and self._process is not None and self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)  # also before it has the lock
            elif found.state not in ("running", "stopping") or not self._session.interrupt_run():
                raise ConflictError("there is no run to stop", where="run")

    def running_process(self) -> int | None:
        """Number of the process of a run that was started here and goes on."""
        with self._lock:
            return self._process.pid if self._process is not None and self._process.poll() is None else None

    def _error(self) -> dict[str, str]:
        """What the run printed last."""
        if self._printed is None:
            return {}
        size = self._printed.seek(0, 2)
        self._printed.seek(max(0, size - _TOLD_BYTES))
        text = self._printed.read().decode(errors="replace")
        start = text.rfind("error: ")
        if start >= 0 and (match := _ERROR.match(text[start:])):
            return {"type": "HdmError", **{key: value or "" for key, value in match.groupdict().items()}}
        last = text.strip().splitlines()
        return {"type": "ExecutionError", "what": last[-1] if last else "the run failed", "where": "", "remedy": ""}
