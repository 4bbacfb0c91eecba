"""The reader as the core sees it: discovery, headers, windows, and what it keeps to itself."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import OverviewSource, Reader, SceneRef, Skipped
from hdm_pipeline.errors import ConfigError, EmptyArchiveError, ReadError, SceneError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.dicom_series import set_pixels, write_series

MARKERS = ("MARKERNAME", "MARKERID", "MARKERACC", "MARKERDOC")


def only(reader: DicomReader, folder: Path) -> SceneRef:
    (ref,) = [found for found in reader.discover(str(folder)) if isinstance(found, SceneRef)]
    return ref


def test_is_a_reader() -> None:
    assert isinstance(DicomReader(), Reader)


def test_discovery_sorts_counts_and_gives_reasons(tmp_path: Path) -> None:
    write_series(tmp_path / "deep" / "a", series="one")
    write_series(tmp_path / "b", series="two")

    def localizer(dataset: Dataset, index: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path / "c", (0.0,), series="three", change=localizer)
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    os.mkfifo(tmp_path / "pipe")  # opened plainly, it would wait for ever
    found = list(DicomReader().discover(str(tmp_path)))
    refs = [item for item in found if isinstance(item, SceneRef)]
    skipped = [item.reason for item in found if isinstance(item, Skipped)]
    assert [len(ref.members) for ref in refs] == [5, 5]
    assert [ref.id for ref in refs] == sorted(ref.id for ref in refs)
    assert skipped == ["a localizer; input.options.include_derived takes it", "3 files are not DICOM"]
    assert len(list(DicomReader({"include_derived": True}).discover(str(tmp_path)))) == 4


@pytest.mark.parametrize("content", [{}, {"a.txt": "x"}])
def test_a_folder_without_dicom(tmp_path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(EmptyArchiveError):
        list(DicomReader().discover(str(tmp_path)))


def test_a_list_file_and_a_glob_find_the_same(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a")
    (tmp_path / "list.txt").write_text("# comment\n" + "\n".join(str(path) for path in paths))
    by_list = only(DicomReader(), tmp_path / "list.txt")
    by_glob = only(DicomReader(), tmp_path / "a" / "*-*")
    assert by_list == by_glob


def test_a_window_as_a_smaller_image(tmp_path: Path) -> None:
    stack = np.random.default_rng(3).integers(0, 3000, (3, 24, 32), dtype=np.uint16)
    stack[1, :7, :9] = 5000

    def padding(dataset: Dataset, index: int) -> None:
        dataset.add_new("PixelPaddingValue", "US", 5000)

    write_series(tmp_path, (0.0, 2.0, 4.0), pixels=lambda index: stack[index], change=padding)
    reader = DicomReader()
    with reader.open(only(reader, tmp_path)) as source:
        assert isinstance(source, OverviewSource)
        window = Window(z=1, y=2, x=3, height=20, width=25)
        pixels, valid = source.read(window, (0,))
        same, same_valid = source.read_reduced(window, (0,), (20, 25))
        few, few_valid = source.read_reduced(window, (0,), (5, 4))
        single, single_valid = source.read_reduced(Window(z=1, y=0, x=0, height=7, width=9), (0,), (2, 1))
    assert np.array_equal(same, pixels)
    assert np.array_equal(same_valid, valid)
    assert few.dtype == np.float32
    columns = (0, 6, 12, 18, 25)  # 25 columns in 4 cells
    for row in range(5):
        for column, (left, right) in enumerate(pairwise(columns)):
            cell = np.s_[4 * row : 4 * row + 4, left:right]
            assert few_valid[row, column] == valid[cell].any()
            mean = pixels[0][cell][valid[cell]].mean(dtype=np.float64) if valid[cell].any() else 0
            assert few[0, row, column] == pytest.approx(mean)
    assert not few_valid[0, 0]  # a cell of padding
    assert few_valid[1, 0] == (not valid[4, 5])  # half of it is padding
    assert not single_valid.any()
    assert not single.any()


def test_one_slice_needs_one_file_and_no_header_again(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    reader = DicomReader()
    ref = only(reader, tmp_path)
    with reader.open(ref):
        pass
    for path in paths[:3] + paths[4:]:
        path.unlink()
    window = Window.whole(3, (24, 32))
    with reader.open(ref) as source:
        pixels, valid = source.read_reduced(window, (0,), (3, 4))
        assert np.array_equal(pixels, np.full((1, 3, 4), 1003 - 1024))
        assert valid.all()
        with pytest.raises(ReadError):
            source.read_reduced(Window.whole(2, (24, 32)), (0,), (3, 4))


def test_windows_and_bands(tmp_path: Path) -> None:
    stack = np.random.default_rng(3).integers(0, 3000, (5, 24, 32), dtype=np.uint16)
    write_series(tmp_path, pixels=lambda index: stack[index])
    reader = DicomReader()
    ref = only(reader, tmp_path)
    header = reader.header(ref)
    assert header.shape == (1, 5, 24, 32)
    assert header.bands[0].unit == "HU"
    assert header.dtype == "uint16"
    assert header.warnings == ()
    with reader.open(ref) as source:
        pixels, valid = source.read(Window(z=3, y=4, x=5, height=6, width=7), [0])
        assert np.array_equal(pixels[0], stack[3, 4:10, 5:12].astype(np.float32) - 1024)
        assert valid.all()
        assert source.row_areas() == pytest.approx(np.full(24, 0.5 * 0.75 * 1e-6))
        sample = source.sample([0], 100)
        assert sample.shape[0] == 1
        assert 0 < sample.shape[1] <= 100


def test_neighbors_are_bands_and_the_ends_repeat(tmp_path: Path) -> None:
    write_series(tmp_path)
    reader = DicomReader({"neighbors": 1})
    ref = only(reader, tmp_path)
    with reader.open(ref) as source:
        assert [band.name for band in source.header.bands] == ["below", "slice", "above"]
        values = [
            source.read(Window(z=z, y=0, x=0, height=1, width=1), [0, 1, 2])[0][:, 0, 0].tolist() for z in range(5)
        ]
    assert values[0] == [-24, -24, -23]
    assert values[2] == [-23, -22, -21]
    assert values[4] == [-21, -20, -20]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_planes_show_the_same_voxels(tmp_path: Path, plane: str) -> None:
    stack = np.random.default_rng(4).integers(0, 3000, (5, 24, 32), dtype=np.uint16)
    orientation = (0, 1, 0, 0, 0, -1)
    write_series(tmp_path, orientation=orientation, pixels=lambda index: stack[index])
    straight, turned = DicomReader(), DicomReader({"plane": plane})
    ref = only(straight, tmp_path)
    stored = np.array(straight.header(ref).geometry.affine).reshape(4, 4)  # type: ignore[union-attr]
    header = turned.header(ref)
    affine = np.array(header.geometry.affine).reshape(4, 4)  # type: ignore[union-attr]
    to_stored = np.linalg.inv(stored) @ affine
    with turned.open(ref) as source:
        for z in range(header.shape[1]):
            pixels, _ = source.read(Window.whole(z, header.shape[2:]), [0])
            y, x = np.mgrid[: header.shape[2], : header.shape[3]]
            at = np.einsum("ij,jyx->iyx", to_stored, np.stack([x, y, np.full_like(x, z), np.ones_like(x)]))
            i, j, k = np.rint(at[:3]).astype(int)
            assert np.array_equal(pixels[0], stack[k, j, i].astype(np.float32) - 1024)


def test_strict_refuses_what_split_reads(tmp_path: Path) -> None:
    write_series(tmp_path, (0, 2, 4, 10))
    strict = DicomReader()
    with pytest.raises(UnsupportedSceneError, match="2 slices are missing"):
        strict.header(only(strict, tmp_path))
    split = DicomReader({"policy": "split"})
    shapes = [split.header(ref).shape[1] for ref in split.discover(str(tmp_path)) if isinstance(ref, SceneRef)]
    assert sorted(shapes) == [1, 3]


def test_images_at_one_place_cannot_be_resampled(tmp_path: Path) -> None:
    def again(dataset: Dataset, index: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.3.{index}"

    write_series(tmp_path / "a")
    write_series(tmp_path / "b", change=again)
    reader = DicomReader({"policy": "resample"})
    with pytest.raises(UnsupportedSceneError, match="at one place"):
        reader.header(only(reader, tmp_path))


def test_two_patients_under_one_series(tmp_path: Path) -> None:
    def second(dataset: Dataset, index: int) -> None:
        dataset.PatientID = "P2" if index == 3 else "P1"

    write_series(tmp_path, change=second)
    reader = DicomReader()
    with pytest.raises(ReadError, match="2 patients share one series UID"):
        reader.header(only(reader, tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("PatientID", "", "1 of 5 slices state no patient"),
        ("StudyInstanceUID", "", "1 of 5 slices state no study"),
        ("FrameOfReferenceUID", "", "1 of 5 slices state no frame of reference"),
        ("FrameOfReferenceUID", "1.2.3", "slices of 2 frames of reference share one series UID"),
    ],
)
def test_slices_that_do_not_say_whose_they_are(tmp_path: Path, name: str, value: str, what: str) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.PatientName = ""
        if index == 3:
            setattr(dataset, name, value)

    write_series(tmp_path, change=change)
    reader = DicomReader()
    with pytest.raises(ReadError, match=what) as caught:
        reader.header(only(reader, tmp_path))
    assert caught.value.remedy


@pytest.mark.parametrize(
    "name", ["SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation"]
)
def test_what_pixels_cannot_be_read_without_is_named(tmp_path: Path, name: str) -> None:
    for path in write_series(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = dataset.PixelData  # of a known type, whatever is missing
        dataset[name].value = None
        dataset.save_as(path)
    reader = DicomReader()
    with pytest.raises(ReadError, match=rf"bad header: no {name} \(0028,") as caught:
        reader.header(only(reader, tmp_path))
    assert caught.value.remedy


def test_color_that_does_not_say_how_its_samples_lie_is_named(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        set_pixels(dataset, np.zeros((24, 32, 3), np.uint8))
        del dataset.PlanarConfiguration

    write_series(tmp_path, change=change)
    reader = DicomReader()
    with pytest.raises(ReadError, match=r"no PlanarConfiguration \(0028,0006\)"):
        reader.header(only(reader, tmp_path))


def test_rows_and_columns_at_no_right_angle_are_no_orientation(tmp_path: Path) -> None:
    """Their cross product is no unit vector: places and spacings along it would be wrong, and told as a tilt."""

    def change(dataset: Dataset, index: int) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 0.3, 1, 0]

    write_series(tmp_path, change=change)
    reader = DicomReader({"policy": "split"})
    with pytest.raises(ReadError, match="no right angle between rows and columns"):
        reader.header(only(reader, tmp_path))


def test_one_slice_and_no_rescale_are_said(tmp_path: Path) -> None:
    def bare(dataset: Dataset, index: int) -> None:
        del dataset.RescaleSlope
        del dataset.RescaleIntercept

    write_series(tmp_path, (0.0,), change=bare)
    reader = DicomReader()
    warnings = reader.header(only(reader, tmp_path)).warnings
    assert any("one slice only" in text for text in warnings)
    assert any("no rescale" in text for text in warnings)


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    write_series(tmp_path / "good", series="good")

    def empty(dataset: Dataset, index: int) -> None:
        if index == 2:
            del dataset.PixelData

    write_series(tmp_path / "bad", series="bad", change=empty)
    reader = DicomReader()
    results = []
    for ref in reader.discover(str(tmp_path)):
        assert isinstance(ref, SceneRef)
        try:
            results.append(reader.header(ref).shape[1])
        except ReadError as error:
            results.append(error.what)
    assert sorted(map(str, results)) == ["5", "the file holds no pixel data"]


def test_too_many_images(tmp_path: Path) -> None:
    write_series(tmp_path)
    for options in ({"max_frames": 4}, {"max_volume_bytes": 1000}, {"max_frame_pixels": 100}):
        reader = DicomReader(options)
        with pytest.raises(UnsupportedSceneError, match="more than"):
            reader.header(only(reader, tmp_path))


def test_files_that_change_after_discovery(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    reader = DicomReader()
    ref = only(reader, tmp_path)
    paths[0].unlink()
    with pytest.raises(ReadError, match="gone or have changed"):
        reader.header(ref)


def test_a_file_that_breaks_between_header_and_pixels(tmp_path: Path) -> None:
    def compressed(dataset: Dataset, index: int) -> None:
        dataset.compress(RLELossless)
        if index == 1:
            dataset.PixelData = dataset.PixelData[:90] + b"\xff" * 40

    write_series(tmp_path, change=compressed)
    reader = DicomReader()
    ref = only(reader, tmp_path)
    with reader.open(ref) as source:
        source.read(Window(z=0, y=0, x=0, height=1, width=1), [0])
        with pytest.raises(ReadError, match="cannot be decoded") as caught:
            source.read(Window(z=1, y=0, x=0, height=1, width=1), [0])
    assert ref.id in caught.value.where
    assert "slice 1" in caught.value.where


@pytest.mark.parametrize(
    "options", [{"plan": "axial"}, {"plane": "oblique"}, {"neighbors": 2}, {"policy": 3}, {"max_frames": 0}]
)
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        DicomReader(options)


def test_nothing_of_the_patient_leaves_the_reader(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    def marked(dataset: Dataset, index: int) -> None:
        dataset.PatientName, dataset.PatientID = "MARKERNAME^X", "MARKERID"
        dataset.AccessionNumber, dataset.ReferringPhysicianName = "MARKERACC", "MARKERDOC"
        dataset.StudyDescription = "MARKERNAME"
        dataset.PatientBirthDate = "MARKERID"
        if index == 4:
            dataset.ImagePositionPatient = [-10.0, 20.0, 0.0]

    folder = tmp_path / "MARKERNAME"
    write_series(folder, change=marked)
    (folder / "MARKERNAME.txt").write_text("x")
    written = recwarn.list.copy()
    said: list[str] = []
    for policy in ("strict", "split", "resample"):
        reader = DicomReader({"policy": policy})
        for found in reader.discover(str(folder)):
            said.append(found.reason + found.uri if isinstance(found, Skipped) else found.shown + found.id)
            if isinstance(found, SceneRef):
                try:
                    header = reader.header(found)
                except SceneError as error:
                    said.append(str(error))
                    continue
                plain = asdict(header)
                plain["ref"] = header.ref.shown
                said.append(json.dumps(plain))
                with reader.open(found) as source:
                    source.read(Window(z=0, y=0, x=0, height=4, width=4), [0])
    out, err = capfd.readouterr()
    said += [out, err, *(str(warning.message) for warning in recwarn.list if warning not in written)]
    assert len(said) > 8
    assert not [text for text in said for marker in MARKERS if marker in text]


def test_hashed_names_lead_back_to_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hdm_dicom.original_paths import main

    paths = write_series(tmp_path / "series")

    def localizer(dataset: Dataset, index: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    left_out = write_series(tmp_path / "out", (0.0,), series="other", change=localizer)
    found = list(DicomReader().discover(str(tmp_path)))
    names = [item.uri if isinstance(item, Skipped) else item.id for item in found]
    assert main([str(tmp_path), *names]) == 0
    said = capsys.readouterr().out
    assert all(str(path) in said for path in [*paths, *left_out])
    assert main([str(tmp_path), "CT-0"]) == 1
