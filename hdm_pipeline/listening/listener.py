"""The listener: receivers that file into the inbox, a queue of complete deliveries, and one run after the other."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from hdm_pipeline.config.listen import Listen
from hdm_pipeline.errors import ConfigError, HdmError, OutputError
from hdm_pipeline.listening.figures import write_figures
from hdm_pipeline.listening.inbox import FileInbox, disk_errors
from hdm_pipeline.listening.memory import Memory
from hdm_pipeline.listening.queue import DeliveryQueue, Due, Tell
from hdm_pipeline.listening.runner import Result, Runner
from hdm_pipeline.listening.watched import WatchedFolder
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.plugin.registry import make_receiver

_TICK = 0.25
_FIGURES_EVERY = 10.0
_GRACE = 60.0
"""Seconds that a run gets to finish its blocks when the listener is asked to end."""

_LONGEST_PAUSE = 30.0
"""Seconds between two looks at a disk that fails."""

_SILENT_STEPS = 2
"""A worker that is silent for so many times `execution.step_timeout` hangs."""


def settings(pipeline: Pipeline) -> tuple[Listen, Path]:
    """The section `listen` of a pipeline, and the folder of its inbox.

    Raises:
        ConfigError: the pipeline has no such section.
    """
    listen = pipeline.config.listen
    if listen is None:
        raise ConfigError(
            "the pipeline does not say what to listen to",
            where=f"{pipeline.file.path}: listen",
            remedy="add `listen: {receive: {dicom: {port: 11112, plain: true}}}` or `listen: {folder: FOLDER}`",
        )
    if listen.inbox is None and pipeline.workspace.bucket is not None:
        raise ConfigError(
            "an inbox cannot lie in a bucket: what a peer was told is kept must be kept",
            where="listen.inbox",
            remedy="name a folder of this machine that is backed by a disk: `listen: {inbox: FOLDER}`",
        )
    return listen, Path(listen.inbox) if listen.inbox else pipeline.workspace.private / "inbox"


def listen(pipeline: Pipeline, overrides: Sequence[str], tell: Tell, stop: threading.Event) -> None:
    """Receive, run and tidy up until `stop` is set.

    Args:
        pipeline: with a section `listen`.
        overrides: those that `pipeline` was read with; the worker process reads it again.
        tell: called with the kind of an event and its facts, from this thread.
        stop: set to end: no new association is taken, and a run stops after the blocks that are being worked on.

    Raises:
        ConfigError: the pipeline cannot listen, or an option is wrong.
        OutputError: the inbox cannot be used, or another listener uses it; an address is taken.
    """
    asked, root = settings(pipeline)
    pipeline.workspace.create()
    with ExitStack() as stack:
        inbox = _locked_inbox(stack, root, asked.max_inbox_bytes)
        memory = stack.enter_context(Memory(root / "queue.sqlite"))
        watched = None if asked.folder is None else WatchedFolder(Path(asked.folder), asked.quiet)
        deliveries = DeliveryQueue(inbox, watched, memory, asked.quiet, tell)
        silence = _SILENT_STEPS * pipeline.config.execution.step_timeout
        runner = Runner([str(pipeline.file.path), *overrides], silence)
        stack.callback(runner.stop, _GRACE)
        # Receivers close first: nothing is taken in any more while the last run stops.
        for name, options in asked.receive.items():
            place = stack.enter_context(make_receiver(name, options).receive(inbox))
            tell("listening", receiver=name, at=place)
        if watched is not None:
            tell("listening", receiver="folder", at=str(asked.folder))
        _Loop(pipeline, inbox, deliveries, watched, runner, memory, tell).until(stop, asked.keep * 3600)
        tell("stopping")


class _Loop:
    """What the main thread does while others receive."""

    def __init__(
        self,
        pipeline: Pipeline,
        inbox: FileInbox,
        deliveries: DeliveryQueue,
        watched: WatchedFolder | None,
        runner: Runner,
        memory: Memory,
        tell: Tell,
    ) -> None:
        self._figures = pipeline.workspace.private / "listener.prom"
        self._name = pipeline.config.name
        self._inbox, self._deliveries, self._watched = inbox, deliveries, watched
        self._runner, self._memory, self._tell = runner, memory, tell
        self._fresh = True
        self._pause = _TICK
        self._due: Due | None = None
        self._result: tuple[Result, float] | None = None
        self._started = 0.0
        self._next_figures = 0.0
        self._loose = 0
        self._refusals = 0

    def until(self, stop: threading.Event, keep: float) -> None:
        """Go on until `stop` is set; a disk that fails is told and waited for."""
        while not stop.is_set():
            failed: OutputError | None = None
            for part in (self._obey, self._work, lambda: self._deliveries.tidy(keep)):
                try:
                    part()
                except OutputError as error:
                    failed = error
            self._notice()
            if failed is None:
                self._pause = _TICK
            else:
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
                told = {"type": type(failed).__name__, "what": failed.what, "remedy": failed.remedy}
                self._tell("trouble", error=told, seconds=round(self._pause, 1))
                stop.wait(self._pause)
            if time.monotonic() >= self._next_figures:
                self._write_figures()
                self._next_figures = time.monotonic() + _FIGURES_EVERY

    def _obey(self) -> None:
        """What was asked for, by starting the listener or by a command; after an error, once more in the next round."""
        if self._fresh:
            self._memory.forget_failures()
            self._fresh = False
        self._deliveries.fulfil(None if self._due is None else self._due.id)

    def _work(self) -> None:
        """Begin or end a run; after an error, once more in the next round, with the same result."""
        if self._due is None:
            self._begin(self._deliveries.next())
        if self._result is None and (result := self._runner.result(_TICK)) is not None:
            self._result = result, time.monotonic() - self._started
        if self._result is not None and self._due is not None:
            self._deliveries.ended(self._due, *self._result)
            self._due = self._result = None

    def _begin(self, due: Due | None) -> None:
        if due is None:
            return
        self._tell("complete", delivery=due.id, files=due.seen.files, bytes=due.seen.size)
        self._due, self._started = due, time.monotonic()
        try:
            self._runner.start(due.uris, retry=due.retry)
        except HdmError as error:
            told = {"type": type(error).__name__, "remedy": error.remedy}
            self._deliveries.ended(due, Result("trouble", error=told), 0.0)
            self._due = None

    def _write_figures(self) -> None:
        try:
            write_figures(self._figures, self._name, self._inbox, self._deliveries, self._memory)
        except OutputError as error:  # no reason to take nothing in any more
            self._tell("no figures", error={"type": type(error).__name__, "remedy": error.remedy})

    def _notice(self) -> None:
        """Say once what somebody should know."""
        if self._watched is not None and self._watched.loose != self._loose:
            self._loose = self._watched.loose
            if self._loose:
                self._tell("loose files", count=self._loose, remedy="put each delivery in a folder of its own")
        counts = self._inbox.tallies()
        refusals = {name.removeprefix("refused: "): n for name, n in counts.items() if name.startswith("refused: ")}
        if sum(refusals.values()) > self._refusals and time.monotonic() >= self._next_figures:
            self._refusals = sum(refusals.values())
            self._tell("refused", **refusals)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one listener; the system lets it go when the process ends, however it ends.

    No `RunLock`: that one can be taken over from a process that was held up for long, and who holds it must look. What
    threads of a receiver count and rename leaves no moment for that.
    """
    with ExitStack() as stack:
        with disk_errors(path):
            file = stack.enter_context(path.open("a+", encoding="utf-8"))
        if not _flocked(file):
            file.seek(0)
            raise OutputError(
                "another listener uses this inbox",
                where=f"{path.parent}, held by {file.read().strip() or 'somebody'}",
                remedy="stop it, or give this one another listen.inbox",
            )
        with disk_errors(path):
            file.truncate(0)
            file.write(f"{socket.gethostname()}:{os.getpid()}")
            file.flush()
        yield


def _flocked(file: TextIO) -> bool:
    """Take the lock; `listen --status` has it for a moment, too, when it looks who holds it."""
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


def _locked_inbox(stack: ExitStack, root: Path, max_bytes: int) -> FileInbox:
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
    stack.enter_context(_lock(root / "listen.lock"))
    return FileInbox(root, max_bytes)


def event_text(kind: str, facts: dict[str, Any]) -> str:
    """An event as a line of text."""
    shown = [
        f"{name} {json.dumps(value) if isinstance(value, dict) else value}" for name, value in facts.items() if value
    ]
    return f"{kind}: {', '.join(shown)}" if shown else kind
