"""Publishing a scene (COG, polygons, picture) against `rio cogeo create` of the same mask alone.

    python -m benchmarks.bench_publish [--side 4096] [--repeats 3] [--regions 400] [--json FILE]

A score store of `side` pixels is filled with fields of smooth scores, of a scene that has overviews, as most have
(without them the picture alone takes decoding the whole scene once more). The step `publish` then measures it and
writes the products `mask`, `polygons` and `quicklook`. rio-cogeo makes a COG of the same mask, from a plain tiled
GeoTIFF that is there already. Both run in turn in one process, with one thread; CPU seconds count. What each product
costs alone is told, too: with it goes what every run measures.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyogrio
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import Window as RasterWindow
from rio_cogeo import cog_profiles, cog_translate

from benchmarks._scenes import write_pipeline, write_scene, write_support
from benchmarks._table import Row, alternate, arguments, at_most, median, show
from hdm_pipeline.contracts import Provenance, RasterGeometry, SceneRef
from hdm_pipeline.execution import steps
from hdm_pipeline.execution.messages import RunContext
from hdm_pipeline.grid import Window
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.planning.keys import SceneKeys
from hdm_pipeline.planning.validation import class_infos
from hdm_pipeline.plugin.registry import make_reader
from hdm_pipeline.stitch import BlockScores, strip_shapes

MOST = 1.5
PRODUCTS: dict[str, list[str]] = {
    "mask + polygons + quicklook": ["mask", "polygons", "quicklook"],
    "mask": ["mask"],
    "polygons": ["polygons"],
    "quicklook": ["quicklook"],
}


def field(side: int, y: int, x: int, height: int, width: int, step: float) -> npt.NDArray[np.uint8]:
    """Smooth scores of a window: noise on a lattice of `step` pixels."""
    count = int(side / step) + 2
    noise = np.random.default_rng(0).standard_normal((count, count), dtype=np.float32)
    down, across = np.arange(y, y + height) / step, np.arange(x, x + width) / step
    row, column = down.astype(int), across.astype(int)
    low, left = (down - row).astype(np.float32)[:, None], (across - column).astype(np.float32)[None]
    rows = noise[row] * (1 - low) + noise[row + 1] * low
    values = rows[:, column] * (1 - left) + rows[:, column + 1] * left
    return np.asarray(np.clip(128 + 110 * (values - 0.9), 0, 255), dtype=np.uint8)


class Scene:
    """A scene whose scores are final, to be published again and again.

    Args:
        folder: for the scene, its stores and products.
        side: of the scene in pixels, a multiple of 256.
        regions: about so many polygons.
    """

    def __init__(self, folder: Path, side: int, regions: int) -> None:
        scene = write_scene(folder / "scenes" / "scene.tif", side)
        with rasterio.open(scene, "r+") as file:
            file.build_overviews([2**level for level in range(1, 6)], Resampling.average)
        write_support(folder)
        # Without overlap a block's scores are final as they come: this is about publishing, not about stitching.
        pipeline = write_pipeline(folder, "out", "builtin:pyramid", tiling={"size": 256, "overlap": 0})
        self.config = Pipeline.from_yaml(pipeline).config
        workspace = Workspace(Path(self.config.output.directory))
        workspace.create()
        made = Provenance("0", "pipeline", "weights", "support", 0.5, "none")
        self.context = RunContext(self.config, workspace, class_infos(self.config), made)
        (ref,) = make_reader("geotiff", {}).discover(str(folder / "scenes"))
        if not isinstance(ref, SceneRef):
            raise SystemExit(f"the scene was left out: {ref}")
        self.work = steps.survey(self.context, ref, SceneKeys("stage", "score", "product"))
        self._fill(side, max(8.0, (side * side / regions / 9.0) ** 0.5))

    def _fill(self, side: int, step: float) -> None:
        store = steps.open_scores(self.context, self.work)
        for block in self.work.blocks(self.context):
            cell = self.work.grid.cell(block)
            scores = field(side, cell.y, cell.x, cell.height, cell.width, step)
            strips = (np.empty(shape, np.uint32) for shape in strip_shapes(self.work.grid, block, 1))
            valid = np.ones((1, *scores.shape), dtype=np.bool_)
            store.write_block(BlockScores(block, scores[None, None], *strips), valid)

    def publish(self, products: Sequence[str]) -> None:
        """What a worker does for a scene when all its blocks are stitched."""
        output = self.config.output.model_copy(update={"products": list(products)})
        config = self.config.model_copy(update={"output": output})
        steps.publish(replace(self.context, config=config), self.work, (None,))

    def plain_mask(self, path: Path) -> None:
        """The mask as a plain GeoTIFF, as other tools leave it."""
        mask = steps.open_scores(self.context, self.work).mask_source(0.5)
        _, _, height, width = self.work.header.shape
        geometry = self.work.header.geometry
        if not isinstance(geometry, RasterGeometry):
            raise SystemExit("the scene is no raster")
        layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "nodata": 255, "crs": geometry.crs_wkt}
        place = rasterio.Affine(*geometry.transform)
        profile = {
            "driver": "GTiff",
            "count": 1,
            "dtype": "uint8",
            "height": height,
            "width": width,
            "transform": place,
        }
        with rasterio.open(path, "w", **profile, **layout) as target:
            for y in range(0, height, 512):
                window = Window(z=0, y=y, x=0, height=min(512, height - y), width=width)
                target.write(mask.read(window), window=RasterWindow(0, y, width, window.height))


def rio_cogeo(plain: Path, path: Path) -> None:
    """As the command does it by default, in one thread; the overviews of a mask are of the nearest pixel."""
    profile = cog_profiles.get("deflate")
    cog_translate(plain, path, profile, in_memory=False, overview_resampling="nearest", quiet=True)


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=4096, help="rows and columns of the scene, a multiple of 256")
    parser.add_argument("--regions", type=int, default=400, help="about so many polygons")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = Scene(folder, options.side, options.regions)
        plain = folder / "plain.tif"
        scene.plain_mask(plain)
        calls = [lambda: rio_cogeo(plain, folder / "cog.tif")]
        calls += [lambda chosen=chosen: scene.publish(chosen) for chosen in PRODUCTS.values()]
        alone, *ours = map(median, alternate(options.repeats, *calls))
        (made,) = Path(scene.config.output.directory).rglob("polygons.gpkg")
        rows = [Row("polygons", pyogrio.read_info(made)["features"], "")]
        rows.append(Row("rio cogeo create", alone, "CPU s"))
        rows += [Row(f"publish {what}", seconds, "CPU s") for what, seconds in zip(PRODUCTS, ours, strict=True)]
        rows.append(at_most("publish mask + polygons + quicklook over rio cogeo create", ours[0] / alone, "x", MOST))
    return show(f"publishing {options.side} x {options.side} pixels", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
