"""What a file of labels holds: segments of a SEG, structures of an RTSTRUCT, values of a NIfTI volume or an image."""

from __future__ import annotations

import numpy as np
import pydicom
from PIL import Image

from hdm_dicom.examples.support import IMAGES, NIFTI, RTSTRUCT, SEG
from hdm_dicom.files.attributes import READ_ERRORS, datasets, numbers, text
from hdm_pipeline.contracts import LabelChoice
from hdm_pipeline.errors import SupportError

_MOST_VALUES = 256


def label_choices(path: str) -> list[LabelChoice]:
    """See `hdm_pipeline.contracts.DraftingReader`."""
    lowered = path.lower()
    try:
        if lowered.endswith(NIFTI):
            return _values(_nifti(path), path)
        if lowered.endswith(IMAGES):
            with Image.open(path) as image:
                return _values(np.asarray(image), path)
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    except (Image.DecompressionBombError, *READ_ERRORS) as error:  # type: ignore[misc]
        what = f"the labels cannot be read ({type(error).__name__})"
        raise SupportError(what, where="labels", remedy="save the labels again: the file is damaged") from None
    kind = text(dataset, "SOPClassUID")
    if kind in SEG:
        return _named(dataset, "SegmentSequence", "SegmentNumber", "SegmentLabel")
    if kind == RTSTRUCT:
        return _named(dataset, "StructureSetROISequence", "ROINumber", "ROIName")
    remedy = "give a DICOM SEG or RTSTRUCT, a NIfTI volume, or an image"
    raise SupportError("the file holds no labels", where="labels", remedy=remedy)


def _nifti(path: str) -> np.ndarray:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        return np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
    except ImageFileError as error:
        raise ValueError("no NIfTI") from error


def _named(dataset: pydicom.Dataset, sequence: str, number: str, name: str) -> list[LabelChoice]:
    """Segments or structures; chosen by name where no other has it, else by number."""
    items = [(n, text(item, name).strip()) for item in datasets(dataset, sequence) if (n := numbers(item, number, 1))]
    names = [called.casefold() for _, called in items]
    found = []
    for values, called in items:
        alone = bool(called) and names.count(called.casefold()) == 1
        keys = {"segment": called} if alone else {"value": int(values[0])}
        found.append(LabelChoice(called or str(int(values[0])), 1, "segments", keys))
    return found


def _values(labels: np.ndarray, path: str) -> list[LabelChoice]:
    values, counts = (
        np.unique(labels, return_counts=True) if labels.dtype.kind in "biuf" else (np.empty(0), np.empty(0))
    )
    if not len(values) or len(values) > _MOST_VALUES or not np.array_equal(values, np.round(values)):
        what = "the file holds no labels: too many values, fractions or colors"
        raise SupportError(what, where="labels", remedy="name the file that the labels were saved in, not the image")
    pairs = zip(values, counts, strict=True)
    return [LabelChoice(str(int(v)), int(n), "values", {"value": int(v)}) for v, n in pairs]
