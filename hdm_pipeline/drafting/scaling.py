"""Which bands are used, and how their values become 0..1: chosen by what the bands are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hdm_pipeline.config.schema import WINDOWS
from hdm_pipeline.drafting.look import Look, Range

_MOST_BANDS = 12
"""Bands that are used of themselves; more cost time, and a person should choose."""

_POLARIZATIONS = ("vv", "vh", "hh", "hv")
_RATIO = (-2.0, 16.0)
_SUV = (0.0, 10.0)
_SOFT_TISSUE = "abdomen"
_EIGHT_BITS = (0.0, 255.0)
_DARK = 64.0
"""Greatest value of 8-bit bands that use their range so little that fixed ends would leave them black."""


@dataclass(frozen=True)
class Scaling:
    """What stands under `input.bands` and `input.scale`.

    Attributes:
        bands: one-based indices, or arithmetic.
        scale: as in the file: ``{"fixed": ...}`` or ``{"percentiles": ...}``.
        why: what it rests on, for a comment.
        radar: it is radar, for which other weights are better.
    """

    bands: list[int | str]
    scale: dict[str, Any]
    why: str
    radar: bool = False


def choose(look: Look, class_name: str) -> Scaling:
    """Bands and scale for an archive."""
    measured = [i for i, band in enumerate(look.bands) if not band.role] or list(range(len(look.bands)))
    chosen = measured[:_MOST_BANDS]
    bands: list[int | str] = [i + 1 for i in chosen]
    units = {look.bands[i].unit for i in chosen}
    kinds = {header.dtype for header in look.headers}
    if units == {"HU"}:
        window = next((name for name in WINDOWS if name in class_name.casefold() and name != "liver"), _SOFT_TISSUE)
        low, high = WINDOWS[window]
        return Scaling(bands, {"fixed": window}, f"a window of CT: {low:g} to {high:g} HU; others: {_others(window)}")
    if all(unit.startswith("SUV") for unit in units) and units:
        return Scaling(bands, {"fixed": list(_SUV)}, "standardized uptake values; the same for all scenes")
    if _is_radar(look, chosen):
        return _radar(look, chosen)
    seen = max((look.extremes[i][1] for i in chosen if i < len(look.extremes)), default=255.0)
    if kinds == {"uint8"} and seen > _DARK:
        return Scaling(bands, {"fixed": list(_EIGHT_BITS)}, "8-bit values; the same for all scenes")
    ends = [1, 99] if look.volumes else [2, 98]
    return Scaling(bands, {"percentiles": ends}, "of each scene's own values, because they differ from scene to scene")


def _others(window: str) -> str:
    return ", ".join(name for name in WINDOWS if name != window)


def _is_radar(look: Look, chosen: list[int]) -> bool:
    """Backscatter in dB: the unit says so, or the bands' names and that most values are negative."""
    if all(look.bands[i].unit == "dB" for i in chosen):
        return True
    named = all(any(p in look.bands[i].name.casefold() for p in _POLARIZATIONS) for i in chosen)
    return named and bool(look.usual) and all(look.usual[i][0] < -5 and look.usual[i][1] < 20 for i in chosen)


def _radar(look: Look, chosen: list[int]) -> Scaling:
    """Fixed ranges in dB; of two polarizations also their ratio."""
    bands: list[int | str] = [i + 1 for i in chosen]
    ranges = [_rounded(look.usual[i]) if look.usual else (-25.0, 0.0) for i in chosen]
    if len(chosen) == 2:
        bands.append(f"b{chosen[0] + 1} - b{chosen[1] + 1}")
        ranges.append(_RATIO)
    why = "dB, by what a sample of scenes holds; the same for all scenes"
    return Scaling(bands, {"fixed": [list(pair) for pair in ranges]}, why, radar=True)


def _rounded(found: Range) -> Range:
    """A little wider, in whole steps, and never empty."""
    low, high = math.floor(found[0]), math.ceil(found[1])
    return float(low), float(max(high, low + 1))
