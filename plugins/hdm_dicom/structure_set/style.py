"""What the pipeline file says about a structure set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StructureStyle:
    """What the pipeline file says about the structure set.

    Attributes:
        series_number: of the new series.
        series_description: of the new series, and name of the structure set.
        overlapping: a pixel may belong to several structures.
    """

    series_number: int
    series_description: str
    overlapping: bool = False
