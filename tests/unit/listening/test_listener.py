"""The listener's own loop: what a disk that fails may do to it, and what it tells."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.errors import OutputError
from hdm_pipeline.listening import figures as figures_module
from hdm_pipeline.listening.inbox import FileInbox
from hdm_pipeline.listening.listener import _lock as listener_lock
from hdm_pipeline.listening.listener import _Loop
from hdm_pipeline.listening.memory import Memory
from hdm_pipeline.listening.memory import _errors as memory_errors
from hdm_pipeline.listening.queue import DeliveryQueue
from hdm_pipeline.listening.runner import Result, Runner
from hdm_pipeline.pipeline import Pipeline

PIPELINE = """
name: lakes
input: {reader: geotiff, scale: {fixed: [0, 1]}}
support: {classes: [{name: water, examples: [{image: a.tif, mask: b.tif}]}]}
output: {directory: out}
listen: {folder: .}
"""


class Instantly(Runner):
    """A worker whose runs are done at once."""

    def start(self, uris: Sequence[str], *, retry: bool = False) -> None:
        self.busy = True

    def result(self, wait: float) -> Result | None:
        time.sleep(0.01)
        ended, self.busy = self.busy, False
        return Result("done", scenes=1) if ended else None


class Bench:
    """A loop in a thread, over a real inbox and queue."""

    def __init__(self, root: Path) -> None:
        (root / "pipeline.yaml").write_text(PIPELINE)
        pipeline = Pipeline.from_yaml(root / "pipeline.yaml")
        pipeline.workspace.create()
        self.inbox = FileInbox(root / "inbox", 10**6)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._stop = threading.Event()
        self.loop: _Loop | None = None

        def work() -> None:
            def tell(kind: str, **facts: Any) -> None:
                self.told.append((kind, facts))

            with Memory(root / "queue.sqlite") as memory:
                deliveries = DeliveryQueue(self.inbox, None, memory, 0.05, tell)
                self.loop = _Loop(pipeline, self.inbox, deliveries, None, Instantly([], 1), memory, tell)
                self.loop.until(self._stop, 0.0)

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def file(self, name: str) -> None:
        arrival = self.inbox.arrival("source")
        arrival.write(b"content")
        arrival.file(name, "part", "item")
        self.inbox.closed("source")

    def until(self, met: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not met():
            assert self._thread.is_alive(), "the listener ended"
            assert time.monotonic() < end, self.told
            time.sleep(0.01)

    def count(self, kind: str) -> int:
        return sum(told == kind for told, _ in self.told)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(20)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("call", ["put", "get", "forget_failures", "wishes"])
def test_a_queue_on_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object) -> None:
        with memory_errors(tmp_path):
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Memory, call, full)
    bench = Bench(tmp_path)
    try:
        bench.file("study")
        bench.until(lambda: bench.count("trouble") >= 2)
        _, facts = next(one for one in bench.told if one[0] == "trouble")
        assert facts["error"]["type"] == "OutputError"
        assert "disk is full" in facts["error"]["what"]
        monkeypatch.undo()
        bench.until(lambda: bench.count("done") == 1 and not bench.inbox.waiting())
        assert bench.count("complete") == 1
    finally:
        bench.close()


def test_what_cannot_be_removed_keeps_nothing_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def full(source: Path, target: Path) -> None:
        if "trash" in Path(target).parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", full)
    bench.file("first")
    bench.until(lambda: bench.count("trouble") >= 1)
    bench.file("second")
    bench.until(lambda: bench.count("done") == 2)
    monkeypatch.undo()
    bench.until(lambda: not bench.inbox.waiting())


def test_counting_while_others_count(bench: Bench) -> None:
    def count() -> None:
        for number in range(3000):
            bench.inbox.refused(str(number))

    before, others = sys.getswitchinterval(), threading.Thread(target=count)
    bench.until(lambda: bench.loop is not None)
    assert bench.loop is not None
    sys.setswitchinterval(1e-6)
    try:
        others.start()
        while others.is_alive():
            bench.loop._notice()
    finally:
        sys.setswitchinterval(before)
    others.join()
    told = bench.inbox.tallies()
    bench.inbox.refused("one more")
    assert len(told) == 3000


def test_a_look_at_the_lock_keeps_no_listener_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "listen.lock"
    with path.open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        release = threading.Timer(0.1, fcntl.flock, (looking, fcntl.LOCK_UN))
        release.start()
        held = pytest.raises(OutputError, match="another listener uses this inbox")
        with listener_lock(path), held, listener_lock(path):
            pass
        release.join()


def test_what_is_sent_twice_is_no_refusal(tmp_path: Path) -> None:
    inbox = FileInbox(tmp_path / "inbox", 100)
    for _ in range(2):
        arrival = inbox.arrival("source")
        arrival.write(b"content")
        arrival.file("study", "part", "item")
    inbox.refused("inbox full")
    with Memory(tmp_path / "queue.sqlite") as memory:
        deliveries = DeliveryQueue(inbox, None, memory, 1.0, lambda *_, **__: None)
        figures_module.write_figures(tmp_path / "listener.prom", "lakes", inbox, deliveries, memory)
    text = (tmp_path / "listener.prom").read_text()
    assert 'hdm_listener_received_total{pipeline="lakes"} 1.0' in text
    assert 'hdm_listener_known_total{pipeline="lakes"} 1.0' in text
    assert text.count("hdm_listener_refused_total{") == 1
