"""Structured reports and tables of measurements: their numbers, references, options and bytes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.derived.scenes import opened_series
from hdm_dicom.files.uids import keyed_uid
from hdm_dicom.report import terms
from hdm_dicom.report.measure import _Scale, _Tally
from hdm_dicom.report.rules import Rules
from hdm_dicom.report.table import MeasurementsWriter
from hdm_dicom.report.writer import ReportWriter
from hdm_pipeline.contracts import Product, SceneHeader, Writer
from hdm_pipeline.errors import ConfigError, WriteError
from hdm_pipeline.grid import Window
from tests.dicom_multiframe import write_enhanced
from tests.dicom_product import LIVER, ArraySource, Bytes, make_product, with_segmentation
from tests.dicom_series import write_series

ORIENTATION = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)


def noisy(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(900, 1300, (24, 32)).astype(np.uint16)


def lesions(header: SceneHeader) -> Bytes:
    """Three regions of the liver (one of them a single voxel), and no spleen."""
    mask = np.zeros((1, *header.shape[1:]), np.uint8)
    mask[0, 0:3, 4:10, 5:12] = 1
    mask[0, 3:5, 15:20, 20:24] = 1
    mask[0, 4, 1, 1] = 1
    return mask


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "series", orientation=ORIENTATION, pixels=noisy)
    return tmp_path / "series"


def write(product: Product, folder: Path, **options: Any) -> Any:
    ReportWriter(options).write(product, folder / "report.dcm")
    return hd.sr.srread(folder / "report.dcm")


def rows(product: Product, folder: Path, **options: Any) -> list[dict[str, str]]:
    writer = MeasurementsWriter(options)
    path = folder / writer.filename(product.scene)
    writer.write(product, path)
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_are_writers() -> None:
    assert isinstance(ReportWriter(), Writer)
    assert isinstance(MeasurementsWriter(), Writer)
    assert ReportWriter.after == ("segmentation",)


def test_the_numbers_are_those_of_all_voxels(series: Path, tmp_path: Path) -> None:
    product = with_segmentation(make_product(series, lesions), tmp_path)
    liver, *found, spleen = rows(product, tmp_path, lesions=True)
    mask = lesions(product.scene)[0] > 0
    values = np.stack([noisy(index) for index in range(5)]).astype(float) - 1024
    assert int(liver["voxels"]) == mask.sum()
    assert float(liver["volume_ml"]) == pytest.approx(mask.sum() * 0.5 * 0.75 * 2 / 1000)
    assert float(liver["mean"]) == pytest.approx(values[mask].mean(), abs=1e-5)
    assert float(liver["standard_deviation"]) == pytest.approx(values[mask].std(), abs=1e-5)
    assert [int(one["voxels"]) for one in found] == [126, 40, 1]
    assert float(found[0]["diameter_mm"]) == pytest.approx(np.linalg.norm([6 * 0.75, 5 * 0.5, 2 * 2.0]), abs=1e-5)
    assert float(found[0]["in_plane_diameter_mm"]) == pytest.approx(np.hypot(6 * 0.75, 5 * 0.5), abs=1e-5)
    assert (found[1]["first_slice"], found[1]["last_slice"]) == ("3", "4")
    assert float(found[2]["diameter_mm"]) == 0
    assert (spleen["voxels"], spleen["volume_ml"], spleen["mean"], spleen["diameter_mm"]) == ("0", "0.0", "", "")
    assert liver["unit"] == "HU"


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_the_plane_that_is_read_changes_no_number_but_the_diameter_in_it(
    series: Path, tmp_path: Path, plane: str
) -> None:
    def turned(header: SceneHeader) -> Bytes:
        product = make_product(series, lesions)
        opened = opened_series(make_product(series, options={"plane": plane}).scene)
        return np.ascontiguousarray(opened.view.apply(lesions(product.scene)))

    ours = rows(make_product(series, lesions), tmp_path, lesions=True)
    theirs = rows(make_product(series, turned, options={"plane": plane}), tmp_path, lesions=True)
    for name in ("voxels", "volume_ml", "mean", "standard_deviation", "diameter_mm", "regions"):
        assert [row[name] for row in ours] == [row[name] for row in theirs], name


@pytest.mark.parametrize("plane", ["acquired", "axial", "coronal", "sagittal"])
def test_a_lesion_names_the_images_that_it_lies_in_whatever_the_plane(series: Path, tmp_path: Path, plane: str) -> None:
    """With one lesion in the lowest two slices, and one in the highest two: here the coronal plane runs backwards."""
    series = tmp_path / "series"
    write_series(series, orientation=(np.cos(0.3), np.sin(0.3), 0, 0, 0, 1), pixels=noisy)

    def two(header: SceneHeader) -> Bytes:
        stored = np.zeros((1, 5, 24, 32), np.uint8)
        stored[0, :2, 4:10, 5:12] = 1
        stored[0, 3:, 15:17, 20:22] = 1
        opened = opened_series(make_product(series, options={"plane": plane}).scene)
        return np.ascontiguousarray(opened.view.apply(stored))

    product = with_segmentation(make_product(series, two, options={"plane": plane}), tmp_path)
    named = [str(ref.ReferencedSOPInstanceUID) for ref in references(write(product, tmp_path, lesions=True))]
    by_place = sorted((pydicom.dcmread(path) for path in series.iterdir()), key=lambda one: one.InstanceNumber)
    images = [str(one.SOPInstanceUID) for one in by_place]
    assert [uid for uid in named if uid in images] == images[:2] + images[3:]


def test_regions_that_are_not_told_are_not_held() -> None:
    tally = _Tally(LIVER, _Scale(np.eye(3), 0.001, known=True), Rules(lesions=True, max_lesions=2))
    rng = np.random.default_rng(0)
    for _ in range(50):
        tally.take(tally.finder.feed(rng.random((32, 32)) < 0.02, None))
        assert len(tally.told) <= 4
    assert tally.total().further > 100


def test_highdicom_reads_the_report_and_finds_segment_source_and_numbers(series: Path, tmp_path: Path) -> None:
    product = with_segmentation(make_product(series, lesions), tmp_path)
    report = write(product, tmp_path, lesions=True)
    table = rows(product, tmp_path, lesions=True)
    segmentation = pydicom.dcmread(tmp_path / "segmentation.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [row["tracking_identifier"] for row in table]
    assert [group.tracking_uid for group in groups] == [row["tracking_uid"] for row in table]
    for group, row in zip(groups, table, strict=True):
        volume = group.get_measurements(name=hd.sr.CodedConcept("118565006", "SCT", "Volume"))
        assert float(volume[0].value) == float(row["volume_ml"])
        means = group.get_measurements(name=hd.sr.CodedConcept("112031", "DCM", "Attenuation Coefficient"))
        assert [float(one.value) for one in means] == [float(row[n]) for n in ("mean", "standard_deviation") if row[n]]
    segments = {
        (str(ref.ReferencedSOPInstanceUID), int(ref.ReferencedSegmentNumber))
        for ref in references(report)
        if "ReferencedSegmentNumber" in ref
    }
    assert segments == {(segmentation.SOPInstanceUID, 1), (segmentation.SOPInstanceUID, 2)}
    assert groups[0].tracking_uid == segmentation.SegmentSequence[0].TrackingUID
    evidence = {
        str(ref.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for one in study.ReferencedSeriesSequence
        for ref in one.ReferencedSOPSequence
    }
    sources = {str(pydicom.dcmread(path).SOPInstanceUID) for path in series.iterdir()}
    assert evidence == sources | {str(segmentation.SOPInstanceUID)}
    # The second lesion lies in the last two slices.
    images = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in contents(report.ContentSequence[-1].ContentSequence[2])
        if item.get("ValueType") == "IMAGE" and "ReferencedSegmentNumber" not in item.ReferencedSOPSequence[0]
    ]
    by_place = sorted((pydicom.dcmread(path) for path in series.iterdir()), key=lambda one: one.InstanceNumber)
    assert images == [str(one.SOPInstanceUID) for one in by_place[3:]]


def contents(item: Dataset) -> Iterator[Dataset]:
    yield item
    for inner in item.get("ContentSequence", []):
        yield from contents(inner)


def references(report: Dataset) -> Iterator[Dataset]:
    for item in contents(report):
        yield from item.get("ReferencedSOPSequence", [])


@pytest.mark.parametrize(
    ("unit", "modality", "measured", "code"),
    [
        ("HU", "CT", "112031", "[hnsf'U]"),
        ("{SUVbw}g/ml", "PT", "126401", "g/ml{SUVbw}"),
        ("BQML", "PT", "110821", "Bq/ml"),
        ("PCNT", "PT", "value", "%"),
        ("mm2/s", "MR", "110852", "mm2/s"),
        ("CNTS", "NM", "value", "{CNTS}"),
        ("", "MR", "110852", "1"),
        ("a unit of one's own", "OT", "value", "{aunitofonesown}"),
    ],
)
def test_units_are_told_in_ucum(unit: str, modality: str, measured: str, code: str) -> None:
    quantity, named = terms.quantity(unit, modality)
    assert (quantity.value, named.value, named.scheme_designator) == (measured, code, "UCUM")


def test_small_regions_and_those_beyond_the_most_are_counted(series: Path, tmp_path: Path) -> None:
    product = make_product(series, lesions)
    liver, *found, _ = rows(product, tmp_path, lesions=True, min_volume_ml=0.001)
    assert [int(one["voxels"]) for one in found] == [126, 40]
    assert (liver["regions"], liver["regions_below_minimum"], liver["regions_beyond_maximum"]) == ("3", "1", "0")
    liver, *found, _ = rows(product, tmp_path, lesions=True, max_lesions=1)
    assert [int(one["voxels"]) for one in found] == [126]
    assert (liver["regions"], liver["regions_below_minimum"], liver["regions_beyond_maximum"]) == ("3", "0", "2")


def test_the_same_product_gives_the_same_bytes_and_another_mask_another_report(series: Path, tmp_path: Path) -> None:
    product = with_segmentation(make_product(series, lesions), tmp_path)
    first = write(product, tmp_path)
    content = (tmp_path / "report.dcm").read_bytes()
    assert write(product, tmp_path).SOPInstanceUID == first.SOPInstanceUID
    assert (tmp_path / "report.dcm").read_bytes() == content
    (tmp_path / "other").mkdir()
    other = write(with_segmentation(make_product(series), tmp_path / "other"), tmp_path / "other")
    assert other.SOPInstanceUID != first.SOPInstanceUID
    assert f"{first.ContentDate} {first.InstanceCreationDate}" == "20200102 20200102"


def test_report_and_table_of_one_product_are_measured_once(series: Path, tmp_path: Path) -> None:
    class Counted(ArraySource):
        reads = 0

        def read(self, window: Window) -> Bytes:
            Counted.reads += 1
            return super().read(window)

    plain = make_product(series, lesions)
    assert isinstance(plain.mask, ArraySource)
    product = with_segmentation(replace(plain, mask=Counted(plain.mask.array)), tmp_path)
    Counted.reads = 0
    write(product, tmp_path, lesions=True)
    once = Counted.reads
    assert once
    told = rows(product, tmp_path, lesions=True)
    assert Counted.reads == once
    # Other rules, or another mask of the same scene, are measured.
    assert len(rows(product, tmp_path)) < len(told)
    assert Counted.reads == 2 * once
    assert told == rows(with_segmentation(plain, tmp_path), tmp_path, lesions=True)
    nothing = replace(product, mask=ArraySource(np.zeros_like(plain.mask.array)))
    assert {row["voxels"] for row in rows(nothing, tmp_path)} == {"0"}


def test_json_and_csv_say_the_same(series: Path, tmp_path: Path) -> None:
    product = make_product(series, lesions)
    table = rows(product, tmp_path, lesions=True)
    writer = MeasurementsWriter({"format": "json", "lesions": True})
    writer.write(product, tmp_path / writer.filename(product.scene))
    told = json.loads((tmp_path / "measurements.json").read_text())
    assert told["scene"] == product.scene.ref.id
    flat = [row for one in told["classes"] for row in (one, *one["lesions"])]
    assert [row["tracking_uid"] for row in flat] == [row["tracking_uid"] for row in table]
    assert [row["mean"] for row in flat] == [float(row["mean"]) if row["mean"] else None for row in table]


def test_a_report_without_its_segmentation_is_refused(series: Path, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="refers to a segmentation"):
        ReportWriter().write(make_product(series), tmp_path / "report.dcm")


def without(name: str) -> Any:
    return lambda dataset, index: delattr(dataset, name)


def test_scenes_without_a_size_are_refused_before_the_run_and_measured_without(tmp_path: Path) -> None:
    write_series(tmp_path / "unplaced", (0,), pixels=noisy, change=without("ImagePositionPatient"))
    product = make_product(tmp_path / "unplaced", lambda header: np.ones((1, *header.shape[1:]), np.uint8))
    with pytest.raises(WriteError, match="a known size"):
        ReportWriter().check_scene(product.scene)
    liver, _ = rows(product, tmp_path)
    assert (liver["voxels"], liver["volume_ml"], liver["diameter_mm"]) == ("768", "", "")
    assert float(liver["mean"]) == pytest.approx(noisy(0).mean() - 1024, abs=1e-4)


def test_deidentified_reports_refer_to_their_deidentified_segmentation(series: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"sixteen bytes or more")
    deidentify = {"deidentify": {"key_file": str(tmp_path / "key")}}
    product = with_segmentation(make_product(series, lesions), tmp_path, deidentify)
    report = write(product, tmp_path, lesions=True, **deidentify)
    segmentation = pydicom.dcmread(tmp_path / "segmentation.dcm")
    content = (tmp_path / "report.dcm").read_bytes()
    source = pydicom.dcmread(next(series.iterdir()))
    for told in (source.PatientName, source.PatientID, source.StudyInstanceUID, source.SeriesInstanceUID):
        assert str(told).encode() not in content
    assert report.StudyInstanceUID == segmentation.StudyInstanceUID
    refs = {str(ref.ReferencedSOPInstanceUID) for ref in references(report) if "ReferencedSegmentNumber" in ref}
    assert refs == {str(segmentation.SOPInstanceUID)}
    images = {str(ref.ReferencedSOPInstanceUID) for ref in references(report)} - refs
    key = b"sixteen bytes or more"
    assert images <= {keyed_uid(key, str(pydicom.dcmread(path).SOPInstanceUID)) for path in series.iterdir()}
    groups = report.content.get_volumetric_roi_measurement_groups()
    table = rows(product, tmp_path, lesions=True, **deidentify)
    assert [(g.tracking_identifier, g.tracking_uid) for g in groups] == [
        (row["tracking_identifier"], row["tracking_uid"]) for row in table
    ]
    assert groups[0].tracking_uid == segmentation.SegmentSequence[0].TrackingUID
    assert groups[0].tracking_identifier == segmentation.SegmentSequence[0].TrackingID
    with pytest.raises(WriteError, match="not de-identified alike"):
        write(product, tmp_path)


def test_of_overlapping_segments_each_is_measured_as_it_is_written(series: Path, tmp_path: Path) -> None:
    product = make_product(series, lesions)
    scores = np.concatenate([np.where(lesions(product.scene) == 1, 200, 0)] * 2).astype(np.uint8)
    product = replace(product, score=ArraySource(scores))  # the spleen is where the liver is, and the mask has none
    referring = with_segmentation(product, tmp_path, {"segments": "overlapping"})
    liver, spleen = rows(product, tmp_path, segments="overlapping")
    assert liver["volume_ml"] == spleen["volume_ml"]
    assert rows(product, tmp_path)[1]["volume_ml"] == "0.0"
    groups = write(referring, tmp_path).content.get_volumetric_roi_measurement_groups()
    volumes = [g.get_measurements(name=hd.sr.CodedConcept("118565006", "SCT", "Volume"))[0].value for g in groups]
    assert volumes == [float(liver["volume_ml"])] * 2


@pytest.mark.parametrize(
    ("writer", "options", "said"),
    [
        (ReportWriter, {"lesion": True}, "unknown option"),
        (ReportWriter, {"lesions": "yes"}, "not possible"),
        (ReportWriter, {"lesions": True, "min_volume_ml": -1}, "millilitres"),
        (ReportWriter, {"lesions": True, "max_lesions": 0}, "max_lesions"),
        (ReportWriter, {"min_volume_ml": 1}, "without lesions"),
        (ReportWriter, {"series_number": 0}, "series_number"),
        (ReportWriter, {"deidentify": True}, "key"),
        (MeasurementsWriter, {"format": "xlsx"}, "not possible"),
    ],
)
def test_wrong_options_are_told(writer: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        writer(options)


def test_of_frames_in_several_files_the_report_names_the_files_and_their_frames(tmp_path: Path) -> None:
    for number, depths in enumerate(((0.0, 2.0), (4.0, 6.0))):
        write_enhanced(tmp_path / "series" / f"{number}.dcm", depths)
    product = make_product(tmp_path / "series", lambda header: np.ones((1, *header.shape[1:]), np.uint8))
    report = write(with_segmentation(product, tmp_path), tmp_path, lesions=True)
    files = {str(pydicom.dcmread(path).SOPInstanceUID) for path in (tmp_path / "series").iterdir()}
    evidence = {
        str(ref.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for one in study.ReferencedSeriesSequence
        for ref in one.ReferencedSOPSequence
    }
    assert files < evidence
    named = [ref for ref in references(report) if "ReferencedSegmentNumber" not in ref]
    assert {str(ref.ReferencedSOPInstanceUID) for ref in named} == files
    assert [list(ref.ReferencedFrameNumber) for ref in named] == [[1, 2], [1, 2]]
