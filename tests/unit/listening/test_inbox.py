"""The inbox on disk: what is filed is there and whole, what is not leaves nothing, and bytes are counted right."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hdm_pipeline.errors import InboxFullError, OutputError
from hdm_pipeline.listening import inbox as inbox_module
from hdm_pipeline.listening.inbox import FileInbox, hashed, tree_bytes


def file(inbox: FileInbox, content: bytes, delivery: str = "d", part: str = "p", item: str = "i") -> bool:
    arrival = inbox.arrival("source")
    arrival.write(content)
    return arrival.file(delivery, part, item)


def files(inbox: FileInbox) -> dict[str, bytes]:
    return {str(p.relative_to(inbox.root)): p.read_bytes() for p in inbox.root.rglob("*") if p.is_file()}


def test_a_filed_file_lies_under_hashed_names_for_the_owner_alone(tmp_path: Path) -> None:
    inbox = FileInbox(tmp_path / "inbox", 100)
    assert file(inbox, b"content", "../../Doe^Jane", "\0", "/etc/passwd")
    (name,) = files(inbox)
    assert name == f"deliveries/{hashed('../../Doe^Jane')}/{hashed(chr(0))}/{hashed('/etc/passwd')}"
    for path in (inbox.root / name, *(inbox.root / name).parents[:4]):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_same_content_is_no_change_and_another_one_is(tmp_path: Path) -> None:
    inbox = FileInbox(tmp_path, 100)
    file(inbox, b"first")
    (before,) = inbox.waiting()
    stamp = next(inbox.root.glob("deliveries/*/*/*")).stat().st_mtime_ns
    assert not file(inbox, b"first")
    assert inbox.waiting()[0].version == before.version
    assert file(inbox, b"second")
    assert inbox.waiting()[0].version != before.version
    assert list(files(inbox).values()) == [b"second"]
    assert inbox.used == len(b"second")
    # Sent once more after its removal, it is the same file to whoever looks at size and time.
    assert inbox.remove(before.id, inbox.waiting()[0].version) is False  # the source is open
    inbox.closed("source")
    assert inbox.remove(before.id, inbox.waiting()[0].version)
    file(inbox, b"first")
    assert next(inbox.root.glob("deliveries/*/*/*")).stat().st_mtime_ns == stamp


def test_half_a_file_counts_nowhere(tmp_path: Path) -> None:
    inbox = FileInbox(tmp_path, 100)
    inbox.arrival("source").write(b"half")  # and the process is killed
    assert inbox.waiting() == []
    dropped = inbox.arrival("source")
    dropped.write(b"dropped")
    dropped.discard()
    dropped.discard()
    assert inbox.used == len(b"half")
    again = FileInbox(tmp_path, 100)
    assert files(again) == {}
    assert again.used == 0


def test_a_start_finds_what_was_filed(tmp_path: Path) -> None:
    file(FileInbox(tmp_path, 100), b"content")
    inbox = FileInbox(tmp_path, 100)
    (waiting,) = inbox.waiting()
    assert (waiting.id, waiting.busy, inbox.used) == (hashed("d"), False, 7)
    assert waiting.quiet < 60


def test_what_was_worked_on_makes_room_and_the_rest_does_not(tmp_path: Path) -> None:
    inbox = FileInbox(tmp_path, 100)
    for name in ("old", "new", "open"):
        file(inbox, bytes(30), name)
    versions = {one.id: one.version for one in inbox.waiting()}
    with pytest.raises(InboxFullError, match="90 of at most 100"):
        file(inbox, bytes(30), "more")
    inbox.closed("source")
    inbox.spare(hashed("old"), versions[hashed("old")])
    inbox.spare(hashed("new"), -1)  # it has changed since
    assert file(inbox, bytes(30), "more")
    assert {one.id for one in inbox.waiting()} == {hashed(name) for name in ("new", "open", "more")}
    with pytest.raises(InboxFullError):
        file(inbox, bytes(30), "again")
    assert inbox.used == tree_bytes(inbox.root / "deliveries") == 90


def test_what_was_worked_on_makes_room_on_a_disk_that_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inbox may hold more than the disk has room for: what nobody needs any more must not keep new studies out."""
    inbox = FileInbox(tmp_path, 10_000)
    for name in ("old", "older", "waiting"):
        file(inbox, bytes(30), name)
    inbox.closed("source")
    for one in inbox.waiting():
        if one.id != hashed("waiting"):
            inbox.spare(one.id, one.version)
    told = os.statvfs(tmp_path)

    def statvfs(folder: Path) -> os.statvfs_result:
        """A disk with room for 5 bytes more than is there."""
        return os.statvfs_result([1, 1, *told[2:4], 5 + 90 - tree_bytes(inbox.root / "deliveries"), *told[5:]])

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert file(inbox, bytes(5), "new")
    assert {one.id for one in inbox.waiting()} == {hashed(name) for name in ("older", "waiting", "new")}
    assert inbox.used == tree_bytes(inbox.root / "deliveries") == 65


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, InboxFullError), (errno.EIO, OutputError)])
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_disk_that_fails_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: type[Exception]
) -> None:
    inbox = FileInbox(tmp_path, 100)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(kind):
        file(inbox, b"content")
    monkeypatch.undo()
    assert (files(inbox), inbox.used) == ({}, 0)
    assert file(inbox, b"content")


