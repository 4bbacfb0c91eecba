"""The run lock of an output in a bucket: an object that is made, renewed and taken over by writes on a condition.

The owner counts a number up every few seconds; whoever finds the lock watches whether the object changes. A write whose
answer was lost is repeated and then looks refused: whoever is refused reads the object, and what carries his token is
his own. A request may hang for as long as a lock lives, so each is given up soon and made again
(`Workspace.lock_place`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from hdm_pipeline.errors import ObjectStoreError, ObjectStoreSilentError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import HEARTBEAT, LOCK, STALE_AFTER, Lock, RunLock, dead, read_lock

_WAITS = 180.0
"""Seconds for which who waits for a lock asks a store that is silent: as long as other requests are tried again."""

log = logging.getLogger(__name__)


def run_lock(workspace: Workspace, owner: str, *, wait: bool = False) -> Lock:
    """The lock of an output directory, wherever that lies."""
    place = workspace.lock_place
    return BucketLock(place, owner, wait) if isinstance(place, ObjectFolder) else RunLock(place, owner, wait)


class BucketLock(Lock):
    """A lock in a bucket.

    Args:
        folder: that holds it (`Workspace.lock_place`).
        owner: as for `Lock`, and so are the others.
    """

    def __init__(
        self,
        folder: ObjectFolder,
        owner: str,
        wait: bool = False,
        *,
        heartbeat: float = HEARTBEAT,
        stale_after: float = STALE_AFTER,
    ) -> None:
        super().__init__(owner, wait, heartbeat, stale_after, min(heartbeat, 4.0) / 4)
        self.folder = folder
        self._token = uuid4().hex
        self._beats = 0
        self._tag = ""

    @property
    def mark(self) -> Mapping[str, Any]:
        """The token: the rest changes with each sign of life."""
        return {"token": self._token}

    @property
    def _shown(self) -> str:
        return self.folder.address.rpartition("/")[0]

    def _look(self) -> tuple[Any, Any] | None:
        # Who waits for another run to end, perhaps for hours, does not give up over a store that is away for a minute.
        until = time.monotonic() + (_WAITS if self._wait else 0.0)
        while True:
            try:
                return read_lock(self.folder)
            except ObjectStoreSilentError:
                if time.monotonic() >= until:
                    raise
                self._unseen += 1  # the other run could give no sign of life, either
            time.sleep(self._pause)

    def _take(self, stale: tuple[Any, Any] | None) -> bool:
        found = self._look()
        if found is None:
            return self._write(lambda: self.folder.create(LOCK, self._text()))
        if found == stale or dead(found[0]):
            return self._write(lambda: self.folder.replace(LOCK, self._text(), found[1]))
        return False

    def _sign(self) -> bool:
        return self._write(lambda: self.folder.replace(LOCK, self._text(), self._tag))

    def _write(self, put: Callable[[], str | None]) -> bool:
        """Write until an answer tells whether the lock is ours, for half of the time that a lock lives."""
        deadline = time.monotonic() + self._stale_after / 2
        while True:
            try:
                return self._is_ours(put())
            except ObjectStoreSilentError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(min(self._heartbeat, 1.0))

    def _release(self) -> None:
        try:
            found = read_lock(self.folder)
            if found is not None and found[0].get("token") == self._token:
                self.folder.delete(LOCK)
        except ObjectStoreError as error:
            log.warning("the lock could not be given back, the next run waits %.0f s: %s", self._stale_after, error)

    def _is_ours(self, tag: str | None) -> bool:
        """Whether the lock is ours after a write that gave this tag, or was refused."""
        if tag is None:
            found = read_lock(self.folder)
            if found is None or found[0].get("token") != self._token:
                return False
            tag = found[1]
        self._tag = str(tag)
        return True

    def _text(self) -> bytes:
        self._beats += 1
        return json.dumps({**self._content, "token": self._token, "beat": self._beats}).encode()
