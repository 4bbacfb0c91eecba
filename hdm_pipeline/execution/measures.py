"""Areas and volumes of a finished mask, read block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import NODATA, Product, VolumeGeometry
from hdm_pipeline.grid import Window


def measure(product: Product, row_areas: npt.NDArray[np.float64] | None) -> dict[str, Any]:
    """What `run.json` says of a mask.

    Args:
        product: the scene's product.
        row_areas: [y] area in m² of one pixel of each row; None where it is unknown.

    Returns:
        ``valid``: share of valid pixels, 0..1; ``pixels``, ``area_m2`` (None without coordinates) by class name; for
        volumes also ``volume_ml`` by class and ``slice_area_mm2`` by class, one entry a slice.
    """
    _, depth, height, width = product.mask.shape
    values = [c.value for c in product.classes]
    counts = np.zeros((len(values), depth, height), dtype=np.int64)
    valid = 0
    rows, columns = product.block
    for z in range(depth):
        for y in range(0, height, rows):
            for x in range(0, width, columns):
                window = Window(z=z, y=y, x=x, height=min(rows, height - y), width=min(columns, width - x))
                mask = product.mask.read(window)[0]
                valid += int(np.count_nonzero(mask != NODATA))
                for index, value in enumerate(values):
                    counts[index, z, y : window.bottom] += np.count_nonzero(mask == value, axis=1)
    names = [c.name for c in product.classes]
    pixels = counts.sum(axis=(1, 2))
    areas = None if row_areas is None else (counts.sum(axis=1) * row_areas).sum(axis=1)
    result: dict[str, Any] = {
        "valid": valid / (depth * height * width),
        "pixels": {name: int(n) for name, n in zip(names, pixels, strict=True)},
        "area_m2": None
        if areas is None
        else {name: round(float(area), 3) for name, area in zip(names, areas, strict=True)},
    }
    geometry = product.scene.geometry
    if isinstance(geometry, VolumeGeometry):
        result["volume_ml"] = {
            name: round(float(n) * geometry.voxel_volume_ml, 4) for name, n in zip(names, pixels, strict=True)
        }
        if row_areas is not None:
            by_slice = (counts * row_areas).sum(axis=2) * 1e6
            result["slice_area_mm2"] = {name: [round(float(v), 2) for v in by_slice[i]] for i, name in enumerate(names)}
    return result
