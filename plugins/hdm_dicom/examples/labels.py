"""Labels of stored slices from DICOM SEG, RTSTRUCT and NIfTI, matched by UID first and by geometry else.

Each source gives, for a stored slice, an image of 1 (the class), 0 (background) and 255 (ignored). Where a label's grid
is not that of the slice, the nearest label pixel counts; what lies outside the labels' grid is ignored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from hdm_dicom.files.attributes import READ_ERRORS, datasets, numbers, text
from hdm_dicom.files.headers import scan
from hdm_dicom.files.instances import Frame, Rejected
from hdm_dicom.series.places import Array
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import IGNORE, SupportRequest
from hdm_pipeline.errors import SupportError

Label = npt.NDArray[np.uint8]
Marked = npt.NDArray[np.bool_]

_GRID_TOLERANCE = 0.02
"""Pixels, or slices, by which two grids may differ and still count as one."""

_PARALLEL = 0.999


class LabelSource(Protocol):
    """Labels of one class over the stored slices of a volume."""

    def stored(self, index: int) -> Label:
        """[rows, columns] uint8 of a stored slice: 1 the class, 0 background, 255 ignored."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What of the labels means the class: values (segment or ROI numbers) or a name; what is ignored, or background.

    Where `background` is not empty, only its values are background, and what no value names is ignored.
    """

    values: frozenset[int]
    ignore: frozenset[int]
    name: str | None
    background: frozenset[int] = frozenset()

    @classmethod
    def of(cls, request: SupportRequest) -> Wanted:
        """From a request."""
        return cls(frozenset(request.values), frozenset(request.ignore), request.segment, frozenset(request.background))

    @property
    def unlabelled(self) -> int:
        """The label of a pixel that no value names."""
        return IGNORE if self.background else 0

    def numbers(self, named: Mapping[int, str], what: str, where: str) -> frozenset[int]:
        """The numbers that mean the class, looked up by name where one is given.

        Raises:
            SupportError: no such name or number.
        """
        if self.name is not None:
            found = frozenset(n for n, name in named.items() if name.strip().casefold() == self.name.casefold())
        else:
            found = self.values & frozenset(named)
        if not found:
            asked = repr(self.name) if self.name is not None else sorted(self.values)
            raise SupportError(
                f"the labels have no {what} {asked}",
                where=where,
                remedy=f"{what}s by number: {', '.join(str(n) for n in sorted(named)[:20])}",
            )
        return found

    def paint(self, label: npt.NDArray[Any]) -> Label:
        """Label values to 1, 0 and 255."""
        ignored = np.isin(label, list(self.ignore))
        if label.dtype == np.uint8 and not self.background and IGNORE not in self.values:
            ignored |= label == IGNORE  # as in every mask of eight bits
        return self.compose(np.isin(label, list(self.values)), ignored, np.isin(label, list(self.background)))

    def compose(self, chosen: Marked, ignored: Marked, background: Marked) -> Label:
        """1, 0 and 255 where pixels were marked as the class, as ignored and as background; the first of them wins."""
        label = np.where(background, 0, self.unlabelled).astype(np.uint8)
        label[ignored] = IGNORE
        label[chosen] = 1
        return label


def slice_affine(volume: Volume, index: int) -> Array:
    """[4, 3] from (x, y, 1) of a stored slice to LPS millimetres, at its very own position."""
    row_mm, column_mm = volume.spacing
    matrix = np.zeros((4, 3))
    matrix[:3, 0] = volume.axes[0] * column_mm
    matrix[:3, 1] = volume.axes[1] * row_mm
    matrix[:3, 2] = volume.positions[index]
    matrix[3, 2] = 1
    return matrix


def pick(label: npt.NDArray[Any], to_label: Array, shape: tuple[int, int]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Nearest label values for a slice.

    Args:
        label: [x, y, z] label volume.
        to_label: [3 or 4, 3] from (x, y, 1) of the slice to label indices.
        shape: (rows, columns) of the slice.

    Returns:
        Values [rows, columns] and whether each lies inside the label volume.
    """
    y, x = np.ogrid[: shape[0], : shape[1]]
    index = [np.rint(to_label[i, 0] * x + to_label[i, 1] * y + to_label[i, 2]).astype(np.intp) for i in range(3)]
    inside = np.ones(shape, dtype=bool)
    for axis, extent in zip(index, label.shape, strict=True):
        inside &= (axis >= 0) & (axis < extent)
    clipped = [np.clip(axis, 0, extent - 1) for axis, extent in zip(index, label.shape, strict=True)]
    return label[clipped[0], clipped[1], clipped[2]], inside


