"""RT Structure Sets before their judges: dciodvfy, plastimatch and rt-utils find the voxels of the segmentation."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.examples.rtstruct import filled
from hdm_dicom.nifti import NiftiWriter
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_pipeline.contracts import SceneHeader
from tests.dicom_product import make_product
from tests.dicom_series import write_series
from tests.judges.conftest import RequireJudge, missing
from tests.judges.viewer import node_environment

OBLIQUE = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)
REAL = (
    "dicom/ct-abdomen/example_ct_dicom",
    "dicom/dcmqi/ct-3slice",
    "dicom/dcmqi/23x38x3/image",
    "dicom/dicom2nifti/hitachi",
    "dicom/dicom2nifti/philips_enhanced",
    "dicom/dicom2nifti/siemens_multiframe",
    "dicom/rt-utils/mock_data",
)


def organs(header: SceneHeader) -> np.ndarray:
    """Class 1 a ball with a hole around an island, class 2 a rod, a line of three pixels and a single one."""
    _, depth, height, width = header.shape
    z, y, x = np.mgrid[:depth, :height, :width]
    distance = np.hypot(np.hypot(y - height / 2, x - width / 2), 2 * (z - depth / 2))
    mask = np.zeros((1, depth, height, width), np.uint8)
    mask[0][(distance < height * 0.4) & (distance > height * 0.15)] = 1
    mask[0][distance < height * 0.05] = 1
    mask[0][np.hypot(y - height * 0.5, x - width * 0.94) < height * 0.04] = 2
    mask[0, depth // 2, 2, 2] = 2
    mask[0, depth // 2, 5:8, 4] = 2
    return mask


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def series(folder: Path, **options: Any) -> Path:
    def square_pixels(dataset: Dataset, index: int) -> None:
        dataset.PixelSpacing = [0.7, 0.7]

    write_series(folder, np.arange(13) * 2.0, shape=(128, 128), change=square_pixels, **options)
    return folder


def write_all(folder: Path | str, out: Path) -> np.ndarray:
    """Structure set, segmentation and NIfTI of one mask; returns the voxels of the segmentation, read by highdicom."""
    product = make_product(folder, organs)
    StructureSetWriter().write(product, out / "rtstruct.dcm")
    NiftiWriter().write(product, out / "segmentation.nii.gz")
    SegmentationWriter({"omit_empty_frames": False}).write(product, out / "segmentation.dcm")
    volume = hd.seg.segread(out / "segmentation.dcm").get_volume(combine_segments=True)
    affine = np.array(product.scene.geometry.affine).reshape(4, 4)  # type: ignore[union-attr]
    # highdicom may count slices from the other end.
    backwards = volume.affine[:3, 0] @ affine[:3, 2] < 0
    return np.asarray(volume.array[::-1] if backwards else volume.array)


def by_plastimatch(program: str, out: Path, *options: str) -> dict[str, np.ndarray]:
    """[z, y, x] by name of the structure, on the grid of the NIfTI product."""
    command = [program, "convert", "--input", str(out / "rtstruct.dcm"), "--fixed", str(out / "segmentation.nii.gz")]
    command += ["--output-ss-img", str(out / "structures.nii"), "--output-ss-list", str(out / "names.txt"), *options]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    names = [line.split("|") for line in (out / "names.txt").read_text().splitlines() if line]
    image: Any = nibabel.load(out / "structures.nii")
    bits = np.asarray(image.dataobj)[:, :, :, 0, 0].transpose(2, 1, 0)
    return {name: (bits >> int(bit) & 1).astype(bool) for bit, _, name in names}


@pytest.mark.parametrize("rule", [(), ("--xor-contours",)])
def test_plastimatch_finds_the_segmentation(require_judge: RequireJudge, tmp_path: Path, rule: tuple[str, ...]) -> None:
    program = require_judge("plastimatch", "apt-get install plastimatch")
    voxels = write_all(series(tmp_path / "series"), tmp_path)
    found = by_plastimatch(program, tmp_path, *rule)
    assert {name: dice(found[name], voxels == value) for name, value in (("liver", 1), ("spleen", 2))} == {
        "liver": 1.0,
        "spleen": 1.0,
    }


def test_plastimatch_finds_the_segmentation_on_oblique_slices(require_judge: RequireJudge, tmp_path: Path) -> None:
    program = require_judge("plastimatch", "apt-get install plastimatch")
    voxels = write_all(series(tmp_path / "series", orientation=OBLIQUE), tmp_path)
    found = by_plastimatch(program, tmp_path)
    # It computes in 32 bits, and a few pixels change sides.
    assert dice(found["liver"], voxels == 1) > 0.999
    assert dice(found["spleen"], voxels == 2) > 0.99


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), OBLIQUE])
def test_rt_utils_finds_the_segmentation(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    """It rounds to whole pixels and fills up to and including the contour; square pixels and images only."""
    try:
        from rt_utils import RTStructBuilder
    except ImportError:
        missing("rt-utils (install: pip install --no-deps rt-utils opencv-python-headless)")
    folder = series(tmp_path / "series", orientation=orientation, origin=(-310.123, 220.777, -1030.5))
    voxels = write_all(folder, tmp_path)
    read = RTStructBuilder.create_from(str(folder), str(tmp_path / "rtstruct.dcm"))
    assert read.get_roi_names() == ["liver", "spleen"]
    for name, value in (("liver", 1), ("spleen", 2)):
        assert dice(np.moveaxis(read.get_roi_mask_by_name(name), 2, 0), voxels == value) == 1.0


def test_dcmjs_reads_the_contours(require_judge: RequireJudge, tmp_path: Path) -> None:
    """The library that browser viewers read structure sets with."""
    node = require_judge("node", "apt-get install nodejs")
    folder = series(tmp_path / "series")
    voxels = write_all(folder, tmp_path)
    command = [node, str(Path(__file__).with_name("read_rtstruct.js")), str(tmp_path / "rtstruct.dcm")]
    result = subprocess.run(command, capture_output=True, text=True, env=node_environment(), check=True)
    images = {str(d.SOPInstanceUID): int(d.InstanceNumber) - 1 for d in map(pydicom.dcmread, folder.iterdir())}
    for name, contours in json.loads(result.stdout.splitlines()[-1]).items():
        found = np.zeros(voxels.shape, bool)
        for contour in contours:
            x, y, _ = np.array(contour["points"]).reshape(-1, 3).T
            polygon = np.stack([(x + 10) / 0.7, (y - 20) / 0.7], axis=1)
            found[images[contour["image"]]] |= filled([polygon], voxels.shape[1:])
        assert np.array_equal(found, voxels == {"liver": 1, "spleen": 2}[name])


def findings(dciodvfy: str, path: Path) -> list[str]:
    result = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert "RTStructureSet" in result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith(("Error", "Warning"))]


@pytest.mark.parametrize("kind", ["full", "empty", "deidentified"])
def test_dciodvfy_finds_nothing(require_judge: RequireJudge, tmp_path: Path, kind: str) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    (tmp_path / "key").write_bytes(b"sixteen bytes or more")
    options = {"deidentify": {"key_file": str(tmp_path / "key")}} if kind == "deidentified" else {}
    folder = series(tmp_path / "series", orientation=OBLIQUE)
    mask = (lambda header: np.zeros((1, *header.shape[1:]), np.uint8)) if kind == "empty" else organs
    StructureSetWriter(options).write(make_product(folder, mask), tmp_path / "rtstruct.dcm")
    assert findings(dciodvfy, tmp_path / "rtstruct.dcm") == []


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_dciodvfy_finds_nothing_on_real_series(
    require_judge: RequireJudge, test_data: Path, tmp_path: Path, name: str
) -> None:
    dciodvfy = require_judge("dciodvfy", "apt-get install dicom3tools")
    StructureSetWriter().write(make_product(test_data / name, organs), tmp_path / "rtstruct.dcm")
    assert findings(dciodvfy, tmp_path / "rtstruct.dcm") == []


@pytest.mark.data
def test_plastimatch_finds_the_segmentation_of_a_real_series(
    require_judge: RequireJudge, test_data: Path, tmp_path: Path
) -> None:
    program = require_judge("plastimatch", "apt-get install plastimatch")
    voxels = write_all(test_data / REAL[0], tmp_path)
    found = by_plastimatch(program, tmp_path)
    for name, value in (("liver", 1), ("spleen", 2)):
        assert dice(found[name], voxels == value) > 0.999
