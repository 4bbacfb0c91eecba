"""The liver in a real CT, by the shipped pipeline and weights: two annotated slices, the others are segmented."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pytest

from hdm_pipeline.iou import count
from hdm_pipeline.pipeline import Pipeline

PIPELINE = Path(__file__).resolve().parents[2] / "pipelines" / "ct_liver.yaml"
SUPPORT, LIVER = (5, 12), 5


@pytest.mark.long
@pytest.mark.data
@pytest.mark.slow
def test_liver_of_the_other_slices(test_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = test_data / "dicom" / "ct-abdomen"
    overrides = ["execution.executor=inline", f"output.directory={tmp_path}"]
    summary = Pipeline.from_yaml(PIPELINE, overrides, {"HDM_CT_DATA": str(data)}).run()
    assert len(summary.done) == 1
    (file,) = tmp_path.glob("*/*.nii.gz")
    (segmentation,) = tmp_path.glob("*/segmentation.dcm")
    assert hd.seg.segread(segmentation).get_segment_description(1).segment_label == "liver"
    truth = nibabel.as_closest_canonical(nibabel.load(data / "example_seg_dicom.nii.gz"))
    found = nibabel.as_closest_canonical(nibabel.load(file))
    np.testing.assert_allclose(found.affine, truth.affine, atol=1e-3)
    queries = [z for z in range(truth.shape[2]) if z not in SUPPORT]
    wanted = np.asarray(truth.dataobj)[..., queries] == LIVER
    given = np.asarray(found.dataobj)[..., queries] == 1
    dice = count(given, wanted.astype(np.uint8)).dice
    fit = json.loads((tmp_path / "run.json").read_text())["support"]["liver"]
    with capsys.disabled():
        print(f"\nCT liver, two slices as support: Dice {dice:.3f}; reduction {fit['reduction']}, {fit['adaptation']}")
    assert fit["reduction"] > 1.5
    assert dice > 0.9
