"""Volumes that are found and not worked on: localizers, and what `input.select` does not ask for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from hdm_dicom.options import ReaderOptions
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import Skipped

_CALLED_LOCALIZER = re.compile(
    r"(?<![a-z])(locali[sz]ers?|scouts?|scanogram|topogram|surview|survey|pilot|(3|three)[ _-]?plane)(?![a-z])"
)
_FEW = 3
"""Images of a volume that is a localizer if it is called one; more of them are one if they lie in several planes."""

_PARALLEL = 0.99

TAKEN = "; input.options.include_derived takes it"
"""What to do about an image that is left out for what it is made of, or for."""


def chosen(volumes: Sequence[Volume], options: ReaderOptions) -> tuple[list[Volume], list[Skipped]]:
    """The volumes that are worked on, and why the others are not; nothing of what a series is called is repeated."""
    series: dict[str, list[Volume]] = defaultdict(list)
    for volume in volumes:
        series[volume.first.instance.series or volume.id].append(volume)
    taken, left = [], []
    for members in series.values():
        planes = _planes(members)
        for volume in members:
            reason = options.select.left_out(_texts(volume), len(volume.frames))
            if not reason and not options.include_derived and _is_localizer(volume, planes):
                reason = f"a localizer, as its series is called{TAKEN}"
            if reason:
                left.append(Skipped(volume.id, reason))
            else:
                taken.append(volume)
    return sorted(taken, key=lambda volume: volume.id), sorted(left, key=lambda skipped: skipped.uri)


def _is_localizer(volume: Volume, planes: int) -> bool:
    called = volume.first.instance.description
    if not _CALLED_LOCALIZER.search(f"{called.series} {called.protocol}".casefold()):
        return False
    return planes > 1 or len(volume.frames) <= _FEW


def _planes(volumes: Sequence[Volume]) -> int:
    """How many directions the slices of a series have."""
    found: list[np.ndarray] = []
    for volume in volumes:
        if volume.located and not any(abs(float(volume.normal @ known)) > _PARALLEL for known in found):
            found.append(volume.normal)
    return len(found)


def _texts(volume: Volume) -> dict[str, str]:
    instance = volume.first.instance
    return {
        "modality": instance.modality,
        "series_description": instance.description.series,
        "protocol": instance.description.protocol,
        "body_part": instance.description.body_part,
        "image_type": "/".join(instance.image_type),
        "manufacturer": instance.description.manufacturer,
    }
