"""Which products a DICOM series can have, told before the work, and that a scene is published whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.pipeline import Pipeline
from tests.dicom_product import ORGAN
from tests.dicom_series import write_series
from tests.integration.conftest import Workbench, steps_of
from tests.integration.test_dicom_run import disc

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
