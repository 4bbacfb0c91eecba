"""Overlay planes in bits that the pixels do not use (retired in 2006, and still met)."""

from __future__ import annotations

from pydicom.dataset import Dataset

OVERLAY_BITS = tuple((group << 16) | 0x0102 for group in range(0x6000, 0x6020, 2))
"""Tags of OverlayBitPosition; all that `overlays_in_pixels` looks at."""


def overlays_in_pixels(header: Dataset) -> bool:
    """An overlay plane lies in unused bits of the pixels: these bits are no part of the values."""
    positions = (header.get(tag) for tag in OVERLAY_BITS)
    return any(found is not None and found.value not in (None, "", 0) for found in positions)
