"""Figures and lists as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_KINDS = ("volume_ml", "area_m2", "pixels")


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def measure_of(info: Mapping[str, Any]) -> str:
    """What a scene is measured in: volume where it is known, else area, else pixels; empty without a measure."""
    return next((kind for kind in _KINDS if isinstance(info.get(kind), Mapping)), "")


def amount(value: float, kind: str) -> str:
    """A measure with a unit that suits its size: ``12.4 km²``, ``3.1 ha``, ``250 m²``, ``1 204 ml``."""
    if kind == "volume_ml":
        return f"{_number(value)} ml"
    if kind == "pixels":
        return f"{value:,.0f} pixels".replace(",", "\u202f")
    if value >= 1e6:
        return f"{_number(value / 1e6)} km²"
    if value >= 1e4:
        return f"{_number(value / 1e4)} ha"
    if 0 < value < 0.01:
        return f"{_number(value * 1e6)} mm²"
    return f"{_number(value)} m²"


def unit(kind: str, most: float) -> tuple[str, float]:
    """The unit of an axis up to `most`, and how many of the measure's own one of it is."""
    if kind == "volume_ml":
        return "ml", 1.0
    if kind == "pixels":
        return "pixels", 1.0
    return ("km²", 1e6) if most >= 1e6 else ("ha", 1e4) if most >= 1e4 else ("m²", 1.0)


def _number(value: float) -> str:
    """Three digits, or all of a larger number."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}".replace(",", "\u202f")
