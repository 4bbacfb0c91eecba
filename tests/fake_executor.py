"""An executor without workers, for tests of the driver: each task is answered from a script, in a chosen order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Band, Provenance, RasterGeometry, SceneHeader, SceneRef
from hdm_pipeline.errors import HdmError
from hdm_pipeline.execution.arrivals import Arrivals
from hdm_pipeline.execution.driver import Driver
from hdm_pipeline.execution.messages import (
    Died,
    Failed,
    Finished,
    InferResult,
    InferTask,
    Outcome,
    Published,
    PublishTask,
    RunContext,
    SceneWork,
    StepResult,
    SurveyTask,
    Task,
)
from hdm_pipeline.execution.preparing import Equipment
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.pixels.bands import BandPlan
from hdm_pipeline.pixels.sanity import noted
from hdm_pipeline.planning.forecast import scene_grid
from hdm_pipeline.planning.keys import PendingScene, SceneKeys
from hdm_pipeline.reporting.events import Event
from hdm_pipeline.support.bundle import ModelBundle

Script = Callable[[Task], Outcome | None]
"""What becomes of a task; None for success."""

Choice = Callable[[list[Task]], int]
"""Which of the tasks in flight ends next."""


class FakeExecutor:
    """Every task ends well, in the order given out, unless told otherwise.

    Attributes:
        given: tasks in the order in which they were given out.
        ended: tasks in the order in which they ended.
        waiting: tasks in flight.
        awaits_model: it has no model yet, and takes no blocks to infer.
        equipped_with: what `equip` was given; None before.
    """

    name = "fake"

    def __init__(
        self,
        config: PipelineConfig,
        sizes: dict[str, tuple[int, int]],
        script: Script = lambda _: None,
        choose: Choice = lambda _: 0,
        *,
        cpus: int = 3,
        model_slots: int = 1,
    ) -> None:
        self.given: list[Task] = []
        self.ended: list[Task] = []
        self.waiting: list[Task] = []
        self.awaits_model = False
        self.equipped_with: tuple[RunContext, ModelBundle] | None = None
        self.model_slots = model_slots
        self._config = config
        self._sizes = sizes
        self._script = script
        self._choose = choose
        self._cpus = cpus

    def _in_flight(self, *, infer: bool) -> int:
        return sum(isinstance(task, InferTask) == infer for task in self.waiting)

    @property
    def model_free(self) -> int:
        return 0 if self.awaits_model else 2 * self.model_slots - self._in_flight(infer=True)

    @property
    def cpu_free(self) -> int:
        return self._cpus - self._in_flight(infer=False)

    def equip(self, context: RunContext, bundle: ModelBundle) -> None:
        self.equipped_with, self.awaits_model = (context, bundle), False

    def submit(self, task: Task) -> None:
        assert (self.model_free if isinstance(task, InferTask) else self.cpu_free) > 0, f"no room for {task.step}"
        self.given.append(task)
        self.waiting.append(task)

    def next(self, timeout: float | None = None) -> Outcome | None:
        task = self.waiting.pop(self._choose(self.waiting))
        self.ended.append(task)
        return self._script(task) or self._success(task)

    def observe(self, event: Event) -> None:
        pass

    def close(self) -> None:
        pass

    def _success(self, task: Task) -> Outcome:
        match task:
            case SurveyTask(pending=pending):
                return Finished(task, surveyed(self._config, pending, self._sizes[task.scene]))
            case PublishTask():
                mask = Path(task.scene) / "mask.tif"
                return Finished(task, Published((mask,), 1.0, {"valid": 1.0}, products={"mask": (mask,)}))
            case InferTask():
                blocks = task.work.grid.blocks(self._config.tiling.block)
                return Finished(task, InferResult(1.0, 1 if task.probe else blocks[task.block].tile_count, skipped=0))
            case _:
                return Finished(task, StepResult(1.0))


def surveyed(config: PipelineConfig, pending: PendingScene, size: tuple[int, int]) -> SceneWork:
    """What a survey finds of a scene of (rows, columns)."""
    geometry = RasterGeometry((1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    header = SceneHeader(pending.ref, (1, 1, *size), "uint8", (Band("b1"),), geometry, warnings=("no CRS",))
    plan = BandPlan((0,), (Band("b1"),), (), {})
    warnings = noted(header.warnings)
    return SceneWork(header, pending.keys, scene_grid(config, header), plan, ((0, 1),), warnings)


class Bench:
    """A ledger and scenes, and drivers that work on them.

    Args:
        root: the output directory.
        sizes: (rows, columns) by scene id, in order. Tiles are 64 pixels with an overlap of 16.
        block: tiles a block.
        keep: what of finished scenes is kept, as `output.keep` says.
    """

    def __init__(self, root: Path, sizes: dict[str, tuple[int, int]], *, block: int = 1, keep: str = "scores") -> None:
        self.config = PipelineConfig.model_validate(
            {
                "name": "test",
                "input": {"uri": "scenes", "bands": [1], "scale": {"fixed": [[0, 1]]}},
                "support": {"classes": [{"name": "water", "examples": [{"image": "a.tif", "mask": "b.tif"}]}]},
                "tiling": {"size": 64, "overlap": 16, "block": block},
                "output": {"directory": str(root), "products": ["mask"], "keep": keep},
            }
        )
        self.sizes = sizes
        self.workspace = Workspace(root)
        self.workspace.create()
        self.ledger = Ledger.open(self.workspace.ledger)
        self.events: list[Event] = []
        self.executor = FakeExecutor(self.config, sizes)
        provenance = Provenance("0", "p", "w", "s", 0.5, "fake")
        self.context = RunContext(self.config, self.workspace, (), provenance)

    def scenes(self) -> Iterator[PendingScene]:
        """The scenes that are not done."""
        for name in self.sizes:
            record = self.ledger.scene(name)
            if record is None or record.status not in ("done", "quarantined"):
                yield pending(name)

    def run(
        self,
        script: Script = lambda _: None,
        choose: Choice = lambda _: 0,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        scenes: Iterable[PendingScene] | Arrivals | None = None,
        equipment: Callable[[float], Equipment | None] | None = None,
        **sizes: int,
    ) -> FakeExecutor:
        """Drive what is not done with a fresh executor, which stays at hand as `executor` where the run fails."""
        self.executor = FakeExecutor(self.config, self.sizes, script, choose, **sizes)
        self.events = []
        self.executor.awaits_model = equipment is not None
        driver = Driver(self.context, self.executor, self.ledger, self.events.append, should_stop, equipment)
        given = list(self.scenes()) if scenes is None else scenes
        driver.run(given if isinstance(given, Arrivals) else iter(given))
        return self.executor

    def statuses(self) -> dict[str, str]:
        """What the ledger says of each scene."""
        return {record.id: record.status for record in self.ledger.scenes()}

    def told(self, *kinds: type[Event]) -> list[Event]:
        """Events of some types, in order."""
        return [event for event in self.events if isinstance(event, kinds)]


def pending(name: str, version: str = "1") -> PendingScene:
    """A scene to be worked on; another version has other keys."""
    keys = SceneKeys(*(f"{step}{version}-{name}".ljust(16, "0") for step in ("t", "s", "p")))
    return PendingScene(SceneRef(name, f"/archive/{name}", "fake", version), keys)


TILE, STRIDE = 64, 48

THREE = (TILE, TILE + 2 * STRIDE)
"""Rows and columns of a scene of three tiles in a row."""

SQUARE = (TILE + STRIDE, TILE + STRIDE)
"""Of two rows of two tiles."""


def steps(tasks: list[Task], scene: str | None = None) -> list[tuple[str, int]]:
    return [(task.step, task.block) for task in tasks if scene in (None, task.scene)]


def times(wanted: Callable[[Task], bool], answers: list[Callable[[Task], object]]) -> Script:
    """A script that answers the first wanted tasks one by one, and lets all others succeed."""
    left = iter(answers)

    def script(task: Task) -> object:
        answer = next(left, None) if wanted(task) else None
        return None if answer is None else answer(task)

    return script  # type: ignore[return-value]


def dies(task: Task) -> Died:
    return Died(task, "killed by a test")


def is_step(step: str, scene: str, block: int = -1) -> Callable[[Task], bool]:
    return lambda task: (task.step, task.scene, task.block) == (step, scene, block)


def fails(error: HdmError) -> Callable[[Task], Failed]:
    return lambda task: Failed(task, error)
