"""Pixel values to 0..1, of scenes, supports and evaluation alike.

By a fixed range, or by the percentiles of a scene or of the examples of a task, never by those of a tile
(docs/architecture.md, "What it promises").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import Range, Scale
from hdm_pipeline.contracts import STATISTICS_PIXELS, Pixels, Validity
from hdm_pipeline.errors import UnsupportedSceneError
from hdm_pipeline.pixels.bands import BandPlan

SAMPLE_PIXELS = STATISTICS_PIXELS
"""Pixels per scene from which percentiles are taken."""

EXAMPLE_PERCENTILES: Range = (0.5, 99.5)
"""Percentiles of a task's examples that become 0 and 1."""


def scene_ranges(scale: Scale, plan: BandPlan, sample: Pixels | None, where: str) -> tuple[Range, ...]:
    """The range of each computed band that becomes 0..1.

    Args:
        scale: as configured.
        plan: the bands read and computed.
        sample: [bands read, n] valid pixels spread over the scene; needed only for percentiles.
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
    low, high = _percentiles(values, scale.percentiles)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise UnsupportedSceneError(
            "the percentiles of the scene are not finite", where=where, remedy="use input.scale.fixed"
        )
    # A constant band has no spread; any width does, as all its pixels become 0.
    return tuple((float(a), float(b) if b > a else float(a) + 1.0) for a, b in zip(low, high, strict=True))


def example_ranges(samples: Sequence[Pixels]) -> tuple[Range, ...]:
    """The ranges that the examples of a task share, where the task names none: `EXAMPLE_PERCENTILES` of each band.

    Rounded to float32, in which pixels are scaled.

    Args:
        samples: for each example valid pixels [bands, n], n at least 1 in one of them.
    """
    pooled = np.concatenate(samples, axis=1)
    low, high = _percentiles(pooled, EXAMPLE_PERCENTILES)
    # A band may be flat but for a small target: then its largest value becomes 1.
    flat = high - low <= 1e-6 * np.maximum(np.abs(low), 1.0)
    high = np.where(flat, np.maximum(pooled.max(axis=1), low + 1.0), high)
    return tuple((float(a), float(b)) for a, b in zip(low.astype(np.float32), high.astype(np.float32), strict=True))


def _percentiles(values: npt.NDArray[Any], percentiles: Range) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Low and high percentile of each band of [bands, n]: [bands] each."""
    low, high = np.percentile(values, percentiles, axis=1)
    return low, high


def scale_pixels(pixels: Pixels, ranges: Sequence[Range]) -> Pixels:
    """[bands, y, x] in the scene's units to 0..1, clipped; a new array. One range a band, or one for all."""
    low = np.array([r[0] for r in ranges], dtype=np.float32)[:, None, None]
    width = np.array([r[1] - r[0] for r in ranges], dtype=np.float32)[:, None, None]
    scaled = pixels - low
    scaled /= width
    return np.clip(scaled, 0.0, 1.0, out=scaled)


_LEVELS = 65534
"""Steps between the staged values of 0.0 (1) and 1.0 (65535)."""


_PIXELS_AT_ONCE = 1 << 16
"""Pixels that are encoded at once, so that scratch memory stays in the cache."""


def encode_pixels(
    pixels: Pixels,
    valid: Validity,
    ranges: Sequence[tuple[float, float]] | None = None,
) -> npt.NDArray[np.uint16]:
    """Pixels as they are staged.

    Args:
        pixels: [bands, y, x] float32, finite where valid; anything elsewhere.
        valid: [y, x] bool.
        ranges: (low, high) of each band that become 0 and 1; what lies outside is clipped. None for 0..1.

    Returns:
        [bands, y, x] uint16: 0 where not valid, else 1..65535.
    """
    bands, height, width = pixels.shape
    encoded = np.empty((bands, height, width), dtype=np.uint16)
    step = max(1, _PIXELS_AT_ONCE // width)
    scratch = np.empty((min(step, height), width), dtype=np.float32)
    for y in range(0, height, step):
        kept, found = valid[y : y + step], encoded[:, y : y + step]
        part = scratch[: len(kept)]
        with np.errstate(over="ignore", invalid="ignore"):  # what is not valid may be anything
            for band, (low, high) in enumerate(ranges or [(0.0, 1.0)] * bands):
                np.subtract(pixels[band, y : y + step], np.float32(low), out=part)
                np.multiply(part, np.float32(_LEVELS / (high - low)), out=part)
                np.clip(part, np.float32(0.0), np.float32(_LEVELS), out=part)
                np.add(part, np.float32(1.5), out=part)
                np.copyto(found[band], part, casting="unsafe")
        if not kept.all():
            np.multiply(found, kept, out=found)
    return encoded


def decode_pixels(
    staged: npt.NDArray[np.uint16], out: npt.NDArray[np.float32] | None = None
) -> tuple[Pixels, Validity]:
    """Staged pixels [bands, y, x] back to float32 0..1 (0 where not valid) and validity [y, x].

    Args:
        staged: the pixels.
        out: of their shape: where they go, if not into an array of their own.
    """
    pixels = np.empty(staged.shape, dtype=np.float32) if out is None else out
    pixels[...] = staged
    pixels -= np.float32(1.0)
    pixels *= np.float32(1.0 / _LEVELS)
    np.maximum(pixels, np.float32(0.0), out=pixels)
    return pixels, staged[0] != 0
