"""How large a pixel is, by what a file states: nothing is made up where it states nothing that makes sense.

Which attribute counts depends on the image (PS3.3 section 10.7): `PixelSpacing` is measured in the patient.
`ImagerPixelSpacing` is measured at the detector of a projection, where everything is larger than in the patient;
`NominalScannedPixelSpacing` on the film that was digitised; an ultrasound region has a scale of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, numbers, text, values
from hdm_dicom.files.instances import Frame

IN_PATIENT = "PixelSpacing"
AT_DETECTOR = "ImagerPixelSpacing"
ON_FILM = "NominalScannedPixelSpacing"
IN_REGION = "SequenceOfUltrasoundRegions"
_CALIBRATION = "PixelSpacingCalibrationType"

SPACING_TAGS = (IN_PATIENT, AT_DETECTOR, ON_FILM, _CALIBRATION, IN_REGION, "SliceThickness")
"""What a scan reads for `pixel_spacing` and `thickness`."""

_LEAST, _MOST = 1e-6, 1e4
"""mm from pixel to pixel that some instrument may have: from a nanometre to ten metres."""

_TWO_DIMENSIONAL = 1
_CENTIMETRES = 3


@dataclass(frozen=True, slots=True)
class Spacing:
    """mm from pixel to pixel.

    Attributes:
        value: mm between rows, mm between columns; None if unknown.
        source: keyword of the attribute that states it; empty if unknown.
        fault: what is wrong with an attribute that is stated and makes no sense; empty if nothing.
    """

    value: tuple[float, float] | None = None
    source: str = ""
    fault: str = ""


def counts(frame: Frame) -> bool:
    """What states the frame's spacing counts for it: in the patient, only PixelSpacing does."""
    return frame.spacing_from == IN_PATIENT or (frame.position is None and frame.spacing is not None)


def pixel_spacing(dataset: Dataset, *, located: bool = False) -> Spacing:
    """The pixel spacing that a data set states, or the item of a sequence.

    Args:
        dataset: what states it.
        located: the image lies in the patient, as slices do: its PixelSpacing is never that of a projection.
    """
    fault = ""
    for name in (IN_PATIENT, AT_DETECTOR, ON_FILM):
        if not values(dataset, name):
            continue
        pair = numbers(dataset, name, 2)
        if pair is None or not all(_LEAST <= length <= _MOST for length in pair):
            fault = fault or f"{name} is no pair of lengths above 0"
            continue
        value = (pair[0], pair[1])
        if name == IN_PATIENT and not located and _copied(dataset, value):
            name = AT_DETECTOR
        return Spacing(value, name, fault)
    region = _of_regions(dataset)
    return Spacing(region, IN_REGION if region else "", fault)


def _copied(dataset: Dataset, value: tuple[float, float]) -> bool:
    """PixelSpacing repeats that at the detector, as the standard allows: nobody has corrected the magnification."""
    return value == numbers(dataset, AT_DETECTOR, 2) and not text(dataset, _CALIBRATION)


def _of_regions(dataset: Dataset) -> tuple[float, float] | None:
    """The scale of the two-dimensional regions of an ultrasound image, if they have one and the same."""
    found = set()
    for item in datasets(dataset, IN_REGION):
        if numbers(item, "RegionSpatialFormat", 1) != (_TWO_DIMENSIONAL,):
            continue
        units = [numbers(item, f"PhysicalUnits{axis}Direction", 1) for axis in "XY"]
        deltas = [numbers(item, f"PhysicalDelta{axis}", 1) for axis in "YX"]
        if units != [(_CENTIMETRES,)] * 2 or None in deltas:
            return None
        row, column = (10 * abs(delta[0]) for delta in deltas if delta is not None)
        found.add((row, column))
    if len(found) != 1:
        return None
    (value,) = found
    return value if all(_LEAST <= length <= _MOST for length in value) else None


def thickness(dataset: Dataset) -> float:
    """SliceThickness in mm; 0 if it is unknown, or no length."""
    stated = numbers(dataset, "SliceThickness", 1)
    return stated[0] if stated is not None and _LEAST <= stated[0] <= _MOST else 0.0
