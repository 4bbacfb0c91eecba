"""Decides what runs next. One thread, one loop: give out what may run, wait for one thing to end, note it down.

Scenes flow one behind the other: while the model works on one, the next is surveyed and staged, and the one before is
stitched and published. What ends is recorded in the ledger at once, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from hdm_pipeline.errors import HdmError, StoreError
from hdm_pipeline.execution import deaths, likeness, quicklook
from hdm_pipeline.execution.arrivals import Arrivals, NotArrived
from hdm_pipeline.execution.done import scene_done, scene_info
from hdm_pipeline.execution.executor import Executor
from hdm_pipeline.execution.intake import Intake
from hdm_pipeline.execution.messages import (
    Died,
    Failed,
    Finished,
    InferResult,
    InferTask,
    Lost,
    Outcome,
    Published,
    PublishTask,
    RunContext,
    SceneWork,
    StageTask,
    StepResult,
    StitchTask,
    SurveyTask,
    Task,
)
from hdm_pipeline.execution.preparing import Equipment
from hdm_pipeline.execution.scene_state import SceneState
from hdm_pipeline.execution.schedule import Schedule
from hdm_pipeline.execution.steps import score_folder, stage_folder
from hdm_pipeline.execution.sweeping import Sweeper
from hdm_pipeline.output.files import remove_tree
from hdm_pipeline.output.ledger import Ledger, Receipt, SceneRecord
from hdm_pipeline.output.manifest import keep_pictures
from hdm_pipeline.planning.keys import PendingScene, SceneKeys
from hdm_pipeline.reporting.events import (
    BlockInferred,
    Listener,
    SceneQuarantined,
    SceneStarted,
    StepDone,
    WorkerDied,
)
from hdm_pipeline.store.zarr_array import remove

MAX_DEATHS = 2
"""Workers that may die over one step before its scene is suspected."""

_LOOK_AGAIN = 0.2
"""Seconds after which it is seen that a scene has arrived while steps run."""

_ASK_AGAIN = 5.0
"""Seconds after which it is asked again whether to stop while no step ends; one that hangs may take an hour."""

BlockTask = StageTask | InferTask | StitchTask

log = logging.getLogger(__name__)


class Driver:
    """Runs the scenes of one run to their products.

    Args:
        context: of the run.
        executor: where steps run; closed by the caller.
        ledger: what is done; nothing else writes to it.
        listener: told of everything that happens.
        should_stop: asked before new work is given out; True lets the steps in flight end and leaves. What it raises
            ends the run; it is asked before anything is written, too.
        equipment: asked, with seconds to wait, for what the model needs, till it is there; scenes are staged meanwhile.
            None where `executor` has it already.
    """

    _intake: Intake

    def __init__(
        self,
        context: RunContext,
        executor: Executor,
        ledger: Ledger,
        listener: Listener,
        should_stop: Callable[[], bool] = lambda: False,
        equipment: Callable[[float], Equipment | None] | None = None,
    ) -> None:
        self._context = context
        self._executor = executor
        self._equipment = equipment
        self._ledger = ledger
        self._tell = listener
        self._should_stop = should_stop
        self._surveying: dict[str, PendingScene] = {}
        self._active = Schedule()
        self._retries: deque[Task] = deque()
        self._probes: dict[tuple[str, int], int] = {}
        self._in_flight: Counter[str] = Counter()
        self._again: dict[str, PendingScene] = {}
        self._redone: set[str] = set()
        self._sweeper = Sweeper(context.fence)

    def run(self, scenes: Iterator[PendingScene] | Arrivals) -> None:
        """Work until every scene is published or quarantined, or `should_stop` says so.

        Args:
            scenes: in order; `Arrivals` where some are fetched first.

        Raises:
            HdmError: one whose `scope` is the run; what was finished before is in the ledger.
        """
        arrivals = scenes if isinstance(scenes, Arrivals) else Arrivals(scenes)
        with self._sweeper:
            self._intake = Intake(arrivals, self._context, self._ledger, self._tell, self._sweeper.sweep)
            self._loop(self._intake)

    def _loop(self, intake: Intake) -> None:
        while True:
            self._equip(0.0)
            stopping = self._should_stop()
            if not stopping:
                self._give_out(intake)
            if not self._in_flight:
                if stopping:
                    return
                if self._equipment is not None:
                    self._equip(_LOOK_AGAIN)
                elif not intake.wait():
                    return
                continue
            # A scene that arrives while a long step runs is surveyed beside it.
            awaits = not stopping and intake.expects and self._wants_scene()
            awaits |= self._equipment is not None
            outcome = self._executor.next(_LOOK_AGAIN if awaits else _ASK_AGAIN)
            if outcome is None:
                continue
            scene = outcome.task.scene
            self._in_flight[scene] -= 1
            if not self._in_flight[scene]:
                del self._in_flight[scene]
            self._should_stop()  # a step may take minutes: who lost the output meanwhile writes nothing of it any more
            self._settle(outcome)
            if scene in self._again and scene not in self._in_flight:
                self._start_over(self._again.pop(scene))

    def _equip(self, patience: float) -> None:
        """Look whether what the model needs is there."""
        if self._equipment is not None and (found := self._equipment(patience)) is not None:
            self._context, self._equipment = found.context, None
            self._executor.equip(found.context, found.bundle)

    # ------------------------------------------------------------------ what may run

    def _give_out(self, intake: Intake) -> None:
        while self._retries and self._room_for(self._retries[0].step):
            self._submit(self._retries.popleft())
        while self._equipment is None and self._room_for("publish") and (state := self._active.complete()) is not None:
            self._submit(PublishTask(work=state.work, unlike=likeness.summed(state.unlike)))
        for kind in (StitchTask, InferTask):
            while self._room_for(kind.step) and (found := self._active.next(kind.step)) is not None:
                self._submit(kind(work=found[0], block=found[1]))
        # Staged in scene order, but no further ahead of the model than it can soon use.
        while self._active.backlog < self._most_ahead and self._room_for("stage"):
            if (found := self._active.next("stage")) is None:
                break
            self._submit(StageTask(work=found[0], block=found[1]))
        while self._wants_scene() and (arrival := intake.take()) is not None:
            if isinstance(arrival, NotArrived):
                self._surveying[arrival.planned.ref.id] = arrival.planned
                self._quarantine(arrival.planned.ref.id, arrival.error)
            else:
                self._surveying[arrival.ref.id] = arrival
                self._submit(SurveyTask(pending=arrival))

    @property
    def _most_ahead(self) -> int:
        # A block needs its neighbours staged before it can start, so a little more than the model's queue.
        return 4 * self._executor.model_slots + 8

    def _wants_scene(self) -> bool:
        all_staged = self._active.all_staged()  # first: it counts what is staged now
        ahead = len(self._surveying) + self._active.backlog
        return all_staged and ahead < self._most_ahead and self._executor.cpu_free > 0

    def _room_for(self, step: str) -> bool:
        return (self._executor.model_free if step == "infer" else self._executor.cpu_free) > 0

    def _submit(self, task: Task) -> None:
        self._executor.submit(task)
        self._in_flight[task.scene] += 1

    # ------------------------------------------------------------------ what has ended

    def _settle(self, outcome: Outcome) -> None:
        scene = outcome.task.scene
        if scene not in self._active and scene not in self._surveying:
            return  # it was quarantined, or is to start over, since this task was given out
        match outcome:
            case Finished():
                self._finished(outcome)
            case Failed(error=StoreError() as error) if scene not in self._redone:
                self._redo(scene, error)
            case Failed(error=error) if error.scope == "run":
                raise error
            case Failed(error=error):
                self._quarantine(scene, error)
            case Lost(task=task):
                self._retries.appendleft(task)
            case Died(task=task, reason=reason):
                self._after_death(replace(task, attempt=task.attempt + 1), reason)

    def _finished(self, outcome: Finished) -> None:
        match outcome.task, outcome.result:
            case SurveyTask(pending=scene), SceneWork() as work:
                self._surveyed(scene, work)
            case InferTask(probe=(_, _, _)) as task, _:
                self._probe_survived(task)
            case (StageTask() | InferTask() | StitchTask()) as task, StepResult() as result:
                self._block_done(task, result)
            case PublishTask() as task, Published() as published:
                self._published(task.scene, published)
            case task, result:
                raise TypeError(f"{type(task).__name__} returned a {type(result).__name__}")

    def _surveyed(self, scene: PendingScene, work: SceneWork) -> None:
        del self._surveying[scene.ref.id]
        state = SceneState.of(work, work.grid, self._context.config.tiling.block)
        known = self._ledger.receipts_of(scene.keys.stage, scene.keys.score)
        inferred = known.get("infer", {})
        state.restore(known.get("stage", {}), inferred, known.get("stitch", {}))
        details = [receipt.detail for receipt in inferred.values()]
        state.tiles = sum(int(detail.get("tiles", 0)) for detail in details)
        state.unlike = likeness.from_receipts(details, len(self._context.classes))
        self._active.add(state)
        before = self._ledger.scene(scene.ref.id)
        if before is not None:
            self._drop_superseded(scene, before)
            state.outputs_before = before.outputs
        self._ledger.upsert_scene(_record(scene.ref.id, scene.keys, "running", outputs=state.outputs_before))
        self._tell(
            SceneStarted(
                scene=scene.ref.id,
                shape=work.header.shape,
                tiles=work.grid.tile_count,
                blocks=state.blocks,
                blocks_done=len(inferred),
                warnings=work.warnings,
            )
        )

    def _block_done(self, task: BlockTask, result: StepResult) -> None:
        state, keys = self._active[task.scene], task.work.keys
        key = keys.stage if task.step == "stage" else keys.score
        figures = {"tiles": result.tiles, "skipped": result.skipped} if isinstance(result, InferResult) else {}
        unlike = {"unlike": result.unlike} if isinstance(result, InferResult) and result.unlike else {}
        self._ledger.record([Receipt(key, task.step, task.block, result.seconds, {**figures, **unlike})])
        self._active.finish(task.scene, task.step, task.block, result.seconds)
        if isinstance(result, InferResult):
            state.tiles += result.tiles
            state.unlike.append(result.unlike or (None,) * len(self._context.classes))
            self._tell(BlockInferred(scene=task.scene, block=task.block, seconds=result.seconds, **figures))
        else:
            self._tell(StepDone(scene=task.scene, step=task.step, block=task.block, seconds=result.seconds))

    def _published(self, scene: str, published: Published) -> None:
        state = self._active[scene]
        self._active.drop(scene)
        work = state.work
        event = scene_done(work, published, tiles=state.tiles, blocks=state.blocks, seconds=state.seconds)
        keep = self._context.config.output.keep
        dropped = [] if keep == "all" else [(work.keys.stage, stage_folder(self._context, work))]
        dropped += [(work.keys.score, score_folder(self._context, work))] if keep == "nothing" else []
        record = _record(scene, work.keys, "done", outputs=event.outputs, info=scene_info(self._context, event))
        if self._context.workspace.bucket is not None:  # what lies here is of before, or of nobody
            quicklook.drop(self._context.workspace, scene)
            keep_pictures(self._context.workspace, scene, published.pictures)
            remove_tree(self._context.workspace.product_folder(scene))
        unasked = sorted(set(state.outputs_before) - set(event.outputs))
        # Before the ledger forgets them: a run that is killed in between finds them again.
        if unasked:
            self._context.fence.require()
        self._context.workspace.set_aside_files(unasked)
        self._ledger.upsert_scene(record, forget=[key for key, _ in dropped])
        self._tell(event)
        stale = [] if unasked else [self._context.workspace.stale_folder(scene)]
        for folder in [*(folder for _, folder in dropped), *stale]:
            self._sweeper.sweep(folder)
        self._intake.ended(scene)

    def _quarantine(self, scene: str, error: HdmError) -> None:
        """End a scene with its reason; what it has in flight is ignored when it ends."""
        pending, state = self._give_up(scene)
        # What lies there was made of another file, or in another way: it would pass for the result of this one.
        self._context.fence.require()
        stale = self._context.workspace.set_aside(scene)
        shown = "" if stale is None else stale
        event = SceneQuarantined(scene=scene, error=error, seconds=dict(state.seconds) if state else {}, stale=shown)
        facts = event.facts()
        self._ledger.upsert_scene(_record(scene, pending.keys, "quarantined", error=facts.pop("error"), info=facts))
        self._tell(event)
        self._intake.ended(scene)

    # ------------------------------------------------------------------ work that is lost

    def _give_up(self, scene: str) -> tuple[PendingScene, SceneState | None]:
        """Forget what was to be done for a scene; gives back the scene, and its state if it was surveyed."""
        self._retries = deque(task for task in self._retries if task.scene != scene)
        self._probes = {key: left for key, left in self._probes.items() if key[0] != scene}
        state = self._active.drop(scene)
        if state is None:
            return self._surveying.pop(scene), None
        return PendingScene(state.work.ref, state.work.keys), state

    def _redo(self, scene: str, error: StoreError) -> None:
        """Receipts and files disagree (a power cut, a cleaned disk): forget the scene's work and do it once more."""
        log.warning("work of a scene is damaged, doing it again: %s", error.what, extra={"scene": scene})
        self._redone.add(scene)
        self._again[scene], _ = self._give_up(scene)

    def _drop_superseded(self, scene: PendingScene, before: SceneRecord) -> None:
        """Remove what an earlier configuration or an older file of this scene left under other keys."""
        workspace, keys = self._context.workspace, scene.keys
        if {before.stage_key, before.score_key} - {"", keys.stage, keys.score}:
            self._context.fence.require()  # another run may work on them by now
        if before.stage_key not in ("", scene.keys.stage):
            self._ledger.forget(before.stage_key)
            remove(workspace.stage_folder(scene.ref.id, before.stage_key))
        if before.score_key not in ("", scene.keys.score):
            self._ledger.forget(before.score_key)
            remove(workspace.score_folder(scene.ref.id, before.score_key))

    def _start_over(self, scene: PendingScene) -> None:
        """Drop a scene's work, now that nothing of it is in flight, and survey the scene anew."""
        self._context.fence.require()  # else it may be another run's by now
        for key in (scene.keys.stage, scene.keys.score):
            self._ledger.forget(key)
        remove(self._context.workspace.stage_folder(scene.ref.id, scene.keys.stage))
        remove(self._context.workspace.score_folder(scene.ref.id, scene.keys.score))
        self._surveying[scene.ref.id] = scene
        self._retries.append(SurveyTask(pending=scene))

    # ------------------------------------------------------------------ workers that die

    def _after_death(self, task: Task, reason: str) -> None:
        """Try again once; then find the tile that kills, or quarantine the scene."""
        self._tell(WorkerDied(scene=task.scene, step=task.step, block=task.block, reason=reason))
        match task:
            case InferTask(probe=(_, _, _) as tile):
                self._quarantine(task.scene, deaths.killer(task, tile, reason))
            case _ if task.attempt < MAX_DEATHS:
                self._retries.append(task)
            case InferTask(attempt=attempt) if attempt == MAX_DEATHS:
                tiles = list(task.work.grid.tiles(task.work.blocks(self._context)[task.block]))
                self._probes[task.scene, task.block] = len(tiles)
                self._retries.extend(replace(task, probe=tile) for tile in tiles)
            case _:
                self._quarantine(task.scene, deaths.deadly(task, reason))

    def _probe_survived(self, task: InferTask) -> None:
        """When no tile of a suspect block kills a worker, the block gets one last chance."""
        key = task.scene, task.block
        self._probes[key] -= 1
        if self._probes[key] == 0:
            del self._probes[key]
            self._retries.append(replace(task, probe=None))


def _record(scene: str, keys: SceneKeys, status: Any, **facts: Any) -> SceneRecord:
    return SceneRecord(
        id=scene, stage_key=keys.stage, score_key=keys.score, product_key=keys.product, status=status, **facts
    )
