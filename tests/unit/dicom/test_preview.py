"""Previews: what is burned in where, that it is said so, and the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from hdm_dicom.preview.writer import PreviewWriter
from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import Product, Writer
from hdm_pipeline.errors import ConfigError, WriteError
from hdm_pipeline.grid import Window
from tests.dicom_product import LIVER, make_product, two_blobs
from tests.dicom_series import write_series
from tests.unit.dicom.test_suv import WEIGHT, pet


def ramp(index: int) -> np.ndarray:
    return np.tile(np.arange(64, dtype=np.uint16) * 10 + 1024 - 100, (48, 1))


@pytest.fixture
def product(tmp_path: Path) -> Product:
    write_series(tmp_path / "series", pixels=ramp)
    return replace(make_product(tmp_path / "series"), ranges=((-100.0, 410.0),))


def written(product: Product, path: Path, **options: Any) -> pydicom.FileDataset:
    PreviewWriter(options).write(product, path)
    return pydicom.dcmread(path)


def test_is_a_writer() -> None:
    assert isinstance(PreviewWriter(), Writer)


def test_slices_are_shown_in_the_window_of_the_pipeline_with_the_mask_over_them(
    product: Product, tmp_path: Path
) -> None:
    dataset = written(product, tmp_path / "preview.dcm", legend=False, opacity=0.5)
    pixels = dataset.pixel_array
    gray = np.clip((np.arange(64) * 10 - 100 + 100) / 510 * 255, 0, 255).round()
    mask = two_blobs(product.scene)[0]
    assert np.array_equal(pixels[1], np.broadcast_to(gray[None, :, None], (48, 64, 3)))
    outside = ~np.isin(mask, (1, 2))
    assert np.array_equal(pixels[outside], np.broadcast_to(gray[None, None, :, None], (*mask.shape, 3))[outside])
    y, x = (int(v.mean()) for v in np.nonzero(mask[2] == 1))
    assert np.array_equal(pixels[2, y, x], np.round(gray[x] * 0.5 + np.array(LIVER.color) * 0.5))
    top = int(np.nonzero(mask[2] == 1)[0].min())
    assert tuple(pixels[2, top, x]) == LIVER.color  # the outline lets nothing through
    assert dataset.BurnedInAnnotation == "YES"
    assert dataset.ConversionType == "WSD"


def test_the_legend_names_the_classes_in_their_colors(product: Product, tmp_path: Path) -> None:
    with_legend = written(product, tmp_path / "a.dcm").pixel_array[1]
    without = written(product, tmp_path / "b.dcm", legend=False).pixel_array[1]
    changed = (with_legend != without).any(axis=2)
    assert changed[:40].any()
    assert not changed[40:].any()
    found = {tuple(int(v) for v in color) for color in with_legend[changed]}
    assert {info.color for info in product.classes} <= found


def test_every_so_many_slices_and_the_last(product: Product, tmp_path: Path) -> None:
    dataset = written(product, tmp_path / "preview.dcm", every=3)
    assert [float(v) for v in dataset.SliceLocationVector] == [-30.0, -24.0, -22.0]
    assert dataset.NumberOfFrames == 3
    by_place = sorted((pydicom.dcmread(p) for p in (tmp_path / "series").iterdir()), key=lambda one: one.InstanceNumber)
    told = [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence]
    assert told == [by_place[index].SOPInstanceUID for index in (0, 3, 4)]


def test_colors_are_shown_as_they_are(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    write_series(tmp_path / "series", (0,), pixels=lambda index: image)
    product = make_product(tmp_path / "series", lambda header: np.zeros((1, *header.shape[1:]), np.uint8))
    assert np.array_equal(written(product, tmp_path / "preview.dcm", legend=False).pixel_array, image)


def test_values_are_shown_in_the_unit_that_was_asked_for(tmp_path: Path) -> None:
    """A window of SUV over SUV: Bq/ml in it would be white all over."""
    pet(tmp_path / "series")
    product = make_product(tmp_path / "series", options={"units": "suv"})
    with DicomReader({"units": "suv"}).open(product.scene.ref) as source:
        _, depth, height, width = product.scene.shape
        shown = np.stack(
            [source.read(Window(z=z, y=0, x=0, height=height, width=width), [0])[0][0] for z in range(depth)]
        )
    top = float(shown.max())
    assert 0 < top < WEIGHT
    pixels = written(replace(product, ranges=((0.0, top),)), tmp_path / "preview.dcm", legend=False).pixel_array
    outside = ~np.isin(two_blobs(product.scene)[0], (1, 2))
    gray = np.clip(shown / top * 255, 0, 255).round()
    assert np.abs(pixels[outside][:, 0] - gray[outside]).max() <= 1


@pytest.mark.parametrize("stated", ["ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing"])
def test_what_a_detector_or_a_film_measured_is_not_told_as_measured_in_the_patient(tmp_path: Path, stated: str) -> None:
    def projection(dataset: pydicom.Dataset, index: int) -> None:
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(dataset, name)
        setattr(dataset, stated, [0.1, 0.2])

    write_series(tmp_path / "series", (0.0,), pixels=ramp, change=projection)
    product = replace(make_product(tmp_path / "series"), ranges=((-100.0, 410.0),))
    dataset = written(product, tmp_path / "preview.dcm")
    told = {name: dataset.get(name) for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")}
    assert {name: value for name, value in told.items() if value is not None} == {stated: [0.1, 0.2]}


def test_the_same_product_gives_the_same_bytes(product: Product, tmp_path: Path) -> None:
    first = written(product, tmp_path / "a.dcm")
    written(product, tmp_path / "b.dcm")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    assert written(product, tmp_path / "c.dcm", opacity=0.9).SOPInstanceUID != first.SOPInstanceUID


def test_deidentified_previews_name_nobody_and_are_refused_where_the_source_has_something_burned_in(
    product: Product, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(b"sixteen bytes or more")
    key = {"deidentify": {"key_file": str(tmp_path / "key")}}
    written(product, tmp_path / "preview.dcm", **key)
    content = (tmp_path / "preview.dcm").read_bytes()
    source = pydicom.dcmread(next((tmp_path / "series").iterdir()))
    for told in (source.PatientName, source.PatientID, source.StudyInstanceUID, source.SOPInstanceUID):
        assert str(told).encode() not in content

    def named(dataset: pydicom.Dataset, index: int) -> None:
        dataset.BurnedInAnnotation = "YES"

    write_series(tmp_path / "named", pixels=ramp, series="named", change=named)
    with pytest.raises(WriteError, match="burned into the images"):
        written(make_product(tmp_path / "named"), tmp_path / "preview.dcm", **key)


@pytest.mark.parametrize("options", [{"every": 0}, {"opacity": 2}, {"legend": 1.5}, {"window": [0, 1]}])
def test_wrong_options_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        PreviewWriter(options)
