"""Structured reports before their judges: dsrdump (dcmtk), dciodvfy and dcmqi's tid1500reader."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdm_dicom.report.table import MeasurementsWriter
from hdm_dicom.report.writer import ReportWriter
from hdm_pipeline.contracts import Product
from tests.dicom_product import make_product, with_segmentation
from tests.dicom_series import write_series
from tests.judges.conftest import RequireJudge

REAL = (
    "dicom/ct-abdomen/example_ct_dicom",
    "dicom/dcmqi/ct-3slice",
    "dicom/dicom2nifti/hitachi",
    "dicom/dicom2nifti/philips_enhanced",
)
NAMES = {
    "118565006": "volume_ml",
    "373098007": "mean",
    "386136009": "standard_deviation",
    "81827009": "diameter_mm",
    "103339001": "in_plane_diameter_mm",
    "246205007": "regions",
}


@pytest.fixture
def oblique(tmp_path: Path) -> Path:
    orientation = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)
    write_series(tmp_path / "oblique", shape=(23, 31), orientation=orientation)
    return tmp_path / "oblique"


def report(folder: Path | str, out: Path, **options: Any) -> Product:
    product = with_segmentation(make_product(folder), out, {k: v for k, v in options.items() if k == "deidentify"})
    ReportWriter({"lesions": True, **options}).write(product, out / "report.dcm")
    return product


def findings(dciodvfy: str, path: Path) -> list[str]:
    result = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert "ComprehensiveSR" in result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith(("Error", "Warning"))]


@pytest.mark.parametrize("deidentified", [False, True])
def test_dciodvfy_and_dsrdump_find_nothing(
    require_judge: RequireJudge, oblique: Path, tmp_path: Path, deidentified: bool
) -> None:
    (tmp_path / "key").write_bytes(b"sixteen bytes or more")
    report(oblique, tmp_path, **({"deidentify": {"key_file": str(tmp_path / "key")}} if deidentified else {}))
    assert findings(require_judge("dciodvfy", "apt-get install dicom3tools"), tmp_path / "report.dcm") == []
    dump = require_judge("dsrdump", "apt-get install dcmtk")
    shown = subprocess.run([dump, str(tmp_path / "report.dcm")], capture_output=True, text=True, timeout=60, check=True)
    assert not [line for line in shown.stderr.splitlines() if line.startswith(("E:", "F:"))]
    assert shown.stdout.count('"Measurement Group"') == 6
    assert '"Referenced Segment")=(SG image,,2)' in shown.stdout


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_dciodvfy_finds_nothing_on_real_series(
    require_judge: RequireJudge, test_data: Path, tmp_path: Path, name: str
) -> None:
    report(test_data / name, tmp_path)
    found = findings(require_judge("dciodvfy", "apt-get install dicom3tools"), tmp_path / "report.dcm")
    # Values of MR without a unit have no standard name.
    assert [line for line in found if "99HDM" not in line] == []


def test_dcmqi_reads_our_numbers(require_judge: RequireJudge, oblique: Path, tmp_path: Path) -> None:
    reader = require_judge("tid1500reader", "pip install dcmqi")
    product = report(oblique, tmp_path)
    command = [reader, "--inputDICOM", str(tmp_path / "report.dcm"), "--outputMetadata", str(tmp_path / "read.json")]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    read = json.loads((tmp_path / "read.json").read_text())["Measurements"]
    MeasurementsWriter({"lesions": True}).write(product, tmp_path / "measurements.csv")
    table = list(csv.DictReader((tmp_path / "measurements.csv").open()))
    assert len(read) == len(table) == 6
    for group, row in zip(read, table, strict=True):
        assert group["TrackingUniqueIdentifier"] == row["tracking_uid"]
        assert group["ReferencedSegment"] == {"liver": 1, "spleen": 2}[row["class"]]
        numbers = {}
        for item in group["measurementItems"]:
            code = item["quantity"]["CodeValue"]
            code = item["derivationModifier"]["CodeValue"] if code == "112031" else code
            numbers[NAMES[code]] = float(item["value"])
        assert numbers == {name: float(row[name]) for name in NAMES.values() if row[name]}
