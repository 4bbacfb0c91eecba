"""Whole runs over DICOM series: what is published, and that nothing of a patient is written anywhere else."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
import yaml
from PIL import Image
from pydicom.dataset import Dataset

from tests.dicom_product import ORGAN
from tests.dicom_series import write_series
from tests.integration.conftest import Workbench

MARKERS = (b"MARKERNAME", b"MARKERID", b"MARKERACC", b"MARKERDOC", b"MARKERINST", b"19590807")


def disc(index: int) -> np.ndarray:
    """A bright disc that moves from slice to slice."""
    y, x = np.mgrid[:96, :96]
    inside = (y - 48) ** 2 + (x - 30 - 6 * index) ** 2 < 200
    return np.where(inside, 1200, 950).astype(np.uint16)


def marked(dataset: Dataset, index: int) -> None:
    dataset.PatientName, dataset.PatientID = "MARKERNAME^X", "MARKERID"
    dataset.PatientBirthDate = "19590807"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "MARKERACC", "MARKERDOC^Y"
    dataset.InstitutionName = dataset.StationName = "MARKERINST"
    dataset.StudyDescription = dataset.SeriesDescription = "MARKERNAME"


@pytest.fixture
def pipeline(bench: Workbench) -> Path:
    """A pipeline over a good series, a broken one and one with missing slices, in folders named after the patient."""
    archive = bench.root / "MARKERNAME"
    write_series(archive / "MARKERID" / "good", series="good", pixels=disc, change=marked)
    write_series(archive / "MARKERID" / "gap", (0, 2, 4, 9), series="gap", pixels=disc, change=marked)

    def empty(dataset: Dataset, index: int) -> None:
        marked(dataset, index)
        if index == 1:
            del dataset.PixelData

    write_series(archive / "MARKERID" / "broken", series="broken", pixels=disc, change=empty)
    (archive / "MARKERNAME.pdf").write_bytes(b"%PDF")
    (archive / "MARKERNAME").write_bytes(bytes(128) + b"DICM" + 50 * b"MARKERNAME")
    (archive / "MARKERID.dcm").symlink_to("MARKERNAME-gone")
    write_series(bench.root / "support" / "series", series="support", pixels=disc)
    for z in (1, 3):
        mask = (disc(z) > 1000).astype(np.uint8)
        Image.fromarray(mask).save(bench.root / "support" / f"mask_{z}.png")
    (bench.root / "key").write_text("a secret of many more than sixteen bytes")
    liver = {"category": ORGAN, "type": "SCT:10200004:Liver"}
    examples = [{"image": "support/series", "mask": f"support/mask_{z}.png", "slices": [z]} for z in (1, 3)]
    hidden = {"deidentify": {"key_file": str(bench.root / "key")}}
    lesions = {"lesions": True, "min_volume_ml": 0.01}
    products: list[object] = [
        {"report": {**hidden, **lesions}},
        {"measurements": {**hidden, **lesions}},
        "nifti",
        "label_image",
    ]
    products += [{name: hidden} for name in ("segmentation", "rtstruct", "parametric_map", "preview")]
    return bench.pipeline(
        input={"uri": "MARKERNAME", "reader": "dicom", "bands": [1, 1, 1], "scale": {"fixed": [-160, 240]}},
        support={"classes": [{"name": "disc", "codes": liver, "examples": examples}]},
        output={"products": products},
    )


def leaks_of(out: Path) -> list[str]:
    """Where a marker stands in what was written."""
    written = [path for path in out.rglob("*") if path.is_file()]
    found = [f"{path}: {marker!r}" for path in written for marker in MARKERS if marker in path.read_bytes()]
    return found + [
        str(path) for path in written for marker in MARKERS if marker.decode() in str(path.relative_to(out))
    ]


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.long])])
def test_no_patient_data_outside_the_imaging_files(pipeline: Path, executor: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "hdm_pipeline", "run", str(pipeline), "--executor", executor],
        capture_output=True,
        cwd=pipeline.parent,
        env={**os.environ, "HDM_LOG_LEVEL": "DEBUG"},
        timeout=300,
        check=False,
    )
    assert result.returncode == 3, result.stderr.decode()
    out = pipeline.parent / "out"
    report = json.loads((out / "run.json").read_text())
    by_status = sorted(scene["status"] for scene in report["scenes"].values())
    assert by_status == ["done", "quarantined", "quarantined"]
    made = {"segmentation.dcm", "rtstruct.dcm", "report.dcm", "score.dcm", "preview.dcm"}
    made |= {"run.json", "segmentation.nii.gz", "measurements.csv"}
    assert made <= {path.name for path in out.rglob("*")}
    leaks = leaks_of(out)
    leaks += [f"terminal: {marker!r}" for marker in MARKERS if marker in result.stdout + result.stderr]
    assert leaks == []


def test_a_report_is_written_after_the_segmentation_that_it_refers_to(pipeline: Path) -> None:
    """The pipeline file names it first."""
    from hdm_pipeline.pipeline import Pipeline

    Pipeline.from_yaml(pipeline).run()
    (folder,) = [path.parent for path in (pipeline.parent / "out").glob("*/report.dcm")]
    segmentation = pydicom.dcmread(folder / "segmentation.dcm", stop_before_pixels=True)
    report: Any = hd.sr.srread(folder / "report.dcm")
    rows = list(csv.DictReader((folder / "measurements.csv").open()))
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == [row["tracking_uid"] for row in rows]
    assert groups[0].tracking_uid == segmentation.SegmentSequence[0].TrackingUID
    assert str(segmentation.SOPInstanceUID).encode() in (folder / "report.dcm").read_bytes()
    measured = json.loads((pipeline.parent / "out" / "run.json").read_text())["scenes"][folder.name]
    assert float(rows[0]["volume_ml"]) == pytest.approx(measured["volume_ml"]["disc"], abs=1e-4)


def test_a_report_needs_its_segmentation_among_the_products(pipeline: Path) -> None:
    from hdm_pipeline.config.file import PipelineFileError
    from hdm_pipeline.errors import ConfigError
    from hdm_pipeline.pipeline import Pipeline

    alone = Pipeline.from_yaml(pipeline, ["output.products=[report]"])
    with pytest.raises(PipelineFileError, match=r"add segmentation to output\.products"):
        alone.validate()
    with pytest.raises(ConfigError, match="segmentation, which is not made"):
        alone.run()
    assert not (pipeline.parent / "out").exists()


def test_the_uncertainty_of_a_volume_is_a_parametric_map(pipeline: Path) -> None:
    from hdm_pipeline.pipeline import Pipeline

    products = "output.products=[segmentation, {parametric_map: {of: uncertainty}}]"
    small = ["model.weights=builtin:pyramid-small", "model.reduction=1", products]
    Pipeline.from_yaml(pipeline, small).run()
    (path,) = (pipeline.parent / "out").glob("*/uncertainty.dcm")
    values = pydicom.dcmread(path).pixel_array
    assert values.shape == (5, 96, 96)
    assert 0 <= values.min() < values.max() <= 1


def test_the_products_are_registered_to_the_source(pipeline: Path) -> None:
    from hdm_pipeline.pipeline import Pipeline

    Pipeline.from_yaml(pipeline).run()
    out = pipeline.parent / "out"
    report = json.loads((out / "run.json").read_text())
    (name,) = [name for name, scene in report["scenes"].items() if scene["status"] == "done"]
    truth = np.stack([disc(index) > 1000 for index in range(5)])
    nifti = np.asarray(nibabel.load(out / name / "segmentation.nii.gz").dataobj)  # type: ignore[attr-defined]
    assert (nifti.transpose(2, 1, 0) == truth).mean() > 0.99
    seg = hd.seg.segread(out / name / "segmentation.dcm")
    voxels = seg.get_volume(combine_segments=True).array
    assert min((voxels == truth).mean(), 1) > 0.99 or (voxels[::-1] == truth).mean() > 0.99
    scene = report["scenes"][name]
    assert scene["volume_ml"]["disc"] == pytest.approx(truth.sum() * 0.5 * 0.75 * 2 / 1000, rel=0.05)
    assert len(scene["slice_area_mm2"]["disc"]) == 5


@pytest.mark.parametrize("fault", ["absent", "no DICOM", "two volumes", "unreadable", "other size", "no such slice"])
def test_a_support_error_tells_the_user_alone(pipeline: Path, fault: str) -> None:
    """Paths of supports may hold a patient's name: the terminal may show one that the user gave, files may not."""
    from hdm_pipeline.errors import SupportError
    from hdm_pipeline.pipeline import Pipeline

    folder = pipeline.parent / "support" / "MARKERNAME"
    (folder / "empty").mkdir(parents=True)
    (folder / "empty" / "MARKERID").write_text("no DICOM")
    (folder / "mask.nii.gz").write_bytes(b"MARKERID is no NIfTI")
    Image.fromarray(np.ones((7, 9), np.uint8)).save(folder / "MARKERACC.png")
    for part in ("one", "two"):
        write_series(folder / "both" / part, series=part, pixels=disc, change=marked)
    write_series(folder / "series", series="marked", pixels=disc, change=marked)
    image, mask, z = {
        "absent": ("nowhere", "mask.nii.gz", 1),
        "no DICOM": ("empty", "mask.nii.gz", 1),
        "two volumes": ("both", "mask.nii.gz", 1),
        "unreadable": ("series", "mask.nii.gz", 1),
        "other size": ("series", "MARKERACC.png", 1),
        "no such slice": ("series", "MARKERACC.png", 99),
    }[fault]
    content = yaml.safe_load(pipeline.read_text())
    content["support"]["classes"][0]["examples"] = [
        {"image": str(folder / image), "mask": str(folder / mask), "slices": [z]}
    ]
    pipeline.write_text(yaml.safe_dump(content))
    with pytest.raises(SupportError) as caught:
        Pipeline.from_yaml(pipeline).run()
    assert ("MARKERNAME" in str(caught.value)) == (fault == "absent")
    out = pipeline.parent / "out"
    if fault != "absent":  # else nothing was started
        report = json.loads((out / "run.json").read_text())
        assert report["status"] == "failed"
        assert report["error"] == {"type": "SupportError", "remedy": caught.value.remedy}
    assert leaks_of(out) == []


