"""Any scene comes to its end, in any order of completion, with a bounded number of blocks staged ahead."""

from __future__ import annotations

import random
import sys
from types import FrameType

from hypothesis import given, settings
from hypothesis import strategies as st

from hdm_pipeline.contracts import Band, RasterGeometry, SceneHeader, SceneRef
from hdm_pipeline.execution import scene_state
from hdm_pipeline.execution.messages import SceneWork
from hdm_pipeline.execution.scene_state import SceneState
from hdm_pipeline.grid import TileGrid
from hdm_pipeline.pixels.bands import resolve
from hdm_pipeline.planning.keys import SceneKeys

AHEAD = 4


def state_of(height: int, width: int, block: int = 4) -> SceneState:
    ref = SceneRef("scene", "/archive/scene.tif", "geotiff", "1")
    geometry = RasterGeometry((10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
    header = SceneHeader(ref, (1, 1, height, width), "uint8", (Band("grey"),), geometry)
    grid = TileGrid((1, height, width), 64, 16)
    work = SceneWork(header, SceneKeys("stage", "score", "product"), grid, resolve([1], header.bands), ((0.0, 255.0),))
    return SceneState.of(work, grid, block)


def work_off(state: SceneState, seed: int) -> int:
    """Give out and finish steps in random order; returns the most cells that were staged ahead of the model."""
    order = random.Random(seed)
    running: list[tuple[str, int]] = []
    most = 0
    while not state.complete:
        for step in ("stitch", "infer", "stage"):
            while (step != "stage" or state.backlog < AHEAD) and (block := state.ready(step)) is not None:
                state.give(step, block)
                running.append((step, block))
        most = max(most, len(state.given["stage"]) - len(state.given["infer"]))
        assert running, "nothing runs, and the scene is not finished"
        step, block = running.pop(order.randrange(len(running)))
        state.finish(step, block, 0.0)
    assert state.backlog == 0
    return most


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 9), st.integers(0, 99))
def test_every_scene_is_finished(height: int, width: int, block: int, seed: int) -> None:
    # A block reads cells of the row below it as well.
    row = len({b.j0 for b in TileGrid((1, height, width), 64, 16).blocks(block)})
    assert work_off(state_of(height, width, block), seed) <= AHEAD + row + 2


def test_a_scene_that_is_all_staged_still_counts_what_waits_for_the_model() -> None:
    state = state_of(64, 64 + 2 * 48, 1)
    while (cell := state.ready("stage")) is not None:
        state.give("stage", cell)
    assert state.backlog == 3
    for block in range(3):
        state.finish("stage", block, 0.0)
        state.give("infer", block)
    assert state.backlog == 0


def test_blocks_that_an_earlier_run_inferred_do_not_wait_for_the_model() -> None:
    state = state_of(64, 64 + 9 * 48, 1)
    state.restore([], [5, 6, 7, 8, 9], [])
    while (cell := state.ready("stage")) is not None:
        state.give("stage", cell)
    assert state.backlog == 5


def test_a_wide_scene_starts_before_its_first_row_is_staged() -> None:
    state = state_of(2000, 40_000, 16)
    staged = 0
    while state.ready("infer") is None:
        block = state.ready("stage")
        assert block is not None
        state.give("stage", block)
        state.finish("stage", block, 0.0)
        staged += 1
    assert staged <= 4


def test_what_was_done_before_is_not_done_again() -> None:
    state = state_of(500, 500)
    everything = range(state.blocks)
    state.restore([], everything, [0])
    assert state.ready("stage") is None
    assert state.ready("infer") is None
    assert state.ready("stitch") == 1


def work_in_scene(side: int) -> int:
    """Lines of the module that run until a scene of so many blocks a side is done."""
    state = state_of(16 + 48 * side, 16 + 48 * side, 1)
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal lines
        lines += event == "line" and frame.f_code.co_filename == scene_state.__file__
        return trace

    sys.settrace(trace)
    try:
        work_off(state, 0)
    finally:
        sys.settrace(None)
    return lines


def test_the_work_of_telling_what_is_next_grows_with_the_blocks_and_not_with_their_square() -> None:
    small, large = work_in_scene(8), work_in_scene(32)  # 64 and 1024 blocks
    assert large < 2 * 16 * small
