"""A listener as its users have it: a process, its events, and a way to kill it."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE


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

    def wait(self, kind: str, seconds: float = 180) -> dict[str, Any]:
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
        while not self._events.empty():
            self.seen.append(self._events.get())
        return code


def inbox_files(root: Path) -> list[Path]:
    """The files that an inbox holds."""
    # Not by `rglob`: it fails over a folder that is removed meanwhile.
    return [Path(folder) / name for folder, _, names in os.walk(root / "deliveries") for name in names]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        return int(wire.getsockname()[1])


class Sender(threading.Thread):
    """A modality: sends instances over one association, and again over a new one until each is acknowledged.

    Args:
        port: of the listener.
        datasets: instances of one presentation context.
        called: AE title of the listener.
        seconds: after which it gives up.
    """

    def __init__(self, port: int, datasets: Sequence[Dataset], called: str = "HDM", seconds: float = 300) -> None:
        super().__init__(daemon=True)
        self._port, self._datasets, self._called = port, list(datasets), called
        self._end = time.monotonic() + seconds
        self.acknowledged: list[str] = []
        self.statuses: list[int] = []
        self.associations = 0

    def run(self) -> None:
        """Send until all is acknowledged."""
        entity = AE(ae_title="MODALITY")
        entity.add_requested_context(self._datasets[0].SOPClassUID, ExplicitVRLittleEndian)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 20
        waiting = list(self._datasets)
        while waiting and time.monotonic() < self._end:
            association = entity.associate("127.0.0.1", self._port, ae_title=self._called)
            if not association.is_established:
                time.sleep(0.2)
                continue
            self.associations += 1
            while waiting and association.is_established:
                try:
                    answer = association.send_c_store(waiting[0])
                except (RuntimeError, ValueError):  # it broke off
                    break
                if "Status" not in answer:
                    break
                self.statuses.append(answer.Status)
                if answer.Status == 0:
                    self.acknowledged.append(str(waiting[0].SOPInstanceUID))
                    waiting.pop(0)
                else:
                    time.sleep(0.2)
            if association.is_established:
                association.release()
            else:
                association.kill()


def stored_uids(root: Path) -> dict[str, int]:
    """SOP instance UIDs of an inbox's files that are whole, and how often each is there."""
    found: dict[str, int] = {}
    for path in inbox_files(root):
        dataset = pydicom.dcmread(path)
        assert len(dataset.PixelData) == dataset.Rows * dataset.Columns * 2, path
        found[dataset.SOPInstanceUID] = found.get(dataset.SOPInstanceUID, 0) + 1
    return found
