"""The inbox: files that receivers take in, filed by delivery and part, durable before they are acknowledged.

    INBOX/listen.lock                        held by the one listener
    INBOX/queue.sqlite                       what became of deliveries
    INBOX/incoming/                          files that are being received; swept at the start
    INBOX/deliveries/<hash>/<hash>/<hash>    delivery, part, item; hashed: no name leads anywhere or tells anything
    INBOX/trash/                             what is being removed

A file is written, synced, renamed into its place, and the folder is synced: only then does `Arrival.file` return. The
modification time of a filed file is made of its content: the same content sent again is the same file, to this inbox
and to the keys of the scenes that are made of it, even if it was removed meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hdm_pipeline.errors import HdmError, InboxFullError
from hdm_pipeline.output.files import output_errors

disk_errors = functools.partial(output_errors, setting="listen.inbox", full=InboxFullError)
"""What the operating system says of the inbox, as our errors."""

_EPOCH = 978_307_200 * 10**9
"""2001-01-01, before which no file's time is set."""

_TEN_YEARS = 10 * 365 * 86_400 * 10**9

_LITTLE = 1 << 28
"""Bytes on a disk of which less is nearly full."""

_MARGIN = 4
"""How many times what is about to be written must be free on the disk: folders and what is buffered take room, too."""


def hashed(name: str) -> str:
    """What something is called on disk and in logs: 128 bits of SHA-256, as 32 hexadecimal digits."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass
class _Delivery:
    """What the inbox knows of a delivery. `version` is another number after each change, of whatever delivery; `lock`
    is held while a file of it gets its place."""

    version: int = 0
    changed: float = 0.0
    told_complete: bool = False
    filing: int = 0
    filed: bool = False
    """Whether it holds a file for certain."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    sources: set[int] = field(default_factory=set)
    synced: set[str] = field(default_factory=set)
    """Parts whose folders are known to be on the disk."""


@dataclass(frozen=True)
class Waiting:
    """A delivery in the inbox, at one moment.

    Attributes:
        id: its hashed name.
        path: its folder.
        version: another one after each change; see `FileInbox.remove`.
        quiet: seconds since the last change; infinite where somebody said that it is complete.
        busy: a source that brought some of it is still open, or a file is being filed.
    """

    id: str
    path: Path
    version: int
    quiet: float
    busy: bool


