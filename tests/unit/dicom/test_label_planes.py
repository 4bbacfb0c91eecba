"""Labels that were drawn on another series of the patient, whose slices lie closer together or further apart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from hdm_dicom.examples.planes import LoosePlanes
from hdm_dicom.reader import DicomReader
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import IGNORE, LabeledImage, SceneHeader, SupportRequest
from tests.dicom_labels import affine_of, structure_set
from tests.dicom_product import LIVER, SPLEEN, make_product
from tests.dicom_series import write_series

EXTENT = 16.0
"""mm of both series along their normal."""


def two_series(folder: Path, step: float, drawn_step: float) -> tuple[Path, Path]:
    """The series that is to learn, and the one that was drawn on, in one frame of reference."""
    for name, each in (("series", step), ("drawn", drawn_step)):
        write_series(folder / name, list(np.arange(0, EXTENT, each)), series=name)
    return folder / "series", folder / "drawn"


def side(depth: float) -> int:
    """Pixels of the side of the square that is drawn at a depth in mm: no two planes look alike."""
    return 3 + int(depth) if 4 <= depth <= 12 else 0


def structures(drawn: Path, step: float, *without: int) -> Path:
    """A square in every plane of the drawn series but some; nothing names the series."""
    contours = []
    for z, depth in enumerate(np.arange(0, EXTENT, step)):
        if not (end := side(depth)) or z in without:
            continue
        corners = np.array([[0, 0], [end, 0], [end, end], [0, end]]) + 1.5
        contours.append(((affine_of(drawn) @ np.c_[corners, np.full(4, z), np.ones(4)].T).T[:, :3], ""))
    return structure_set(drawn.parent, contours)


def segmentation(drawn: Path, step: float, kind: str) -> Path:
    """The same squares as segments; a spleen where there is no liver, so that each plane has a frame."""

    def mask(header: SceneHeader) -> np.ndarray:
        found = np.zeros((1, *header.shape[1:]), np.uint8)
        for z, depth in enumerate(np.arange(0, EXTENT, step)):
            found[0, z, 2 : 2 + side(depth), 2 : 2 + side(depth)] = 1
            found[0, z, -1, -1] = 2
        return found

    path = drawn.parent / "drawn.dcm"
    SegmentationWriter({"type": kind}).write(make_product(drawn, mask, classes=(LIVER, SPLEEN)), path)
    return path


def labels(kind: str, drawn: Path, step: float) -> Path:
    return structures(drawn, step) if kind == "RTSTRUCT" else segmentation(drawn, step, kind)


def by_slice(images: list[LabeledImage]) -> dict[int, int]:
    """Pixels of the class by slice."""
    return {int(image.name.rsplit(" ", 1)[1]): int((image.label == 1).sum()) for image in images}


@pytest.mark.parametrize("kind", ["RTSTRUCT", "BINARY", "LABELMAP"])
@pytest.mark.parametrize(("step", "drawn_step"), [(2.0, 1.0), (4.0, 1.0), (2.0, 2.0)])
def test_of_planes_that_lie_closer_together_the_nearest_counts(
    kind: str, step: float, drawn_step: float, tmp_path: Path
) -> None:
    series, drawn = two_series(tmp_path, step, drawn_step)
    images = DicomReader().read_support(
        SupportRequest(str(series), str(labels(kind, drawn, drawn_step)), segment="liver")
    )
    depths = enumerate(np.arange(0, EXTENT, step))
    assert by_slice(images) == {z: side(depth) ** 2 for z, depth in depths if side(depth)}
    assert [warning for image in images for warning in image.warnings] == []


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_frames_that_lie_further_apart_count_for_all_slices_that_they_are_nearest_to(kind: str, tmp_path: Path) -> None:
    series, drawn = two_series(tmp_path, 1.0, 4.0)
    request = SupportRequest(str(series), str(segmentation(drawn, 4.0, kind)), segment="liver")
    found = by_slice(list(DicomReader().read_support(request)))
    planes = np.arange(0, EXTENT, 4.0)
    for z in range(int(planes[-1]) + 3):
        # Half way between two planes either is the nearest.
        nearest = {side(plane) ** 2 for plane in planes if abs(plane - z) == np.abs(planes - z).min()}
        assert found.get(z, 0) in nearest, z
    (coronal, *_) = DicomReader({"plane": "coronal"}).read_support(request)
    column = (coronal.label == 1).any(axis=1)
    assert_array_equal(np.flatnonzero(np.diff(column.astype(int))).size, 2, "stripes")


def test_between_contours_that_lie_further_apart_nothing_is_known(tmp_path: Path) -> None:
    series, drawn = two_series(tmp_path, 1.0, 4.0)
    request = SupportRequest(str(series), str(structures(drawn, 4.0)), segment="liver")
    assert set(by_slice(list(DicomReader().read_support(request)))) == {4, 8, 12}
    (coronal, *_) = DicomReader({"plane": "coronal"}).read_support(request)
    from_below = coronal.label[::-1]  # a coronal image has the head above
    assert (from_below[[5, 6, 7, 9, 10, 11]] == IGNORE).all()
    assert (from_below[[0, 3, 13]] == 0).all()


def test_where_contours_lie_as_close_as_the_slices_a_gap_is_background(tmp_path: Path) -> None:
    series, drawn = two_series(tmp_path, 1.0, 1.0)
    path = structures(drawn, 1.0, 7, 8)
    (coronal, *_) = DicomReader({"plane": "coronal"}).read_support(
        SupportRequest(str(series), str(path), segment="liver")
    )
    from_below = coronal.label[::-1]
    assert (from_below[[7, 8]] == 0).all()
    assert (from_below[[6, 9]] == 1).any(axis=1).all()


def test_a_contour_of_one_slice_is_not_that_of_another_that_lies_near() -> None:
    """Slices that lie uneven: two of them are 1 mm apart, the others 3 mm."""
    uneven = cast("Volume", SimpleNamespace(depths=np.array([0.0, 3.0, 6.0, 7.0, 10.0, 13.0]), step=3.0))
    drawn = LoosePlanes(uneven, [6.0, 10.0])
    assert [list(drawn.at(index)) for index in range(6)] == [[], [], [0], [], [1], []]
    thick = LoosePlanes(uneven, [0.0, 6.0, 12.0], spacing=6.0)
    assert [list(thick.at(index)) for index in range(6)] == [[0], [0], [1], [1], [2], [2]]
