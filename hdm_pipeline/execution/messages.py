"""The small frozen values that go to workers and come back: never pixels, only windows, keys and receipts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from hdm_pipeline.config.schema import PipelineConfig, Range
from hdm_pipeline.contracts import ClassInfo, Provenance, SceneHeader, SceneRef
from hdm_pipeline.errors import HdmError
from hdm_pipeline.grid import Block, TileGrid
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.pixels.bands import BandPlan
from hdm_pipeline.planning.keys import SceneKeys

Step = Literal["survey", "stage", "infer", "stitch", "publish"]


@dataclass(frozen=True)
class RunContext:
    """What every step of a run needs to know.

    Attributes:
        config: the pipeline, with absolute paths.
        workspace: the output directory, shared by all workers.
        classes: the classes of the mask.
        provenance: stamped into products.
    """

    config: PipelineConfig
    workspace: Workspace
    classes: tuple[ClassInfo, ...]
    provenance: Provenance


@dataclass(frozen=True)
class SceneWork:
    """One scene as its survey found it.

    Attributes:
        header: of the scene.
        keys: what its work is filed under.
        grid: its tiles.
        bands: which bands are read and what is computed from them.
        ranges: (low, high) of each computed band that become 0 and 1.
    """

    header: SceneHeader
    keys: SceneKeys
    grid: TileGrid
    bands: BandPlan
    ranges: tuple[Range, ...]

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


@dataclass(frozen=True)
class Task:
    """One step to run.

    Attributes:
        step: which.
        scene: id of the scene.
        block: index of the block; -1 for steps of a whole scene.
        payload: SceneRef and keys for a survey, `SceneWork` for the others.
        attempt: how often a worker died over it before.
        probe: tile index (z, i, j) to infer alone and throw away, to find the tile that kills workers.
    """

    step: Step
    scene: str
    block: int
    payload: Any
    attempt: int = 0
    probe: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: the task.
        value: what the step returned.
        error: why it failed, where it raised.
        died: the worker died or hung while running it.
        lost: the worker died while the task was waiting there; it was never started.
        reason: what is known of a death.
    """

    task: Task
    value: Any = None
    error: HdmError | None = None
    died: bool = False
    lost: bool = False
    reason: str = ""


@dataclass(frozen=True)
class StepResult:
    """What a block's step returns.

    Attributes:
        seconds: wall time of the step.
        detail: JSON-able figures (tiles inferred, tiles skipped, ...).
    """

    seconds: float
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """What publishing a scene returns.

    Attributes:
        outputs: published files, relative to the output directory.
        seconds: wall time.
        measures: areas per class and share of valid pixels, as `run.json` carries them.
    """

    outputs: tuple[Path, ...]
    seconds: float
    measures: Mapping[str, Any]
