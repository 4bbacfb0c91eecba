"""Which products a DICOM series can have, told before the work, and that a scene is published whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.pipeline import Pipeline
from tests.dicom_product import ORGAN
from tests.dicom_series import write_series
from tests.integration.conftest import Workbench, steps_of
from tests.integration.test_dicom_run import disc
from tests.unit.dicom.test_flat_images import FLAT

LIVER = {"category": ORGAN, "type": "SCT:10200004:Liver"}


def pipeline_of(bench: Workbench, products: list[Any], options: dict[str, Any] | None = None) -> Path:
    """A pipeline over the series below `archive`, with a labelled slice of another one."""
    if not (bench.root / "support" / "series").exists():
        write_series(bench.root / "support" / "series", series="support", pixels=disc)
        Image.fromarray((disc(1) > 1000).astype(np.uint8)).save(bench.root / "support" / "mask.png")
    example = {"image": "support/series", "mask": "support/mask.png", "slices": [1]}
    return bench.pipeline(
        input={
            "uri": "archive",
            "reader": "dicom",
            "bands": [1, 1, 1],
            "scale": {"fixed": [-160, 240]},
            "options": options or {},
        },
        support={"classes": [{"name": "disc", "codes": LIVER, "examples": [example]}]},
        output={"products": products},
    )


def run(file: Path) -> dict[str, Any]:
    """`run.json` of a run."""
    Pipeline.from_yaml(file).run()
    found: dict[str, Any] = json.loads((file.parent / "out" / "run.json").read_text())
    return found


@pytest.mark.parametrize(
    ("reader", "product", "fitting", "others"),
    [("dicom", "mask", "nifti", "polygons"), ("geotiff", "segmentation", "mask", "nifti")],
)
def test_products_that_do_not_fit_the_reader_are_refused_before_a_run(
    bench: Workbench, reader: str, product: str, fitting: str, others: str
) -> None:
    if reader == "dicom":
        write_series(bench.root / "archive", pixels=disc)
        file = pipeline_of(bench, ["nifti", product])
    else:
        classes = [
            {
                "name": "water",
                "codes": LIVER,
                "examples": [{"image": "support/chip.tif", "mask": "support/chip_mask.tif"}],
            }
        ]
        file = bench.pipeline(support={"classes": classes}, output={"products": ["mask", product]})
    pipeline = Pipeline.from_yaml(file)
    with pytest.raises(PipelineFileError) as told:
        pipeline.validate()
    assert [problem.key for problem in told.value.problems] == ["output.products.1"]
    for act in (pipeline.plan, pipeline.run):
        with pytest.raises(ConfigError, match=product) as caught:
            act()
        assert fitting in caught.value.remedy
        assert others not in caught.value.remedy
    assert not (bench.root / "out").exists()


def test_a_scene_of_which_one_product_fails_is_not_published_at_all(bench: Workbench) -> None:
    write_series(bench.root / "archive", pixels=disc)
    first = run(pipeline_of(bench, ["nifti", "segmentation"]))
    (scene,) = first["scenes"]
    old = (bench.root / "out" / scene / "segmentation.nii.gz").read_bytes()
    # Nothing is found any more, which the segmentation, written last, takes for an error.
    write_series(bench.root / "archive", pixels=lambda index: np.full((96, 96), 950, np.uint16))
    file = pipeline_of(bench, ["nifti", {"segmentation": {"empty": "error"}}])
    assert run(file)["scenes"][scene]["error"]["what"] == "nothing was found in the series"
    assert list((bench.root / "out" / scene).iterdir()) == []
    stale = bench.root / "out" / ".hdm" / "stale" / scene
    assert sorted(path.name for path in stale.iterdir()) == ["segmentation.dcm", "segmentation.nii.gz"]
    assert (stale / "segmentation.nii.gz").read_bytes() == old
    assert steps_of(bench.root / "out")["infer"] > 0


def flat(name: str, bench: Workbench) -> str:
    """A scene without a place in the patient, in the archive; gives the file of its label image."""

    def change(dataset: Dataset, index: int) -> None:
        FLAT[name](dataset)
        if name == "xray":
            dataset.ImagerPixelSpacing = [0.2, 0.2]

    write_series(bench.root / "archive", (0.0,), pixels=disc, change=change)
    return "segmentation.zip" if name in ("angiography", "ultrasound") else "segmentation.png"


@pytest.mark.parametrize("name", list(FLAT))
def test_images_without_a_place_have_every_product_that_says_nothing_of_one(bench: Workbench, name: str) -> None:
    label = flat(name, bench)
    file = pipeline_of(bench, ["segmentation", "nifti", "label_image"])
    assert not [one for one in Pipeline.from_yaml(file).validate(data=True) if "cannot" in one]
    ((scene, told),) = run(file)["scenes"].items()
    assert told["status"] == "done"
    folder = bench.root / "out" / scene
    products = {"segmentation.dcm", "segmentation.nii.gz", "segmentation.json", label}
    assert {path.name for path in folder.iterdir()} == products
    assert not [key for key in told if key.startswith("volume")]
    content = json.loads((folder / "segmentation.json").read_text())
    assert content["classes"][0]["pixels"] == told["pixels"]["disc"] > 0
    kinds = {warning["kind"] for warning in told["warnings"]}
    if name == "xray":
        assert "detector_spacing" in kinds
        assert content["classes"][0]["area_mm2"] == pytest.approx(told["area_m2"]["disc"] * 1e6, rel=1e-5)
    else:
        assert told["area_m2"] is None
        assert content["classes"][0]["area_mm2"] is None
    assert any("no position in the patient" in warning["what"] for warning in told["warnings"])


@pytest.mark.parametrize("spacing", [None, [0, 0], [-1, -1]])
def test_a_series_of_unknown_spacing_publishes_nothing_until_the_user_states_it(
    bench: Workbench, spacing: list[float] | None
) -> None:
    write_series(bench.root / "archive", pixels=disc)
    assert "done" in [one["status"] for one in run(pipeline_of(bench, ["segmentation", "nifti"]))["scenes"].values()]
    write_series(
        bench.root / "archive", pixels=disc, change=lambda dataset, _: setattr(dataset, "PixelSpacing", spacing)
    )
    file = pipeline_of(bench, ["segmentation", "nifti"])
    ((scene, told),) = run(file)["scenes"].items()
    assert told["error"]["type"] == "UnsupportedSceneError"
    assert "assume" in told["error"]["remedy"]
    assert list((bench.root / "out" / scene).iterdir()) == []
    assert [reason for _, reason in Pipeline.from_yaml(file).plan().refused] == [told["error"]["what"]]
    options = {"assume": {"pixel_spacing": [0.5, 0.75]}}
    told = run(pipeline_of(bench, ["segmentation", "nifti"], options))["scenes"][scene]
    assert told["volume_ml"]["disc"] == pytest.approx(told["pixels"]["disc"] * 0.5 * 0.75 * 2 / 1000, rel=1e-3)
    assert "assumed_spacing" in {warning["kind"] for warning in told["warnings"]}
    seg = pydicom.dcmread(bench.root / "out" / scene / "segmentation.dcm")
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.75]


def test_what_lies_on_which_grid_is_told(bench: Workbench) -> None:
    """Uneven slices, resampled: the segmentation lies on the stored ones, everything else on an even grid."""
    write_series(bench.root / "archive", (0, 2, 4, 7, 9), pixels=disc)
    file = pipeline_of(bench, ["segmentation", "nifti"], {"policy": "resample"})
    ((scene, told),) = run(file)["scenes"].items()
    (grids,) = [warning["what"] for warning in told["warnings"] if warning["kind"] == "two_grids"]
    assert "on the 5 stored slices" in grids
    folder = bench.root / "out" / scene
    nifti = nibabel.load(folder / "segmentation.nii.gz")
    assert f"on {nifti.shape[2]} slices of 2 mm" in grids  # type: ignore[attr-defined]
    assert int(np.count_nonzero(nifti.dataobj)) == told["pixels"]["disc"]  # type: ignore[attr-defined]
    seg = pydicom.dcmread(folder / "segmentation.dcm")
    places = {
        float(item.PlanePositionSequence[0].ImagePositionPatient[2]) for item in seg.PerFrameFunctionalGroupsSequence
    }
    assert places <= {-30.0, -28.0, -26.0, -23.0, -21.0}
