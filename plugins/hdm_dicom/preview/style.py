"""What the pipeline file says about a preview."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PreviewStyle:
    """What the pipeline file says about a preview.

    Attributes:
        every: every so many slices are shown.
        opacity: of the area of a class, 0 to 1.
        legend: write the names of the classes.
        series_number: of the new series.
        series_description: of the new series.
    """

    every: int
    opacity: float
    legend: bool
    series_number: int
    series_description: str