def test_the_folder_is_synced_before_a_file_counts_as_filed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, synced, renamed = FileInbox(tmp_path, 100), list[str](), list[str]()
    sync, rename = os.fsync, os.rename

    def fsync(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    def renaming(source: Path, target: Path) -> None:
        renamed.extend([str(target), *synced])
        rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", renaming)
    file(inbox, b"content")
    target = renamed[0]
    assert renamed[1].startswith(str(tmp_path / "incoming"))  # the content, before it gets its name
    assert synced[-1] == os.path.dirname(target)
    assert {str(tmp_path / "deliveries"), os.path.dirname(os.path.dirname(target))} <= set(synced)


def test_many_threads_and_a_remover(tmp_path: Path) -> None:
    inbox, stop = FileInbox(tmp_path, 10**6), threading.Event()

    def remove() -> None:
        while not stop.is_set():
            for one in inbox.waiting():
                inbox.remove(one.id, one.version)

    def send(number: int) -> None:
        for index in range(40):
            arrival = inbox.arrival(f"source {number}")
            arrival.write(bytes([number, index]))
            arrival.file(f"delivery {index % 3}", "p", f"{number} {index}")
        inbox.closed(f"source {number}")

    remover = threading.Thread(target=remove)
    senders = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in (remover, *senders):
        thread.start()
    for thread in senders:
        thread.join()
    stop.set()
    remover.join()
    assert inbox.counts["received"] == 160
    assert inbox.used == tree_bytes(tmp_path / "deliveries")


def test_a_source_that_broke_off_keeps_nothing_busy(tmp_path: Path) -> None:
    inbox = FileInbox(tmp_path, 100)
    arrival = inbox.arrival("source")
    arrival.write(b"content")
    inbox.closed("source")  # noticed by another thread, before this one is done
    arrival.file("d", "p", "i")
    assert not inbox.waiting()[0].busy
    assert inbox.complete("d")
    assert inbox.waiting()[0].quiet == float("inf")
    assert not inbox.complete("other")


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(("call", "module"), [("rename", os), ("mkdir", Path)])
def test_a_file_that_gets_no_place_changes_no_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, module: object
) -> None:
    inbox = FileInbox(tmp_path, 100)
    file(inbox, b"first")
    monkeypatch.setattr(module, call, failing(errno.ENOSPC))
    with pytest.raises(InboxFullError):
        file(inbox, b"in another delivery", "new")
    if call == "rename":
        with pytest.raises(InboxFullError):
            file(inbox, b"instead of the first")
    monkeypatch.undo()
    assert [one.id for one in inbox.waiting()] == [hashed("d")]
    assert inbox.used == 5
    assert inbox.tallies() == {"received": 1}
    assert len(list((tmp_path / "deliveries").iterdir())) == 1


def test_a_file_in_its_place_counts_though_it_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = FileInbox(tmp_path, 100)
    file(inbox, b"first")
    sync = inbox_module._sync_folder
    monkeypatch.setattr(inbox_module, "_sync_folder", failing(errno.EIO))
    with pytest.raises(OutputError):
        file(inbox, b"second")
    monkeypatch.setattr(inbox_module, "_sync_folder", sync)
    assert list(files(inbox).values()) == [b"second"]
    assert inbox.used == 6
    assert not file(inbox, b"second")
    assert inbox.used == 6


def test_one_instance_over_two_associations_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, rename, both = FileInbox(tmp_path, 100), os.rename, threading.Barrier(2)

    def slowly(source: Path, target: Path) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.3)  # the other one is as far, if it can be
        rename(source, target)

    monkeypatch.setattr(os, "rename", slowly)
    senders = [threading.Thread(target=file, args=(inbox, b"content")) for _ in range(2)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    assert inbox.used == len(b"content")
    assert inbox.tallies() == {"received": 1, "known already": 1}


def test_what_vanishes_while_bytes_are_counted_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stays").write_bytes(b"content")
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda top: [(at, deep, [*names, "gone"]) for at, deep, names in walk(top)])
    assert tree_bytes(tmp_path) == 7
