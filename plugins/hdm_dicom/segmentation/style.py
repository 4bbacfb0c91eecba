"""What is said about a segmentation data set before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MAX_BYTES = 0xFFFFFFFE
"""Most bytes of pixel data that are not compressed."""

MAX_SIDE = 0xFFFF
"""Most rows, and columns."""

OTHERS = "choose the product `nifti` or `label_image`"
"""What to do where there can be no segmentation."""

Kind = Literal["BINARY", "FRACTIONAL", "LABELMAP"]


@dataclass(frozen=True)
class SegmentationStyle:
    """What the pipeline file, or whoever else has it written, says about the data set.

    Attributes:
        kind: BINARY, FRACTIONAL or LABELMAP.
        omit_empty_frames: leave out slices without the class; some viewers misplace such sparse frames.
        series_number: of the new series.
        series_description: of the new series.
        overlapping: a pixel may belong to several segments.
        now: dates and times are those of writing, not those of the source.
        drawn: a person drew the segments.
        names: by segment number a description that tells its name in full.
    """

    kind: Kind
    omit_empty_frames: bool
    series_number: int
    series_description: str
    overlapping: bool = False
    now: bool = field(default=False, repr=False)
    drawn: bool = field(default=False, repr=False)
    names: Mapping[int, str] = field(default_factory=dict, repr=False)
