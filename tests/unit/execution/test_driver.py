"""What the driver decides, shown with an executor that answers from a script: no Ray, no network, no pixels."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdm_pipeline.execution.driver import Driver
from hdm_pipeline.execution.messages import (
    InferTask,
    PublishTask,
    StitchTask,
    SurveyTask,
    Task,
)
from hdm_pipeline.output.ledger import Receipt, SceneRecord
from hdm_pipeline.planning.keys import PendingScene
from hdm_pipeline.reporting.events import (
    BlockInferred,
    SceneDone,
    SceneStarted,
    StepDone,
)
from hdm_pipeline.reporting.run_json import RunReport
from tests.fake_executor import (
    STRIDE,
    THREE,
    TILE,
    Bench,
    FakeExecutor,
    pending,
    steps,
)

# ---------------------------------------------------------------------- the order of things


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("block", [1, 4])
def test_no_step_runs_before_what_it_needs_and_none_runs_twice(tmp_path: Path, seed: int, block: int) -> None:
    rng = random.Random(seed)
    bench = Bench(tmp_path, {"wide": (150, 700), "tall": (500, 90), "tile": (30, 40)}, block=block)
    ended: set[tuple[str, str, int]] = set()
    executor = FakeExecutor(bench.config, bench.sizes)

    def check(task: Task) -> None:
        ended.add((task.scene, task.step, task.block))

    def choose(waiting: list[Task]) -> int:
        for task in waiting:
            missing = {(task.scene, step, index) for step, index in needed(task, block)} - ended
            assert not missing, f"{task.step} of block {task.block} was given out before {missing}"
        chosen = rng.randrange(len(waiting))
        check(waiting[chosen])
        return chosen

    executor = bench.run(choose=choose, cpus=4, model_slots=2)
    assert set(bench.statuses().values()) == {"done"}
    counts = Counter((task.scene, task.step, task.block) for task in executor.given)
    assert set(counts.values()) == {1}
    for event in bench.told(SceneStarted):
        assert isinstance(event, SceneStarted)
        for step in ("stage", "infer", "stitch"):
            assert sum(s == step for s, _ in steps(executor.given, event.scene)) == event.blocks


def needed(task: Task, tiles_per_block: int) -> Iterator[tuple[str, int]]:
    """(step, block) of what must have ended before a task, by the definition of the grid."""
    if isinstance(task, SurveyTask):
        return
    yield "survey", -1
    grid, blocks = task.work.grid, task.work.grid.blocks(tiles_per_block)
    if isinstance(task, InferTask):
        yield from (("stage", other.index) for other in grid.reads(blocks[task.block], blocks))
    elif isinstance(task, StitchTask):
        yield "infer", task.block
        yield from (("infer", other.index) for other in grid.neighbors(blocks[task.block], blocks))
    elif isinstance(task, PublishTask):
        yield from (("stitch", block.index) for block in blocks)


def test_a_scene_is_surveyed_while_the_model_works_on_the_one_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE, "b": THREE})
    given = steps(bench.run().given)
    survey_b = [i for i, entry in enumerate(given) if entry[0] == "survey"][1]
    assert survey_b < given.index(("publish", -1))


def last_the_model(waiting: list[Task]) -> int:
    """The model is slower than anything else."""
    return next((i for i, task in enumerate(waiting) if not isinstance(task, InferTask)), 0)


@pytest.mark.parametrize("slots", [1, 3])
def test_staging_does_not_run_far_ahead_of_the_model(tmp_path: Path, slots: int) -> None:
    bench = Bench(tmp_path, {"long": (TILE, TILE + 200 * STRIDE)})
    most = 0

    def choose(waiting: list[Task]) -> int:
        nonlocal most
        given = Counter(task.step for task in bench.executor.given)
        most = max(most, given["stage"] - given["infer"])
        return last_the_model(waiting)

    bench.run(choose=choose, model_slots=slots)
    assert bench.statuses() == {"long": "done"}
    # A block needs the cell to its right, too, and one more is given out before the limit is seen.
    assert 2 * slots <= most <= 4 * slots + 8 + 2


def test_few_scenes_are_surveyed_ahead_of_the_model(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {f"{number:03}": (TILE, TILE) for number in range(100)})
    most = 0

    def choose(waiting: list[Task]) -> int:
        nonlocal most
        given = Counter(task.step for task in bench.executor.given)
        most = max(most, given["survey"] - given["infer"])
        return last_the_model(waiting)

    bench.run(choose=choose)
    assert set(bench.statuses().values()) == {"done"}
    assert 2 <= most <= 4 + 8


# ---------------------------------------------------------------------- what is kept, and going on from it


def test_what_earlier_runs_did_is_not_done_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    keys = pending("a").keys
    bench.ledger.record(
        [
            *(Receipt(keys.stage, "stage", block, 0.1) for block in (0, 1)),
            Receipt(keys.score, "infer", 0, 0.1, {"tiles": 1, "skipped": 0}),
        ]
    )
    given = steps(bench.run().given)
    assert Counter(given) == Counter(
        [("survey", -1), ("stage", 2), ("infer", 1), ("infer", 2), *(("stitch", b) for b in range(3)), ("publish", -1)]
    )
    (started,) = bench.told(SceneStarted)
    assert isinstance(started, SceneStarted)
    assert (started.blocks, started.blocks_done) == (3, 1)
    (done,) = bench.told(SceneDone)
    assert isinstance(done, SceneDone)
    assert done.tiles == 3, "tiles of earlier runs count"


def test_a_scene_that_is_inferred_needs_no_staging(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    bench.ledger.record([Receipt(pending("a").keys.score, "infer", block, 0.1, {"tiles": 1}) for block in range(3)])
    given = Counter(step for step, _ in steps(bench.run().given))
    assert given == {"survey": 1, "stitch": 3, "publish": 1}


def test_a_receipt_is_in_the_ledger_before_the_event_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    seen = []

    class Listening(list[object]):
        def append(self, event: object) -> None:
            if isinstance(event, StepDone):
                key = pending("a").keys.stage if event.step == "stage" else pending("a").keys.score
                seen.append(event.block in bench.ledger.receipts(key, event.step))
            if isinstance(event, SceneDone):
                seen.append(bench.statuses() == {"a": "done"})

    executor = FakeExecutor(bench.config, bench.sizes)
    Driver(bench.context, executor, bench.ledger, Listening().append).run(bench.scenes())
    assert len(seen) == 3 * 3 + 1
    assert all(seen)


def test_what_is_told_is_what_the_ledger_says(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE})
    bench.run()
    (done,) = bench.told(SceneDone)
    record = bench.ledger.scene("a")
    assert record is not None
    assert record.outputs == ("a/mask.tif",)
    assert record.info == {
        "outputs": ["a/mask.tif"],
        "tiles": 3,
        "blocks": 3,
        "seconds": {"stage": 3.0, "infer": 3.0, "stitch": 3.0, "publish": 1.0},
        "warnings": [{"kind": "note", "what": "no CRS", "remedy": "", "suspect": False}],
        "products": {"mask": ["a/mask.tif"]},
        "valid": 1.0,
    }
    assert {**done.facts(), "outputs": ["a/mask.tif"], "products": {"mask": ["a/mask.tif"]}} == record.info
    inferred = [event.facts() for event in bench.told(BlockInferred)]
    assert inferred == 3 * [{"seconds": 1.0, "tiles": 1, "skipped": 0}]


@pytest.mark.parametrize(
    ("keep", "staged", "scored"), [("all", True, True), ("scores", False, True), ("nothing", False, False)]
)
def test_what_a_finished_scene_no_longer_needs_is_dropped(
    tmp_path: Path, keep: str, staged: bool, scored: bool
) -> None:
    bench = Bench(tmp_path, {"a": THREE}, keep=keep)
    keys = pending("a").keys
    folders = bench.workspace.stage_folder("a", keys.stage), bench.workspace.score_folder("a", keys.score)
    for folder in folders:
        folder.mkdir(parents=True)
    bench.run()
    assert tuple(folder.exists() for folder in folders) == (staged, scored)
    receipts = bench.ledger.receipts(keys.stage, "stage"), bench.ledger.receipts(keys.score, "infer")
    assert tuple(map(bool, receipts)) == (staged, scored)


def test_work_under_other_keys_is_dropped_and_work_under_the_same_keys_is_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"changed": THREE, "same": THREE}, keep="all")
    new, old, same = pending("changed").keys, pending("changed", "0").keys, pending("same").keys
    for name, keys in (("changed", old), ("same", same)):
        bench.ledger.upsert_scene(SceneRecord(name, "p", keys.score, keys.stage))
        bench.ledger.record([Receipt(keys.stage, "stage", 0, 0.1), Receipt(keys.score, "infer", 0, 0.1, {"tiles": 1})])
        bench.workspace.stage_folder(name, keys.stage).mkdir(parents=True)
        bench.workspace.score_folder(name, keys.score).mkdir(parents=True)
    executor = bench.run()
    assert not bench.workspace.stage_folder("changed", old.stage).exists()
    assert not bench.workspace.score_folder("changed", old.score).exists()
    assert bench.ledger.receipts(old.stage, "stage") == bench.ledger.receipts(old.score, "infer") == {}
    assert len(bench.ledger.receipts(new.score, "infer")) == 3
    assert bench.workspace.stage_folder("same", same.stage).exists()
    assert bench.workspace.score_folder("same", same.score).exists()
    assert ("infer", 0) in steps(executor.given, "changed")
    assert ("infer", 0) not in steps(executor.given, "same")


def test_a_stop_lets_what_is_in_flight_end_and_gives_out_nothing_new(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"a": THREE, "b": THREE})
    stopped_with: list[Task] = []

    def should_stop() -> bool:
        stop = any(isinstance(task, InferTask) for task in bench.executor.ended)
        if stop and not stopped_with:
            stopped_with.extend(bench.executor.given)
        return stop

    first = bench.run(should_stop=should_stop)
    assert first.given == stopped_with
    assert first.waiting == []
    assert bench.statuses()["a"] == "running"
    told = [(e.scene, e.step, e.block) for e in bench.told(StepDone) if isinstance(e, StepDone)]
    second = bench.run()
    assert bench.statuses() == {"a": "done", "b": "done"}
    again = {(task.scene, task.step, task.block) for task in second.given} & set(told)
    assert again == set(), "what ended after the stop counts as done"


def test_a_finished_scene_leaves_almost_nothing_in_memory(tmp_path: Path) -> None:
    """An archive may hold a million: what is finished is in the ledger, and not in the driver or the report."""
    count = 900
    bench = Bench(tmp_path, {f"scene_{number:05}": (64, 64) for number in range(count)})
    executor = FakeExecutor(bench.config, bench.sizes)
    report = RunReport(bench.workspace.report, "test", dict.fromkeys(bench.sizes, ""), bench.ledger)
    marks: list[int] = []

    def scenes() -> Iterator[PendingScene]:
        for number, name in enumerate(bench.sizes):
            executor.given.clear()  # the test's own memory
            executor.ended.clear()
            if number in (count // 3, count - 1):
                gc.collect()
                marks.append(tracemalloc.get_traced_memory()[0])
            yield pending(name)

    tracemalloc.start()
    try:
        Driver(bench.context, executor, bench.ledger, report.event).run(scenes())
    finally:
        tracemalloc.stop()
    assert report.head()["totals"]["done"] == count
    assert (marks[1] - marks[0]) / (count - count // 3) < 200
