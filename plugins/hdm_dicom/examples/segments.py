"""DICOM Segmentations as labels of stored slices: BINARY, FRACTIONAL (half and more counts) or LABELMAP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from hdm_dicom.examples.labels import GRID_TOLERANCE, Label, Marked, SliceFinder, Wanted, pick, slice_affine
from hdm_dicom.examples.losses import off_the_slices
from hdm_dicom.examples.planes import LoosePlanes
from hdm_dicom.files.attributes import READ_ERRORS, datasets, numbers, text
from hdm_dicom.files.headers import scan
from hdm_dicom.files.instances import Frame, Rejected
from hdm_dicom.series.places import Array
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import IGNORE, SceneWarning
from hdm_pipeline.errors import SupportError

_LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
"""Storage class of label maps."""

_EXPORT_AGAIN = "export it again from the program that drew it"


@dataclass(frozen=True, eq=False)
class _Piece:
    """One SEG frame that belongs to a stored slice."""

    index: int
    segment: int | None
    resample: Array | None


class Segments:
    """The segments of a segmentation, and on which stored slices they lie.

    Args:
        path: of the file.
        volume: the series that it was drawn on.

    Attributes:
        named: labels of the segments by number.

    Raises:
        SupportError: it cannot be read.
    """

    def __init__(self, path: str, volume: Volume) -> None:
        frames = scan(path)
        if isinstance(frames, Rejected) or frames[0].instance.fault:
            fault = frames.reason if isinstance(frames, Rejected) else frames[0].instance.fault
            what = f"the segmentation cannot be read: {fault}"
            raise SupportError(what, where=volume.id, remedy=_EXPORT_AGAIN)
        self._frames, self._volume = frames, volume
        self._dataset = pydicom.dcmread(path, force=True)
        stated = "LABELMAP" if frames[0].instance.sop_class == _LABELMAP else "BINARY"
        self._type = text(self._dataset, "SegmentationType") or stated
        self.named = {
            int(number[0]): text(item, "SegmentLabel")
            for item in datasets(self._dataset, "SegmentSequence")
            if (number := numbers(item, "SegmentNumber", 1)) is not None
        }
        self._pieces: dict[int, list[_Piece]] = defaultdict(list)
        self._on: list[tuple[int, int | None]] = []
        self._off: list[tuple[int, int | None]] = []

    def place(self, relevant: Collection[int]) -> None:
        """Find the slices that the frames of some segments lie on.

        Raises:
            SupportError: there is none, or a frame cannot be laid onto its slice.
        """
        shared = datasets(self._dataset, "SharedFunctionalGroupsSequence")[:1]
        items = datasets(self._dataset, "PerFrameFunctionalGroupsSequence")
        finder = SliceFinder(self._volume, text(self._dataset, "FrameOfReferenceUID"))
        loose: list[tuple[Frame, int | None]] = []
        for frame, item in zip(self._frames, items, strict=False):
            segment = self._segment(item, shared)
            asked_for = segment is None or segment in relevant
            named = finder.names(sources := _sources(item))
            if not asked_for:
                if not named and frame.position is not None:
                    loose.append((frame, segment))  # a plane without the asked segments is a plane all the same
                continue
            found = finder.of_frame(sources, frame)
            resample = None if found is None else _to_frame(self._volume, found, frame)
            if found is None or (resample is not None and not self._meets(frame, resample)):
                self._off.append((frame.index, segment))
                continue
            self._on.append((frame.index, segment))
            if named or frame.position is None:
                self._pieces[found].append(_Piece(frame.index, segment, resample))
            else:
                loose.append((frame, segment))
        self._place_loose([one for one in loose if one[0].position is not None], relevant)
        if not self._pieces:
            raise SupportError(
                "no frame of the segmentation lies on a slice of the series",
                where=self._volume.id,
                remedy="it belongs to another series; name the folder of the series that it was drawn on",
            )

    def _segment(self, item: Dataset, shared: Sequence[Dataset]) -> int | None:
        """Which segment a frame shows; None for all of them (LABELMAP).

        Raises:
            SupportError: it does not say, and there are several.
        """
        if self._type == "LABELMAP":
            return None
        number = _segment_number(item, shared)
        if number is None and len(self.named) != 1:
            what = "frames of the segmentation do not say which segment they show"
            raise SupportError(what, where=self._volume.id, remedy=_EXPORT_AGAIN)
        return next(iter(self.named)) if number is None else number

    def _place_loose(self, loose: Sequence[tuple[Frame, int | None]], relevant: Collection[int]) -> None:
        """Give each slice the frames of the plane that is nearest to it, of those that refer to no slice."""
        depths = [float(np.array(frame.position) @ self._volume.normal) for frame, _ in loose]
        planes = LoosePlanes(self._volume, depths, self._spacing())
        for index in range(len(self._volume.frames)) if loose else ():
            for frame, segment in (loose[number] for number in planes.at(index)):
                if segment is None or segment in relevant:
                    resample = _to_frame(self._volume, index, frame)
                    self._pieces[index].append(_Piece(frame.index, segment, resample))

    def _spacing(self) -> float:
        """mm from plane to plane, as the file states it for all its frames, or its first; 0 where it does not."""
        groups = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
        for item in (item for group in groups for item in datasets(self._dataset, group)[:1]):
            for measures in datasets(item, "PixelMeasuresSequence"):
                stated = numbers(measures, "SpacingBetweenSlices", 1) or (0.0,)
                return max(stated[0], 0.0) or self._frames[0].thickness
        return 0.0

    def _meets(self, frame: Frame, to_frame: Array) -> bool:
        """Whether the box around a slice, in the pixels of a frame, meets that frame at all."""
        instance, size = self._volume.first.instance, (frame.instance.columns, frame.instance.rows)
        x, y = (-0.5, instance.columns - 0.5), (-0.5, instance.rows - 0.5)
        corners = to_frame[:2] @ np.array([(a, b, 1) for a in x for b in y]).T
        return all(low < extent - 0.5 and high > -0.5 for low, high, extent in _extents(corners, size))

    def off(self, numbers_of: Collection[int]) -> tuple[int, int]:
        """How many frames that show one of these segments lie on no slice, and of how many; call `place` first."""
        off = sum(self._shows(index, segment, numbers_of) for index, segment in self._off)
        if not off:
            return 0, 0
        return off, off + sum(self._shows(index, segment, numbers_of) for index, segment in self._on)

    def _shows(self, index: int, segment: int | None, numbers_of: Collection[int]) -> bool:
        """Whether a frame is not empty of these segments."""
        if segment is not None:
            return segment in numbers_of and bool(self._pixels(index).any())
        return bool(np.isin(self._pixels(index), list(numbers_of)).any())

    def lie_on(self, index: int) -> bool:
        """Whether a frame lies on a stored slice."""
        return index in self._pieces

    def at(self, index: int) -> Iterator[tuple[npt.NDArray[Any], Marked]]:
        """What the frames of a stored slice say: segment numbers [rows, columns], 0 for none, and where they do."""
        instance = self._volume.first.instance
        shape = (instance.rows, instance.columns)
        for piece in self._pieces.get(index, ()):
            pixels = self._pixels(piece.index)
            inside: npt.NDArray[Any] = np.ones(shape, dtype=bool)
            if piece.resample is not None:
                pixels, inside = pick(pixels.T[:, :, np.newaxis], piece.resample, shape)
            yield pixels if piece.segment is None else pixels.astype(np.int64) * piece.segment, inside

    def _pixels(self, index: int) -> npt.NDArray[Any]:
        try:
            pixels = pixel_array(self._dataset, index=index, raw=True)
        except READ_ERRORS as error:
            what = f"frame {index} of the segmentation cannot be decoded ({type(error).__name__})"
            remedy = "export it again: the file is damaged"
            raise SupportError(what, where=self._volume.id, remedy=remedy) from None
        if self._type == "FRACTIONAL":
            most = numbers(self._dataset, "MaximumFractionalValue", 1) or (255.0,)
            if most[0] <= 0:
                what = "MaximumFractionalValue of the segmentation is not above 0"
                raise SupportError(what, where=self._volume.id, remedy=_EXPORT_AGAIN)
            return pixels * 2 >= most[0] if pixels.dtype.kind == "f" else pixels.astype(np.int64) * 2 >= most[0]
        return pixels


def _extents(points: Array, size: tuple[int, int]) -> Iterator[tuple[float, float, int]]:
    """Along each axis the least and the largest of the points [2, n], and how many pixels there are."""
    for along, extent in zip(points, size, strict=True):
        yield float(along.min()), float(along.max()), extent


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
        what = "the segmentation has another size than the slices, and no position"
        raise SupportError(what, where=volume.id, remedy="give labels of the size of the images, pixel by pixel")
    cosines = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)
    row_mm, column_mm = frame.spacing
    # Along the frame's own axes only: the distance between the planes was settled when the frame was matched.
    to_frame = np.vstack([cosines[0] / column_mm, cosines[1] / row_mm, np.zeros(3)])
    place = slice_affine(volume, index)[:3].copy()
    place[:, 2] -= np.array(frame.position, dtype=np.float64)
    matrix: Array = to_frame @ place
    corners = np.array([[0, 0, 1], [instance.columns - 1, instance.rows - 1, 1]], dtype=np.float64).T
    if same_size and np.abs(matrix[:2] @ corners - corners[:2]).max() < GRID_TOLERANCE:
        return None
    return matrix


class SegLabels:
    """Labels in a segmentation.

    Raises:
        SupportError: it cannot be read, has no such segment, or frames that match no slice.
    """

    def __init__(self, path: str, volume: Volume, wanted: Wanted) -> None:
        self._segments, self._wanted = Segments(path, volume), wanted
        self._numbers = wanted.numbers(self._segments.named, "segment", volume.id)
        self._segments.place(self._numbers | wanted.ignore | wanted.background)
        instance = volume.first.instance
        self._shape = (instance.rows, instance.columns)

    @property
    def warnings(self) -> tuple[SceneWarning, ...]:
        """See `LabelSource`."""
        off, of = self._segments.off(self._numbers)
        return off_the_slices(off, of, "frames", self._wanted.named)

    def stored(self, index: int) -> Label:
        """See `LabelSource`."""
        if not self._segments.lie_on(index):
            return np.full(self._shape, self._wanted.unlabelled, dtype=np.uint8)
        chosen, ignored, background = (np.zeros(self._shape, dtype=bool) for _ in range(3))
        for found, inside in self._segments.at(index):
            chosen |= inside & np.isin(found, list(self._numbers))
            ignored |= inside & np.isin(found, list(self._wanted.ignore))
            background |= inside & np.isin(found, list(self._wanted.background))
        return self._wanted.compose(chosen, ignored, background)


class SegValues:
    """Labels in a segmentation, all of them at once (a `LabelSource`): what lies on no slice is refused before.

    Args:
        segments: the segmentation, whose frames have their place.
        values: what the segments mean, by number; where several lie on each other, the last one of these counts.
        shape: (rows, columns) of a stored slice.
    """

    warnings: tuple[SceneWarning, ...] = ()

    def __init__(self, segments: Segments, values: Mapping[int, int], shape: tuple[int, int]) -> None:
        self._segments, self._values = segments, values
        self._nothing = np.full(shape, IGNORE, dtype=np.uint8)
        self._nothing.flags.writeable = False

    def stored(self, index: int) -> Label:
        """[rows, columns] uint8 of a stored slice: the values, and 255 where no segment is."""
        if not self._segments.lie_on(index):
            return self._nothing
        label = self._nothing.copy()
        frames = list(self._segments.at(index))
        for number, value in self._values.items():
            for found, inside in frames:
                label[inside & (found == number)] = value
        return label
