"""Pixels and validity: every way in which a GeoTIFF can say that a pixel holds no data."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.scenes.validity import differs
from hdm_pipeline.contracts import Reader
from hdm_pipeline.errors import ReadError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.unit.geotiff.conftest import WriteTif, find

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4)
HOLES = RAMP % 5 == 0


def read(path: Path, bands: tuple[int, ...] = (0,)) -> tuple[np.ndarray, np.ndarray]:
    reader = GeoTiffReader()
    with reader.open(find(path)) as source:
        _, _, height, width = source.header.shape
        return source.read(Window(z=0, y=0, x=0, height=height, width=width), bands)


def test_is_a_reader() -> None:
    assert isinstance(GeoTiffReader(), Reader)


def test_plain_pixels_are_all_valid(write_tif: WriteTif) -> None:
    pixels, valid = read(write_tif("a.tif", RAMP))
    assert pixels.dtype == np.float32
    assert pixels.tolist() == [RAMP.tolist()]
    assert valid.dtype == np.bool_
    assert valid.all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_nodata_value(write_tif: WriteTif, dtype: str) -> None:
    path = write_tif("a.tif", np.where(HOLES, 99, RAMP).astype(dtype), nodata=99)
    pixels, valid = read(path)
    assert np.array_equal(valid, ~HOLES)
    assert np.array_equal(pixels[0], np.where(HOLES, 0, RAMP))


@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0])
def test_nan_and_infinity_are_invalid_whatever_nodata_says(write_tif: WriteTif, nodata: float | None) -> None:
    values = np.where(HOLES, np.nan, RAMP).astype(np.float32)
    values[0, 1], values[0, 2] = np.inf, -np.inf
    _, valid = read(write_tif("a.tif", values, nodata=nodata))
    expected = ~HOLES
    expected[0, 1:3] = False
    assert np.array_equal(valid, expected)


def test_validity_of_more_rows_than_are_looked_at_at_once(write_tif: WriteTif) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (2, 700, 300)).astype(np.float32)
    values[0, 300:][rng.random((400, 300)) < 0.2] = -9999.0
    values[1, :, 7] = np.nan
    pixels, valid = read(write_tif("a.tif", values, nodata=-9999.0), (0, 1))
    expected = (values[0] != -9999.0) & ~np.isnan(values[1])
    assert np.array_equal(valid, expected)
    assert np.array_equal(pixels, np.where(expected, values, np.float32(0)))


def test_internal_mask(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", RAMP, mask=~HOLES)
    assert not path.with_suffix(".tif.msk").exists()
    assert np.array_equal(read(path)[1], ~HOLES)


def test_sidecar_mask(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", RAMP, mask=~HOLES, sidecar=True)
    assert path.with_suffix(".tif.msk").exists()
    assert np.array_equal(read(path)[1], ~HOLES)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_alpha_band(write_tif: WriteTif, dtype: str) -> None:
    alpha = np.where(HOLES, 0, 1)  # nearly transparent is not transparent
    colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    path = write_tif("a.tif", np.stack([RAMP, RAMP, RAMP, alpha]).astype(dtype), colorinterp=colors)
    assert np.array_equal(read(path)[1], ~HOLES)


def test_all_mask_sources_add_up(write_tif: WriteTif) -> None:
    """GDAL's own mask of such a band would follow the internal mask and forget the nodata value and NaN."""
    values = np.full((4, 4), 5.0, dtype=np.float32)
    values[0] = -1.0
    values[1] = np.nan
    mask = np.ones((4, 4), dtype=np.bool_)
    mask[2] = False
    _, valid = read(write_tif("a.tif", values, nodata=-1.0, mask=mask))
    assert valid.all(axis=1).tolist() == [False, False, False, True]
    assert not valid[:3].any()


def test_invalid_where_any_selected_band_is(write_tif: WriteTif) -> None:
    first, second = np.array([[0, 1, 1]], dtype=np.uint8), np.array([[1, 0, 1]], dtype=np.uint8)
    path = write_tif("a.tif", np.stack([first, second]), nodata=0)
    assert read(path, (0,))[1].tolist() == [[False, True, True]]
    assert read(path, (1,))[1].tolist() == [[True, False, True]]
    assert read(path, (0, 1))[1].tolist() == [[False, False, True]]


