"""GDAL 3.6 of another installation opens polygons and mosaics, and finds the same polygons in the mask by itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely

from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_geotiff.products.writer import MaskWriter
from hdm_pipeline.contracts import CatalogEntry, RunCatalog
from tests.judges.conftest import RequireJudge
from tests.raster_product import pattern, product, scene

PLAIN = {"PATH": "/usr/bin:/bin"}


def told(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=PLAIN)
    assert "partially supported" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("form", ["gpkg", "fgb"])
def test_an_older_gdal_opens_polygons(tmp_path: Path, form: str, require_judge: RequireJudge) -> None:
    ogrinfo = require_judge("ogrinfo", install="apt install gdal-bin")
    path = tmp_path / f"polygons.{form}"
    PolygonWriter({"format": form}).write(product(scene(300, 400)), path)
    said = told(ogrinfo, "-so", "-al", str(path))
    assert "Geometry: Polygon" in said
    assert 'ID["EPSG",32633]' in said
    for field in ("class: String", "class_id: Integer", "area_m2: Real", "pixels: Integer64", "score: Real"):
        assert field in said
    count = len(pyogrio.raw.read(path)[2])
    assert f"Feature Count: {count}" in said
    ogr2ogr = require_judge("ogr2ogr", install="apt install gdal-bin")
    told(ogr2ogr, str(tmp_path / "old.shp"), str(path))
    fields = set(pyogrio.raw.read(tmp_path / "old.shp")[0]["fields"])
    assert {"class", "class_id", "area_m2", "pixels", "score", "scene", "date"} == fields


def test_gdal_finds_the_same_polygons(tmp_path: Path, require_judge: RequireJudge) -> None:
    require_judge("gdal_polygonize.py", install="apt install python3-gdal")
    noise = np.random.default_rng(3).choice(np.array([0, 1, 2, 255], np.uint8), (1, 90, 110), p=[0.4, 0.4, 0.15, 0.05])
    noise = np.repeat(np.repeat(noise, 2, axis=1), 3, axis=2)
    made = product(scene(*noise.shape[1:]), noise)
    MaskWriter().write(made, tmp_path / "mask.tif")
    PolygonWriter().write(made, tmp_path / "polygons.gpkg")
    told(
        "/usr/bin/gdal_polygonize.py", str(tmp_path / "mask.tif"), "-f", "GPKG", str(tmp_path / "gdal.gpkg"), "m", "DN"
    )
    shapes, classes = (pyogrio.raw.read(tmp_path / "polygons.gpkg", columns=["class_id"])[i] for i in (2, 3))
    expected, values = (pyogrio.raw.read(tmp_path / "gdal.gpkg")[i] for i in (2, 3))
    for value in (1, 2):
        one = shapely.from_wkb(shapes[classes[0] == value])
        other = shapely.from_wkb(expected[values[0] == value])
        assert len(one) == len(other)
        assert {shapely.to_wkb(shapely.normalize(shape)) for shape in one} == {
            shapely.to_wkb(shapely.normalize(shape)) for shape in other
        }


def test_an_older_gdal_opens_a_mosaic(tmp_path: Path, require_judge: RequireJudge) -> None:
    gdalinfo = require_judge("gdalinfo", install="apt install gdal-bin")
    mask = pattern(300, 400)
    entries = []
    for number in range(2):
        header = scene(300, 400, transform=(10.0, 0.0, 500_000.0 + 4000 * number, 0.0, -10.0, 5_800_000.0))
        path = tmp_path / str(number) / "mask.tif"
        path.parent.mkdir()
        MaskWriter().write(product(header, mask), path)
        entries.append(CatalogEntry(str(number), (path,), f"{number}-x"))
    memory = tmp_path / "memory"
    memory.mkdir()
    MaskWriter().mosaic(RunCatalog("test", tmp_path, memory, tuple(entries)), whole=True)
    counts = np.bincount(mask.ravel(), minlength=256)
    for name, values in (("mosaic.vrt", (0, 1, 2)), ("mosaic_1_flood.tif", (0, 1))):
        found = json.loads(told(gdalinfo, "-json", "-hist", str(tmp_path / name)))
        (band,) = found["bands"]
        assert found["size"] == [800, 300]
        assert band["noDataValue"] == 255
        assert band["colorTable"]["entries"][1] == [30, 100, 220, 255]
        told_counts = band["histogram"]["buckets"]
        expected = counts if name == "mosaic.vrt" else np.array([counts[0] + counts[2], counts[1]])
        assert told_counts[: len(values)] == (2 * expected[: len(values)]).tolist()
    assert "flood" in told(gdalinfo, str(tmp_path / "mosaic.vrt"))
