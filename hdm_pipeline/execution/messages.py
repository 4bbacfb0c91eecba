"""The small frozen values that go to workers and come back: never pixels, only windows, keys and receipts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from hdm_pipeline.config.schema import PipelineConfig, Range
from hdm_pipeline.contracts import ClassInfo, Provenance, SceneHeader, SceneRef, SceneWarning
from hdm_pipeline.errors import HdmError
from hdm_pipeline.execution.likeness import Tally
from hdm_pipeline.grid import Block, TileGrid
from hdm_pipeline.output.fence import Fence
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.pixels.bands import BandPlan
from hdm_pipeline.pixels.sanity import Look
from hdm_pipeline.planning.keys import PendingScene, SceneKeys

Step = Literal["survey", "stage", "infer", "stitch", "publish"]

TileIndex = tuple[int, int, int]
"""(z, i, j) of a tile in its grid."""


@dataclass(frozen=True)
class RunContext:
    """What every step of a run needs to know.

    Attributes:
        config: the pipeline, with absolute paths.
        workspace: the output directory, shared by all workers.
        classes: the classes of the mask.
        provenance: stamped into products.
        examples: what the labelled examples look like, for comparison with each scene.
        temperatures: that the scores of each class are calibrated with; empty for none.
        area_scores: between which probabilities the area of each class lies; empty for no interval.
        fence: asked before products are put where others see them.
    """

    config: PipelineConfig
    workspace: Workspace
    classes: tuple[ClassInfo, ...]
    provenance: Provenance
    examples: tuple[Look, ...] = ()
    temperatures: tuple[float, ...] = ()
    area_scores: tuple[tuple[float, float], ...] = ()
    fence: Fence = field(default_factory=Fence)


@dataclass(frozen=True)
class SceneWork:
    """One scene as its survey found it.

    Attributes:
        header: of the scene.
        keys: what its work is filed under.
        grid: its tiles.
        bands: which bands are read and what is computed from them.
        ranges: (low, high) of each computed band that become 0 and 1.
        warnings: what the reader and the survey noticed.
    """

    header: SceneHeader
    keys: SceneKeys
    grid: TileGrid
    bands: BandPlan
    ranges: tuple[Range, ...]
    warnings: tuple[SceneWarning, ...] = ()

    @property
    def ref(self) -> SceneRef:
        """The scene."""
        return self.header.ref

    def blocks(self, context: RunContext) -> tuple[Block, ...]:
        """The blocks of the scene, in order of index."""
        return blocks_of(self.grid, context.config.tiling.block)


@lru_cache(maxsize=16)
def blocks_of(grid: TileGrid, tiles_per_block: int) -> tuple[Block, ...]:
    """The blocks of a grid; remembered, as every step of a scene asks again."""
    return grid.blocks(tiles_per_block)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One step to run.

    Attributes:
        step: which.
        attempt: how often a worker died over it before.
    """

    step: ClassVar[Step]
    attempt: int = 0


@dataclass(frozen=True, kw_only=True)
class SurveyTask(_Task):
    """Look at a scene's header and lay out its stores.

    Attributes:
        pending: the scene and its keys.
    """

    step: ClassVar[Step] = "survey"
    block: ClassVar[int] = -1
    pending: PendingScene

    @property
    def scene(self) -> str:
        """Id of the scene."""
        return self.pending.ref.id


@dataclass(frozen=True, kw_only=True)
class _SurveyedTask(_Task):
    """A step of a scene that was surveyed.

    Attributes:
        work: the scene as its survey found it.
    """

    work: SceneWork

    @property
    def scene(self) -> str:
        """Id of the scene."""
        return self.work.ref.id


@dataclass(frozen=True, kw_only=True)
class _BlockTask(_SurveyedTask):
    """A step of one block."""

    block: int


@dataclass(frozen=True, kw_only=True)
class StageTask(_BlockTask):
    """Read a block's cell from the scene, scale it and store it."""

    step: ClassVar[Step] = "stage"


@dataclass(frozen=True, kw_only=True)
class InferTask(_BlockTask):
    """Score a block's tiles.

    Attributes:
        probe: tile index (z, i, j) to infer with no other and throw away, to find the tile that kills workers.
    """

    step: ClassVar[Step] = "infer"
    probe: TileIndex | None = None


@dataclass(frozen=True, kw_only=True)
class StitchTask(_BlockTask):
    """Add up what all blocks know of a cell."""

    step: ClassVar[Step] = "stitch"


@dataclass(frozen=True, kw_only=True)
class PublishTask(_SurveyedTask):
    """Write a scene's products.

    Attributes:
        unlike: pixels of the scene that lie far from the examples, by class.
    """

    step: ClassVar[Step] = "publish"
    block: ClassVar[int] = -1
    unlike: Tally = ()


StepTask = SurveyTask | StageTask | StitchTask | PublishTask
"""Tasks that need no model."""

Task = StepTask | InferTask


@dataclass(frozen=True)
class StepResult:
    """What staging or stitching a block returns.

    Attributes:
        seconds: wall time of the step.
    """

    seconds: float


@dataclass(frozen=True)
class InferResult(StepResult):
    """What inferring a block returns.

    Attributes:
        tiles: tiles inferred.
        skipped: tiles without a valid pixel.
        unlike: pixels that lie far from the examples, by class.
    """

    tiles: int
    skipped: int
    unlike: Tally = ()


@dataclass(frozen=True)
class Published:
    """What publishing a scene returns.

    Attributes:
        outputs: published files, relative to the output directory.
        seconds: wall time.
        measures: areas per class and share of valid pixels, as `run.json` carries them.
        warnings: what was noticed of the result.
        products: the same files by product.
        pictures: of the scene with its mask, for the report, by size; where the output lies in a bucket, as the worker
            may be on another node than who writes the report.
    """

    outputs: tuple[Path, ...]
    seconds: float
    measures: Mapping[str, Any]
    warnings: tuple[SceneWarning, ...] = ()
    products: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)


Result = SceneWork | StepResult | Published
"""What a step returns: `SceneWork` of a survey, `Published` of publishing, `StepResult` of a block's step."""


@dataclass(frozen=True)
class Finished:
    """A task ended well."""

    task: Task
    result: Result


@dataclass(frozen=True)
class Failed:
    """A task raised."""

    task: Task
    error: HdmError


@dataclass(frozen=True)
class Died:
    """A worker died or hung while running a task; `reason` is what is known of it."""

    task: Task
    reason: str


@dataclass(frozen=True)
class Lost:
    """A worker died while a task was waiting there; it was never started."""

    task: Task


Outcome = Finished | Failed | Died | Lost
"""What became of a task."""
