"""What the driver does when workers die and scenes fail, shown with an executor that answers from a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from hdm_pipeline.errors import LostLockError, ReadError, StoreError
from hdm_pipeline.execution.messages import (
    Died,
    Failed,
    InferTask,
    Lost,
    StageTask,
    Task,
)
from hdm_pipeline.output.ledger import Receipt
from hdm_pipeline.reporting.events import (
    SceneDone,
    SceneQuarantined,
    StepDone,
    WorkerDied,
)
from tests.fake_executor import (
    SQUARE,
    THREE,
    Bench,
    FakeExecutor,
    dies,
    fails,
    is_step,
    pending,
    steps,
    times,
)

# ---------------------------------------------------------------------- workers that die


def test_a_step_is_tried_once_more_after_a_death(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    executor = bench.run(times(is_step("infer", "a", 1), [dies]))
    attempts = [task.attempt for task in executor.given if (task.step, task.block) == ("infer", 1)]
    assert attempts == [0, 1]
    (death,) = bench.told(WorkerDied)
    assert isinstance(death, WorkerDied)
    assert (death.scene, death.step, death.block, death.reason) == ("a", "infer", 1, "killed by a test")
    assert bench.statuses() == {"a": "done"}


@pytest.mark.parametrize(("step", "block"), [("survey", -1), ("stage", 1), ("stitch", 0), ("publish", -1)])
def test_a_step_that_kills_twice_quarantines_its_scene_only(tmp_path: Path, step: str, block: int) -> None:
    bench = Bench(tmp_path, {"a": THREE, "b": THREE, "c": THREE})
    executor = bench.run(times(is_step(step, "b", block), [dies, dies, dies]))
    assert bench.statuses() == {"a": "done", "b": "quarantined", "c": "done"}
    assert steps(executor.given, "b").count((step, block)) == 2
    (event,) = bench.told(SceneQuarantined)
    assert isinstance(event, SceneQuarantined)
    assert f"step {step} killed 2 workers" in event.error.what
    assert "killed by a test" in event.error.what
    assert event.error.remedy
    assert ("block" in event.error.where) == (block >= 0)


def test_a_block_that_kills_twice_is_taken_apart_and_the_killing_tile_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": SQUARE, "b": SQUARE}, block=4)

    def script(task: Task) -> Died | None:
        poisoned = isinstance(task, InferTask) and task.scene == "a" and task.probe in (None, (0, 0, 1))
        return dies(task) if poisoned else None

    executor = bench.run(script)
    probes = [task.probe for task in executor.given if isinstance(task, InferTask) and task.scene == "a"]
    assert probes[:2] == [None, None]
    assert probes[2:] in ([(0, 0, 0), (0, 0, 1)], [(0, 0, 0), (0, 0, 1), (0, 1, 0)]), "no probe is given in vain"
    assert bench.statuses() == {"a": "quarantined", "b": "done"}
    record = bench.ledger.scene("a")
    assert record is not None
    assert record.error is not None
    assert record.error["type"] == "TileError"
    assert "rows 0..64, columns 48..112" in record.error["where"]
    assert bench.ledger.receipts(pending("a").keys.score, "infer") == {}, "a probe is thrown away"


def test_a_block_whose_tiles_are_harmless_gets_one_last_chance(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": SQUARE}, block=4)
    whole = lambda task: isinstance(task, InferTask) and task.probe is None  # noqa: E731
    executor = bench.run(times(whole, [dies, dies]))
    assert bench.statuses() == {"a": "done"}
    probes = [task.probe for task in executor.given if isinstance(task, InferTask)]
    assert probes == [None, None, (0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), None]


def test_a_block_that_kills_after_its_probes_quarantines_its_scene(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": SQUARE, "b": SQUARE}, block=4)
    whole = lambda task: isinstance(task, InferTask) and task.probe is None and task.scene == "a"  # noqa: E731
    executor = bench.run(times(whole, [dies, dies, dies, dies]))
    assert bench.statuses() == {"a": "quarantined", "b": "done"}
    assert len([task for task in executor.given if whole(task)]) == 3
    (event,) = bench.told(SceneQuarantined)
    assert isinstance(event, SceneQuarantined)
    assert "step infer killed 3 workers" in event.error.what


def test_a_task_that_was_never_started_is_given_again_and_is_no_suspect(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    executor = bench.run(times(is_step("infer", "a", 1), [Lost] * 5))
    attempts = [task.attempt for task in executor.given if (task.step, task.block) == ("infer", 1)]
    assert attempts == [0] * 6
    assert bench.told(WorkerDied) == []
    assert bench.statuses() == {"a": "done"}


# ---------------------------------------------------------------------- scenes that fail


def test_what_a_quarantined_scene_has_in_flight_is_ignored(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE, "b": THREE})
    error = ReadError("truncated", where="a", remedy="copy it again")
    executor = bench.run(times(is_step("stage", "a", 0), [fails(error)]))
    beside = [task for task in executor.ended if task.scene == "a" and task.step == "stage"]
    assert len(beside) > 1, "nothing else was in flight; the test shows nothing"
    assert bench.ledger.receipts(pending("a").keys.stage, "stage") == {}
    assert [event.scene for event in bench.told(StepDone) if event.scene == "a"] == []
    assert bench.statuses() == {"a": "quarantined", "b": "done"}
    (event,) = bench.told(SceneQuarantined)
    assert isinstance(event, SceneQuarantined)
    assert event.error is error
    record = bench.ledger.scene("a")
    assert record is not None
    assert record.error == error.as_dict()


def test_two_failures_of_one_scene_quarantine_it_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})

    def script(task: Task) -> Failed | None:
        return fails(ReadError(f"block {task.block}"))(task) if isinstance(task, StageTask) else None

    bench.run(script)
    (event,) = bench.told(SceneQuarantined)
    assert isinstance(event, SceneQuarantined)
    assert event.error.what == "block 0"


def test_a_death_of_a_quarantined_scene_is_not_tried_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    scripts = {0: fails(ReadError("broken")), 1: dies}
    executor = bench.run(lambda task: scripts[task.block](task) if task.step == "stage" and task.block < 2 else None)
    assert bench.statuses() == {"a": "quarantined"}
    assert [task.attempt for task in executor.given if task.step == "stage" and task.block == 1] == [0]
    assert bench.told(WorkerDied) == []


def test_damaged_work_is_done_again_from_the_survey_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE, "b": THREE}, keep="all")
    keys = pending("a").keys
    folders = bench.workspace.stage_folder("a", keys.stage), bench.workspace.score_folder("a", keys.score)
    bench.ledger.record([Receipt(keys.score, "infer", block, 0.1, {"tiles": 1}) for block in range(3)])
    for folder in folders:
        folder.mkdir(parents=True)
    found_at_survey = []

    def script(task: Task) -> Failed | None:
        if is_step("survey", "a")(task):
            found_at_survey.append(tuple(folder.exists() for folder in folders))
        return damaged(task)  # type: ignore[return-value]

    damaged = times(is_step("stitch", "a", 0), [fails(StoreError("a shard is missing"))])
    executor = bench.run(script)
    assert bench.statuses() == {"a": "done", "b": "done"}
    given = steps(executor.given, "a")
    assert given.count(("survey", -1)) == 2
    second = given[len(given) - 1 - given[::-1].index(("survey", -1)) :]
    assert Counter(step for step, _ in second) == {"survey": 1, "stage": 3, "infer": 3, "stitch": 3, "publish": 1}
    assert found_at_survey == [(True, True), (False, False)], "its files are gone before it is surveyed again"
    assert bench.told(SceneQuarantined) == []


def test_damaged_work_is_dropped_only_when_nothing_of_it_is_in_flight(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    executor = bench.run(times(is_step("stage", "a", 0), [fails(StoreError("gone"))]))
    ended = steps(executor.ended)
    first = ended.index(("stage", 0))
    again = ended.index(("survey", -1), first)
    assert again > first + 1, "nothing else was in flight; the test shows nothing"
    given = steps(executor.given)
    assert given.index(("survey", -1), 1) >= again, "the survey waits for what is in flight"
    assert bench.statuses() == {"a": "done"}


def test_work_that_is_damaged_twice_quarantines_its_scene(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE, "b": THREE})
    error = StoreError("a shard is missing", where="shard 0", remedy="check the disk")
    executor = bench.run(times(is_step("stitch", "a", 0), [fails(error)] * 3))
    assert bench.statuses() == {"a": "quarantined", "b": "done"}
    assert steps(executor.given, "a").count(("stitch", 0)) == 2


def test_a_stop_starts_no_scene_over(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    stop = False

    def script(task: Task) -> Failed | None:
        nonlocal stop
        stop = task.step == "infer"
        return fails(StoreError("gone"))(task) if stop else None

    executor = bench.run(script, should_stop=lambda: stop)
    assert steps(executor.given).count(("survey", -1)) == 1
    assert bench.statuses() == {"a": "running"}
    bench.run()
    assert bench.statuses() == {"a": "done"}


@pytest.mark.parametrize("ends", [None, fails(ReadError("gone"))], ids=["well", "badly"])
def test_what_a_step_did_while_the_lock_was_lost_is_not_written(
    tmp_path: Path, ends: Callable[[Task], Failed] | None
) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    lost = False

    def script(task: Task) -> Failed | None:
        nonlocal lost
        if task.step != "publish":
            return None
        lost = True
        product = bench.workspace.product_folder("a")
        product.mkdir()
        (product / "mask.tif").write_text("of the other run")
        return None if ends is None else ends(task)

    def should_stop() -> bool:
        if lost:
            raise LostLockError("taken over", where="out", remedy="wait")
        return False

    with pytest.raises(LostLockError):
        bench.run(script, should_stop=should_stop)
    assert bench.statuses() == {"a": "running"}
    assert bench.told(SceneDone, SceneQuarantined) == []
    assert (bench.workspace.product_folder("a") / "mask.tif").read_text() == "of the other run"


def test_a_lock_that_is_lost_while_no_step_ends_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    waits: list[float] = []

    def hang(_executor: FakeExecutor, timeout: float | None = None) -> None:
        assert timeout is not None, "it would wait for ever"
        waits.append(timeout)

    def should_stop() -> bool:
        if len(waits) == 3:
            raise LostLockError("taken over", where="out", remedy="wait")
        return False

    monkeypatch.setattr(FakeExecutor, "next", hang)
    with pytest.raises(LostLockError):
        bench.run(should_stop=should_stop)
    assert bench.told(SceneDone, SceneQuarantined) == []
