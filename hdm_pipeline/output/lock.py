"""One run at a time on an output directory, also when several machines share it.

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hdm_pipeline.errors import OutputError
from hdm_pipeline.output.files import output_errors

HEARTBEAT = 5.0
"""Seconds between two signs of life."""

STALE_AFTER = 30.0
"""Seconds without one after which the owner of a lock on another host counts as dead."""


class RunLock:
    """Held while its `with` block runs.

    Args:
        path: of the lock file, in an existing folder.
        owner: shown to whoever finds the lock.
        wait: wait for the owner to end, instead of raising.
        heartbeat: seconds between two signs of life.
        stale_after: seconds without one after which a lock on another host is taken over.
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
        self.path = path
        self._wait = wait
        self._heartbeat = heartbeat
        self._stale_after = stale_after
        self._content = {"owner": owner, "host": socket.gethostname(), **_process(os.getpid())}
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="hdm-run-lock", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether another run took the lock over, as this process was held up too long: it must stop."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            OutputError: another run holds it and `wait` is False, or the file cannot be written.
        """
        with output_errors(self.path):
            watched: tuple[Any, int] | None = None
            since = time.monotonic()
            while not self._take(watched if time.monotonic() - since >= self._stale_after else None):
                found = _read(self.path)
                if found is None:
                    continue
                if watched is None or found != watched:
                    if not self._wait and (watched is not None or found[0].get("host") == self._content["host"]):
                        raise _held(self.path, found[0])
                    watched, since = found, time.monotonic()
                time.sleep(min(self._heartbeat, 1.0) / 4)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with _guard(self.path):
            found = _read(self.path)
            if found is not None and found[0] == self._content:
                self.path.unlink()

    def _take(self, stale: tuple[Any, int] | None) -> bool:
        """Take the lock if nobody holds it, its owner's process is gone, or it still is what was found stale."""
        with _guard(self.path):
            found = _read(self.path)
            if found is not None and found != stale and not self._dead(found[0]):
                return False
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(self._content))
            os.replace(temporary, self.path)
        return True

    def _dead(self, content: Any) -> bool:
        """Whether the owner is a process of this host that is gone; its number may have been given away since."""
        return _gone(content) is True

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat):
            try:
                found = _read(self.path)
                if found is None or found[0] != self._content:
                    self._lost.set()
                    return
                os.utime(self.path)
            except OSError:  # a shared disk that is away for a moment; the next beat tells
                continue


def holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lock: `owner`, `host`, and `alive`, None where it is a process of another host; None if nobody."""
    found = _read(path)
    if found is None:
        return None
    gone = _gone(found[0])
    return {**{key: found[0].get(key) for key in ("owner", "host")}, "alive": None if gone is None else not gone}


def interrupt_holder(path: Path) -> str:
    """Ask whoever holds a lock to stop, as Ctrl-C does: once, and what is being worked on is finished; twice, at once.

    The process is held by a handle while it is looked at, so that no other one that got its number since is hit.

    Returns:
        Who was asked; empty if nobody holds the lock.

    Raises:
        OutputError: it is a process of another host, or of another user, or this system cannot tell processes apart.
    """
    found = _read(path)
    if found is None or _gone(found[0]) is True:
        return ""
    content = found[0]
    owner, host = content.get("owner", "unknown"), content.get("host", "unknown")
    where = f"{path.parent.parent}, held by {owner} on {host}"
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
    if content.get("host") != socket.gethostname():
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
        content, beat = json.loads(path.read_text()), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    except ValueError:
        return {}, path.stat().st_mtime_ns
    return content, beat


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


def _held(path: Path, content: Any) -> OutputError:
    return OutputError(
        "another run is writing to this output",
        where=f"{path.parent.parent}, held by {content.get('owner', 'unknown')} on {content.get('host', 'unknown')}",
        remedy="wait for it to end (--wait), or choose another output.directory",
    )
