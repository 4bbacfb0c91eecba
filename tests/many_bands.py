"""Pictures of many bands with a target that only some of them show, for the tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import Labels, Pixels

SHOWS = (7, 9)
"""Bands that show the target together: one is brighter there and one darker; confusers are brighter in both."""


def patches(side: int, seed: int, phase: float = 0.0) -> npt.NDArray[np.bool_]:
    """[side, side]: round patches, elsewhere for every seed and phase."""
    y, x = np.mgrid[0:side, 0:side]
    return np.asarray(np.sin(x / 9.0 + seed + phase) + np.cos(y / 8.0 + 2 * seed - phase) > 0.9)


def picture(seed: int, *, bands: int = 12, side: int = 96, shown: tuple[int, int] = SHOWS) -> tuple[Pixels, Labels]:
    """[bands, side, side] in 0..1 and its mask: structure in all bands, a target in two."""
    rng = np.random.default_rng(seed)
    target = patches(side, seed)
    confuser = patches(side, seed, 3.0) & ~target
    common = np.repeat(np.repeat(rng.random((side // 8, side // 8)), 8, 0), 8, 1) * 0.3
    pixels = 0.35 + common + rng.normal(0, 0.04, (bands, side, side))
    pixels[shown[0]] += 0.15 * target + 0.15 * confuser
    pixels[shown[1]] += -0.15 * target + 0.15 * confuser
    return np.clip(pixels, 0, 1).astype(np.float32), target.astype(np.uint8)
