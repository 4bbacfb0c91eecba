"""What the session tells, as JSON of docs/decisions/studio.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hdm_pipeline.contracts import ClassInfo, RasterGeometry, SceneHeader, VolumeGeometry
from hdm_pipeline.grid import Window
from hdm_pipeline.session.runs import RunState
from hdm_pipeline.session.values import ExampleState, SceneState, Suggestion, Try

TILE = 256
"""Pixels of a side of the tiles that the page shows."""

Json = dict[str, Any]


def classes(infos: Iterable[ClassInfo]) -> list[Json]:
    """Classes by ascending value."""
    return [{"value": one.value, "name": one.name, "color": hex_color(one.color)} for one in infos]


def hex_color(color: tuple[int, int, int]) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def windows(ranges: Mapping[str, tuple[float, float]]) -> list[Json]:
    """Ranges of values that scenes may be looked at in."""
    return [{"name": name, "low": low, "high": high} for name, (low, high) in ranges.items()]


def scene(state: SceneState) -> Json:
    """SCENE."""
    return {
        "id": state.id,
        "state": state.state,
        "error": dict(state.error),
        "warnings": [warning.as_dict() for warning in state.warnings],
        "date": state.date,
        "measures": {name: dict(values) for name, values in state.measures.items()},
        "uncertainty": state.uncertainty,
        "outputs": list(state.outputs),
        "labeled": state.labeled,
        "name": state.name,
    }


def header(found: SceneHeader) -> Json:
    """What the page needs to show a scene, beside its state."""
    _, _, height, width = found.shape
    return {
        "shape": list(found.shape),
        "pixel_size_m": _pixel_size(found),
        "spacing_mm": _spacing(found),
        "levels": levels(height, width),
        "tile": TILE,
    }


def levels(height: int, width: int) -> int:
    """How many levels there are: 0 is the scene itself, and the last one fits into one tile."""
    return max(0, (max(height, width) - 1).bit_length() - (TILE - 1).bit_length()) + 1


def tile(shape: Sequence[int], z: int, level: int, column: int, row: int) -> tuple[Window, tuple[int, int]] | None:
    """The window of a tile, and its size in pixels of the level; None where the scene has no such tile."""
    _, depth, height, width = shape
    step = 1 << level
    top, left = row * TILE * step, column * TILE * step
    if z >= depth or level >= levels(height, width) or top >= height or left >= width:
        return None
    rows, columns = min(TILE * step, height - top), min(TILE * step, width - left)
    window = Window(z=z, y=top, x=left, height=rows, width=columns)
    return window, (-(-rows // step), -(-columns // step))


def window(found: Window) -> list[int]:
    """[x, y, width, height]."""
    return [found.x, found.y, found.width, found.height]


def tried(number: str, found: Try) -> Json:
    """What a try found."""
    return {
        "id": number,
        "window": window(found.window),
        "seconds": dict(found.seconds),
        "pixels": dict(found.pixels),
        "revision": found.revision,
    }


def example(state: ExampleState) -> Json:
    """EXAMPLE."""
    return {
        "class_name": state.class_name,
        "name": state.name,
        "scene": state.scene,
        "target": state.target,
        "background": state.background,
        "iou": state.iou,
        "note": state.note,
    }


def suggestion(found: Suggestion) -> Json:
    """One window that is worth labelling."""
    return {
        "scene": found.scene,
        "z": found.window.z,
        "window": window(found.window),
        "worth": found.worth,
        "reason": found.reason,
    }


def run(state: RunState, ours: bool, report: str | None) -> Json:
    """RUN."""
    return {
        "state": state.state,
        "phase": state.phase,
        "ours": ours,
        "owner": state.owner,
        "scenes": {"done": state.done, "total": state.total, "quarantined": state.quarantined},
        "tiles_per_second": _rounded(state.tiles_per_second),
        "seconds_left": _rounded(state.seconds_left),
        "error": None if state.error is None else error(state.error),
        "doing": state.doing,
        "steps": None if state.steps is None else list(state.steps),
        "report": report,
    }


def error(found: Mapping[str, str]) -> Json:
    """An error with all of its texts: what a run keeps of a private archive's lacks some."""
    return {"type": "HdmError", "what": "the run failed", "where": "", "remedy": "", **found}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _pixel_size(found: SceneHeader) -> list[float] | None:
    """[x, y] of a pixel; None where the CRS is not projected in metres, or there is none."""
    geometry = found.geometry
    if not isinstance(geometry, RasterGeometry):
        return None
    crs = geometry.crs_wkt or ""
    if not crs.startswith("PROJ") or "foot" in crs.lower():
        return None
    a, b, _, d, e, _ = geometry.transform
    return [math.hypot(a, d), math.hypot(b, e)]


def _spacing(found: SceneHeader) -> list[float] | None:
    """[z, y, x] of a voxel in millimetres; None where it was not measured."""
    geometry = found.geometry
    if not isinstance(geometry, VolumeGeometry) or not geometry.measured:
        return None
    columns = [geometry.affine[axis:12:4] for axis in range(3)]  # of (x, y, z)
    return [round(math.hypot(*column), 6) for column in reversed(columns)]
