"""From an archive of many series to the volumes that are worked on: what is chosen, and where it is told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml
from PIL import Image
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from hdm_pipeline.cli.main import app
from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.errors import EmptyArchiveError
from hdm_pipeline.pipeline import Pipeline
from tests.dicom_product import ORGAN
from tests.dicom_series import write_series
from tests.integration.conftest import Workbench
from tests.integration.test_dicom_run import disc


def described(text: str, modality: str = "CT") -> Any:
    def change(dataset: Dataset, index: int) -> None:
        dataset.SeriesDescription, dataset.Modality = text, modality

    return change


def pipeline(bench: Workbench, **input_keys: Any) -> Path:
    write_series(bench.root / "support" / "series", series="support", pixels=disc)
    Image.fromarray((disc(1) > 1000).astype(np.uint8)).save(bench.root / "support" / "mask.png")
    example = {"image": "support/series", "mask": "support/mask.png", "slices": [1]}
    liver = {"category": ORGAN, "type": "SCT:10200004:Liver"}
    given = {"uri": "in", "reader": "dicom", "bands": [1, 1, 1], "scale": {"fixed": [-160, 240]}, **input_keys}
    return bench.pipeline(
        input=given,
        support={"classes": [{"name": "disc", "codes": liver, "examples": [example]}]},
        output={"products": ["segmentation", "nifti"]},
    )


def ran(file: Path) -> dict[str, Any]:
    Pipeline.from_yaml(file).run()
    report: dict[str, Any] = json.loads((file.parent / "out" / "run.json").read_text())
    return report


def test_what_is_not_chosen_is_listed_by_plan_and_run(bench: Workbench) -> None:
    archive = bench.root / "in"
    for number in range(25):
        write_series(archive / f"{number}", (0, 2, 4), series=f"s{number}", change=described(f"MARKER {number}", "MR"))
    write_series(archive / "ct", series="ct", pixels=disc, change=described("Abdomen MARKER"))
    # The examples' series is not called so: what teaches need not be chosen.
    file = pipeline(bench, select={"modality": "CT", "series_description": "abdomen*", "min_slices": 4})
    told = CliRunner().invoke(app, ["plan", str(file)]).output
    named = [line for line in told.splitlines() if line.startswith("left out:")]
    assert len(named) == 1
    assert named[0].endswith(": input.select: modality MR is not asked for")
    assert named[0].count("MR-") == 25
    report = ran(file)
    assert [scene["status"] for scene in report["scenes"].values()] == ["done"]
    assert len(report["skipped"]) == 25
    assert {entry["reason"] for entry in report["skipped"]} == {"input.select: modality MR is not asked for"}
    assert "MARKER" not in told + (bench.root / "out" / "run.json").read_text()
    # Another choice that takes the series, too, finds its work done.
    text = yaml.safe_load(file.read_text())
    text["input"]["select"] = {"modality": "C?"}
    file.write_text(yaml.safe_dump(text))
    assert ran(file)["totals"]["done_before"] == 1


def test_a_choice_that_leaves_nothing_is_named_before_files_that_are_no_images(bench: Workbench) -> None:
    def scout(dataset: Dataset, index: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    archive = bench.root / "in"
    write_series(archive / "a scout", (0,), series="scout", change=scout)
    write_series(archive / "ct", series="ct", change=described("Head"))
    file = pipeline(bench, select={"series_description": "abdomen*"})
    with pytest.raises(
        EmptyArchiveError, match=r"2 left out, 1 of them by input\.select, e\.g\. CT-.*: its series_description"
    ):
        Pipeline.from_yaml(file).plan()


def test_interleaved_runs_in_a_zip_behind_a_link_become_their_volumes(bench: Workbench) -> None:
    depths = sorted([3.0 * i for i in range(5)] + [1.1 + 4.7 * i for i in range(5)])
    write_series(bench.root / "study", depths, pixels=lambda index: disc(index // 2))
    (bench.root / "elsewhere").mkdir()
    with zipfile.ZipFile(bench.root / "elsewhere" / "study.zip", "w", zipfile.ZIP_DEFLATED) as study:
        for path in (bench.root / "study").iterdir():
            study.write(path, path.name)
    (bench.root / "in").mkdir()
    (bench.root / "in" / "linked").symlink_to(bench.root / "elsewhere")
    report = ran(pipeline(bench, options={"policy": "split"}))
    assert report["skipped"] == []
    steps = set()
    for name, scene in report["scenes"].items():
        assert scene["status"] == "done"
        assert any("split into 2 volumes by their spacing" in warning["what"] for warning in scene["warnings"])
        seg = pydicom.dcmread(bench.root / "out" / name / "segmentation.dcm")
        places = sorted(
            {float(i.PlanePositionSequence[0].ImagePositionPatient[2]) for i in seg.PerFrameFunctionalGroupsSequence}
        )
        steps |= set(np.diff(places).round(3))
    assert steps == {3.0, 4.7}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"uri": "https://pacs.example/a?PatientName=SECRET"}, "does not take addresses of https://"),
        ({"uri": "s3://bucket/series"}, "does not take addresses of s3://"),
        ({"uri": ["in", "ftp://host/series"]}, "does not take addresses of ftp://"),
        ({"uri": "ftp://host/a.tif", "reader": "geotiff"}, "not a path or a known URI"),
        ({"uri": "s3://bucket/scenes", "reader": "geotiff"}, "network access is switched off"),
        ({"select": {"modalities": "CT"}}, "no key 'modalities'"),
        ({"select": {"modality": "CT"}, "reader": "geotiff"}, "series of DICOM are chosen by it"),
        ({"options": {"select": {"modality": "CT"}}}, "the choice of series is input.select"),
    ],
)
def test_validate_refuses_what_no_run_could_take(bench: Workbench, given: dict[str, Any], what: str) -> None:
    (bench.root / "in").mkdir()
    file = pipeline(bench, **given)
    with pytest.raises(PipelineFileError, match=what) as error:
        Pipeline.from_yaml(file).validate()
    assert "SECRET" not in str(error.value)
    key = "select" if "select" in given else "input" if "options" in given else "uri"
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text.strip().startswith(f"{key}:"))
    assert any(problem.line in (line, line + 1) for problem in error.value.problems), error.value.problems
