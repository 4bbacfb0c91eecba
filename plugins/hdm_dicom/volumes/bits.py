"""Which bits of what is allocated hold the stored value, where the header contradicts itself or the pixels.

PS3.3 C.7.6.3.1 wants HighBit to be BitsStored - 1. Older files put the value higher up; others state it wrongly. The
first, middle and last image of each layout decide, so that all images of a volume are read alike; one that does not
fit is refused when it is read (`Conversion.stored`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from hdm_dicom.files.instances import Frame, Instance
from hdm_dicom.files.overlays import overlays_in_pixels
from hdm_dicom.volumes.conversion import Bits, in_stored_bits, layout
from hdm_dicom.volumes.pixels import FrameReader, plain_bits
from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import SceneError

_KIND = "stored_bits"
_REMEDY = "compare the values with another viewer; if they are wrong, correct BitsStored and HighBit in the files"
Sample = npt.NDArray[Any]


def bits_of(
    frames: Sequence[Frame], where: str, max_frame_pixels: int
) -> tuple[dict[tuple[int, ...], Bits], list[SceneWarning]]:
    """Bits of each layout that is not the usual one, and what a person should know of it.

    Args:
        frames: of a volume.
        where: for messages.
        max_frame_pixels: most rows x columns that are decoded.
    """
    groups: dict[tuple[int, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        instance = frame.instance
        if plain_bits(instance) and instance.samples == 1 and _questionable(instance):
            groups[layout(instance)].append(frame)
    found: dict[tuple[int, ...], Bits] = {}
    warnings: list[SceneWarning] = []
    for key, members in sorted(groups.items()):
        bits, warning = _decide(members, FrameReader(where, max_frame_pixels), where)
        if bits != Bits():
            found[key] = bits
        if warning is not None and warning not in warnings:
            warnings.append(warning)
    return found, warnings


def _questionable(instance: Instance) -> bool:
    return instance.bits_stored != instance.bits_allocated or instance.high_bit != instance.bits_stored - 1


def _decide(frames: Sequence[Frame], reader: FrameReader, where: str) -> tuple[Bits, SceneWarning | None]:
    instance = frames[0].instance
    samples: list[Sample] = []
    overlays = False
    for index in sorted({0, len(frames) // 2, len(frames) - 1}):
        try:
            sample, header = reader.raw(frames[index], where)
        except SceneError:
            continue  # whoever reads the image is told
        if sample.dtype.kind in "iu":
            samples.append(sample)
            overlays = overlays or overlays_in_pixels(header)
    narrow = all(in_stored_bits(sample, instance) for sample in samples)
    if instance.high_bit == instance.bits_stored - 1:
        if narrow or overlays:
            return Bits(), None
        what = f"pixels need more than the {instance.bits_stored} bits of BitsStored (0028,0101): all bits are read"
        return Bits(whole=True), SceneWarning(_KIND, what, _REMEDY)
    return _misplaced(instance, samples, narrow=narrow)


def _misplaced(instance: Instance, samples: Sequence[Sample], *, narrow: bool) -> tuple[Bits, SceneWarning]:
    low = instance.high_bit + 1 - instance.bits_stored
    stated = f"HighBit (0028,0102) is {instance.high_bit} and BitsStored (0028,0101) {instance.bits_stored}"
    if low < 0 or instance.high_bit >= instance.bits_allocated:
        what = f"{stated}, which cannot be: {'HighBit is disregarded' if narrow else 'all bits are read'}"
        return Bits(whole=not narrow), SceneWarning(_KIND, what, _REMEDY)
    if narrow and _low_bits(samples, low):
        what = f"{stated}, but pixels fill the lowest bits: HighBit is disregarded"
        return Bits(), SceneWarning(_KIND, what, _REMEDY)
    what = f"{stated}: values are taken from bit {low} on, as HighBit says"
    return Bits(shift=low), SceneWarning(_KIND, what, _REMEDY, suspect=not narrow and _low_bits(samples, low))


def _low_bits(samples: Sequence[Sample], low: int) -> bool:
    return any((sample & ((1 << low) - 1)).any() for sample in samples)