def test_bands_come_in_the_order_asked_for(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", np.stack([RAMP, RAMP + 100, RAMP + 200]))
    pixels, _ = read(path, (2, 0))
    assert pixels[:, 0, 0].tolist() == [200.0, 0.0]


def test_scale_and_offset_come_after_nodata(write_tif: WriteTif) -> None:
    values = np.array([[[0, 10, 20]], [[0, 10, 20]]], dtype=np.int16)
    path = write_tif("a.tif", values, nodata=0, scales=(0.1, 1.0), offsets=(5.0, 0.0))
    pixels, valid = read(path, (0, 1))
    assert pixels[0, 0, 1:].tolist() == pytest.approx([6.0, 7.0])
    assert pixels[1, 0, 1:].tolist() == [10.0, 20.0]
    assert valid.tolist() == [[False, True, True]]


@pytest.mark.parametrize(("scale", "offset"), [(0.0, 0.0), (np.nan, 0.0), (np.inf, 0.0), (1.0, np.nan)])
def test_a_scale_that_leaves_nothing_of_the_values_is_refused(write_tif: WriteTif, scale: float, offset: float) -> None:
    path = write_tif("a.tif", RAMP, scales=(scale,), offsets=(offset,))
    with pytest.raises(UnsupportedSceneError, match="nothing is left of its values") as caught:
        read(path)
    assert "scale_factor" in caught.value.remedy
    options = {"scale_factor": 2, "offset": 0}
    with GeoTiffReader(options).open(find(path)) as source:
        assert source.read(Window(z=0, y=0, x=0, height=3, width=4), (0,))[0].max() == 22


def test_large_numbers_keep_their_digits_until_the_end(write_tif: WriteTif) -> None:
    values = np.array([[4_000_000_001, 4_000_000_003]], dtype=np.uint32)
    pixels, _ = read(write_tif("a.tif", values, scales=(1.0,), offsets=(-4_000_000_000.0,)))
    assert pixels[0, 0].tolist() == [1.0, 3.0]
    doubles = np.array([[1e9 + 0.125, 1e9 + 0.5]], dtype=np.float64)
    pixels, _ = read(write_tif("b.tif", doubles, scales=(1.0,), offsets=(-1e9,)))
    assert pixels[0, 0].tolist() == [0.125, 0.5]


def test_too_large_for_float32_is_invalid(write_tif: WriteTif) -> None:
    pixels, valid = read(write_tif("a.tif", np.array([[1e300, 1.0]], dtype=np.float64)))
    assert valid.tolist() == [[False, True]]
    assert np.isfinite(pixels).all()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_windows_are_cut_from_the_whole(write_tif: WriteTif, data: st.DataObject) -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 5, (2, 70, 90)).astype(np.int16)
    tiling = data.draw(st.sampled_from([{}, {"tiled": True, "blockxsize": 16, "blockysize": 32}]))
    path = write_tif("a.tif", values, nodata=0, **tiling)
    y, x = data.draw(st.integers(0, 69)), data.draw(st.integers(0, 89))
    window = Window(z=0, y=y, x=x, height=data.draw(st.integers(1, 70 - y)), width=data.draw(st.integers(1, 90 - x)))
    with GeoTiffReader().open(find(path)) as source:
        pixels, valid = source.read(window, (0, 1))
    cut = values[:, window.y : window.bottom, window.x : window.right]
    assert np.array_equal(valid, (cut != 0).all(axis=0))
    assert np.array_equal(pixels, np.where(valid, cut, 0))


@pytest.mark.parametrize(
    "window",
    [
        Window(z=0, y=0, x=0, height=4, width=4),
        Window(z=0, y=-1, x=0, height=1, width=1),
        Window(z=1, y=0, x=0, height=1, width=1),
    ],
)
def test_windows_outside_are_refused(write_tif: WriteTif, window: Window) -> None:
    with GeoTiffReader().open(find(write_tif("a.tif", RAMP))) as source, pytest.raises(ReadError, match="outside"):
        source.read(window, (0,))


@pytest.mark.parametrize(
    ("nodata", "value", "same"),
    [
        (-9999.9, np.float32(-9999.9), True),
        (-3.4028234663852886e38, np.finfo(np.float32).min, True),
        (-3.40282346638529e38, np.finfo(np.float32).min, True),
        (0.1, np.float32(0.1), True),
        (-9999.9, np.nextafter(np.float32(-9999.9), np.float32(0)), True),
        (0.0, np.float32(1e-30), False),
        (1.0, np.float32(1.00001), False),
    ],
)
def test_float_nodata_is_compared_within_rounding(nodata: float, value: np.float32, same: bool) -> None:
    assert differs(np.array([value], dtype=np.float32), nodata).tolist() == [not same]


@pytest.mark.parametrize("nodata", [-1.0, 256.0, 0.5, np.nan, np.inf])
def test_a_nodata_value_that_the_type_cannot_hold_marks_nothing(nodata: float) -> None:
    assert differs(np.arange(256, dtype=np.uint8), nodata).all()


def test_complex_pixels_are_refused(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", np.ones((2, 2), dtype=np.complex64))
    with pytest.raises(UnsupportedSceneError, match="complex") as caught:
        GeoTiffReader().header(find(path))
    assert caught.value.where == str(path)


def test_a_claim_of_absurd_size_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "sparse_ok": True, "bigtiff": "YES"}
    with rasterio.open(path, "w", height=300_000, width=300_000, tiled=True, **profile):
        pass
    assert path.stat().st_size < 50_000_000
    with pytest.raises(UnsupportedSceneError, match="claims"), GeoTiffReader().open(find(path)):
        pass
    with GeoTiffReader({"max_pixels": 10**11}).open(find(path)) as source:
        assert source.header.shape == (1, 1, 300_000, 300_000)


