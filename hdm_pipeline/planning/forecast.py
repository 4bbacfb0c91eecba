"""What a plan costs: tiles, blocks, bytes, memory and time, from the headers of its scenes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, SceneHeader
from hdm_pipeline.errors import BandError, HdmError
from hdm_pipeline.grid import TileGrid
from hdm_pipeline.pixels.bands import resolve
from hdm_pipeline.pixels.sanity import noted
from hdm_pipeline.planning import uncertainty
from hdm_pipeline.planning.plan import Plan
from hdm_pipeline.plugin.registry import make_writer

HEADER_LIMIT = 1000
"""Headers that are read; of a larger archive an even sample is, and the rest is estimated."""

_BYTES_STAGED = 2
"""Staged pixels are uint16."""

_PROCESS_BASE = 700 << 20
"""Resident bytes of a worker with torch and GDAL loaded, before the first block."""

_NETWORK_BYTES_PER_PIXEL = 1800
"""Bound on the activations of a pyramid a pixel of a batch; measured at 512 x 512: 790 (small), 765 (pretrained),
1,560 where the pretrained backbone sees the image twice enlarged, for examples of up to 352 pixels a side."""


_PREPARATION = 1400 << 20
"""Bound on the resident bytes of the process that prepares the examples, which remembers features of up to 2 Mpx;
measured: five examples of 512 x 512 1,000 MiB, ten of 1024 x 1024 1,320 MiB. Larger ones take more: four of 2048 x 2048
took 1,890 MiB."""

_BAND_BYTES_PER_PIXEL = 64
"""Bound on what each band after the third takes of a pixel of a batch: staged, as float32, stacked, the next batch read
ahead, and the evidence of all bands."""


def scene_grid(config: PipelineConfig, header: SceneHeader) -> TileGrid:
    """The tile grid of a scene, anchored at its origin."""
    return TileGrid(header.shape[1:], config.tiling.size, config.tiling.overlap)


@dataclass(frozen=True)
class SceneCost:
    """What one scene takes.

    Attributes:
        id: the scene.
        shape: (band, z, y, x).
        tiles: tiles to infer.
        blocks: blocks they are grouped in.
        stage_bytes: bytes of staged pixels.
        warnings: what the reader noticed.
    """

    id: str
    shape: tuple[int, int, int, int]
    tiles: int
    blocks: int
    stage_bytes: int
    warnings: tuple[str, ...] = ()


def scene_cost(config: PipelineConfig, header: SceneHeader) -> SceneCost:
    """What a scene takes, from its header."""
    grid = scene_grid(config, header)
    return SceneCost(
        id=header.ref.id,
        shape=header.shape,
        tiles=grid.tile_count,
        blocks=len(grid.blocks(config.tiling.block)),
        stage_bytes=len(config.input.bands) * math.prod(grid.size) * _BYTES_STAGED,
        warnings=tuple(warning.what for warning in noted(header.warnings)),
    )


def peak_memory(config: PipelineConfig) -> int:
    """Bound on the resident bytes of any one process of the run; does not depend on the scenes' size.

    A worker holds a block's staged pixels, its integer sums for each class (and for each one's uncertainty where that
    is asked for), and the activations of one batch. The process that prepares the examples holds their features
    instead: the bound is for examples of ten million pixels together.
    """
    tiling, bands = config.tiling, len(config.input.bands)
    maps = len(config.support.classes) * (2 if uncertainty.asked(config) else 1)
    tile_pixels = tiling.size**2
    block_pixels = max(tiling.block, 1) * tile_pixels
    block = block_pixels * (bands * (_BYTES_STAGED + 2 * 4) + maps * (4 + 4 + 1 + 1))
    batch = config.execution.batch_size * tile_pixels * _NETWORK_BYTES_PER_PIXEL
    more = config.execution.batch_size * tile_pixels * max(0, bands - 3) * _BAND_BYTES_PER_PIXEL
    return max(_PROCESS_BASE + block + batch + more, _PREPARATION)


@dataclass(frozen=True)
class PlannedSend:
    """What a peer of `output.send` is to get.

    Attributes:
        to: its address.
        products: that it is to get.
        owed: scenes that are done, and of which it lacks something.
        to_come: scenes to be done first.
    """

    to: str
    products: tuple[str, ...]
    owed: int
    to_come: int


@dataclass(frozen=True)
class Forecast:
    """A plan and what it costs.

    Attributes:
        plan: what would be done.
        scenes: one entry for each scene to be done whose header was read.
        refused: scenes that cannot be processed, with the reason: quarantined before, or their header is not readable.
        peak_memory: bytes, bound for any one process.
        seconds_per_tile: measured by earlier runs in this output directory; None before the first.
        sends: who gets what, by peer of `output.send`.
    """

    plan: Plan
    scenes: tuple[SceneCost, ...]
    refused: tuple[tuple[str, str], ...]
    peak_memory: int
    seconds_per_tile: float | None
    sends: tuple[PlannedSend, ...] = ()

    @property
    def scenes_total(self) -> int:
        """Scenes in the archive; a remote entry that is known to hold several counts as these."""
        return len(self.plan.done) + len(self.plan.quarantined) + len(self.plan.scenes)

    @property
    def private(self) -> bool:
        """Whether the archive may show patients."""
        return any(ref.private for ref in self.plan.archive.scenes)

    @property
    def remote(self) -> int:
        """Scenes to be done that are fetched first: nothing is known of their size."""
        return sum(ref.remote for ref in self.plan.scenes)

    @property
    def scenes_done(self) -> int:
        """Scenes whose products are there already."""
        return len(self.plan.done)

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Things in the archive that are no scenes, with the reason."""
        return tuple((skipped.uri, skipped.reason) for skipped in self.plan.archive.skipped)

    @property
    def _unread(self) -> int:
        """Scenes to be done of which no header was read."""
        refused_now = len(self.refused) - len(self.plan.quarantined)
        return len(self.plan.scenes) - self.remote - refused_now - len(self.scenes)

    @property
    def sampled(self) -> bool:
        """Whether the totals are estimated from a sample of headers."""
        return self._unread > 0

    def _estimate(self, values: Iterable[int]) -> int:
        total = sum(values)
        return total + round(total / len(self.scenes) * self._unread) if self.scenes else total

    @property
    def tiles(self) -> int:
        """Tiles to infer, without what is done."""
        return self._estimate(s.tiles for s in self.scenes)

    @property
    def blocks(self) -> int:
        """Blocks to work on, without what is done."""
        return self._estimate(s.blocks for s in self.scenes)

    @property
    def stage_bytes(self) -> int:
        """Bytes to stage, without what is done."""
        return self._estimate(s.stage_bytes for s in self.scenes)

    @property
    def seconds(self) -> float | None:
        """Estimated seconds of inference; None before anything was measured here."""
        return None if self.seconds_per_tile is None else self.seconds_per_tile * self.tiles

    @property
    def unknown(self) -> bool:
        """Whether nothing is known of what the work costs: all of it is fetched first."""
        return self.remote > 0 and not self.scenes

    def _costs(self) -> dict[str, Any]:
        return {
            "tiles": self.tiles,
            "blocks": self.blocks,
            "stage_bytes": self.stage_bytes,
            "seconds": self.seconds,
        }

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, as `plan --json` prints it; costs that nobody knows yet are None."""
        return {
            "scenes": [asdict(scene) for scene in self.scenes],
            "scenes_total": self.scenes_total,
            "scenes_done": self.scenes_done,
            "scenes_remote": self.remote,
            "remote": [{"id": ref.id, "about": ref.about} for ref in self.plan.scenes if ref.remote],
            "send": [asdict(peer) for peer in self.sends],
            "quiet": self.plan.archive.quiet,
            "refused": self.refused,
            "skipped": self.skipped,
            "peak_memory": self.peak_memory,
            "seconds_per_tile": self.seconds_per_tile,
            **dict.fromkeys(("tiles", "blocks", "stage_bytes", "seconds"), None),
            **(self._costs() if not self.unknown else {}),
        }


def forecast(
    config: PipelineConfig,
    plan: Plan,
    reader: Reader,
    seconds_per_tile: float | None,
    header_limit: int = HEADER_LIMIT,
) -> Forecast:
    """Read headers of the scenes to be done and add up what they take.

    Args:
        config: the pipeline.
        plan: what is to be done.
        reader: of the archive.
        seconds_per_tile: measured by earlier runs, or None.
        header_limit: headers to read at most.

    Raises:
        BandError: there are scenes, and none has the bands that are asked for.
    """
    here = [ref for ref in plan.scenes if not ref.remote]
    step = max(1, -(-len(here) // header_limit))
    costs: list[SceneCost] = []
    refused = [(scene, str(error.get("what", ""))) for scene, error in plan.quarantined.items()]
    lacking: list[BandError] = []
    writers = [make_writer(name, options) for name, options in config.output.product_options().items()]
    for ref in here[::step]:
        try:
            header = reader.header(ref)
            resolve(config.input.bands, header.bands)
            for writer in writers:
                writer.check_scene(header)
            costs.append(scene_cost(config, header))
        except HdmError as error:
            if error.scope == "run":
                raise
            refused.append((ref.id, error.what))
            if isinstance(error, BandError):
                lacking.append(BandError(error.what, where=ref.shown, remedy=error.remedy))
    if lacking and not costs and not plan.done:
        raise lacking[0]  # a slip in the pipeline file, not a scene that is odd
    return Forecast(plan, tuple(costs), tuple(refused), peak_memory(config), seconds_per_tile)
