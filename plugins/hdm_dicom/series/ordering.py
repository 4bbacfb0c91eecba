"""The order of the frames of a volume: along the normal, never by instance number where they lie apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hdm_dicom.files.instances import Frame
from hdm_dicom.series.places import depths, same_place


def ordered(frames: Sequence[Frame]) -> list[Frame]:
    """Frames along the normal; at one place by instance number; without places by instance and index."""
    if any(frame.position is None for frame in frames):
        return sorted(frames, key=lambda f: (f.instance.sop_instance, f.index, f.instance.number, f.instance.path))
    # What differs by less is noise, and the images' numbers decide.
    rounded = np.round(depths(frames) / (same_place(frames) / 10))

    def key(i: int) -> tuple[object, ...]:
        frame = frames[i]
        return rounded[i], frame.instance.number, frame.instance.sop_instance, frame.index

    return [frames[i] for i in sorted(range(len(frames)), key=key)]


def places(frames: Sequence[Frame]) -> int:
    """How many places along the normal the frames lie at."""
    return int((np.diff(np.sort(depths(frames))) > same_place(frames)).sum()) + 1
