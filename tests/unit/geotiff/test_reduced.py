"""Windows at a reduced size: by overviews where they can be trusted, else by whole blocks, each once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling

from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.scenes import levels
from hdm_geotiff.scenes.cells import Picked
from hdm_geotiff.scenes.stored import StoredBands
from hdm_pipeline.contracts import OverviewSource, SceneRef
from hdm_pipeline.grid import Window
from tests.unit.geotiff.conftest import UTM, WriteTif, find

TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16}
WHOLE = Window.whole(0, (64, 96))


def noise(*shape: int, low: int = 1, high: int = 200) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(low, high, shape, dtype=np.uint8)


def reduced(path: Path, size: tuple[int, int], window: Window = WHOLE, **options: Any) -> Any:
    with GeoTiffReader(options).open(find(path, **options)) as source:
        assert isinstance(source, OverviewSource)
        return source.read_reduced(window, range(source.header.shape[0]), size)


def means(pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_], step: int) -> Any:
    """Means of valid pixels by squares of `step`: what must come out where nothing is thinned."""
    bands, height, width = pixels.shape
    cells = bands, height // step, step, width // step, step
    count = valid.reshape(cells[1:]).sum(axis=(1, 3))
    total = np.where(valid, pixels, 0).reshape(cells).sum(axis=(2, 4), dtype=np.float64)
    return (total / np.maximum(count, 1)).astype(np.float32), count > 0


def lowest(pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Any:
    """The lowest valid pixel of each square of 4 x 4."""
    return np.where(valid, pixels, 255).reshape(len(pixels), 16, 4, 24, 4).min(axis=(2, 4))


def highest(pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Any:
    """The highest valid pixel of each square of 4 x 4."""
    return np.where(valid, pixels, 0).reshape(len(pixels), 16, 4, 24, 4).max(axis=(2, 4))


def with_overviews(path: Path, *factors: int, then: npt.NDArray[Any] | None = None) -> Path:
    """Give a file overviews that are means; then other pixels, so that it shows which of both were read."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.build_overviews(list(factors), Resampling.average)
        if then is not None:
            file.write(then)
    return path


