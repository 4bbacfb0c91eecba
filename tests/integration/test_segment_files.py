"""`segment` over files and `DataArray`s gives what a run over the same files gives, and says what is wrong."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.features
import rioxarray
import xarray
from affine import Affine
from shapely.geometry import shape

from hdm_pipeline import FewShotSegmenter, Pipeline, segment
from hdm_pipeline.errors import BandError, ConfigError, HdmError, ModelInputError, SupportError
from hdm_pipeline.notebook import Segmentation, SuspectWarning, UnscaledWarning
from tests.integration.conftest import Workbench, make_bench, write_mask
from tests.vector_files import write_vector

SCALE = [(-25, 0), (-32, -5)]
TILES: dict[str, Any] = {"tile": 64, "overlap": 16}
GRID = Affine(10, 0, 500000, 0, -10, 5000000)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, kit: Path) -> Workbench:
    """The bench of the runs, with an example of two classes."""
    bench = make_bench(tmp_path_factory.mktemp("segment"))
    water = write_mask(bench.root / "support" / "labels.tif", 128, 128, 4)
    with rasterio.open(water, "r+") as file:
        labels = file.read(1)
        labels[:20][labels[:20] == 0] = 7  # the northern shore
        labels[60:64] = 255
        file.write(labels, 1)
    return bench


@pytest.fixture(scope="module")
def network(shared: Workbench) -> FewShotSegmenter:
    return FewShotSegmenter.load(shared.weights, device="cpu")


@pytest.fixture(scope="module")
def run(shared: Workbench) -> Path:
    """The output of a run of two classes."""
    example = {"image": "support/chip.tif", "mask": "support/labels.tif"}
    classes = [{"name": "open water", "examples": [example]}, {"name": "shore", "examples": [example | {"value": 7}]}]
    Pipeline.from_yaml(shared.pipeline(support={"classes": classes, "calibrate": "off"}, model={"reduction": 1})).run()
    return shared.root / "out"


def asked(shared: Workbench, network: FewShotSegmenter) -> dict[str, Any]:
    """Arguments that mean what the pipeline of `run` means."""
    support = [(shared.root / "support" / "chip.tif", shared.root / "support" / "labels.tif")]
    return {
        "support": support,
        "classes": {"open water": 1, "shore": 7},
        "bands": [1, 2],
        "scale": SCALE,
        "segmenter": network,
        **TILES,
    }


def published(folder: Path, scene: str, product: str) -> Any:
    return rioxarray.open_rasterio(folder / scene / f"{product}.tif", mask_and_scale=product == "score")


def quiet(*args: Any, **named: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SuspectWarning)
        warnings.simplefilter("error", UnscaledWarning)
        return segment(*args, **named)


@pytest.mark.parametrize("scene", ["large", "small"])
def test_a_path_gives_what_a_run_gives(shared: Workbench, network: FewShotSegmenter, run: Path, scene: str) -> None:
    found = quiet(shared.scenes / f"{scene}.tif", probabilities=True, **asked(shared, network))
    mask, score = published(run, scene, "mask")[0], published(run, scene, "score")
    assert set(np.unique(mask)) >= {0, 1, 2} - ({0} if scene == "small" else set())
    assert (found["mask"].values == mask.values).mean() > 0.9995  # a run rounds pixels to 16 bits
    assert np.array_equal(found["mask"].values == 255, mask.values == 255)
    assert np.nanmax(np.abs(found["probability"].values - score.values)) <= 1.01 / 255
    assert np.array_equal(np.isnan(found["probability"].values), np.isnan(score.values))
    assert list(found["class"].values) == ["open water", "shore"]
    for axis in "xy":
        np.testing.assert_allclose(found[axis], mask[axis])
    assert found["mask"].rio.crs == mask.rio.crs
    assert found["mask"].rio.transform() == mask.rio.transform()
    assert found["mask"].rio.nodata == 255
    assert found["mask"].attrs["class_names"] == ["open water", "shore"]
    assert found["mask"].attrs["flag_meanings"] == "background open_water shore"
    assert found["mask"].attrs["flag_values"].tolist() == [0, 1, 2]
    assert found["mask"].attrs["hdm_weights_hash"] == network.weights_hash


def test_a_data_array_gives_what_its_file_gives(shared: Workbench, network: FewShotSegmenter) -> None:
    arguments = asked(shared, network)
    path = shared.scenes / "large.tif"
    expected = quiet(path, **arguments)
    image = rioxarray.open_rasterio(path).assign_coords(season="wet")
    chip, labels = (rioxarray.open_rasterio(shared.root / "support" / name) for name in ("chip.tif", "labels.tif"))
    arguments["support"] = [(chip.transpose("x", "band", "y"), labels[0].transpose("x", "y"))]
    for dims in (("band", "y", "x"), ("x", "y", "band")):
        found = quiet(image.transpose(*dims), **arguments)
        assert isinstance(found, xarray.DataArray)
        assert found.dims == ("y", "x")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.rio.crs == expected.rio.crs
        assert found.rio.transform() == expected.rio.transform()
        assert found["season"] == "wet"
        assert "band" not in found.coords
        np.testing.assert_array_equal(found["y"], image["y"])


def test_the_mask_can_be_written_and_is_read_alike(
    shared: Workbench, network: FewShotSegmenter, tmp_path: Path
) -> None:
    found = quiet(rioxarray.open_rasterio(shared.scenes / "large.tif"), **asked(shared, network))
    found.rio.to_raster(tmp_path / "mask.tif")
    with rasterio.open(tmp_path / "mask.tif") as file:
        assert (file.crs.to_epsg(), file.transform, file.nodata) == (32633, GRID, 255)
        np.testing.assert_array_equal(file.read(1), found.values)
    found.to_zarr(tmp_path / "mask.zarr")
    back = xarray.open_zarr(tmp_path / "mask.zarr", mask_and_scale=False)["mask"]
    np.testing.assert_array_equal(back, found)
    assert back.attrs["flag_meanings"] == found.attrs["flag_meanings"]


def test_what_dask_computes_is_read_a_row_of_tiles_at_a_time(shared: Workbench, network: FewShotSegmenter) -> None:
    dask = pytest.importorskip("dask.array")
    from dask.callbacks import Callback

    image = rioxarray.open_rasterio(shared.scenes / "large.tif")
    done: list[int] = []

    def load(block: Any) -> Any:
        done.append(block.shape[1])
        return block

    lazy = image.copy(
        data=dask.from_array(image.values, chunks=(2, 32, 412)).map_blocks(
            load, dtype="f4", meta=np.empty((0, 0, 0), "f4")
        )
    )
    loads: list[int] = []
    with Callback(start=lambda _graph: done.clear(), finish=lambda *_: loads.append(sum(done))):
        found = quiet(lazy, **asked(shared, network))
    assert len(loads) > 3
    assert max(loads) <= 64 + 2 * 32  # of 333 rows: those of a row of tiles, in whole chunks
    np.testing.assert_array_equal(found.values, quiet(image, **asked(shared, network)).values)


def test_classes_may_have_examples_of_their_own(shared: Workbench, network: FewShotSegmenter) -> None:
    arguments = asked(shared, network)
    expected = quiet(shared.scenes / "middle.tif", **arguments)
    chip, labels = (rioxarray.open_rasterio(shared.root / "support" / name) for name in ("chip.tif", "labels.tif"))
    values = labels[0].values
    masks = {
        name: np.where(values == 255, 255, values == value).astype(np.uint8)
        for name, value in arguments.pop("classes").items()
    }
    arguments["support"] = {name: [(chip, mask)] for name, mask in masks.items()}
    found = quiet(shared.scenes / "middle.tif", **arguments)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.attrs["class_names"] == ["open water", "shore"]
    mixed = {name: [(shared.root / "support" / "chip.tif", mask)] for name, mask in masks.items()}
    np.testing.assert_array_equal(quiet(shared.scenes / "middle.tif", **arguments | {"support": mixed}), expected)
    arrays = quiet(
        rioxarray.open_rasterio(shared.scenes / "middle.tif").values,
        **arguments | {"support": {name: [(chip.values, mask)] for name, mask in masks.items()}},
    )
    assert isinstance(arrays, np.ndarray)
    np.testing.assert_array_equal(arrays, expected.values)


def test_names_alone_mean_the_values_from_one_on(shared: Workbench, network: FewShotSegmenter) -> None:
    chip, labels = (rioxarray.open_rasterio(shared.root / "support" / n)[...] for n in ("chip.tif", "labels.tif"))
    numbered = labels.copy(data=np.where(labels == 7, 2, labels))
    arguments = asked(shared, network)
    expected = quiet(shared.scenes / "middle.tif", **arguments)
    without = labels.copy(data=np.where(labels == 7, 0, labels))
    arguments |= {"support": [(chip, numbered)], "classes": ["open water", "shore"]}
    np.testing.assert_array_equal(quiet(shared.scenes / "middle.tif", **arguments).values, expected.values)
    # An example that lacks a class serves the others.
    arguments["support"] = [(chip, numbered), (chip, without)]
    assert set(np.unique(quiet(shared.scenes / "middle.tif", **arguments))) == {0, 1, 2}
    arguments["support"] = [(chip, without)]
    with pytest.raises(SupportError, match="no example shows the class 'shore'"):
        segment(shared.scenes / "middle.tif", **arguments)


def test_an_example_that_is_broken_is_told_and_not_left_out(shared: Workbench, network: FewShotSegmenter) -> None:
    arguments = asked(shared, network)
    (good,) = arguments["support"]
    for bad in ((good[0], shared.root / "absent.tif"), (np.ones((2, 8, 8)), np.ones((9, 8), int))):
        with pytest.raises(SupportError) as caught:
            segment(shared.scenes / "middle.tif", **arguments | {"support": [good, bad]})
        assert "example 2" in str(caught.value)


def test_an_example_may_be_written_as_in_a_pipeline(shared: Workbench, network: FewShotSegmenter) -> None:
    arguments = asked(shared, network)
    expected = quiet(shared.scenes / "middle.tif", **arguments)
    example = {"image": shared.root / "support" / "chip.tif", "mask": str(shared.root / "support" / "labels.tif")}
    del arguments["classes"]
    arguments["support"] = {"open water": [example], "shore": [example | {"value": 7}]}
    np.testing.assert_array_equal(quiet(shared.scenes / "middle.tif", **arguments).values, expected.values)
    for wrong, words in (
        ({"value": "x"}, "value"),
        ({"masc": "a.tif"}, "masc"),
        ({"mask": "absent.tif"}, "absent.tif"),
        ({"image": np.zeros((2, 8, 8))}, "`image` of example 1 of 'shore' is float64 (2, 8, 8), not a path"),
    ):
        with pytest.raises(SupportError) as caught:
            segment(shared.scenes / "middle.tif", **arguments | {"support": {"shore": [example | wrong]}})
        assert words in str(caught.value)
        assert caught.value.remedy
    with pytest.raises(SupportError, match="and so does `classes`"):
        segment(shared.scenes / "middle.tif", **arguments | {"support": [example], "classes": ["shore"]})


def test_a_vector_file_in_a_pair_is_a_mask(shared: Workbench, network: FewShotSegmenter) -> None:
    chip, mask = shared.root / "support" / "chip.tif", shared.root / "support" / "chip_mask.tif"
    with rasterio.open(mask) as file:
        shapes = rasterio.features.shapes(file.read(1), transform=file.transform)
        drawn = [(shape(geometry), "water") for geometry, value in shapes if value == 1]
    polygons = write_vector(shared.root / "drawn.gpkg", drawn)
    arguments = asked(shared, network)
    del arguments["classes"]
    found = [
        quiet(shared.scenes / "small.tif", **arguments | {"support": [(chip, one)]}).values for one in (mask, polygons)
    ]
    np.testing.assert_array_equal(*found)
    with pytest.raises(SupportError, match="its image is none") as caught:
        segment(shared.scenes / "small.tif", **arguments | {"support": [(rioxarray.open_rasterio(chip), polygons)]})
    assert "rioxarray" not in caught.value.remedy


def test_the_crs_may_have_any_name(shared: Workbench, network: FewShotSegmenter) -> None:
    arguments = one_class(shared, network)
    plain = arguments["array"].drop_vars("spatial_ref")
    named = plain.rio.write_crs(32633, grid_mapping_name="utm")
    found = quiet(**arguments | {"array": named})
    assert found.rio.grid_mapping == "utm"
    assert found.rio.crs.to_epsg() == 32633


def test_without_xarray_a_path_gives_arrays(
    shared: Workbench, network: FewShotSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = asked(shared, network)
    expected = quiet(shared.scenes / "large.tif", probabilities=True, **arguments)
    image = rioxarray.open_rasterio(shared.scenes / "large.tif")
    monkeypatch.setitem(sys.modules, "rioxarray", None)  # what an import finds that is not installed
    with pytest.raises(ConfigError, match="needs rioxarray, not installed") as caught:
        segment(image, **arguments)
    assert "pip install 'hdm-pipeline[xarray]'" in caught.value.remedy
    monkeypatch.setitem(sys.modules, "xarray", None)
    found = quiet(str(shared.scenes / "large.tif"), probabilities=True, **arguments)
    assert isinstance(found, Segmentation)
    np.testing.assert_array_equal(found.mask, expected["mask"].values)
    np.testing.assert_array_equal(found.probabilities, expected["probability"].values)
    assert found.classes == ("open water", "shore")
    assert found.transform == tuple(GRID)[:6]
    assert rasterio.CRS.from_wkt(found.crs_wkt).to_epsg() == 32633


def one_class(shared: Workbench, network: FewShotSegmenter) -> dict[str, Any]:
    arguments = asked(shared, network)
    del arguments["classes"]
    chip, mask = (rioxarray.open_rasterio(shared.root / "support" / name) for name in ("chip.tif", "chip_mask.tif"))
    return arguments | {"support": [(chip, mask)], "array": rioxarray.open_rasterio(shared.scenes / "small.tif")}


def changed(arguments: dict[str, Any], part: str, change: Any) -> dict[str, Any]:
    """The arguments with the image, the chip or its mask changed."""
    (chip, mask) = arguments["support"][0]
    if part == "array":
        return arguments | {"array": change(arguments["array"])}
    return arguments | {"support": [(change(chip), mask) if part == "chip" else (chip, change(mask))]}


@pytest.mark.parametrize(
    ("part", "change", "error", "words"),
    [
        ("array", lambda a: a.expand_dims(time=[0]), ModelInputError, "time axis"),
        (
            "array",
            lambda a: a.rename(band="when").assign_coords(when=np.array(["2024-01-01", "2024-02-01"], "M8[ns]")),
            ModelInputError,
            "time axis",
        ),
        ("array", lambda a: a.expand_dims(level=[0]), ModelInputError, "'band' besides x and y"),
        ("array", lambda a: xarray.DataArray(a.values), ModelInputError, "which are y and x is not known"),
        ("array", lambda a: a.to_dataset("band"), ModelInputError, "xarray.Dataset"),
        ("array", lambda a: a.astype(str), ModelInputError, "the array is <U"),
        ("array", lambda a: a[:, :0], ModelInputError, "'y': 0"),
        ("array", lambda a: a[:1], BandError, "no band '2'"),
        ("chip", lambda a: a[:1], SupportError, "no band '2'"),
        ("chip", lambda a: a.expand_dims(time=[0]), SupportError, "time axis"),
        ("mask", lambda a: a.rio.write_crs(32632), SupportError, "EPSG:32632, its image in EPSG:32633"),
        ("mask", lambda a: a.assign_coords(x=a.x + 30), SupportError, "lies 3.0 pixels off its image along x"),
        ("mask", lambda a: a[:, 1:], SupportError, "127 x 128 pixels, its image 128 x 128"),
        ("mask", lambda a: a + 0.5, SupportError, "fractions"),
        ("mask", lambda a: a * 3, SupportError, "holds 3"),
        ("mask", lambda a: xarray.concat([a, a], "band"), SupportError, "2 bands"),
        ("mask", lambda a: "mask.tif", SupportError, "its image is none"),
    ],
)
def test_what_cannot_be_used_is_told(
    shared: Workbench, network: FewShotSegmenter, part: str, change: Any, error: type[HdmError], words: str
) -> None:
    with pytest.raises(error) as caught:
        segment(**changed(one_class(shared, network), part, change))
    assert words in str(caught.value)
    assert caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"scale": (5, 1)}, ConfigError, "low end"),
        ({"scale": [(0, 1)]}, ConfigError, "1 range for 2 bands"),
        ({"scale": "knee"}, ConfigError, "no window"),
        ({"scale": {"low": 3}}, ConfigError, "bands or scale: low: no such key"),
        ({"scale": "knee"}, ConfigError, "bands or scale: fixed: no window is called 'knee'"),
        ({"bands": list(range(1, 40))}, ConfigError, "bands: List should have at most 32 items"),
        ({"bands": ["1 +"]}, ConfigError, "cannot be parsed"),
        ({"bands": []}, ConfigError, "bands or scale: bands: List should have at least 1 item"),
        ({"bands": [3, 1]}, HdmError, "no band '3'"),
        ({"reader": "jpeg"}, ConfigError, "no plug-in called 'jpeg'"),
        ({"options": {"aio": 1}}, ConfigError, "no such reader option"),
        ({"classes": {"a": 1, "b": 1}}, SupportError, "two classes"),
        ({"classes": ["a", "a"]}, SupportError, "one name"),
        ({"classes": "a"}, SupportError, "`classes` is a str"),
        ({"classes": {"a": 0.5}}, SupportError, "label value"),
        ({"support": {}}, SupportError, "0 classes"),
        ({"support": {"a": []}}, SupportError, "no example of 'a'"),
        ({"support": "chip.tif"}, SupportError, "the support is a str"),
        ({"array": "absent.tif"}, HdmError, "absent.tif"),
        ({"array": Path("scenes")}, HdmError, "scenes"),
    ],
)
def test_wrong_arguments_are_told(
    shared: Workbench,
    network: FewShotSegmenter,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    error: type[HdmError],
    words: str,
) -> None:
    monkeypatch.chdir(shared.root)
    with pytest.raises(error) as caught:
        segment(**one_class(shared, network) | arguments)
    assert words in str(caught.value)
    assert caught.value.remedy


def test_a_volume_is_no_image(network: FewShotSegmenter, shared: Workbench, tmp_path: Path) -> None:
    from tests.dicom_series import write_series

    write_series(tmp_path)
    with pytest.raises(HdmError) as caught:
        segment(tmp_path, reader="dicom", support=[(np.ones((1, 64, 64)), np.ones((64, 64), int))], segmenter=network)
    assert "volume" in str(caught.value)


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("array", lambda a: a.assign_coords(x=2 * a.x - 5e5, y=2 * a.y - 5e6), "20 m wide, those of the examples 10 m"),
        ("array", lambda a: 10 ** (a / 10), "at the high end of the scale"),
        ("array", lambda a: a * 0 - 24.9, "nearly everywhere"),
        ("array", lambda a: a.assign_attrs(long_name=("HH", "HV")), "called 'HH' here"),
        ("array", lambda a: a.assign_attrs(units=("1", "1")), "in '1' here and in 'dB'"),
    ],
)
def test_what_looks_wrong_is_warned_of_as_a_run_does(
    shared: Workbench, network: FewShotSegmenter, part: str, change: Any, words: str
) -> None:
    arguments = one_class(shared, network)
    arguments = changed(arguments, "chip", lambda a: a.assign_attrs(long_name=("VV", "VH"), units=("dB", "dB")))
    with pytest.warns(SuspectWarning) as caught:
        segment(**changed(arguments, part, change))
    assert any(words in str(one.message) for one in caught), [str(one.message) for one in caught]
    assert all(one.filename == __file__ for one in caught if one.category is SuspectWarning)


def test_bands_in_another_order_are_refused(shared: Workbench, network: FewShotSegmenter) -> None:
    arguments = one_class(shared, network)
    arguments = changed(arguments, "chip", lambda a: a.assign_attrs(long_name=("VV", "VH")))
    turned = arguments["array"][::-1].assign_attrs(long_name=("VH", "VV"))
    with pytest.raises(BandError, match="another order"):
        segment(**arguments | {"array": turned})
    expected = segment(**arguments | {"bands": [1, 2]})
    named = segment(**arguments | {"array": turned, "bands": ["VV", "VH"]})
    np.testing.assert_array_equal(named, expected)
    texts = turned.assign_coords(band=["VH", "VV"])
    np.testing.assert_array_equal(segment(**arguments | {"array": texts, "bands": ["VV", "VH"]}), expected)


def test_nodata_scale_and_offset_of_a_data_array_count(shared: Workbench, network: FewShotSegmenter) -> None:
    arguments = one_class(shared, network)
    image = arguments["array"]
    stored = ((image + 60) * 500).round().astype(np.uint16)
    stored[:, :5] = 9
    stored.attrs |= {"scale_factor": 1 / 500, "add_offset": -60.0}
    stored.rio.write_nodata(9, inplace=True)
    found = quiet(**arguments | {"array": stored})
    assert (found[:5] == 255).all()
    assert (found[5:] != 255).all()
    plain = quiet(**arguments)
    assert (found[5:] == plain[5:]).mean() > 0.99
    assert found.rio.nodata == 255
    assert "scale_factor" not in found.attrs
    hidden = xarray.ones_like(image[0], dtype=bool).where(image["x"] > image["x"][9], False).astype(bool)
    valid = quiet(**arguments | {"array": stored, "valid": hidden.transpose("x", "y")})
    assert (valid[:, :10] == 255).all()
    assert (valid[5:, 10:] == found[5:, 10:]).all()


def test_unscaled_files_are_warned_of(shared: Workbench, network: FewShotSegmenter) -> None:
    with pytest.warns(UnscaledWarning, match="the array holds numbers from"):
        segment(**one_class(shared, network) | {"scale": None})
