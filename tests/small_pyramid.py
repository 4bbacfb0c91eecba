"""Pyramid networks of a few thousand weights."""

from __future__ import annotations

import torch

from hdm_pipeline.model.pyramid.network import HDMNetPyramid

SMALLEST = {
    "widths": [8, 8, 8, 8, 8],
    "depths": [1, 0, 0, 0, 0],
    "heads": 1,
    "evidence_widths": [8, 8, 8, 8],
    "state_widths": [8, 8, 8, 8],
    "guides": [2, 2, 2, 2],
}
"""Options of the smallest network that can be trained, as a training file gives them."""


def small_pyramid(seed: int) -> HDMNetPyramid:
    """In eval mode; its closed-form evidence can already tell bright from dark."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HDMNetPyramid(
            widths=(8, 8, 8, 8, 8),
            depths=(1, 1, 1, 1, 1),
            heads=2,
            evidence_widths=(8, 8, 8, 8),
            state_widths=(8, 8, 8, 8),
        ).eval()