def test_a_block_that_decodes_to_too_much_is_refused(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", np.zeros((2000, 600), dtype=np.float64), blockysize=2000, compress="deflate")
    with pytest.raises(UnsupportedSceneError, match="block"):
        GeoTiffReader({"max_block_bytes": 2**20}).header(find(path))


@pytest.mark.parametrize("keep", [0, 3, 8, 100, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_a_typed_error(write_tif: WriteTif, keep: float) -> None:
    rng = np.random.default_rng(0)
    path = write_tif("a.tif", rng.integers(0, 255, (300, 300)).astype(np.uint8), compress="deflate")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep >= 1 or keep == 0 else keep * len(whole))])
    with pytest.raises(ReadError) as caught:
        read(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy
    assert "previous exception" not in caught.value.what


def test_a_folder_that_is_called_tif_is_no_scene(tmp_path: Path) -> None:
    (tmp_path / "a.tif").mkdir()
    (tmp_path / "b.tif").write_text("hello")
    with pytest.raises(ReadError):
        GeoTiffReader().header(find(tmp_path))


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5 or netCDF"),
        (b"CDF\x01" + bytes(100), "gdal_translate"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "JPEG"),
        (b"\n<!DOCTYPE html><html><title>Log in</title>", "page of the web"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "server's message"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"hello", "gdalinfo"),
    ],
)
def test_a_file_that_is_something_else_is_called_what_it_is(tmp_path: Path, start: bytes, told: str) -> None:
    (tmp_path / "a.tif").write_bytes(start)
    with pytest.raises(ReadError) as caught:
        GeoTiffReader().header(find(tmp_path))
    assert told in caught.value.remedy


def test_a_vrt_is_opened_only_where_it_is_allowed(write_tif: WriteTif, tmp_path: Path) -> None:
    write_tif("a.tif", RAMP)
    vrt = tmp_path / "a.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="3"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    with pytest.raises(UnsupportedSceneError, match="VRT"):
        GeoTiffReader().header(find(vrt))
    reader = GeoTiffReader({"allow_vrt": True})
    with reader.open(find(vrt)) as source:
        assert source.read(Window(z=0, y=0, x=0, height=3, width=4), (0,))[0].tolist() == [RAMP.tolist()]


def test_a_sample_is_bounded_valid_deterministic_and_representative(write_tif: WriteTif) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(-12, 3, (2, 900, 1100)).astype(np.float32)
    values[:, :, 800:] = np.nan
    for name, tiling in (("s.tif", {}), ("t.tif", {"tiled": True, "blockxsize": 128, "blockysize": 128})):
        path = write_tif(name, values, nodata=np.nan, **tiling)
        with GeoTiffReader().open(find(path)) as source:
            one, two = (source.sample((0, 1), 5000) for _ in range(2))
            assert one.shape == (2, 5000)
            assert np.array_equal(one, two)
            assert np.isfinite(one).all()
            assert np.percentile(one, [2, 98]) == pytest.approx(np.nanpercentile(values, [2, 98]), abs=0.5)
            assert source.sample((1,), 10**7).shape == (1, 900 * 800)


def test_a_sample_of_nothing_is_empty(write_tif: WriteTif) -> None:
    with GeoTiffReader().open(find(write_tif("a.tif", np.zeros((5, 5), np.uint8), nodata=0))) as source:
        assert source.sample((0,), 10).shape == (1, 0)


def test_a_sample_of_a_huge_scene_reads_little_of_all_of_it(tmp_path: Path) -> None:
    """Every pixel is valid and none is left over, so what comes back is what was read; the borders are marked."""
    path, height, width, border = tmp_path / "a.tif", 10_000, 12_000, 700
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "sparse_ok": True, "tiled": True, "compress": "deflate"}
    borders = ((1, 0, 0, border, width), (2, height - border, 0, border, width), (3, 0, width - border, height, border))
    with rasterio.open(path, "w", height=height, width=width, transform=Affine(10, 0, 0, 0, -10, 0), **profile) as file:
        for value, top, left, rows, columns in borders:
            file.write(np.full((1, rows, columns), value, np.uint8), window=RasterWindow(left, top, columns, rows))
    with GeoTiffReader().open(find(path)) as source:
        sample = source.sample((0,), height * width)
    assert 4 * 2**20 < sample.shape[1] <= 8 * 2**20
    assert set(np.unique(sample)) == {0, 1, 2, 3}


def test_threads_have_datasets_of_their_own(write_tif: WriteTif) -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(0, 1000, (512, 512)).astype(np.uint16)
    path = write_tif("a.tif", values, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    reader, ref = GeoTiffReader(), find(path)
    wrong: list[str] = []

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(64)
        with reader.open(ref) as source:
            for number in order:
                y, x = divmod(int(number), 8)
                pixels, _ = source.read(Window(z=0, y=y * 64, x=x * 64, height=64, width=64), (0,))
                if not np.array_equal(pixels[0], values[y * 64 : y * 64 + 64, x * 64 : x * 64 + 64]):
                    wrong.append(f"{seed} {number}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
