"""From frames to volumes: grouping, ordering along the slice normal, and the parts of an irregular one.

A volume is a list of frames ordered by their position along the normal, never by instance number. Coordinates are
DICOM's patient system (LPS, mm; PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np

from hdm_dicom.files.instances import Frame
from hdm_dicom.files.uids import digest
from hdm_dicom.options import TOLERANCE, Policy
from hdm_dicom.series.places import depths, most_at_one_place, same_place
from hdm_dicom.series.regularity import breaks, problems
from hdm_dicom.series.volume import Volume

_SAME_DIRECTION = 1e-3

_MODALITY = re.compile(r"[A-Z]{2,8}")


def volumes(frames: Iterable[Frame], policy: Policy, tolerance: float = TOLERANCE) -> list[Volume]:
    """All volumes that the frames hold, by id.

    Args:
        frames: of any number of series.
        policy: what becomes of irregular ones; see `hdm_dicom.options`.
        tolerance: share of the slice spacing within which a stack is even; see `hdm_dicom.series.regularity`.
    """
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
            found += _stack(digest(key, *name), group, notes, policy, tolerance)
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
    most = most_at_one_place(frames)
    if most <= 1:
        return [part]
    for index, (key, _) in enumerate(frames[0].keys):
        by_value = _by(frames, lambda f, i=index: f.keys[i][1] if i < len(f.keys) else "")  # type: ignore[misc]
        # An attribute with more values than images at one place numbers slices, not volumes.
        if 1 < len(by_value) <= most and max(map(most_at_one_place, by_value.values())) < most:
            return [g for value, group in by_value.items() for g in _split_by_place(((*name, key, value), group))]
    return [part]


def _by(frames: Iterable[Frame], key: Callable[[Frame], str]) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return dict(sorted(groups.items()))


def _ordered(frames: Sequence[Frame]) -> list[Frame]:
    if any(frame.position is None for frame in frames):
        return sorted(frames, key=lambda f: (f.instance.sop_instance, f.index))
    nearest = same_place(frames) / 10  # what differs by less is noise, and the images' numbers decide
    rounded = np.round(depths(frames) / nearest)
    order = sorted(range(len(frames)), key=lambda i: (rounded[i], frames[i].instance.number, _identity(frames[i])))
    return [frames[i] for i in order]


def _identity(frame: Frame) -> tuple[str, int]:
    return frame.instance.sop_instance, frame.index


def _stack(key: str, frames: list[Frame], notes: tuple[str, ...], policy: Policy, tolerance: float) -> list[Volume]:
    ordered = _ordered(frames)
    modality = frames[0].instance.modality
    prefix = modality if _MODALITY.fullmatch(modality) else "XX"

    def volume(members: Sequence[Frame], part: int | None = None) -> Volume:
        name = digest(key) if part is None else digest(key, part)
        return Volume(f"{prefix}-{name[:16]}", tuple(members), problems(members, tolerance), notes)

    whole = volume(ordered)
    if policy != "split" or not whole.problems:
        return [whole]
    parts = [run for layer in _layers(ordered) for run in _runs(layer, tolerance)]
    if len(parts) == 1:
        return [whole]
    notes += (f"irregular series split into {len(parts)} volumes",)
    return [volume(members, index) for index, members in enumerate(parts)]


def _layers(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The n-th image of each place goes to layer n."""
    layers: list[list[Frame]] = []
    last, level, nearest = None, 0, same_place(frames)
    for frame, depth in zip(frames, depths(frames), strict=True):
        level = level + 1 if last is not None and depth - last <= nearest else 0
        last = depth
        if level == len(layers):
            layers.append([])
        layers[level].append(frame)
    return layers


def _runs(frames: Sequence[Frame], tolerance: float) -> list[list[Frame]]:
    """Runs of even spacing."""
    ends = [0, *breaks(frames, tolerance), len(frames)]
    return [list(frames[start:end]) for start, end in pairwise(ends)]
