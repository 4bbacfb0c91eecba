"""Labels of a scene to a DICOM SEG: segment 1 is background, then a segment a class; what is unknown is in none."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_dicom.derived.write_errors import error_number
from hdm_dicom.drawn_labels.segments import described, file_of, full_names, segment_names, segment_numbers
from hdm_dicom.files.zipped import split_member
from hdm_dicom.options import ReaderOptions
from hdm_dicom.segmentation.style import SegmentationStyle
from hdm_dicom.segmentation.writing import write_segmentation
from hdm_dicom.volumes.source import read_header
from hdm_dicom.volumes.volume_io import open_volume
from hdm_pipeline.contracts import BACKGROUND, IGNORE, LabelPatch, Product, Provenance, SavedLabels, SceneLabels
from hdm_pipeline.errors import HdmError, OutputError
from hdm_pipeline.grid import Window

_STYLE = SegmentationStyle("BINARY", True, 905, "HDM labels", drawn=True)
_KEPT = "what was drawn stays on the page until it can be saved"


def save(labels: SceneLabels, folder: Path, options: ReaderOptions) -> SavedLabels:
    """Write the labels of a scene; see `LabelKeeper.save_labels`. The same labels give the same file.

    Raises:
        OutputError: they cannot be written, or the series cannot be referred to.
    """
    path = file_of(labels.scene, folder)
    drawn = {int(value) for patch in labels.patches for value in np.unique(patch.values)} - {IGNORE}
    try:
        if not drawn:
            path.unlink(missing_ok=True)
            return SavedLabels((), {})
        _write(labels, path, options)
    except OSError as error:
        number = error_number(error)
        why = os.strerror(number) if number else type(error).__name__
        remedy = f"free space, or make the folder writable; {_KEPT}"
        raise OutputError(f"the labels cannot be saved: {why}", where=str(path.parent), remedy=remedy) from None
    except HdmError as error:
        what = f"labels of this series cannot be saved: {error.what}"
        raise OutputError(what, where=labels.scene.id, remedy=error.remedy) from None
    return SavedLabels((str(path),), _examples(labels, path, drawn))


def _write(labels: SceneLabels, path: Path, options: ReaderOptions) -> None:
    opened = open_volume(labels.scene, options)
    if opened.stack.depths is not None:
        raise OutputError(
            "it is resampled (input.options.policy), and what is drawn between its images belongs to none of them",
            remedy="draw on the series as it is stored: set the policy to `split`, or repair the series",
        )
    header = read_header(labels.scene, options)
    source = _Drawn(labels, header.shape[1:])
    style = replace(_STYLE, names=full_names(labels.classes))
    product = Product(header, described(labels), source, source, header.shape[2:], _provenance())
    with tempfile.TemporaryDirectory(prefix=".labels-", dir=path.parent) as made:
        part = Path(made, path.name)
        write_segmentation(product, part, style, refuse_empty=False, key=None)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(part, path)


def _provenance() -> Provenance:
    try:
        program = version("hdm-pipeline")
    except PackageNotFoundError:
        program = ""
    return Provenance(program, "", "", "", 0.0, "")


class _Drawn:
    """Patches as a mask of segment numbers, 0 where nothing is drawn (a `contracts.PixelSource`)."""

    def __init__(self, labels: SceneLabels, size: tuple[int, int, int]) -> None:
        self.shape: tuple[int, int, int, int] = (1, *size)
        self._table = np.zeros(256, dtype=np.uint8)
        for value, number in segment_numbers(labels.classes).items():
            self._table[value] = number
        self._slices: dict[int, list[LabelPatch]] = {patch.window.z: [] for patch in labels.patches}
        for patch in labels.patches:
            self._slices[patch.window.z].append(patch)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[1, height, width]."""
        image = np.zeros(self.shape[2:], dtype=np.uint8)
        for patch in self._slices.get(window.z, ()):
            at = patch.window
            image[at.y : at.bottom, at.x : at.right] = self._table[patch.values]
        return image[np.newaxis, window.y : window.bottom, window.x : window.right]


def _examples(labels: SceneLabels, path: Path, drawn: set[int]) -> dict[str, dict[str, Any]]:
    """By class, what stands in a pipeline file. Other classes are background of a class, also where it is not drawn."""
    numbers, names = segment_numbers(labels.classes), segment_names(labels.classes)
    image = os.path.abspath(labels.scene.members[0])
    member = split_member(image)
    return {
        labels.classes[value]: {
            "image": member[0] if member else image,
            "mask": str(path),
            "segment": names[value],
            # Named although nothing may be drawn of it: without it, what is not drawn would be background.
            "background": [numbers[other] for other in sorted({BACKGROUND, *drawn} - {value})],
        }
        for value in sorted(labels.classes)
    }
