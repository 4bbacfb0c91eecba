"""One run at a time on an output directory, also when several machines share it; `bucket_lock` is that of a bucket.

The lock is a small file that names its owner. The owner touches it every few seconds. Whoever finds it decides whether
the owner still lives: on the same host by its process, elsewhere by whether the file's time changes while watched.
Only differences of file times are looked at, never the clock of this machine against another's.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hdm_pipeline.errors import LostLockError, OutputError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.files import ABSENT, output_errors

LOCK = "run.lock"
"""Name of a lock's object in a bucket."""

HEARTBEAT = 5.0
"""Seconds between two signs of life."""

STALE_AFTER = 30.0
"""Seconds without one after which the owner of a lock on another host counts as dead."""


class Lock(ABC):
    """Held while its `with` block runs; what all locks have in common, wherever they lie.

    Args:
        owner: shown to whoever finds the lock.
        wait: wait for the owner to end, instead of raising.
        heartbeat: seconds between two signs of life.
        stale_after: seconds without one after which a lock on another host is taken over.
        pause: seconds between two looks at a lock that another one holds.
    """

    def __init__(self, owner: str, wait: bool, heartbeat: float, stale_after: float, pause: float) -> None:
        self._wait = wait
        self._heartbeat = heartbeat
        self._stale_after = stale_after
        self._pause = pause
        self._content = {"owner": owner, "host": socket.gethostname(), "space": _space(), **_process(os.getpid())}
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._unseen = 0
        """Looks at the lock that nobody answered: time that passed then says nothing of who holds it."""
        self._thread = threading.Thread(target=self._beat, name="hdm-run-lock", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether another run took the lock over, as this process was held up too long: it must stop."""
        return self._lost.is_set()

    def confirm(self) -> bool:
        """Give a sign of life now; False where the lock is another one's, and then it counts as lost.

        Raises:
            OutputError: it cannot be asked.
        """
        if not self.lost and not self._sign():
            self._lost.set()
        return not self.lost

    def check(self) -> None:
        """Refuse to go on without the lock, as far as is known; asks nobody.

        Raises:
            LostLockError: another run took it over, or somebody removed it.
        """
        if self.lost:
            raise lost_lock(self._shown, gone=self._is_gone())

    def require(self) -> None:
        """Give a sign of life now, and refuse to go on where the lock is another one's.

        Raises:
            LostLockError: another run took it over.
            OutputError: it cannot be asked.
        """
        self.confirm()
        self.check()

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            OutputError: another run holds it and `wait` is False, or it cannot be written.
        """
        watched: tuple[Any, Any] | None = None
        since, unseen = time.monotonic(), self._unseen
        while not self._take(watched if time.monotonic() - since >= self._stale_after else None):
            found = self._look()
            if found is None:  # it was given back this moment
                time.sleep(self._pause / 4)
                continue
            if self._unseen != unseen:  # in this look, or in that of `_take`
                since, unseen = time.monotonic(), self._unseen
            if watched is None or found != watched:
                if not self._wait and (watched is not None or _gone(found[0]) is not None):
                    raise self._held(found[0])
                watched, since = found, time.monotonic()
            time.sleep(self._pause)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._release()

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat):
            try:
                if not self._sign():
                    self._lost.set()
                    return
            except (OSError, OutputError):  # a disk or a store that is away for a moment; the next beat tells
                continue

    def _is_gone(self) -> bool:
        """Whether nobody holds the lock."""
        with suppress(OSError, OutputError):
            return self._look() is None
        return False

    def _held(self, content: Any) -> OutputError:
        return OutputError(
            "another run is writing to this output",
            where=f"{self._shown}, held by {content.get('owner', 'unknown')} on {content.get('host', 'unknown')}",
            remedy="wait for it to end (--wait), or choose another output.directory",
        )

    @property
    def mark(self) -> Mapping[str, Any]:
        """What this lock says, all the time, and no other one does."""
        return self._content

    @property
    @abstractmethod
    def _shown(self) -> str:
        """The output directory, for people."""

    @abstractmethod
    def _look(self) -> tuple[Any, Any] | None:
        """(content, what every sign of life changes), or None without a lock."""

    @abstractmethod
    def _take(self, stale: tuple[Any, Any] | None) -> bool:
        """Take the lock if nobody holds it, its owner's process is gone, or it still is what was found stale."""

    @abstractmethod
    def _sign(self) -> bool:
        """Give a sign of life; False where the lock is another one's."""

    @abstractmethod
    def _release(self) -> None:
        """Give the lock back, if it still is ours."""


class RunLock(Lock):
    """A lock on a file system.

    Args:
        path: of the lock file, in an existing folder.
        owner: as for `Lock`, and so are the others.
    """

    def __init__(
        self,
        path: Path,
        owner: str,
        wait: bool = False,
        *,
        heartbeat: float = HEARTBEAT,
        stale_after: float = STALE_AFTER,
    ) -> None:
        super().__init__(owner, wait, heartbeat, stale_after, min(heartbeat, 1.0) / 4)
        self.path = path

    def __enter__(self) -> Self:
        with output_errors(self.path):
            return super().__enter__()

    @property
    def _shown(self) -> str:
        return str(self.path.parent.parent)

    def _look(self) -> tuple[Any, Any] | None:
        return _read(self.path)

    def _take(self, stale: tuple[Any, Any] | None) -> bool:
        with _guard(self.path):
            found = _read(self.path)
            if found is not None and found != stale and not dead(found[0]):
                return False
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(self._content))
            os.replace(temporary, self.path)
        return True

    def _sign(self) -> bool:
        found = _read(self.path)
        if found is None or found[0] != self._content:
            return False
        os.utime(self.path)
        return True

    def _release(self) -> None:
        # Its folder may be gone, or its disk. Who finds the lock of a process that has ended takes it in any case.
        with suppress(OSError), _guard(self.path):
            found = _read(self.path)
            if found is not None and found[0] == self._content:
                self.path.unlink()


