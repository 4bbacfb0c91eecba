"""What finished scenes leave is removed beside the run, whatever happens to one folder."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from hdm_pipeline.errors import ObjectStoreSilentError
from hdm_pipeline.execution import sweeping
from hdm_pipeline.execution.sweeping import Sweeper
from hdm_pipeline.output.fence import FRESH, Fence
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import RunLock
from tests.lost_lock import THEIRS
from tests.until import until


def folders(root: Path, count: int) -> list[Path]:
    found = [root / f"scene_{number}" for number in range(count)]
    for folder in found:
        folder.mkdir()
        (folder / "c").write_bytes(b"1")
    return found


def test_all_that_was_given_is_gone_at_the_end(tmp_path: Path) -> None:
    given = folders(tmp_path, 3)
    with Sweeper() as sweeper:
        for folder in (*given, tmp_path / "never there"):
            sweeper.sweep(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [PermissionError("denied"), ValueError("a bug")])
def test_one_that_cannot_be_removed_keeps_no_other(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, remove = folders(tmp_path, 3), sweeping.remove

    def failing(folder: Path) -> None:
        if folder == given[0]:
            raise error
        remove(folder)

    monkeypatch.setattr(sweeping, "remove", failing)
    with Sweeper() as sweeper:
        for folder in given:
            sweeper.sweep(folder)
    assert list(tmp_path.iterdir()) == given[:1]


def test_a_store_that_is_silent_is_not_waited_for_again_and_again_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    ended = threading.Event()

    def silent(folder: object) -> None:
        asked.append(folder)
        ended.wait(10)
        raise ObjectStoreSilentError("the object store does not answer")

    monkeypatch.setattr(sweeping, "remove", silent)
    sweeper = Sweeper()
    with sweeper:
        for number in range(5):
            sweeper.sweep(Path(f"scene_{number}"))
        sweeper._ending.set()
        ended.set()
    assert len(asked) == 1


def test_once_the_lock_is_lost_nothing_is_removed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out")
    workspace.create()
    given = folders(tmp_path, 3)
    with RunLock(workspace.lock, "me", heartbeat=3600) as lock, Sweeper(Fence.of(workspace, lock)) as sweeper:
        sweeper.sweep(given[0])
        until(lambda: not given[0].exists())
        time.sleep(FRESH)
        workspace.lock.write_text(json.dumps(THEIRS))
        for folder in given[1:]:
            sweeper.sweep(folder)
    assert [folder.exists() for folder in given] == [False, True, True]
