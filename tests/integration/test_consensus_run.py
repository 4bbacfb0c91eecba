"""Whole runs whose masks are the consensus of three planes: inline, on Ray, and on real CT."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import yaml

from hdm_pipeline.pipeline import Pipeline
from tests.dicom_product import ORGAN
from tests.dicom_series import write_series
from tests.integration.conftest import Workbench

TURN, TIP = 0.3, 0.2
OBLIQUE = (np.cos(TURN), np.sin(TURN), 0, -np.sin(TURN) * np.cos(TIP), np.cos(TURN) * np.cos(TIP), -np.sin(TIP))
SHAPE = (40, 52)


def cloud(index: int) -> np.ndarray:
    """Noise around a bright ball: no two places look alike, so a voxel that comes back elsewhere is noticed."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = (y - 18) ** 2 + (x - 24) ** 2 + (4 * (index - 6)) ** 2 < 200
    noise = np.random.default_rng(index).integers(-60, 60, SHAPE)
    return (np.where(inside, 1130, 1000) + noise).astype(np.uint16)


def pipeline(bench: Workbench, name: str, plane: str, kind: str = "FRACTIONAL", **execution: Any) -> Path:
    """A pipeline file over the oblique series; its product files lie in the folder `name`."""
    content = {
        "name": "ball",
        "input": {
            "uri": "archive",
            "reader": "dicom",
            "bands": [1, 1, 1],
            "scale": {"percentiles": [1, 99]},
            "options": {"plane": plane},
        },
        "support": {
            "adapt": "off",
            "classes": [
                {
                    "name": "ball",
                    "codes": {"category": ORGAN, "type": "SCT:10200004:Liver"},
                    "examples": [{"image": "archive", "mask": "mask.nii.gz", "slices": [5, 7]}],
                }
            ],
        },
        "model": {"weights": str(bench.weights), "reduction": 1},
        "tiling": {"size": 32, "overlap": 8, "block": 4},
        "execution": {"executor": "inline", "batch_size": 2, **execution},
        "output": {
            "directory": name,
            "products": [{"segmentation": {"type": kind, "omit_empty_frames": False}}, "nifti"],
        },
    }
    path = bench.root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def ball(bench: Workbench) -> Workbench:
    """An archive of one oblique series of 14 slices, stored with its first slice at the head, and its labels."""
    import nibabel

    from hdm_dicom.reader import DicomReader
    from hdm_pipeline.contracts import SceneRef, VolumeGeometry

    write_series(bench.root / "archive", [2.0 * i for i in range(14)], orientation=OBLIQUE, pixels=cloud)
    reader = DicomReader()
    (ref,) = [found for found in reader.discover(str(bench.root / "archive")) if isinstance(found, SceneRef)]
    geometry = reader.header(ref).geometry
    assert isinstance(geometry, VolumeGeometry)
    labels = np.stack([cloud(index) > 1070 for index in range(14)]).astype(np.uint8)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array(geometry.affine).reshape(4, 4)
    nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), affine), bench.root / "mask.nii.gz")  # type: ignore[no-untyped-call, attr-defined]
    return bench


def run(file: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The scene's entry in `run.json`, and its products."""
    summary = Pipeline.from_yaml(file).run()
    assert summary.exit_code == 0
    (name,) = summary.done
    out = file.with_suffix("")
    assert not list(out.glob(f".hdm/scenes/{name}/publish-*"))
    scene = json.loads((out / "run.json").read_text())["scenes"][name]
    return scene, {path.name: path.read_bytes() for path in sorted((out / name).iterdir())}


def frames(content: bytes, path: Path) -> np.ndarray:
    path.write_bytes(content)
    return np.asarray(hd.seg.segread(path).pixel_array)


def test_three_planes_that_agree_give_the_axial_result(ball: Workbench) -> None:
    """The kit's network scores a pixel by its value alone: each plane has the same score for a voxel."""
    axial, axial_files = run(pipeline(ball, "axial", "axial"))
    file = pipeline(ball, "consensus", "consensus")
    (plan,) = Pipeline.from_yaml(file).plan().scenes
    found, files = run(file)
    assert files["segmentation.nii.gz"] == axial_files["segmentation.nii.gz"]
    mine, theirs = (frames(f["segmentation.dcm"], ball.root / "seg.dcm") for f in (files, axial_files))
    assert np.array_equal(mine, theirs)
    assert len(np.unique(mine)) > 20
    for figure in ("valid", "pixels", "volume_ml", "slice_area_mm2", "area_m2"):
        assert found[figure] == axial[figure]
    # 14 axial, 40 coronal and 52 sagittal slices: tiles beside a slice are not inferred.
    assert plan.tiles == found["tiles"]
    assert plan.stage_bytes == 3 * 3 * 14 * 40 * 52 * 2
    assert (axial["tiles"], found["tiles"]) == (14 * 2 * 2, 14 * 2 * 2 + 40 * 1 * 2 + 52 * 1 * 2)


@pytest.mark.ray
@pytest.mark.slow
def test_inline_and_ray_agree_byte_for_byte(ball: Workbench) -> None:
    _, inline = run(pipeline(ball, "inline", "consensus", "BINARY"))
    _, ray = run(pipeline(ball, "ray", "consensus", "BINARY", executor="ray"))
    assert inline == ray


def test_a_full_disk_ends_the_run(ball: Workbench) -> None:
    """The scratch files of the consensus are work files: a full disk is not the scene's fault."""
    from hdm_pipeline.consensus import ConsensusScores
    from hdm_pipeline.errors import OutputError
    from hdm_pipeline.grid import PlaneStack
    from hdm_pipeline.store.scene import ScoreStore

    file = pipeline(ball, "kept", "consensus")
    content = yaml.safe_load(file.read_text())
    content["output"]["keep"] = "all"
    file.write_text(yaml.safe_dump(content))
    run(file)
    (folder,) = (ball.root / "kept" / ".hdm" / "scenes").glob("*/score-*")
    disk = ball.root / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        with pytest.raises(OutputError, match="full"):
            ConsensusScores(ScoreStore.open(folder), PlaneStack((14, *SHAPE)), disk)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.data
@pytest.mark.slow
def test_a_consensus_of_real_ct(bench: Workbench, test_data: Path) -> None:
    """The shipped pipeline with `plane: consensus` and a network of two colors: the axial result again."""
    shipped = Path(__file__).resolve().parents[2] / "pipelines" / "ct_liver.yaml"
    content = yaml.safe_load(shipped.read_text().replace("${HDM_CT_DATA}", str(test_data / "dicom" / "ct-abdomen")))
    content["model"] = {"weights": str(bench.weights), "reduction": 1}  # a reduced network blurs across voxels
    content["input"]["bands"] = [1, 1, 1]
    content["support"]["adapt"] = "off"
    content["execution"] = {"executor": "inline"}
    content["output"]["products"] = ["segmentation", "nifti"]
    results = []
    for plane in ("axial", "consensus"):
        content["input"]["options"] = {**content["input"].get("options", {}), "plane": plane}
        content["output"]["directory"] = str(bench.root / plane)
        (bench.root / f"{plane}.yaml").write_text(yaml.safe_dump(content))
        results.append(run(bench.root / f"{plane}.yaml"))
    (axial, axial_files), (found, files) = results
    assert files["segmentation.nii.gz"] == axial_files["segmentation.nii.gz"]
    assert found["volume_ml"] == axial["volume_ml"]
    assert found["volume_ml"]["liver"] > 100