class NiftiLabels:
    """Labels in a NIfTI volume, whatever the order and direction of its axes: its affine says.

    Holds the label volume in its stored type.

    Raises:
        SupportError: unreadable, not three-dimensional, or it does not meet the series.
    """

    def __init__(self, path: str, volume: Volume, wanted: Wanted) -> None:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import SpatialImage

        try:
            image = nibabel.load(path)
            if not isinstance(image, SpatialImage):
                raise ValueError("no volume")
            self._label = np.asarray(image.dataobj)
        except (ImageFileError, *READ_ERRORS) as error:  # type: ignore[misc]
            raise SupportError(f"the NIfTI labels cannot be read ({type(error).__name__})", where=volume.id) from None
        if self._label.ndim == 4 and self._label.shape[3] == 1:
            self._label = self._label[..., 0]
        if self._label.ndim != 3:
            raise SupportError(f"the NIfTI labels have {self._label.ndim} dimensions, not 3", where=volume.id)
        # NIfTI's world is RAS, DICOM's is LPS.
        to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine, dtype=np.float64)
        if abs(np.linalg.det(to_lps)) < 1e-12:
            raise SupportError("the affine of the NIfTI labels is singular", where=volume.id)
        self._from_lps = np.linalg.inv(to_lps)
        self._volume = volume
        self._wanted = wanted

    def stored(self, index: int) -> Label:
        """See `LabelSource`."""
        instance = self._volume.first.instance
        to_label = self._from_lps @ slice_affine(self._volume, index)
        found, inside = pick(self._label, to_label, (instance.rows, instance.columns))
        label = self._wanted.paint(found)
        label[~inside] = IGNORE
        return label


@dataclass(frozen=True, eq=False)
class _Piece:
    """One SEG frame that belongs to a stored slice."""

    index: int
    segment: int | None
    resample: Array | None


class SegLabels:
    """Labels in a DICOM Segmentation: BINARY, FRACTIONAL (half and more counts) or LABELMAP.

    Raises:
        SupportError: no such segment, or frames that match no slice.
    """

    def __init__(self, path: str, volume: Volume, wanted: Wanted) -> None:
        frames = scan(path)
        if isinstance(frames, Rejected) or frames[0].instance.fault:
            fault = frames.reason if isinstance(frames, Rejected) else frames[0].instance.fault
            raise SupportError(f"the segmentation cannot be read: {fault}", where=volume.id)
        self._volume, self._wanted = volume, wanted
        self._dataset = pydicom.dcmread(path, force=True)
        self._type = text(self._dataset, "SegmentationType") or "BINARY"
        named = {
            int(number[0]): text(item, "SegmentLabel")
            for item in datasets(self._dataset, "SegmentSequence")
            if (number := numbers(item, "SegmentNumber", 1)) is not None
        }
        self._numbers = wanted.numbers(named, "segment", volume.id)
        self._pieces: dict[int, list[_Piece]] = defaultdict(list)
        self._place(frames)
        if not self._pieces:
            raise SupportError(
                "no frame of the segmentation lies on a slice of the series",
                where=volume.id,
                remedy="it belongs to another series; name the folder of the series that it was drawn on",
            )

    def _place(self, frames: list[Frame]) -> None:
        shared = datasets(self._dataset, "SharedFunctionalGroupsSequence")[:1]
        items = datasets(self._dataset, "PerFrameFunctionalGroupsSequence")
        finder = SliceFinder(self._volume, text(self._dataset, "FrameOfReferenceUID"))
        relevant = self._numbers | self._wanted.ignore | self._wanted.background
        for frame, item in zip(frames, items, strict=False):
            segment = _segment_number(item, shared) if self._type != "LABELMAP" else None
            if segment is not None and segment not in relevant:
                continue
            found = finder.by_uid(_sources(item)) if _sources(item) else None
            if found is None:
                found = finder.by_place(frame)
            if found is not None:
                resample = _to_frame(self._volume, found, frame)
                self._pieces[found].append(_Piece(frame.index, segment, resample))

    def stored(self, index: int) -> Label:
        """See `LabelSource`."""
        instance = self._volume.first.instance
        shape = (instance.rows, instance.columns)
        chosen, ignored, background = (np.zeros(shape, dtype=bool) for _ in range(3))
        for piece in self._pieces.get(index, ()):
            pixels = self._pixels(piece.index)
            inside: npt.NDArray[Any] = np.ones(shape, dtype=bool)
            if piece.resample is not None:
                pixels, inside = pick(pixels.T[:, :, np.newaxis], piece.resample, shape)
            numbers_here = pixels if piece.segment is None else pixels.astype(np.int64) * piece.segment
            chosen |= inside & np.isin(numbers_here, list(self._numbers))
            ignored |= inside & np.isin(numbers_here, list(self._wanted.ignore))
            background |= inside & np.isin(numbers_here, list(self._wanted.background))
        return self._wanted.compose(chosen, ignored, background)

    def _pixels(self, index: int) -> npt.NDArray[Any]:
        try:
            pixels = pixel_array(self._dataset, index=index, raw=True)
        except READ_ERRORS as error:
            raise SupportError(
                f"frame {index} of the segmentation cannot be decoded ({type(error).__name__})", where=self._volume.id
            ) from None
        if self._type == "FRACTIONAL":
            most = numbers(self._dataset, "MaximumFractionalValue", 1) or (255.0,)
            return pixels * 2 >= most[0] if pixels.dtype.kind == "f" else pixels.astype(np.int64) * 2 >= most[0]
        return pixels


