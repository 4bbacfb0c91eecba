"""Pixel values to 0..1: by a fixed range or by the scene's percentiles, never by the tile (DESIGN invariant 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hdm_pipeline.bands import BandPlan
from hdm_pipeline.config import Range, Scale
from hdm_pipeline.errors import UnsupportedSceneError

SAMPLE_PIXELS = 1 << 18
"""Pixels per scene from which percentiles are taken."""


def scene_ranges(scale: Scale, plan: BandPlan, sample: npt.NDArray[np.float32] | None, where: str) -> tuple[Range, ...]:
    """The range of each computed band that becomes 0..1.

    Args:
        scale: as configured.
        plan: the bands read and computed.
        sample: [bands read, n] valid pixels spread over the scene; needed for percentiles alone.
        where: the scene, for messages.

    Raises:
        UnsupportedSceneError: the percentiles of a band are not finite.
    """
    count = len(plan.bands)
    if scale.percentiles is None:
        return tuple(scale.ranges(count))
    if sample is None or sample.shape[1] == 0:
        return ((0.0, 1.0),) * count  # no valid pixel: nothing will be scaled
    pixels, valid = plan.apply(sample[:, None, :], np.ones((1, sample.shape[1]), dtype=np.bool_))
    values = pixels[:, 0, valid[0]].astype(np.float64)
    if values.shape[1] == 0:
        return ((0.0, 1.0),) * count
    low, high = np.percentile(values, scale.percentiles, axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise UnsupportedSceneError(
            "the percentiles of the scene are not finite", where=where, remedy="use input.scale.fixed"
        )
    # A constant band has no spread; any width does, as all its pixels become 0.
    return tuple((float(a), float(b) if b > a else float(a) + 1.0) for a, b in zip(low, high, strict=True))


def scale_pixels(pixels: npt.NDArray[np.float32], ranges: Sequence[Range]) -> npt.NDArray[np.float32]:
    """[bands, y, x] in the scene's units to 0..1, clipped; a new array."""
    low = np.array([r[0] for r in ranges], dtype=np.float32)[:, None, None]
    width = np.array([r[1] - r[0] for r in ranges], dtype=np.float32)[:, None, None]
    scaled = pixels - low
    scaled /= width
    return np.clip(scaled, 0.0, 1.0, out=scaled)
