"""Areas and volumes of a finished mask, with intervals, read block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import NODATA, Product, VolumeGeometry
from hdm_pipeline.execution.reduced import ReducedMask
from hdm_pipeline.grid import Window
from hdm_pipeline.stitch import labels, least_score

Counts = npt.NDArray[np.int64]


def measure(
    product: Product,
    row_areas: npt.NDArray[np.float64] | None,
    area_scores: Sequence[tuple[float, float]] = (),
    small: ReducedMask | None = None,
) -> dict[str, Any]:
    """What `run.json` says of a mask.

    Args:
        product: the scene's product.
        row_areas: [y] area in m² of one pixel of each row; None where it is unknown.
        area_scores: for each class, the least probability of a pixel that counts for the largest area, and for the
            smallest; empty for no intervals. The mask's own threshold is always inside.
        small: gets every block that is read.

    Returns:
        ``valid``: share of valid pixels, 0..1; ``pixels``, ``area_m2`` (None without coordinates) by class name; for
        volumes also ``volume_ml`` by class (not where the extent of a voxel is unknown) and ``slice_area_mm2`` by
        class, one entry a slice. ``uncertainty`` by class, 0..1: the mean over its pixels of the product's own
        uncertainty or, where it has none, of the plain margin 1 - |2 p - 1|; None for a class without pixels. With
        intervals also ``pixels_interval``, ``area_m2_interval`` and ``volume_ml_interval``: [smallest, largest] by
        class.
    """
    counts, valid, bounds, doubt = _counted(product, area_scores, small)
    _, depth, height, width = product.mask.shape
    result: dict[str, Any] = {"valid": valid / (depth * height * width)}
    names = [c.name for c in product.classes]
    sums = [_sums(product, part, row_areas) for part in (counts, *bounds)]
    for name, values in sums[0].items():
        result[name] = None if values is None else dict(zip(names, values, strict=True))
    pixels = counts.sum(axis=(1, 2))
    result["uncertainty"] = {
        name: round(total / (255 * n), 4) if n else None
        for name, total, n in zip(names, doubt.tolist(), pixels.tolist(), strict=True)
    }
    if bounds:
        low, high = sums[1:]
        for name in sums[0]:
            smallest, largest = low[name], high[name]
            result[f"{name}_interval"] = (
                None
                if smallest is None or largest is None
                else {one: [a, b] for one, a, b in zip(names, smallest, largest, strict=True)}
            )
    if isinstance(product.scene.geometry, VolumeGeometry) and row_areas is not None:
        by_slice = (counts * row_areas).sum(axis=2) * 1e6
        result["slice_area_mm2"] = {name: [_rounded(v, 2) for v in by_slice[i]] for i, name in enumerate(names)}
    return result


def _sums(
    product: Product, counts: Counts, row_areas: npt.NDArray[np.float64] | None
) -> dict[str, list[float] | list[int] | None]:
    """Pixels, areas and, of a volume, volumes of each class."""
    pixels = [int(n) for n in counts.sum(axis=(1, 2))]
    areas = None if row_areas is None else (counts.sum(axis=1) * row_areas).sum(axis=1)
    found: dict[str, list[float] | list[int] | None] = {
        "pixels": pixels,
        "area_m2": None if areas is None else [_rounded(area, 3) for area in areas],
    }
    geometry = product.scene.geometry
    if isinstance(geometry, VolumeGeometry) and geometry.measured:
        found["volume_ml"] = [_rounded(n * geometry.voxel_volume_ml, 4) for n in pixels]
    return found


def _rounded(value: float, decimals: int) -> float:
    """A number that is 0 or more to some decimals, and to more where it would not keep six digits: a slice under the
    microscope is no 0.0 m²."""
    value = float(value)
    return round(value, decimals if value <= 0 else max(decimals, 5 - math.floor(math.log10(value))))


def _counted(
    product: Product, area_scores: Sequence[tuple[float, float]], small: ReducedMask | None
) -> tuple[Counts, int, tuple[Counts, ...], Counts]:
    """[class, z, y] pixels of the mask, the number of valid pixels, pixels of the smallest and the largest area, and
    [class] the sum of the uncertainties of its pixels, 255 each at most."""
    _, depth, height, _ = product.mask.shape
    values = [c.value for c in product.classes]
    counts = np.zeros((len(values), depth, height), dtype=np.int64)
    bounds = (np.zeros_like(counts), np.zeros_like(counts)) if area_scores else ()
    own = product.provenance.threshold
    least = [(max(high, own), min(low, own)) for low, high in area_scores]
    valid, doubt = 0, np.zeros(len(values), dtype=np.int64)
    for window in _windows(product):
        mask = product.mask.read(window)[0]
        rows = window.z, slice(window.y, window.bottom)
        valid += int(np.count_nonzero(mask != NODATA))
        inside = [mask == value for value in values]
        for index in range(len(values)):
            counts[index][rows] += np.count_nonzero(inside[index], axis=1)
        found = any(one.any() for one in inside)
        scores = product.score.read(window) if bounds or found else None
        if small is not None:
            small.add(window, mask, scores if found else None)
        if scores is None:
            continue
        doubtful = _margin(scores) if product.uncertainty is None else product.uncertainty.read(window)
        doubt += [int(one[where].sum(dtype=np.int64)) for one, where in zip(doubtful, inside, strict=True)]
        if not bounds:
            continue
        best = labels(scores, mask != NODATA, 0.0)
        for index in range(len(values)):
            wins = best == index + 1
            for bound, threshold in zip(bounds, least[index], strict=True):
                bound[index][rows] += np.count_nonzero(wins & (scores[index] >= least_score(threshold)), axis=1)
    return counts, valid, bounds, doubt


def _margin(scores: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What is uncertain of scores alone: 255 * (1 - |2 p - 1|)."""
    return 2 * np.minimum(scores, 255 - scores)


def _windows(product: Product) -> Iterator[Window]:
    """The blocks in which reading is cheapest."""
    _, depth, height, width = product.mask.shape
    rows, columns = product.block
    for z in range(depth):
        for y in range(0, height, rows):
            for x in range(0, width, columns):
                yield Window(z=z, y=y, x=x, height=min(rows, height - y), width=min(columns, width - x))
