"""Bad input ends in a typed error that says what, where and what to do; nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from hdm_pipeline.cli.main import main
from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError, HdmError, ModelInputError, SupportError, WeightsError
from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import Workbench, write_mask, write_scene


def fails(bench: Workbench, kind: type[HdmError], **sections: dict[str, Any]) -> HdmError:
    """Run a pipeline that must fail as a whole."""
    with pytest.raises(kind) as caught:
        Pipeline.from_yaml(bench.pipeline(**sections)).run()
    assert caught.value.what
    assert caught.value.where
    assert caught.value.remedy
    return caught.value


def quarantined(bench: Workbench, name: str, **sections: dict[str, Any]) -> dict[str, Any]:
    """Run a pipeline in which one scene must be quarantined."""
    summary = Pipeline.from_yaml(bench.pipeline(**sections)).run()
    assert set(summary.quarantined) == {name}
    error = dict(summary.quarantined[name])
    assert error["what"]
    assert name in error["where"]
    assert error["remedy"]
    return error


def support(image: str = "support/chip.tif", mask: str = "support/chip_mask.tif", **more: Any) -> dict[str, Any]:
    return {"classes": [{"name": "water", "examples": [{"image": image, "mask": mask, **more}]}]}


def test_no_scene_at_all(bench: Workbench) -> None:
    assert "nowhere" in str(fails(bench, EmptyArchiveError, input={"uri": "nowhere/*.tif"}))


def test_two_scenes_of_one_name(bench: Workbench) -> None:
    write_scene(bench.root / "more" / "small.tif", 40, 40, 1)
    error = fails(bench, ArchiveError, input={"uri": ["scenes", "more"]})
    assert "scenes/small.tif" in error.where
    assert "more/small.tif" in error.where


def test_a_band_that_a_scene_lacks(bench: Workbench) -> None:
    with rasterio.open(bench.scenes / "small.tif") as file:
        profile, pixels = file.profile, file.read()
    with rasterio.open(bench.scenes / "single.tif", "w", **(profile | {"count": 1})) as file:
        file.write(pixels[:1])
    error = quarantined(bench, "single")
    assert error["type"] == "BandError"


def test_a_complex_scene(bench: Workbench) -> None:
    with rasterio.open(bench.scenes / "small.tif") as file:
        profile = file.profile | {"dtype": "complex64", "nodata": None}
    with rasterio.open(bench.scenes / "complex.tif", "w", **profile) as file:
        file.write(np.ones((2, 40, 50), np.complex64))
    assert quarantined(bench, "complex")["type"] == "UnsupportedSceneError"


def test_a_scene_without_coordinates_works_and_says_so(bench: Workbench) -> None:
    with rasterio.open(bench.scenes / "small.tif") as file:
        profile, pixels = file.profile | {"crs": None}, file.read()
    with rasterio.open(bench.scenes / "nowhere.tif", "w", **profile) as file:
        file.write(pixels)
    pipeline = Pipeline.from_yaml(bench.pipeline())
    (planned,) = [scene for scene in pipeline.plan().scenes if scene.id == "nowhere"]
    assert any("CRS" in warning or "coordinate" in warning for warning in planned.warnings)
    assert pipeline.run().exit_code == 0
    assert (bench.root / "out/nowhere/mask.tif").is_file()


def test_supports_that_cannot_be_used(bench: Workbench) -> None:
    write_mask(bench.root / "support" / "wide.tif", 128, 120, 4)
    assert "128" in str(fails(bench, SupportError, support=support(mask="support/wide.tif")))
    assert fails(bench, SupportError, support=support(value=7))
    assert fails(bench, SupportError, support=support(value=7, ignore=[0, 1]))
    assert "exist" in str(fails(bench, SupportError, support=support(image="support/none.tif")))
    assert "pair" in str(fails(bench, SupportError, support=support(image="support/*.tif")))


def test_weights_that_are_not_there_or_not_the_pinned_ones(bench: Workbench) -> None:
    fails(bench, WeightsError, model={"weights": "none.safetensors"})
    error = fails(bench, WeightsError, model={"weights": str(bench.weights), "sha256": "0" * 64})
    assert "SHA-256" in error.what
    damaged = bench.root / "damaged.safetensors"
    damaged.write_bytes(bench.weights.read_bytes()[:50])
    fails(bench, WeightsError, model={"weights": str(damaged)})


def test_too_little_memory_ends_the_run_with_its_remedy(bench: Workbench) -> None:
    """No scene is to blame: quarantining them all would hide what is to be changed."""
    from hdm_testkit.network import MeanColor

    from hdm_pipeline.model.checkpoints import save_weights

    weights = bench.root / "hungry.safetensors"
    save_weights(MeanColor(hungry=64), weights)
    error = fails(bench, ModelInputError, model={"weights": str(weights)}, tiling={"size": 64, "overlap": 16})
    assert "smaller tiles" in error.remedy
    report = json.loads((bench.root / "out/run.json").read_text())
    assert report["status"] == "failed"
    assert report["error"] == error.as_dict()
    assert report["totals"]["quarantined"] == 0
    mended = Pipeline.from_yaml(bench.pipeline(model={"weights": str(weights)}, tiling={"size": 96})).run()
    assert (len(mended.done), mended.exit_code) == (3, 0)


def test_unknown_keys_and_wrong_types_are_named_with_their_lines(bench: Workbench) -> None:
    file = bench.pipeline(tiling={"size": "big", "colour": 1})
    with pytest.raises(PipelineFileError) as caught:
        Pipeline.from_yaml(file)
    assert {problem.key for problem in caught.value.problems} == {"tiling.size", "tiling.colour"}
    assert all(problem.line for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("product", "what"), [("polygon", "no plug-in called 'polygon'"), ({"score": {"huge": 1}}, "huge")]
)
def test_a_product_that_is_wrong_is_told_once_where_it_stands(bench: Workbench, product: Any, what: str) -> None:
    file = bench.pipeline(output={"directory": "out", "products": ["mask", product]})
    with pytest.raises(PipelineFileError, match=what) as caught:
        Pipeline.from_yaml(file).validate()
    assert [problem.key for problem in caught.value.problems] == ["output.products.1"]


@pytest.mark.parametrize(
    ("arguments", "code"), [(["run", "none.yaml"], 2), (["validate"], 2), (["status", "nowhere"], 2)]
)
def test_exit_codes_of_wrong_usage(arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["hdm_pipeline", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code


def test_exit_codes_of_runs(bench: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = bench.pipeline()
    monkeypatch.setattr("sys.argv", ["hdm_pipeline", "run", str(file)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    (bench.scenes / "broken.tif").write_bytes(b"II*\0")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    (bench.root / "locked").write_text("a file, not a folder")
    monkeypatch.setattr("sys.argv", ["hdm_pipeline", "run", str(file), "--output", str(bench.root / "locked")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
