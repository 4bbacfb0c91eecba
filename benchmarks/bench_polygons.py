"""Polygons of a large mask: time and memory against GDAL's `gdal_polygonize.py`, on the same raster, in one run.

    python -m benchmarks.bench_polygons [--side 16384] [--regions 100000] [--repeats 1] [--json FILE]

Each is a process of its own and writes a GeoPackage. The raster's nodata value is 0, so that both make polygons of the
class only. The plug-in reads the raster through rasterio, adds up scores as well, and measures areas on the ellipsoid;
GDAL does neither. Seconds are those of the CPU, user and system. *Peak* is the mark of the whole process. *Working
memory* is the peak less what the process had when its libraries were loaded and it had written the polygons of a mask
of 64 x 64 pixels (for GDAL: the peak on such a mask). Python with numpy, scipy, GDAL, GEOS and PROJ holds more memory
than a tenth of GDAL's peak before it begins, so the bound is for the working memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window as RasterWindow

from benchmarks._table import Row, arguments, at_most, median, show
from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import ClassInfo, Product, Provenance
from hdm_pipeline.grid import Window

MOST_TIME = 1.2
MOST_MEMORY = 0.1
_BLOCK = 1024


class Raster:
    """A mask in a file, or scores made of it, as a `contracts.PixelSource`."""

    def __init__(self, path: Path, factor: int) -> None:
        self._file = rasterio.open(path)
        self._factor = factor
        self.shape = (1, 1, self._file.height, self._file.width)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[1, height, width] uint8."""
        pixels = self._file.read(window=RasterWindow(window.x, window.y, window.width, window.height))
        return np.asarray(pixels * np.uint8(self._factor))


def field(side: int, top: int, bottom: int, step: float) -> npt.NDArray[np.uint8]:
    """Rows of a mask: smooth noise with a lattice of `step` pixels, above a threshold."""
    count = int(side / step) + 2
    noise = np.random.default_rng(0).standard_normal((count, count), dtype=np.float32)
    y, x = np.arange(top, bottom) / step, np.arange(side) / step
    row, column = y.astype(int), x.astype(int)
    down, across = (y - row).astype(np.float32)[:, None], (x - column).astype(np.float32)[None]
    rows = noise[row] * (1 - down) + noise[row + 1] * down
    return (rows[:, column] * (1 - across) + rows[:, column + 1] * across > 0.9).astype(np.uint8)


def make(path: Path, side: int, regions: int) -> None:
    step = max(2.0, (side * side / regions / 9.0) ** 0.5)
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 5_800_000)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 0, "crs": "EPSG:32633", "transform": place}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(path, "w", height=side, width=side, **profile, **layout) as target:
        for top in range(0, side, 512):
            pixels = field(side, top, min(top + 512, side), step)
            target.write(pixels[None], window=RasterWindow(0, top, side, pixels.shape[0]))


def write(raster: Path, target: Path) -> None:
    # What a run reads are its own score files: GDAL's cache of the raster, 5 % of the machine by default, is not ours.
    with rasterio.Env(GDAL_CACHEMAX=32):
        _write(raster, target)


def _write(raster: Path, target: Path) -> None:
    reader = GeoTiffReader()
    header = reader.header(next(iter(reader.discover(str(raster)))))
    made = Provenance("0", "a", "b", "c", 0.5, "none")
    classes = (ClassInfo(1, "water"),)
    product = Product(header, classes, Raster(raster, 1), Raster(raster, 200), (_BLOCK, _BLOCK), made)
    PolygonWriter().write(product, target)


def high_water() -> float:
    """Peak memory of this process so far in MiB; not getrusage: its mark is inherited from the parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def child(raster: Path, tiny: Path) -> None:
    write(tiny, tiny.with_name("warm.gpkg"))
    before = high_water()
    write(raster, raster.with_name("ours.gpkg"))
    print(before, high_water())


def timed(command: Sequence[str], **environment: str) -> tuple[float, float, str]:
    """CPU seconds and peak MiB of a command, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # `time -v` starts the command from a small process, so that its mark is its own.
    line = ["/usr/bin/time", "-f", "%M", *command]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(done.stderr.split()[-1]) / 1024, done.stdout


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=16384)
    parser.add_argument("--regions", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--child", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return 0
    gdal = shutil.which("gdal_polygonize.py", path="/usr/bin")
    if gdal is None:
        raise SystemExit("gdal_polygonize.py is not installed: apt install gdal-bin python3-gdal")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raster, tiny = folder / "mask.tif", folder / "tiny.tif"
        make(raster, options.side, options.regions)
        make(tiny, 64, 20)
        few = timed([gdal, str(tiny), "-q", "-f", "GPKG", str(folder / "tiny.gpkg")], PATH="/usr/bin:/bin")[1]
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(options.repeats):
            (folder / "gdal.gpkg").unlink(missing_ok=True)
            theirs, peak, _ = timed([gdal, str(raster), "-q", "-f", "GPKG", str(folder / "gdal.gpkg")], PATH="/usr/bin")
            command = [sys.executable, "-m", "benchmarks.bench_polygons", "--child", str(raster), str(tiny)]
            ours, own_peak, told = timed(command)
            seconds[0].append(theirs)
            seconds[1].append(ours)
        start, _ = map(float, told.split())
        import pyogrio

        counts = [pyogrio.read_info(folder / file)["features"] for file in ("gdal.gpkg", "ours.gpkg")]
    if counts[0] != counts[1]:
        raise SystemExit(f"GDAL found {counts[0]} regions, the plug-in {counts[1]}")
    gdal_seconds, our_seconds = map(median, seconds)
    rows = [
        Row("regions", counts[0], ""),
        Row("gdal_polygonize.py", gdal_seconds, "CPU s"),
        Row("product polygons", our_seconds, "CPU s"),
        at_most("time over gdal_polygonize.py", our_seconds / gdal_seconds, "x", MOST_TIME),
        Row("gdal_polygonize.py, peak", peak, "MiB"),
        Row("gdal_polygonize.py, working memory", peak - few, "MiB"),
        Row("product polygons, peak", own_peak, "MiB"),
        Row("product polygons, before the mask", start, "MiB"),
        Row("product polygons, working memory", own_peak - start, "MiB"),
        at_most("working memory over gdal_polygonize.py's peak", (own_peak - start) / peak, "x", MOST_MEMORY),
    ]
    return show(f"polygons of {options.side} x {options.side} pixels", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