def test_at_its_own_size_a_window_is_what_read_gives(write_tif: WriteTif) -> None:
    pixels = noise(2, 64, 96, low=0)
    path = with_overviews(write_tif("a.tif", pixels, nodata=0, scales=(0.1, 2), offsets=(-3, 1), **TILED), 2, 4)
    window = Window(z=0, y=5, x=7, height=31, width=50)
    with GeoTiffReader().open(find(path)) as source:
        assert isinstance(source, OverviewSource)
        for one, other in zip(source.read_reduced(window, (1, 0), (31, 50)), source.read(window, (1, 0)), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("how", ["nodata", "mask", "alpha", "nan", "nodata and mask"])
@pytest.mark.parametrize("overviews", [False, True])
def test_means_are_of_valid_pixels_only(write_tif: WriteTif, how: str, overviews: bool) -> None:
    pixels, holes = noise(2, 64, 96, low=100), noise(64, 96) < 60
    holes[:8] = True
    told: dict[str, Any] = {"nodata": 250} if "nodata" in how else {}
    stored = np.where(holes, 250, pixels)
    if how == "nan":
        stored = np.where(holes, np.nan, pixels).astype(np.float32)
    if "mask" in how:
        told["mask"] = ~holes
        if told.get("nodata"):
            holes[8:12] = True
            stored[:, 8:12] = 250
    if how == "alpha":
        stored = np.concatenate([stored, np.where(holes, 0, 255)[None].astype(np.uint8)])
        told["colorinterp"] = (ColorInterp.red, ColorInterp.green, ColorInterp.alpha)
    path = write_tif("a.tif", stored, **told, **TILED)
    if overviews:
        with_overviews(path, 2, 4)
    made, valid = reduced(path, (16, 24))
    expected, known = means(pixels, ~holes, 4)
    assert made.shape[1:] == valid.shape == (16, 24)
    inside = valid & known
    if not overviews or how == "nodata and mask":
        assert np.array_equal(valid, known)
        assert np.allclose(made[:2, inside], expected[:, inside], atol=1e-3)
    low, high = (picked(pixels, ~holes) for picked in (lowest, highest))
    assert (made[:2, inside] >= low[:, inside]).all()
    assert (made[:2, inside] <= high[:, inside]).all()
    assert not valid[0].any()
    assert not made[:, ~valid].any()


def test_overviews_are_what_is_read(write_tif: WriteTif) -> None:
    path = with_overviews(write_tif("a.tif", np.full((64, 96), 50, np.uint8), **TILED), 2, 4, then=noise(1, 64, 96))
    assert (reduced(path, (16, 24))[0] == 50).all()
    assert (reduced(path, (20, 24))[0] == 50).all()  # 3.2 : 1, by that of 2
    assert (reduced(path, (7, 5), Window(z=0, y=9, x=11, height=40, width=33))[0] == 50).all()
    assert (reduced(path, (63, 96))[0] != 50).any()


def test_an_alpha_band_of_ones_hides_nothing(write_tif: WriteTif) -> None:
    stored = np.stack([np.full((64, 96), 50), np.ones((64, 96))]).astype(np.uint8)
    path = write_tif("a.tif", stored, colorinterp=(ColorInterp.gray, ColorInterp.alpha), **TILED)
    assert reduced(with_overviews(path, 4), (16, 24))[1].all()


@pytest.mark.parametrize("options", [{"nodata": 7}, {"nodata": None}])
def test_overviews_that_do_not_know_what_is_valid_are_not_used(write_tif: WriteTif, options: dict[str, Any]) -> None:
    told = {} if options["nodata"] else {"nodata": 7}
    path = with_overviews(write_tif("a.tif", np.full((64, 96), 50, np.uint8), **told, **TILED), 2, 4)
    with rasterio.open(path, "r+") as file:
        file.write(np.full((1, 64, 96), 60, np.uint8))
    assert (reduced(path, (16, 24), **options)[0] == 60).all()


def test_a_rim_beside_nodata_is_lost_where_wavelets_made_the_overviews(tmp_path: Path) -> None:
    pixels, holes = noise(1, 512, 512, low=100), np.zeros((512, 512), np.bool_)
    holes[:, :50] = True
    profile = {**UTM, "count": 1, "height": 512, "width": 512, "dtype": "uint8", "RESOLUTIONS": 4}
    with rasterio.open(tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", **profile) as file:
        file.write(np.where(holes, 0, pixels))
    with rasterio.open(tmp_path / "a.jp2") as file:
        assert 4 in file.overviews(1)
    made, valid = reduced(tmp_path / "a.jp2", (128, 128), Window.whole(0, (512, 512)), nodata=0)
    assert not valid[:, :13].any()
    assert valid[:, 17:].all()
    assert made[:, valid].min() > 85  # wavelets overshoot a little; nodata would be near 0


def test_scale_and_offset_are_applied(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", np.full((1, 64, 96), 50, np.uint8), scales=(0.5,), offsets=(-5,), **TILED)
    assert (reduced(with_overviews(path, 4), (16, 24))[0] == 20).all()


def test_a_palette_is_not_mixed(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", np.where(noise(64, 96) < 100, 1, 200).astype(np.uint8), photometric="palette", **TILED)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {1: (255, 0, 0), 200: (0, 255, 0)})
    assert set(np.unique(reduced(path, (16, 24))[0])) == {1, 200}


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (63, 95), (64, 1), (40, 96)])
@pytest.mark.parametrize("profile", [TILED, {"blockysize": 1}, {"blockysize": 64}])
def test_it_does_not_matter_how_a_file_is_cut(
    write_tif: WriteTif, profile: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tif("a.tif", noise(2, 64, 96), nodata=3, **profile)
    expected = reduced(write_tif("b.tif", noise(2, 64, 96), nodata=3), size)
    monkeypatch.setattr(levels, "_READ_BYTES", 1200)
    made = reduced(path, size)
    assert np.allclose(made[0], expected[0], atol=1e-4)
    assert np.array_equal(made[1], expected[1])


def test_each_block_is_read_once_and_memory_is_bounded(write_tif: WriteTif, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    monkeypatch.setattr(levels, "_READ_BYTES", 2 * 16 * 16 * 3)  # three blocks
    monkeypatch.setattr(StoredBands, "pick", recording(StoredBands.pick, read))
    reduced(write_tif("a.tif", noise(2, 64, 96), **TILED), (5, 7))
    blocks = [
        (row, column)
        for place in read
        for row in range(int(place.row_off) // 16, int(place.row_off + place.height - 1) // 16 + 1)
        for column in range(int(place.col_off) // 16, int(place.col_off + place.width - 1) // 16 + 1)
    ]
    assert sorted(blocks) == [(row, column) for row in range(4) for column in range(6)]
    assert max(place.width * place.height for place in read) <= 3 * 16 * 16


def test_strips_between_those_that_are_shown_are_not_read(write_tif: WriteTif, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    monkeypatch.setattr(StoredBands, "pick", recording(StoredBands.pick, read))
    reduced(write_tif("a.tif", noise(1, 64, 96), blockysize=1), (2, 3))
    assert [place.height for place in read] == [1] * 8


def recording(method: Any, read: list[Any]) -> Any:
    def pick(self: Any, bands: Any, place: Any, *more: Any) -> Any:
        read.append(place)
        return method(self, bands, place, *more)

    return pick


def test_the_area_of_interest_holds_centers(write_tif: WriteTif, tmp_path: Path) -> None:
    x, y = 500_000 + 10 * 21, 5_800_000 - 10 * 9
    ring = [[x, y], [x + 400, y], [x + 400, y - 300], [x, y - 300], [x, y]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    aoi = tmp_path / "aoi.geojson"
    aoi.write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    _, valid = reduced(write_tif("a.tif", noise(64, 96), **TILED), (16, 24), aoi=str(aoi))
    expected = np.zeros((16, 24), np.bool_)
    expected[2:9, 5:15] = True  # rows 9..39 and columns 21..61: centers at 2, 6, 10, ...
    expected[9] = expected[8] & (9 * 4 + 2 < 39)
    assert np.array_equal(valid, expected)


def test_bands_of_other_resolutions_lie_on_each_other(write_tif: WriteTif, tmp_path: Path) -> None:
    fine = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint16) * 10
    coarse = fine.reshape(16, 4, 24, 4).mean(axis=(1, 3)).astype(np.uint16)
    classes = np.where(noise(16, 24) < 100, 1, 9).astype(np.uint16)
    write_tif("a_B04.tif", fine)
    write_tif("a_B11.tif", coarse, transform=UTM["transform"] * Affine.scale(4))
    write_tif("a_SCL.tif", classes, transform=UTM["transform"] * Affine.scale(4))
    bands = {"B04": "*_B04.tif", "B11": "*_B11.tif", "SCL": "*_SCL.tif"}
    pixels, valid = reduced(tmp_path, (8, 12), bands=bands)
    assert valid.all()
    assert np.allclose(pixels[0], pixels[1], atol=1)
    assert np.allclose(pixels[0], means(fine[None], np.ones((64, 96), np.bool_), 8)[0][0], atol=5)
    finer, _ = reduced(tmp_path, (32, 48), bands=bands)  # a cell is half a pixel of the coarse band
    assert np.array_equal(finer[1], coarse.repeat(2, axis=0).repeat(2, axis=1))


def test_a_mosaic_is_made_of_its_scenes(write_tif: WriteTif, tmp_path: Path) -> None:
    picture, holes = noise(64, 96), np.zeros((64, 96), np.bool_)
    holes[:, 30:44] = True
    other = picture + 50
    write_tif("a_20220126.tif", np.where(holes, 0, picture)[:, :50], nodata=0)
    write_tif("b_20220126.tif", other[:, 40:], nodata=0, transform=UTM["transform"] * Affine.translation(40, 0))
    options = {"mosaic": "date", "date": "_%Y%m%d"}
    (ref,) = (one for one in GeoTiffReader(options).discover(str(tmp_path)) if isinstance(one, SceneRef))
    with GeoTiffReader(options).open(ref) as source:
        assert isinstance(source, OverviewSource)
        pixels, valid = source.read_reduced(WHOLE, (0,), (32, 48))
    holes[:, 40:] = False
    made = np.where((np.arange(96) < 40) | ((np.arange(96) >= 44) & (np.arange(96) < 50)), picture, other)
    expected, known = means(made[None], ~holes, 2)
    assert np.array_equal(valid, known)
    assert np.allclose(pixels[:, valid], expected[:, valid], atol=1e-3)


def test_pixels_that_are_picked_are_those_whose_centers_lie_in_a_cell() -> None:
    picked = Picked.of(np.array([0.0, 2.0, 4.6, 5.4, 9.0, 17.0]), 17, 4)
    assert picked.indices.tolist() == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 11, 14, 16]
    assert picked.cells.tolist() == [0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4]
