"""Decides what runs next. One thread, one loop: give out what may run, wait for one thing to end, note it down.

Scenes flow one behind the other: while the model works on one, the next is surveyed and staged, and the one before is
stitched and published. What ends is recorded in the ledger at once, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from hdm_pipeline.errors import (
    BankMismatchError,
    ExecutionError,
    HdmError,
    LedgerError,
    OutputError,
    SceneError,
    StoreError,
    TileError,
    WeightsError,
)
from hdm_pipeline.execution.executor import Executor
from hdm_pipeline.execution.messages import Outcome, Published, RunContext, SceneWork, StepResult, Task
from hdm_pipeline.execution.scene_state import SceneState
from hdm_pipeline.execution.steps import score_folder, stage_folder
from hdm_pipeline.output.files import remove_tree
from hdm_pipeline.output.ledger import Ledger, Receipt, SceneRecord
from hdm_pipeline.planning.keys import SceneKeys
from hdm_pipeline.planning.pending import PendingScene
from hdm_pipeline.reporting.events import Event, Listener

FATAL = (OutputError, LedgerError, WeightsError, BankMismatchError, ExecutionError)
"""Errors that concern the whole run; any other is its scene's alone."""

MAX_DEATHS = 2
"""Workers that may die over one step before its scene is suspected."""

log = logging.getLogger(__name__)


