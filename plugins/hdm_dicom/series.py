"""From frames to volumes: grouping, ordering along the slice normal, and what is wrong with a stack.

A volume is a list of frames ordered by their position along the normal, never by instance number. Coordinates are
DICOM's patient system (LPS, mm; PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hdm_dicom.instances import Frame
from hdm_dicom.options import Policy
from hdm_dicom.uids import digest

Array = npt.NDArray[np.float64]

_SAME_DIRECTION = 1e-3
_SAME_PLACE = 1e-2
"""mm along the normal below which two slices lie at one place."""

_SPACING_TOLERANCE = 0.02
"""Share of the usual spacing by which a spacing may differ: positions are written with few digits."""

_TILT_TOLERANCE = 0.01
"""Sine of the angle between the normal and the way from slice to slice, above which the stack is sheared."""

_MODALITY = re.compile(r"[A-Z]{2,8}")


@dataclass(frozen=True, eq=False)
class Volume:
    """A stack of slices of one orientation and size.

    Attributes:
        id: hashed identifier, safe as a folder name.
        frames: ordered along the slice normal; duplicates removed.
        problems: why the stack is no regular grid; empty if it is one.
        notes: facts the user should know.
    """

    id: str
    frames: tuple[Frame, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    positions: Array = field(init=False)
    depths: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", _positions(self.frames))
        object.__setattr__(self, "depths", self.positions @ self.normal)

    @property
    def first(self) -> Frame:
        """The frame at the lowest place along the normal."""
        return self.frames[0]

    @property
    def located(self) -> bool:
        """The frames state where they lie in the patient."""
        return self.first.position is not None and self.first.orientation is not None

    @property
    def crowded(self) -> bool:
        """Several images lie at one place, and nothing tells which belong together."""
        return _most_at_one_place(self.frames) > 1

    @property
    def axes(self) -> Array:
        """[3, 3] unit vectors in rows: along a row (x), along a column (y), along the normal (z)."""
        return _axes(self.first)

    @property
    def normal(self) -> Array:
        """Unit vector along the slice normal."""
        return np.asarray(self.axes[2])

    @property
    def spacing(self) -> tuple[float, float]:
        """mm between rows, and between columns; 1 where unknown."""
        return self.first.spacing or (1.0, 1.0)

    @property
    def step(self) -> float:
        """mm from slice to slice: the usual one, or the thickness of a single slice (1 where unknown)."""
        if len(self.frames) > 1:
            gaps = np.diff(self.depths)
            gaps = gaps[gaps > _SAME_PLACE]
            if gaps.size:
                return float(np.median(gaps))
        return self.first.thickness or 1.0

    @property
    def affine(self) -> Array:
        """[4, 4] from (x, y, z, 1) of the acquired grid to LPS millimetres."""
        matrix = np.eye(4)
        row_mm, column_mm = self.spacing
        matrix[:3, 0] = self.axes[0] * column_mm
        matrix[:3, 1] = self.axes[1] * row_mm
        count = len(self.frames)
        span = self.positions[-1] - self.positions[0]
        # The mean way from slice to slice, so that a sheared stack (gantry tilt) has its true, sheared affine.
        matrix[:3, 2] = span / (count - 1) if count > 1 and np.any(span) else self.normal * self.step
        matrix[:3, 3] = self.positions[0]
        return matrix


def _axes(frame: Frame) -> Array:
    cosines = np.array(frame.orientation or (1, 0, 0, 0, 1, 0), dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(cosines, axis=1, keepdims=True)
    cosines = cosines / np.where(lengths > 0, lengths, 1)
    return np.vstack([cosines, np.cross(cosines[0], cosines[1])])


def _positions(frames: Sequence[Frame]) -> Array:
    if all(frame.position is not None for frame in frames):
        return np.array([frame.position for frame in frames], dtype=np.float64).reshape(-1, 3)
    steps = np.arange(len(frames), dtype=np.float64) * (frames[0].thickness or 1.0)
    return np.outer(steps, _axes(frames[0])[2])


def volumes(frames: Iterable[Frame], policy: Policy) -> list[Volume]:
    """All volumes that the frames hold, by id."""
    by_series: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_series[_series_key(frame)].append(frame)
    found: list[Volume] = []
    for key, members in by_series.items():
        unique, duplicates = _without_duplicates(members)
        notes: tuple[str, ...] = (f"{duplicates} duplicate images ignored",) if duplicates else ()
        groups = [g for part in _split_by_shape(unique) for g in _split_by_place(part)]
        if len(groups) > 1:
            notes += (f"its series holds {len(groups)} volumes",)
        for name, group in groups:
            found += _stack(digest(key, *name), group, notes, policy)
    return sorted(found, key=lambda volume: volume.id)


def _series_key(frame: Frame) -> str:
    instance = frame.instance
    if instance.series:
        return instance.series
    # Files whose series UID was blanked: one frame of reference and modality count as one series.
    if instance.frame_of_reference and frame.position is not None:
        return f"no series {instance.study} {instance.frame_of_reference} {instance.modality}"
    return f"no series {instance.sop_instance}"


def _without_duplicates(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    seen: dict[tuple[str, int], Frame] = {}
    for frame in sorted(frames, key=lambda f: (f.instance.path, f.index)):
        seen.setdefault((frame.instance.sop_instance, frame.index), frame)
    return list(seen.values()), len(frames) - len(seen)


Group = tuple[tuple[str, ...], list[Frame]]


def _split_by_shape(frames: list[Frame]) -> list[Group]:
    """Groups of one size, colour and orientation; frames without a place that share a file stay together."""
    orientations: list[tuple[float, ...]] = []

    def orientation(frame: Frame) -> int:
        mine = frame.orientation
        if mine is None:
            return -1
        for index, known in enumerate(orientations):
            if max(abs(a - b) for a, b in zip(mine, known, strict=True)) < _SAME_DIRECTION:
                return index
        orientations.append(mine)
        return len(orientations) - 1

    groups: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    # Sorted, so that the first orientation met, which names the group, does not depend on the order of files.
    for frame in sorted(frames, key=lambda f: (f.orientation or (), f.instance.sop_instance, f.index)):
        instance = frame.instance
        spacing = tuple(round(v, 4) for v in frame.spacing or ())
        index = orientation(frame)
        direction = "" if index < 0 else "/".join(f"{v:.3f}" for v in orientations[index])
        loner = instance.sop_instance if frame.position is None else ""
        name = (str(instance.rows), str(instance.columns), str(instance.samples), str(spacing), direction, loner)
        groups[name].append(frame)
    # A series of one group keeps its id when slices are added or spacing is rounded otherwise.
    return list(groups.items()) if len(groups) > 1 else [((), group) for group in groups.values()]


def _split_by_place(part: Group) -> list[Group]:
    """Split where several images lie at one place, by the first attribute (echo, phase, ...) that tells them apart."""
    name, frames = part
    most = _most_at_one_place(frames)
    if most <= 1:
        return [part]
    for index, (key, _) in enumerate(frames[0].keys):
        by_value = _by(frames, lambda f, i=index: f.keys[i][1] if i < len(f.keys) else "")  # type: ignore[misc]
        # An attribute with more values than images at one place numbers slices, not volumes.
        if 1 < len(by_value) <= most and max(map(_most_at_one_place, by_value.values())) < most:
            return [g for value, group in by_value.items() for g in _split_by_place(((*name, key, value), group))]
    return [part]


def _by(frames: Iterable[Frame], key: Callable[[Frame], str]) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return dict(sorted(groups.items()))


def _places(frames: Sequence[Frame]) -> Array:
    return np.asarray(_positions(frames) @ _axes(frames[0])[2])


def _most_at_one_place(frames: Sequence[Frame]) -> int:
    if len(frames) < 2 or frames[0].position is None:
        return 1
    depths = np.sort(_places(frames))
    edges = np.flatnonzero(np.diff(depths) > _SAME_PLACE)
    return int(np.diff(np.concatenate([[-1], edges, [depths.size - 1]])).max())


def _ordered(frames: Sequence[Frame]) -> list[Frame]:
    if any(frame.position is None for frame in frames):
        return sorted(frames, key=lambda f: (f.instance.sop_instance, f.index))
    depths = np.round(_places(frames), 3)
    order = sorted(range(len(frames)), key=lambda i: (depths[i], frames[i].instance.number, _identity(frames[i])))
    return [frames[i] for i in order]


def _identity(frame: Frame) -> tuple[str, int]:
    return frame.instance.sop_instance, frame.index


def _stack(key: str, frames: list[Frame], notes: tuple[str, ...], policy: Policy) -> list[Volume]:
    ordered = _ordered(frames)
    modality = frames[0].instance.modality
    prefix = modality if _MODALITY.fullmatch(modality) else "XX"

    def volume(members: Sequence[Frame], part: int | None = None) -> Volume:
        name = digest(key) if part is None else digest(key, part)
        return Volume(f"{prefix}-{name[:16]}", tuple(members), _problems(members), notes)

    whole = volume(ordered)
    if policy != "split" or not whole.problems:
        return [whole]
    parts = [run for layer in _layers(ordered) for run in _runs(layer)]
    if len(parts) == 1:
        return [whole]
    notes += (f"irregular series split into {len(parts)} volumes",)
    return [volume(members, index) for index, members in enumerate(parts)]


def _layers(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The n-th image of each place goes to layer n."""
    layers: list[list[Frame]] = []
    last, level = None, 0
    for frame, depth in zip(frames, _places(frames), strict=True):
        level = level + 1 if last is not None and depth - last <= _SAME_PLACE else 0
        last = depth
        if level == len(layers):
            layers.append([])
        layers[level].append(frame)
    return layers


