"""Random closed outlines and strokes, painted into a region map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdm_pipeline.training.synthetic.fields import Array, grid

Regions = npt.NDArray[np.uint8]
"""A map [H, W] of region numbers."""


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between `low` and `high`, uniform in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@dataclass(frozen=True)
class Outline:
    """A family of closed outlines: an ellipse with waves, or a polygon.

    Attributes:
        radius: mean radius in pixels.
        spread: relative spread of radii.
        aspect: length by width.
        waves: relative amplitude of the outline's waves.
        corners: 0 for a round outline, else the number of corners.
    """

    radius: float
    spread: float
    aspect: float
    waves: float
    corners: int

    @classmethod
    def sample(cls, rng: np.random.Generator, low: float, high: float) -> Outline:
        """Outlines with a mean radius between `low` and `high` pixels."""
        corners = 0 if rng.random() < 0.7 else int(rng.integers(3, 7))
        aspect = log_uniform(rng, 1.0, 1.5 if rng.random() < 0.6 else 5.0)
        return cls(log_uniform(rng, low, high), rng.uniform(0.0, 0.4), aspect, rng.uniform(0.0, 0.3), corners)

    def paint(
        self,
        rng: np.random.Generator,
        regions: Regions,
        center: tuple[float, float],
        rings: Sequence[tuple[float, int]],
        angle: float | None = None,
    ) -> None:
        """Paint one thing: `rings` are (relative radius, region), outermost first."""
        radius = max(1.0, self.radius * float(np.exp(rng.normal(0, self.spread))))
        reach = radius * self.aspect**0.5 * (1 + 2 * self.waves) + 2
        top, left = max(0, int(center[0] - reach)), max(0, int(center[1] - reach))
        window = regions[top : int(center[0] + reach) + 2, left : int(center[1] + reach) + 2]
        if 0 in window.shape:
            return
        y, x = grid((window.shape[0], window.shape[1]))
        y, x = y + (top - center[0]), x + (left - center[1])
        turn = rng.uniform(0, np.pi) if angle is None else angle
        along = (x * np.cos(turn) + y * np.sin(turn)) / self.aspect**0.5
        across = (-x * np.sin(turn) + y * np.cos(turn)) * self.aspect**0.5
        relative = np.hypot(along, across) / (radius * self._profile(rng, np.arctan2(across, along)))
        for limit, region in rings:
            window[relative < limit] = region

    def _profile(self, rng: np.random.Generator, theta: Array) -> Array:
        if self.corners:
            step = 2 * np.pi / self.corners
            profile = np.cos(step / 2) / np.cos(np.mod(theta, step) - step / 2)
        else:
            profile = np.ones_like(theta)
        for order in (2, 3, 5):
            amplitude = self.waves * rng.normal(0, 0.6) / order
            profile = profile + amplitude * np.cos(order * theta + rng.uniform(0, 2 * np.pi))
        limited: Array = np.maximum(profile, 0.2).astype(np.float32)
        return limited


def paint_stroke(regions: Regions, path: npt.NDArray[np.float64], radius: float, region: int) -> None:
    """Paint discs of `radius` along a path [N, 2] of y, x."""
    reach = int(np.ceil(radius))
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    offsets = offsets[np.hypot(*offsets.T) <= max(radius, 0.5)]
    points = (np.round(path)[:, None] + offsets[None]).reshape(-1, 2).astype(np.int64)
    inside = ((points >= 0) & (points < np.array(regions.shape))).all(1)
    points = points[inside]
    regions[points[:, 0], points[:, 1]] = region
