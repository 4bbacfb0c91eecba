"""Which block runs next: of the earliest scene first, whatever the others have ready."""

from __future__ import annotations

from hdm_pipeline.contracts import Band, RasterGeometry, SceneHeader, SceneRef
from hdm_pipeline.execution.messages import SceneWork
from hdm_pipeline.execution.scene_state import SceneState
from hdm_pipeline.execution.schedule import Schedule
from hdm_pipeline.grid import TileGrid
from hdm_pipeline.pixels.bands import resolve
from hdm_pipeline.planning.keys import SceneKeys


def state_of(name: str, blocks: int = 2) -> SceneState:
    """A scene of so many blocks in a row."""
    ref = SceneRef(name, f"/archive/{name}.tif", "geotiff", "1")
    size = (1, 64, 16 + 48 * blocks)
    geometry = RasterGeometry((10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
    header = SceneHeader(ref, (1, *size), "uint8", (Band("grey"),), geometry)
    grid = TileGrid(size, 64, 16)
    work = SceneWork(header, SceneKeys("stage", "score", "product"), grid, resolve([1], header.bands), ((0.0, 255.0),))
    return SceneState.of(work, grid, 1)


def told(found: tuple[SceneWork, int] | None) -> tuple[str, int] | None:
    return None if found is None else (found[0].ref.id, found[1])


def all_of(schedule: Schedule, step: str) -> list[tuple[str, int] | None]:
    found = []
    while (one := told(schedule.next(step))) is not None:
        found.append(one)
    return found


def test_earlier_scenes_come_first_though_later_ones_were_ready_before() -> None:
    schedule = Schedule()
    for name in ("first", "second"):
        schedule.add(state_of(name))
    assert all_of(schedule, "stage") == [("first", 0), ("first", 1), ("second", 0), ("second", 1)]
    assert schedule.all_staged()
    assert all_of(schedule, "infer") == []
    for scene, block in (("second", 0), ("second", 1), ("first", 1), ("first", 0)):
        schedule.finish(scene, "stage", block, 0.1)
    assert schedule.backlog == 4
    assert all_of(schedule, "infer") == [("first", 0), ("first", 1), ("second", 0), ("second", 1)]
    assert schedule.backlog == 0
    for scene in ("second", "first"):
        for block in (0, 1):
            schedule.finish(scene, "infer", block, 0.1)
    assert all_of(schedule, "stitch") == [("first", 0), ("first", 1), ("second", 0), ("second", 1)]
    assert schedule.complete() is None
    for scene in ("second", "first"):
        for block in (0, 1):
            schedule.finish(scene, "stitch", block, 0.1)
    published = [schedule.complete(), schedule.complete(), schedule.complete()]
    assert [None if one is None else one.work.ref.id for one in published] == ["first", "second", None]


def test_a_scene_that_is_dropped_gives_out_nothing_and_may_come_again() -> None:
    schedule = Schedule()
    schedule.add(state_of("a"))
    schedule.add(state_of("b"))
    assert told(schedule.next("stage")) == ("a", 0)
    schedule.finish("a", "stage", 0, 0.1)
    dropped = schedule.drop("a")
    assert dropped is not None
    assert ("a" in schedule, schedule.drop("a"), schedule.backlog) == (False, None, 0)
    assert all_of(schedule, "infer") == []
    schedule.add(state_of("a"))
    assert all_of(schedule, "stage") == [("b", 0), ("b", 1), ("a", 0), ("a", 1)], "it comes last now"


def test_a_scene_that_was_finished_before_is_complete_at_once() -> None:
    state = state_of("a")
    state.restore(range(2), range(2), range(2))
    schedule = Schedule()
    schedule.add(state)
    assert schedule.all_staged()
    assert schedule.complete() is state
    assert schedule.complete() is None, "it is being published"
