"""`open_output`: what runs left, lazily; what is not there, or not finished, is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray
from PIL import Image

from hdm_pipeline import Pipeline, open_output
from hdm_pipeline.errors import (
    ConfigError,
    HdmError,
    LedgerError,
    NoSuchSceneError,
    OutputError,
    ReadError,
    UnsupportedSceneError,
)
from hdm_pipeline.options import RunOptions
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.output.lock import RunLock
from tests.dicom_product import ORGAN
from tests.dicom_series import write_series
from tests.integration.conftest import Workbench, make_bench, write_mask


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, kit: Path) -> Path:
    """The output of a run of two classes over three good scenes and a broken one."""
    bench = make_bench(tmp_path_factory.mktemp("output"))
    (bench.scenes / "torn.tif").write_bytes((bench.scenes / "middle.tif").read_bytes()[:300])
    labels = write_mask(bench.root / "support" / "labels.tif", 128, 128, 4)
    with rasterio.open(labels, "r+") as file:
        file.write(np.where(file.read() == 1, 2, 1).astype(np.uint8))
    example = {"image": "support/chip.tif", "mask": "support/labels.tif"}
    classes = [{"name": "dry land", "examples": [example]}, {"name": "water", "examples": [example | {"value": 2}]}]
    pipeline = Pipeline.from_yaml(bench.pipeline(support={"classes": classes}))
    assert pipeline.run().exit_code == 3
    return bench.root / "out"


def test_a_scene_is_its_products_with_all_that_belongs_to_them(done: Path) -> None:
    output = open_output(done)
    assert list(output) == ["large", "middle", "small"]
    assert open_output(done.with_suffix(".yaml")).root == output.root
    scene = output["large"]
    report = json.loads((done / "run.json").read_text())
    with rasterio.open(done / "large" / "mask.tif") as mask, rasterio.open(done / "large" / "score.tif") as score:
        assert scene["mask"].dtype == np.uint8
        np.testing.assert_array_equal(scene["mask"], mask.read(1))
        expected = np.where(score.dataset_mask() > 0, score.read() / np.float32(255), np.nan)
        np.testing.assert_allclose(scene["probability"], expected, atol=1e-6)
        assert np.isnan(scene["probability"]).any()
        assert scene["mask"].rio.crs == scene.rio.crs == mask.crs
        assert scene["mask"].rio.transform() == mask.transform
        assert scene["mask"].rio.nodata == 255
        for name in ("HDM_VERSION", "HDM_WEIGHTS_HASH", "HDM_SUPPORT_HASH", "HDM_PIPELINE_HASH", "HDM_MODEL"):
            assert str(scene.attrs[name.lower()]) == mask.tags()[name]
    assert scene["probability"].dims == ("class", "y", "x")
    assert list(scene["class"].values) == scene["mask"].attrs["class_names"] == ["dry land", "water"]
    assert scene["mask"].attrs["flag_meanings"] == "background dry_land water"
    assert scene.attrs["hdm_weights_hash"] == report["weights_hash"]
    assert scene.attrs["input"] == report["scenes"]["large"]["input"]
    assert scene.attrs["pipeline"] == "test"
    water = int((scene["mask"] == 2).sum())
    assert water == report["scenes"]["large"]["pixels"]["water"]


def test_a_scene_can_be_stored_as_it_is(done: Path, tmp_path: Path) -> None:
    scene = open_output(done)["large"]
    assert scene["probability"].isnull().any()
    scene.to_zarr(tmp_path / "large.zarr")
    back = xarray.open_zarr(tmp_path / "large.zarr", mask_and_scale=False)
    np.testing.assert_array_equal(back["mask"], scene["mask"])
    np.testing.assert_array_equal(back["probability"], scene["probability"])
    assert back.attrs["hdm_version"] == scene.attrs["hdm_version"]
    tree = xarray.DataTree.from_dict(dict(open_output(done)))
    assert set(tree.children) == {"large", "middle", "small"}


def test_pixels_are_read_when_they_are_computed(done: Path) -> None:
    chunked = open_output(done, chunks=128)["large"]
    assert chunked["mask"].chunks == ((128, 128, 77), (128, 128, 128, 28))
    assert chunked["probability"].chunks is not None
    plain = open_output(done, chunks=None)["large"]
    assert plain["mask"].chunks is None
    np.testing.assert_array_equal(plain["mask"], chunked["mask"])


def test_the_table_tells_of_every_scene(done: Path) -> None:
    table = open_output(done).table
    report = json.loads((done / "run.json").read_text())["scenes"]
    assert list(table["scene"].values) == ["large", "middle", "small", "torn"]
    assert table["state"].values.tolist() == ["done", "done", "done", "quarantined"]
    assert table["input"].sel(scene="torn") == report["torn"]["input"]
    assert table["error"].sel(scene="torn") == report["torn"]["error"]["what"]
    for name in ("large", "middle", "small"):
        here = table.sel(scene=name)
        assert here["valid"] == report[name]["valid"]
        assert here["area_m2"].sel({"class": "water"}) == report[name]["area_m2"]["water"]
        assert here["pixels"].sel({"class": "dry land"}) == report[name]["pixels"]["dry land"]
        assert here["warnings"] == ", ".join(dict.fromkeys(one["kind"] for one in report[name]["warnings"]))
    assert np.isnan(table["area_m2"].sel(scene="torn")).all()


def test_a_scene_that_is_not_there_is_told(done: Path) -> None:
    output = open_output(done)
    assert "large" in output
    assert "torn" not in output
    assert "nowhere" not in output
    assert 7 not in output
    assert output.get("torn") is None
    assert len(output) == 3
    with pytest.raises(NoSuchSceneError, match="quarantined: ") as caught:
        output["torn"]
    error = json.loads((done / "run.json").read_text())["scenes"]["torn"]["error"]
    assert error["what"] in caught.value.what
    assert caught.value.remedy == error["remedy"]
    with pytest.raises(NoSuchSceneError, match="no such scene") as missing:
        output["nowhere"]
    assert "large" in missing.value.remedy


@pytest.fixture
def out(bench: Workbench) -> Path:
    """The output of a run, to be spoiled."""
    Pipeline.from_yaml(bench.pipeline()).run()
    return bench.root / "out"


def test_a_spoiled_product_costs_its_scene_only(out: Path) -> None:
    (out / "large" / "mask.tif").write_bytes(b"no TIFF")
    (out / "middle" / "score.tif").unlink()
    output = open_output(out)
    assert output.table["state"].values.tolist() == ["done"] * 3
    assert int(output["small"]["mask"].max()) == 1
    with pytest.raises(ReadError, match="cannot be opened"):
        output["large"]
    with pytest.raises(ReadError, match="is gone") as caught:
        output["middle"]
    assert str(out / "middle" / "score.tif") == caught.value.where


def test_a_scene_that_left_the_archive_is_told(bench: Workbench, out: Path) -> None:
    (bench.scenes / "small.tif").unlink()
    Pipeline.from_yaml(bench.root / "out.yaml").run()
    output = open_output(out)
    assert list(output) == ["large", "middle"]
    assert output.table["state"].sel(scene="small") == "vanished"
    with pytest.raises(NoSuchSceneError, match="no longer in the archive"):
        output["small"]


def refused(out: Path, words: str) -> None:
    """Opening is refused with these words, but for the part that is done."""
    with pytest.raises(OutputError, match=words) as caught:
        open_output(out)
    assert caught.value.where == str(out)
    assert "partial=True" in caught.value.remedy
    assert int(open_output(out, partial=True)["small"]["mask"].max()) == 1


def test_a_run_that_goes_on_is_told(out: Path) -> None:
    with RunLock(out / ".hdm" / "run.lock", "me"):
        refused(out, "a run is still writing here")
        assert open_output(out, partial=True).state == "running"
    assert open_output(out).state == "done"


def test_a_run_that_failed_is_told(bench: Workbench, out: Path) -> None:
    with rasterio.open(bench.root / "support" / "chip_mask.tif", "r+") as file:
        file.write(np.zeros((1, 128, 128), np.uint8))
    with pytest.raises(HdmError, match="no pixel of the class"):
        Pipeline.from_yaml(bench.root / "out.yaml").run()
    refused(out, "the last run failed: SupportError: the mask has no pixel of the class")


def test_a_run_that_was_killed_is_told(out: Path) -> None:
    report = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(report | {"status": "running"}))  # as a killed run leaves it
    refused(out, "was killed")


def test_a_run_that_was_stopped_is_told(bench: Workbench) -> None:
    Pipeline.from_yaml(bench.pipeline()).run(options=RunOptions(limit=2))
    with pytest.raises(OutputError, match="was stopped"):
        open_output(bench.root / "out")
    output = open_output(os.fspath(bench.root / "out"), partial=True)
    assert (output.state, len(output)) == ("stopped", 2)
    with pytest.raises(NoSuchSceneError):
        output["small"]


def test_what_is_no_output_is_told(bench: Workbench, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (bench.scenes, bench.root / "nowhere", bench.root / "other.yaml"):
        with pytest.raises(ConfigError, match="no run has written here") as caught:
            open_output(wrong)
        assert caught.value.remedy
    assert list(open_output(bench.root / "out.yaml")) == list(open_output(out))
    with pytest.raises(ConfigError, match="side of chunks is 0"):
        open_output(out, chunks=0)
    (out / "run.json").write_text("{")
    with pytest.raises(ReadError, match="report"):
        open_output(out)
    (out / ".hdm" / "ledger.sqlite").write_bytes(b"no ledger" * 1000)
    with pytest.raises(LedgerError):
        open_output(out)
    monkeypatch.setitem(sys.modules, "dask", None)  # what an import finds that is not installed
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ConfigError, match="needs xarray and dask\\[array\\], not installed") as missing:
        open_output(out)
    assert missing.value.remedy == "pip install 'hdm-pipeline[xarray]'"


def test_volumes_have_a_row_and_no_dataset(bench: Workbench) -> None:
    def disc(index: int) -> Any:
        y, x = np.mgrid[:64, :64]
        return np.where((y - 32) ** 2 + (x - 20 - 4 * index) ** 2 < 90, 1200, 950).astype(np.uint16)

    write_series(bench.root / "series", pixels=disc)
    Image.fromarray((disc(1) > 1000).astype(np.uint8)).save(bench.root / "mask.png")
    codes = {"category": ORGAN, "type": "SCT:10200004:Liver"}
    examples = [{"image": "series", "mask": "mask.png", "slices": [1]}]
    pipeline = bench.pipeline(
        input={"uri": "series", "reader": "dicom", "bands": [1], "scale": {"fixed": [-160, 240]}},
        support={"classes": [{"name": "disc", "codes": codes, "examples": examples}]},
        output={"products": ["segmentation", "nifti"]},
    )
    Pipeline.from_yaml(pipeline).run()
    output = open_output(bench.root / "out")
    (scene,) = output
    assert output.table["volume_ml"].sel({"scene": scene, "class": "disc"}) > 0
    with pytest.raises(UnsupportedSceneError, match=r"segmentation\.dcm, segmentation\.nii\.gz") as caught:
        output[scene]
    assert "nibabel" in caught.value.remedy


def test_thousands_of_scenes_open_without_opening_one(tmp_path: Path) -> None:
    (tmp_path / ".hdm").mkdir()
    with Ledger.open(tmp_path / ".hdm" / "ledger.sqlite") as ledger:
        ledger.upsert_scenes(
            SceneRecord(f"s{n:05}", "k", status="done", outputs=(f"s{n:05}/mask.tif",), info={"pixels": {"a": n}})
            for n in range(5000)
        )
    (tmp_path / "run.json").write_text('{"status": "done"}')
    output = open_output(tmp_path)
    assert len(output) == 5000
    assert float(output.table["pixels"].sum()) == 5000 * 4999 / 2
    with pytest.raises(ReadError, match="is gone"):
        output["s00007"]
