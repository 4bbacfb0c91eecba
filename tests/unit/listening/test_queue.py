"""Which delivery is next, and what becomes of it."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.errors import OutputError
from hdm_pipeline.listening import inbox as inbox_module
from hdm_pipeline.listening import memory as memory_module
from hdm_pipeline.listening import queue as queue_module
from hdm_pipeline.listening.inbox import FileInbox, hashed
from hdm_pipeline.listening.memory import Memory, Row
from hdm_pipeline.listening.queue import MAX_CRASHES, DeliveryQueue, Due
from hdm_pipeline.listening.runner import Result
from hdm_pipeline.listening.snapshot import Snapshot, snapshot
from hdm_pipeline.listening.watched import WatchedFolder

QUIET = 0.1
DONE = Result("done", scenes=1)


class Bench:
    """A queue over an inbox and a watched folder; `restart` makes a new one over the same disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "watched").mkdir()
        self.memory: Memory | None = None
        self.restart()

    def restart(self) -> None:
        if self.memory is not None:
            self.memory.__exit__(None, None, None)
        self.inbox = FileInbox(self.root / "inbox", 10**6)
        self.memory = Memory(self.root / "queue.sqlite")
        self.memory.forget_failures()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.watched = WatchedFolder(self.root / "watched", QUIET)
        self.queue = DeliveryQueue(
            self.inbox, self.watched, self.memory, QUIET, lambda kind, **facts: self.events.append((kind, facts))
        )

    def file(self, delivery: str, part: str, *items: str, content: bytes = b"content") -> None:
        for item in items:
            arrival = self.inbox.arrival("source")
            arrival.write(content + item.encode())
            arrival.file(delivery, part, item)
        self.inbox.closed("source")

    def settled(self) -> Due | None:
        """The next delivery, after everything has been quiet."""
        looks = 0
        while looks < 8 or self.watched.arriving:
            time.sleep(QUIET / 4)
            self.queue.next()
            looks += 1
        return self.queue.next()

    def work(self, result: Result = DONE) -> Due:
        due = self.settled()
        assert due is not None
        self.queue.ended(due, result, 1.0)
        return due


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    assert made.memory is not None
    made.memory.__exit__(None, None, None)


def test_a_delivery_is_due_once_when_it_is_quiet(bench: Bench) -> None:
    bench.file("study", "series", "1", "2")
    assert bench.queue.next() is None
    assert bench.queue.arriving == 1
    due = bench.work()
    assert (due.id, dict(due.seen.parts)) == (hashed("study"), {hashed("series"): 2})
    assert due.uris == (str(bench.root / "inbox" / "deliveries" / hashed("study")),)
    assert bench.settled() is None
    bench.file("study", "series", "1", "2")  # sent once more
    assert bench.settled() is None
    bench.restart()
    assert bench.settled() is None


def test_an_open_source_and_a_word_of_who_knows(bench: Bench) -> None:
    arrival = bench.inbox.arrival("other")
    arrival.write(b"content")
    arrival.file("study", "series", "1")
    assert bench.settled() is None
    bench.inbox.complete("study")
    assert bench.queue.next() is not None
    bench.inbox.closed("other")
    assert bench.queue.next() is not None


def test_what_comes_during_the_run_is_not_forgotten(bench: Bench) -> None:
    bench.file("study", "series", "1")
    due = bench.settled()
    assert due is not None
    bench.file("study", "series", "2")
    bench.queue.ended(due, DONE, 1.0)
    bench.queue.tidy(0)
    again = bench.work()
    assert again.seen.files == 2
    bench.queue.tidy(0)
    assert bench.inbox.waiting() == []


def test_a_run_that_never_ended_is_due_after_a_restart(bench: Bench) -> None:
    bench.file("study", "series", "1")
    assert bench.settled() is not None
    bench.restart()
    assert bench.settled() is not None


def test_files_stay_for_the_time_that_was_asked_for(bench: Bench) -> None:
    bench.file("study", "series", "1")
    bench.work()
    bench.queue.tidy(3600)
    assert len(bench.inbox.waiting()) == 1
    bench.restart()
    bench.settled()
    bench.queue.tidy(0)
    assert bench.inbox.waiting() == []


def test_room_is_made_of_what_was_done_and_what_comes_again_is_due(bench: Bench) -> None:
    bench.inbox.max_bytes = 40
    bench.file("one", "series", "1", content=bytes(25))
    bench.work()
    bench.file("two", "series", "1", content=bytes(25))
    assert [one.id for one in bench.inbox.waiting()] == [hashed("two")]
    bench.work()
    bench.file("one", "series", "1", content=bytes(24) + b"x")  # another content
    assert bench.work().id == hashed("one")


