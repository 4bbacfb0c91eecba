"""Training from drawn features in real QGIS: what is written, and what comes out."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pyogrio.raw import read as read_vectors
from pyogrio.raw import write as write_vectors
from pyproj import Transformer
from shapely import from_wkb, to_wkb
from shapely.geometry import box
from shapely.ops import transform

from hdm_pipeline.pipeline import Pipeline
from tests.judges.headless_qgis import Qgis
from tests.judges.plugin_bench import in_qgis, iou, lake, prepared, write_scene


@pytest.fixture
def qgis(tmp_path: Path) -> Qgis:
    return prepared(tmp_path, sys.executable)


def draw(path: Path, features: list[tuple[str | None, tuple[int, int, int, int]]], field: str = "kind") -> Path:
    """Rectangles (left, top, right, bottom in pixels of a scene) with an attribute, in longitude and latitude."""
    boxes = [
        box(500000 + 10 * x0, 5200000 - 10 * y1, 500000 + 10 * x1, 5200000 - 10 * y0)
        for _, (x0, y0, x1, y1) in features
    ]
    to_degrees = Transformer.from_crs(32633, 4326, always_xy=True).transform
    shapes = np.array([to_wkb(transform(to_degrees, one)) for one in boxes], dtype=object)
    values = np.array([value for value, _ in features], dtype=object)
    write_vectors(path, shapes, [values], [field], geometry_type="Polygon", crs="EPSG:4326", driver="GPKG")
    return path


WATER, SHORE, LAND = (70, 80, 90, 95), (10, 10, 150, 30), (20, 150, 140, 180)
"""Parts of a scene of 192 by 160 pixels."""


def test_training_from_drawn_polygons(qgis: Qgis, tmp_path: Path) -> None:
    image = write_scene(tmp_path / "image.tif", 192, 160, 5)
    for seed in (1, 2):
        write_scene(tmp_path / "scenes" / f"s{seed}.tif", 192, 160, seed)
    drawn = draw(tmp_path / "d.gpkg", [("lake", WATER), ("background", SHORE), ("background", LAND), (None, WATER)])
    told = qgis.process(
        *("run", "hdm:train", "--", f"IMAGE={image}", f"LABELS={drawn}", "FIELD=kind"),
        *(f"SCENES={tmp_path / 'scenes'}", f"OUTPUT={tmp_path / 'new' / 'out'}"),
    )
    results = told["results"]
    assert "1 features have no class" in json.dumps(told["log"])
    assert (results["DONE"], results["QUARANTINED"]) == (2, 0)
    assert results["PIPELINE"] == str(tmp_path / "new" / "out" / "training.yaml")
    folders = [tmp_path / "new" / "out" / "results" / f"s{seed}" for seed in (1, 2)]
    files = [str(folder / name) for folder in folders for name in ("mask.tif", "polygons.gpkg")]
    assert results["LAYERS"] == files
    for folder in folders:
        assert iou(folder / "mask.tif", lake(192, 160)) > 0.9
    loaded = in_qgis(qgis, "hdm:load", RESULTS=folders[0].parent, MASKS=False)
    assert [layer["name"] for layer in loaded["layers"]] == ["s1 polygons", "s2 polygons"]
    assert {layer["renderer"] for layer in loaded["layers"]} == {"categorizedSymbol"}


def test_what_training_writes_is_a_pipeline(qgis: Qgis, tmp_path: Path) -> None:
    image = write_scene(tmp_path / "image.tif", 192, 160, 5)
    numbers = draw(tmp_path / "numbers.gpkg", [(7, WATER), (9, LAND)], "code")
    out = tmp_path / "out"
    common = {"IMAGE": image, "OUTPUT": out, "RUN": False}
    done = in_qgis(qgis, "hdm:train", LABELS=numbers, FIELD="code", BANDS=[3, 1], **common)
    assert done["error"] == ""
    first = (out / "training.yaml").read_text()
    config = Pipeline.from_yaml(out / "training.yaml").config
    assert [one.name for one in config.support.classes] == ["7", "9"]
    assert config.input.uri == [str(image)]
    assert config.input.bands == [3, 1]
    ranges = config.input.scale.ranges(2)
    assert all(0 <= low < 300 and 1900 < high < 3300 for low, high in ranges)
    assert Pipeline.from_yaml(out / "training.yaml").validate(data=True) == []

    one = {**common, "LABELS": numbers, "CLASS": "pond", "PRODUCTS": "mask", "RANGE": [0, 4000]}
    done = in_qgis(qgis, "hdm:train", **one)
    assert "nothing says what is not the class" in done["error"]
    assert (out / "training.yaml").read_text() == first  # nothing is replaced by what cannot be learned
    done = in_qgis(qgis, "hdm:train", COMPLETE=True, **one)
    assert done["error"] == ""
    config = Pipeline.from_yaml(out / "training.yaml").config
    assert [one.name for one in config.support.classes] == ["pond"]
    assert config.input.scale.ranges(3) == [(0, 4000)] * 3
    assert config.output.products == ["mask"]
    assert (out / "training.1.yaml").read_text() == first
    assert "kept as training.1.yaml" in done["warned"][0]
    again = in_qgis(qgis, "hdm:train", COMPLETE=True, **one)
    assert again["warned"] == []
    assert Pipeline.from_yaml(out / "training.yaml").validate(data=True) == []


def test_a_raster_that_is_no_file_is_told(qgis: Qgis, tmp_path: Path) -> None:
    drawn = draw(tmp_path / "d.gpkg", [("lake", WATER)])
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.write(write_scene(tmp_path / "image.tif", 192, 160, 5), "image.tif")
    image = f"/vsizip/{tmp_path / 'packed.zip'}/image.tif"
    chosen = {"LABELS": drawn, "FIELD": "kind", "OUTPUT": tmp_path / "out", "RUN": False}
    done = in_qgis(qgis, "hdm:train", layers={"IMAGE": image}, **chosen)
    assert "Export it as GeoTIFF" in done["error"]
    assert not (tmp_path / "out").exists()


def test_features_of_any_kind_can_be_drawn(qgis: Qgis, tmp_path: Path) -> None:
    image = write_scene(tmp_path / "image.tif", 192, 160, 5)
    ring = "500700 5199200, 500900 5199200, 500900 5199050, 500700 5199050, 500700 5199200"
    circle = "500750 5199150, 500800 5199200, 500850 5199150, 500800 5199100, 500750 5199150"
    shapes = {
        "POLYGON Z ((500700 5199200 7, 500900 5199200 7, 500900 5199050 7, 500700 5199200 7))": "lake",
        f"MULTIPOLYGON ((({ring})))": "lake",
        f"CURVEPOLYGON (CIRCULARSTRING ({circle}))": "lake",
        "LINESTRING (500100 5199850, 501400 5199850)": "background",
        "POINT M (500300 5198300 4)": "background",
    }
    table = tmp_path / "drawn.csv"
    table.write_text("wkt,kind\n" + "".join(f'"{wkt}",{kind}\n' for wkt, kind in shapes.items()))
    drawn = tmp_path / "drawn.gpkg"
    options = ("-a_srs", "EPSG:32633", "-oo", "GEOM_POSSIBLE_NAMES=wkt", "-nlt", "GEOMETRY")
    qgis.call("ogr2ogr", "-f", "GPKG", str(drawn), str(table), *options)
    done = in_qgis(qgis, "hdm:train", IMAGE=image, LABELS=drawn, FIELD="kind", OUTPUT=tmp_path / "out", RUN=False)
    assert (done["error"], done["warned"]) == ("", [])
    assert Pipeline.from_yaml(tmp_path / "out" / "training.yaml").validate(data=True) == []
    meta, _, written, _ = read_vectors(tmp_path / "out" / "labels.gpkg")
    found = from_wkb(written)
    assert (meta["crs"], meta["geometry_type"]) == ("EPSG:32633", "Unknown")
    assert sorted(shape.geom_type for shape in found) == ["LineString", "MultiPolygon", "Point", "Polygon", "Polygon"]
    assert not any(shape.has_z for shape in found)
    round_one = max(
        (shape for shape in found if shape.geom_type == "Polygon"), key=lambda shape: len(shape.exterior.coords)
    )
    assert round_one.area == pytest.approx(np.pi * 50**2, rel=0.01)


def test_polygons_are_loaded_where_the_pipeline_published_them(qgis: Qgis, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    draw(tmp_path / "a" / "polygons.gpkg", [("lake", WATER)])
    scene = {"status": "done", "outputs": ["a/polygons.gpkg"]}
    (tmp_path / "run.json").write_text(json.dumps({"scenes": {"a": scene}}))
    loaded = in_qgis(qgis, "hdm:load", RESULTS=tmp_path)
    assert [(layer["name"], layer["valid"]) for layer in loaded["layers"]] == [("a polygons", True)]
    assert in_qgis(qgis, "hdm:load", RESULTS=tmp_path, POLYGONS=False)["results"]["COUNT"] == 0