def _runs(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Runs of even spacing."""
    if len(frames) < 3:
        return [list(frames)]
    gaps = np.diff(_places(frames))
    usual = float(np.median(gaps))
    runs = [[frames[0]]]
    for frame, gap in zip(frames[1:], gaps, strict=True):
        if abs(gap - usual) > _tolerance(usual):
            runs.append([])
        runs[-1].append(frame)
    return runs


def _tolerance(usual: float) -> float:
    return max(_SPACING_TOLERANCE * usual, _SAME_PLACE)


def _problems(frames: Sequence[Frame]) -> tuple[str, ...]:
    """What keeps a stack from being a regular grid, each in one line without a patient's data."""
    if len(frames) < 2 or any(frame.position is None for frame in frames):
        return ()
    problems: list[str] = []
    most = _most_at_one_place(frames)
    if most > 1:
        problems.append(f"up to {most} different images lie at one place: not one volume")
    gaps = np.diff(_places(frames))
    gaps = gaps[gaps > _SAME_PLACE]
    if gaps.size:
        usual = float(np.median(gaps))
        odd = gaps[np.abs(gaps - usual) > _tolerance(usual)]
        multiples = np.round(odd / usual)
        if odd.size and np.all(multiples >= 2) and np.all(np.abs(odd - multiples * usual) <= _tolerance(usual)):
            problems.append(f"{int((multiples - 1).sum())} slices are missing (spacing {usual:.3f} mm)")
        elif odd.size:
            problems.append(f"slice spacing is uneven: {gaps.min():.3f} to {gaps.max():.3f} mm")
    shear = _shear(frames)
    if shear > _TILT_TOLERANCE:
        problems.append(
            f"slices are shifted against their normal (gantry tilt of {np.degrees(np.arcsin(shear)):.1f} degrees)"
        )
    return tuple(problems)


def _shear(frames: Sequence[Frame]) -> float:
    """Sine of the angle between the normal and the way from the first slice to the last."""
    positions = _positions(frames)
    way = positions[-1] - positions[0]
    length = float(np.linalg.norm(way))
    if length <= _SAME_PLACE:
        return 0.0
    across = way - (way @ _axes(frames[0])[2]) * _axes(frames[0])[2]
    return float(np.linalg.norm(across)) / length
