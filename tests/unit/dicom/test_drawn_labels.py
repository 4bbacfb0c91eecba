"""Labels that are drawn on a series: kept as a SEG, given back, and used as examples."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from hdm_dicom.drawn_labels import saving
from hdm_dicom.reader import DicomReader
from hdm_pipeline.config.schema import ClassConfig
from hdm_pipeline.contracts import LabelKeeper, LabelPatch, SceneHeader, SceneLabels, SceneRef
from hdm_pipeline.errors import OutputError, SupportError
from hdm_pipeline.grid import Window
from hdm_pipeline.support.examples import requests
from tests.dicom_series import write_series
from tests.unit.dicom.test_flat_images import FLAT

NAMES = {1: "liver", 2: "tumor"}
COLORS = {1: (200, 100, 50), 2: (0, 100, 250)}
CODES = {1: {"category": "SCT:91723000:Anatomical Structure", "type": "SCT:10200004:Liver"}, 2: {"type": "nonsense"}}
OBLIQUE = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)
Values = npt.NDArray[np.uint8]


def opened(folder: Path, **options: Any) -> tuple[DicomReader, SceneHeader]:
    reader = DicomReader(options)
    (ref,) = [found for found in reader.discover(str(folder)) if isinstance(found, SceneRef)]
    return reader, reader.header(ref)


def labels_of(header: SceneHeader, drawn: dict[int, Values], names: dict[int, str] = NAMES) -> SceneLabels:
    """Whole slices, each as two patches."""
    patches = []
    for z, values in drawn.items():
        half = values.shape[0] // 2
        for y, part in ((0, values[:half]), (half, values[half:])):
            patches.append(LabelPatch(Window(z=z, y=y, x=0, height=part.shape[0], width=part.shape[1]), part))
    return SceneLabels(header.ref, names, COLORS, tuple(patches), CODES)


def noise(header: SceneHeader, *slices: int) -> dict[int, Values]:
    rng = np.random.default_rng(5)
    return {z: rng.choice(np.array([0, 1, 2, 255, 255], np.uint8), header.shape[2:]) for z in slices}


def by_slice(labels: SceneLabels | None, header: SceneHeader) -> dict[int, Values]:
    assert labels is not None
    found: dict[int, Values] = {}
    for patch in labels.patches:
        at = patch.window
        values = found.setdefault(at.z, np.full(header.shape[2:], 255, np.uint8))
        values[at.y : at.bottom, at.x : at.right] = patch.values
    return found


def same(one: dict[int, Values], other: dict[int, Values]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[z], other[z]) for z in one)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "labels").mkdir()
    return tmp_path / "labels"


@pytest.mark.parametrize("plane", ["acquired", "axial", "coronal", "sagittal"])
def test_what_is_drawn_comes_back_and_is_an_example(tmp_path: Path, out: Path, plane: str) -> None:
    write_series(tmp_path / "ct", shape=(23, 31), orientation=OBLIQUE)
    reader, header = opened(tmp_path / "ct", plane=plane)
    assert isinstance(reader, LabelKeeper)
    drawn = noise(header, 1, header.shape[1] - 1)
    saved = reader.save_labels(labels_of(header, drawn), out)
    assert saved.files == (str(out / f"{header.ref.id}_labels.dcm"),)
    assert os.listdir(out) == [f"{header.ref.id}_labels.dcm"]
    back = reader.load_labels(header.ref, NAMES, out)
    assert same(by_slice(back, header), drawn)
    assert back is not None
    assert back.colors == COLORS
    assert list(saved.examples) == ["liver", "tumor"]
    for value, name in NAMES.items():
        (request,) = requests(ClassConfig.model_validate({"name": name, "examples": [dict(saved.examples[name])]}))
        images = reader.read_support(request)
        assert len(images) == 2
        for image, values in zip(images, drawn.values(), strict=True):
            expected = np.where(values == 255, 255, values == value).astype(np.uint8)
            assert np.array_equal(image.label, expected)


def test_unknown_stays_unknown_where_no_background_is_drawn(tmp_path: Path, out: Path) -> None:
    write_series(tmp_path / "ct")
    reader, header = opened(tmp_path / "ct")
    values = np.full(header.shape[2:], 255, np.uint8)
    values[2:5, 3:9] = 1
    saved = reader.save_labels(labels_of(header, {2: values}), out)
    assert list(saved.examples) == ["liver", "tumor"]
    (request,) = requests(ClassConfig.model_validate({"name": "liver", "examples": [dict(saved.examples["liver"])]}))
    (image,) = reader.read_support(request)
    assert np.array_equal(image.label, values)


def test_slices_without_a_class_are_examples_of_its_background(tmp_path: Path, out: Path) -> None:
    write_series(tmp_path / "ct")
    reader, header = opened(tmp_path / "ct")
    nothing = np.full(header.shape[2:], 255, np.uint8)
    drawn = {z: nothing.copy() for z in (0, 2, 3)}
    drawn[0][2:5, 3:9], drawn[2][1:3, 1:3], drawn[3][4:6] = 1, 0, 0
    saved = reader.save_labels(labels_of(header, drawn), out)
    of_class = {"liver": (1, 1), "tumor": (2, 0)}
    for name, (value, label) in of_class.items():
        (request,) = requests(ClassConfig.model_validate({"name": name, "examples": [dict(saved.examples[name])]}))
        found = [image.label for image in reader.read_support(request)]
        assert len(found) == 3
        for values, one in zip(drawn.values(), found, strict=True):
            assert np.array_equal(one, np.where(values == 255, 255, values == value))
        assert bool((found[0] == label).any())
    dense = replace(request, background=(), segment="liver")
    assert [(image.label == 1).any() for image in reader.read_support(dense)] == [True]  # elsewhere all is background


def test_the_file_says_what_it_is(tmp_path: Path, out: Path) -> None:
    paths = write_series(tmp_path / "ct", depths=[2.0 * index for index in range(9)])
    reader, header = opened(tmp_path / "ct")
    drawn = noise(header, 2, 7)
    labels = labels_of(header, drawn)
    (file,) = reader.save_labels(labels, out).files
    seg = pydicom.dcmread(file)
    assert [(one.SegmentNumber, one.SegmentLabel, one.SegmentAlgorithmType) for one in seg.SegmentSequence] == [
        (1, "background", "MANUAL"),
        (2, "liver", "MANUAL"),
        (3, "tumor", "MANUAL"),
    ]
    types = [one.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for one in seg.SegmentSequence]
    assert types == ["Background", "Liver", "Tissue"]
    assert int(seg.NumberOfFrames) == 6
    slices = {pydicom.dcmread(path).SOPInstanceUID: index for index, path in enumerate(paths)}
    sources = [
        frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in seg.PerFrameFunctionalGroupsSequence
    ]
    assert {slices[source.ReferencedSOPInstanceUID] for source in sources} == {2, 7}
    (series,) = seg.ReferencedSeriesSequence
    assert len(series.ReferencedInstanceSequence) == 2
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert float(measures.SpacingBetweenSlices) == 2.0
    before = Path(file).read_bytes()
    reader.save_labels(labels, out)
    assert Path(file).read_bytes() == before
    reader.save_labels(labels_of(header, noise(header, 2)), out)
    assert pydicom.dcmread(file).SOPInstanceUID != seg.SOPInstanceUID


@pytest.mark.parametrize("name", list(FLAT))
def test_images_without_a_place(tmp_path: Path, out: Path, name: str) -> None:
    write_series(tmp_path / "flat", (0.0,), shape=(23, 31), change=lambda dataset, _: FLAT[name](dataset))
    reader, header = opened(tmp_path / "flat")
    drawn = noise(header, 0)
    reader.save_labels(labels_of(header, drawn), out)
    assert same(by_slice(reader.load_labels(header.ref, NAMES, out), header), drawn)


def test_classes_are_known_by_their_names(tmp_path: Path, out: Path) -> None:
    write_series(tmp_path / "ct")
    reader, header = opened(tmp_path / "ct")
    names = {1: "Liver ", 2: "liver", 3: "a\\b", 4: "background", 5: "x" * 64, 6: "ä" * 64}
    drawn = {1: np.resize(np.arange(7, dtype=np.uint8), header.shape[2:])}
    saved = reader.save_labels(labels_of(header, drawn, names), out)
    assert same(by_slice(reader.load_labels(header.ref, names, out), header), drawn)
    for value, name in names.items():
        (request,) = requests(ClassConfig.model_validate({"name": name, "examples": [dict(saved.examples[name])]}))
        assert np.array_equal(reader.read_support(request)[0].label, (drawn[1] == value).astype(np.uint8))
    fewer = {7: "a\\b", 2: "x" * 64}
    back = by_slice(reader.load_labels(header.ref, fewer, out), header)[1]
    assert set(np.unique(back)) == {0, 2, 7, 255}
    assert np.array_equal(back == 7, drawn[1] == 3)


def test_a_class_that_is_drawn_later_leaves_the_numbers_of_the_others(tmp_path: Path, out: Path) -> None:
    write_series(tmp_path / "ct")
    reader, header = opened(tmp_path / "ct")
    only = {1: np.where(noise(header, 1)[1] == 2, 2, 255).astype(np.uint8)}
    before = reader.save_labels(labels_of(header, only), out).examples["tumor"]
    after = reader.save_labels(labels_of(header, noise(header, 1)), out).examples["tumor"]
    assert before["segment"] == after["segment"] == "tumor"
    assert (before["background"], after["background"]) == ([1], [1, 2])


def test_nothing_drawn_is_no_file(tmp_path: Path, out: Path) -> None:
    write_series(tmp_path / "ct")
    reader, header = opened(tmp_path / "ct")
    reader.save_labels(labels_of(header, noise(header, 1)), out)
    for labels in (labels_of(header, {}), labels_of(header, {1: np.full(header.shape[2:], 255, np.uint8)})):
        assert reader.save_labels(labels, out).files == ()
        assert os.listdir(out) == []
        assert reader.load_labels(header.ref, NAMES, out) is None


def test_padding_that_is_drawn_on_spoils_no_example(tmp_path: Path, out: Path) -> None:
    def padding(dataset: Any, index: int) -> None:
        dataset.add_new("PixelPaddingValue", "US", 1000)  # all of the first slice

    write_series(tmp_path / "ct", change=padding)
    reader, header = opened(tmp_path / "ct")
    drawn = noise(header, 0, 1)
    saved = reader.save_labels(labels_of(header, drawn), out)
    assert same(by_slice(reader.load_labels(header.ref, NAMES, out), header), drawn)
    (request,) = requests(ClassConfig.model_validate({"name": "liver", "examples": [dict(saved.examples["liver"])]}))
    assert [image.name for image in reader.read_support(request)] == [f"{header.ref.id} slice 1"]
    with pytest.raises(SupportError, match="padding"):
        reader.read_support(replace(request, slices=(0, 1)))


def test_a_zipped_series(tmp_path: Path, out: Path) -> None:
    import shutil

    write_series(tmp_path / "ct")
    write_series(tmp_path / "ct" / "other", series="other")
    shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "ct")
    shutil.rmtree(tmp_path / "ct")
    reader = DicomReader()
    refs = [found for found in reader.discover(str(tmp_path / "study.zip")) if isinstance(found, SceneRef)]
    assert len(refs) == 2
    header = reader.header(refs[1])
    saved = reader.save_labels(labels_of(header, noise(header, 1)), out)
    (request,) = requests(ClassConfig.model_validate({"name": "liver", "examples": [dict(saved.examples["liver"])]}))
    assert request.image == str(tmp_path / "study.zip")
    assert [image.name for image in reader.read_support(request)] == [f"{refs[1].id} slice 1"]


def test_files_that_another_program_changed(tmp_path: Path, out: Path) -> None:
    write_series(tmp_path / "ct")
    write_series(tmp_path / "other", series="other", origin=(900.0, 900.0, 900.0))
    reader, header = opened(tmp_path / "ct")
    stranger, other = opened(tmp_path / "other")
    (file,) = (Path(name) for name in reader.save_labels(labels_of(header, noise(header, 1)), out).files)
    (foreign,) = stranger.save_labels(labels_of(other, noise(other, 1)), out).files
    whole = file.read_bytes()
    # As dcmtk or Slicer write it: without references, by place only.
    seg = pydicom.dcmread(file)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence
    seg.save_as(file)
    assert same(by_slice(reader.load_labels(header.ref, NAMES, out), header), noise(header, 1))
    for content in (whole[:2000], whole[: len(whole) // 2], b"no DICOM", Path(foreign).read_bytes()):
        file.write_bytes(content)
        with pytest.raises(SupportError, match="no longer fit") as caught:
            reader.load_labels(header.ref, NAMES, out)
        assert caught.value.remedy
        assert "Test" not in str(caught.value)  # the patient


def test_labels_on_a_slice_that_is_gone_are_refused_and_left_alone(tmp_path: Path, out: Path) -> None:
    """Loaded without it, the next stroke would remove what was drawn there."""
    paths = write_series(tmp_path / "ct")
    reader, header = opened(tmp_path / "ct")
    (file,) = (Path(name) for name in reader.save_labels(labels_of(header, noise(header, 1, 4)), out).files)
    before = file.read_bytes()
    paths[4].unlink()
    reader, header = opened(tmp_path / "ct")
    with pytest.raises(SupportError, match="frames lie on no slice") as caught:
        reader.load_labels(header.ref, NAMES, out)
    assert caught.value.remedy
    assert file.read_bytes() == before


def test_resampled_series_are_refused_with_a_remedy(tmp_path: Path, out: Path) -> None:
    write_series(tmp_path / "ct", depths=(0.0, 2.0, 4.0, 8.0))
    reader, header = opened(tmp_path / "ct", policy="resample")
    with pytest.raises(OutputError, match="resampled") as caught:
        reader.save_labels(labels_of(header, noise(header, 1)), out)
    assert "split" in caught.value.remedy
    assert os.listdir(out) == []


def test_a_full_disk_leaves_the_earlier_labels_whole(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "ct")
    reader, header = opened(tmp_path / "ct")
    reader.save_labels(labels_of(header, noise(header, 1)), out)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(saving, "write_segmentation", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        reader.save_labels(labels_of(header, noise(header, 2)), out)
    assert "free space" in caught.value.remedy
    assert len(os.listdir(out)) == 1
    assert same(by_slice(reader.load_labels(header.ref, NAMES, out), header), noise(header, 1))
    with pytest.raises(OutputError):
        reader.save_labels(labels_of(header, noise(header, 2)), out / "missing")


def test_labels_of_a_series_that_is_gone(tmp_path: Path, out: Path) -> None:
    paths = write_series(tmp_path / "ct")
    reader, header = opened(tmp_path / "ct")
    from hdm_dicom.volumes import volume_io

    volume_io.open_volume.cache_clear()
    paths[0].unlink()
    with pytest.raises(OutputError, match="gone or have changed"):
        reader.save_labels(labels_of(header, noise(header, 1)), out)


def test_classes_that_are_called_alike_are_not_swapped(tmp_path: Path, out: Path) -> None:
    write_series(tmp_path / "ct")
    reader, header = opened(tmp_path / "ct")
    drawn = {1: np.resize(np.arange(4, dtype=np.uint8), header.shape[2:])}
    names = {1: "Lesion", 2: "lesion", 3: "background"}
    reader.save_labels(labels_of(header, drawn, names), out)
    back = by_slice(reader.load_labels(header.ref, {1: "lesion", 2: "Lesion"}, out), header)[1]
    assert np.array_equal(back, np.array([0, 2, 1, 255], np.uint8)[drawn[1]])