def lost_lock(where: str, *, gone: bool) -> LostLockError:
    """What ends a run that has lost the lock of its output.

    Args:
        where: the output, as people know it.
        gone: nobody holds the lock.
    """
    if gone:
        return LostLockError(
            "another run took over this output and has ended, or it was removed while this run wrote to it",
            where=where,
            remedy="look whether it is there, then run again: what is published or stored is not done again",
        )
    return LostLockError(
        "another run took over this output, as this one gave no sign of life for too long",
        where=where,
        remedy="let that run end; then run again: what is published or stored is not done again",
    )


def dead(content: Any) -> bool:
    """Whether a lock's owner is a process of this host that is gone; its number may have been given away since."""
    return _gone(content) is True


def holder(place: Path | ObjectFolder) -> dict[str, Any] | None:
    """Who holds a lock (`Workspace.lock_place`); None if nobody.

    Returns:
        `owner`, `host`, and `alive`, which is None where it is a process of another host.

    Raises:
        ObjectStoreError: the store does not answer.
    """
    found = read_lock(place)
    if found is None:
        return None
    gone = _gone(found[0])
    return {**{key: found[0].get(key) for key in ("owner", "host")}, "alive": None if gone is None else not gone}


def interrupt_holder(path: Path | ObjectFolder) -> str:
    """Ask whoever holds a lock to stop, as Ctrl-C does: once, and what is being worked on is finished; twice, at once.

    The process is held by a handle while it is looked at, so that no other one that got its number since is hit.

    Returns:
        Who was asked; empty if nobody holds the lock.

    Raises:
        OutputError: it is a process of another host, or of another user, or this system cannot tell processes apart.
    """
    found = read_lock(path)
    if found is None or _gone(found[0]) is True:
        return ""
    content = found[0]
    owner, host = content.get("owner", "unknown"), content.get("host", "unknown")
    output = path.parent.parent if isinstance(path, Path) else path
    where = f"{output}, held by {owner} on {host}"
    if _gone(content) is None or content["started"] == 0:
        raise OutputError(
            "the run cannot be stopped from here", where=where, remedy="press Ctrl-C where it was started"
        )
    try:
        handle = os.pidfd_open(content["pid"])
    except ProcessLookupError:
        return ""
    try:
        if _gone(content) is not False:
            return ""
        signal.pidfd_send_signal(handle, signal.SIGINT)
    except ProcessLookupError:
        return ""
    except PermissionError as error:
        raise OutputError(
            "the run belongs to another user", where=where, remedy="press Ctrl-C where it was started"
        ) from error
    finally:
        os.close(handle)
    return str(owner)


def run_state(told: str, owner: Mapping[str, Any] | None) -> str:
    """How the last run of an output directory ended, or that one goes on.

    Args:
        told: `status` of its `run.json`; a run that was killed could not say so itself.
        owner: who holds its lock; see `holder`.

    Returns:
        ``running``, ``killed``, or what was told.
    """
    if owner is not None and owner["alive"] is not False:
        return "running"
    return "killed" if told == "running" else told


def _gone(content: Any) -> bool | None:
    """Whether a lock's owner has ended, as far as this host can tell; its number may have been given away since."""
    if content.get("host") != socket.gethostname() or content.get("space", _space()) != _space():
        return None
    return _process(content["pid"]) != {"pid": content["pid"], "started": content["started"]}


@contextmanager
def _guard(path: Path) -> Iterator[None]:
    """Look and take in one step: no two processes are in here at once."""
    with open(path.with_name(path.name + ".guard"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> tuple[Any, int] | None:
    """(content, time of the last heartbeat), or None without a lock. Locks are renamed into place, so never half."""
    try:
        return _content(path.read_bytes()), path.stat().st_mtime_ns
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise


def read_lock(place: Path | ObjectFolder) -> tuple[Any, Any] | None:
    """(content, what every sign of life changes) of a lock; None without one.

    Raises:
        ObjectStoreError: the store does not answer.
    """
    if isinstance(place, Path):
        return _read(place)
    found = place.get_tagged(LOCK)
    return None if found is None else (_content(found[0]), found[1])


def _content(text: str | bytes) -> dict[str, Any]:
    """What a lock says; nothing where it is none of ours: it counts as one of another host."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and {"host", "pid", "started"} <= found.keys() else {}


def _space() -> str:
    """What tells process numbers of this machine from those of a container on it that has the same name."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _process(pid: int) -> dict[str, Any]:
    """A process of this host and when it started, in ticks since the boot; `started` is -1 when it is gone."""
    try:
        # The second field is the name in parentheses, which may hold anything; start time is field 22.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return {"pid": pid, "started": _started_elsewhere(pid)}
    return {"pid": pid, "started": -1 if fields[0] in "ZX" else int(fields[19])}


def _started_elsewhere(pid: int) -> int:
    """For systems without /proc: 0 if the process lives, else -1."""
    if Path("/proc/self/stat").exists():
        return -1
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return -1
    except PermissionError:
        return 0
    return 0
