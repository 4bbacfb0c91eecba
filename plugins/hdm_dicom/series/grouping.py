"""From frames to volumes: which images belong together, ordered along the slice normal.

A volume is a list of frames ordered by their position along the normal, never by instance number. Coordinates are
DICOM's patient system (LPS, mm; PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hdm_dicom.files.instances import Frame
from hdm_dicom.files.uids import digest
from hdm_dicom.options import TOLERANCE, Policy
from hdm_dicom.series.copies import without_copies
from hdm_dicom.series.ordering import ordered
from hdm_dicom.series.phases import phases_by_number, phases_by_rank
from hdm_dicom.series.places import most_at_one_place
from hdm_dicom.series.regularity import problems
from hdm_dicom.series.runs import runs, runs_that_meet
from hdm_dicom.series.shapes import by_shape, differing, unplaced_beside
from hdm_dicom.series.telling_apart import Group, apart, by_stack, regular_by_header
from hdm_dicom.series.volume import Volume

_MODALITY = re.compile(r"[A-Z]{2,8}")


def volumes(
    frames: Iterable[Frame],
    policy: Policy,
    tolerance: float = TOLERANCE,
    assumed: tuple[float, float] | None = None,
) -> list[Volume]:
    """All volumes that the frames hold, by id.

    Args:
        frames: of any number of series.
        policy: what becomes of irregular ones; see `hdm_dicom.options`.
        tolerance: share of the slice spacing within which a stack is even; see `hdm_dicom.series.regularity`.
        assumed: pixel spacing (rows, columns; mm) that the user vouches for where files state none.
    """
    by_series: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_series[_series_key(frame)].append(frame)
    found: list[Volume] = []
    for key, members in by_series.items():
        found += _of_series(_Series(key, policy, tolerance, assumed), members)
    return sorted(found, key=lambda volume: volume.id)


def series_id(series: str, modality: str) -> str:
    """The id of a series' volume, where it holds one.

    Args:
        series: SeriesInstanceUID.
        modality: of the series.
    """
    prefix = modality if _MODALITY.fullmatch(modality) else "XX"
    return f"{prefix}-{digest(digest(series))[:16]}"


def assembled(
    name: str,
    frames: Sequence[Frame],
    notes: tuple[str, ...],
    shared: int,
    tolerance: float = TOLERANCE,
    unplaced: int = 0,
) -> Volume:
    """The volume of these frames, whatever else their series holds."""
    members = ordered(frames)
    return Volume(name, tuple(members), problems(members, tolerance), notes, shared, unplaced)


@dataclass(frozen=True)
class _Series:
    key: str
    policy: Policy
    tolerance: float
    assumed: tuple[float, float] | None


def _of_series(series: _Series, frames: Sequence[Frame]) -> list[Volume]:
    unique = without_copies(frames)
    notes: tuple[str, ...] = ()
    if unique.copies:
        copies = "1 copy of an image" if unique.copies == 1 else f"{unique.copies} copies of images"
        notes += (f"{copies} ignored (same SOP instance UID, place and pixels)",)
    shapes = by_shape(unique.frames, unique.shared, series.assumed)
    groups = [
        group
        for shape in shapes
        for stack in by_stack(shape, series.tolerance)
        for group in apart(stack, series.tolerance)
    ]
    if len(groups) > 1:
        notes += (_several(groups, [name for name, _ in shapes]),)
    found = []
    for name, group in groups:
        unplaced = unplaced_beside(group, unique.frames)
        found += [replace(volume, unplaced=unplaced) for volume in _stack(series, name, group, notes, unique.shared)]
    return found


def _several(groups: Sequence[Group], shapes: Sequence[tuple[str, ...]]) -> str:
    """That a series holds several volumes, and by what they are told apart; attributes are named, not their values.

    A group's name begins with that of its shape; pairs of attribute and value follow.
    """
    length = len(shapes[0])
    told = dict.fromkeys([*(what for name, _ in groups for what in name[length::2]), *differing(shapes)])
    return f"its series holds {len(groups)} volumes, told apart by {', '.join(told)}"


def _series_key(frame: Frame) -> str:
    instance = frame.instance
    if instance.series:
        return instance.series
    # Files whose series UID was blanked: one frame of reference and modality count as one series.
    if instance.frame_of_reference and frame.position is not None:
        return f"no series {instance.study} {instance.frame_of_reference} {instance.modality}"
    return f"no series {instance.sop_instance}"


def _stack(
    series: _Series, name: Sequence[str], frames: list[Frame], notes: tuple[str, ...], shared: Mapping[str, str]
) -> list[Volume]:
    key = digest(series.key, *name)
    modality = frames[0].instance.modality
    prefix = modality if _MODALITY.fullmatch(modality) else "XX"

    def volume(members: Sequence[Frame], *part: str) -> Volume:
        ambiguous = sum(frame.instance.path in shared for frame in members)
        return assembled(f"{prefix}-{digest(key, *part)[:16]}", members, notes, ambiguous, series.tolerance)

    whole = volume(frames)
    if series.policy != "split" or not whole.problems:
        return [whole]
    parts, how = _parts(whole, series.tolerance)
    if len(parts) == 1:
        return [whole]
    notes += (f"irregular series split into {len(parts)} volumes {how}",)
    return [volume(members, name) for name, members in parts.items()]


def _parts(whole: Volume, tolerance: float) -> tuple[dict[str, list[Frame]], str]:
    """The regular parts of an irregular volume, by what names them for ever, and how they were found.

    One part, where images at one place leave doubt which belong together.
    """
    found, how = _phases(whole, tolerance) if whole.crowded else (runs(whole.frames, tolerance), "by their spacing")
    most = max(len(found), most_at_one_place(whole.frames))
    told = regular_by_header(whole.frames, most, tolerance)
    if told is not None:
        return told, f"by {next(iter(told)).split()[0]}"
    # By its first image: a part keeps its name when another one grows.
    return {_first(members): members for members in found}, how


def _phases(whole: Volume, tolerance: float) -> tuple[list[list[Frame]], str]:
    """Regular parts of images that lie at one place, by their order in time or their spacing."""
    frames = whole.frames
    ranked, meeting = phases_by_rank(frames), runs_that_meet(frames, tolerance)
    parts = [run for phase in ranked[1] for run in runs(phase, tolerance)] if ranked else []
    if meeting and (not ranked or len(meeting) < len(parts)):
        return meeting, "by their spacing, those at one place by instance number: nothing else tells them apart"
    told = ranked or phases_by_number(frames)
    if told is None:
        return [list(frames)], ""
    key, phases = told
    parts = [run for phase in phases for run in runs(phase, tolerance)]
    return parts, f"by {key}" + (" and their spacing" if len(parts) > len(phases) else "")


def _first(frames: Sequence[Frame]) -> str:
    return " ".join(str(v) for v in (frames[0].instance.sop_instance, frames[0].index, *(frames[0].position or ())))
