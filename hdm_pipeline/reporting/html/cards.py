"""A scene on a page: its picture, what was found, what is strange about it, and where its products lie."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.pictures.color import size_of
from hdm_pipeline.reporting.html.scenes import Overview, day_of, measures, warnings_of
from hdm_pipeline.reporting.html.words import amount

_MANY = 1000
"""Scenes from which on the smaller pictures are shown, and one product of each is linked."""


@dataclass(frozen=True)
class Picture:
    """A picture that stands in the page itself."""

    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Measure:
    """What was found of a class: the measure, its interval (empty if unknown), and the mean probability (0..1)."""

    class_index: int
    text: str
    interval: str
    score: float | None


@dataclass(frozen=True)
class Card:
    """What a page tells of a scene.

    Attributes:
        number: place in the order of the page, from 0.
        id: of the scene.
        status: ``done`` or ``quarantined``.
        picture: None where none is kept, or may be shown.
        day: it was taken; empty if unknown.
        measures: by class.
        valid: share of valid pixels, in percent; None if unknown.
        warnings: each with `kind`, `what`, `remedy` and `suspect`.
        error: `what`, `where` and `remedy` of a scene that is quarantined.
        files: (product, path relative to the output directory).
    """

    number: int
    id: str
    status: str
    picture: Picture | None
    day: str
    measures: tuple[Measure, ...]
    valid: float | None
    warnings: list[dict[str, Any]]
    error: dict[str, str]
    files: list[tuple[str, str]]


class Cards:
    """Makes cards, reading of each scene what is needed when it is asked for.

    Args:
        workspace: the output directory.
        ledger: what is known of the scenes.
        found: the order of the page, classes, and in what scenes are measured.
        private: neither days nor places of files that are read are shown.
        pixels: pictures may be shown.
    """

    def __init__(self, workspace: Workspace, ledger: Ledger, found: Overview, *, private: bool, pixels: bool) -> None:
        self._workspace, self._ledger, self._found = workspace, ledger, found
        self._private, self._pixels = private, pixels
        self._order = found.order
        self._many = len(self._order) > _MANY

    def of(self, numbers: Iterable[int], *, pictures: bool = True) -> Iterator[Card]:
        """Cards by their place in the order."""
        for number in numbers:
            record = self._ledger.scene(self._order[number])
            if record is not None:  # it is no longer there while a run goes on
                yield self._card(number, record, pictures=pictures)

    def of_ids(self, scenes: Iterable[str]) -> Iterator[Card]:
        """Cards without pictures by scene id, of scenes that are quarantined."""
        start = len(self._found.done)
        return self.of((start + place for place, _ in enumerate(scenes)), pictures=False)

    def _card(self, number: int, record: SceneRecord, *, pictures: bool) -> Card:
        info, error = record.info, {"what": "", "where": "", "remedy": "", **(record.error or {})}
        if self._private:
            error["where"] = ""
        valid = info.get("valid")
        products = info.get("products") or {}
        files = [(name, paths[0]) for name, paths in products.items() if paths]
        done = record.status == "done"
        return Card(
            number,
            record.id,
            record.status,
            self._picture(record.id) if pictures and done else None,
            "" if self._private else day_of(info),
            tuple(self._measures(record)) if done else (),
            round(100 * valid, 1) if isinstance(valid, int | float) else None,
            warnings_of(info) if done else [],
            {key: str(text) for key, text in error.items()},
            files[:1] if self._many else files,
        )

    def _measures(self, record: SceneRecord) -> Iterator[Measure]:
        kind, scores = self._found.kind, record.info.get("mean_score") or {}
        if not kind:
            return
        values, bounds = measures(record.info, kind, self._found.classes)
        for index, (name, value, bound) in enumerate(zip(self._found.classes, values, bounds, strict=True)):
            known = isinstance((record.info.get(kind) or {}).get(name), int | float)
            text = amount(value, kind) if known else "unknown"
            interval = "" if bound is None else f"{amount(bound[0], kind)} to {amount(bound[1], kind)}"
            yield Measure(index, text, interval, scores.get(name))

    def _picture(self, scene: str) -> Picture | None:
        if not self._pixels:
            return None
        path = self._workspace.quicklook(scene, "small" if self._many else "large")
        try:
            return inline(path.read_bytes())
        except OSError:  # made by an older version, or not made
            return None


def inline(content: bytes) -> Picture:
    """A WebP file as a page holds it."""
    width, height = size_of(content)
    return Picture(f"data:image/webp;base64,{base64.b64encode(content).decode()}", width, height)
