"""rio-cogeo and GDAL's own validator judge the GeoTIFF products; an older GDAL reads them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hdm_geotiff.products.writer import MaskWriter, ScoreWriter
from hdm_pipeline.contracts import Writer
from tests.judges.conftest import RequireJudge, missing
from tests.raster_product import pattern, product, scene

GRIDS = {
    "utm": {},
    "south-up": {"transform": (0.05, 0, -180, 0, 0.05, -90), "crs": "EPSG:4326"},
    "rotated": {"transform": (17.3, 5, 100, 10, -8.66, 200), "crs": "EPSG:32631"},
    "nowhere": {"transform": (1, 0, 0, 0, 1, 0), "crs": None},
}
SIZES = [(10, 15), (512, 512), (1400, 2100)]
SYSTEM_PYTHON = "/usr/bin/python3"
VALIDATOR = "osgeo_utils.samples.validate_cloud_optimized_geotiff"


@pytest.fixture(params=[MaskWriter, ScoreWriter], ids=["mask", "score"])
def kind(request: pytest.FixtureRequest) -> type[Writer]:
    chosen: type[Writer] = request.param
    return chosen


@pytest.fixture(params=[(size, grid) for size in SIZES for grid in GRIDS], ids=str)
def written(request: pytest.FixtureRequest, tmp_path: Path, kind: type[Writer]) -> Path:
    (height, width), grid = request.param
    path = tmp_path / "product.tif"
    kind().write(product(scene(height, width, **GRIDS[grid])), path)
    return path


def test_rio_cogeo_strict_has_nothing_to_say(written: Path) -> None:
    if importlib.util.find_spec("rio_cogeo") is None:
        missing("rio_cogeo (install: pip install rio-cogeo)")
    from rio_cogeo import cog_validate

    assert cog_validate(written, strict=True) == (True, [], [])


def test_gdal_validator_has_nothing_to_say(written: Path, require_judge: RequireJudge) -> None:
    require_judge("gdalinfo", install="apt install gdal-bin python3-gdal")
    command = [SYSTEM_PYTHON, "-m", VALIDATOR, str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    if "No module named" in done.stderr:
        missing("python3-gdal (install: apt install python3-gdal)")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "is a valid cloud optimized GeoTIFF" in said
    assert "warning" not in said.lower()


def test_an_older_gdal_reads_the_same(tmp_path: Path, require_judge: RequireJudge) -> None:
    gdalinfo = require_judge("gdalinfo", install="apt install gdal-bin")
    path = tmp_path / "mask.tif"
    MaskWriter().write(product(scene(700, 900)), path)
    command = [gdalinfo, "-json", "-hist", "-nomd", str(path)]
    told = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin"}).stdout
    )
    (band,) = told["bands"]
    assert told["size"] == [900, 700]
    assert band["noDataValue"] == 255
    assert band["colorTable"]["entries"][1] == [30, 100, 220, 255]
    assert band["colorTable"]["entries"][255][3] == 0
    counts = np.bincount(pattern(700, 900).ravel(), minlength=256)
    assert band["histogram"]["buckets"][:3] == counts[:3].tolist()


def test_an_older_gdal_honours_the_mask_of_scores(tmp_path: Path, require_judge: RequireJudge) -> None:
    gdal_translate = require_judge("gdal_translate", install="apt install gdal-bin")
    path, mask = tmp_path / "score.tif", tmp_path / "mask.tif"
    ScoreWriter().write(product(scene(700, 900)), path)
    command = [gdal_translate, "-q", "-b", "mask", str(path), str(mask)]
    subprocess.run(command, check=True, env={"PATH": "/usr/bin"})
    with rasterio.open(mask) as told:
        assert np.array_equal(told.read(1) != 0, pattern(700, 900)[0] != 255)
