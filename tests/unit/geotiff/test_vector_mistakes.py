"""Mistakes in drawn labels are told with what to do."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import LineString

from hdm_geotiff.examples import vector_file
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import Selection, SupportRequest, VectorLabels
from tests.unit.geotiff.conftest import CHIP_SIZE, WriteTif
from tests.unit.geotiff.drawn_labels import (
    ALL_FORMATS,
    AREA,
    DRY,
    FLOOD,
    at,
    label_of,
    place,
    read,
    refused,
    selected,
)
from tests.vector_files import write_vector


@pytest.mark.parametrize("name", ALL_FORMATS)
def test_a_filter_that_selects_nothing_or_names_no_attribute(chip: Path, tmp_path: Path, name: str) -> None:
    file = write_vector(tmp_path / name, [(at(5, 6, 20, 18), FLOOD)])
    error = refused(chip, file, "no feature is selected as the class", target=selected("lake"))
    assert "class (flood)" in error.remedy
    for where in ("klass = 'flood'", "\"klass\" = 'flood'", "class = "):
        error = refused(chip, file, "no attribute 'klass'|filter cannot be used", target=Selection(where=where))
        assert "class (flood)" in error.remedy


@pytest.mark.parametrize("name", ["a.gpkg", "a.fgb", "a.geojson"])
def test_a_filter_that_fails_is_told_without_sql(chip: Path, tmp_path: Path, name: str) -> None:
    file = write_vector(tmp_path / name, [(at(5, 6, 20, 18), FLOOD)])
    for where in ("klass = 'flood'", "upper(klass) = 'FLOOD'"):
        error = refused(chip, file, "there is no attribute 'klass'", target=Selection(where=where))
        assert "class (flood)" in error.remedy
    error = refused(chip, file, "the filter cannot be used: class == ", target=Selection(where="class == "))
    assert "SQL" not in error.what
    assert "b'" not in error.what
    assert "a single =, not by ==" in error.remedy


def test_labels_elsewhere_say_where_both_lie(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(500, 600, 520, 618), FLOOD), (at(5, 5, 9, 9), DRY)])
    error = refused(chip, file, "none of the 1 features of the class lies in the image", target=selected(FLOOD))
    assert "505100, 5793910" in error.what
    assert "500200, 5799800" in error.what
    assert read(chip, file, target=selected(FLOOD), optional=True) == []
    request = SupportRequest(str(chip), str(file), vector=VectorLabels(selected(FLOOD), optional=True))
    assert GeoTiffReader().vector_identity(request) == ""


def test_features_of_a_large_file_are_looked_for_near_the_image(
    chip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept in memory and what is read near an image are the same."""
    drawn = [(at(x, y, x + 5, y + 4), FLOOD) for x in range(-100, 100, 9) for y in range(-100, 100, 9)]
    labels = []
    for most in (100_000, 10):
        monkeypatch.setattr(vector_file, "_MOST_KEPT", most)
        for name in ("a.gpkg", "a.fgb", "a.shp", "a.geojson"):
            file = write_vector(tmp_path / name, drawn, crs="EPSG:4326")
            labels.append(label_of(chip, file, target=selected(FLOOD), complete=True))
    assert 0.2 < labels[0].mean() < 0.5
    assert all(np.array_equal(label, labels[0]) for label in labels)


def test_an_image_without_coordinates(write_tif: WriteTif, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)])
    refused(
        write_tif("chip.tif", np.ones((CHIP_SIZE, CHIP_SIZE), np.uint8), crs=None, transform=None),
        file,
        "without coordinates",
    )


def test_files_that_are_not_there_damaged_or_something_else(chip: Path, tmp_path: Path) -> None:
    good = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)])
    refused(chip, tmp_path / "gone.gpkg", "No such file")
    (tmp_path / "a.kml").write_text("<kml/>")
    assert "ogr2ogr" in refused(chip, tmp_path / "a.kml", "not from .kml").remedy
    virtual = tmp_path / "virtual.json"
    virtual.write_text(f"<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{good}</SrcDataSource></OGRVRTLayer>")
    refused(chip, virtual, "is not GeoJSON")
    commands = tmp_path / "commands.json"
    commands.write_text(
        json.dumps({"type": "gdal_streamed_alg", "command_line": f"gdal vector pipeline ! read {good}"})
    )
    refused(chip, commands, "is not GeoJSON")
    database = tmp_path / "database.gpkg"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE a (geometry BLOB)")
    refused(chip, database, "is not GeoPackage|no layer|cannot be read")
    short = tmp_path / "short.gpkg"
    short.write_bytes(good.read_bytes()[:300])
    refused(chip, short, "cannot be read")
    (tmp_path / "text.geojson").write_text('{"type": "FeatureCollection", "features": [')
    refused(chip, tmp_path / "text.geojson", "cannot be read|no layer")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    refused(chip, tmp_path / "bad.parquet", "GeoParquet file cannot be read")
    refused(chip, "s3://bucket/a.gpkg", "local files only")
    empty = write_vector(tmp_path / "empty.gpkg", [])
    refused(chip, empty, "has no features")


def test_a_parquet_file_that_is_no_geoparquet(chip: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"class": ["flood"]}), tmp_path / "a.parquet")
    refused(chip, tmp_path / "a.parquet", "no geometries")


def test_geoparquet_names_the_extra_that_it_needs(chip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_vector(tmp_path / "a.parquet", [(at(5, 6, 20, 18), FLOOD)])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "hdm-pipeline[parquet]" in refused(chip, file, "pyarrow, which is not installed").remedy


def test_a_shapefile_without_its_companions(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.shp", [(at(5, 6, 20, 18), FLOOD)])
    file.with_suffix(".dbf").unlink()
    refused(chip, file, "no attribute|filter cannot be used|no feature", target=selected(FLOOD))
    file.with_suffix(".shx").unlink()
    refused(chip, file, "cannot be read", complete=True)


def test_an_extent_must_be_a_polygon(chip: Path, tmp_path: Path) -> None:
    line = LineString([place(3.5, 4.5), place(20.5, 4.5)])
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD), (line, AREA)])
    refused(chip, file, "no polygon", target=selected(FLOOD), extent=selected(AREA))