def _segment_number(item: Dataset, shared: Iterable[Dataset]) -> int | None:
    for level in (item, *shared):
        for identification in datasets(level, "SegmentIdentificationSequence"):
            number = numbers(identification, "ReferencedSegmentNumber", 1)
            if number is not None:
                return int(number[0])
    return None


def _sources(item: Dataset) -> list[tuple[str, int]]:
    """(SOP instance, zero-based frame) of the images that a SEG frame was drawn on."""
    return [
        (text(source, "ReferencedSOPInstanceUID"), int((numbers(source, "ReferencedFrameNumber", 1) or (1.0,))[0]) - 1)
        for derivation in datasets(item, "DerivationImageSequence")
        for source in datasets(derivation, "SourceImageSequence")
    ]


def _to_frame(volume: Volume, index: int, frame: Frame) -> Array | None:
    """[3, 3] from (x, y, 1) of a stored slice to a SEG frame's (x, y, 0); None where the two grids are one.

    Raises:
        SupportError: the grids differ and the frame does not say where it lies.
    """
    instance = volume.first.instance
    same_size = (frame.instance.rows, frame.instance.columns) == (instance.rows, instance.columns)
    if frame.position is None or frame.orientation is None or frame.spacing is None or not volume.located:
        if same_size:
            return None
        raise SupportError("the segmentation has another size than the slices, and no position", where=volume.id)
    cosines = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)
    row_mm, column_mm = frame.spacing
    # Along the frame's own axes only: the distance between the planes was settled when the frame was matched.
    to_frame = np.vstack([cosines[0] / column_mm, cosines[1] / row_mm, np.zeros(3)])
    place = slice_affine(volume, index)[:3].copy()
    place[:, 2] -= np.array(frame.position, dtype=np.float64)
    matrix: Array = to_frame @ place
    corners = np.array([[0, 0, 1], [instance.columns - 1, instance.rows - 1, 1]], dtype=np.float64).T
    if same_size and np.abs(matrix[:2] @ corners - corners[:2]).max() < _GRID_TOLERANCE:
        return None
    return matrix


class SliceFinder:
    """Finds the stored slice that a label was drawn on."""

    def __init__(self, volume: Volume, frame_of_reference: str) -> None:
        self._volume = volume
        keys = [(f.instance.sop_instance, f.index) for f in volume.frames]
        times = Counter(keys)
        # What several images share names none of them: their places decide.
        self._by_uid = {key: index for index, key in enumerate(keys) if times[key] == 1}
        mine = volume.first.instance.frame_of_reference
        self._comparable = volume.located and (not mine or not frame_of_reference or mine == frame_of_reference)

    def by_uid(self, sources: Iterable[tuple[str, int]]) -> int | None:
        """The slice with one of these UIDs."""
        return next((self._by_uid[source] for source in sources if source in self._by_uid), None)

    def by_place(self, frame: Frame) -> int | None:
        """The slice in whose plane the frame lies; None without one, or in another frame of reference."""
        if frame.position is None or frame.orientation is None:
            return None
        cosines = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)
        if abs(float(np.cross(cosines[0], cosines[1]) @ self._volume.normal)) < _PARALLEL:
            return None
        return self.by_point(np.array(frame.position, dtype=np.float64))

    def by_point(self, point: Array) -> int | None:
        """The slice nearest to a point, at most half a slice away."""
        if not self._comparable:
            return None
        distances = np.abs(self._volume.depths - float(point @ self._volume.normal))
        nearest = int(np.argmin(distances))
        return nearest if distances[nearest] <= (0.5 + _GRID_TOLERANCE) * self._volume.step else None
