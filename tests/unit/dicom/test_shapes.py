"""What lies on one grid: by size, kind of pixels, spacing and orientation; and what is told of what does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.examples.labels import SliceFinder
from hdm_dicom.files.projections import is_projection
from hdm_dicom.reader import DicomReader
from hdm_dicom.series.grouping import volumes
from hdm_pipeline.contracts import SceneHeader, SceneRef, SceneWarning, Skipped, VolumeGeometry
from tests.dicom_multiframe import write_enhanced, write_tomogram
from tests.dicom_series import write_series
from tests.unit.dicom.test_grouping import groups, one_uid, stacks
from tests.unit.dicom.test_series import frames_of, one

TWELVE = [3.0 * i for i in range(12)]


def headers(folder: Path, options: dict[str, Any] | None = None) -> list[SceneHeader]:
    """Of all volumes, the largest first."""
    reader = DicomReader(options)
    found = [reader.header(ref) for ref in reader.discover(str(folder)) if isinstance(ref, SceneRef)]
    return sorted(found, key=lambda header: -header.shape[1])


def palette(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for color in ("Red", "Green", "Blue"):
        setattr(dataset, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{color}PaletteColorLookupTableData", np.arange(256, dtype="<u2").tobytes())


def dark_is_high(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "MONOCHROME1"


def unitless(dataset: Dataset) -> None:
    dataset.Modality = "MR"
    del dataset.RescaleSlope, dataset.RescaleIntercept


def test_gray_and_palette_are_no_volume(tmp_path: Path) -> None:
    write_series(tmp_path, TWELVE, change=lambda dataset, i: palette(dataset) if i >= 5 else None)
    found = groups(tmp_path)
    assert [len(volume.frames) for volume in found] == [7, 5]
    assert all(len({frame.instance.photometric for frame in volume.frames}) == 1 for volume in found)
    assert "2 volumes, told apart by color" in found[0].notes[0]


def test_slices_that_are_turned_over_beside_others_are_told(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        unitless(dataset)
        if index >= 5:
            dark_is_high(dataset)

    write_series(tmp_path, TWELVE, change=change)
    (header,) = headers(tmp_path)
    (warning,) = [one for one in header.warnings if isinstance(one, SceneWarning)]
    assert (warning.kind, warning.suspect) == ("mixed_photometric", True)
    assert "7 of 12 images are MONOCHROME1" in warning.what


def test_a_quantity_is_the_same_however_it_is_shown(tmp_path: Path) -> None:
    """HU are never turned over."""
    write_series(tmp_path, TWELVE, change=lambda dataset, i: dark_is_high(dataset) if i >= 5 else None)
    assert len(one(tmp_path).frames) == 12


def test_slices_that_lost_their_place_are_told_with_those_that_have_one(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        if index >= 9:
            del dataset.ImagePositionPatient

    write_series(tmp_path, TWELVE, change=change)
    whole, *single = headers(tmp_path)
    (warning,) = [one for one in whole.warnings if isinstance(one, SceneWarning)]
    assert warning.kind == "unplaced_slices"
    assert warning.suspect
    assert "3 of 12 images of the series state no place" in warning.what
    assert len(single) == 3
    assert not any(isinstance(one, SceneWarning) for header in single for one in header.warnings)


@pytest.mark.parametrize("lacking", [(0, 1), (5, 6), (11,)])
def test_an_assumed_spacing_joins_slices_that_state_none(tmp_path: Path, lacking: Sequence[int]) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.PixelSpacing = [0, 0] if index in lacking else [2.0, 3.0]

    write_series(tmp_path, TWELVE, change=change)
    assert len({ref for ref in DicomReader({}).discover(str(tmp_path)) if isinstance(ref, SceneRef)}) == 2
    (header,) = headers(tmp_path, {"assume": {"pixel_spacing": [2, 3]}})
    assert header.shape[1] == 12
    assert header.attributes["pixel_spacing"] == pytest.approx((2, 3))
    (warning,) = [one for one in header.warnings if isinstance(one, SceneWarning)]
    assert f"of {len(lacking)} of 12 images: 2 x 3 mm are assumed" in warning.what
    other = DicomReader({"assume": {"pixel_spacing": [5, 5]}})
    assert len([ref for ref in other.discover(str(tmp_path)) if isinstance(ref, SceneRef)]) == 2


@pytest.mark.parametrize(("low", "high", "count"), [(0.488249, 0.488251, 1), (0.4, 0.401, 2), (0.00905, 0.00911, 2)])
def test_spacings_are_compared_relatively(tmp_path: Path, low: float, high: float, count: int) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.PixelSpacing = [low if index < 6 else high] * 2

    write_series(tmp_path, TWELVE, change=change)
    assert len(groups(tmp_path)) == count


def unplaced(dataset: Dataset, index: int) -> None:
    del dataset.ImagePositionPatient


def higher(dataset: Dataset, index: int) -> None:
    if index >= 6:
        dataset.Rows -= 2


def turned(dataset: Dataset, index: int) -> None:
    if index >= 6:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("change", "told"),
    [(unplaced, "file (no position is stated)"), (higher, "size"), (turned, "orientation")],
)
def test_only_what_differs_is_named(tmp_path: Path, change: Callable[[Dataset, int], None], told: str) -> None:
    write_series(tmp_path, TWELVE, change=change)
    assert groups(tmp_path)[0].notes[-1].endswith(f"volumes, told apart by {told}")


@pytest.mark.parametrize(
    ("image_type", "technique", "projection"),
    [
        (("DERIVED", "PRIMARY", "VOLUME", "MAX_IP"), "", True),
        (("DERIVED", "PRIMARY", "PROJECTION_IMAGE"), "", True),
        (("DERIVED", "SECONDARY", "MAXIMUM"), "", True),
        (("DERIVED", "PRIMARY", "CSA MIP"), "", True),
        (("DERIVED", "PRIMARY", "MIP_THIN"), "", True),
        (("DERIVED", "PRIMARY", "PROJECTION IMAGE"), "", True),
        (("DERIVED", "PRIMARY", "VOLUME"), "MIN_IP", True),
        (("DERIVED", "PRIMARY", "VOLUME"), "MPR", False),
        (("DERIVED", "SECONDARY", "MPR", "AVERAGE"), "", False),
        (("ORIGINAL", "PRIMARY", "AXIAL", "SHRIMP"), "", False),
    ],
)
def test_projections_are_known_by_their_words(
    tmp_path: Path, image_type: tuple[str, ...], technique: str, projection: bool
) -> None:
    assert is_projection(image_type, technique) == projection

    def change(dataset: Dataset, index: int) -> None:
        dataset.ImageType = list(image_type)
        if technique:
            dataset.VolumeBasedCalculationTechnique = technique

    write_series(tmp_path, change=change)
    found = list(DicomReader({}).discover(str(tmp_path)))
    assert all(isinstance(one, Skipped) and "projection" in one.reason for one in found) == projection
    (header,) = headers(tmp_path, {"include_derived": True})
    assert isinstance(header.geometry, VolumeGeometry)
    assert header.geometry.measured != projection


def test_slices_with_the_spacing_of_the_detector_have_it_in_the_patient(tmp_path: Path) -> None:
    """Cone-beam CT states both alike."""

    def change(dataset: Dataset, index: int) -> None:
        dataset.PixelSpacing = dataset.ImagerPixelSpacing = [0.4, 0.4]

    write_series(tmp_path, TWELVE, change=change)
    (header,) = headers(tmp_path)
    assert header.attributes["pixel_spacing_from"] == "PixelSpacing"


@pytest.mark.parametrize(("jump", "regular"), [(0.45, False), (0.09, True)])
def test_a_jump_of_thick_slices_is_held_against_the_pixels(tmp_path: Path, jump: float, regular: bool) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.PixelSpacing = [0.2, 0.2]
        dataset.ImagePositionPatient = [jump if index > 5 else 0.0, 0.0, 10.0 * index]

    write_series(tmp_path, TWELVE, change=change)
    assert (one(tmp_path).problems == ()) == regular
    parts = volumes(frames_of(tmp_path), "split")
    assert [len(part.frames) for part in parts] == ([12] if regular else [6, 6])


def test_a_uid_of_several_images_finds_no_slice(tmp_path: Path) -> None:
    write_series(tmp_path, TWELVE, change=one_uid)
    volume = one(tmp_path)
    finder = SliceFinder(volume, "")
    assert finder.find([("1.2.3", 0)], None) is None
    assert [finder.find([("1.2.3", 0)], place[np.newaxis]) for place in volume.positions] == list(range(12))


def test_stacks_of_several_files_are_volumes_where_they_make_none_together(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "a", [0, 3, 6, 9], change=stacks(lambda _: "1"))
    write_enhanced(tmp_path / "b", [15, 18, 21, 24], change=stacks(lambda _: "2"))
    found = groups(tmp_path)
    assert [list(volume.depths) for volume in found] == [[0, 3, 6, 9], [15, 18, 21, 24]]
    assert all(volume.problems == () for volume in found)
    assert "told apart by StackID" in found[0].notes[0]


def test_files_whose_stacks_go_on_stay_one_volume(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "a", [0, 3, 6, 9], change=stacks(lambda _: "1"))
    write_enhanced(tmp_path / "b", [12, 15, 18, 21], change=stacks(lambda _: "2"))
    assert len(one(tmp_path).frames) == 8


def test_a_tomogram_without_a_step_has_no_place_and_says_why(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "nm", spacing=0.0)
    (header,) = headers(tmp_path)
    assert isinstance(header.geometry, VolumeGeometry)
    assert not header.geometry.located
    assert any("(SpacingBetweenSlices is 0 or not stated)" in str(one) for one in header.warnings)


def without_orientation(dataset: Dataset, index: int) -> None:
    del dataset.ImageOrientationPatient


def test_a_position_without_an_orientation_is_no_place(tmp_path: Path) -> None:
    """Where the rows of such images point nobody knows: they are one scene each, and no stack of some direction."""
    write_series(tmp_path, change=without_orientation)
    found = headers(tmp_path)
    assert [header.shape for header in found] == [(1, 1, 24, 32)] * 5
    for header in found:
        assert_lost(header)


def test_frames_of_one_file_without_an_orientation_are_one_scene(tmp_path: Path) -> None:
    def forget(dataset: Dataset) -> None:
        del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence

    write_enhanced(tmp_path / "a.dcm", TWELVE, change_file=forget)
    (header,) = headers(tmp_path)
    assert header.shape[1] == 12
    assert_lost(header)


def assert_lost(header: SceneHeader) -> None:
    assert isinstance(header.geometry, VolumeGeometry)
    assert not header.geometry.located
    (warning,) = [w for w in header.warnings if isinstance(w, SceneWarning) and w.kind == "lost_place"]
    assert "ImagePositionPatient without ImageOrientationPatient" in warning.what
    assert warning.remedy


def test_some_slices_without_an_orientation_are_told(tmp_path: Path) -> None:
    write_series(tmp_path, change=lambda dataset, index: without_orientation(dataset, index) if index == 4 else None)
    whole, lost = headers(tmp_path)
    assert (whole.shape[1], lost.shape[1]) == (4, 1)
    assert "unplaced_slices" in {w.kind for w in whole.warnings if isinstance(w, SceneWarning)}


def test_an_orientation_of_the_whole_file_counts_for_its_frames(tmp_path: Path) -> None:
    def to_the_root(dataset: Dataset) -> None:
        del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        for index, item in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            item.PlanePositionSequence[0].ImagePositionPatient = [3.0 * index, 0, 0]

    write_enhanced(tmp_path / "a.dcm", TWELVE, change_file=to_the_root)
    (header,) = headers(tmp_path)
    assert isinstance(header.geometry, VolumeGeometry)
    assert header.geometry.located
    assert np.array(header.geometry.affine).reshape(4, 4)[:3, 2] == pytest.approx([-3, 0, 0])


def test_empty_functional_groups_make_no_multi_frame_of_a_slice(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [], []

    write_series(tmp_path, change=change)
    (header,) = headers(tmp_path)
    assert header.shape[1] == 5
    assert isinstance(header.geometry, VolumeGeometry)
    assert header.geometry.located
