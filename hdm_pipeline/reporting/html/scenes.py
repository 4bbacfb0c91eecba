"""The scenes of an output directory in the order of the page, and what the page sums up over all of them.

One pass over the ledger keeps a few numbers a scene and its footprint; everything else of a scene is read again when
its page is made. So memory grows by less than 6 KB a scene (`benchmarks/bench_report.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.reporting.html.words import measure_of

SHOWN = 5
"""Scenes of a kind of warning that are named on the first page; each warning stands with its scene."""

MOST_QUARANTINED = 200
"""Quarantined scenes that the first page tells of; all have their place among the scenes."""

MOST_PLACES = 20_000
"""Footprints that are drawn."""


@dataclass
class WarningKind:
    """Warnings of one kind.

    Attributes:
        kind: short name.
        what, remedy: of the first one.
        suspect: the result of such a scene may be nonsense.
        count: scenes that have it.
        scenes: ids of the first `SHOWN`.
    """

    kind: str
    what: str
    remedy: str
    suspect: bool
    count: int = 0
    scenes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """What is kept of a scene that is done: its largest measure, and for the plots those by class.

    Attributes:
        id: of the scene.
        value: the sum of its measures over classes.
        values: the measure of each class, in the order of `Overview.classes`.
        bounds: (smallest, largest) of each class; None where no interval is known.
    """

    id: str
    value: float
    values: tuple[float, ...]
    bounds: tuple[tuple[float, float] | None, ...]


@dataclass
class Overview:
    """Everything that is summed up over the scenes.

    Attributes:
        classes: names, in the order of the pipeline.
        kind: what scenes are measured in: ``area_m2``, ``volume_ml`` or ``pixels``; empty before there is one.
        done: scenes by largest measure.
        quarantined: ids of those that are.
        running: ids of those that are being worked on, or were.
        vanished: number of those that are no longer in the archive.
        warnings: by kind.
        by_day: sums of the measure of each class by day, ``2024-06-02``.
        scenes_by_day: how many scenes of a day are done.
        places: (id, footprint, measure) of scenes that are done.
        files: scenes that have files of a product, by product.
    """

    classes: tuple[str, ...]
    kind: str = ""
    done: list[Found] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    vanished: int = 0
    warnings: dict[str, WarningKind] = field(default_factory=dict)
    by_day: dict[str, list[float]] = field(default_factory=dict)
    scenes_by_day: Counter[str] = field(default_factory=Counter)
    places: list[tuple[str, Sequence[Sequence[float]], float]] = field(default_factory=list)
    files: Counter[str] = field(default_factory=Counter)

    @property
    def order(self) -> list[str]:
        """Ids in the order of the page: those that are done, largest first, then those that are quarantined."""
        return [*(one.id for one in self.done), *self.quarantined]


def overview(ledger: Ledger, classes: Sequence[str], *, private: bool) -> Overview:
    """Go through all scenes once; of a private archive no day and no place is kept."""
    found = Overview(tuple(classes))
    for record in ledger.walk():
        match record.status:
            case "done":
                _take(found, record, private=private)
            case "quarantined":
                found.quarantined.append(record.id)
            case "running":
                found.running.append(record.id)
            case "vanished":
                found.vanished += 1
    found.done.sort(key=lambda one: (-one.value, one.id))
    return found


def _take(found: Overview, record: SceneRecord, *, private: bool) -> None:
    info = record.info
    if not found.classes and isinstance(info.get("pixels"), Mapping):
        found.classes = tuple(info["pixels"])
    # One unit for all: where the area of one scene is unknown, it counts as none.
    found.kind = found.kind or measure_of(info)
    values, bounds = measures(info, found.kind, found.classes)
    total = sum(values)
    found.done.append(Found(record.id, total, values, bounds))
    for one in warnings_of(info):
        entry = found.warnings.setdefault(
            one["kind"], WarningKind(one["kind"], one["what"], one["remedy"], bool(one["suspect"]))
        )
        entry.count += 1
        if len(entry.scenes) < SHOWN:
            entry.scenes.append(record.id)
    for product in info.get("products") or ():
        found.files[product] += 1
    if private:
        return
    if day := day_of(info):
        sums = found.by_day.setdefault(day, [0.0] * len(found.classes))
        found.by_day[day] = [a + b for a, b in zip(sums, values, strict=True)]
        found.scenes_by_day[day] += 1
    around = info.get("footprint")
    if around and len(found.places) < MOST_PLACES:
        found.places.append((record.id, around, total))


def measures(
    info: Mapping[str, Any], kind: str, classes: Sequence[str]
) -> tuple[tuple[float, ...], tuple[tuple[float, float] | None, ...]]:
    """The measure of each class, 0 where unknown, and its interval."""
    values = info.get(kind) or {}
    intervals = info.get(f"{kind}_interval") or {}
    bounds = (intervals.get(name) for name in classes)
    return (
        tuple(float(values.get(name) or 0.0) for name in classes),
        tuple((float(one[0]), float(one[1])) if one else None for one in bounds),
    )


def warnings_of(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Warnings of a scene, each with `kind`, `what`, `remedy` and `suspect`; older versions wrote plain texts."""
    plain = {"kind": "note", "what": "", "remedy": "", "suspect": False}
    return [plain | (one if isinstance(one, dict) else {"what": str(one)}) for one in info.get("warnings") or ()]


def day_of(info: Mapping[str, Any]) -> str:
    """The day that a scene was taken, ``2024-06-02``; empty if unknown."""
    date = info.get("date")
    return date[:10] if isinstance(date, str) else ""
