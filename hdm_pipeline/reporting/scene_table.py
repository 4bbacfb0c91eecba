"""The end of a run as a person reads it: the scenes with the most of the classes, and what to open next."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Any

SHOWN = 10
"""Scenes in the table; all are in the report."""

_MOST_CLASSES = 3
"""Classes with a column of their own; more are told as one sum."""

_LEAST_NAME = 12
"""Characters of a scene's id that a narrow terminal keeps."""

_AREAS = ((1e6, "km²"), (1e4, "ha"), (1.0, "m²"), (1e-6, "mm²"))

_PAGE = "report.html"

_STYLES = (".qml", ".aux.xml")
"""Files that other programs find by themselves."""

Facts = Mapping[str, Any]
"""One scene's entry of `run.json`."""


@dataclass(frozen=True)
class Foremost:
    """The scenes of a run that are shown.

    Attributes:
        scenes: (id, facts) of those that are done with the most of the classes, at most `SHOWN`, the most first.
        done: number of all that are done.
    """

    scenes: Sequence[tuple[str, Facts]]
    done: int

    @classmethod
    def of(cls, scenes: Iterable[tuple[str, Facts]]) -> Foremost:
        """Choose among the scenes of a `run.json`, which are read once and not kept."""
        count = 0

        def done() -> Iterable[tuple[str, Facts]]:
            nonlocal count
            for scene, facts in scenes:
                if facts["status"] == "done":
                    count += 1
                    yield scene, facts

        return cls(nsmallest(SHOWN, done(), key=lambda one: (_rank(one[1], _names(one[1])), one[0])), count)


def table_lines(found: Foremost, folder: Path, width: int | None = None) -> list[str]:
    """The scenes that are done as a table, those with the most of the classes first; empty without any.

    Args:
        found: the scenes.
        folder: the output directory.
        width: of the terminal in characters; None for lines as long as they come.
    """
    if not found.scenes:
        return []
    names = _names(found.scenes[0][1])
    columns = [(name, [name]) for name in names] if len(names) <= _MOST_CLASSES else [("all classes", names)]
    cells = [_column([_amount(facts, of) for _, facts in found.scenes]) for _, of in columns]
    rows = [
        ["scene", *(title for title, _ in columns), "warnings"],
        *([scene, *row, _warnings(facts)] for (scene, facts), *row in zip(found.scenes, *cells, strict=True)),
    ]
    lines = _aligned(rows, width)
    if found.done > len(found.scenes):
        page = _PAGE if (folder / _PAGE).is_file() else "run.json"
        lines.append(f"... {found.done - len(found.scenes)} more in {page}")
    return lines


def next_lines(head: Mapping[str, Any], found: Foremost, folder: Path, address: str = "") -> list[str]:
    """What to open next, each with its path as a person would type it; the report of the run stands last.

    Args:
        head: of `run.json`.
        found: the scenes.
        folder: where it lies.
        address: of the output, where that is in an object store and `folder` only stands for it.
    """

    def place(name: str) -> str:
        return f"{address}/{name}" if address else typed(folder / name)

    files = [(_PAGE, "pictures, areas and warnings of all scenes")] if (folder / _PAGE).is_file() else []
    for of_product in (head.get("mosaics") or {}).values():
        shown = [name for name in of_product.get("files", ()) if not name.endswith(_STYLES)]
        files += [(name, (of_product.get("about") or {}).get(name, "all scenes as one")) for name in shown]
    for names in (head.get("catalogs") or {}).values():
        files += [(name, "the catalog of all scenes") for name in names if "/" not in name]
    for first, facts in found.scenes[:1]:
        # The first file of a product is the product; others lie beside it.
        files += [(names[0], f"of {first}") for names in (facts.get("products") or {}).values() if names]
    paths = [(place(name), about) for name, about in dict(files).items()]
    longest = max((len(path) for path, _ in paths), default=0)
    told = [f"  {path:{longest}}  {about}" for path, about in paths]
    return (["open next:", *told] if told else []) + [f"report: {place('run.json')}"]


def typed(path: Path) -> str:
    """A path as a person would type it here."""
    try:
        relative = os.path.relpath(path)
    except FileNotFoundError:  # the present folder was removed, while a run went on perhaps
        return str(path)
    return str(path) if relative.startswith("..") else relative


def _names(facts: Facts) -> list[str]:
    """The classes that a scene was measured for, in the order of the pipeline."""
    return list(facts.get("pixels") or {})


def _amount(facts: Facts, names: Sequence[str]) -> tuple[str, float]:
    """How much of some classes a scene holds, as (unit, number): ml, m², or pixels where neither is known."""
    for key, unit in (("volume_ml", "ml"), ("area_m2", "m²"), ("pixels", "px")):
        values = facts.get(key)
        if values:
            return unit, float(sum(values.get(name, 0) for name in names))
    return "px", 0.0


def _rank(facts: Facts, names: Sequence[str]) -> tuple[bool, float]:
    """Sorts scenes: more first; those of which only pixels are known last."""
    unit, value = _amount(facts, names)
    return unit == "px", -value


def _column(amounts: Sequence[tuple[str, float]]) -> list[str]:
    """Amounts as text; all areas of a column in one unit, so that they can be compared."""
    largest = max((value for unit, value in amounts if unit == "m²"), default=0.0)
    per, area = next(((size, name) for size, name in _AREAS if largest >= size), _AREAS[2])
    return [f"{_figure(v / per)} {area}" if unit == "m²" else f"{_figure(v)} {unit}" for unit, v in amounts]


def _figure(value: float) -> str:
    """About three digits: 0, 0.034, 1.25, 45.7, 12,300."""
    if value == 0:
        return "0"
    if value < 1:
        return f"{value:.2g}" if value >= 1e-4 else "<0.0001"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _warnings(facts: Facts) -> str:
    """Names of the warnings; those that may mean nonsense first."""
    warnings = sorted(facts.get("warnings") or (), key=lambda warning: not warning["suspect"])
    return ", ".join(dict.fromkeys(warning["kind"] for warning in warnings)) or "-"


def _aligned(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Rows as lines; names to the left, numbers to the right. Names, and then warnings, give way to a narrow width."""
    numbers = [max(len(row[i]) for row in rows) for i in range(1, len(rows[0]) - 1)]
    names = max(len(row[0]) for row in rows)
    warnings = max(len(row[-1]) for row in rows)
    if width is not None:
        free = width - sum(numbers) - 2 * (len(numbers) + 1)
        names = min(names, max(_LEAST_NAME, free - warnings))
        warnings = min(warnings, max(len("warnings"), free - names))
    lines = []
    for name, *middle, last in rows:
        cells = [f"{_shortened(name, names):{names}}"]
        cells += [f"{text:>{size}}" for text, size in zip(middle, numbers, strict=True)]
        lines.append("  ".join([*cells, _shortened(last, warnings)]))
    return lines


def _shortened(text: str, width: int) -> str:
    """A text with its middle left out: both ends tell names apart."""
    if len(text) <= width:
        return text
    tail = (width - 3) // 2
    return f"{text[: width - 3 - tail]}...{text[len(text) - tail :]}"
