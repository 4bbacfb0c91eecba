"""The listener's side of the worker process: starting it, giving it deliveries, noticing that it died or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hdm_pipeline.errors import ExecutionError

Ending = Literal["done", "refused", "quarantined", "empty", "failed", "trouble", "stopped", "crashed"]

_IDLE = 300.0
"""Seconds without a delivery after which the worker ends, so that its memory is free."""


@dataclass(frozen=True)
class Result:
    """How a run of a delivery ended.

    Attributes:
        outcome: trouble is that of the whole pipeline (a full disk, missing weights), of which the delivery is free;
            crashed may be either's. Both are tried again, as is `stopped`.
        scenes: published.
        error: its type and remedy.
    """

    outcome: Ending
    scenes: int = 0
    error: Mapping[str, str] | None = None


class Runner:
    """One worker process, started when it is needed. Used by one thread.

    Args:
        arguments: of `hdm_pipeline.listening.worker`: the pipeline file, and overrides.
        silence: seconds without a sign of life after which the worker counts as hung and is killed.
    """

    def __init__(self, arguments: Sequence[str], silence: float) -> None:
        self._command = [sys.executable, "-m", "hdm_pipeline.listening.worker", *arguments]
        self._silence = silence
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._heard = 0.0
        self.busy = False

    def start(self, uris: Sequence[str], *, retry: bool = False) -> None:
        """Give the worker a delivery; with `retry`, quarantined scenes of it are tried again.

        Raises:
            ExecutionError: no process can be started.
        """
        if self._process is None or self._process.poll() is not None:
            self._launch()
        self._heard, self.busy = time.monotonic(), True
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"uris": list(uris), "retry": retry}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # it died meanwhile; `result` says so
            return

    def result(self, wait: float) -> Result | None:
        """How the delivery ended; None if the worker is idle or still at it after `wait` seconds."""
        if not self.busy:
            if self._process is not None and time.monotonic() - self._heard > _IDLE:
                self.stop(grace=5.0)
            time.sleep(wait)
            return None
        try:
            answer = self._answers.get(timeout=wait)
        except queue.Empty:
            if time.monotonic() - self._heard <= self._silence:
                return None
            self._kill()
            told = {"type": "ExecutionError", "remedy": "the run gave no sign of life (see execution.step_timeout)"}
            return self._ended(Result("crashed", error=told))
        self._heard = time.monotonic()
        if answer is None:
            code = self._kill()
            told = {"type": "ExecutionError", "remedy": f"the worker ended with {_said(code)}: is there enough memory?"}
            return self._ended(Result("crashed", error=told))
        if "outcome" not in answer:
            return None
        outcome: Any = "crashed" if answer["outcome"] == "bug" else answer["outcome"]
        return self._ended(Result(outcome, answer.get("scenes", 0), answer.get("error")))

    def stop(self, grace: float) -> None:
        """End the worker; a run stops after the blocks that are being worked on, or after `grace` seconds."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        self._kill()
        self.busy = False

    def _launch(self) -> None:
        self._kill()
        try:
            # A session of its own: Ctrl-C in a terminal is for the listener, which then stops the worker in order.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        except OSError as error:
            raise ExecutionError(
                f"no worker can be started: {error.strerror}", remedy="free memory or processes; it is tried again"
            ) from error
        self._answers = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self._process, self._answers), daemon=True).start()

    def _ended(self, result: Result) -> Result:
        self.busy = False
        return result

    def _kill(self) -> int | None:
        """Make sure that the worker and what it started are gone."""
        process, self._process = self._process, None
        if process is None:
            return None
        code = process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return code if code is not None else process.returncode


def _read(process: subprocess.Popen[str], answers: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(json.loads(line))
    answers.put(None)


def _said(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