class Driver:
    """Runs the scenes of one run to their products.

    Args:
        context: of the run.
        executor: where steps run; closed by the caller.
        ledger: what is done; written by this class alone.
        listener: told of everything that happens.
        should_stop: asked before new work is given out; True lets the steps in flight end and leaves.
    """

    def __init__(
        self,
        context: RunContext,
        executor: Executor,
        ledger: Ledger,
        listener: Listener,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._context = context
        self._executor = executor
        self._ledger = ledger
        self._tell = listener
        self._should_stop = should_stop
        self._surveying: dict[str, PendingScene] = {}
        self._active: dict[str, SceneState] = {}
        self._retries: deque[Task] = deque()
        self._probes: dict[tuple[str, int], int] = {}
        self._in_flight: Counter[str] = Counter()
        self._again: dict[str, PendingScene] = {}
        self._redone: set[str] = set()
        # Removing a scene's shards takes as long as writing them, and longer on network file systems.
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="hdm-sweep")

    def run(self, scenes: Iterator[PendingScene]) -> None:
        """Work until every scene is published or quarantined, or `should_stop` says so.

        Raises:
            HdmError: one of `FATAL`; what was finished before is in the ledger.
        """
        with self._sweeper:
            self._loop(scenes)

    def _loop(self, scenes: Iterator[PendingScene]) -> None:
        while True:
            stopping = self._should_stop()
            if not stopping:
                self._give_out(scenes)
            if self._in_flight.total() == 0:
                return
            outcome = self._executor.next()
            scene = outcome.task.scene
            self._in_flight[scene] -= 1
            self._settle(outcome)
            if scene in self._again and not self._in_flight[scene]:
                self._start_over(self._again.pop(scene))

    # ------------------------------------------------------------------ what may run

    def _give_out(self, scenes: Iterator[PendingScene]) -> None:
        while self._retries and self._room_for(self._retries[0].step):
            self._submit(self._retries.popleft())
        for state in list(self._active.values()):
            if state.complete and not state.publishing and self._executor.cpu_free > 0:
                state.publishing = True
                self._submit(Task("publish", state.work.ref.id, -1, state.work))
        for step in ("stitch", "infer"):
            for state in self._active.values():
                self._give_blocks(state, step)
        self._stage_ahead()
        while self._wants_scene() and (scene := next(scenes, None)) is not None:
            self._surveying[scene.ref.id] = scene
            self._submit(Task("survey", scene.ref.id, -1, (scene.ref, scene.keys)))

    def _give_blocks(self, state: SceneState, step: Any) -> None:
        while self._room_for(step) and (block := state.ready(step)) is not None:
            state.give(step, block)
            self._submit(Task(step, state.work.ref.id, block, state.work))

    def _stage_ahead(self) -> None:
        """Stage in scene order, but no further ahead of the model than it can soon use."""
        for state in self._active.values():
            while self._backlog() < self._most_ahead and self._room_for("stage"):
                block = state.ready("stage")
                if block is None:
                    break
                state.give("stage", block)
                self._submit(Task("stage", state.work.ref.id, block, state.work))

    @property
    def _most_ahead(self) -> int:
        # A block needs its neighbours staged before it can start, so a little more than the model's queue.
        return 4 * self._executor.model_slots + 8

    def _backlog(self) -> int:
        return sum(state.backlog for state in self._active.values())

    def _wants_scene(self) -> bool:
        staged_out = all(state.ready("stage") is None for state in self._active.values())
        ahead = len(self._surveying) + self._backlog()
        return staged_out and ahead < self._most_ahead and self._executor.cpu_free > 0

    def _room_for(self, step: str) -> bool:
        return (self._executor.model_free if step == "infer" else self._executor.cpu_free) > 0

    def _submit(self, task: Task) -> None:
        self._executor.submit(task)
        self._in_flight[task.scene] += 1

    # ------------------------------------------------------------------ what has ended

    def _settle(self, outcome: Outcome) -> None:
        task = outcome.task
        if task.scene not in self._active and task.scene not in self._surveying:
            return  # its scene was quarantined meanwhile
        if outcome.lost:
            self._retries.appendleft(task)
        elif outcome.died:
            self._after_death(outcome)
        elif outcome.error is not None:
            if isinstance(outcome.error, FATAL):
                raise outcome.error
            if isinstance(outcome.error, StoreError) and task.scene not in self._redone:
                self._redo(task.scene, outcome.error)
            else:
                self._quarantine(task.scene, outcome.error)
        elif task.probe is not None:
            self._probe_survived(task)
        elif task.step == "survey":
            self._surveyed(outcome.value)
        elif task.step == "publish":
            self._published(task.scene, outcome.value)
        else:
            self._block_done(task, outcome.value)

    def _surveyed(self, work: SceneWork) -> None:
        scene = self._surveying.pop(work.ref.id)
        state = SceneState.of(work, work.grid, self._context.config.tiling.block)
        staged, inferred = (
            self._ledger.receipts(scene.keys.stage, "stage"),
            self._ledger.receipts(scene.keys.score, "infer"),
        )
        stitched = self._ledger.receipts(scene.keys.score, "stitch")
        state.restore(staged, inferred, stitched)
        state.tiles = sum(int(receipt.detail.get("tiles", 0)) for receipt in inferred.values())
        self._active[work.ref.id] = state
        self._drop_superseded(scene)
        self._ledger.upsert_scene(_record(work.ref.id, scene.keys, "running"))
        self._tell(
            Event(
                "scene_started",
                work.ref.id,
                data={
                    "shape": list(work.header.shape),
                    "tiles": work.grid.tile_count,
                    "blocks": state.blocks,
                    "blocks_done": len(inferred),
                    "warnings": list(work.header.warnings),
                },
            )
        )

    def _block_done(self, task: Task, result: StepResult) -> None:
        state = self._active[task.scene]
        keys = state.work.keys
        key = keys.stage if task.step == "stage" else keys.score
        self._ledger.record([Receipt(key, task.step, task.block, result.seconds, dict(result.detail))])
        state.finish(task.step, task.block, result.seconds)
        state.tiles += int(result.detail.get("tiles", 0))
        self._tell(Event("step_done", task.scene, task.step, task.block, {"seconds": result.seconds, **result.detail}))

    def _published(self, scene: str, published: Published) -> None:
        state = self._active.pop(scene)
        work = state.work
        outputs = tuple(path.as_posix() for path in published.outputs)
        info = {
            "outputs": list(outputs),
            "tiles": state.tiles,
            "blocks": state.blocks,
            "seconds": {**state.seconds, "publish": published.seconds},
            "warnings": list(work.header.warnings),
            **published.measures,
        }
        keep = self._context.config.output.keep
        dropped = [] if keep == "all" else [(work.keys.stage, stage_folder(self._context, work))]
        dropped += [(work.keys.score, score_folder(self._context, work))] if keep == "nothing" else []
        record = _record(scene, work.keys, "done", outputs=outputs, info=info)
        self._ledger.upsert_scene(record, forget=[key for key, _ in dropped])
        self._tell(Event("scene_done", scene, data=info))
        for _, folder in dropped:
            self._sweeper.submit(_sweep, folder)

    def _quarantine(self, scene: str, error: HdmError) -> None:
        """Put a scene aside with its reason; what it had in flight is ignored when it ends."""
        state = self._active.pop(scene, None)
        pending = self._surveying.pop(scene, None)
        keys = state.work.keys if state is not None else pending.keys if pending is not None else None
        if keys is not None:
            self._ledger.upsert_scene(_record(scene, keys, "quarantined", error=error.as_dict()))
        self._retries = deque(task for task in self._retries if task.scene != scene)
        self._tell(
            Event(
                "scene_quarantined",
                scene,
                data={"error": error.as_dict(), "seconds": dict(state.seconds) if state else {}},
            )
        )

    # ------------------------------------------------------------------ work that is lost

    def _redo(self, scene: str, error: StoreError) -> None:
        """Receipts and files disagree (a power cut, a cleaned disk): forget the scene's work and do it once more."""
        log.warning("work of a scene is damaged, doing it again: %s", error.what, extra={"scene": scene})
        self._redone.add(scene)
        state = self._active.pop(scene, None)
        self._again[scene] = PendingScene(state.work.ref, state.work.keys) if state else self._surveying.pop(scene)
        self._retries = deque(task for task in self._retries if task.scene != scene)

    def _drop_superseded(self, scene: PendingScene) -> None:
        """Remove what an earlier configuration or an older file of this scene left under other keys."""
        before = self._ledger.scene(scene.ref.id)
        if before is None:
            return
        workspace = self._context.workspace
        if before.stage_key not in ("", scene.keys.stage):
            self._ledger.forget(before.stage_key)
            remove_tree(workspace.stage_folder(scene.ref.id, before.stage_key))
        if before.score_key not in ("", scene.keys.score):
            self._ledger.forget(before.score_key)
            remove_tree(workspace.score_folder(scene.ref.id, before.score_key))

    def _start_over(self, scene: PendingScene) -> None:
        """Survey a scene anew, once nothing of its old work is in flight."""
        for key in (scene.keys.stage, scene.keys.score):
            self._ledger.forget(key)
        remove_tree(self._context.workspace.stage_folder(scene.ref.id, scene.keys.stage))
        remove_tree(self._context.workspace.score_folder(scene.ref.id, scene.keys.score))
        self._surveying[scene.ref.id] = scene
        self._submit(Task("survey", scene.ref.id, -1, (scene.ref, scene.keys)))

    # ------------------------------------------------------------------ workers that die

    def _after_death(self, outcome: Outcome) -> None:
        """Try again once; then find the tile that kills, or put the scene aside."""
        task = replace(outcome.task, attempt=outcome.task.attempt + 1)
        self._tell(Event("worker_died", task.scene, task.step, task.block, {"reason": outcome.reason}))
        if task.probe is not None:
            self._quarantine(task.scene, self._killer(task, outcome.reason))
        elif task.attempt < MAX_DEATHS:
            self._retries.append(task)
        elif task.step == "infer" and task.attempt == MAX_DEATHS:
            work: SceneWork = task.payload
            tiles = list(work.grid.tiles(work.blocks(self._context)[task.block]))
            self._probes[task.scene, task.block] = len(tiles)
            self._retries.extend(replace(task, probe=tile) for tile in tiles)
        else:
            self._quarantine(
                task.scene,
                SceneError(
                    f"step {task.step} killed {task.attempt} workers; last: {outcome.reason}",
                    where=f"scene {task.scene}" + (f", block {task.block}" if task.block >= 0 else ""),
                    remedy="the file may be damaged or need more memory than there is; check it alone",
                ),
            )

    def _probe_survived(self, task: Task) -> None:
        """When every tile of a suspect block is harmless alone, the block gets one last chance."""
        key = task.scene, task.block
        self._probes[key] -= 1
        if self._probes[key] == 0:
            del self._probes[key]
            self._retries.append(replace(task, probe=None))

    def _killer(self, task: Task, reason: str) -> TileError:
        work: SceneWork = task.payload
        window = work.grid.tile_window(*(task.probe or (0, 0, 0)))
        return TileError(
            f"a tile kills every worker that sees it; last: {reason}",
            where=f"scene {task.scene}, tile {task.probe}: slice {window.z}, rows {window.y}..{window.bottom}, "
            f"columns {window.x}..{window.right}",
            remedy="look at these pixels; leave the scene out, or lower tiling.size if memory ran out",
        )


def _sweep(folder: Path) -> None:
    """Remove what a finished scene no longer needs; what stays costs disk and nothing else."""
    try:
        remove_tree(folder)
    except OSError as error:
        log.warning("a finished scene's folder cannot be removed: %s", error)


def _record(scene: str, keys: SceneKeys, status: Any, **facts: Any) -> SceneRecord:
    return SceneRecord(
        id=scene, stage_key=keys.stage, score_key=keys.score, product_key=keys.product, status=status, **facts
    )
