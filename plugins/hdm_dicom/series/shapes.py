"""Images of one size, kind of pixels, spacing and orientation: what lies on one grid, wherever its slices are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hdm_dicom.files.instances import Frame
from hdm_dicom.files.spacing import counts

_SAME_DIRECTION = 1e-3
_SAME_SPACING = 2e-4
"""Part by which the pixel spacings of one grid differ: positions and lengths are written with few digits."""

_UNPLACED = "file (no position is stated)"
_PARTS = ("size", "size", "color", "pixel spacing", "orientation", _UNPLACED, "modality")
"""What the parts of a group's name are."""

Lengths = tuple[float, ...]
Shape = tuple[tuple[str, ...], list[Frame]]
"""The name of a group, and its frames."""


def by_shape(
    frames: Sequence[Frame], shared: Mapping[str, str], assumed: tuple[float, float] | None = None
) -> list[Shape]:
    """Groups of one size, kind of pixels, spacing and orientation; frames without a place share a file at most.

    Args:
        frames: of one series.
        shared: what tells files of one SOP instance UID apart, by path; see `hdm_dicom.series.copies`.
        assumed: the spacing that the user vouches for, which joins frames that state none to those that have it.
    """
    # Sorted, so that the first one met, which names a group, does not depend on the order of files.
    ordered = sorted(frames, key=lambda f: (f.orientation or (), f.instance.sop_instance, f.index))
    directions = _directions(ordered)
    spacings = _spacings({f.spacing for f in frames if f.spacing is not None})
    joined = None
    if assumed is not None:
        stated = {spacings[f.spacing] for f in frames if f.spacing is not None and counts(f)}
        joined = next((one for one in sorted(stated) if _alike(assumed, one)), None)
    labels = _labels(set(spacings.values()))
    # Only then part of a name: most series have one, and some files state none.
    several = len({f.instance.modality for f in frames if f.instance.modality}) > 1
    groups: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    for frame in ordered:
        instance = frame.instance
        spacing = spacings[frame.spacing] if frame.spacing is not None else ()
        if joined is not None and not counts(frame):
            spacing = joined
        direction = directions[frame.orientation] if frame.orientation is not None else ""
        loner = f"{instance.sop_instance} {shared.get(instance.path, '')}".strip() if frame.position is None else ""
        label = labels.get(spacing, "()")
        size = (str(instance.rows), str(instance.columns), str(instance.samples))
        modality = (instance.modality,) if several else ()
        name = (*size, label, direction, loner, *modality)
        groups[name].append(frame)
    found = [shape for name, members in groups.items() for shape in _by_pixels(name, members)]
    # A series of one group keeps its id when slices are added or spacing is rounded otherwise.
    return found if len(found) > 1 else [((), group) for _, group in found]


def differing(names: Iterable[tuple[str, ...]]) -> list[str]:
    """What tells groups apart, by the names that `by_shape` gives them."""
    known = [name for name in names if name]
    found = [what for what, *values in zip(_PARTS, *known, strict=False) if len(set(values)) > 1]
    return list(dict.fromkeys(found))


def unplaced_beside(members: Sequence[Frame], frames: Iterable[Frame]) -> int:
    """How many images of the series state no place, and else could be slices of this located group."""
    first = members[0]
    if first.position is None:
        return 0

    def kind(frame: Frame) -> tuple[int, int, int, str]:
        i = frame.instance
        return i.rows, i.columns, i.samples, _kind(frame)

    return sum(frame.position is None and kind(frame) == kind(first) for frame in frames)


def _directions(frames: Iterable[Frame]) -> dict[Lengths, str]:
    """The name of each orientation: the first one met that is the same within rounding."""
    known: list[Lengths] = []
    names: dict[Lengths, str] = {}
    for frame in frames:
        mine = frame.orientation
        if mine is None or mine in names:
            continue
        same = next((k for k in known if max(abs(a - b) for a, b in zip(mine, k, strict=True)) < _SAME_DIRECTION), mine)
        if same is mine:
            known.append(mine)
        names[mine] = "/".join(f"{v:.3f}" for v in same)
    return names


def _spacings(stated: Iterable[Lengths]) -> dict[Lengths, Lengths]:
    """For each spacing the least one that is the same within rounding."""
    known: list[Lengths] = []
    found: dict[Lengths, Lengths] = {}
    for mine in sorted(stated):
        found[mine] = next((one for one in known if _alike(mine, one)), mine)
        if found[mine] is mine:
            known.append(mine)
    return found


def _labels(spacings: Iterable[Lengths]) -> dict[Lengths, str]:
    """What spacings are called: with four decimals, and with all where two of a microscope are the same in these."""
    names: dict[str, Lengths] = {}
    for spacing in sorted(spacings):
        rounded = str(tuple(round(v, 4) for v in spacing))
        names[str(spacing) if rounded in names else rounded] = spacing
    return {spacing: name for name, spacing in names.items()}


def _alike(some: Lengths, other: Lengths) -> bool:
    return all(abs(a - b) <= _SAME_SPACING * b for a, b in zip(some, other, strict=True))


def _by_pixels(name: tuple[str, ...], members: list[Frame]) -> list[Shape]:
    """A group by what its values mean: gray or palette. The name is only told where needed."""
    kinds: dict[str, list[Frame]] = defaultdict(list)
    for frame in members:
        kinds[_kind(frame)].append(frame)
    if len(kinds) == 1:
        return [(name, members)]
    rows, columns, samples, *rest = name
    return [((rows, columns, f"{samples} {kind}".strip(), *rest), kinds[kind]) for kind in sorted(kinds)]


def _kind(frame: Frame) -> str:
    return "palette" if frame.instance.photometric == "PALETTE COLOR" else ""
