"""docs/pacs.md, "Results back", followed literally: from an empty Orthanc to results that a viewer finds and opens.

Commands and YAML are taken out of the page; only the machine that it names is ours, and nothing is adapted: that takes
minutes, and the judge is of the page.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import yaml

from hdm_pipeline.config.send import Send
from hdm_pipeline.plugin.registry import make_sender
from tests.dicom_series import uid
from tests.judges.conftest import RequireJudge
from tests.judges.orthanc import INSTALL, Archive, running

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "docs" / "pacs.md").read_text(encoding="utf-8").partition("## Results back")[2].partition("\n## ")[0]
MODALITIES = {"segmentation": "SEG", "rtstruct": "RTSTRUCT", "report": "SR"}
"""What a viewer asks for, by product."""


def blocks(kind: str, text: str = SECTION) -> list[str]:
    """The blocks of the page that are of a language."""
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


WALK = SECTION.partition("### From the PACS and back")[2]


@pytest.fixture
def orthanc(require_judge: RequireJudge, tmp_path: Path) -> Iterator[Archive]:
    stunnel = require_judge("stunnel4", "apt-get install stunnel4")
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc", stunnel=stunnel) as archive:
        yield archive


def shell(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a block of the page."""
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def with_page(environment: dict[str, str], ours: dict[str, str]) -> dict[str, str]:
    """The environment after the page's exports; each of them is said by us for this machine."""
    asked = re.findall(r"(\w+)=", "\n".join(line for line in WALK.splitlines() if line.startswith("export ")))
    assert set(asked) == set(ours), "the page asks for other variables than the test knows"
    return environment | ours


def make_study(series: Path, folder: Path) -> pydicom.Dataset:
    """The series with the identifiers that were blanked in it, as an archive needs them; returns one image of it."""
    folder.mkdir()
    for path in sorted(series.iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("page", "study"), uid("page", "series")
        dataset.FrameOfReferenceUID = uid("page", "frame")
        dataset.PatientID, dataset.PatientName = "PAGE1", "Page^One"
        dataset.save_as(folder / f"{path.name}.dcm")
    return dataset


@pytest.mark.data
@pytest.mark.slow
def test_the_page_from_an_empty_pacs_to_results_in_a_viewer(
    require_judge: RequireJudge, orthanc: Archive, test_data: Path, tmp_path: Path
) -> None:
    require_judge("curl")
    data = test_data / "dicom" / "ct-abdomen"
    assert orthanc.instances() == []
    source = make_study(data / "example_ct_dicom", tmp_path / "study")
    orthanc.fill(tmp_path / "study")
    shutil.copytree(ROOT / "pipelines", tmp_path / "here" / "pipelines")
    pipeline_file = tmp_path / "here" / "pipelines" / "pacs_liver.yaml"
    pipeline_file.write_text(pipeline_file.read_text().replace("\nsupport:\n", "\nsupport:\n  adapt: off\n"))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'plugins'}"
    environment = with_page(
        environment,
        {
            "PACS": orthanc.web.removeprefix("https://"),
            "PACS_CA": str(orthanc.certificate),
            "PACS_USER": orthanc.user,
            "PACS_PASSWORD": orthanc.password,
            "HDM_CT_DATA": str(data),
        },
    )
    exports, run, query = blocks("sh", WALK)
    assert all(line.startswith("export ") for line in exports.splitlines())
    told = shell(run, tmp_path / "here", environment)
    assert "pacs_liver.yaml: valid" in told
    assert "1 scene done in this run" in told
    assert "not sent" not in told
    environment["STUDY"] = source.StudyInstanceUID
    (found,) = json.loads(shell(query, tmp_path / "here", environment))
    assert found["00080060"]["Value"] == ["SEG"]

    pipeline: dict[str, Any] = yaml.safe_load(pipeline_file.read_text())
    assert pipeline["support"]["adapt"] is False
    for product in pipeline["output"]["products"]:
        file = open_product(orthanc, source, MODALITIES[product], tmp_path)
        assert file.PatientID == source.PatientID
        if product == "segmentation":
            assert_liver(file, source, tmp_path / "SEG.dcm")
    # The night after: nothing is computed, nothing is sent.
    before = orthanc.instances()
    told = shell(run, tmp_path / "here", environment)
    assert "0 scenes done in this run, 1 done by earlier runs" in told
    assert sorted(orthanc.instances()) == sorted(before)


def open_product(archive: Archive, source: pydicom.Dataset, modality: str, folder: Path) -> pydicom.Dataset:
    """What a viewer does: series of the study by modality, then the instance."""
    study = source.StudyInstanceUID
    wanted = {"Accept": "application/dicom+json"}
    answer = archive.call(f"/dicom-web/studies/{study}/series?Modality={modality}", headers=wanted)
    (series,) = [one["0020000E"]["Value"][0] for one in json.loads(answer)]
    answer = archive.call(f"/dicom-web/studies/{study}/series/{series}/instances", headers=wanted)
    (instance,) = [one["00080018"]["Value"][0] for one in json.loads(answer)]
    (folder / f"{modality}.dcm").write_bytes(archive.stored(instance))
    return pydicom.dcmread(folder / f"{modality}.dcm")


def assert_liver(file: pydicom.Dataset, source: pydicom.Dataset, path: Path) -> None:
    """highdicom opens it: the liver, on images of the source."""
    found = hd.seg.segread(path)
    assert found.get_segment_description(1).segment_label == "liver"
    assert file.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert file.FrameOfReferenceUID == source.FrameOfReferenceUID
    voxels = np.count_nonzero(found.pixel_array)
    assert voxels > 10_000


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_piece_of_yaml_is_taken(text: str) -> None:
    content = yaml.safe_load(text)
    send = Send(**content["output"]["send"])
    assert make_sender(send.to, send.options).takes == ("application/dicom",)


@pytest.mark.parametrize("text", blocks("json"))
def test_the_settings_of_orthanc_are_taken(require_judge: RequireJudge, tmp_path: Path, text: str) -> None:
    settings = json.loads(text)
    with running(require_judge("Orthanc", INSTALL), tmp_path / "orthanc", settings=settings) as archive:
        assert json.loads(archive.call("/modalities")) == ["hdm"]
        assert json.loads(archive.call("/system"))["DicomAet"] == settings["DicomAet"]
        assert json.loads(archive.call("/dicom-web/studies", headers={"Accept": "application/dicom+json"})) == []
