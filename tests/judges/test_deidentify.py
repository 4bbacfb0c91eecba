"""De-identified files before their judge: dciodvfy finds no Error that it did not find in the original."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from hdm_dicom.privacy.folder import deidentify_folder
from tests.judges.conftest import RequireJudge

KEY = b"0123456789abcdef-key"
FILES = (
    "dcmqi/ct-3slice/01.dcm",
    "dcmqi/liver.dcm",
    "dcmqi/23x38x3/multiframe/mf.dcm",
    "dicom2nifti/philips_enhanced/anatomical/001/IM-0001-0170-0001.dcm",
    "dicom2nifti/siemens/anatomical/001/IM-0001-0112-0001.dcm",
    "highdicom/ct_image.dcm",
    "highdicom/dx_image.dcm",
    "highdicom/seg_image_sm_control_labelmap.dcm",
    "highdicom/sm_image.dcm",
    "highdicom/sr_document_with_multiple_groups.dcm",
    "pydicom/MR_small_RLE.dcm",
    "pydicom/JPEG2000.dcm",
    "pydicom/examples_ybr_color.dcm",
    "pydicom/rtdose.dcm",
    "pydicom/rtplan.dcm",
    "pydicom/test-SR.dcm",
    "pydicom/waveform_ecg.dcm",
    "rt-utils/mock_data/rt.dcm",
)


def errors(dciodvfy: str, path: Path) -> Counter[str]:
    """Errors without the values that they quote."""
    done = subprocess.run([dciodvfy, str(path)], capture_output=True, timeout=60, check=False)
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    plain = (re.sub(r"\b\d(\.\d+)+\b|\b0\b|= <[^>]*>|(?<=UID )<[^>]*>", "*", line) for line in lines)
    return Counter(line for line in plain if line.startswith("Error"))


@pytest.mark.data
@pytest.mark.parametrize("name", FILES)
def test_dciodvfy_finds_nothing_new(require_judge: RequireJudge, test_data: Path, tmp_path: Path, name: str) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    source = test_data / "dicom" / name
    assert deidentify_folder(source, tmp_path / "out", KEY, keep_burned_in=True).files == 1
    (made,) = (tmp_path / "out").rglob("*.dcm")
    assert errors(dciodvfy, made) - errors(dciodvfy, source) == Counter()
