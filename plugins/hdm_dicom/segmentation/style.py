"""What the pipeline file says about a segmentation data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["BINARY", "FRACTIONAL", "LABELMAP"]


@dataclass(frozen=True)
class SegmentationStyle:
    """What the pipeline file says about the data set.

    Attributes:
        kind: BINARY, FRACTIONAL or LABELMAP.
        omit_empty_frames: leave out slices without the class; some viewers misplace such sparse frames.
        series_number: of the new series.
        series_description: of the new series.
        overlapping: a pixel may belong to several segments.
        now: dates and times are those of writing, not those of the source.
    """

    kind: Kind
    omit_empty_frames: bool
    series_number: int
    series_description: str
    overlapping: bool = False
    now: bool = field(default=False, repr=False)
