"""Folders that are written to: room, speed, locks; and the shared memory that Ray keeps its objects in."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hdm_pipeline.diagnosis.finding import Finding, ok, problem, reason, warning

OBJECT_STORE = 256 << 20
"""Bytes that a Ray which a run starts asks for (`execution/cluster.py`)."""

_TRIED = 16 << 20  # bytes that are written to measure a disk
_LITTLE_ROOM, _NO_ROOM = 5 << 30, 200 << 20
_SLOW = 20e6  # bytes a second


def folder_findings(subject: str, folder: Path) -> Iterator[Finding]:
    """Whether a folder can be written to, has room, is fast and can lock files. Leaves nothing behind.

    Args:
        subject: what to call it; the folder's own path is never told.
        folder: need not be there yet: the nearest one above it is tried then.
    """
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            yield problem(subject, "a file lies where a folder is to be", "choose another folder, or move the file")
            return
        with tempfile.TemporaryFile(dir=folder) as file:
            started = time.monotonic()
            file.write(os.urandom(1 << 20) * (_TRIED >> 20))
            file.flush()
            os.fsync(file.fileno())
            speed = _TRIED / max(time.monotonic() - started, 1e-6)
    except OSError as error:
        yield problem(subject, f"cannot be written to: {reason(error)}", "change its permissions or choose another one")
        return
    yield _room(subject, folder, speed)
    yield from _locks(subject, folder)


def temporary_findings() -> Iterator[Finding]:
    """The folder for temporary files, if there is one that can be written to."""
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:
        yield problem("temporary folder", f"there is none: {reason(error)}", "set TMPDIR to a folder that is writable")
        return
    yield from folder_findings("temporary folder", folder)


def _room(subject: str, folder: Path, speed: float) -> Finding:
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    told = f"writable, {free / 1e9:.1f} GB free, writes {speed / 1e6:.0f} MB/s"
    if free < _NO_ROOM:
        return problem(subject, told, "free space, or choose another folder")
    if free < _LITTLE_ROOM:
        return warning(subject, told, "`plan` tells what a run needs; free space, or choose another folder")
    if speed < _SLOW:
        return warning(subject, told, "choose a faster disk: staged pixels and scores pass through it")
    return ok(subject, told)


def _locks(subject: str, folder: Path) -> Iterator[Finding]:
    """Two handles of one file: the second must not get the lock that the first one holds."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".hdm-lock-") as first, open(first.name) as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # as it should be; that alone needs no line
            told = "file locks hold nobody back"
    except OSError as error:
        told = f"files cannot be locked: {reason(error)}"
    yield problem(subject, told, "mount it with locks (NFS: without nolock), or choose a folder on another disk")


def shared_memory_finding(folder: Path = Path("/dev/shm")) -> Finding:
    """Whether the objects of a local Ray fit into shared memory."""
    remedy = "docker run --shm-size=1g; in Kubernetes an emptyDir of medium Memory at /dev/shm"
    try:
        status = os.statvfs(folder)
    except OSError:
        return warning("shared memory", "no /dev/shm: Ray keeps its objects on disk, slowly", remedy)
    size, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    told = f"/dev/shm has {size / 1e6:.0f} MB, {free / 1e6:.0f} MB free"
    if free < OBJECT_STORE:
        return warning(
            "shared memory", f"{told}; Ray wants {OBJECT_STORE / 1e6:.0f} and uses the disk otherwise", remedy
        )
    return ok("shared memory", told)
