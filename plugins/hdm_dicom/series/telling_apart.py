"""Volumes of one series that lie in one another: told apart by what their headers say, never by the order of files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from hdm_dicom.files.instances import Frame
from hdm_dicom.files.telling import RANKED, STACK, rank_value
from hdm_dicom.options import TOLERANCE
from hdm_dicom.series.ordering import ordered, places
from hdm_dicom.series.places import most_at_one_place
from hdm_dicom.series.regularity import problems

_FILE = "file"
_LEAST = 3
"""Images of a run that an attribute tells apart: the spacing of two is always even."""

Name = tuple[str, ...]
Group = tuple[Name, list[Frame]]
"""What makes a group, by attribute and value, and its frames."""


def apart(part: Group, tolerance: float = TOLERANCE) -> list[Group]:
    """Split where several images lie at one place, by attributes that tell them apart.

    The first attribute whose values make regular volumes of all images is taken; if there is none, the first that
    leaves fewer images at one place, and what it leaves is split again.
    """
    name, frames = part
    most = most_at_one_place(frames)
    if most <= 1:
        return [part]
    splits = list(_splits(frames, most))
    for key, groups in splits:
        if _regular(groups, tolerance):
            return [((*name, key, value), group) for value, group in groups.items()]
    for key, groups in splits:
        return [g for value, group in groups.items() for g in apart(((*name, key, value), group), tolerance)]
    return [part]


def by_stack(part: Group, tolerance: float = TOLERANCE) -> list[Group]:
    """Split frames by their stack, where files hold several.

    Stacks that lie in a file each are split only where they make no regular volume together, and each of them does:
    writers number the files of one volume, too.
    """
    name, frames = part
    stacks: dict[str, set[str]] = defaultdict(set)
    for frame in frames:
        stacks[frame.instance.path].add(_value(frame, STACK))
    one_each = max(map(len, stacks.values())) <= 1
    if one_each and len(set().union(*stacks.values())) <= 1:
        return [part]
    groups = _by(frames, lambda frame: _value(frame, STACK))
    # A writer that numbers its slices so has no stacks.
    if len(groups) <= 1 or max(map(len, groups.values())) <= 1:
        return [part]
    if one_each:
        small = min(map(len, groups.values())) < _LEAST
        if small or not problems(ordered(frames), tolerance) or not _regular(groups, tolerance):
            return [part]
    return [((*name, STACK, value), group) for value, group in groups.items()]


def regular_by_header(
    frames: Sequence[Frame], most_groups: int, tolerance: float = TOLERANCE
) -> dict[str, list[Frame]] | None:
    """The frames by the first attribute whose values make at most so many groups, each of them regular; or None."""
    for key in (*_names(frames), "SliceThickness"):
        groups = _by(frames, lambda frame, k=key: _value(frame, k))  # type: ignore[misc]
        few = 1 < len(groups) <= most_groups and all(len(group) >= _LEAST for group in groups.values())
        if few and _regular(groups, tolerance):
            return {f"{key} {value}": group for value, group in groups.items()}
    return None


def _regular(groups: Mapping[str, Sequence[Frame]], tolerance: float) -> bool:
    return not any(problems(ordered(group), tolerance) for group in groups.values())


def _splits(frames: Sequence[Frame], most: int) -> Iterable[tuple[str, dict[str, list[Frame]]]]:
    """Ways to split that leave fewer images at one place, by attribute."""
    for key in _names(frames):
        groups = _by(frames, lambda frame, k=key: _value(frame, k))  # type: ignore[misc]
        # An attribute with more values than images at one place numbers slices, not volumes.
        if 1 < len(groups) <= most and max(map(most_at_one_place, groups.values())) < most:
            yield key, groups
        elif key in RANKED and len(groups) > most and (ranked := _by_rank(frames, key, most)) is not None:
            yield key, ranked


def _by_rank(frames: Sequence[Frame], key: str, most: int) -> dict[str, list[Frame]] | None:
    """The first image at each place, the second, and so on, by an attribute that grows from volume to volume.

    None unless each place has as many images, and every image of one volume comes before every one of the next.
    """
    values = [rank_value(_value(frame, key)) for frame in frames]
    size = places(frames)
    if len(frames) != size * most or any(value is None for value in values):
        return None
    order = sorted(range(len(frames)), key=lambda i: values[i])  # type: ignore[arg-type,return-value]
    cuts = range(size, len(frames), size)
    if any(values[order[cut - 1]] == values[order[cut]] for cut in cuts):
        return None
    groups = {str(n): [frames[i] for i in order[n * size : (n + 1) * size]] for n in range(most)}
    return groups if all(most_at_one_place(group) == 1 for group in groups.values()) else None


def _names(frames: Sequence[Frame]) -> list[str]:
    names = dict.fromkeys(name for name, _ in frames[0].keys)
    return [*names, _FILE] if any(frame.instance.frames > 1 for frame in frames) else list(names)


def _value(frame: Frame, key: str) -> str:
    if key == _FILE:
        return frame.instance.sop_instance
    if key == "SliceThickness":
        return f"{frame.thickness:g}"
    return next((value for name, value in frame.keys if name == key), "")


def _by(frames: Iterable[Frame], key: Callable[[Frame], str]) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return dict(sorted(groups.items()))
