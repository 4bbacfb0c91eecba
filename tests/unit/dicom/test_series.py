"""Grouping, ordering, geometry: volumes from frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from hdm_dicom.files.headers import scan
from hdm_dicom.files.instances import Frame, Rejected
from hdm_dicom.series.grouping import volumes
from hdm_dicom.series.volume import Volume
from tests.dicom_series import AXIAL, set_pixels, write_series


def frames_of(folder: Path) -> list[Frame]:
    found: list[Frame] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            result = scan(str(path))
            assert not isinstance(result, Rejected)
            found += result
    return found


def one(folder: Path, policy: str = "strict") -> Volume:
    found = volumes(frames_of(folder), policy)  # type: ignore[arg-type]
    assert len(found) == 1
    return found[0]


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = angles
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return about_z @ about_y @ about_x


def test_order_is_by_position_not_by_instance_number(tmp_path: Path) -> None:
    def backwards(dataset: Dataset, index: int) -> None:
        dataset.InstanceNumber = 100 - index

    write_series(tmp_path, change=backwards)
    volume = one(tmp_path)
    assert [frame.position[2] for frame in volume.frames if frame.position] == [-30, -28, -26, -24, -22]
    assert volume.problems == ()
    assert volume.step == pytest.approx(2)


@settings(max_examples=25, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    step=st.floats(0.3, 8),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    order=st.permutations(range(6)),
)
def test_affine_is_dicoms_own_equation(
    angles: tuple[float, float, float], step: float, origin: tuple[float, float, float], order: list[int]
) -> None:
    axes = rotation(angles)
    frames = _frames(axes, np.array(origin), [step * i for i in range(6)])
    volume = volumes([frames[i] for i in order], "strict")[0]
    assert volume.problems == ()
    row_mm, column_mm = 0.5, 0.75
    for x, y, z in ((0, 0, 0), (31, 0, 0), (0, 23, 5), (7, 9, 3)):
        # PS3.3 C.7.6.2.1.1: position + row cosines * column spacing * x + column cosines * row spacing * y
        expected = np.array(origin) + axes[2] * step * z + axes[0] * column_mm * x + axes[1] * row_mm * y
        assert volume.affine @ [x, y, z, 1] == pytest.approx([*expected, 1], abs=1e-3)


def _frames(axes: np.ndarray, origin: np.ndarray, depths: list[float]) -> list[Frame]:
    from dataclasses import replace

    from tests.dicom_series import make_slice

    template = make_slice(0, np.zeros((24, 32), np.uint16))
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slice"
        template.save_as(path, enforce_file_format=True)
        frame = scan(str(path))
    assert not isinstance(frame, Rejected)
    orientation = tuple(float(v) for v in axes[:2].ravel())
    return [
        replace(
            frame[0],
            instance=replace(frame[0].instance, sop_instance=f"1.{index}", path=str(index)),
            position=tuple(float(v) for v in origin + axes[2] * depth),  # type: ignore[arg-type]
            orientation=orientation,  # type: ignore[arg-type]
        )
        for index, depth in enumerate(depths)
    ]


def test_missing_slice_is_counted(tmp_path: Path) -> None:
    write_series(tmp_path, (0, 2, 4, 10, 12))
    assert one(tmp_path).problems == ("2 slices are missing (spacing 2.000 mm)",)


def test_uneven_spacing_is_told_from_missing_slices(tmp_path: Path) -> None:
    write_series(tmp_path, (0, 2, 4, 7.3, 9.3))
    assert "uneven" in one(tmp_path).problems[0]


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    write_series(tmp_path, (0, 1.25, 2.5, 3.7499, 5.0001))
    assert one(tmp_path).problems == ()


def test_split_cuts_at_the_gap(tmp_path: Path) -> None:
    write_series(tmp_path, (0, 2, 4, 10, 12))
    found = volumes(frames_of(tmp_path), "split")
    assert sorted(len(volume.frames) for volume in found) == [2, 3]
    assert all(volume.problems == () for volume in found)
    assert len({volume.id for volume in found}) == 2


def test_gantry_tilt_is_detected_and_its_affine_sheared(tmp_path: Path) -> None:
    tilt = np.radians(15)
    orientation = (1, 0, 0, 0, np.cos(tilt), -np.sin(tilt))

    def along_table(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = [0, 0, 5.0 * index]

    write_series(tmp_path, (0, 1, 2, 3), orientation=orientation, change=along_table)
    volume = one(tmp_path)
    assert "gantry tilt of 15.0 degrees" in volume.problems[0]
    assert volume.affine[:3, 2] == pytest.approx([0, 0, 5])


def test_same_instance_twice_counts_once(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b")
    volume = one(tmp_path)
    assert len(volume.frames) == 5
    assert "5 copies of images" in volume.notes[0]


def test_echoes_at_one_place_become_volumes(tmp_path: Path) -> None:
    def echo(number: int) -> object:
        def change(dataset: Dataset, index: int) -> None:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}.{index}"
            dataset.EchoNumbers = number
            dataset.AcquisitionNumber = index

        return change

    write_series(tmp_path / "a", change=echo(1))  # type: ignore[arg-type]
    write_series(tmp_path / "b", change=echo(2))  # type: ignore[arg-type]
    found = volumes(frames_of(tmp_path), "strict")
    assert [len(volume.frames) for volume in found] == [5, 5]
    assert all(len({frame.keys[1] for frame in volume.frames}) == 1 for volume in found)


def told_apart(folder: Path, change: Callable[[Dataset], None]) -> list[Volume]:
    """The volumes of a series whose images lie twice at each place, the second ones changed."""

    def second(dataset: Dataset, index: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.5.{index}"
        change(dataset)

    write_series(folder / "a")
    write_series(folder / "b", change=second)
    return volumes(frames_of(folder), "strict")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ImageType", ["DERIVED", "PRIMARY", "AXIAL"]),
        ("EchoTime", 8.5),
        ("TemporalPositionIdentifier", 2),
        ("NominalPercentageOfCardiacPhase", 70),
        ("TriggerTime", 400),
        ("DiffusionBValue", 800),
        ("AcquisitionNumber", 2),
    ],
)
def test_images_at_one_place_are_told_apart(tmp_path: Path, name: str, value: object) -> None:
    found = told_apart(tmp_path, lambda dataset: setattr(dataset, name, value))
    assert [len(volume.frames) for volume in found] == [5, 5]
    assert all(volume.problems == () for volume in found)
    assert all(len({frame.keys for frame in volume.frames}) == 1 for volume in found)


def larger(dataset: Dataset) -> None:
    set_pixels(dataset, np.full((30, 32), 1000, dtype=np.uint16))


def in_color(dataset: Dataset) -> None:
    set_pixels(dataset, np.full((24, 32, 3), 100, dtype=np.uint8))


def coarser(dataset: Dataset) -> None:
    dataset.PixelSpacing = [1.0, 1.0]


@pytest.mark.parametrize("change", [larger, in_color, coarser])
def test_sizes_colors_and_spacings_are_separated(tmp_path: Path, change: Callable[[Dataset], None]) -> None:
    found = told_apart(tmp_path, change)
    assert [len(volume.frames) for volume in found] == [5, 5]
    assert all(volume.problems == () for volume in found)


def test_acquisition_numbers_that_count_slices_do_not_split(tmp_path: Path) -> None:
    def numbered(dataset: Dataset, index: int) -> None:
        dataset.AcquisitionNumber = index

    write_series(tmp_path, change=numbered)
    assert len(one(tmp_path).frames) == 5


def test_images_that_nothing_tells_apart_are_no_volume(tmp_path: Path) -> None:
    def again(dataset: Dataset, index: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.3.{index}"

    write_series(tmp_path / "a")
    write_series(tmp_path / "b", change=again)
    assert "2 different images lie at one place" in one(tmp_path).problems[0]
    assert "2 different images lie at one place" in one(tmp_path, "split").problems[0]


def test_orientations_of_one_series_are_separated(tmp_path: Path) -> None:
    write_series(tmp_path / "a", orientation=AXIAL)

    def other(dataset: Dataset, index: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.4.{index}"

    write_series(tmp_path / "b", orientation=(1, 0, 0, 0, 0, -1), change=other)
    found = volumes(frames_of(tmp_path), "strict")
    assert [len(volume.frames) for volume in found] == [5, 5]
    assert all(volume.problems == () for volume in found)


def test_id_does_not_depend_on_the_number_of_slices(tmp_path: Path) -> None:
    write_series(tmp_path / "a", (0, 2, 4))
    write_series(tmp_path / "b", (0, 2, 4, 6))
    assert one(tmp_path / "a").id == one(tmp_path / "b").id


def test_hostile_modality_cannot_leave_the_folder(tmp_path: Path) -> None:
    def hostile(dataset: Dataset, index: int) -> None:
        dataset.Modality = "../../X"

    write_series(tmp_path, change=hostile)
    name = one(tmp_path).id
    assert "/" not in name
    assert name.startswith("XX-")
