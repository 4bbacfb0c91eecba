"""The sample archive: a few synthetic radar scenes of a flood, labelled chips, and the truth.

Real enough to try a pipeline on without downloading anything: two bands (VV, VH in dB), speckle, UTM coordinates,
collars without data, tiled and compressed files, one scene of many tiles. See `hdm_pipeline.samples.landscape`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from hdm_pipeline.contracts import BACKGROUND, NODATA
from hdm_pipeline.errors import OutputError
from hdm_pipeline.samples.labels import write_labels
from hdm_pipeline.samples.landscape import CELL, Landscape, View

PIXEL_METRES = 10.0

CHIP_SIDE = 512

_CHIPS = 5
_CHIP_WATER = (0.2, 0.55)
_STEP_DB = 1 / 64
_WINDOW = (2 * CELL, 8 * CELL)
_SCENES = 1
_SUPPORT = 2


@dataclass(frozen=True)
class SceneRecipe:
    """How one sample scene is made.

    Attributes:
        name: file name without suffix.
        height: rows.
        width: columns.
        flood: water level above the bank in metres.
        nodata: value of pixels without data; NaN is marked as such in the file too.
        collar: share of the width that the slanted edges of the swath take away; 0 for none.
        epsg: CRS, a UTM zone.
        corner: easting and northing of the upper left corner in metres.
    """

    name: str
    height: int
    width: int
    flood: float
    nodata: float
    collar: float
    epsg: int
    corner: tuple[float, float]


RECIPES = (
    SceneRecipe("s1_20240602_alder", 500, 700, 0.7, math.nan, 0.0, 32633, (412_340.0, 5_871_220.0)),
    SceneRecipe("s1_20240602_birch", 640, 640, 1.0, math.nan, 0.12, 32633, (448_900.0, 5_853_470.0)),
    SceneRecipe("s1_20240614_cedar", 768, 1024, 0.6, -9999.0, 0.08, 32632, (561_150.0, 5_790_080.0)),
    SceneRecipe("s1_20240614_elm", 1200, 900, 1.6, math.nan, 0.0, 32632, (534_720.0, 5_781_640.0)),
    SceneRecipe("s1_20240626_fir", 3000, 4000, 1.4, -9999.0, 0.06, 32631, (388_010.0, 5_702_560.0)),
)
"""The scenes of the archive, small to large."""


@dataclass(frozen=True)
class SampleArchive:
    """What `make_samples` has made.

    Attributes:
        folder: the archive.
        scenes: image files, in `folder`/scenes.
        truth: for each scene its labels, in `folder`/truth: 0 dry, 1 water, 255 no data.
        support: (image, mask) of each labelled chip, in `folder`/support; masks as in `truth`.
        labels: the same labels, and a few of them, as polygons, in `folder`/support (`hdm_pipeline.samples.labels`).
        pixels: pixels of all scenes together.
    """

    folder: Path
    scenes: tuple[Path, ...]
    truth: tuple[Path, ...]
    support: tuple[tuple[Path, Path], ...]
    labels: Path
    pixels: int


def make_samples(folder: Path, *, seed: int = 7) -> SampleArchive:
    """Make the sample archive: about 15 Mpx in half a minute at most, in the memory of a few windows.

    The same seed gives the same pixels. Files that are there are replaced, one by one and only when complete.

    Args:
        folder: where `scenes`, `support` and `truth` go; made if it is not there.
        seed: a whole number, at least 0.

    Raises:
        OutputError: the folder cannot be written.
    """
    with _output_errors(folder):
        for name in ("scenes", "support", "truth"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        support = tuple(_make_chip(folder / "support", number, seed) for number in range(1, _CHIPS + 1))
        labels = folder / "support" / "labels.gpkg"
        write_labels(labels, support)
        made = [_make_scene(folder, recipe, (seed, _SCENES, n)) for n, recipe in enumerate(RECIPES)]
    pixels = sum(recipe.height * recipe.width for recipe in RECIPES)
    scenes, truth = zip(*made, strict=True)
    return SampleArchive(folder, scenes, truth, support, labels, pixels)


def _make_scene(folder: Path, recipe: SceneRecipe, seed: tuple[int, ...]) -> tuple[Path, Path]:
    """Write one scene and its truth, window by window."""
    landscape = Landscape(seed, recipe.height, recipe.width, flood=recipe.flood)
    image, truth = folder / "scenes" / f"{recipe.name}.tif", folder / "truth" / f"{recipe.name}.tif"
    grid = {"crs": f"EPSG:{recipe.epsg}", "transform": _transform(recipe.corner)}
    size = {"height": recipe.height, "width": recipe.width}
    with _image(image, nodata=recipe.nodata, **size, **grid) as pixels, _labels(truth, **size, **grid) as labels:
        for window in _windows(recipe.height, recipe.width):
            view = landscape.view(window.row_off, window.col_off, window.height, window.width)
            outside = _collar(recipe, window)
            _write(pixels, labels, view, outside, window, recipe.nodata)
    return image, truth


def _make_chip(folder: Path, number: int, seed: int) -> tuple[Path, Path]:
    """Write one chip and its mask: the first of a row of landscapes that shows enough land and water."""
    attempt = 0
    while True:
        landscape = Landscape((seed, _SUPPORT, number, attempt), CHIP_SIDE, CHIP_SIDE, flood=0.8 + 0.25 * number)
        view = landscape.view(0, 0, CHIP_SIDE, CHIP_SIDE)
        if _CHIP_WATER[0] <= view.water.mean() <= _CHIP_WATER[1]:
            break
        attempt += 1
    image, mask = folder / f"chip_{number}.tif", folder / f"chip_{number}_mask.tif"
    grid = {"crs": "EPSG:32633", "transform": _transform((500_000.0 + 20_000 * number, 5_800_000.0))}
    size = {"height": CHIP_SIDE, "width": CHIP_SIDE}
    window = Window(0, 0, CHIP_SIDE, CHIP_SIDE)
    outside = np.zeros(view.water.shape, dtype=np.bool_)
    with _image(image, nodata=math.nan, **size, **grid) as pixels, _labels(mask, **size, **grid) as labels:
        _write(pixels, labels, view, outside, window, math.nan)
    return image, mask


def _write(
    pixels: DatasetWriter,
    labels: DatasetWriter,
    view: View,
    outside: npt.NDArray[np.bool_],
    window: Window,
    nodata: float,
) -> None:
    # Steps of 1/64 dB, far below the speckle: half the bits of a float32 say nothing and would not compress.
    values = np.round(view.backscatter / np.float32(_STEP_DB)) * np.float32(_STEP_DB)
    pixels.write(np.where(outside, np.float32(nodata), values), window=window)
    truth = np.where(view.water, 1, BACKGROUND).astype(np.uint8)
    truth[outside] = NODATA
    labels.write(truth, 1, window=window)


def _collar(recipe: SceneRecipe, window: Window) -> npt.NDArray[np.bool_]:
    """Where the swath, a slanted band as satellites fly, leaves a window without data: [height, width]."""
    rows = (np.arange(window.row_off, window.row_off + window.height) + 0.5)[:, None] / recipe.height
    columns = (np.arange(window.col_off, window.col_off + window.width) + 0.5)[None, :] / recipe.width
    left = recipe.collar * (1 - rows)
    right = 1 - recipe.collar * rows
    return (columns < left) | (columns > right)


def _windows(height: int, width: int) -> Iterator[Window]:
    down, across = _WINDOW
    for y in range(0, height, down):
        for x in range(0, width, across):
            yield Window(x, y, min(across, width - x), min(down, height - y))


def _transform(corner: tuple[float, float]) -> Affine:
    return Affine(PIXEL_METRES, 0.0, corner[0], 0.0, -PIXEL_METRES, corner[1])


@contextmanager
def _image(path: Path, **profile: Any) -> Iterator[DatasetWriter]:
    with _file(path, count=2, dtype="float32", predictor=3, **profile) as target:
        target.descriptions = ("VV", "VH")
        target.units = ("dB", "dB")
        target.update_tags(TIFFTAG_IMAGEDESCRIPTION="synthetic flood scene made by hdm_pipeline samples")
        yield target


@contextmanager
def _labels(path: Path, **profile: Any) -> Iterator[DatasetWriter]:
    with _file(path, count=1, dtype="uint8", nodata=NODATA, **profile) as target:
        target.descriptions = ("water",)
        target.write_colormap(1, {BACKGROUND: (245, 245, 245), 1: (30, 100, 220)})
        yield target


@contextmanager
def _file(path: Path, **profile: Any) -> Iterator[DatasetWriter]:
    """A tiled GeoTIFF that gets its name only when it is complete."""
    part = path.with_suffix(".part")
    layout = {"tiled": True, "blockxsize": CELL, "blockysize": CELL, "compress": "deflate", "zlevel": 1}
    try:
        with rasterio.Env(GDAL_CACHEMAX=64), rasterio.open(part, "w", driver="GTiff", **layout, **profile) as target:
            yield target
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RasterioError) as error:
        remedy = "choose a folder that can be written and has 100 MB of space"
        raise OutputError(f"the samples cannot be written: {error}", where=str(folder), remedy=remedy) from error
