"""Draws the picture of the tutorial: polygons on a chip, a scene, and the mask on it.

    python docs/tutorials/polygons_picture.py samples out/lakes polygons.png

Takes the folder of `hdm_pipeline samples` and an output of the tutorial's pipeline. The same input gives the same
pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import rasterio
import shapely
from PIL import Image, ImageDraw
from rasterio.enums import Resampling
from rasterio.warp import transform_geom

CHIP, SCENE = "chip_3", "s1_20240602_birch"
SIDE, GAP, COLORS = 330, 8, 40
DECIBEL = (-22.0, -4.0)
DRAWN = {"water": (30, 96, 220), "land": (230, 120, 20)}
"""Colors by the attribute ``class``."""

Rgb = tuple[int, int, int]


def gray(path: Path, side: int) -> Image.Image:
    """The first band, averaged to a square, as gray; no data becomes white."""
    with rasterio.open(path) as file:
        band = file.read(1, out_shape=(side, side), resampling=Resampling.average, masked=True)
    low, high = DECIBEL
    scaled = np.clip((band.astype(np.float64) - low) / (high - low), 0, 1).filled(1.0)
    return Image.fromarray((40 + 215 * scaled).astype(np.uint8)).convert("RGB")


def with_polygons(picture: Image.Image, image: Path, labels: Path) -> Image.Image:
    """A chip with what is drawn on it."""
    with rasterio.open(image) as file:
        grid, crs, width = ~file.transform, file.crs, file.width
    where = f"chip = '{image.stem}'"
    meta, _, stored, fields = pyogrio.raw.read(labels, layer="drawn", where=where, columns=["class", "chip"])
    pen = ImageDraw.Draw(picture, "RGBA")
    for polygon, name in zip(shapely.from_wkb(stored), fields[list(meta["fields"]).index("class")], strict=True):
        outline = transform_geom(meta["crs"], crs, shapely.geometry.mapping(polygon))["coordinates"][0]
        corners = [tuple(value * picture.width / width for value in _pixel(grid, point)) for point in outline]
        pen.polygon(corners, fill=(*DRAWN[name], 90), outline=(*DRAWN[name], 255), width=2)
    return picture


def _pixel(grid: Any, point: tuple[float, float]) -> tuple[float, float]:
    x, y = point
    return grid.a * x + grid.b * y + grid.c, grid.d * x + grid.e * y + grid.f


def with_mask(picture: Image.Image, path: Path, color: Rgb) -> Image.Image:
    """A scene with its mask in color over it."""
    with rasterio.open(path) as file:
        mask = file.read(1, out_shape=(picture.height, picture.width), resampling=Resampling.nearest)
    pixels: npt.NDArray[np.float64] = np.asarray(picture, dtype=np.float64)
    blended = np.where((mask == 1)[..., None], 0.45 * pixels + 0.55 * np.array(color), pixels)
    return Image.fromarray(blended.astype(np.uint8))


def main(samples: Path, output: Path, target: Path) -> None:
    """Draw the three panels side by side."""
    chip, scene = samples / "support" / f"{CHIP}.tif", samples / "scenes" / f"{SCENE}.tif"
    panels = [
        with_polygons(gray(chip, SIDE), chip, samples / "support" / "labels.gpkg"),
        gray(scene, SIDE),
        with_mask(gray(scene, SIDE), output / SCENE / "mask.tif", DRAWN["water"]),
    ]
    whole = Image.new("RGB", (3 * SIDE + 2 * GAP, SIDE), "white")
    for index, panel in enumerate(panels):
        whole.paste(panel, (index * (SIDE + GAP), 0))
    whole.quantize(COLORS, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
