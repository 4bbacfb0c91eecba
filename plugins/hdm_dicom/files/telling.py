"""Attributes by which images of one series are told apart that lie at one place: echo, phase, direction, time.

The order is that in which they are tried. What is absent reads as an empty text.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, numbers, text, values
from hdm_dicom.files.diffusion import B_VALUE, DIFFUSION_TAGS, b_value

_DIGITS = 4
"""Decimals of a direction that count: it is stored with the noise of a rotation."""

_PLAIN = (
    "EchoNumbers",
    "EchoTime",
    "InversionTime",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    B_VALUE,
    "SequenceName",
    "AcquisitionNumber",
    "FlipAngle",
    "ConvolutionKernel",
)
_DIRECTION = "DiffusionGradientOrientation"
_TIMES = (
    ("AcquisitionTime", "AcquisitionDate", "AcquisitionDateTime"),
    ("ContentTime", "ContentDate", ""),
)
"""Time, the date that it belongs to, and the attribute that holds both."""

TELLING_TAGS: tuple[str | int, ...] = (
    *_PLAIN,
    *DIFFUSION_TAGS,
    _DIRECTION,
    *(name for names in _TIMES for name in names if name),
)
"""What a scan reads for `image_keys`."""

RANKED = frozenset(
    {
        "EchoTime",
        "TriggerTime",
        "NominalCardiacTriggerDelayTime",
        "TemporalPositionTimeOffset",
        "AcquisitionNumber",
        "FrameAcquisitionNumber",
        "FrameAcquisitionTime",
        *(name for name, *_ in _TIMES),
    }
)
"""Attributes that grow from volume to volume, and may differ a little from slice to slice of one."""

STACK = "StackID"
"""Frames of several stacks in one file are several volumes, wherever they lie (PS3.3 C.7.6.16.2.2)."""

_GROUPS = (
    ("FrameContentSequence", STACK),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    ("MRDiffusionSequence", B_VALUE),
    ("MRDiffusionSequence", "DiffusionDirectionality"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("CTReconstructionSequence", "ConvolutionKernel"),
)
_LAST_GROUPS = (
    ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("MRModifierSequence", "InversionTimes"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
    ("MRVelocityEncodingSequence", "VelocityEncodingDirection"),
)
"""Tried after all others: what these tell apart has its name, and so its id, from them in most files."""

_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
_TIME, _DATE_AND_TIME = 6, 14
"""Digits of a time, and of a date with a time, to the second."""


def image_keys(dataset: Dataset, image_type: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What a whole file says."""
    keys = [("ImageType", "/".join(image_type)), *((name, _stated(dataset, name)) for name in _PLAIN)]
    keys.append((_DIRECTION, _direction(dataset)))
    for time, date, both in _TIMES:
        stated = _padded(text(dataset, both), _DATE_AND_TIME) if both else ""
        keys.append((time, stated or _moment(text(dataset, date), text(dataset, time))))
    return tuple(keys)


def frame_keys(
    of_file: tuple[tuple[str, str], ...], group: Callable[[str], Dataset], dimensions: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """What the functional groups of one frame say.

    Args:
        of_file: what `image_keys` gives.
        group: the item of a functional group by the name of its sequence.
        dimensions: names of the file's dimensions, see `dimension_names`.
    """
    keys = {name: _stated(group(sequence), name) for sequence, name in _GROUPS}
    keys["FrameType"] = "".join(text(group(sequence), "FrameType") for sequence in _FRAME_TYPES)
    directions = datasets(group("MRDiffusionSequence"), "DiffusionGradientDirectionSequence")
    keys[_DIRECTION] = _direction(directions[0]) if directions else ""
    content = group("FrameContentSequence")
    keys["FrameAcquisitionTime"] = _padded(text(content, "FrameAcquisitionDateTime"), _DATE_AND_TIME)
    indices = values(content, "DimensionIndexValues") if dimensions else []
    keys |= {name: str(indices[i]) if i < len(indices) else "" for i, name in enumerate(dimensions)}
    keys |= {name: "\\".join(map(str, values(group(sequence), name))) for sequence, name in _LAST_GROUPS}
    # What the file says as a whole stands where its frames say nothing.
    merged = dict(of_file)
    merged |= {name: value for name, value in keys.items() if value or name not in merged}
    return tuple(merged.items())


def _stated(dataset: Dataset, name: str) -> str:
    return b_value(dataset) if name == B_VALUE else text(dataset, name)


def dimension_names(dataset: Dataset) -> tuple[str, ...]:
    """What the dimensions of a multi-frame file are called: by the attributes that they index."""
    found = []
    for item in datasets(dataset, "DimensionIndexSequence"):
        tag = values(item, "DimensionIndexPointer")
        found.append(f"dimension {keyword_for_tag(tag[0]) if tag and isinstance(tag[0], int) else ''}")
    return tuple(found)


def _direction(dataset: Dataset) -> str:
    found = numbers(dataset, _DIRECTION, 3)
    return "" if found is None else "\\".join(f"{round(v, _DIGITS) + 0.0:g}" for v in found)


def _moment(date: str, time: str) -> str:
    return f"{date}{_padded(time, _TIME)}" if time else ""


def _padded(stated: str, digits: int) -> str:
    """A time of so many digits before its fraction, whatever was left out; without a time zone."""
    if not stated:
        return ""
    whole, dot, fraction = stated.replace(":", "").split("+")[0].partition(".")  # old files write 10:11:12
    return f"{whole:0<{digits}}{dot}{fraction}"


def rank_value(value: str) -> Decimal | None:
    """A value of a `RANKED` attribute as a number that orders; None where it is none.

    Dates and times are digits from the largest unit to the smallest: only their order counts, and a float would lose
    the fractions of a second.
    """
    try:
        number = Decimal(value)
    except ArithmeticError:
        return None
    return number if number.is_finite() else None
