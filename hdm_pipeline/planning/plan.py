"""(configuration, scene headers) -> scenes, blocks, cost. Pure: no I/O, no clock.

`Pipeline.run` executes exactly what stands here: the keys decide what is already done, the grid what is cut where.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import SceneHeader
from hdm_pipeline.grid import TileGrid

_BYTES_STAGED = 2
"""Staged pixels are uint16."""

_PROCESS_BASE = 700 << 20
"""Resident bytes of a worker with torch and GDAL loaded, before the first block."""

_NETWORK_BYTES_PER_PIXEL = 1800
"""Bound on the activations of the small pyramid a pixel of a batch; measured at 512 x 512: 206 MB, 790 a pixel."""


def scene_grid(config: PipelineConfig, header: SceneHeader) -> TileGrid:
    """The tile grid of a scene, anchored at its origin."""
    return TileGrid(header.shape[1:], config.tiling.size, config.tiling.overlap)


@dataclass(frozen=True)
class ScenePlan:
    """What one scene takes.

    Attributes:
        id: the scene.
        shape: (band, z, y, x).
        tiles: tiles to infer.
        blocks: blocks they are grouped in.
        stage_bytes: bytes of staged pixels.
        done: the products are there already, for this very key.
        warnings: what the reader noticed.
    """

    id: str
    shape: tuple[int, int, int, int]
    tiles: int
    blocks: int
    stage_bytes: int
    done: bool = False
    warnings: tuple[str, ...] = ()


def plan_scene(config: PipelineConfig, header: SceneHeader, *, done: bool = False) -> ScenePlan:
    """Plan one scene from its header."""
    grid = scene_grid(config, header)
    return ScenePlan(
        id=header.ref.id,
        shape=header.shape,
        tiles=grid.tile_count,
        blocks=len(grid.blocks(config.tiling.block)),
        stage_bytes=len(config.input.bands) * math.prod(grid.size) * _BYTES_STAGED,
        done=done,
        warnings=header.warnings,
    )


def peak_memory(config: PipelineConfig) -> int:
    """Bound on the resident bytes of any one process of the run; does not depend on the scenes' size.

    A worker holds a block's staged pixels, its integer sums for each class, and the activations of one batch.
    """
    tiling, classes, bands = config.tiling, len(config.support.classes), len(config.input.bands)
    tile_pixels = tiling.size**2
    block_pixels = max(tiling.block, 1) * tile_pixels
    block = block_pixels * (bands * (_BYTES_STAGED + 2 * 4) + classes * (4 + 4 + 1 + 1))
    batch = config.execution.batch_size * tile_pixels * _NETWORK_BYTES_PER_PIXEL
    return _PROCESS_BASE + block + batch


@dataclass(frozen=True)
class Plan:
    """The whole run as it would be executed.

    Attributes:
        scenes: one entry per scene whose header was read.
        scenes_total: scenes in the archive; larger than `len(scenes)` where only a sample of headers was read.
        scenes_done: scenes whose products are there already.
        refused: scenes that cannot be processed, with the reason.
        skipped: things in the archive that are no scenes, with the reason.
        peak_memory: bytes, bound for any one process.
        seconds_per_tile: measured by earlier runs in this output directory; None before the first.
        warnings: of the configuration as a whole.
    """

    scenes: tuple[ScenePlan, ...]
    scenes_total: int
    scenes_done: int
    refused: tuple[tuple[str, str], ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    peak_memory: int = 0
    seconds_per_tile: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def sampled(self) -> bool:
        """Whether the totals are estimated from a sample of headers."""
        return len(self.scenes) + len(self.refused) + self.scenes_done < self.scenes_total

    def _estimate(self, values: Iterable[int]) -> int:
        total = sum(values)
        pending = [s for s in self.scenes if not s.done]
        if not self.sampled or not pending:
            return total
        unread = self.scenes_total - self.scenes_done - len(self.refused) - len(pending)
        return total + round(total / len(pending) * max(unread, 0))

    @property
    def tiles(self) -> int:
        """Tiles to infer, without what is done."""
        return self._estimate(s.tiles for s in self.scenes if not s.done)

    @property
    def blocks(self) -> int:
        """Blocks to work on, without what is done."""
        return self._estimate(s.blocks for s in self.scenes if not s.done)

    @property
    def stage_bytes(self) -> int:
        """Bytes to stage, without what is done."""
        return self._estimate(s.stage_bytes for s in self.scenes if not s.done)

    @property
    def seconds(self) -> float | None:
        """Estimated seconds of inference; None before anything was measured here."""
        return None if self.seconds_per_tile is None else self.seconds_per_tile * self.tiles
