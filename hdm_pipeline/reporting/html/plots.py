"""What the plots are made of: places of bars, points and outlines in a drawing. The templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from hdm_pipeline.errors import counted
from hdm_pipeline.reporting.html.scenes import Found, Overview
from hdm_pipeline.reporting.html.words import amount, unit

WIDTH = 900.0
"""Of all drawings, in their own units."""

_BARS = 20
_MOST_DAYS = 400
_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 280.0, 64.0, 16.0, 12.0, 34.0


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True)
class Bar:
    """A scene's bar: its parts by class as (class index, x, width), and where its interval begins and ends."""

    id: str
    text: str
    parts: tuple[tuple[int, float, float], ...]
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Bars:
    """The largest scenes as bars, with an axis in `unit`."""

    unit: str
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Series:
    """One class over time: points (x, y, what they say), and the line through them."""

    class_index: int
    points: tuple[tuple[float, float, str], ...]
    line: str


@dataclass(frozen=True)
class OverTime:
    """Sums by day (or month), with axes."""

    unit: str
    step: str
    height: float
    bottom: float
    left: float
    right: float
    series: tuple[Series, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


def bars(found: Overview) -> Bars | None:
    """The largest scenes as bars; None where nothing is found, or there is one scene only."""
    shown = [one for one in found.done[:_BARS] if one.value > 0]
    if len(found.done) < 2 or not shown:
        return None
    most = max(max(one.value, _bounds(one)[1] or 0.0) for one in shown)
    name, size = unit(found.kind, most)
    scale = 100.0 / most
    drawn = []
    for one in shown:
        parts, x = [], 0.0
        for index, value in enumerate(one.values):
            if value > 0:
                parts.append((index, round(x, 3), round(value * scale, 3)))
            x += value * scale
        low, high = _bounds(one)
        text = amount(one.value, found.kind)
        drawn.append(
            Bar(one.id, text, tuple(parts), *(None if v is None else round(v * scale, 3) for v in (low, high)))
        )
    return Bars(name, tuple(drawn), tuple(Tick(v * size * scale, f"{v:g}") for v in ticks(most / size, 5)))


def _bounds(one: Found) -> tuple[float | None, float | None]:
    """The interval of the sum over classes; unknown where that of one class is, as errors may all go one way."""
    known = [bound for bound in one.bounds if bound is not None]
    if not known or len(known) < len(one.bounds):
        return None, None
    return sum(low for low, _ in known), sum(high for _, high in known)


def over_time(found: Overview) -> OverTime | None:
    """Sums by day, or by month where there are many days; None where fewer than two are known."""
    step, sums, counts = "day", dict(found.by_day), dict(found.scenes_by_day)
    if len(sums) > _MOST_DAYS:
        step, sums, counts = "month", {}, {}
        for day, values in found.by_day.items():
            month = day[:7] + "-15"
            sums[month] = [a + b for a, b in zip(sums.get(month, [0.0] * len(values)), values, strict=True)]
            counts[month] = counts.get(month, 0) + found.scenes_by_day[day]
    days = {day: parsed for day in sums if (parsed := _date(day)) is not None}
    most = max((max(sums[day], default=0.0) for day in days), default=0.0)
    if len(days) < 2 or most <= 0:
        return None
    name, size = unit(found.kind, most)
    marks = ticks(most / size, 5)
    top = max(marks[-1] * size, most)
    first, last = min(days.values()), max(days.values())
    span = (last - first).days
    right, bottom = WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(day: date) -> float:
        return round(_LEFT + (right - _LEFT) * (day - first).days / span, 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - _TOP) * value / top, 1)

    series = []
    for index in range(len(found.classes)):
        points = [
            (x(days[day]), y(sums[day][index]), _point(day, step, sums[day][index], found.kind, counts[day]))
            for day in sorted(days)
        ]
        series.append(Series(index, tuple(points), " ".join(f"{px},{py}" for px, py, _ in points)))
    up = tuple(Tick(y(value * size), f"{value:g}") for value in marks)
    return OverTime(name, step, _HEIGHT, bottom, _LEFT, right, tuple(series), _dates(first, last, x), up)


def _point(day: str, step: str, value: float, kind: str, scenes: int) -> str:
    when = day if step == "day" else day[:7]
    return f"{when}: {amount(value, kind)} in {counted(scenes, 'scene')}"


def _dates(first: date, last: date, x: Callable[[date], float]) -> tuple[Tick, ...]:
    """Up to six dates along the axis."""
    span = (last - first).days
    count = min(6, span + 1)
    chosen = sorted({first.toordinal() + round(i * span / (count - 1)) for i in range(count)})
    return tuple(Tick(x(date.fromordinal(day)), date.fromordinal(day).isoformat()) for day in chosen)


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def ticks(most: float, about: int) -> list[float]:
    """Round numbers from 0 to the last one within `most`, about so many."""
    if most <= 0:
        return [0.0]
    rough = most / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough * 0.999)
    return [round(step * i, 12) for i in range(int(most / step * 1.0000001) + 1)]


def spread(values: Sequence[float], about: int) -> list[float]:
    """Round numbers within the range of `values`, about so many."""
    low, high = min(values), max(values)
    steps = ticks(max(high - low, 1e-9), about)
    step = steps[1] if len(steps) > 1 else max(high - low, 1e-9)
    start = math.ceil(low / step)
    return [round(step * i, 9) for i in range(start, math.floor(high / step) + 1)]
