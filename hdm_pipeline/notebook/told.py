"""What `segment` warns of: it runs all the same, and a person should look."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hdm_pipeline.contracts import Pixels, SceneWarning

_BEYOND = 0.01
"""How far pixels may lie beyond 0..1: what resampling overshoots."""


class UnscaledWarning(UserWarning):
    """Pixels lie beyond 0..1, as digital numbers or decibels do: the result may be nonsense."""


class SuspectWarning(UserWarning):
    """The image, an example or the result looks wrong, in the ways that a run tells in `run.json`."""


Told = list[tuple[type[UserWarning], str]]
"""Warnings of one call, in order."""


def suspicions(name: str, warnings: Iterable[SceneWarning]) -> Told:
    """Those of a run's warnings that the result may be nonsense."""
    return [
        (SuspectWarning, f"{name}: {one.what}" + (f"; {one.remedy}" if one.remedy else ""))
        for one in warnings
        if one.suspect
    ]


class Range:
    """The range of the pixels that were seen so far, where nobody scaled them."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.low, self.high = np.inf, -np.inf

    def see(self, pixels: Pixels) -> None:
        """Take pixels in; those that are invalid are 0."""
        self.low = min(self.low, float(pixels.min()))
        self.high = max(self.high, float(pixels.max()))

    def told(self) -> Told:
        """A warning if they lie beyond 0..1."""
        if self.low >= -_BEYOND and self.high <= 1 + _BEYOND:
            return []
        numbers = f"from {self.low:.4g} to {self.high:.4g}"
        remedy = "scale it, and the examples alike; or let `scale` do it: scale=(low, high)"
        return [(UnscaledWarning, f"{self.what} holds numbers {numbers}, not 0..1: {remedy}")]
