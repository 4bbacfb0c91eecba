"""Staging of a scene whose bands lie in files of their own, against the same pixels in one file.

    python -m benchmarks.bench_bands [--side 4096] [--repeats 5] [--json FILE]

Staging is what a worker does for a block: open the scene by the GeoTIFF reader, read the block's cell, scale, encode,
write. All ways run in turn in one process; CPU seconds count. Peak memory is that of a process of its own for each.
A band of half the resolution is bilinearly resampled: that is work which one file has not, and has no bound.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from benchmarks._table import Row, alternate, arguments, at_most, median, show
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.config.schema import Range
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.execution.malloc import give_back, keep_freed
from hdm_pipeline.grid import TileGrid
from hdm_pipeline.pixels.scaling import encode_pixels
from hdm_pipeline.store.scene import ImageStore

BANDS = ("B02", "B03", "B04")
RANGES: tuple[Range, ...] = ((0.0, 4000.0),) * len(BANDS)
MOST = 1.1
"""Of one file's time, and of its memory."""

WAYS = ("one file", "one file, by band", "separate files", "separate files, one of 20 m")


def make_scenes(folder: Path, side: int) -> None:
    """The same reflectances in each way."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    land = 1200 + 700 * np.sin(x / 97) * np.cos(y / 71)
    pixels = np.stack([land + 300 * band + rng.normal(0, 40, land.shape) for band in range(3)]).astype(np.uint16)
    pixels[:, :100] = 0
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": "uint16", "nodata": 0, "crs": "EPSG:32633"}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2, "zlevel": 6}
    place = Affine(10, 0, 500_000, 0, -10, 5_800_000)

    def write(path: Path, bands: np.ndarray, **more: Any) -> None:
        path.parent.mkdir(exist_ok=True)
        size = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
        with rasterio.open(path, "w", **{**profile, **size, "transform": place, **more}) as file:
            file.write(bands)

    write(folder / WAYS[0] / "a.tif", pixels, interleave="pixel")
    write(folder / WAYS[1] / "a.tif", pixels, interleave="band")
    for name, band in zip(BANDS, pixels, strict=True):
        write(folder / WAYS[2] / f"a_{name}.tif", band[None])
        if name == BANDS[-1]:
            band, more = band[::2, ::2], {"transform": place * Affine.scale(2)}
        else:
            more = {}
        write(folder / WAYS[3] / f"a_{name}.tif", band[None], **more)


def stage(folder: Path, way: str, store: Path) -> None:
    """Stage all blocks of a scene."""
    options = {"bands": {name: f"*_{name}.tif" for name in BANDS}} if "separate" in way else {}
    reader = GeoTiffReader({**options, "asked": ["1", "2", "3"]})
    (ref,) = (found for found in reader.discover(str(folder / way)) if isinstance(found, SceneRef))
    _, _, height, width = reader.header(ref).shape
    grid = TileGrid((1, height, width), 512, 64)
    blocks = grid.blocks(16)
    images = ImageStore.open(store) if store.exists() else ImageStore.create(store, len(BANDS), grid, blocks)
    for block in blocks:
        with reader.open(ref) as source:
            pixels, valid = source.read(grid.cell(block), range(len(BANDS)))
        images.write_cell(block, [encode_pixels(pixels, valid, RANGES)])
        give_back()


def peak_mib(folder: Path, way: str) -> float:
    """Peak memory of a process that stages a scene and does nothing else."""
    command = [sys.executable, "-m", "benchmarks.bench_bands", "--child", way, "--folder", str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(folder: Path, way: str) -> None:
    """Stage a scene, and print the process's peak memory in MiB."""
    keep_freed()
    stage(folder, way, folder / f"peak {way}")
    # Not getrusage: its mark is inherited from the parent.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(line.split()[1]) / 1024)


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.folder, options.child)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_scenes(folder, options.side)
        calls: list[Callable[[], object]] = [partial(stage, folder, way, folder / f"stage {way}") for way in WAYS]
        seconds = alternate(options.repeats, *calls)
        peaks = [peak_mib(folder, way) for way in WAYS]
    rows = [
        Row(f"staging, {way}", options.side**2 / median(one) / 1e6, "Mpx/s")
        for way, one in zip(WAYS, seconds, strict=True)
    ]
    rows += [Row(f"peak, {way}", peak, "MiB") for way, peak in zip(WAYS, peaks, strict=True)]
    for other in (0, 1):
        times = [separate / one for separate, one in zip(seconds[2], seconds[other], strict=True)]
        rows.append(at_most(f"time of separate files over {WAYS[other]}", median(times), "x", MOST))
        rows.append(at_most(f"peak of separate files over {WAYS[other]}", peaks[2] / peaks[other], "x", MOST))
    rows.append(Row("time with one band of 20 m over one file", median(seconds[3]) / median(seconds[0]), "x"))
    rows.append(Row("peak with one band of 20 m over one file", peaks[3] / peaks[0], "x"))
    return show("staging of bands in separate files, CPU seconds", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
