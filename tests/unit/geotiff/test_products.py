"""Sentinel-2 and Landsat products, as folders and in archives: found by name, read by their metadata."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hdm_geotiff.dates import date_of_name
from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.recipes.products_by_name import band_file, may_be_of_product, safe_root
from hdm_pipeline.contracts import SceneRef, SceneWarning, SupportRequest
from hdm_pipeline.errors import ArchiveError, ReadError, SupportError, UnsupportedSceneError
from tests.products import LANDSAT, coarse, tarred, write_band, write_landsat, write_safe, zipped
from tests.unit.geotiff.conftest import find
from tests.unit.geotiff.test_discovery import ids, left_out
from tests.unit.geotiff.test_layered import whole


def stored(height: int = 60, width: int = 48, seed: int = 0) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(1001, 5000, (height, width), dtype=np.uint16)


BANDS = {name: stored(seed=seed) for seed, name in enumerate(("B02", "B04", "B08", "B8A", "B11"))}


def read(ref: SceneRef, *asked: str, **options: Any) -> npt.NDArray[np.float32]:
    """The bands of a scene, NaN where invalid."""
    with GeoTiffReader({"asked": list(asked), **options}).open(ref) as source:
        pixels, valid = source.read(whole(source), range(source.header.shape[0]))
    return np.where(valid, pixels, np.float32("nan"))


@pytest.mark.parametrize(
    ("scene", "rest", "band"),
    [
        ("T33UUP_20220126T100321", "B04_10m.jp2", "B04"),
        ("T33UUP_20220126T100321", "B8A.jp2", "B8A"),
        ("L2A_T31UFS_20170619T105311", "B02_10m.jp2", "B02"),
        ("S2A_OPER_MSI_L1C_TL_EPA__20160605T113933_A000734_T32TQM", "B01.jp2", "B01"),
        ("T33_20220126", "B02_10m.tif", "B02"),
        (LANDSAT, "SR_B4.TIF", "SR_B4"),
        (LANDSAT, "QA_PIXEL.TIF", "QA_PIXEL"),
        ("LE07_L1TP_193027_20020126_20200916_02_T1", "B6_VCID_1.TIF", "B6_VCID_1"),
        ("LC81930272014026LGN00", "B10.TIF", "B10"),
    ],
)
def test_names_of_bands(scene: str, rest: str, band: str) -> None:
    known = band_file(f"{scene}_{rest}")
    assert known is not None
    assert (known.scene, known.band) == (scene, band)
    for name in (f"{scene}_{rest}", f"{scene}_{rest}".lower(), f"x_{scene}_{rest}".upper()):
        assert may_be_of_product(f"/archive/a/{name}") or band_file(name) is None, "a first look passes over no band"


@pytest.mark.parametrize(
    "name", ["field_B02.tif", "a.tif", "T33UUP_20220126T100321_TCI_10m.jp2", "LAKE_B2.tif", "B04.tif"]
)
def test_other_names_are_no_bands(name: str) -> None:
    assert band_file(name) is None


@pytest.mark.parametrize("path", ["a/S2A_X.SAFE/preview.tif", "x.safe/IMG.jp2", "a/field.tif", "T33/lake.tif"])
def test_a_first_look_passes_over_no_product(path: str) -> None:
    assert may_be_of_product(path) == (safe_root(path) is not None)


def test_dates_of_names() -> None:
    assert date_of_name("T33UUP_20220126T100321") == "2022-01-26T10:03:21Z"
    assert date_of_name("T33UUP_20220126") == date_of_name(LANDSAT) == "2022-01-26"
    for name in (
        "parcel_10021030",
        "lake_20220126",
        "lot_20220231",
        "T33UUP_20220231",
        "T33UUP_10021030",
        "a_99999999",
    ):
        assert date_of_name(name) == ""


@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize("packed", ["", "zip", "SAFE.zip", "loose"])
def test_a_safe_product_is_a_scene(level: str, packed: str, tmp_path: Path) -> None:
    safe = write_safe(tmp_path, BANDS, level=level)
    name = safe.name.removesuffix(".SAFE")
    if packed == "loose":
        for path in [*safe.rglob("*_B*.jp2"), *safe.glob("*.xml")]:
            if "QI_DATA" not in path.parts:
                path.rename(tmp_path / path.name)
        shutil.rmtree(safe)
        name = "T33UUP_20220126T100321"
    elif packed:
        zipped(safe, f"{name}.{packed}")
    ref = find(tmp_path)
    assert ref.id == name
    assert left_out(tmp_path) == {}
    header = GeoTiffReader().header(ref)
    assert [band.name for band in header.bands] == ["B02", "B04", "B08", "B8A", "B11"]
    assert header.shape == (5, 1, 60, 48)
    assert header.attributes["datetime"] == "2022-01-26T10:03:21Z"
    np.testing.assert_array_equal(read(ref, "B04")[0], BANDS["B04"] - 1000.0)
    eleven = read(ref, "B11")[0]
    np.testing.assert_array_equal(eleven, coarse(BANDS["B11"], 2) - 1000.0)
    together = read(ref, "B11", "B02")
    assert together.shape == (2, 60, 48)
    assert abs(together[1] - np.repeat(np.repeat(eleven, 2, 0), 2, 1)).mean() < 600


def test_an_old_baseline_has_no_offset_and_a_new_one_is_the_same_reflectance(tmp_path: Path) -> None:
    new = write_safe(tmp_path / "new", BANDS)
    old = write_safe(tmp_path / "old", {name: band - np.uint16(1000) for name, band in BANDS.items()}, offset=None)
    np.testing.assert_array_equal(read(find(new), "B04", "B8A"), read(find(old), "B04", "B8A"))
    assert not [w for w in GeoTiffReader().header(find(new)).warnings if isinstance(w, SceneWarning)]


def test_no_data_of_a_product_and_the_users_word(tmp_path: Path) -> None:
    pixels = BANDS["B04"].copy()
    pixels[:5] = 0
    pixels[5] = 1234
    safe = write_safe(tmp_path, {"B04": pixels})
    ref = find(safe)
    assert np.isnan(read(ref, "B04")[0, :5]).all()
    assert np.isfinite(read(ref, "B04")[0, 5:]).all()
    assert np.isnan(read(ref, "B04", nodata=1234)[0, 5]).all()
    assert (read(ref, "B04", nodata=None)[0, :5] == -1000).all()
    np.testing.assert_allclose(read(ref, "B04", scale_factor=0.0001)[0, 6:], (pixels[6:] - 1000) / 10000, rtol=1e-6)
    np.testing.assert_array_equal(read(ref, "B04", offset={"S2A_*_N0400_*": 7})[0, 6:], pixels[6:] + 7.0)
    np.testing.assert_array_equal(read(ref, "B04", offset={"S2A_*_N0500_*": 7})[0, 6:], pixels[6:] - 1000.0)
    np.testing.assert_array_equal(read(ref, "B04", offset={"b04": 8})[0, 6:], pixels[6:] + 8.0)


def test_metadata_that_are_missing_are_told(tmp_path: Path) -> None:
    ref = find(write_safe(tmp_path, BANDS, metadata=False))
    (warning,) = (w for w in GeoTiffReader().header(ref).warnings if isinstance(w, SceneWarning))
    assert (warning.kind, warning.suspect) == ("offset_unknown", True)
    reader = GeoTiffReader({"offset": -1000})
    assert not [w for w in reader.header(ref).warnings if isinstance(w, SceneWarning)]
    np.testing.assert_array_equal(read(ref, "B04", offset=-1000)[0], BANDS["B04"] - 1000.0)


def test_metadata_of_another_product_in_the_folder_are_not_taken(tmp_path: Path) -> None:
    """Loose bands of two products with one MTD file: its offset is that of one of them."""
    for date in ("20220126T100321", "20220210T100321"):
        safe = write_safe(tmp_path, {"B04": BANDS["B04"], "B08": BANDS["B08"]}, date=date)
        for path in [*safe.rglob("*_B0?_10m.jp2"), *safe.glob("*.xml")]:
            path.rename(tmp_path / path.name)
        shutil.rmtree(safe)
    reader = GeoTiffReader({"asked": ["B04"]})
    first, second = (ref for ref in reader.discover(str(tmp_path)) if isinstance(ref, SceneRef))
    np.testing.assert_array_equal(read(second, "B04")[0], BANDS["B04"] - 1000.0)
    np.testing.assert_array_equal(read(first, "B04")[0], BANDS["B04"])
    (warning,) = (w for w in reader.header(first).warnings if isinstance(w, SceneWarning))
    assert warning.kind == "offset_unknown"


def test_the_note_is_for_names_of_products_since_2022(tmp_path: Path) -> None:
    for scene in ("T33_20220126", "T33UUP_20210126T100321", "T33UUP_20220126T100321"):
        for band in ("B02", "B03"):
            write_band(tmp_path / f"{scene}_{band}.tif", stored(), 10)
    reader = GeoTiffReader()
    found = {
        ref.id: [w.kind for w in reader.header(ref).warnings if isinstance(w, SceneWarning)]
        for ref in reader.discover(str(tmp_path))
        if isinstance(ref, SceneRef)
    }
    assert found == {
        "T33_20220126": [],
        "T33UUP_20210126T100321": [],
        "T33UUP_20220126T100321": ["offset_unknown"],
    }


def test_metadata_are_part_of_the_identity(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, BANDS)
    before = find(safe).identity
    metadata = safe / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace("-1000", "-900"))
    assert find(safe).identity != before


def test_a_product_may_be_named_by_its_folder_its_metadata_or_a_pattern(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, BANDS)
    write_safe(tmp_path, BANDS, date="20220210T100321")
    found = {find(uri).id for uri in (safe, safe / "MTD_MSIL2A.xml", tmp_path / "S2A_*_20220126T100321_*.SAFE")}
    assert found == {safe.name.removesuffix(".SAFE")}
    (tmp_path / "list.txt").write_text(f"{safe.name}\n")
    assert ids(tmp_path / "list.txt") == sorted(found)
    assert len(ids(tmp_path)) == 2


def test_the_scene_classification_is_read_only_where_it_is_asked_for(tmp_path: Path) -> None:
    ref = find(write_safe(tmp_path, {"B11": stored(16, 16), "B02": stored(16, 16)}))
    header = GeoTiffReader({"asked": ["B11", "SCL"]}).header(ref)
    assert [band.name for band in header.bands] == ["B11", "SCL"]
    pixels = read(ref, "SCL", "B02")
    assert pixels.shape == (2, 16, 16)
    assert set(np.unique(pixels[1])) == {4.0, 6.0}  # classes are never mixed


def test_two_granules_are_two_scenes(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, {"B04": BANDS["B04"]}, level="L1C")
    other = safe / "GRANULE" / "L1C_T33UVP_A034450_20220126T100322" / "IMG_DATA"
    write_band(other / "T33UVP_20220126T100321_B04.jp2", stored(), 10)
    name = safe.name.removesuffix(".SAFE")
    assert ids(tmp_path) == [f"{name}__T33UUP_20220126T100321", f"{name}__T33UVP_20220126T100321"]


def test_own_names_for_the_bands_of_a_product(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, BANDS)
    bands = {"red": "*_B04_10m.jp2", "swir": "*_B11_20m.jp2"}
    ref = find(tmp_path, bands=bands)
    assert ref.id == safe.name.removesuffix(".SAFE")
    pixels = read(ref, bands=bands, resampling="nearest")
    np.testing.assert_array_equal(pixels[0], BANDS["B04"] - 1000.0)
    np.testing.assert_array_equal(pixels[1, ::2, ::2], coarse(BANDS["B11"], 2) - 1000.0)


def test_a_folder_without_bands_is_told(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, {"B04": BANDS["B04"]})
    write_safe(tmp_path, BANDS, date="20220210T100321")
    for path in safe.rglob("*_B04_*"):
        path.unlink()
    for path in safe.rglob("*_SCL_*"):
        path.unlink()
    assert "no band of a Sentinel-2 product" in left_out(tmp_path)[safe.name]


@pytest.mark.parametrize("packed", ["folder", "loose", "tar", "xml"])
def test_a_landsat_product_is_a_scene(packed: str, tmp_path: Path) -> None:
    bands = {name: stored(seed=seed) * np.uint16(4) for seed, name in enumerate(("SR_B4", "SR_B5", "SR_B2", "ST_B10"))}
    bands["SR_B4"][:3] = 0
    product = write_landsat(tmp_path, bands, xml=packed == "xml")
    if packed == "loose":
        for path in list(product.iterdir()):
            path.rename(tmp_path / path.name)
        product.rmdir()
    if packed == "tar":
        tarred(product)
    ref = find(tmp_path)
    assert ref.id == LANDSAT
    header = GeoTiffReader().header(ref)
    assert [band.name for band in header.bands] == ["SR_B2", "SR_B4", "SR_B5", "ST_B10"]
    assert header.attributes["datetime"][:10] == "2022-01-26"
    pixels = read(ref, "SR_B4", "ST_B10")
    assert np.isnan(pixels[:, :3]).all()
    np.testing.assert_allclose(pixels[0, 3:], bands["SR_B4"][3:] * 2.75e-5 - 0.2, rtol=1e-5)
    np.testing.assert_allclose(pixels[1, 3:], bands["ST_B10"][3:] * 0.00341802 + 149.0, rtol=1e-5)
    np.testing.assert_array_equal(read(ref, "QA_PIXEL")[0], 21824)


def test_landsat_without_its_metadata_is_told(tmp_path: Path) -> None:
    product = write_landsat(tmp_path, {"SR_B4": stored(), "SR_B5": stored()})
    next(product.glob("*_MTL.txt")).unlink()
    ref = find(tmp_path)
    assert any("MTL" in str(warning) for warning in GeoTiffReader().header(ref).warnings)
    np.testing.assert_array_equal(read(ref, "SR_B4")[0], stored())


def test_rasters_in_archives(tmp_path: Path) -> None:
    for name in ("p/a.tif", "p/b.tif"):
        write_band(tmp_path / name, stored(), 10, nodata=0)
    zipped(tmp_path / "p", "many.zip")
    inner = f"/vsizip/{tmp_path}/many.zip/p"
    assert ids(tmp_path) == ["a", "b"]  # nothing else is there
    assert ids(tmp_path / "many.zip") == ids(inner) == ids(f"zip://{tmp_path}/many.zip!/p") == ["a", "b"]
    assert ids(f"{inner}/a.tif") == ["a"]
    np.testing.assert_array_equal(read(find(f"{inner}/a.tif"))[0], stored())
    (tmp_path / "list.txt").write_text(f"many.zip\n{tmp_path}/c.tif\n")
    assert ids(tmp_path / "list.txt") == ["a", "b", "c"]
    write_band(tmp_path / "c.tif", stored(), 10)
    assert ids(tmp_path) == ["c"]
    assert "recursive" in left_out(tmp_path)["many.zip"]
    assert ids(tmp_path, recursive=True) == ["a", "b", "c"]


def test_damaged_archives(tmp_path: Path) -> None:
    write_band(tmp_path / "c.tif", stored(), 10)
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 no more")
    assert "cannot be read" in left_out(tmp_path, recursive=True)["bad.zip"]
    with pytest.raises(ArchiveError, match="cannot be read"):
        ids(tmp_path / "bad.zip")
    with pytest.raises(ArchiveError, match="does not exist"):
        ids(f"/vsizip/{tmp_path}/none.zip")


def test_a_member_that_is_damaged_is_one_scenes_trouble(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, {"B04": BANDS["B04"]})
    damaged = next(safe.rglob("*_B04_10m.jp2"))
    damaged.write_bytes(damaged.read_bytes()[:60])
    zipped(safe)
    with pytest.raises(ReadError, match="cannot") as caught:
        read(find(tmp_path), "B04")
    assert "B04_10m.jp2" in caught.value.where


def test_examples_in_products(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, BANDS)
    mask = write_band(tmp_path / "mask.tif", (BANDS["B04"] > 3000).astype(np.uint8), 10)
    reader = GeoTiffReader({"asked": ["B04", "B11"]})
    request = SupportRequest(str(safe), str(mask))
    (example,) = reader.read_support(request)
    assert [band.name for band in example.bands] == ["B04", "B11"]
    np.testing.assert_array_equal(example.pixels[0], BANDS["B04"] - 1000.0)
    files = {Path(path).name for path in reader.example_files(request)}
    assert {"MTD_MSIL2A.xml", "T33UUP_20220126T100321_B04_10m.jp2"} <= files
    packed = zipped(safe)
    request = SupportRequest(str(packed), str(mask))
    assert reader.example_files(request) == [str(packed)]
    np.testing.assert_array_equal(reader.read_support(request)[0].pixels, example.pixels)
    write_safe(tmp_path / "two", BANDS)
    write_safe(tmp_path / "two", BANDS, date="20220210T100321")
    with pytest.raises(SupportError, match="2 scenes"):
        reader.read_support(SupportRequest(str(tmp_path / "two"), str(mask)))


def test_a_number_means_the_same_band_in_every_scene(tmp_path: Path) -> None:
    """A scene that lacks a band is refused where it is needed, and its other bands keep their numbers."""
    for date, bands in {"20220101": ("B02", "B03", "B04"), "20220202": ("B02", "B04"), "20220303": ("B04",)}.items():
        for name in bands:
            write_band(tmp_path / f"T33UUP_{date}_{name}.tif", stored(seed=int(name[1:])), 10)
    reader = GeoTiffReader({"asked": ["1", "3"]})
    refs = [ref for ref in reader.discover(str(tmp_path)) if isinstance(ref, SceneRef)]
    assert [ref.id for ref in refs] == ["T33UUP_20220101", "T33UUP_20220202", "T33UUP_20220303"]
    for ref in refs[:2]:
        with reader.open(ref) as source:
            np.testing.assert_array_equal(source.read(whole(source), [2])[0][0], stored(seed=4))
    with pytest.raises(UnsupportedSceneError, match=r"band B02, number 1, is missing \(the scene has B04\)"):
        reader.header(refs[2])
    with pytest.raises(UnsupportedSceneError, match="band B03, number 2"):
        GeoTiffReader({"asked": ["b2 - b1"]}).header(refs[1])


def test_an_archive_of_one_band_is_of_single_files_unless_its_band_is_named(tmp_path: Path) -> None:
    for date in ("20220101", "20220202"):
        write_band(tmp_path / f"T33UUP_{date}_B08.tif", stored(), 10)
    assert ids(tmp_path, asked=["1"]) == ["T33UUP_20220101_B08", "T33UUP_20220202_B08"]
    assert ids(tmp_path, asked=["B08"]) == ["T33UUP_20220101", "T33UUP_20220202"]
