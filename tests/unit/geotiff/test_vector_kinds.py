"""Kinds of geometries: none is lost without a word."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import Selection, SupportRequest, VectorLabels
from hdm_pipeline.errors import SupportError
from tests.unit.geotiff.conftest import WriteTif

LEFT, TOP = 500_000.0, 5_800_000.0
SQUARE = shapely.box(LEFT + 10, TOP - 30, LEFT + 30, TOP - 10)
CORNERS = [(LEFT + 40, TOP - 40), (LEFT + 60, TOP - 60), (LEFT + 40, TOP - 60), (LEFT + 40, TOP - 40)]


def triangle() -> bytes:
    """One triangle as WKB, which shapely cannot make."""
    return struct.pack("<BII", 1, 17, 1) + struct.pack("<I", 4) + b"".join(struct.pack("<2d", *xy) for xy in CORNERS)


def surface(kind: int, part: bytes) -> bytes:
    """A TIN (16) or a polyhedral surface (15) of one part as WKB."""
    return struct.pack("<BII", 1, kind, 1) + part


KINDS = {
    "triangle": triangle(),
    "TIN": surface(16, triangle()),
    "polyhedral surface": surface(15, shapely.to_wkb(shapely.Polygon(CORNERS))),
}


def write(path: Path, *geometries: bytes) -> str:
    names = np.array([f"f{number}" for number in range(len(geometries))], dtype=object)
    stored = np.array([*geometries, None], dtype=object)[:-1]
    pyogrio.raw.write(path, stored, [names], ["name"], geometry_type="Unknown", crs="EPSG:32633", driver="GPKG")
    return str(path)


def label(image: Path, labels: str, where: str | None = None) -> np.ndarray:
    vector = VectorLabels(target=Selection(None, where), complete=True)
    (example,) = GeoTiffReader().read_support(SupportRequest(str(image), labels, vector=vector))
    return example.label


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_read_is_told_beside_what_is(write_tif: WriteTif, tmp_path: Path, kind: str) -> None:
    image = write_tif("a.tif", np.ones((8, 8), np.uint8))
    labels = write(tmp_path / "l.gpkg", shapely.to_wkb(SQUARE), KINDS[kind])
    with pytest.raises(SupportError, match="1 of the 2 features of 'l' are of a kind that is not read") as caught:
        label(image, labels)
    assert "ogr2ogr" in caught.value.remedy
    assert label(image, labels, "name = 'f0'").sum() == 4


@pytest.mark.parametrize(
    "geometry",
    [
        shapely.force_3d(SQUARE, 5.0),
        shapely.MultiPolygon([SQUARE]),
        shapely.GeometryCollection([SQUARE, shapely.LineString()]),
        shapely.GeometryCollection([shapely.GeometryCollection([SQUARE])]),
    ],
)
def test_polygons_in_other_clothes_are_polygons(
    write_tif: WriteTif, tmp_path: Path, geometry: shapely.Geometry
) -> None:
    image = write_tif("a.tif", np.ones((8, 8), np.uint8))
    assert label(image, write(tmp_path / "l.gpkg", shapely.to_wkb(geometry, flavor="iso"))).sum() == 4
