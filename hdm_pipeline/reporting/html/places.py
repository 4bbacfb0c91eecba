"""The footprints of scenes as a map: longitude and latitude, stretched so that its middle keeps its shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hdm_pipeline.reporting.html.plots import WIDTH, Tick, spread
from hdm_pipeline.reporting.html.scenes import Overview

_MARGIN = 0.06
_TALLEST, _FLATTEST = 620.0, 220.0
_FEW = 500
"""Scenes up to which outlines keep all their points; of more, corners do."""

_SHADES = 5


@dataclass(frozen=True)
class Outline:
    """A footprint: its path, how much was found there (0..1 of the largest), and the scene's id."""

    id: str
    path: str
    share: float


@dataclass(frozen=True)
class Map:
    """A drawing of footprints with its lines of longitude and latitude.

    Attributes:
        width, height: of the drawing.
        outlines: one a scene; empty where there are many.
        groups: where there are many, the outlines of all scenes with a like share as one.
        meridians, parallels: lines, and what they are.
    """

    width: float
    height: float
    outlines: tuple[Outline, ...]
    groups: tuple[Outline, ...]
    meridians: tuple[Tick, ...]
    parallels: tuple[Tick, ...]


def footprints(found: Overview) -> Map | None:
    """The map of the scenes that are done; None where no place is known."""
    if not found.places:
        return None
    cut = _cut([sum(x for x, _ in around) / len(around) for _, around, _ in found.places])
    placed = [(scene, _moved(around, cut), value) for scene, around, value in found.places]
    west, east = (f(x for _, around, _ in placed for x, _ in around) for f in (min, max))
    south, north = (f(y for _, around, _ in placed for _, y in around) for f in (min, max))
    flat = max(0.05, math.cos(math.radians((south + north) / 2)))
    across, up = max((east - west) * flat, 1e-6), max(north - south, 1e-6)
    pad = _MARGIN * max(across, up)
    across, up = across + 2 * pad, up + 2 * pad
    scale = WIDTH / across
    height = min(_TALLEST, max(_FLATTEST, up * scale))
    scale = min(scale, height / up)
    left, top = (WIDTH - across * scale) / 2 + pad * scale, (height - up * scale) / 2 + pad * scale

    def x(lon: float) -> float:
        return round(left + (lon - west) * flat * scale, 1)

    def y(lat: float) -> float:
        return round(top + (north - lat) * scale, 1)

    most = max((value for _, _, value in placed), default=0.0) or 1.0
    few = len(placed) <= _FEW
    outlines = tuple(
        Outline(scene, _path([(x(lon), y(lat)) for lon, lat in _corners(around, every=few)]), round(value / most, 2))
        for scene, around, value in placed
    )
    groups: dict[float, list[str]] = {}
    for one in () if few else outlines:
        groups.setdefault(math.ceil(one.share * _SHADES) / _SHADES, []).append(one.path)
    gathered = tuple(Outline("", "".join(paths), share) for share, paths in sorted(groups.items()))
    seen = [west - left / flat / scale, east + (WIDTH - x(east)) / flat / scale]
    meridians = tuple(Tick(x(lon), _degrees(_home(lon), "E", "W")) for lon in spread(seen, 6))
    tall = [south - (height - y(south)) / scale, north + y(north) / scale]
    parallels = tuple(Tick(y(lat), _degrees(lat, "N", "S")) for lat in spread(tall, 4) if abs(lat) <= 90)
    return Map(WIDTH, round(height, 1), outlines if few else (), gathered, meridians, parallels)


def _cut(longitudes: Sequence[float]) -> float:
    """The longitude in the middle of the widest gap: the map is cut there, not through scenes at 180 degrees."""
    around = sorted(_home(lon) for lon in longitudes)
    gaps = [(b - a, a) for a, b in zip(around, [*around[1:], around[0] + 360.0], strict=True)]
    gap, start = max(gaps)
    # Where scenes lie to both sides of 180 degrees only, the widest gap is elsewhere; else cut at 180 as maps do.
    return 180.0 if start + gap >= 180.0 >= start else start + gap / 2


def _moved(around: Sequence[Sequence[float]], cut: float) -> list[tuple[float, float]]:
    """An outline whose middle lies within 360 degrees west of the cut."""
    middle = sum(point[0] for point in around) / len(around)
    turn = 360.0 * math.floor((middle - (cut - 360.0)) / 360.0)
    return [(point[0] - turn, point[1]) for point in around]


def _corners(around: Sequence[tuple[float, float]], *, every: bool) -> Sequence[tuple[float, float]]:
    step = 1 if every or len(around) < 8 else len(around) // 4
    return around[::step]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z"


def _home(lon: float) -> float:
    """The same longitude within -180..180."""
    return (lon + 180.0) % 360.0 - 180.0


def _degrees(value: float, positive: str, negative: str) -> str:
    return f"{abs(value):g}°{positive if value > 0 else negative if value < 0 else ''}"
