"""One run at a time on an output directory in an object store: the lock is an object, written on a condition.

Its content names the owner and counts its signs of life. Whoever finds it watches whether it changes; after half a
minute without a sign the owner counts as dead, and the object is replaced on the condition that it still is what was
watched. No clock is compared with another's.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from types import TracebackType
from typing import Any, Self

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import ObjectStoreError, OutputError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import HEARTBEAT, STALE_AFTER, RunLock, holder

KEY = f"{OUTPUT_MARKER}/run.lock"

log = logging.getLogger(__name__)


class BucketLock:
    """Held while its `with` block runs.

    Args:
        bucket: the output directory.
        owner: shown to whoever finds the lock.
        wait: wait for the owner to end, instead of raising.
        heartbeat: seconds between two signs of life.
        stale_after: seconds without one after which a lock is taken over.
    """

    def __init__(
        self,
        bucket: ObjectFolder,
        owner: str,
        wait: bool = False,
        *,
        heartbeat: float = HEARTBEAT,
        stale_after: float = STALE_AFTER,
    ) -> None:
        self._bucket, self._wait = bucket, wait
        self._heartbeat, self._stale_after = heartbeat, stale_after
        self._content = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}
        self._beats = 0
        self._tag = ""
        self._ended, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="hdm-run-lock", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether another run took the lock over, as this process was held up too long: it must stop."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            OutputError: another run holds it and `wait` is False.
            ObjectStoreError: the store does not answer, refuses, or knows no writing on a condition.
        """
        watched: tuple[bytes, str] | None = None
        since = time.monotonic()
        while not self._take(watched if time.monotonic() - since >= self._stale_after else None):
            found = self._bucket.get_tagged(KEY)
            if found is None:
                watched = None
                continue
            if watched is None or found[1] != watched[1]:
                if watched is not None and not self._wait:
                    raise self._held(found[0])
                watched, since = found, time.monotonic()
            time.sleep(min(self._heartbeat, 1.0))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        try:
            if self._is_mine():
                self._bucket.delete(KEY)
        except ObjectStoreError as failure:  # it is taken over when nobody renews it
            log.warning("the lock could not be removed: %s", failure.what)

    def _take(self, stale: tuple[bytes, str] | None) -> bool:
        """Take the lock if nobody holds it, or it still is what was found stale."""
        content = self._now()
        tag = self._bucket.create(KEY, content) if stale is None else self._bucket.replace(KEY, content, stale[1])
        # The answer may have got lost on the way, and the library asked again: then it is this run's already.
        if tag is None and not self._is_mine():
            return False
        self._tag = tag or self._tag
        return True

    def _is_mine(self) -> bool:
        found = self._bucket.get_tagged(KEY)
        if found is None or _parsed(found[0]).get("id") != self._content["id"]:
            return False
        self._tag = found[1]
        return True

    def _now(self) -> bytes:
        """The content with one more sign of life: each is another object, with another tag."""
        self._beats += 1
        return json.dumps({**self._content, "beats": self._beats}).encode()

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat):
            try:
                tag = self._bucket.replace(KEY, self._now(), self._tag)
                if tag is not None:
                    self._tag = tag
                elif not self._is_mine():
                    self._lost.set()
                    return
            except ObjectStoreError as error:  # a store that is away for a moment; the next beat tells
                log.warning("the lock could not be renewed: %s", error.what)

    def _held(self, content: bytes) -> OutputError:
        told = _parsed(content)
        return OutputError(
            "another run is writing to this output",
            where=f"{self._bucket}, held by {told.get('owner', 'unknown')} on {told.get('host', 'unknown')}",
            remedy="wait for it to end (--wait), or choose another output.directory",
        )


def run_lock(workspace: Workspace, owner: str, wait: bool = False) -> RunLock | BucketLock:
    """The lock of an output directory, wherever that lies; `RunLock` says what it does."""
    if workspace.bucket is not None:
        return BucketLock(workspace.bucket, owner, wait)
    return RunLock(workspace.lock, owner, wait)


def holder_of(workspace: Workspace) -> dict[str, Any] | None:
    """Who holds the lock of an output directory, as `lock.holder` tells.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    return holder(workspace.lock) if workspace.bucket is None else bucket_holder(workspace.bucket)


def bucket_holder(bucket: ObjectFolder) -> dict[str, Any] | None:
    """Who holds the lock: `owner`, `host`, and `alive`, which nobody here knows; None if nobody.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    content = bucket.get(KEY)
    if content is None:
        return None
    told = _parsed(content)
    return {"owner": told.get("owner"), "host": told.get("host"), "alive": None}


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