def test_late_files_of_a_removed_part_are_held_and_other_parts_are_not(bench: Bench) -> None:
    bench.file("study", "a", "1", "2", "3")
    bench.work()
    bench.queue.tidy(0)
    bench.file("study", "a", "4")
    assert bench.settled() is None
    assert bench.events[-1][0] == "held"
    bench.file("study", "b", "1")
    due = bench.work()
    assert due.uris == (str(bench.root / "inbox" / "deliveries" / hashed("study") / hashed("b")),)
    assert bench.events[-1][0] == "held"
    bench.queue.tidy(0)
    assert len(bench.inbox.waiting()) == 1  # nothing of it is removed
    bench.file("study", "a", "1", "2", "3")
    due = bench.work()
    assert len(due.uris) == 1
    assert due.seen.files == 5
    assert bench.events[-1][0] == "done"


def test_a_crash_is_tried_again_and_others_come_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "_FIRST_WAIT", 60.0)
    bench.file("bad", "series", "1")
    bench.work(Result("crashed"))
    bench.file("good", "series", "1")
    assert bench.work().id == hashed("good")
    for _ in range(MAX_CRASHES - 1):
        bench.queue._not_before.clear()  # the pause is over
        assert bench.work(Result("crashed", error={"type": "x", "remedy": "y"})).id == hashed("bad")
    bench.queue._not_before.clear()
    assert bench.settled() is None
    assert bench.events[-1][0] == "failed"
    bench.queue.tidy(0)
    assert [one.id for one in bench.inbox.waiting()] == [hashed("bad")]  # kept for who mends it
    assert bench.memory is not None
    assert [row.outcome for row in bench.memory.troubled()] == ["failed"]
    bench.restart()
    assert bench.work().id == hashed("bad")


def test_trouble_never_makes_a_delivery_fail(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "_FIRST_WAIT", 0.0)
    bench.file("study", "series", "1")
    for _ in range(2 * MAX_CRASHES):
        bench.work(Result("trouble"))
    bench.work(Result("stopped"))
    assert {kind for kind, _ in bench.events} == {"retry"}
    bench.work()


@pytest.mark.parametrize(("free", "stays"), [(0, False), (1 << 40, True)])
def test_trouble_on_a_full_disk_makes_room_for_the_next_try(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, free: int, stays: bool
) -> None:
    bench.file("worked on", "series", "1")
    done = bench.work()
    assert bench.inbox.has(done.id, done.version or 0)
    bench.file("study", "series", "1")
    monkeypatch.setattr(inbox_module, "_free", lambda folder: free)
    due = bench.work(Result("trouble"))
    assert {one.id for one in bench.inbox.waiting()} == ({done.id, due.id} if stays else {due.id})


@pytest.mark.parametrize("outcome", ["done", "refused", "quarantined", "empty"])
def test_outcomes_are_remembered(bench: Bench, outcome: Any) -> None:
    bench.file("study", "series", "1")
    bench.work(Result(outcome, scenes=2))
    bench.restart()
    assert bench.settled() is None
    assert bench.memory is not None
    assert bench.memory.counts() == {outcome: 1}
    with pytest.raises(OutputError, match="cannot be used"):
        Memory(bench.root)


def test_a_watched_folder_stays_and_is_due_again_when_it_changes(bench: Bench) -> None:
    folder = bench.root / "watched" / "Doe^Jane"
    (folder / "deep").mkdir(parents=True)
    (bench.root / "watched" / "out" / ".hdm").mkdir(parents=True)  # an output directory is no delivery
    (bench.root / "watched" / "out" / "mask.tif").write_bytes(b"")
    assert bench.settled() is None  # nothing in it yet
    (folder / "deep" / "x").write_bytes(b"one")
    due = bench.work()
    assert (due.id, due.uris) == (hashed("Doe^Jane"), (str(folder),))
    bench.queue.tidy(0)
    assert bench.settled() is None
    (folder / "deep" / "x").write_bytes(b"other")
    assert bench.work().id == due.id
    (folder / "deep" / "x").unlink()
    (folder / "y").write_bytes(b"fewer files than before are nobody's fault here")
    (folder / "z").write_bytes(b"")
    assert bench.work().version is None


def test_a_folder_that_may_not_be_read_ends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Doe^Jane", "open"):
        (bench.root / "watched" / name).mkdir()
        (bench.root / "watched" / name / "x").write_bytes(b"content")
    exists = Path.exists

    def denied(path: Path, **options: Any) -> bool:
        # As Python 3.11 answers of a folder without permissions; who runs this may be allowed everything.
        if "Doe^Jane" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return exists(path, **options)

    monkeypatch.setattr(Path, "exists", denied)
    assert bench.work().id == hashed("open")
    assert bench.settled() is None
    monkeypatch.undo()
    assert bench.work().id == hashed("Doe^Jane")


