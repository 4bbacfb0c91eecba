"""A run followed by its log, while it is written and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.errors import ReadError
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import RunLock
from hdm_pipeline.reporting.events import (
    BlockInferred,
    Event,
    Preparing,
    PreparingStep,
    RunEnded,
    RunStarted,
    SceneDone,
    SceneQuarantined,
    SceneStarted,
    Stopping,
    SupportChecked,
)
from hdm_pipeline.reporting.follow import RunFollower
from hdm_pipeline.reporting.log import event_record


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path / "out")
    found.create()
    return found


class Log:
    """The log of a run, with times of our own."""

    def __init__(self, workspace: Workspace, name: str = "20260101T000000") -> None:
        self.path = workspace.logs / f"{name}.jsonl"

    def add(self, time: float, *events: Event) -> None:
        with self.path.open("a") as file:
            for event in events:
                file.write(json.dumps({"time": time, **event_record(event)}, default=str) + "\n")


def started(scene: str, blocks: int) -> SceneStarted:
    return SceneStarted(scene=scene, shape=(1, 1, 9, 9), tiles=4, blocks=blocks, blocks_done=0, warnings=())


def inferred(scene: str, block: int) -> BlockInferred:
    return BlockInferred(scene=scene, block=block, seconds=1.0, tiles=10, skipped=0)


def done(scene: str) -> SceneDone:
    return SceneDone(scene=scene, outputs=(), tiles=4, blocks=1, seconds={}, warnings=(), measures={})


def lost(scene: str) -> SceneQuarantined:
    return SceneQuarantined(scene=scene, error=ReadError("broken"), seconds={})


def followed(workspace: Workspace, **options: Any) -> RunFollower:
    follower = RunFollower(workspace, **options)
    follower.poll()
    return follower


def test_where_no_run_has_written_there_is_none(tmp_path: Path) -> None:
    follower = followed(Workspace(tmp_path / "nowhere"))
    assert follower.state().state == "idle"
    assert follower.state().owner == ""


def test_a_run_is_seen_from_its_first_moment_to_its_last(workspace: Workspace) -> None:
    log, follower = Log(workspace), RunFollower(workspace)

    def phase() -> tuple[str, str]:
        follower.poll()
        found = follower.state()
        return found.state, found.phase

    with RunLock(workspace.lock, "me"):
        assert phase() == ("running", "starting")
        log.add(0, RunStarted(scenes=2, done_before=3), Preparing(adapt=False))
        assert phase() == ("running", "examples")
        log.add(1, PreparingStep(doing="adaptation", class_name="flood", done=59, total=280, seconds_left=70.0))
        assert phase() == ("running", "examples")
        found = follower.state()
        assert (found.doing, found.steps, found.seconds_left) == ("adaptation", (59, 280), 70.0)
        log.add(10, SupportChecked(support={}), started("a", 4))
        log.add(20, inferred("a", 0), inferred("a", 1))
        assert phase() == ("running", "scenes")
        found = follower.state()
        # Two of four blocks of one of two scenes, 20 tiles, in the ten seconds since the examples were read.
        assert (found.total, found.done, found.owner) == (2, 0, "me")
        assert found.tiles_per_second == pytest.approx(2.0)
        assert found.seconds_left == pytest.approx(30.0)
        log.add(30, done("a"), lost("b"), Stopping())
        assert phase() == ("stopping", "scenes")
        log.add(31, RunEnded(status="stopped"))
    assert phase() == ("stopped", "ended")
    assert (follower.state().done, follower.state().quarantined) == (1, 1)
    assert follower.state().seconds_left is None


def test_a_line_that_is_not_whole_yet_is_left_for_the_next_look(workspace: Workspace) -> None:
    log, follower = Log(workspace), RunFollower(workspace)
    log.add(0, RunStarted(scenes=1, done_before=0))
    line = json.dumps({"time": 1, **event_record(done("a"))}) + "\n"
    with log.path.open("a") as file:
        file.write(line[:20])
        file.flush()
        assert [one["event"] for one in follower.poll()] == ["run_started"]
        file.write(line[20:] + "no json\n")
    assert [one["event"] for one in follower.poll()] == ["scene_done"]
    assert follower.poll() == []


def test_a_run_that_was_killed_has_failed(workspace: Workspace) -> None:
    Log(workspace).add(0, RunStarted(scenes=5, done_before=0), done("a"))
    found = followed(workspace).state()
    assert (found.state, found.done, found.total) == ("failed", 1, 5)
    assert found.error is not None
    assert "killed" in found.error["what"]
    assert found.error["remedy"]


def test_what_a_run_failed_by_comes_from_its_report(workspace: Workspace) -> None:
    Log(workspace).add(0, RunStarted(scenes=5, done_before=0), RunEnded(status="failed"))
    error = {"type": "OutputError", "what": "the disk is full", "where": "out", "remedy": "free space"}
    workspace.report.write_text(json.dumps({"status": "failed", "error": error}))
    assert followed(workspace).state().error == error


def test_records_that_lack_what_this_version_writes_are_followed(workspace: Workspace) -> None:
    names = "run_started preparing support_checked scene_split scene_started step_done scene_done scene_quarantined"
    records: list[dict[str, object]] = [{"event": name, "scene": "a", "step": "infer"} for name in names.split()]
    log = Log(workspace)
    with RunLock(workspace.lock, "host:1"):
        log.path.write_text("".join(json.dumps(record) + "\n" for record in records))
        state = followed(workspace).state()
        assert (state.state, state.phase, state.done, state.quarantined) == ("running", "scenes", 1, 1)
    with log.path.open("a") as file:
        file.write(json.dumps({"event": "run_ended"}) + "\n")
    assert followed(workspace).state().phase == "ended"


def test_a_new_log_is_a_new_run(workspace: Workspace) -> None:
    Log(workspace).add(0, RunStarted(scenes=5, done_before=0), done("a"), RunEnded(status="done"))
    follower = followed(workspace)
    Log(workspace, "20260101T000009").add(9, RunStarted(scenes=2, done_before=5), RunEnded(status="done"))
    assert [one["event"] for one in follower.poll()] == ["run_started", "run_ended"]
    assert (follower.state().total, follower.state().done) == (2, 0)


def test_what_was_there_before_may_be_passed_over(workspace: Workspace) -> None:
    log = Log(workspace)
    log.add(0, RunStarted(scenes=5, done_before=0), RunEnded(status="done"))
    follower = followed(workspace, skip=True)
    assert follower.state().state == "idle"
    log.add(0.5, RunStarted(scenes=1, done_before=5), RunEnded(status="done"))  # within the same second: the same file
    assert len(follower.poll()) == 2
    assert (follower.state().state, follower.state().total) == ("done", 1)
