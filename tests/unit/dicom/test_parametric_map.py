"""Parametric maps: values, places, options and bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

from hdm_dicom.maps.writer import ParametricMapWriter
from hdm_pipeline.contracts import Product, VolumeGeometry, Writer
from hdm_pipeline.errors import ConfigError, WriteError
from tests.dicom_multiframe import write_enhanced
from tests.dicom_product import LIVER, SPLEEN, ArraySource, make_product
from tests.dicom_series import write_series

ORIENTATION = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)


def scored(folder: Path, **options: Any) -> Product:
    """A product whose scores are all different from place to place."""
    product = make_product(folder, **options)
    scores = np.random.default_rng(5).integers(0, 256, product.score.shape).astype(np.uint8)
    return replace(product, score=ArraySource(scores))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "series", shape=(23, 31), orientation=ORIENTATION)
    return tmp_path / "series"


def read(product: Product, path: Path, **options: Any) -> hd.pm.ParametricMap:
    ParametricMapWriter(options).write(product, path)
    return hd.pm.ParametricMap.from_dataset(pydicom.dcmread(path))


def by_voxel(product: Product, volume: Any) -> np.ndarray:
    """The array of a highdicom volume in the order of the scene's voxels: [z, y, x]."""
    assert isinstance(product.scene.geometry, VolumeGeometry)
    to_voxel = np.linalg.inv(np.array(product.scene.geometry.affine).reshape(4, 4))
    at = np.argwhere(np.ones(volume.array.shape[:3]))
    x, y, z = np.rint((to_voxel @ volume.affine @ np.c_[at, np.ones(len(at))].T)[:3]).astype(int)
    found = np.full(product.scene.shape[1:], np.nan)
    found[z, y, x] = volume.array[tuple(at.T)]
    return found


def test_is_a_writer_that_asks_for_the_uncertainty_only_where_it_writes_it() -> None:
    assert isinstance(ParametricMapWriter(), Writer)
    assert not ParametricMapWriter().needs_uncertainty
    assert ParametricMapWriter({"of": "uncertainty"}).needs_uncertainty


@pytest.mark.parametrize("plane", ["acquired", "axial"])
def test_highdicom_reads_the_scores_at_their_places(series: Path, tmp_path: Path, plane: str) -> None:
    product = scored(series, options={"plane": plane}, classes=(LIVER,))
    volume = read(product, tmp_path / "map.dcm").get_volume()
    assert isinstance(product.score, ArraySource)
    assert np.array_equal(by_voxel(product, volume), product.score.array[0] / np.float32(255))


def test_each_class_has_its_own_frames_and_name(series: Path, tmp_path: Path) -> None:
    product = scored(series)
    assert isinstance(product.score, ArraySource)
    read(product, tmp_path / "map.dcm")
    dataset = pydicom.dcmread(tmp_path / "map.dcm")
    assert dataset.NumberOfFrames == 10
    pixels = dataset.pixel_array
    by_place = sorted((pydicom.dcmread(path) for path in series.iterdir()), key=lambda one: one.InstanceNumber)
    order = [one.SOPInstanceUID for one in by_place]
    for frame, item in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        label = item.RealWorldValueMappingSequence[0].LUTLabel
        z = order.index(item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        band = ["1 liver", "2 spleen"].index(label)
        assert np.array_equal(pixels[frame], product.score.array[band, z] / np.float32(255))
        place = [float(v) for v in item.PlanePositionSequence[0].ImagePositionPatient]
        assert place == pytest.approx([float(v) for v in by_place[z].ImagePositionPatient])


def test_only_the_classes_that_are_asked_for(series: Path, tmp_path: Path) -> None:
    product = scored(series)
    assert isinstance(product.score, ArraySource)
    volume = read(product, tmp_path / "map.dcm", classes=["spleen"]).get_volume()
    assert np.array_equal(by_voxel(product, volume), product.score.array[1] / np.float32(255))
    assert ParametricMapWriter({"classes": ["spleen"]}).check((LIVER, SPLEEN)) == []
    with pytest.raises(ConfigError, match="no class is called 'kidney'"):
        ParametricMapWriter({"classes": ["kidney"]}).check((LIVER, SPLEEN))


def test_uncertainties_are_written_where_they_are_asked_for(series: Path, tmp_path: Path) -> None:
    product = scored(series, classes=(LIVER,))
    writer = ParametricMapWriter({"of": "uncertainty"})
    assert writer.filename(product.scene) == "uncertainty.dcm"
    with pytest.raises(WriteError, match="no uncertainty"):
        writer.write(product, tmp_path / "map.dcm")
    doubt = ArraySource(np.full(product.score.shape, 51, np.uint8))
    volume = read(replace(product, uncertainty=doubt), tmp_path / "map.dcm", of="uncertainty").get_volume()
    assert np.allclose(volume.array, 0.2)


def test_the_same_product_gives_the_same_bytes_and_other_scores_other_uids(series: Path, tmp_path: Path) -> None:
    product = scored(series)
    first = read(product, tmp_path / "a.dcm")
    read(product, tmp_path / "b.dcm")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    assert read(make_product(series), tmp_path / "c.dcm").SOPInstanceUID != first.SOPInstanceUID


def test_nobody_is_named_after_deidentification(series: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"sixteen bytes or more")
    read(scored(series), tmp_path / "map.dcm", deidentify={"key_file": str(tmp_path / "key")})
    content = (tmp_path / "map.dcm").read_bytes()
    source = pydicom.dcmread(next(series.iterdir()))
    for told in (source.PatientName, source.PatientID, source.StudyInstanceUID, source.SOPInstanceUID):
        assert str(told).encode() not in content


def test_images_without_a_place_are_refused_before_the_run(tmp_path: Path) -> None:
    write_series(tmp_path / "unplaced", (0,), change=lambda dataset, index: delattr(dataset, "ImagePositionPatient"))
    with pytest.raises(WriteError, match="place in the patient"):
        ParametricMapWriter().check_scene(make_product(tmp_path / "unplaced").scene)


@pytest.mark.parametrize("options", [{"of": "mask"}, {"classes": "liver"}, {"classes": []}, {"type": "FLOAT"}])
def test_wrong_options_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ParametricMapWriter(options)


def test_of_frames_in_several_files_the_map_names_the_files_and_their_frames(tmp_path: Path) -> None:
    for number, depths in enumerate(((0.0, 2.0), (4.0, 6.0))):
        write_enhanced(tmp_path / "series" / f"{number}.dcm", depths)
    product = scored(tmp_path / "series", classes=(LIVER, SPLEEN))
    read(product, tmp_path / "map.dcm")
    dataset = pydicom.dcmread(tmp_path / "map.dcm")
    uids = [pydicom.dcmread(tmp_path / "series" / f"{number}.dcm").SOPInstanceUID for number in (0, 1)]
    found = []
    for item in dataset.PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        found.append((uids.index(source.ReferencedSOPInstanceUID), int(source.ReferencedFrameNumber)))
    assert found == [(0, 1), (0, 2), (1, 1), (1, 2)] * 2
