"""Segments and structures that overlap: every class where its own score reaches the threshold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.derived.layers import Layers
from hdm_dicom.reader import DicomReader
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_pipeline.contracts import SupportRequest
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.grid import Window
from hdm_pipeline.stitch import labels
from tests.dicom_product import ArraySource, make_product, overlapping_product
from tests.dicom_series import write_series

OVERLAPPING = {"segments": "overlapping"}


@pytest.fixture
def series(tmp_path: Path) -> Path:
    # 23 x 31 pixels: no multiple of eight, so that frames share bytes.
    write_series(tmp_path / "series", shape=(23, 31))
    return tmp_path / "series"


@pytest.mark.parametrize("omit", [True, False])
def test_each_segment_is_where_its_score_says(series: Path, tmp_path: Path, omit: bool) -> None:
    product, layers = overlapping_product(series)
    SegmentationWriter({**OVERLAPPING, "omit_empty_frames": omit}).write(product, tmp_path / "out.dcm")
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    assert seg.SegmentsOverlap == "YES"
    places = {str(d.SOPInstanceUID): int(d.InstanceNumber) - 1 for d in map(pydicom.dcmread, series.iterdir())}
    found = np.zeros_like(layers)
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        found[item.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1, places[source]] = frame
    assert np.array_equal(found, layers)
    assert (layers.sum(axis=0) > 1).any()


def test_that_segments_do_not_overlap_is_said(series: Path, tmp_path: Path) -> None:
    product = make_product(series)
    for name, options in (("apart", OVERLAPPING), ("exclusive", {})):
        SegmentationWriter(options).write(product, tmp_path / name)
    apart, exclusive = (pydicom.dcmread(tmp_path / name) for name in ("apart", "exclusive"))
    assert apart.SegmentsOverlap == exclusive.SegmentsOverlap == "NO"
    assert apart.PixelData == exclusive.PixelData
    assert apart.SOPInstanceUID != exclusive.SOPInstanceUID


def uneven(dataset: Dataset, index: int) -> None:
    x, y, z = (float(v) for v in dataset.ImagePositionPatient)
    dataset.ImagePositionPatient = [x, y + 0.2 * index, z + (0.7 if index > 2 else 0.0)]


@pytest.mark.parametrize("reader", [{}, {"plane": "sagittal"}, {"policy": "resample"}])
def test_layers_land_on_the_stored_slices_like_masks(tmp_path: Path, reader: dict[str, Any]) -> None:
    write_series(tmp_path / "s", shape=(23, 31), change=uneven if reader.get("policy") else None)
    product, layers = overlapping_product(tmp_path / "s", options=reader)
    SegmentationWriter({**OVERLAPPING, "omit_empty_frames": False}).write(product, tmp_path / "out.dcm")
    StructureSetWriter(OVERLAPPING).write(product, tmp_path / "rtstruct.dcm")
    frames = pydicom.dcmread(tmp_path / "out.dcm").pixel_array.reshape(2, -1, 23, 31)
    for info, layer, found in zip(product.classes, layers, frames, strict=True):
        alone = dataclasses.replace(
            product, classes=(dataclasses.replace(info, value=1),), mask=ArraySource(layer[np.newaxis])
        )
        SegmentationWriter({"omit_empty_frames": False}).write(alone, tmp_path / "alone.dcm")
        assert np.array_equal(found, pydicom.dcmread(tmp_path / "alone.dcm").pixel_array)
        requests = [
            SupportRequest(str(tmp_path / "s"), str(tmp_path / name), segment=info.name)
            for name in ("out.dcm", "rtstruct.dcm")
        ]
        by_name = [{i.name: i.label for i in DicomReader(reader).read_support(request)} for request in requests]
        for name, label in by_name[0].items():
            assert np.array_equal(by_name[1].get(name, np.zeros_like(label)), label)


@pytest.mark.parametrize("threshold", [0.5, 0.1, 0.3, 1.0, 127 / 255, 0.4980392156862745])
def test_one_class_is_the_mask(series: Path, threshold: float) -> None:
    product = make_product(series)
    _, depth, height, width = product.scene.shape
    score = np.arange(depth * height * width, dtype=np.int64).reshape(1, depth, height, width) % 256
    valid = score[0] % 7 > 0
    mask = np.stack([labels(score[:, z].astype(np.uint8), valid[z], threshold) for z in range(depth)])[np.newaxis]
    one = dataclasses.replace(
        product,
        classes=product.classes[:1],
        mask=ArraySource(mask),
        score=ArraySource(score.astype(np.uint8)),
        provenance=dataclasses.replace(product.provenance, threshold=threshold),
    )
    layer = Layers(one).read(Window(z=2, y=1, x=2, height=20, width=25))
    assert np.array_equal(layer, mask[:, 2, 1:21, 2:27] == 1)


@pytest.mark.parametrize("kind", ["LABELMAP", "FRACTIONAL"])
def test_only_binary_segments_overlap(kind: str) -> None:
    with pytest.raises(ConfigError, match="no overlapping segments"):
        SegmentationWriter({"type": kind, **OVERLAPPING})


@pytest.mark.parametrize("writer", [SegmentationWriter, StructureSetWriter])
def test_the_option_is_checked(writer: Any) -> None:
    with pytest.raises(ConfigError, match="segments"):
        writer({"segments": "both"})
