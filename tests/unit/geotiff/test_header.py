"""What a header tells: bands, place, warnings."""

from __future__ import annotations

import json
import math
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyproj
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.scenes.pixel_areas import TOLERANCE, row_areas
from hdm_pipeline.contracts import RasterGeometry, SceneHeader, SceneRef, SceneWarning
from hdm_pipeline.errors import UnsupportedSceneError
from tests.unit.geotiff.conftest import WriteTif, find

PIXELS = np.ones((2, 6, 8), dtype=np.int16)
WGS84 = CRS.from_epsg(4326)
EARTH_M2 = 510_065_621_724_088.5  # surface of the WGS 84 ellipsoid

PAM = '<PAMDataset><PAMRasterBand band="1"><NoDataValue>0</NoDataValue></PAMRasterBand></PAMDataset>'


def header_of(path: object) -> SceneHeader:
    return GeoTiffReader().header(find(str(path)))


def test_a_header_holds_the_facts(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", PIXELS, descriptions=("VV", "VH"))
    header = header_of(path)
    assert header.shape == (2, 1, 6, 8)
    assert header.dtype == "int16"
    assert [band.name for band in header.bands] == ["VV", "VH"]
    assert isinstance(header.geometry, RasterGeometry)
    assert header.geometry.transform == (10, 0, 500_000, 0, -10, 5_800_000)
    assert CRS.from_wkt(header.geometry.crs_wkt) == CRS.from_epsg(32633)
    assert header.warnings == ()
    assert header.ref.uri == str(path)


def test_bands_say_what_they_hold_and_which_value_means_no_data(write_tif: WriteTif) -> None:
    roles = (ColorInterp.gray, ColorInterp.alpha)
    gray, alpha = header_of(write_tif("a.tif", PIXELS.astype(np.uint8), colorinterp=roles)).bands
    assert (gray.role, alpha.role, gray.nodata) == ("", "alpha", None)
    labels = header_of(write_tif("b.tif", PIXELS[0].astype(np.uint8), photometric="palette", nodata=7))
    assert (labels.bands[0].role, labels.bands[0].nodata) == ("palette", 7)
    header = header_of(write_tif("c.tif", PIXELS[0].astype(np.float32), nodata=math.nan))
    assert header.bands[0].nodata is None
    assert pickle.loads(pickle.dumps(header)) == header


def test_no_crs_works_and_says_so(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", PIXELS, crs=None)
    header = header_of(path)
    assert isinstance(header.geometry, RasterGeometry)
    assert header.geometry.crs_wkt is None
    assert header.geometry.transform[0] == 10
    (warning,) = header.warnings
    assert isinstance(warning, SceneWarning)
    assert warning.kind == "no_crs"
    assert "no coordinate reference system" in warning.what
    assert "strict" not in warning.remedy  # the run is not: whoever makes it so says what that means
    with GeoTiffReader().open(find(path)) as source:
        assert source.row_areas() is None


@pytest.mark.parametrize(
    ("options", "told", "suspect"),
    [
        ({"offset": {"redd": -1000}}, ["redd"], True),
        ({"nodata": {"zzz*": 0}}, ["zzz*"], False),
        ({"offset": {"b*": -1000, "B10": 0, "red": 1}}, ["B10"], False),  # the glob is meant for other scenes
        ({"offset": {"b*": 1, "a": 0}}, [], False),
        ({"scale_factor": {"red": 2, "nir": 3}, "offset": {"other": 1, "a": 2}, "nodata": 0}, [], False),
    ],
)
def test_a_key_that_fits_nothing_is_told_with_the_bands(
    write_tif: WriteTif, options: dict[str, object], told: list[str], suspect: bool
) -> None:
    path = write_tif("a.tif", PIXELS, descriptions=("red", "nir"))
    write_tif("other.tif", PIXELS)
    warnings = GeoTiffReader(options).header(find(path)).warnings
    assert [one.what.split("'")[1] for one in warnings if isinstance(one, SceneWarning)] == told
    for one in warnings:
        assert isinstance(one, SceneWarning)
        assert (one.kind, one.suspect) == ("unused_key", suspect)
        assert "red, nir" in one.what
        assert one.what.startswith(next(iter(options)))


def test_a_key_that_fits_another_scene_is_not_noted(write_tif: WriteTif) -> None:
    write_tif("new_1.tif", PIXELS)
    path = write_tif("old.tif", PIXELS)
    for key, kinds in (("new*", []), ("new_1", []), ("new_1.tif", []), ("zzz*", ["unused_key"])):
        options = {"offset": {key: -1000}}
        warnings = GeoTiffReader(options).header(find(path, **options)).warnings
        assert [one.kind for one in warnings if isinstance(one, SceneWarning)] == kinds


@pytest.mark.parametrize(
    ("pattern", "name", "told"),
    [
        ("x_%Y%m%d", "x_20240630", ""),
        ("x_%Y%m%d", "x_20240631", "not a real date"),
        ("x-%Y%m%d", "x_20240630", "does not fit"),
        ("x_%Y%m%d", "x_2024-06-30", "does not fit"),
        ("%Y%j", "a_2024.182", "does not fit"),
        ("x_%Y%m%d", "India_900498_S1Hand", ""),  # no name of a date: what the option is meant for are other scenes
        ("x_%Y%m%d", "tile_2024182", ""),
        ("x_%Y%m%d", "y", ""),
    ],
)
def test_a_date_option_that_tells_no_date_is_noted(write_tif: WriteTif, pattern: str, name: str, told: str) -> None:
    options = {"date": pattern}
    warnings = GeoTiffReader(options).header(find(write_tif(f"{name}.tif", PIXELS), **options)).warnings
    found = [one for one in warnings if isinstance(one, SceneWarning)]
    assert [one.kind for one in found] == (["date_unfit"] if told else [])
    assert all(told in one.what and not one.suspect for one in found)


def test_ground_control_points_are_kept_for_the_writer(write_tif: WriteTif) -> None:
    points = [GroundControlPoint(0, 0, 10.0, 50.0, 1.5, id="a"), GroundControlPoint(6, 8, 11.0, 49.0, 2.0)]
    alone = header_of(write_tif("one.tif", PIXELS, crs=WGS84, transform=None, gcps=points[:1]))
    assert "1 ground control point:" in alone.warnings[0]
    path = write_tif("a.tif", PIXELS, crs=WGS84, transform=None, gcps=points)
    header = header_of(path)
    assert isinstance(header.geometry, RasterGeometry)
    assert header.geometry.crs_wkt is None
    assert "2 ground control points" in header.warnings[0]
    attributes = json.loads(json.dumps(header.attributes))
    assert attributes["gcps"][0][:5] == [0.0, 0.0, 10.0, 50.0, 1.5]
    assert CRS.from_wkt(attributes["gcps_crs_wkt"]) == WGS84


def test_a_palette_is_pointed_out(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", PIXELS[:1].astype(np.uint8), photometric="palette")
    assert any("palette" in warning for warning in header_of(path).warnings)


@pytest.mark.parametrize("south_up", [False, True])
def test_the_earth_has_the_area_of_the_earth(south_up: bool) -> None:
    height, width = 180, 360
    transform = Affine(1, 0, -180, 0, 1, -90) if south_up else Affine(1, 0, -180, 0, -1, 90)
    areas = row_areas(WGS84, transform, height, width)
    assert areas is not None
    assert areas.square_metres.sum() * width == pytest.approx(EARTH_M2, rel=1e-12)
    assert areas.square_metres == pytest.approx(areas.square_metres[::-1], rel=1e-9)


def test_a_small_pixel_agrees_with_the_radii_of_curvature() -> None:
    latitude, step = math.radians(50), 1e-4
    a, squared = 6378137.0, 0.00669437999014
    bend = math.sqrt(1 - squared * math.sin(latitude) ** 2)
    meridian, prime = a * (1 - squared) / bend**3, a / bend
    expected = meridian * math.radians(step) * prime * math.cos(latitude) * math.radians(step)
    areas = row_areas(WGS84, Affine(step, 0, 10, 0, -step, 50 + step / 2), 1, 5)
    assert areas is not None
    assert areas.square_metres[0] == pytest.approx(expected, rel=1e-7)


def test_rows_beyond_the_pole_have_no_area() -> None:
    areas = row_areas(WGS84, Affine(1, 0, -180, 0, -1, 91), 3, 360)
    assert areas is not None
    assert areas.square_metres[0] == 0
    assert areas.square_metres[1] > 0


def test_metres_that_are_called_degrees_have_no_area_and_are_told(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", np.ones((4, 4), np.uint8), crs="EPSG:4326")  # of UTM coordinates
    header = GeoTiffReader().header(find(path))
    (told,) = [one for one in header.warnings if isinstance(one, SceneWarning)]
    assert (told.kind, told.suspect) == ("off_globe", True)
    assert row_areas(WGS84, Affine(10, 0, 500_000, 0, -10, 5_800_000), 4, 4) is None


def test_a_grid_that_goes_on_beyond_pole_and_antimeridian_is_on_the_globe(write_tif: WriteTif) -> None:
    around = Affine(3, 0, -180, 0, -1, 95)
    path = write_tif("a.tif", np.ones((190, 180), np.uint8), crs="EPSG:4326", transform=around)
    assert not GeoTiffReader().header(find(path)).warnings
    areas = row_areas(WGS84, around, 190, 180)
    assert areas is not None
    assert areas.square_metres[:5].tolist() == [0] * 5
    assert areas.square_metres[5] > 0


def test_a_mask_beside_a_scene_that_cannot_be_read_is_told(write_tif: WriteTif) -> None:
    hidden = np.zeros((4, 4), bool)
    path = write_tif("a.tif", np.ones((4, 4), np.uint8), mask=hidden, sidecar=True)
    assert not GeoTiffReader().header(find(path)).warnings
    path.with_name("a.tif.msk").write_bytes(b"no raster")
    (told,) = [one for one in GeoTiffReader().header(find(path)).warnings if isinstance(one, SceneWarning)]
    assert (told.kind, told.suspect) == ("mask_unread", True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PAM, False),
        (f"\n{PAM}<after/>", False),
        (PAM.replace("PAMDataset", "pamDATASET"), False),
        (PAM.replace("<PAMR", "<!-- <a> --><a b=c/><a b='>'/>this & that \x01 \xe9<PAMR"), False),
        (f'<?xml version="1.0"?>{PAM}', True),
        (f"<!-- first -->{PAM}", True),
        ("", True),
        ("no XML at all", True),
        (PAM[:-20], True),
        (PAM.replace("</PAMRasterBand>", ""), True),
        (f"<other/>{PAM}", True),
    ],
)
def test_an_aux_xml_that_gdal_passes_over_is_told(write_tif: WriteTif, text: str, told: bool) -> None:
    path = write_tif("a.tif", np.ones((4, 4), np.uint8))
    path.with_name("a.tif.aux.xml").write_text(text, encoding="latin-1")
    header = GeoTiffReader().header(find(path))
    kinds = [(one.kind, one.suspect) for one in header.warnings if isinstance(one, SceneWarning)]
    assert kinds == [("aux_unread", True)] * told
    assert header.bands[0].nodata == (None if told else 0)  # what GDAL made of it


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_aux_xml_in_an_archive_is_looked_at_too(write_tif: WriteTif, tmp_path: Path, kind: str) -> None:
    """Also once it was mended: what was found is remembered for the archive as it was."""
    good, bad = (write_tif(f"in/{name}.tif", np.ones((4, 4), np.uint8)) for name in ("good", "bad"))
    archive = tmp_path / f"scenes.{kind}"
    for text, told in ((PAM[:-20], True), (PAM, False)):
        bad.with_name("bad.tif.aux.xml").write_text(text)
        good.with_name("good.tif.aux.xml").write_text(PAM)
        if kind == "zip":
            with zipfile.ZipFile(archive, "w") as packed:
                for file in good.parent.iterdir():
                    packed.write(file, file.name)
        else:
            with tarfile.open(archive, "w:gz" if kind.endswith("gz") else "w") as packed:
                packed.add(good.parent, "in")
        reader = GeoTiffReader()
        refs = {ref.id: ref for ref in reader.discover(str(archive)) if isinstance(ref, SceneRef)}
        found = {name: [str(one) for one in reader.header(ref).warnings] for name, ref in refs.items()}
        assert not any("aux_unread" in one for one in found["good"])
        assert any("aux_unread" in one for one in found["bad"]) == told


def test_bands_in_files_of_their_own_are_looked_at_for_damaged_sidecars(write_tif: WriteTif, tmp_path: Path) -> None:
    for band in ("B02", "B03"):
        write_tif(f"in/x_{band}.tif", np.ones((4, 4), np.uint8))
    (tmp_path / "in" / "x_B03.tif.aux.xml").write_text("<PAM")
    options = {"bands": {band: f"*_{band}.tif" for band in ("B02", "B03")}}
    header = GeoTiffReader(options).header(find(tmp_path / "in", **options))
    (told,) = [one for one in header.warnings if isinstance(one, SceneWarning)]
    assert "x_B03.tif.aux.xml" in told.what


@pytest.mark.parametrize("transform", [Affine(10, 0, 0, 0, 0, 0), Affine(1, 2, 0, 2, 4, 0), Affine(0, 0, 5, 0, 0, 5)])
def test_a_transform_onto_a_line_is_refused(write_tif: WriteTif, transform: Affine) -> None:
    path = write_tif("a.tif", np.ones((4, 4), np.uint8), transform=transform)
    with pytest.raises(UnsupportedSceneError, match="maps all pixels to a line") as caught:
        GeoTiffReader().header(find(path))
    assert "gdal_edit" in caught.value.remedy


def test_a_georeference_that_is_not_finite_is_refused(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", np.ones((4, 4), np.uint8), transform=Affine(math.nan, 0, 0, 0, -10, 0))
    with pytest.raises(UnsupportedSceneError, match="not finite") as caught:
        GeoTiffReader().header(find(path))
    assert "gdal_edit" in caught.value.remedy


def test_a_rotated_geographic_grid_agrees_with_a_straight_one() -> None:
    straight = row_areas(WGS84, Affine(1e-3, 0, 10, 0, -1e-3, 50), 10, 10)
    angle = math.radians(30)
    c, s = 1e-3 * math.cos(angle), 1e-3 * math.sin(angle)
    rotated = row_areas(WGS84, Affine(c, s, 10, s, -c, 50), 10, 10)
    assert straight is not None
    assert rotated is not None
    assert rotated.square_metres.mean() == pytest.approx(straight.square_metres.mean(), rel=1e-3)


def test_utm_areas_are_those_of_the_map() -> None:
    areas = row_areas(CRS.from_epsg(32633), Affine(8, 6, 500_000, 6, -8, 5_800_000), 4, 4)
    assert areas is not None
    assert areas.square_metres.tolist() == [100.0] * 4
    assert areas.map_error == pytest.approx(1 - 0.9996**2, rel=0.05)


def test_feet_become_metres() -> None:
    feet = CRS.from_epsg(2263)  # New York Long Island, US survey feet
    areas = row_areas(feet, Affine(10, 0, 980_000, 0, -10, 200_000), 2, 2)
    assert areas is not None
    assert areas.square_metres[0] == pytest.approx(100 * 0.3048006096**2, rel=1e-9)


def test_web_mercator_is_measured_on_the_ellipsoid(write_tif: WriteTif) -> None:
    transform = Affine(10, 0, 1_500_000, 0, -10, 8_400_000)  # 60 degrees north: four times too large on the map
    areas = row_areas(CRS.from_epsg(3857), transform, 500, 500)
    assert areas is not None
    assert areas.square_metres[0] == pytest.approx(100 / 4, rel=0.02)
    assert (np.diff(areas.square_metres) > 0).all()
    path = write_tif("a.tif", PIXELS, crs="EPSG:3857", transform=transform)
    assert any("distorts areas" in warning for warning in header_of(path).warnings)


def test_web_mercator_adds_up_to_the_same_land_as_degrees() -> None:
    """One region, 10..11 degrees east and 55..56 degrees north, on either grid."""
    degrees = row_areas(WGS84, Affine(1 / 400, 0, 10, 0, -1 / 400, 56), 400, 400)
    radius = 6378137.0
    left, right = radius * math.radians(10), radius * math.radians(11)
    bottom, top = (radius * math.log(math.tan(math.pi / 4 + math.radians(lat) / 2)) for lat in (55, 56))
    transform = Affine((right - left) / 400, 0, left, 0, -(top - bottom) / 400, top)
    mercator = row_areas(CRS.from_epsg(3857), transform, 400, 400)
    assert degrees is not None
    assert mercator is not None
    assert mercator.square_metres.sum() == pytest.approx(degrees.square_metres.sum(), rel=1e-4)


MARS = CRS.from_wkt(
    'GEOGCS["Mars 2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000",3396190,169.8944472236118]],'
    'PRIMEM["Reference",0],UNIT["degree",0.0174532925199433]]'
)


def test_other_bodies_have_their_own_ellipsoid() -> None:
    a, flattening = 3396190, 1 / 169.8944472236118
    e = math.sqrt(flattening * (2 - flattening))
    surface = 2 * math.pi * a**2 * (1 + (1 - e**2) / e * math.atanh(e))
    areas = row_areas(MARS, Affine(1, 0, -180, 0, -1, 90), 180, 360)
    assert areas is not None
    assert areas.square_metres.sum() * 360 == pytest.approx(surface, rel=1e-9)


@pytest.mark.parametrize("crs", [WGS84, MARS, CRS.from_epsg(4807)], ids=["earth", "mars", "gradians of Paris"])
@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("top", [80, 47, 0.0005, -33])
def test_small_pixels_agree_with_geodesic_polygons(crs: CRS, rotated: bool, top: float) -> None:
    """pyproj measures the same pixel another way: as a polygon of four geodesics."""
    step, turn = 1e-3, math.radians(30 if rotated else 0)
    cosine, sine = step * math.cos(turn), step * math.sin(turn)
    transform = Affine(cosine, sine, 5, sine, -cosine, top)
    areas = row_areas(crs, transform, 3, 1)
    assert areas is not None
    corners = np.array([transform @ corner for corner in ((0, 2), (1, 2), (1, 3), (0, 3))]) * crs.units_factor[1]
    geod = pyproj.CRS.from_wkt(crs.to_wkt()).get_geod()
    assert geod is not None
    expected, _ = geod.polygon_area_perimeter(corners[:, 0], corners[:, 1], radians=True)
    assert areas.square_metres[2] == pytest.approx(abs(expected), rel=1e-6)


@pytest.mark.parametrize("epsg", [3413, 3031])
def test_a_map_around_a_pole_is_measured_right_at_the_pole(epsg: int) -> None:
    """The middle one of a column of pixels holds the pole itself; PROJ knows the map's scale around it."""
    size, pixel = 801, 500.0
    areas = row_areas(CRS.from_epsg(epsg), Affine(pixel, 0, -0.3 * pixel, 0, -pixel, 400.8 * pixel), size, 1)
    assert areas is not None
    factors = pyproj.Proj(pyproj.CRS.from_epsg(epsg)).get_factors(0, 89 if epsg == 3413 else -89)
    assert areas.square_metres[size // 2] == pytest.approx(pixel**2 / factors.areal_scale, rel=TOLERANCE / 2)


def test_a_rotated_grid_across_the_pole_has_finite_areas() -> None:
    areas = row_areas(WGS84, Affine(0.8, 0.5, 10, 0.5, -0.8, 89), 30, 30)
    assert areas is not None
    assert np.isfinite(areas.square_metres).all()
    assert areas.square_metres[0] == 0
    assert areas.square_metres[-1] > 0


def test_nothing_usable_gives_no_areas() -> None:
    assert row_areas(None, Affine(10, 0, 0, 0, -10, 0), 5, 5) is None
    assert row_areas(WGS84, Affine.identity(), 5, 5) is None
    assert row_areas(CRS.from_wkt('LOCAL_CS["plant",UNIT["metre",1]]'), Affine(1, 0, 5, 0, -1, 5), 5, 5) is None
