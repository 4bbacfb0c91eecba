"""Masks as a product, and the polygons that are written of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pyogrio.raw
import pytest
import shapely

from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_pipeline.contracts import Product
from tests.raster_product import product, scene

Mask = npt.NDArray[np.uint8]
NOWHERE: Mapping[str, Any] = {"transform": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), "crs": None}


def made_of(mask: Mask, block: tuple[int, int] = (256, 1024), **place: Any) -> Product:
    """A product of a mask [y, x]; the scores are `product`'s."""
    return replace(product(scene(*mask.shape, **place), mask[None]), block=block)


def written(made: Product, folder: Path, **options: Any) -> dict[str, Any]:
    """The columns of the polygons written, and their `shapes`."""
    writer = PolygonWriter(options)
    path = folder / writer.filename(made.scene)
    writer.write(made, path)
    if path.suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        columns = pq.read_table(path).to_pydict()
        return {**columns, "shapes": shapely.from_wkb(np.array(columns.pop("geom"), dtype=object))}
    meta, _, shapes, columns = pyogrio.raw.read(path, layer="polygons")
    assert path.parent == folder
    assert set(os.listdir(folder)) == {path.name, "polygons.qml"}
    return {**dict(zip(meta["fields"], columns, strict=True)), "shapes": shapely.from_wkb(shapes), "meta": meta}


def spiral(side: int) -> Mask:
    """One region that winds around the background through all blocks."""
    mask = np.zeros((side, side), np.uint8)
    y, x, dy, dx, left = 0, 0, 0, 1, side
    mask[0, 0] = 1
    steps = [side - 1, *[n for k in range(side - 1, 0, -2) for n in (k, k)]]
    for step in steps:
        for _ in range(step):
            y, x = y + dy, x + dx
            mask[y, x] = 1
        dy, dx = dx, -dy
        left -= 1
    return mask


def nested(side: int) -> Mask:
    """Rings within rings: holes in holes, of two classes and nodata by turns."""
    y, x = np.ogrid[:side, :side]
    depth = np.minimum(np.minimum(y, side - 1 - y), np.minimum(x, side - 1 - x))
    return np.array([1, 0, 2, 255, 1, 2], np.uint8)[depth % 6]


def diagonals(side: int) -> Mask:
    """Pixels that meet by their corners only, both ways."""
    y, x = np.ogrid[:side, :side]
    return (((x + y) % 7 == 0) | ((x - y) % 5 == 0)).astype(np.uint8)


def pinched(side: int) -> Mask:
    """Regions that meet themselves at corners: outside and hole, hole and hole."""
    mask = np.ones((side, side), np.uint8)
    mask[1::4, 1::4] = mask[2::4, 2::4] = 0
    mask[0, 2] = mask[side - 1, 3] = 0
    return mask


def comb(side: int) -> Mask:
    """Teeth that are joined in the last row only: many open regions become one."""
    mask = np.zeros((side, side), np.uint8)
    mask[:, ::2] = 1
    mask[-1] = 1
    return mask


def joining(side: int) -> Mask:
    """Two arms that become one region, beside another one with holes that end before and after that."""
    mask = np.zeros((side, side), np.uint8)
    mask[:15, 0] = mask[:15, 2] = mask[14, :3] = 1
    mask[:, 4:12] = 2
    mask[2:5, 6:9] = mask[20:24, 6:9] = 0
    return mask


SHAPES = {
    "spiral": spiral,
    "nested": nested,
    "diagonals": diagonals,
    "pinched": pinched,
    "comb": comb,
    "joining": joining,
}
SHAPES |= {"checkers": lambda side: (np.indices((side, side)).sum(0) % 2).astype(np.uint8)}
SHAPES |= {"full": lambda side: np.ones((side, side), np.uint8)}
