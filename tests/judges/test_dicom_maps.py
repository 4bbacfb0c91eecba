"""Parametric maps and previews before their judges: dciodvfy, and dcmqi's paramap2itkimage."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from hdm_dicom.maps.writer import ParametricMapWriter
from hdm_dicom.preview.writer import PreviewWriter
from hdm_pipeline.contracts import Product, VolumeGeometry
from tests.dicom_product import LIVER, ArraySource, make_product
from tests.dicom_series import write_series
from tests.judges.conftest import RequireJudge

REAL = (
    "dicom/ct-abdomen/example_ct_dicom",
    "dicom/dcmqi/ct-3slice",
    "dicom/dicom2nifti/hitachi",
    "dicom/dicom2nifti/philips_enhanced",
    "dicom/dicom2nifti/siemens_multiframe",
)
KNOWN = (
    # Value 4 of a map's image type may be QUANTITY since supplement 172 (PS3.3 C.8.16.1.4).
    "Unrecognized defined term <QUANTITY> for value 4",
    # The source tells no laterality, and nobody knows.
    "is only permitted to be empty when actually unknown",
)


@pytest.fixture
def oblique(tmp_path: Path) -> Path:
    orientation = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)
    write_series(tmp_path / "oblique", shape=(23, 31), orientation=orientation)
    return tmp_path / "oblique"


def scored(folder: Path) -> Product:
    product = make_product(folder, classes=(LIVER,))
    scores = np.random.default_rng(5).integers(0, 256, product.score.shape).astype(np.uint8)
    return replace(product, score=ArraySource(scores))


def findings(dciodvfy: str, path: Path, kind: str) -> list[str]:
    result = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert kind in result.stderr
    found = [line for line in result.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    return [line for line in found if not any(known in line for known in KNOWN)]


@pytest.mark.parametrize("deidentified", [False, True])
def test_dciodvfy_finds_nothing(require_judge: RequireJudge, oblique: Path, tmp_path: Path, deidentified: bool) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    (tmp_path / "key").write_bytes(b"sixteen bytes or more")
    options = {"deidentify": {"key_file": str(tmp_path / "key")}} if deidentified else {}
    product = make_product(oblique)
    ParametricMapWriter(options).write(product, tmp_path / "map.dcm")
    PreviewWriter(options).write(product, tmp_path / "preview.dcm")
    assert findings(dciodvfy, tmp_path / "map.dcm", "ParametricMap") == []
    assert findings(dciodvfy, tmp_path / "preview.dcm", "MultiframeTrueColorSCImage") == []


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_dciodvfy_finds_nothing_on_real_series(
    require_judge: RequireJudge, test_data: Path, tmp_path: Path, name: str
) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    product = make_product(test_data / name)
    ParametricMapWriter().write(product, tmp_path / "map.dcm")
    PreviewWriter().write(product, tmp_path / "preview.dcm")
    assert findings(dciodvfy, tmp_path / "map.dcm", "ParametricMap") == []
    assert findings(dciodvfy, tmp_path / "preview.dcm", "MultiframeTrueColorSCImage") == []


def test_dcmqi_reads_our_scores_at_their_places(require_judge: RequireJudge, oblique: Path, tmp_path: Path) -> None:
    program = require_judge("paramap2itkimage", "pip install dcmqi")
    product = scored(oblique)
    ParametricMapWriter().write(product, tmp_path / "map.dcm")
    command = [program, "--inputDICOM", str(tmp_path / "map.dcm"), "--outputDirectory", str(tmp_path)]
    subprocess.run([*command, "-t", "nii", "-n", "read"], capture_output=True, timeout=60, check=True)
    image = nibabel.load(tmp_path / "read-pmap.nii.gz")  # type: ignore[attr-defined]
    read = np.asarray(image.dataobj)
    at = np.argwhere(np.ones(read.shape))
    places = image.affine @ np.c_[at, np.ones(len(at))].T
    places[:2] *= -1  # RAS to LPS
    assert isinstance(product.scene.geometry, VolumeGeometry)
    to_voxel = np.linalg.inv(np.array(product.scene.geometry.affine).reshape(4, 4))
    x, y, z = np.rint((to_voxel @ places)[:3]).astype(int)
    found = np.full(product.scene.shape[1:], np.nan, dtype=np.float32)
    found[z, y, x] = read[tuple(at.T)]
    assert isinstance(product.score, ArraySource)
    assert np.array_equal(found, product.score.array[0] / np.float32(255))