class FileInbox:
    """An inbox on disk; implements `hdm_pipeline.contracts.Inbox`. Locking it is the caller's business.

    Args:
        root: its folder; made where it is missing, for the owner only.
        max_bytes: most bytes of all files together, those that are being received included.

    Raises:
        OutputError: the folder cannot be made or written.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.used = 0
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._known: dict[str, _Delivery] = {}
        self._spare: dict[str, int] = {}
        self._open: dict[int, object] = {}
        self._numbers = itertools.count()
        self._incoming, self._filed, self._trash = (root / name for name in ("incoming", "deliveries", "trash"))
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self._incoming, self._trash):
                shutil.rmtree(folder, ignore_errors=True)
            for folder in (self._incoming, self._filed, self._trash):
                folder.mkdir(exist_ok=True, mode=0o700)
            _sync_folder(root)
            for delivery in os.scandir(self._filed):
                self._known[delivery.name] = _Delivery(next(self._numbers), time.monotonic(), filed=True)
                self.used += tree_bytes(Path(delivery.path))

    def arrival(self, source: object) -> FileArrival:
        """Begin a file; see `contracts.Inbox`."""
        with self._lock:
            self._open[id(source)] = source  # kept, so that no other source gets its number
        return FileArrival(self, self._incoming / f"{next(self._numbers)}", id(source))

    def closed(self, source: object) -> None:
        """A source brings nothing more."""
        with self._lock:
            self._open.pop(id(source), None)
            for delivery in self._known.values():
                delivery.sources.discard(id(source))

    def complete(self, delivery: str) -> bool:
        """Somebody who knows says that a delivery is complete; see `contracts.Inbox`."""
        with self._lock:
            known = self._known.get(hashed(delivery))
            if known is not None:
                known.told_complete = True
        return known is not None

    def tallies(self) -> dict[str, int]:
        """What was counted since the start: `received`, `known already`, and `refused: REASON` for each reason."""
        with self._lock:
            return dict(self.counts)

    def refused(self, reason: str) -> None:
        """Count something that was not taken."""
        with self._lock:
            self.counts[f"refused: {reason}"] += 1

    def waiting(self) -> list[Waiting]:
        """All deliveries in the inbox, in the order in which they changed last."""
        now = time.monotonic()
        with self._lock:
            return [
                Waiting(
                    name,
                    self._filed / name,
                    one.version,
                    float("inf") if one.told_complete else now - one.changed,
                    bool(one.filing or (one.sources and not one.told_complete)),
                )
                for name, one in sorted(self._known.items(), key=lambda item: item[1].changed)
            ]

    def spare(self, delivery: str, version: int) -> None:
        """A delivery was worked on: it may be removed when room is needed, unless it changes before."""
        with self._lock:
            self._spare[delivery] = version

    def has(self, delivery: str, version: int) -> bool:
        """Whether a delivery is there, and has not changed since `version`."""
        with self._lock:
            known = self._known.get(delivery)
            return known is not None and known.version == version

    def remove(self, delivery: str, version: int) -> bool:
        """Remove a delivery's files, unless it has changed since `version` or a source is open; whether it did."""
        with self._lock:
            aside = self._put_aside(delivery, version)
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
        return aside is not None

    def _put_aside(self, delivery: str, version: int) -> Path | None:
        known = self._known.get(delivery)
        if known is None or known.version != version:
            self._spare.pop(delivery, None)
            return None
        if known.filing or known.sources:
            return None
        path, aside = self._filed / delivery, self._trash / f"{delivery}-{next(self._numbers)}"
        with disk_errors(path):
            size = tree_bytes(path)
            os.rename(path, aside)
        del self._known[delivery]
        self._spare.pop(delivery, None)
        self.used -= size
        return aside

    def reserve(self, count: int) -> None:
        """Count bytes that are about to be written; deliveries that were worked on make room, also on a full disk.

        Raises:
            InboxFullError: there is no room.
        """
        gone: list[Path | None] = []
        try:
            with self._lock:
                before, lacking = self.used, _MARGIN * count - _free(self.root) if self._spare else 0
                for delivery, version in list(self._spare.items()):
                    if self.used + count <= self.max_bytes and before - self.used >= lacking:
                        break
                    gone.append(self._put_aside(delivery, version))
                full = self.used + count > self.max_bytes
                self.used += 0 if full else count
        finally:
            for aside in gone:
                if aside is not None:
                    shutil.rmtree(aside, ignore_errors=True)
        if full:
            raise InboxFullError(
                f"the inbox holds {self.used} of at most {self.max_bytes} bytes",
                where=str(self.root),
                remedy="raise listen.max_inbox_bytes, or see `listen --status` for what is stuck",
            )

    def make_room(self) -> None:
        """Where the disk is nearly full, remove all deliveries that were worked on: a run lacks room for its work."""
        if _free(self.root) < _LITTLE:
            with self._lock:
                gone = [self._put_aside(delivery, version) for delivery, version in list(self._spare.items())]
            for aside in filter(None, gone):
                shutil.rmtree(aside, ignore_errors=True)

    def release(self, count: int) -> None:
        """Take back what `reserve` counted."""
        with self._lock:
            self.used -= count

    def put(self, arrival: FileArrival, names: tuple[str, str, str]) -> bool:
        """Rename a finished file into its place and sync the folders; see `contracts.Arrival.file`."""
        delivery, part, item = (hashed(name) for name in names)
        target = self._filed / delivery / part / item
        with self._lock:
            known = self._known.setdefault(delivery, _Delivery(next(self._numbers)))
            known.filing += 1
            if arrival.source in self._open:  # it may have broken off meanwhile
                known.sources.add(arrival.source)
            known.changed = time.monotonic()
        try:
            with disk_errors(self.root):
                with known.lock:
                    changed = self._place(arrival, target, known)
                _sync_folder(target.parent)
        finally:
            with self._lock:
                known.filing -= 1
                known.changed = time.monotonic()
                if not (known.filing or known.filed):  # a disk that failed: there is no such delivery
                    del self._known[delivery]
                    for folder in (target.parent, target.parent.parent):
                        with contextlib.suppress(OSError):
                            folder.rmdir()
        return changed

    def _place(self, arrival: FileArrival, target: Path, known: _Delivery) -> bool:
        """Give a file its name, and count what came of it: nothing is counted that did not happen."""
        old = _stat(target)
        if old is not None and (old.st_size, old.st_mtime_ns) == _identity(arrival.path):
            arrival.path.unlink()
            arrival.done = True
            with self._lock:
                self.used -= arrival.size
                self.counts["known already"] += 1
            return False
        part = target.parent.name
        if part not in known.synced:  # by this process: what another one made may not be on the disk yet
            _make_folders(target.parent)
            known.synced.add(part)
        os.rename(arrival.path, target)
        arrival.done = True
        with self._lock:
            known.filed = True
            known.version = next(self._numbers)
            known.told_complete = False
            self.used -= 0 if old is None else old.st_size
            self.counts["received"] += 1
        return True


