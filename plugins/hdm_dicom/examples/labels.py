"""Labels of stored slices: what a request wants of them, and how labels find their slice.

Each source gives, for a stored slice, an image of 1 (the class), 0 (background) and 255 (ignored). Where a label's grid
is not that of the slice, the nearest label pixel counts; what lies outside the labels' grid is ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hdm_dicom.files.instances import Frame
from hdm_dicom.series.places import Array
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import IGNORE, SceneWarning, SupportRequest
from hdm_pipeline.errors import SupportError, listed_values

Label = npt.NDArray[np.uint8]
Marked = npt.NDArray[np.bool_]

GRID_TOLERANCE = 0.02
"""Pixels, or slices, by which two grids may differ and still count as one."""

_PARALLEL = 0.999
_SHOWN = 10


class LabelSource(Protocol):
    """Labels of one class over the stored slices of a volume."""

    @property
    def warnings(self) -> tuple[SceneWarning, ...]:
        """What of them is lost."""
        ...

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
    def named(self) -> str:
        """The class as messages name it."""
        values = sorted(self.values)
        return repr(self.name) if self.name is not None else f"value {', '.join(map(str, values))}"

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
            asked_for = self.name.strip().casefold()
            found = frozenset(n for n, name in named.items() if name.strip().casefold() == asked_for)
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


def held(label: npt.NDArray[Any]) -> str:
    """The values of labels, in words; the first of many."""
    known = label[~np.isnan(label)] if label.dtype.kind == "f" else label
    return listed_values(np.unique(known).tolist(), _SHOWN)


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

    def names(self, sources: Iterable[tuple[str, int]]) -> bool:
        """Whether a label refers to a slice of the volume."""
        return any(source in self._by_uid for source in sources)

    def of_frame(self, sources: Iterable[tuple[str, int]], frame: Frame) -> int | None:
        """The slice that a frame was drawn on, by the images that it refers to and its place; see `find`."""
        if frame.position is None or frame.orientation is None:
            return self.find(sources, None)
        cosines = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)
        parallel = abs(float(np.cross(cosines[0], cosines[1]) @ self._volume.normal)) >= _PARALLEL
        return self.find(sources, np.array([frame.position], dtype=np.float64), parallel=parallel)

    def find(self, sources: Iterable[tuple[str, int]], points: Array | None, *, parallel: bool = True) -> int | None:
        """The slice that a label was drawn on; None if it is none of this volume.

        Args:
            sources: (SOP instance, zero-based frame) of the images that the label refers to.
            points: [n, 3] places of the label, mm; None if it states none.
            parallel: its plane is that of the slices.

        Raises:
            SupportError: it refers to a slice and lies elsewhere, or to several and states no place.
        """
        named = sorted({self._by_uid[source] for source in sources if source in self._by_uid})
        if points is None or not self._comparable:
            if len(named) > 1:
                raise self._contradiction(f"refer to {len(named)} slices at once, and state no place")
            return named[0] if named else None
        away = np.abs(self._volume.depths[:, np.newaxis] - points @ self._volume.normal).max(axis=1)
        among = np.array(named, dtype=np.intp) if named else np.arange(away.size)
        nearest = int(among[np.argmin(away[among])])
        if parallel and away[nearest] <= (0.5 + GRID_TOLERANCE) * self._volume.step:
            return nearest
        if named:
            raise self._contradiction(f"refer to slice {nearest} and lie elsewhere")
        return None

    def _contradiction(self, what: str) -> SupportError:
        return SupportError(
            f"labels {what}: the file contradicts itself",
            where=self._volume.id,
            remedy="export it again from the program that drew it, or give the labels as NIfTI",
        )
