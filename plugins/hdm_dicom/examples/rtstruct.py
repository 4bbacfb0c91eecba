"""Labels from RT structure sets: closed planar contours, filled at pixel centres (PS3.3 C.8.8.6)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from hdm_dicom.examples.labels import Label, SliceFinder, Wanted
from hdm_dicom.examples.losses import by_type, no_areas, off_the_slices
from hdm_dicom.examples.planes import LoosePlanes
from hdm_dicom.files.attributes import datasets, numbers, text, values
from hdm_dicom.series.places import Array
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import IGNORE, SceneWarning
from hdm_pipeline.errors import SupportError

_PLANAR = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_LEAST_POINTS = 3
"""Of a contour that encloses an area: planning systems write closed contours of one or two."""


@dataclass
class _Structure:
    """Contours of one structure.

    Attributes:
        kind: what it means: ``wanted``, ``ignored`` or ``background``.
        drawn: by stored slice, those that refer to it: [points, 2] pixel coordinates (x, y).
        loose: those that refer to no slice: [points, 3] mm.
    """

    kind: str
    drawn: dict[int, list[Array]] = field(default_factory=lambda: defaultdict(list))
    loose: list[Array] = field(default_factory=list)


class StructureLabels:
    """Labels in an RTSTRUCT.

    Raises:
        SupportError: unreadable, no such structure, no contour that encloses an area, contours that match no slice, or
            contradict their references.
    """

    def __init__(self, path: str, volume: Volume, wanted: Wanted) -> None:
        dataset = pydicom.dcmread(path, force=True)
        self._volume, self._wanted = volume, wanted
        rois = {
            int(number[0]): item
            for item in datasets(dataset, "StructureSetROISequence")
            if (number := numbers(item, "ROINumber", 1)) is not None
        }
        named = {number: text(item, "ROIName") for number, item in rois.items()}
        chosen = wanted.numbers(named, "structure", volume.id)
        self._structures: dict[int, _Structure] = {}
        self._off: Counter[str] = Counter()
        self._areas: Counter[str] = Counter()
        self._not_areas: Counter[str] = Counter()
        for roi in datasets(dataset, "ROIContourSequence"):
            number = numbers(roi, "ReferencedROINumber", 1)
            if number is None:
                continue
            for kind, numbers_of_kind in (
                ("wanted", chosen),
                ("ignored", wanted.ignore - chosen),
                ("background", wanted.background - chosen),
            ):
                if int(number[0]) in numbers_of_kind:
                    lies_in = text(rois.get(int(number[0]), Dataset()), "ReferencedFrameOfReferenceUID")
                    structure = self._structures.setdefault(int(number[0]), _Structure(kind))
                    self._draw(roi, structure, SliceFinder(volume, lies_in))
        self._planes = [self._settle(structure) for structure in self._structures.values()]
        if self._not_areas and not self._areas["wanted"]:
            raise SupportError(
                f"the structure has {by_type(self._not_areas)}, and none that encloses an area",
                where=volume.id,
                remedy="draw closed contours (CLOSED_PLANAR) around the class, or give the labels as SEG or NIfTI",
            )
        if not any(structure.drawn for structure in self._structures.values() if structure.kind == "wanted"):
            raise SupportError(
                "no contour of the structure lies on a slice of the series",
                where=volume.id,
                remedy="the structure set belongs to another series, or the structure is empty",
            )

    def _draw(self, roi: Dataset, structure: _Structure, finder: SliceFinder) -> None:
        """Note the contours of a structure."""
        kind = structure.kind
        for contour in datasets(roi, "ContourSequence"):
            geometry = text(contour, "ContourGeometricType")
            points = self._points(contour) if geometry in _PLANAR else None
            if points is None or len(points) < _LEAST_POINTS:
                if kind == "wanted":
                    self._not_areas[geometry or "of no type"] += 1
                continue
            self._areas[kind] += 1
            index = finder.find(sources := _sources(contour), points)
            drawn = None if index is None else self._in_pixels(points, index)
            if index is None or drawn is None or not self._meets_image(drawn):
                self._off[kind] += 1
                continue
            if finder.names(sources):
                structure.drawn[index].append(drawn)
            else:
                structure.loose.append(points)

    def _settle(self, structure: _Structure) -> LoosePlanes:
        """Draw what refers to no slice on the slices that it lies nearest to; returns where it lies."""
        planes = LoosePlanes(self._volume, [float(np.mean(one @ self._volume.normal)) for one in structure.loose])
        for index in range(len(self._volume.frames)) if structure.loose else ():
            for number in planes.at(index):
                structure.drawn[index].append(self._in_pixels(structure.loose[number], index))
        return planes

    def _points(self, contour: Dataset) -> Array:
        count = len(values(contour, "ContourData"))
        flat = numbers(contour, "ContourData", count)
        if flat is None or not count or count % 3:
            raise SupportError(
                "a contour of the structure set has damaged coordinates",
                where=self._volume.id,
                remedy="export the structure set again, or give the labels as NIfTI",
            )
        return np.array(flat, dtype=np.float64).reshape(-1, 3)

    def _in_pixels(self, points: Array, index: int) -> Array:
        row_mm, column_mm = self._volume.spacing
        offsets = points - self._volume.positions[index]
        return np.stack([offsets @ self._volume.axes[0] / column_mm, offsets @ self._volume.axes[1] / row_mm], axis=1)

    def _meets_image(self, drawn: Array) -> bool:
        """Whether the box around a contour in pixels meets the image at all."""
        instance = self._volume.first.instance
        low, high = drawn.min(axis=0), drawn.max(axis=0)
        return bool((high >= -0.5).all() and low[0] <= instance.columns - 0.5 and low[1] <= instance.rows - 0.5)

    @property
    def warnings(self) -> tuple[SceneWarning, ...]:
        """See `hdm_dicom.examples.labels.LabelSource`."""
        off, of, named = self._off["wanted"], self._areas["wanted"], self._wanted.named
        return off_the_slices(off, of, "contours", named) + no_areas(self._not_areas, named)

    def stored(self, index: int) -> Label:
        """See `hdm_dicom.examples.labels.LabelSource`."""
        instance = self._volume.first.instance
        shape = (instance.rows, instance.columns)
        marked = {kind: np.zeros(shape, dtype=bool) for kind in ("wanted", "ignored", "background")}
        between = False
        for structure, planes in zip(self._structures.values(), self._planes, strict=True):
            if index in structure.drawn:
                # Each by itself: where one lies within another, it is no hole in it.
                marked[structure.kind] |= filled(_each_once(structure.drawn[index]), shape)
            elif structure.kind == "wanted":
                between |= planes.lie_around(index)
        label = self._wanted.compose(marked["wanted"], marked["ignored"], marked["background"])
        if between and not self._wanted.background:
            label[label == 0] = IGNORE  # nobody drew here: the planes of the contours lie wider than the slices
        return label


def _sources(contour: Dataset) -> list[tuple[str, int]]:
    """(SOP instance, zero-based frame) of the images that a contour was drawn on."""
    return [
        (text(image, "ReferencedSOPInstanceUID"), int(frame) - 1)
        for image in datasets(contour, "ContourImageSequence")
        for frame in numbers(image, "ReferencedFrameNumber", 1) or (1.0,)
    ]


def _each_once(polygons: list[Array]) -> list[Array]:
    """Polygons without their copies: some programs write a contour twice, and it would cut itself out."""
    return list({polygon.tobytes(): polygon for polygon in polygons}.values())


def filled(polygons: list[Array], shape: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Pixels whose centres lie inside an odd number of polygons, so that an inner contour cuts a hole.

    Args:
        polygons: each [points, 2] of (x, y) in pixels; pixel (0, 0) has its centre at (0, 0).
        shape: (rows, columns).
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), dtype=np.int64)
    for polygon in polygons:
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            low, high = (y0, y1) if y0 < y1 else (y1, y0)
            # Half-open in y: a vertex on a row's centre line is crossed once, not twice.
            y = np.arange(max(int(np.ceil(low)), 0), min(int(np.ceil(high)), rows))
            if y.size:
                x = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                np.add.at(toggles, (y, np.clip(np.ceil(x), 0, columns).astype(np.intp)), 1)
    return (np.cumsum(toggles[:, :columns], axis=1) & 1).astype(bool)