class FileArrival:
    """One file on its way in; implements `hdm_pipeline.contracts.Arrival`. Used by one thread at a time."""

    def __init__(self, inbox: FileInbox, path: Path, source: int) -> None:
        self._inbox, self.path, self.source = inbox, path, source
        self._digest = hashlib.sha256()
        self.size = 0
        self.done = False
        """It has its place, and counts there; or it is dropped."""
        with disk_errors(inbox.root):
            self._file = open(path, "xb", opener=_open_private)  # noqa: SIM115  # closed by `close` or `discard`

    def write(self, data: bytes) -> None:
        """Append bytes."""
        try:
            self._inbox.reserve(len(data))
            self.size += len(data)
            with disk_errors(self._inbox.root):
                self._file.write(data)
        except HdmError:
            self.discard()
            raise
        self._digest.update(data)

    def close(self) -> Path:
        """End writing; the bytes are on the disk then."""
        try:
            with disk_errors(self._inbox.root):
                self._file.flush()
                stamp = _EPOCH + int.from_bytes(self._digest.digest()[:8], "big") % _TEN_YEARS
                os.utime(self._file.fileno(), ns=(stamp, stamp))
                os.fsync(self._file.fileno())
                self._file.close()
        except HdmError:
            self.discard()
            raise
        return self.path

    def file(self, delivery: str, part: str, item: str) -> bool:
        """Put the file in its place; see `contracts.Arrival`."""
        if not self._file.closed:
            self.close()
        try:
            return self._inbox.put(self, (delivery, part, item))
        except HdmError:
            self.discard()
            raise

    def discard(self) -> None:
        """Drop the file."""
        if self.done:
            return
        self.done = True
        with contextlib.suppress(OSError):  # what was buffered for a full disk
            self._file.close()
        with contextlib.suppress(OSError):  # the next start sweeps it
            self.path.unlink()
        self._inbox.release(self.size)


def _free(folder: Path) -> int:
    """Bytes that may still be written to the disk of a folder."""
    with disk_errors(folder):
        told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize


def tree_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; one that vanishes meanwhile counts for nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _make_folders(folder: Path) -> None:
    """Make a delivery's folder of a part, and sync where it is entered."""
    for one in (folder.parent, folder):
        one.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(one.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
