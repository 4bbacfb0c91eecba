"""The VOI transformation: quantities to 0..1 as a viewer first shows them (PS3.3 C.11.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, functional_groups, numbers, text
from hdm_dicom.files.instances import Frame
from hdm_dicom.volumes.conversion import little_endian, looked_up, lookup_table
from hdm_dicom.volumes.stack import Image
from hdm_pipeline.errors import UnsupportedSceneError


def displayed(pixels: Image, frame: Frame, header: Dataset, where: str) -> Image:
    """Pixels 0..1, 1 white, NaN where they were: by the first VOI LUT, or else the first window.

    Args:
        pixels: [1, rows, columns] quantities.
        frame: where they are from.
        header: its data set.
        where: for messages.

    Raises:
        ReadError: the lookup table is malformed.
        UnsupportedSceneError: the image states neither VOI LUT nor window.
    """
    luts = datasets(header, "VOILUTSequence")
    if luts:
        signed = frame.instance.signed or frame.intercept < 0
        first, table = lookup_table(luts[0], signed, where, little=little_endian(header))
        depth = (numbers(luts[0], "LUTDescriptor", 3) or (0, 0, 16))[2]
        shown: Any = looked_up(pixels, first, table) / float((1 << int(depth)) - 1)
    else:
        shown = _windowed(pixels, _window(frame, header, where))
    shown = np.clip(shown, 0, 1)
    if frame.instance.photometric == "MONOCHROME1":
        shown = 1 - shown
    return np.where(np.isnan(pixels), np.nan, shown).astype(np.float32)


def check_voi(frame: Frame, header: Dataset, where: str) -> None:
    """Raise what `displayed` would, by the header alone."""
    luts = datasets(header, "VOILUTSequence")
    if luts:
        lookup_table(luts[0], frame.instance.signed, where, little=little_endian(header))
    else:
        _window(frame, header, where)


def _window(frame: Frame, header: Dataset, where: str) -> tuple[float, float, str]:
    """Centre, width and function: of the frame, of all frames, or of the image."""
    groups = [voi for level in functional_groups(header, frame.index) for voi in datasets(level, "FrameVOILUTSequence")]
    for level in (*groups, header):
        centre, width = numbers(level, "WindowCenter", 1), numbers(level, "WindowWidth", 1)
        if centre is not None and width is not None and width[0] > 0:
            return centre[0], width[0], text(level, "VOILUTFunction") or "LINEAR"
    raise UnsupportedSceneError(
        "`voi: apply` needs a VOI LUT (0028,3010), or WindowCenter (0028,1050) and WindowWidth (0028,1051)",
        where=where,
        remedy="leave input.options.voi at `ignore`, and say what is black and white by `input.scale`",
    )


def _windowed(pixels: Image, window: tuple[float, float, str]) -> Any:
    centre, width, function = window
    values = pixels.astype(np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    # LINEAR puts its borders on whole numbers; a width of 1 is a step.
    return (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
