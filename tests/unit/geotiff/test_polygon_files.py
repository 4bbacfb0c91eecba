"""Files of polygons: formats, what is left after failures, options."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import shapely

from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_pipeline.contracts import SceneHeader, VolumeGeometry
from hdm_pipeline.errors import ConfigError, OutputError, WriteError
from hdm_pipeline.grid import Window
from tests.raster_product import ArraySource, pattern, product, scene
from tests.unit.geotiff.drawn_regions import (
    SHAPES,
    Mask,
    diagonals,
    made_of,
    nested,
    written,
)


@pytest.mark.parametrize("form", ["gpkg", "fgb", "parquet"])
def test_all_formats_hold_the_same(tmp_path: Path, form: str) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    made = made_of(diagonals(60), (16, 20))
    one, other = written(made, folders[0]), written(made, folders[1], format=form)
    assert sorted(shapely.to_wkt(one["shapes"])) == sorted(shapely.to_wkt(other["shapes"]))
    for name in ("pixels", "score", "area_m2", "class"):
        assert sorted(one[name]) == pytest.approx(sorted(other[name])) if name != "class" else True
    written(made, folders[2], format=form)
    name = f"polygons.{form}"
    assert (folders[1] / name).read_bytes() == (folders[2] / name).read_bytes()


def test_the_users_settings_of_gdal_stay(tmp_path: Path) -> None:
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2001-02-03T04:05:06.000Z"})
    try:
        written(made_of(nested(20)), tmp_path)
        assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") == "2001-02-03T04:05:06.000Z"
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


@pytest.mark.skipif(sys.platform != "linux", reason="looks for open files where Linux shows them")
def test_a_failure_leaves_no_file_open(tmp_path: Path, monkeypatch: Any) -> None:
    """The scores of the second half cannot be read."""
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("hdm_geotiff.polygons.vector_files.MOST_POLYGONS", 10)
    made = made_of(SHAPES["checkers"](50), (25, 50))

    class Half(ArraySource):
        def read(self, window: Window) -> Mask:
            if window.y >= 25:
                raise WriteError("gone", where="", remedy="")
            return super().read(window)

    broken = replace(made, score=Half(made.score.read(Window(z=0, y=0, x=0, height=50, width=50))))
    with pytest.raises(WriteError, match="gone") as caught:
        PolygonWriter({"format": "parquet"}).write(broken, tmp_path / "polygons.parquet")
    links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert not [link for link in links if str(tmp_path) in link], caught  # whose frames hold what was not closed
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("form", ["gpkg", "fgb", "parquet"])
def test_a_scene_without_regions_has_a_file_without_polygons(tmp_path: Path, form: str) -> None:
    found = written(made_of(np.full((30, 40), 255, np.uint8)), tmp_path, format=form)
    assert len(found["shapes"]) == 0
    assert {"class", "class_id", "area_m2", "pixels", "score", "scene", "date"} <= set(found)


def test_batches_are_appended_under_one_spatial_index(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("hdm_geotiff.polygons.vector_files.MOST_POLYGONS", 100)
    mask = SHAPES["checkers"](50)
    found = written(made_of(mask, (10, 20)), tmp_path)
    assert len(found["shapes"]) == 1250
    box = tuple(shapely.total_bounds(found["shapes"][700]))
    sql = f"SELECT COUNT(*) AS n FROM rtree_polygons_geom WHERE minx >= {box[0]} AND maxx <= {box[2]}"
    counted = pyogrio.raw.read(tmp_path / "polygons.gpkg", sql=sql)[3][0][0]
    assert counted == (shapely.bounds(found["shapes"])[:, [0, 2]] == [box[0], box[2]]).all(axis=1).sum()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"driver": "x"}, "no such option"),
        ({"format": "shp"}, "no such format"),
        ({"simplify": 5}, "5 is not a number with the unit m or px"),
        ({"simplify": "5 m2"}, "not a number with the unit m or px"),
        ({"min_area": "-5 px"}, "with the unit m2 or px"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PolygonWriter(options)


def test_geoparquet_without_pyarrow_names_the_extra(monkeypatch: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pyarrow") as caught:
        PolygonWriter({"format": "parquet"})
    assert "hdm-pipeline[parquet]" in caught.value.remedy


def test_a_volume_is_refused(tmp_path: Path) -> None:
    flat = scene(5, 5)
    volume = SceneHeader(
        flat.ref, flat.shape, flat.dtype, flat.bands, VolumeGeometry(tuple(np.eye(4).ravel().tolist()))
    )
    with pytest.raises(WriteError, match="volume"):
        PolygonWriter().write(product(volume, pattern(5, 5)), tmp_path / "polygons.gpkg")


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_pipeline.errors import OutputError
from tests.raster_product import product, scene

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
made = product(scene(300, 300), np.random.default_rng(0).integers(0, 3, (1, 300, 300)).astype(np.uint8))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    PolygonWriter({{"format": "{form}"}}).write(made, Path(sys.argv[1]) / "out.{form}")
except OutputError as error:
    print("refused:", error.what)
else:
    print("written")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("form", ["gpkg", "fgb", "parquet"])
@pytest.mark.parametrize("limit", [0, 1000, 200_000])
def test_a_full_disk_never_looks_like_success(tmp_path: Path, form: str, limit: int) -> None:
    folders = [str(Path(__file__).parents[3] / part) for part in (".", "plugins")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-c", DISK_FULL.format(form=form), str(tmp_path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "refused: the disk is full" in done.stdout, done.stdout + done.stderr
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises((OutputError, WriteError)):
        PolygonWriter().write(product(scene(5, 5)), tmp_path / "gone" / "polygons.gpkg")
