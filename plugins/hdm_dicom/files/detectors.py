"""Where the slices of nuclear medicine lie: its multi-frame files describe the first slice, and count the others.

NM Image Storage keeps position and orientation in the item of its detector (PS3.3 C.8.4.11.1); in a reconstructed
tomogram these are of the first slice, and the spacing between slices, whose sign is the direction, gives the others
(C.8.4.15). Vectors tell which slice, gate or energy window a frame is of (C.8.4.8).
"""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, numbers, values
from hdm_dicom.files.instances import Frame

_NM = "1.2.840.10008.5.1.4.1.1.20"
_SLICES = "SliceVector"
_OTHERS = (
    "EnergyWindowVector",
    "DetectorVector",
    "PhaseVector",
    "RotationVector",
    "RRIntervalVector",
    "TimeSlotVector",
    "TimeSliceVector",
)

DETECTOR_TAGS = ("DetectorInformationSequence", _SLICES, *_OTHERS)
"""What a scan reads for `detector_frames`."""

_RECONSTRUCTED = frozenset({"RECON TOMO", "RECON GATED TOMO"})


def detector_frames(dataset: Dataset, frame: Frame) -> list[Frame]:
    """The frames of a reconstructed tomogram of nuclear medicine, without a place where it does not tell their step.

    Empty for every other image, and where the first slice has no place.

    Args:
        dataset: the header.
        frame: the file's first frame, as any file's.
    """
    instance = frame.instance
    if instance.sop_class != _NM or not _RECONSTRUCTED & set(instance.image_type):
        return []
    detector = (datasets(dataset, "DetectorInformationSequence") or [Dataset()])[0]
    position, cosines = numbers(detector, "ImagePositionPatient", 3), numbers(detector, "ImageOrientationPatient", 6)
    spacing = numbers(dataset, "SpacingBetweenSlices", 1)
    slices = [int(str(value)) for value in values(dataset, _SLICES)]
    if len(slices) != instance.frames:
        slices = list(range(1, instance.frames + 1))
    if position is None or cosines is None:
        return []
    if instance.frames > 1 and (spacing is None or spacing[0] == 0):
        # Without a step all slices would lie at one place: they have none.
        instance = replace(instance, place_fault="SpacingBetweenSlices is 0 or not stated")
        unknown = replace(frame, instance=instance, position=None, orientation=None)
        return [replace(unknown, index=index) for index in range(instance.frames)]
    ax, ay, az, bx, by, bz = cosines
    normal = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    step = spacing[0] if spacing else 0.0
    others = [(name, values(dataset, name)) for name in _OTHERS]

    def at(index: int) -> Frame:
        along = (slices[index] - 1) * step
        return replace(
            frame,
            index=index,
            position=tuple(p + along * n for p, n in zip(position, normal, strict=True)),  # type: ignore[arg-type]
            orientation=cosines,  # type: ignore[arg-type]
            keys=frame.keys + tuple((name, str(v[index]) if len(v) == instance.frames else "") for name, v in others),
        )

    return [at(index) for index in range(instance.frames)]
