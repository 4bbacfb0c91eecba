"""Another run takes the lock of a run over that is under way, as if that had been held up for too long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.bucket_lock import BucketLock
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import Lock, RunLock
from tests.until import until

HEARTBEAT = 0.05

THEIRS = {"owner": "far away", "host": "elsewhere", "pid": 1, "started": 1}
"""What the lock of the other run says."""


def quick_locks(monkeypatch: pytest.MonkeyPatch, heartbeat: float = HEARTBEAT) -> list[Lock]:
    """The locks of runs from now on, in order; they give signs of life so often that a loss is seen at once.

    With a `heartbeat` of some minutes it is seen only by who asks.
    """
    locks: list[Lock] = []

    def quick(workspace: Workspace, owner: str, wait: bool) -> Lock:
        place = workspace.lock_place
        if isinstance(place, ObjectFolder):
            locks.append(BucketLock(place, owner, wait, heartbeat=heartbeat))
        else:
            locks.append(RunLock(place, owner, wait, heartbeat=heartbeat))
        return locks[-1]

    monkeypatch.setattr("hdm_pipeline.run.run_lock", quick)
    return locks


def lose(lock: Lock, take: Callable[[], object]) -> None:
    """Take a lock over, and wait until its owner has seen it."""
    take()
    until(lambda: lock.lost)
