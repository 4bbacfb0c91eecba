"""When a folder that others copy into is complete: after a look that finds it as it was for the quiet time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hdm_pipeline.listening import watched
from hdm_pipeline.listening.snapshot import Snapshot, snapshot
from hdm_pipeline.listening.watched import WatchedFolder

QUIET = 0.4


def test_what_changed_since_the_last_look_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a look takes long, as over a share, the next one comes late: the quiet time is over before."""

    def slowly(folder: Path) -> Snapshot:
        found = snapshot(folder)
        time.sleep(QUIET / 10)
        return found

    monkeypatch.setattr(watched, "snapshot", slowly)
    delivery = tmp_path / "delivery"
    delivery.mkdir()
    (delivery / "1").write_text("first")
    folder = WatchedFolder(tmp_path, QUIET)
    assert folder.settled() == []
    (delivery / "2").write_text("more")
    time.sleep(1.2 * QUIET)
    assert folder.settled() == []
    while not (settled := folder.settled()):
        time.sleep(0.01)
    assert [one.seen.files for one in settled] == [2]


def test_it_is_complete_at_the_end_of_the_quiet_time(tmp_path: Path) -> None:
    (tmp_path / "delivery").mkdir()
    (tmp_path / "delivery" / "1").write_text("all")
    folder = WatchedFolder(tmp_path, 0.05)
    assert folder.settled() == []
    assert folder.arriving == 1
    while not (settled := folder.settled()):
        time.sleep(0.01)
    assert [one.path for one in settled] == [tmp_path / "delivery"]
    assert folder.arriving == 0
