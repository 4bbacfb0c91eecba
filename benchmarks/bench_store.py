"""Staging against bare rasterio, the stores' own rates, and what a tiny scene costs.

    python benchmarks/bench_store.py [--side 4096] [--repeats 5] [--json FILE]

Staging is what a worker does for a block: open the file by the GeoTIFF reader, read the block's cell, scale, encode,
write. Bare rasterio opens the file and reads the same window. Both run in turn in one process; CPU seconds count.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from _table import Row, alternate, arguments, at_least, at_most, median, show
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.config.schema import Range
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.grid import TileGrid, Window
from hdm_pipeline.pixels.scaling import decode_pixels, encode_pixels
from hdm_pipeline.stitch import BlockAccumulator
from hdm_pipeline.store.scene import ImageStore, ScoreStore

RANGES: tuple[Range, ...] = ((-25.0, 0.0), (-32.0, -5.0))
LEAST_STAGING = {"deflate": 0.8, "lzw": 0.7, "no compression": 0.5}
"""Of bare rasterio's rate. Without compression, reading is a copy from the page cache, and storing is one more."""

MOST_TINY = 5.0
"""Milliseconds that the stores may cost a scene of one block, of the 20 that the whole run may."""


def make_scene(path: Path, side: int, **profile: object) -> None:
    """Two bands of smooth land and speckle in dB, float32, as a satellite product is."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    land = -10 + 5 * np.sin(x / 97) * np.cos(y / 71)
    profile = {"driver": "GTiff", "count": 2, "height": side, "width": side, "dtype": "float32", **profile}
    with rasterio.open(path, "w", nodata=-9999.0, **profile) as file:
        for band in (1, 2):
            speckle = 10 * np.log10(rng.gamma(4.4, 1 / 4.4, (side, side)).astype(np.float32) + 1e-3)
            pixels = land - 6 * (band - 1) + speckle
            pixels[:100] = -9999.0
            file.write(np.round(pixels, 2), band)


def staging(folder: Path, side: int, repeats: int) -> list[Row]:
    rows = []
    grid = TileGrid((1, side, side), 512, 64)
    blocks = grid.blocks(16)
    layouts = {
        "deflate": {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 3},
        "lzw": {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "lzw"},
        "no compression": {"tiled": True, "blockxsize": 512, "blockysize": 512},
    }
    for name, profile in layouts.items():
        path = folder / f"{name}.tif"
        make_scene(path, side, **profile)
        reader = GeoTiffReader()
        ref = next(found for found in reader.discover(str(path)) if isinstance(found, SceneRef))
        place = folder / f"stage-{name}"
        # A worker writes new files, so each repeat has a store of its own.
        stores = iter([ImageStore.create(place / str(n), 2, grid, blocks) for n in range(repeats)])

        def bare(path: Path = path) -> None:
            for block in blocks:
                cell = grid.cell(block)
                with rasterio.open(path) as file:
                    file.read(window=RasterWindow(cell.x, cell.y, cell.width, cell.height))

        def stage(reader: GeoTiffReader = reader, ref: SceneRef = ref, stores: Iterator[ImageStore] = stores) -> None:
            store = next(stores)
            for block in blocks:
                with reader.open(ref) as source:
                    pixels, valid = source.read(grid.cell(block), (0, 1))
                store.write_cell(block, [encode_pixels(pixels, valid, RANGES)])

        reading, whole = alternate(repeats, bare, stage)
        shutil.rmtree(place)
        rows.append(Row(f"bare rasterio, {name}", side**2 / median(reading) / 1e6, "Mpx/s"))
        ratio = median([a / b for a, b in zip(reading, whole, strict=True)])
        rows.append(at_least(f"staging over bare rasterio, {name}", ratio, "", LEAST_STAGING[name]))
    return rows


def rates(folder: Path, side: int, repeats: int) -> list[Row]:
    grid = TileGrid((1, side, side), 512, 64)
    blocks = grid.blocks(16)
    pixels = np.random.default_rng(1).random((2, side, side), dtype=np.float32)
    valid = pixels[0] > 0.05
    staged = encode_pixels(pixels, valid)
    images = ImageStore.create(folder / "image", 2, grid, blocks)
    scores = ScoreStore.create(folder / "score", 1, grid, blocks)
    parts = []
    for block in blocks:
        accumulator = BlockAccumulator(grid, block, 1)
        for z, i, j in grid.tiles(block):
            accumulator.add((z, i, j), (staged[:1, :512, :512] >> 8).astype(np.uint8))
        parts.append(accumulator.finish())

    def write() -> None:
        for block in blocks:
            cell = grid.cell(block)
            images.write_cell(block, [staged[:, cell.y : cell.bottom, cell.x : cell.right]])

    def read_tiles() -> None:
        for block in blocks:
            for tile in grid.tiles(block):
                decode_pixels(images.read(grid.tile_window(*tile)))

    def write_scores() -> None:
        for block, part in zip(blocks, parts, strict=True):
            cell = grid.cell(block)
            scores.write_block(part, valid[None, cell.y : cell.bottom, cell.x : cell.right])

    def finish() -> None:
        for block in blocks:
            scores.finish(block)

    def read_mask() -> None:
        mask = scores.mask_source(0.5)
        for y in range(0, side, 512):
            mask.read(Window(z=0, y=y, x=0, height=min(512, side - y), width=side))

    names = (
        "write pixels, 2 bands",
        "read and decode tiles, 2 bands",
        "write scores",
        "merge scores",
        "read mask by rows",
    )
    calls = (write, read_tiles, write_scores, finish, read_mask)
    seconds = alternate(repeats, lambda: encode_pixels(pixels, valid), *calls)
    return [
        Row(name, side**2 / median(times) / 1e6, "Mpx/s")
        for name, times in zip(("encode pixels, 2 bands", *names), seconds, strict=True)
    ]


def tiny_scene(folder: Path, repeats: int) -> list[Row]:
    """Everything the stores do for a scene of one small tile."""
    grid = TileGrid((1, 256, 256), 512, 64)
    (block,) = blocks = grid.blocks(16)
    pixels = np.random.default_rng(2).integers(0, 65536, (2, 256, 256), dtype=np.uint16)
    accumulator = BlockAccumulator(grid, block, 1)
    accumulator.add((0, 0, 0), np.random.default_rng(3).integers(0, 256, (1, 512, 512), dtype=np.uint8))
    parts = accumulator.finish()

    def scene() -> None:
        stage, score = folder / "tiny-stage", folder / "tiny-score"
        ImageStore.create(stage, 2, grid, blocks)
        ScoreStore.create(score, 1, grid, blocks)
        ImageStore.open(stage).write_cell(block, [pixels])
        images = ImageStore.open(stage)
        images.read(grid.tile_window(0, 0, 0))
        ScoreStore.open(score).write_block(parts, images.read_valid(block))
        ScoreStore.open(score).finish(block)
        scores = ScoreStore.open(score)
        scores.mask_source(0.5).read(Window(z=0, y=0, x=0, height=256, width=256))
        scores.drop_partials()
        shutil.rmtree(stage)
        shutil.rmtree(score)

    (seconds,) = alternate(20 * repeats, scene)
    return [at_most("stores of a scene of one block", median(seconds) * 1e3, "ms", MOST_TINY)]


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=4096, help="side of the scene in pixels")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            *staging(folder, options.side, options.repeats),
            *rates(folder, options.side, options.repeats),
            *tiny_scene(folder, options.repeats),
        ]
    return show("Stores, CPU seconds of all threads", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
