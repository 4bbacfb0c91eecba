"""A labelled example with all its bands, as the projection and the evidence take it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLED = 8192
"""Labelled pixels of each side (target, background) of an example that are looked at."""

BACKGROUND, TARGET = 0, 1


@dataclass(frozen=True, eq=False)
class BandExample:
    """One labelled example with all its bands.

    Attributes:
        bands: [N, H, W] float32 in 0..1; 0 where not valid.
        valid: [H, W] bool.
        labels: [H, W] uint8: 1 target, 0 background, 255 ignored.
    """

    bands: Tensor
    valid: Tensor
    labels: Tensor

    def places(self, label: int) -> Tensor:
        """Indices [n] into H * W of pixels of a label, evenly spread, at most `SAMPLED`."""
        found = ((self.labels == label) & self.valid).flatten().nonzero()[:, 0]
        if len(found) <= SAMPLED:
            return found
        chosen = torch.linspace(0, len(found) - 1, SAMPLED, dtype=torch.float64, device=found.device)
        return found[chosen.round().long()]
