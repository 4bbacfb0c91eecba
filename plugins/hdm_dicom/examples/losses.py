"""What of the labels is lost when they are laid onto slices: told, as nobody would miss it in the masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import counted

_COMPLETE = "check that the series is the one that they were drawn on, and that none of its slices is missing"


def off_the_slices(lost: int, of: int, parts: str, named: str) -> tuple[SceneWarning, ...]:
    """That parts of the class lie on no slice, or beside the images; nothing where none is lost.

    Args:
        lost: how many.
        of: how many there are.
        parts: what they are: contours, frames, voxels.
        named: the class, as the pipeline file names it.
    """
    if not lost:
        return ()
    what = f"{lost} of {of} {parts} of {named} lie on no slice of the series, or beside its images: they teach nothing"
    return (SceneWarning("labels_off_slices", what, _COMPLETE),)


def no_areas(kinds: Mapping[str, int], named: str) -> tuple[SceneWarning, ...]:
    """That some contours of the class enclose nothing; nothing where all do."""
    if not kinds:
        return ()
    what = f"{by_type(kinds)} of {named} enclose no area: they teach nothing"
    remedy = "draw them as closed contours (CLOSED_PLANAR), if they should count"
    return (SceneWarning("labels_no_area", what, remedy),)


def by_type(kinds: Mapping[str, int]) -> str:
    """Contours by their geometric type, in words."""
    each = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"{counted(sum(kinds.values()), 'contour')} ({each})"


def masks_without_slice(numbers: Iterable[int], of: int, depth: int) -> tuple[SceneWarning, ...]:
    """That the names of some mask files end in the number of no slice; nothing where none does."""
    beyond = sorted(numbers)
    if not beyond:
        return ()
    shown = ", ".join(map(str, beyond[:5])) + (", ..." if len(beyond) > 5 else "")
    what = f"{len(beyond)} of {of} mask files are for no slice: their names end in {shown}, slices are 0 to {depth - 1}"
    return (SceneWarning("labels_off_slices", what, "number the masks from 0, in the plane of input.options.plane"),)
