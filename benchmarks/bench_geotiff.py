"""GeoTIFF plug-in against bare rasterio and rio-cogeo, in one run on one machine; the figures that count are ratios.

    python benchmarks/bench_geotiff.py [--side 8192] [--repeats 5] [--json FILE]

Reading: the same windows of the same file by `GeoTiffReader` (validity, float32) and by `rasterio` alone (pixels only).
Writing: the same mask by `MaskWriter` and by the `rio cogeo create` command's function on the array's plain GeoTIFF.
Memory: peak of a fresh process that reads, or writes, a scene by windows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window as RasterWindow
from rio_cogeo import cog_profiles, cog_translate

from hdm_geotiff.environment import gdal_environment
from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.writer import MaskWriter
from hdm_pipeline.contracts import ClassInfo, PixelSource, Product, Provenance, SceneHeader
from hdm_pipeline.grid import Window
from hdm_pipeline.landscape import Landscape

BLOCK = 1024


class ArraySource:
    """A `PixelSource` over an array [bands, y, x]; arrays smaller than the scene repeat."""

    def __init__(self, array: npt.NDArray[np.uint8], shape: tuple[int, int, int, int]) -> None:
        self.shape = shape
        self._array = array

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """Cut a window; windows start at multiples of the block and do not cross the array's edge."""
        y, x = window.y % self._array.shape[1], window.x % self._array.shape[2]
        return self._array[:, y : y + window.height, x : x + window.width]


def windows(height: int, width: int) -> Iterator[Window]:
    for y in range(0, height, BLOCK):
        for x in range(0, width, BLOCK):
            yield Window(0, y, x, min(BLOCK, height - y), min(BLOCK, width - x))


def make_scene(path: Path, side: int) -> None:
    """A two-band scene as satellites deliver them, and its nodata value."""
    pattern = Landscape((7, 99), BLOCK, BLOCK).view(0, 0, BLOCK, BLOCK).backscatter
    profile = {"driver": "GTiff", "count": 2, "dtype": "float32", "nodata": -9999.0, "crs": "EPSG:32633"}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 3, "zlevel": 1}
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_800_000)
    with rasterio.open(path, "w", height=side, width=side, transform=transform, **profile, **layout) as target:
        for w in windows(side, side):
            target.write(pattern[:, : w.height, : w.width], window=RasterWindow(w.x, w.y, w.width, w.height))


def read_bare(path: Path) -> None:
    with gdal_environment(), rasterio.open(path) as dataset:
        for w in windows(dataset.height, dataset.width):
            dataset.read([1, 2], window=RasterWindow(w.x, w.y, w.width, w.height))


def read_plugin(path: Path) -> None:
    reader = GeoTiffReader()
    ref = next(iter(reader.discover(str(path))))
    with reader.open(ref) as source:
        _, _, height, width = source.header.shape
        for w in windows(height, width):
            source.read(w, (0, 1))


def mask_of(side: int) -> npt.NDArray[np.uint8]:
    water = Landscape((7, 98), BLOCK, BLOCK).view(0, 0, BLOCK, BLOCK).water.astype(np.uint8)
    water[:, : BLOCK // 16] = 255
    return np.tile(water, (side // BLOCK, side // BLOCK))[None]


def product(header: SceneHeader, mask: npt.NDArray[np.uint8]) -> Product:
    shape = (1, 1, *header.shape[2:])
    source: PixelSource = ArraySource(mask, shape)
    made = Provenance("bench", "0", "0", "0", 0.5, "none")
    return Product(header, (ClassInfo(1, "water"),), source, source, (BLOCK, BLOCK), made)


def write_rio_cogeo(plain: Path, path: Path, threads: str) -> None:
    with rasterio.Env(GDAL_NUM_THREADS=threads):
        profile = cog_profiles.get("deflate")
        cog_translate(plain, path, profile, in_memory=False, overview_resampling="nearest", quiet=True)


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(first: Callable[[], None], second: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Median seconds of both, taken in turns so that a busy machine slows either alike; one warm-up each."""
    first()
    second()
    pairs = [(timed(first), timed(second)) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def peak_mib(action: str, path: Path, side: int) -> float:
    """Peak memory of a fresh process; see `child`."""
    command = [sys.executable, __file__, "--child", action, "--path", str(path), "--side", str(side)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(action: str, path: Path, side: int) -> None:
    """Read a scene, or write a mask of side x side pixels, and print the process's peak memory in MiB."""
    if action == "read":
        read_plugin(path)
    else:
        reader = GeoTiffReader()
        header = reader.header(next(iter(reader.discover(str(path)))))
        scene = SceneHeader(header.ref, (1, 1, side, side), "uint8", header.bands[:1], header.geometry)
        MaskWriter().write(product(scene, mask_of(BLOCK)), path.with_name("peak.tif"))
    # Not getrusage: its mark is inherited from the parent.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(line.split()[1]) / 1024)


def run(side: int, repeats: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    megapixels = side * side / 1e6
    with tempfile.TemporaryDirectory() as folder:
        scene, small = Path(folder, "scene.tif"), Path(folder, "small.tif")
        make_scene(scene, side)
        make_scene(small, side // 4)
        bare, plugin = compare(lambda: read_bare(scene), lambda: read_plugin(scene), repeats)
        figures["read: bare rasterio, Mpx/s (2 bands)"] = megapixels / bare
        figures["read: plug-in, Mpx/s (2 bands)"] = megapixels / plugin
        figures["read: plug-in rate / bare rate (at least 0.70)"] = bare / plugin
        reader = GeoTiffReader()
        made = product(reader.header(next(iter(reader.discover(str(scene))))), mask_of(side))
        plain, cog, other = (Path(folder, name) for name in ("plain.tif", "cog.tif", "other.tif"))
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "crs": "EPSG:32633"}
        transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_800_000)
        with rasterio.open(plain, "w", height=side, width=side, transform=transform, **profile) as target:
            target.write(made.mask.read(Window(0, 0, 0, side, side)))
        for threads in ("1", "ALL_CPUS"):
            rio, ours = compare(
                lambda threads=threads: write_rio_cogeo(plain, other, threads),
                lambda: MaskWriter().write(made, cog),
                repeats,
            )
            figures[f"write: rio cogeo with {threads} threads, Mpx/s"] = megapixels / rio
            figures["write: plug-in, Mpx/s"] = megapixels / ours
            figures[f"write: plug-in time / rio cogeo time with {threads} threads (at most 1.30)"] = ours / rio
        for action in ("read", "write"):
            few, many = peak_mib(action, small, side // 4), peak_mib(action, scene, side)
            figures[f"{action}: peak MiB, {side // 4}² px"] = few
            figures[f"{action}: peak MiB, {side}² px"] = many
            figures[f"{action}: growth for 16 times the pixels (at most 1.10)"] = many / few
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=8192, help="rows and columns of the scene, a multiple of 4096")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--child", choices=["read", "write"], help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.path, arguments.side)
        return
    figures = run(arguments.side, arguments.repeats)
    for name, value in figures.items():
        print(f"{name:<70} {value:10.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
