"""GeoTIFF plug-in against bare rasterio and rio-cogeo; the figures that count are ratios.

    python benchmarks/bench_geotiff.py [--side 8192] [--repeats 5] [--json FILE]

Reading: the same windows of the same file by `GeoTiffReader` (validity, float32) and by plain rasterio (pixels only).
Writing: the same mask by `MaskWriter` and by the function behind `rio cogeo create`, from the array's plain GeoTIFF.
Memory: peak of a fresh process that reads a scene, or writes a mask, by windows.
Keys: a small scene opened and read where the environment holds keys of AWS, as it does where the output lies in a
bucket; and what rasterio's own environment takes then, of which a scene would need one for each call.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from _table import Row, alternate, arguments, at_least, at_most, median, show
from rasterio.windows import Window as RasterWindow
from rio_cogeo import cog_profiles, cog_translate

from hdm_geotiff.files.environment import gdal_environment
from hdm_geotiff.products.writer import MaskWriter
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import ClassInfo, PixelSource, Product, Provenance, SceneHeader
from hdm_pipeline.grid import Window
from hdm_pipeline.samples.landscape import Landscape

BLOCK = 1024
LEAST_READ = 0.7
MOST_WRITE = 1.3
MOST_GROWTH = 1.1
MOST_KEYS = 1.2

_TINY, _TIMES = 256, 20
TRANSFORM = rasterio.Affine(10, 0, 500_000, 0, -10, 5_800_000)


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
            yield Window(z=0, y=y, x=x, height=min(BLOCK, height - y), width=min(BLOCK, width - x))


def make_scene(path: Path, side: int) -> None:
    """A two-band scene as satellites deliver them, and its nodata value."""
    pattern = Landscape((7, 99), BLOCK, BLOCK).view(0, 0, BLOCK, BLOCK).backscatter
    profile = {"driver": "GTiff", "count": 2, "dtype": "float32", "nodata": -9999.0, "crs": "EPSG:32633"}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 3, "zlevel": 1}
    with rasterio.open(path, "w", height=side, width=side, transform=TRANSFORM, **profile, **layout) as target:
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
    """Fields of water with ragged edges, and a collar: [1, side, side]."""
    y, x = np.ogrid[:BLOCK, :BLOCK]
    ragged = (x * 7919 + y * 104729) % 11
    mask = ((x + ragged) // 97 + y // 61) % 3 == 0
    pattern = np.where(x < BLOCK // 16, 255, mask).astype(np.uint8)
    return np.tile(pattern, (side // BLOCK, side // BLOCK))[None]


def product(header: SceneHeader, mask: npt.NDArray[np.uint8]) -> Product:
    shape = (1, 1, *header.shape[2:])
    source: PixelSource = ArraySource(mask, shape)
    made = Provenance("bench", "0", "0", "0", 0.5, "none")
    return Product(header, (ClassInfo(1, "water"),), source, source, (BLOCK, BLOCK), made)


def write_rio_cogeo(plain: Path, path: Path) -> None:
    """As the command does it by default: all cores, nearest overviews for a mask."""
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"):
        profile = cog_profiles.get("deflate")
        cog_translate(plain, path, profile, in_memory=False, overview_resampling="nearest", quiet=True)


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


def reading(scene: Path, side: int, repeats: int) -> list[Row]:
    bare, plugin = alternate(repeats, lambda: read_bare(scene), lambda: read_plugin(scene))
    megapixels = side * side / 1e6
    return [
        Row("read with plain rasterio, 2 bands", megapixels / median(bare), "Mpx/s"),
        Row("read with the plug-in, 2 bands", megapixels / median(plugin), "Mpx/s"),
        at_least("rate of the plug-in over plain rasterio", median(bare) / median(plugin), "x", LEAST_READ),
    ]


def writing(scene: Path, side: int, repeats: int) -> list[Row]:
    reader = GeoTiffReader()
    made = product(reader.header(next(iter(reader.discover(str(scene))))), mask_of(side))
    plain, cog, other = (scene.with_name(name) for name in ("plain.tif", "cog.tif", "other.tif"))
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "crs": "EPSG:32633"}
    with rasterio.open(plain, "w", height=side, width=side, transform=TRANSFORM, **profile) as target:
        target.write(made.mask.read(Window(z=0, y=0, x=0, height=side, width=side)))
    writer = MaskWriter()
    rio, ours = alternate(repeats, lambda: write_rio_cogeo(plain, other), lambda: writer.write(made, cog))
    megapixels = side * side / 1e6
    return [
        Row("write with rio cogeo create", megapixels / median(rio), "Mpx/s"),
        Row("write with the plug-in", megapixels / median(ours), "Mpx/s"),
        at_most("time of the plug-in over rio cogeo create", median(ours) / median(rio), "x", MOST_WRITE),
    ]


def keys(folder: Path, repeats: int) -> list[Row]:
    """A small scene of this machine with and without keys of AWS in the environment."""
    path = folder / "tiny.tif"
    make_scene(path, _TINY)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    before = {name: os.environ.pop(name, None) for name in names}

    def with_keys(action: Callable[[], None]) -> None:
        os.environ.update(dict.fromkeys(names, "of-the-benchmark"))
        try:
            times(action)
        finally:
            for name in names:
                del os.environ[name]

    def times(action: Callable[[], None]) -> None:
        for _ in range(_TIMES):
            action()

    def own_environment() -> None:
        with rasterio.Env():
            pass

    def read() -> None:
        read_plugin(path)

    with_keys(own_environment)  # boto3 is imported by the first
    plain, keyed, own = (
        1e3 * median(seconds) / _TIMES
        for seconds in alternate(
            repeats, lambda: times(read), lambda: with_keys(read), lambda: with_keys(own_environment)
        )
    )
    os.environ.update({name: value for name, value in before.items() if value is not None})
    return [
        Row(f"open and read {_TINY}² px", plain, "ms"),
        at_most("the same with keys of AWS in the environment, over without", keyed / plain, "x", MOST_KEYS),
        Row("rasterio's own environment with them, one call", own, "ms"),
    ]


def memory(scene: Path, small: Path, side: int) -> list[Row]:
    rows = []
    for action in ("read", "write"):
        few, many = peak_mib(action, small, side // 4), peak_mib(action, scene, side)
        rows.append(Row(f"peak to {action} {side // 4}² px", few, "MiB"))
        rows.append(Row(f"peak to {action} {side}² px", many, "MiB"))
        rows.append(at_most(f"growth to {action} 16 times the pixels", many / few, "x", MOST_GROWTH))
    return rows


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=8192, help="rows and columns of the scene, a multiple of 4096")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", choices=["read", "write"], help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.path, options.side)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        scene, small = Path(folder, "scene.tif"), Path(folder, "small.tif")
        make_scene(scene, options.side)
        make_scene(small, options.side // 4)
        rows = reading(scene, options.side, options.repeats)
        rows += writing(scene, options.side, options.repeats)
        rows += memory(scene, small, options.side)
        rows += keys(Path(folder), options.repeats)
    return show("GeoTIFF, CPU seconds", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
