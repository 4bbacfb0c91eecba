"""Outlines of labels along the edges of pixels: burned again, they give the same pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import shapes

from hdm_geotiff.examples.geometries import Geometries
from hdm_geotiff.files.environment import gdal_environment
from hdm_pipeline.contracts import IGNORE, LabelPatch


def traced(patches: Sequence[LabelPatch]) -> tuple[Geometries, npt.NDArray[np.uint8]]:
    """Polygons of labels, one for each connected region.

    Args:
        patches: what is known; 255 is not.

    Returns:
        Polygons [n] in columns and rows of the scene, whole numbers at pixels' corners, and values [n], ascending.
    """
    parts: defaultdict[int, list[Any]] = defaultdict(list)
    for patch in patches:
        place = Affine.translation(patch.window.x, patch.window.y)
        with gdal_environment():
            labels = np.ascontiguousarray(patch.values)  # GDAL reads memory in order, whatever strides say
            for outline, value in shapes(labels, labels != IGNORE, connectivity=4, transform=place):
                rings = outline["coordinates"]
                parts[int(value)].append(shapely.Polygon(rings[0], rings[1:]))
    made, values = [np.empty(0, dtype=object)], [np.empty(0, dtype=np.uint8)]
    for value in sorted(parts):
        # Corners are whole numbers and edges follow the axes: where patches meet, no position is rounded.
        whole = shapely.union_all(parts[value]) if len(patches) > 1 else shapely.geometrycollections(parts[value])
        regions = np.asarray(shapely.get_parts(whole), dtype=object)
        made.append(regions)
        values.append(np.full(len(regions), value, dtype=np.uint8))
    return np.concatenate(made), np.concatenate(values)
