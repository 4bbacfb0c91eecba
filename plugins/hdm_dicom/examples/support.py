"""Labelled slices of a series: `hdm_pipeline.contracts.SupportRequest` to `LabeledImage`s."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage

from hdm_dicom.archive.discovery import find
from hdm_dicom.archive.listing import file_name, list_files
from hdm_dicom.archive.references import reference
from hdm_dicom.examples.labels import Label, LabelSource, Wanted, held
from hdm_dicom.examples.losses import masks_without_slice
from hdm_dicom.examples.nifti_labels import NiftiLabels
from hdm_dicom.examples.rtstruct import StructureLabels
from hdm_dicom.examples.segments import SegLabels
from hdm_dicom.files.attributes import READ_ERRORS, text
from hdm_dicom.files.headers import read_header
from hdm_dicom.files.zipped import is_zip
from hdm_dicom.options import ReaderOptions
from hdm_dicom.selection import Selection
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes.source import DicomSource
from hdm_dicom.volumes.volume_io import OpenVolume, open_volume
from hdm_pipeline.contracts import IGNORE, LabeledImage, SceneRef, SceneWarning, SupportRequest
from hdm_pipeline.errors import ArchiveError, SceneError, SupportError
from hdm_pipeline.grid import Window

IMAGES = (".png", ".tif", ".tiff", ".bmp")
NIFTI = (".nii", ".nii.gz")
SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_MOST_OTHERS = 8
"""Slices of a series that are examples although they show background only: those of which most is labelled."""

_NOWHERE = "check `value` (or `segment`), and that the labels were drawn on this series"
_AGAIN = "save the labels again: the file is damaged"
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def read_support(request: SupportRequest, options: ReaderOptions) -> list[LabeledImage]:
    """Labelled slices of a series, in the plane of the options.

    Where the request names background, slices that show background only are examples, too: up to eight of them.

    Holds the labels of the series as uint8, and the pixels of the slices that it returns.

    Args:
        request: `image` is the folder of the series or one of its files; `mask` a DICOM SEG or RTSTRUCT, a NIfTI
            volume, one image file for one slice, or a folder of image files whose names end in the slice's number.
        options: how the series is read.

    Raises:
        SupportError: unreadable, sizes differ, a slice without the class, or no slice with it (where background is
            named: without either).
    """
    try:
        ref, opened = _volume(request, options)
        labels = _labels(request, opened, options)
        chosen = _chosen(request, labels, opened)
        images = [_labeled(ref, options, labels, z) for z in chosen]
        lost = labels.warnings
    except SceneError as error:
        what = f"the labelled series cannot be read: {error.what}"
        raise SupportError(what, where=error.where, remedy=error.remedy) from None
    usable = [image for image in images if _shows_something(image.label, request)]
    for image in images if request.slices or not usable else ():
        if not _shows_something(image.label, request):
            of = "that are labelled" if request.background else "of the class"
            raise SupportError(
                f"all pixels {of} are padding",
                where=image.name,
                remedy="choose other slices, or labels that were drawn on this series",
            )
    return [replace(usable[0], warnings=lost), *usable[1:]] if lost else usable  # of the whole series: told once


def _shows_something(label: Label, request: SupportRequest) -> bool:
    """Whether a label shows the class; or background, where the request says what that is."""
    return bool(np.any(label == 1) or (request.background and np.any(label == 0)))


def _volume(request: SupportRequest, options: ReaderOptions) -> tuple[SceneRef, OpenVolume]:
    single = os.path.isfile(request.image) and not is_zip(request.image)
    folder = os.path.dirname(request.image) if single else request.image
    try:
        found, _ = find(folder or ".", replace(options, select=Selection()))  # what is segmented, not what teaches
    except ArchiveError as error:
        what = f"the image of a support example: {error.what}"
        raise SupportError(what, where="support image", remedy=error.remedy) from None
    if single:
        path = os.path.abspath(request.image)
        found = [v for v in found if any(os.path.abspath(f.instance.path) == path for f in v.frames)]
    if len(found) > 1:
        found = _referenced(found, request.mask) or found
    if len(found) != 1:
        raise SupportError(
            f"the folder of a support example holds {len(found)} volumes that the labels may mean",
            where="support image",
            remedy="give one file of the series as the image, or move the series to a folder of its own",
        )
    ref = reference(found[0])
    return ref, open_volume(ref, options)


def _referenced(found: list[Volume], mask: str) -> list[Volume]:
    """The volumes whose instances the labels name (DICOM labels only)."""
    if not os.path.isfile(mask) or mask.lower().endswith((*IMAGES, *NIFTI)):
        return []
    with open(mask, "rb") as file:
        content = file.read()
    return [v for v in found if any(f.instance.sop_instance.encode() in content for f in v.frames)]


class ViewLabels:
    """Labels in the slices of the view."""

    def __init__(self, source: LabelSource, opened: OpenVolume) -> None:
        self._source, self._opened = source, opened

    @property
    def warnings(self) -> tuple[SceneWarning, ...]:
        """What of the labels is lost."""
        return self._source.warnings

    def view(self, z: int) -> Label:
        """[y, x] of slice z."""
        opened = self._opened
        if opened.view.along_slices:
            index = opened.stack.size[2] - 1 - z if opened.view.flips[2] else z
            label = opened.stack.label(index, self._source.stored)
            return np.ascontiguousarray(opened.view.apply(label[np.newaxis])[0])
        return np.ascontiguousarray(opened.view.apply(self._whole)[z])

    @cached_property
    def _whole(self) -> Label:
        stack = self._opened.stack
        return np.stack([stack.label(index, self._source.stored) for index in range(stack.size[2])])


class _ImageLabels:
    """Labels in image files, one a slice of the view."""

    def __init__(self, files: dict[int, str], wanted: Wanted, opened: OpenVolume) -> None:
        self._files, self._wanted, self._opened = files, wanted, opened

    @property
    def warnings(self) -> tuple[SceneWarning, ...]:
        """What of the labels is lost."""
        depth = self._opened.size[2]
        return masks_without_slice([z for z in self._files if z >= depth], len(self._files), depth)

    def held(self, z: int) -> str:
        """The values of the mask of slice z, in words; of the first mask where that has none."""
        return held(self._read(z if z in self._files else min(self._files)))

    def view(self, z: int) -> Label:
        """[y, x] of slice z."""
        x, y, _ = self._opened.size
        if z not in self._files:
            return np.full((y, x), self._wanted.unlabelled, dtype=np.uint8)
        return self._wanted.paint(self._read(z))

    def _read(self, z: int) -> npt.NDArray[Any]:
        """[y, x] values of the mask of a slice that has one."""
        x, y, _ = self._opened.size
        path = self._files[z]
        where = f"{self._opened.volume.id}, slice {z}, {file_name(path)}"
        try:
            with PilImage.open(path) as image:
                if image.size != (x, y):
                    raise SupportError(
                        f"the mask is {image.size[1]} x {image.size[0]} pixels, the slice {y} x {x}",
                        where=where,
                        remedy="give the mask as it was drawn on the slice, pixel by pixel, in input.options.plane",
                    )
                pixels = np.asarray(image)
        except (PilImage.DecompressionBombError, *READ_ERRORS) as error:  # type: ignore[misc]
            what = f"the mask cannot be read ({type(error).__name__})"
            raise SupportError(what, where=where, remedy=_AGAIN) from None
        return _values(pixels, where)


def _values(pixels: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    """[rows, columns] label values of an image; of gray that is stored as color, what its channels agree in."""
    if pixels.ndim == 2:
        return pixels
    gray: npt.NDArray[Any] = pixels[..., 0]
    if pixels.shape[2] > 2 and np.any(pixels[..., :3] != gray[..., np.newaxis]):
        raise SupportError(
            "the mask is a color image, and colors are no label values",
            where=where,
            remedy="save label values: a gray image, or one of indexed colors",
        )
    return gray


def _labels(request: SupportRequest, opened: OpenVolume, options: ReaderOptions) -> ViewLabels | _ImageLabels:
    wanted, volume, mask = Wanted.of(request), opened.volume, request.mask
    if not os.path.exists(mask):
        remedy = "check the spelling of `mask`; it counts from the folder of the pipeline file"
        raise SupportError("the labels of a support example do not exist", where=volume.id, remedy=remedy)
    if os.path.isdir(mask) or mask.lower().endswith(IMAGES):
        return _ImageLabels(_mask_files(request, volume.id), wanted, opened)
    if mask.lower().endswith(NIFTI):
        return ViewLabels(NiftiLabels(mask, volume, wanted), opened)
    try:
        header = read_header(mask)
    except READ_ERRORS:
        header = None
    kind = text(header, "SOPClassUID") if header is not None else ""
    if kind in SEG:
        return ViewLabels(SegLabels(mask, volume, wanted), opened)
    if kind == RTSTRUCT:
        return ViewLabels(StructureLabels(mask, volume, wanted), opened)
    raise SupportError(
        "the labels are neither DICOM SEG nor RTSTRUCT, NIfTI or image files",
        where=f"{volume.id}, {file_name(mask)}",
        remedy=f"give one of these; files of other kinds are told by their names ({', '.join((*NIFTI, *IMAGES))})",
    )


def _mask_files(request: SupportRequest, where: str) -> dict[int, str]:
    if os.path.isfile(request.mask):
        if len(request.slices) != 1:
            raise SupportError(
                "one image file as labels needs exactly one slice", where=where, remedy="set `slices` to its index"
            )
        return {request.slices[0]: request.mask}
    files: dict[int, str] = {}
    for path in list_files(request.mask):
        number = _LAST_NUMBER.search(os.path.splitext(os.path.basename(path))[0])
        if not path.lower().endswith(IMAGES) or number is None:
            continue
        if files.setdefault(int(number[1]), path) != path:
            raise SupportError(
                f"two masks are for slice {int(number[1])}",
                where=where,
                remedy="keep one of them in the folder: names end in the number of their slice",
            )
    if not files:
        raise SupportError(
            "the folder of labels holds no image whose name ends in a slice number",
            where=where,
            remedy=f"name them like 012.png; known are {', '.join(IMAGES)}",
        )
    return files


def _chosen(request: SupportRequest, labels: ViewLabels | _ImageLabels, opened: OpenVolume) -> list[int]:
    depth, where = opened.size[2], opened.volume.id
    for z in request.slices:
        if not 0 <= z < depth:
            raise SupportError(f"slice {z} does not exist", where=where, remedy=f"slices are 0 to {depth - 1}")
    chosen = list(dict.fromkeys(request.slices)) or list(range(depth))
    shown = {z: (bool(np.any(label == 1)), np.count_nonzero(label == 0)) for z in chosen for label in [labels.view(z)]}
    holding = {z for z, (target, _) in shown.items() if target}
    if request.background:
        others = sorted((z for z in chosen if z not in holding and shown[z][1]), key=lambda z: -shown[z][1])
        holding |= set(others if request.slices else others[:_MOST_OTHERS])
    missing = sorted(set(request.slices) - holding)
    if missing:
        raise SupportError(
            f"slice {missing[0]} holds no pixel of the class{_instead(labels, missing[0])}",
            where=where,
            remedy=f"{_holding(labels, depth)}; slices count from 0, in the plane of input.options.plane",
        )
    if not holding:
        raise SupportError(f"no slice holds a pixel of the class{_instead(labels, 0)}", where=where, remedy=_NOWHERE)
    return [z for z in chosen if z in holding]


def _instead(labels: ViewLabels | _ImageLabels, z: int) -> str:
    """What there is in place of the class: where it is lost, or which values the mask of slice z has."""
    if lost := labels.warnings:
        return f": {lost[0].what}"
    return f": its mask holds {labels.held(z)}" if isinstance(labels, _ImageLabels) else ""


def _holding(labels: ViewLabels | _ImageLabels, depth: int) -> str:
    """Which slices hold the class, in words."""
    found = [z for z in range(depth) if np.any(labels.view(z) == 1)]
    if not found:
        return f"no slice does: {_NOWHERE}"
    return f"those that do lie from {found[0]} to {found[-1]}"


def _labeled(ref: SceneRef, options: ReaderOptions, labels: ViewLabels | _ImageLabels, z: int) -> LabeledImage:
    source = DicomSource(ref, options)
    header = source.header
    pixels, valid = source.read(Window.whole(z, header.shape[2:]), range(header.shape[0]))
    label = labels.view(z).copy()
    label[~valid] = IGNORE
    areas = source.row_areas()
    size = None if areas is None else math.sqrt(float(areas.mean()))
    return LabeledImage(f"{ref.id} slice {z}", pixels, valid, label, header.bands, size)