def test_a_delivery_that_cannot_be_read_keeps_no_other_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.file("bad", "series", "1")
    bench.file("good", "series", "1")

    def failing(folder: Path) -> Snapshot:
        if folder.name == hashed("bad"):
            raise OSError(errno.EIO, "Input/output error", str(folder))
        return snapshot(folder)

    monkeypatch.setattr(queue_module, "_FIRST_WAIT", 0.0)
    monkeypatch.setattr(queue_module, "snapshot", failing)
    assert bench.work().id == hashed("good")
    kind, facts = bench.events[0]
    assert (kind, facts["delivery"], facts["error"]["type"]) == ("retry", hashed("bad"), "OutputError")
    monkeypatch.undo()
    assert bench.work().id == hashed("bad")


def test_an_outcome_that_cannot_be_remembered_is_taken_in_later(bench: Bench) -> None:
    bench.file("study", "series", "1")
    due = bench.settled()
    assert due is not None
    assert bench.memory is not None
    connection = bench.memory._connection
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(OutputError):
        bench.queue.ended(due, DONE, 1.0)
    connection.execute("PRAGMA query_only = OFF")
    assert bench.events == []
    bench.queue.ended(due, DONE, 1.0)
    assert bench.settled() is None
    assert bench.memory.counts() == {"done": 1}


def test_a_held_delivery_is_released_or_dropped(bench: Bench) -> None:
    assert bench.memory is not None
    bench.file("study", "a", "1", "2", "3")
    bench.work()
    bench.queue.tidy(0)
    bench.file("study", "a", "4")
    assert bench.settled() is None
    bench.memory.wish(hashed("study"), "drop")
    bench.queue.fulfil(hashed("study"))  # it is being worked on, say
    assert len(bench.inbox.waiting()) == 1
    bench.queue.fulfil(None)
    assert (bench.inbox.waiting(), bench.inbox.used, bench.memory.troubled()) == ([], 0, [])
    assert bench.memory.wishes() == {}
    bench.file("study", "a", "4")  # late still
    assert bench.settled() is None
    assert bench.events[-1][0] == "held"
    bench.memory.wish(hashed("study"), "again")
    bench.queue.fulfil(None)
    due = bench.work()
    assert (due.seen.files, due.short) == (1, frozenset())
    assert bench.events[-1][0] == "done"
    bench.queue.tidy(0)
    assert bench.inbox.waiting() == []


def test_what_still_comes_is_dropped_when_it_is_there(bench: Bench) -> None:
    assert bench.memory is not None
    arrival = bench.inbox.arrival("source")
    arrival.write(b"content")
    arrival.file("study", "a", "1")
    bench.memory.wish(hashed("study"), "drop")
    bench.queue.fulfil(None)
    assert len(bench.inbox.waiting()) == 1
    bench.inbox.closed("source")
    bench.queue.fulfil(None)
    assert bench.inbox.waiting() == []


def test_quarantined_scenes_are_tried_again_when_somebody_asks(bench: Bench) -> None:
    assert bench.memory is not None
    bench.file("study", "a", "1")
    assert not bench.work(Result("quarantined")).retry
    bench.memory.wish(hashed("study"), "again")
    bench.queue.fulfil(None)
    assert bench.work().retry


def test_a_folder_that_is_dropped_stays_and_is_left_alone_until_it_changes(bench: Bench) -> None:
    folder = bench.root / "watched" / "one"
    folder.mkdir()
    (folder / "x").write_bytes(b"content")
    bench.work(Result("failed", error={"type": "x", "remedy": "y"}))
    bench.restart()  # which lets what failed be tried again
    assert bench.memory is not None
    bench.memory.wish(hashed("one"), "drop")
    bench.queue.fulfil(None)
    bench.restart()
    assert bench.settled() is None
    assert [path.name for path in folder.iterdir()] == ["x"]
    (folder / "y").write_bytes(b"content")
    assert bench.work().id == hashed("one")


def test_what_is_gone_is_forgotten(bench: Bench) -> None:
    for number in range(4):
        bench.file(f"study {number}", "a", "1")
    for _ in range(4):
        bench.work()
        bench.queue.tidy(0)
    bench.queue.tidy(0)
    assert bench.inbox.waiting() == []
    assert (bench.queue._judged, bench.queue._attempts, bench.queue._not_before) == ({}, {}, {})


def test_a_kill_while_the_queue_is_made_leaves_one_that_opens(tmp_path: Path) -> None:
    path, made = tmp_path / "queue.sqlite", list[str]()
    with Memory(path) as memory:
        made += [row[0] for row in memory._connection.execute("SELECT sql FROM sqlite_schema WHERE sql NOT NULL")]
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:  # as earlier versions left it then
        connection.execute(made[0])
    with Memory(path) as memory:
        memory.put(Row("a", "b", "done"))
        memory.wish("a", "again")
        assert memory.wishes() == {"a": "again"}
    for line in range(1, memory_module._SCHEMA.count(";") + 1):
        part = ";".join(memory_module._SCHEMA.split(";")[:line]) + ";"
        with contextlib.closing(sqlite3.connect(tmp_path / f"{line}.sqlite", isolation_level=None)) as connection:
            connection.executescript(part)  # and no more
        with Memory(tmp_path / f"{line}.sqlite") as memory:
            memory.wish("a", "again")
