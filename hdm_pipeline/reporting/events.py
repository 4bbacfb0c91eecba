"""What a run tells while it goes on: to the progress bar, the log, `run.json`, the metrics and `on_event` of a caller.

One small type for each thing that may happen. A listener that cares for some of them matches their types::

    def on_event(event: Event) -> None:
        match event:
            case SceneDone():
                print(event.scene, event.outputs)
            case SceneQuarantined():
                print(event.scene, event.error)

No event holds patient data or secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import HdmError

_PLACE = {"scene", "step", "block"}
"""Fields that say what an event is about."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: name of the event in logs: one for each type; only `StepDone` and `BlockInferred` share one.
        scene: id of the scene; empty for events of the run.
    """

    kind: ClassVar[str]
    scene: str

    def facts(self) -> dict[str, Any]:
        """JSON-able: what the event says beyond scene, step and block."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _PLACE}
        if "warnings" in found:
            found["warnings"] = [warning.as_dict() for warning in found["warnings"]]
        return found


@dataclass(frozen=True, kw_only=True)
class RunEvent(Event):
    """Something about the run as a whole."""

    scene: str = field(default="", init=False)


@dataclass(frozen=True, kw_only=True)
class RunStarted(RunEvent):
    """It is known what there is to do.

    Attributes:
        scenes: scenes that this run works on.
        done_before: scenes whose products were there already.
    """

    kind: ClassVar[str] = "run_started"
    scenes: int
    done_before: int


@dataclass(frozen=True, kw_only=True)
class Preparing(RunEvent):
    """The labelled examples are about to be read.

    Attributes:
        adapt: whether the network may be adapted to them, which takes minutes.
    """

    kind: ClassVar[str] = "preparing"
    adapt: bool


@dataclass(frozen=True, kw_only=True)
class PreparingStep(RunEvent):
    """How far the preparation of the labelled examples is: at the begin and end of each step, and now and then between.

    Attributes:
        doing: reading, loading (the network), reduction (choosing how much smaller it sees images), adaptation,
            encoding or checking (each example is looked for by the others).
        class_name: of which class; empty for steps of all classes.
        done: parts of the step that are done.
        total: all its parts; of adaptation as many as there can be, for it may end early.
        seconds_left: until the step ends, if the other parts take as long as those that are done; None before the
            first is.
    """

    kind: ClassVar[str] = "preparing_step"
    doing: str
    class_name: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class SupportChecked(RunEvent):
    """The labelled examples were read, checked and encoded.

    Attributes:
        support: by class, what `Preparation.report` says.
    """

    kind: ClassVar[str] = "support_checked"
    support: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SceneSplit(Event):
    """What another machine listed as one scene was fetched, and holds several, or none.

    Attributes:
        parts: ids of the scenes that it holds.
        left_out: reasons why other things in it are no scenes.
    """

    kind: ClassVar[str] = "scene_split"
    parts: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SceneStarted(Event):
    """A scene was surveyed.

    Attributes:
        shape: (band, z, y, x) in pixels.
        tiles: tiles of the scene.
        blocks: blocks of the scene.
        blocks_done: blocks that earlier runs inferred.
        warnings: what the reader and the survey noticed.
    """

    kind: ClassVar[str] = "scene_started"
    shape: tuple[int, int, int, int]
    tiles: int
    blocks: int
    blocks_done: int
    warnings: tuple[SceneWarning, ...]


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """A step of a block is done and noted in the ledger.

    Attributes:
        step: stage, infer or stitch.
        block: index of the block.
        seconds: wall time of the step.
    """

    kind: ClassVar[str] = "step_done"
    step: str
    block: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class BlockInferred(StepDone):
    """The network has seen a block.

    Attributes:
        tiles: tiles inferred.
        skipped: tiles without a valid pixel.
    """

    step: str = field(default="infer", init=False)
    tiles: int
    skipped: int


@dataclass(frozen=True, kw_only=True)
class SceneDone(Event):
    """A scene is published.

    Attributes:
        outputs: published files, relative to the output directory.
        tiles: tiles inferred, over all runs.
        blocks: blocks of the scene.
        seconds: wall time by step, over the workers of this run.
        warnings: what was noticed of the scene and of its result.
        measures: areas per class and share of valid pixels.
        products: the published files by product.
    """

    kind: ClassVar[str] = "scene_done"
    outputs: tuple[str, ...]
    tiles: int
    blocks: int
    seconds: Mapping[str, float]
    warnings: tuple[SceneWarning, ...]
    measures: Mapping[str, Any]
    products: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """See `Event.facts`; measures stand next to the others."""
        found = super().facts()
        measures = found.pop("measures")
        return found | dict(measures)


@dataclass(frozen=True, kw_only=True)
class SceneQuarantined(Event):
    """A scene cannot be processed; the others go on.

    Attributes:
        error: why.
        seconds: wall time by step that was spent on it.
        stale: where its earlier products lie now, relative to the output directory; empty without any.
    """

    kind: ClassVar[str] = "scene_quarantined"
    error: HdmError
    seconds: Mapping[str, float]
    stale: str = ""

    def facts(self) -> dict[str, Any]:
        """See `Event.facts`."""
        return super().facts() | {"error": self.error.as_dict()}


@dataclass(frozen=True, kw_only=True)
class ProductsSent(Event):
    """A peer holds everything of a scene that it is to get.

    Attributes:
        to: address of the peer.
        products: what was sent, or was there already.
        what: the peer's answer.
    """

    kind: ClassVar[str] = "products_sent"
    to: str
    products: tuple[str, ...]
    what: str


@dataclass(frozen=True, kw_only=True)
class ProductsNotSent(Event):
    """A peer lacks something of a scene; the next run tries again. The scene stays done.

    Attributes:
        to: address of the peer.
        products: what it lacks.
        what: why.
        remedy: what the user can do; may be empty.
    """

    kind: ClassVar[str] = "products_not_sent"
    to: str
    products: tuple[str, ...]
    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class WorkerDied(Event):
    """A worker died or hung, and was replaced.

    Attributes:
        step: what it was doing.
        block: index of the block, or -1 for a step of a whole scene.
        reason: what is known.
    """

    kind: ClassVar[str] = "worker_died"
    step: str
    block: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Stopping(RunEvent):
    """The run was asked to stop; what is being worked on is finished."""

    kind: ClassVar[str] = "stopping"


@dataclass(frozen=True, kw_only=True)
class RunEnded(RunEvent):
    """The run is over, and `run.json` is written.

    Attributes:
        status: done, stopped or failed.
    """

    kind: ClassVar[str] = "run_ended"
    status: str


Listener = Callable[[Event], None]
