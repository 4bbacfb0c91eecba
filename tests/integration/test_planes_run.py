"""Whole runs over one oblique series, read in each of the three planes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest

from hdm_pipeline.errors import ConfigError
from hdm_pipeline.pipeline import Pipeline
from tests.dicom_product import ORGAN
from tests.dicom_series import write_series
from tests.integration.conftest import Workbench

TURN, TIP = 0.3, 0.2
OBLIQUE = (np.cos(TURN), np.sin(TURN), 0, -np.sin(TURN) * np.cos(TIP), np.cos(TURN) * np.cos(TIP), -np.sin(TIP))
SHAPE = (20, 40)


def cloud(index: int) -> np.ndarray:
    """Noise around a bright ball: no two places look alike, so a voxel that comes back elsewhere is noticed."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = (y - 9) ** 2 + (x - 16) ** 2 + (2 * (index - 6)) ** 2 < 50
    noise = np.random.default_rng(index).integers(-60, 60, SHAPE)
    return (np.where(inside, 1130, 1000) + noise).astype(np.uint16)


def pipeline(bench: Workbench, name: str, plane: str, kind: str = "FRACTIONAL", **execution: Any) -> Path:
    """A pipeline file over the oblique series; its product files lie in the folder `name`."""
    scaled = {"bands": [1, 1, 1], "scale": {"fixed": [-100, 200]}, "options": {"plane": plane}}
    liver = {"category": ORGAN, "type": "SCT:10200004:Liver"}
    examples = [{"image": "archive", "mask": "mask.nii.gz"}]
    return bench.pipeline(
        name,
        input={"uri": "archive", "reader": "dicom", **scaled},
        support={"classes": [{"name": "ball", "codes": liver, "examples": examples}]},
        model={"reduction": 1},
        tiling={"size": 32, "overlap": 8},
        execution=execution,
        output={"products": [{"segmentation": {"type": kind, "omit_empty_frames": False}}, "nifti"]},
    )


@pytest.fixture
def ball(bench: Workbench) -> Workbench:
    """One oblique series of 14 slices, stored from the head on; every slice of every plane is labelled."""
    import nibabel

    from hdm_dicom.reader import DicomReader
    from hdm_pipeline.contracts import SceneRef, VolumeGeometry

    write_series(bench.root / "archive", [2.0 * i for i in range(14)], orientation=OBLIQUE, pixels=cloud)
    reader = DicomReader()
    (ref,) = [found for found in reader.discover(str(bench.root / "archive")) if isinstance(found, SceneRef)]
    geometry = reader.header(ref).geometry
    assert isinstance(geometry, VolumeGeometry)
    labels = np.stack([cloud(index) > 1030 for index in range(14)]).astype(np.uint8)
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


def test_the_scores_of_three_planes_lie_in_the_same_voxels(ball: Workbench) -> None:
    """The kit's network scores a pixel by its value alone, so a voxel has the same score in each plane.

    The products lie in the grid of the stored slices: this is what allows to average three runs outside.
    """
    runs = [run(pipeline(ball, plane, plane)) for plane in ("axial", "coronal", "sagittal")]
    axial, *others = (frames(files["segmentation.dcm"], ball.root / "seg.dcm").astype(int) for _, files in runs)
    assert axial.shape == (14, *SHAPE)
    assert len(np.unique(axial)) > 20
    for other in others:
        # The mean colors of the examples are sums in another order: a score may be rounded the other way.
        assert np.abs(other - axial).max() <= 1
    # 14 slices of 20 x 40 pixels, 20 of 14 x 40, 40 of 14 x 20; tiles of 32.
    assert [found["tiles"] for found, _ in runs] == [14 * 2, 20 * 2, 40]


def test_a_consensus_of_planes_is_refused(ball: Workbench) -> None:
    """It was taken out; the message names the planes that can be read."""
    with pytest.raises(ConfigError) as caught:
        Pipeline.from_yaml(pipeline(ball, "out", "consensus")).plan()
    assert caught.value.where == "input.options.plane"
    assert "axial, coronal, sagittal" in str(caught.value.remedy)
    assert not (ball.root / "out").exists()