def test_bad_series_are_quarantined_each_with_its_reason_and_the_others_go_on(pipeline: Path) -> None:
    from hdm_pipeline.pipeline import Pipeline

    archive = pipeline.parent / "MARKERNAME"

    def bad(name: str, change: Callable[[Dataset], None], slices: tuple[int, ...] = (2,)) -> str:
        def changed(dataset: Dataset, index: int) -> None:
            marked(dataset, index)
            if index in slices:
                change(dataset)

        write_series(archive / name, series=name, pixels=disc, change=changed)
        return name

    def without_rescale(dataset: Dataset) -> None:
        del dataset.RescaleSlope
        del dataset.RescaleIntercept

    bad("patients", lambda d: setattr(d, "PatientID", "MARKERID2"))
    bad("frames", lambda d: setattr(d, "NumberOfFrames", 900))
    bad("bomb", lambda d: (setattr(d, "Rows", 40_000), setattr(d, "Columns", 40_000)), tuple(range(5)))
    bad("mosaic", lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), tuple(range(5)))
    bad("no rescale", without_rescale, tuple(range(5)))
    write_series(archive / "single", (0.0,), series="single", pixels=disc, change=marked)
    cut = write_series(archive / "cut", series="cut", pixels=disc, change=marked)[1]
    cut.write_bytes(cut.read_bytes()[:-2000])

    summary = Pipeline.from_yaml(pipeline).run()
    assert len(summary.done) == 3  # good, without rescale, single
    said = sorted(str(error["what"]) for error in summary.quarantined.values())
    for expected in (
        "2 patients share one series UID",
        "the header promises",
        "an image of 40000 x 40000 pixels is more than",
        "a Siemens mosaic",
        "the file holds no pixel data",
        "1 slice is missing",
    ):
        assert any(expected in what for what in said), (expected, said)
    assert all(error["remedy"] for error in summary.quarantined.values())
    assert leaks_of(pipeline.parent / "out") == []
    warnings = json.dumps(json.loads((pipeline.parent / "out" / "run.json").read_text())["scenes"])
    assert "no rescale slope" in warnings
    assert "one slice only" in warnings
