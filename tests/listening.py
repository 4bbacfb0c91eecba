"""A listener as its users have it: a process, its events, and a way to kill it."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self


class ListenerProcess:
    """`python -m hdm_pipeline listen PIPELINE --json`, until the `with` block ends.

    Args:
        pipeline: the pipeline file.
        overrides: `key=value`.
    """

    def __init__(self, pipeline: Path, *overrides: str) -> None:
        options = [part for one in overrides for part in ("--set", one)]
        self._command = [sys.executable, "-m", "hdm_pipeline", "listen", str(pipeline), "--json", *options]
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.seen: list[dict[str, Any]] = []
        self.output: list[bytes] = []
        self.port = 0

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        place = self.wait("listening")["at"]
        found = re.search(r":(\d+)", place.removeprefix("dimse://"))
        self.port = int(found.group(1)) if found else 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            try:
                self._events.put(json.loads(line))
            except ValueError:  # what a worker prints
                continue
        self._events.put({"event": "end"})

    def wait(self, kind: str, seconds: float = 60) -> dict[str, Any]:
        """The next event of a kind; those before are in `seen`, too."""
        end = time.monotonic() + seconds
        while True:
            try:
                event = self._events.get(timeout=max(end - time.monotonic(), 0.01))
            except queue.Empty:
                raise AssertionError(f"no {kind!r} within {seconds} s; came: {self.seen}") from None
            self.seen.append(event)
            if event["event"] == kind:
                return event
            if event["event"] == "end":
                raise AssertionError(f"it ended: {b''.join(self.output).decode()}")

    def kill(self) -> None:
        """`kill -9`, as a machine that loses its power would; its worker notices by itself."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join(20)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(90)
        self._reader.join(20)
        return code


def inbox_files(root: Path) -> list[Path]:
    """The files that an inbox holds."""
    return [path for path in (root / "deliveries").rglob("*") if path.is_file()] if os.path.isdir(root) else []
