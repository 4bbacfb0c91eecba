"""What a header says of its stored values: rescale, unit, padding. Pixels are not read here."""

from __future__ import annotations

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, numbers, text
from hdm_dicom.files.instances import Frame

_QUANTITIES = ("CT", "PT")
"""Modalities whose values are quantities even where no unit is stated."""

_UNSPECIFIED = "US"
_FLOATS = ((32.0,), (64.0,))
"""Bits that floating point pixels have, which state neither BitsStored nor PixelRepresentation (PS3.3 C.7.6.24)."""
_RESCALE = ("RescaleSlope", "RescaleIntercept")


def rescale_of(dataset: Dataset) -> tuple[float | None, float | None]:
    """Slope and intercept; None where absent, empty or no number."""
    slope, intercept = (numbers(dataset, name, 1) for name in _RESCALE)
    return slope[0] if slope else None, intercept[0] if intercept else None


def rescale_faults(dataset: Dataset) -> list[str]:
    """What makes the rescale unusable: stated, but no number; or a slope of 0, which makes all pixels alike."""
    found = [
        f"{name} is not a number" for name in _RESCALE if text(dataset, name) and numbers(dataset, name, 1) is None
    ]
    return found + (["RescaleSlope is 0"] if numbers(dataset, "RescaleSlope", 1) == (0.0,) else [])


def unstated(dataset: Dataset) -> list[str]:
    """What the header does not say of its samples, and no decoder can do without."""
    needed = ["SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"]
    if numbers(dataset, "BitsAllocated", 1) not in _FLOATS:
        needed += ["BitsStored", "PixelRepresentation"]
    if (numbers(dataset, "SamplesPerPixel", 1) or (1.0,))[0] > 1:
        needed.append("PlanarConfiguration")
    lacking = [name for name in needed if not text(dataset, name)]
    return [f"no {name} ({_tag(name)})" for name in lacking]


def _tag(name: str) -> str:
    number = tag_for_keyword(name) or 0
    return f"{number >> 16:04x},{number & 0xFFFF:04x}"


def has_lut(dataset: Dataset) -> bool:
    """There is a Modality LUT, which takes the place of slope and intercept (PS3.3 C.11.1)."""
    return bool(datasets(dataset, "ModalityLUTSequence"))


def unit_of(dataset: Dataset, rescale: Dataset, modality: str) -> str:
    """The unit of rescaled values; empty if it is not stated, or stated as unspecified (US).

    Args:
        dataset: of the image.
        rescale: what holds RescaleType: the same, or a frame's own functional group.
        modality: values of CT without RescaleType are HU (PS3.3 C.8.2.1).
    """
    if modality == "PT" and text(dataset, "Units"):
        return text(dataset, "Units")  # RescaleType is no attribute of PET (PS3.3 C.8.9.1)
    luts = datasets(dataset, "ModalityLUTSequence")
    stated = text(luts[0], "ModalityLUTType") if luts else text(rescale, "RescaleType")
    if not stated and modality == "CT":
        return "HU"
    return stated if stated != _UNSPECIFIED else ""


def mirrored(frame: Frame) -> bool:
    """Whether a MONOCHROME1 image is turned into the MONOCHROME2 image of the same look.

    So it is with images of detectors, whose values have no unit: they are mirrored in the range of the stored bits, so
    that all images of a detector are turned alike. A quantity (HU, optical density, Bq/ml) is what it is.
    """
    plain = frame.slope == 1 and not frame.intercept and not frame.lut and not frame.unit
    return frame.instance.photometric == "MONOCHROME1" and plain and frame.instance.modality not in _QUANTITIES


def padding_of(dataset: Dataset) -> tuple[int, int] | None:
    """Lowest and highest stored value that mean "no data"; None without."""
    value = numbers(dataset, "PixelPaddingValue", 1)
    if value is None:
        return None
    limit = numbers(dataset, "PixelPaddingRangeLimit", 1) or value
    bits = int((numbers(dataset, "BitsAllocated", 1) or (16.0,))[0])
    signed = numbers(dataset, "PixelRepresentation", 1) == (1.0,)
    low, high = sorted((_as_stored(value[0], bits, signed), _as_stored(limit[0], bits, signed)))
    return low, high


def _as_stored(number: float, bits: int, signed: bool) -> int:
    # Written with another VR than the pixels have (US for SS), a number is the same bits but another value.
    half, whole = 1 << max(bits - 1, 0), 1 << max(bits, 0)
    if signed and half <= number < whole:
        return int(number) - whole
    return int(number) + whole if not signed and -half <= number < 0 else int(number)
