"""Synthetic episodes, made on the fly: random layouts in random materials under a random sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdm_pipeline.training.synthetic.fields import Array, Size
from hdm_pipeline.training.synthetic.materials import Palette
from hdm_pipeline.training.synthetic.outlines import Regions
from hdm_pipeline.training.synthetic.shapes import Layout, sample_layout

_EMPTY_SHARE = 0.12
_TRIES = 8
_LEAST_SHARE = 0.002
_MOST_SHARE = 0.97
_STRETCH_SHARE = 0.5


@dataclass(frozen=True)
class Episode:
    """K labelled examples and a query of one class.

    Attributes:
        query: [H, W, 3] uint8.
        query_mask: [H, W] uint8: 1 target, 0 background, 255 ignored.
        support: [K, H, W, 3] uint8.
        support_mask: [K, H, W] uint8.
    """

    query: npt.NDArray[np.uint8]
    query_mask: npt.NDArray[np.uint8]
    support: npt.NDArray[np.uint8]
    support_mask: npt.NDArray[np.uint8]


def synthetic_episode(rng: np.random.Generator, shots: int, size: Size) -> Episode:
    """Draw an episode; every support shows the target, about one query in eight does not.

    Args:
        rng: where all randomness comes from; equal states give equal episodes.
        shots: number of supports.
        size: height and width of all images.
    """
    layout = sample_layout(rng, size)
    palette = Palette.sample(rng, layout.regions, layout.twins, layout.target)
    empty = rng.random() < _EMPTY_SHARE
    images, masks = [], []
    for number in range(shots + 1):
        regions = _draw(rng, layout, size, with_target=number > 0 or not empty)
        images.append(palette.render(rng, regions))
        masks.append(np.isin(regions, list(layout.target)).astype(np.uint8))
    pixels = np.stack(images)
    if rng.random() < _STRETCH_SHARE:
        pixels = _stretch(pixels)
    pictures = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Episode(pictures[0], masks[0], pictures[1:], np.stack(masks[1:]))


def _stretch(pixels: Array) -> Array:
    """All images [1 + K, H, W, 3] by one linear map that brings the supports to the full range, as in use."""
    low, high = np.quantile(pixels[1:, ::3, ::3], (0.005, 0.995))
    return (pixels - np.float32(low)) / np.float32(max(high - low, 0.02))


def _draw(rng: np.random.Generator, layout: Layout, size: Size, *, with_target: bool) -> Regions:
    """A region map that shows enough, but not only, target where it shall show it."""
    regions = layout.draw(rng, size, with_target=with_target)
    for _ in range(_TRIES if with_target else 0):
        share = float(np.isin(regions, list(layout.target)).mean())
        if _LEAST_SHARE < share < _MOST_SHARE:
            break
        regions = layout.draw(rng, size, with_target=True)
    return regions
