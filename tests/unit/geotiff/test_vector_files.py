"""Files of drawn labels: formats, coordinates, filters, what changes their identity, and CRS that are addresses."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import shapely
from pyproj import CRS

from hdm_geotiff.examples import vector_file
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import ImageWindow, Selection, SupportRequest, VectorLabels
from hdm_pipeline.errors import SupportError
from tests.unit.geotiff.conftest import CHIP_SIZE, WriteTif
from tests.unit.geotiff.drawn_labels import (
    ALL_FORMATS,
    DRY,
    FLOOD,
    UNSURE,
    at,
    expected,
    label_of,
    read,
    refused,
    selected,
)
from tests.vector_files import write_vector


@pytest.mark.parametrize("name", ALL_FORMATS)
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:32634"])
def test_every_format_in_any_crs_gives_the_same_labels(chip: Path, tmp_path: Path, name: str, crs: str) -> None:
    drawn = [(at(5, 6, 20, 18), FLOOD), (at(25, 6, 35, 30), DRY), (at(1, 1, 3, 3), UNSURE)]
    file = write_vector(tmp_path / name, drawn, crs=crs)
    (example,) = read(chip, file, target=selected(FLOOD), background=selected(DRY))
    assert np.array_equal(example.label, expected((5, 6, 20, 18, 1), (25, 6, 35, 30, 0)))
    assert [band.name for band in example.bands] == ["VV", "VH"]
    assert example.pixels.shape == (2, CHIP_SIZE, CHIP_SIZE)
    assert example.pixel_size == pytest.approx(10.0)
    assert example.name == "chip.tif"
    assert example.statistics is None
    assert example.warnings == ()


def test_a_file_without_a_crs_is_refused_until_the_pipeline_names_one(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.shp", [(at(5, 6, 20, 18), FLOOD)], crs=None)
    error = refused(chip, file, "says no coordinate reference system", complete=True)
    assert "crs: EPSG:" in error.remedy
    assert ".prj" in error.what
    assert np.array_equal(label_of(chip, file, complete=True, crs="EPSG:32633"), expected((5, 6, 20, 18, 1), rest=0))


def test_metres_in_a_geojson_that_names_no_crs(chip: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.geojson"
    geometry = shapely.geometry.mapping(at(5, 6, 20, 18))
    collection = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": geometry}],
    }
    file.write_text(json.dumps(collection))
    refused(chip, file, "no degrees", complete=True)
    assert label_of(chip, file, complete=True, crs="EPSG:32633").sum() == 15 * 12


def test_a_crs_that_contradicts_the_file_is_taken_and_told(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)], crs="EPSG:32633")
    wrong = tmp_path / "wrong.gpkg"
    write_vector(wrong, [(at(5, 6, 20, 18), FLOOD)], crs="EPSG:32634", source="EPSG:32634")
    (example,) = read(chip, wrong, complete=True, crs="EPSG:32633")
    assert np.array_equal(example.label, label_of(chip, file, complete=True))
    assert [warning.kind for warning in example.warnings] == ["labels_crs"]


def test_names_with_strange_characters(write_tif: WriteTif, tmp_path: Path) -> None:
    image = write_tif("ünd #1 [a].tif", np.ones((CHIP_SIZE, CHIP_SIZE), np.uint8))
    for suffix in (".gpkg", ".geojson", ".shp"):
        file = write_vector(tmp_path / f"l'äke #1?&[x],{suffix}", [(at(5, 6, 20, 18), FLOOD)])
        assert (label_of(image, file, complete=True) == 1).sum() == 15 * 12


def test_the_file_is_checked_without_the_image(tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)])

    def check(**vector: Any) -> None:
        GeoTiffReader().check_vector(SupportRequest("nowhere.tif", str(file), vector=VectorLabels(**vector)))

    check(target=selected(FLOOD))
    for wrong in (
        {"target": selected("x")},
        {"target": Selection("lakes")},
        {"background": selected("x")},
        {"extent": Selection(where="area = 1")},
        {"crs": "EPSG:1"},
    ):
        with pytest.raises(SupportError):
            check(**wrong)


def test_the_identity_changes_with_what_is_read_and_with_nothing_else(chip: Path, tmp_path: Path) -> None:
    def identity(file: Path, **vector: Any) -> str:
        return GeoTiffReader().vector_identity(
            SupportRequest(str(chip), str(file), vector=VectorLabels(target=selected(FLOOD), **vector))
        )

    near, far = (at(5, 6, 20, 18), FLOOD), (at(500, 600, 520, 618), FLOOD)
    file = write_vector(tmp_path / "a.shp", [near])
    before = identity(file)
    assert before == identity(write_vector(tmp_path / "b.gpkg", [near, far, (at(1, 1, 3, 3), DRY)], crs="EPSG:4326"))
    assert before != identity(write_vector(tmp_path / "c.gpkg", [(at(5, 6, 20, 19), FLOOD)]))
    assert before != identity(file, complete=True)
    assert before != identity(file, window=ImageWindow(pixels=(0, 0, 30, 30)))
    shutil.copy(tmp_path / "a.shp", tmp_path / "d.shp")
    for suffix in (".shx", ".dbf"):
        shutil.copy(tmp_path / f"a{suffix}", tmp_path / f"d{suffix}")
    prj = (tmp_path / "a.prj").read_text().replace("15.0", "15.0001")
    (tmp_path / "d.prj").write_text(prj)
    assert before != identity(tmp_path / "d.shp")


def test_edits_that_a_gis_has_not_yet_written_into_the_geopackage_count(chip: Path, tmp_path: Path) -> None:
    """QGIS leaves them in a write-ahead log beside the file as long as the project is open."""
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD), (at(25, 6, 35, 30), FLOOD)])
    request = SupportRequest(str(chip), str(file), vector=VectorLabels(complete=True))
    before = GeoTiffReader().vector_identity(request)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        stored = file.read_bytes()
        with connection:
            connection.execute("DELETE FROM a WHERE number = 1")
        assert file.with_name("a.gpkg-wal").stat().st_size > 0
        assert file.read_bytes() == stored
        assert GeoTiffReader().vector_identity(request) != before
        assert np.array_equal(label_of(chip, file, complete=True), expected((5, 6, 20, 18, 1), rest=0))


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that describes a CRS, and what it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            text = CRS.from_epsg(4326).to_wkt("WKT1_GDAL").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/crs", asked
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "spelled",
    [
        '"crs": {"type": "link", "properties": {"href": "URL"}}, ',
        '"CRS": {"properties": {"url": "URL"}, "type": "Url"}, ',
        '"\\u0063rs": {"type": "\\u006cink", "properties": {"href": "URL"}}, ',
        '"crs": {"type": "name", "properties": {"name": "EPSG:4326"}}, '
        '"crs": {"type": "link", "properties": {"href": "URL"}}, ',
        "'crs': {'type': 'link', 'properties': {'href': 'URL'}}, ",
    ],
    ids=["plain", "case", "escaped", "twice", "quotes"],
)
def test_the_address_of_a_crs_is_not_fetched(
    chip: Path, tmp_path: Path, server: tuple[str, list[str]], spelled: str
) -> None:
    address, asked = server
    file = write_vector(tmp_path / "a.geojson", [(at(5, 6, 20, 18), FLOOD)], crs="EPSG:4326")
    text = file.read_text()
    file.write_text(text.replace('"features"', spelled.replace("URL", address) + '"features"', 1))
    refused(chip, file, "is a link")
    assert asked == []
    # Links that are attributes are nobody's concern.
    file.write_text(text.replace('"class": "flood"', f'"class": "flood", "type": "link", "url": "{address}"'))
    assert read(chip, file, complete=True)
    assert asked == []


def test_the_address_of_a_crs_is_not_fetched_of_geoparquet_either(
    chip: Path, tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    address, asked = server
    file = write_vector(tmp_path / "a.parquet", [(at(5, 6, 20, 18), FLOOD)])
    table = parquet.read_table(file)
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"][geo["primary_column"]]["crs"] = address
    parquet.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo).encode()}), file)
    refused(chip, file, "GeoParquet file cannot be read")
    assert asked == []


_LINK = '"crs": {"type": "link", "properties": {"href": "http://127.0.0.1:9/crs"}}'


@pytest.mark.parametrize(
    "crs",
    [
        _LINK,
        _LINK.upper().replace("HTTP", "http"),
        _LINK.replace("crs", "c\\u0072s", 1),
        _LINK.replace('"', "'"),
        _LINK.replace('"link"', '"l\\u0069nk"'),
        _LINK.replace(":", ": /* */", 1),
        _LINK.replace(":", "/* */ :", 1),
        _LINK.replace("link", "url").replace("href", "url"),
        '"crs": {"type": "link", "type": "name", "properties": {"href": "http://127.0.0.1:9/crs"}}',
    ],
)
@pytest.mark.parametrize("where", ["before", "behind", "feature", "geometry"])
def test_a_crs_that_is_a_link_is_not_followed(
    chip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crs: str, where: str
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(vector_file.pyogrio, "list_layers", lambda *args: opened.append(args))
    shown = dict.fromkeys(("before", "behind", "feature", "geometry"), "") | {where: f", {crs}"}
    geometry = f'{{"type": "Polygon"{shown["geometry"]}, "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}}'
    feature = f'{{"type": "Feature"{shown["feature"]}, "properties": {{}}, "geometry": {geometry}}}'
    text = f'{{"type": "FeatureCollection"{shown["before"]}, "features": [{feature}]{shown["behind"]}}}'
    file = tmp_path / "a.geojson"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SupportError, match="is a link") as refused:
        read(chip, file)
    assert "EPSG:32633" in str(refused.value.remedy)
    assert not opened


def test_an_attribute_called_crs_is_no_link(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.geojson", [(at(5, 6, 20, 18), FLOOD)], crs="EPSG:32633")
    content = json.loads(file.read_text(encoding="utf-8"))
    content["features"][0]["properties"] |= {"crs": "link", "note": "http://127.0.0.1:9/crs"}
    file.write_text(json.dumps(content), encoding="utf-8")
    assert (label_of(chip, file, target=selected(FLOOD)) == 1).any()
