"""Archives as they are, from pipeline file to mask: bands in files of their own, products, zip, tar, stated values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.features
from affine import Affine
from shapely.geometry import shape

from hdm_pipeline import segment
from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.config.schema import Input
from hdm_pipeline.errors import SupportError
from hdm_pipeline.pipeline import Pipeline
from tests import command
from tests.integration.conftest import Workbench, steps_of
from tests.products import coarse, tarred, write_band, write_landsat, write_safe, zipped
from tests.vector_files import write_vector

ROOT = Path(__file__).resolve().parents[2]
Image = dict[str, npt.NDArray[np.uint16]]
SCALE = {"fixed": [0, 4000]}


def lake(seed: int, height: int = 160, width: int = 132) -> tuple[npt.NDArray[np.bool_], Image]:
    """A dark lake on bright land in three bands, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    water = ((y - height * 0.45) / (height * 0.25)) ** 2 + ((x - width * 0.5) / (width * 0.22)) ** 2 < 1
    colors = {"B02": (250, 1800), "B03": (275, 2100), "B04": (150, 2900)}
    return water, {
        name: (np.where(water, dark, bright) + rng.normal(0, 40, water.shape)).clip(1).astype(np.uint16)
        for name, (dark, bright) in colors.items()
    }


def stack(path: Path, image: Image, **profile: Any) -> Path:
    """One file with all bands, without names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack(list(image.values()))
    size = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype}
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 499980, 0, -10, 5200020)}
    with rasterio.open(path, "w", driver="GTiff", **{**size, **place, **profile}) as file:
        file.write(pixels)
    return path


@pytest.fixture
def archive(bench: Workbench) -> Workbench:
    """An example of one file, and no scene."""
    for path in bench.scenes.iterdir():
        path.unlink()
    water, image = lake(7, 128, 128)
    stack(bench.root / "support" / "chip.tif", image)
    write_band(bench.root / "support" / "chip_mask.tif", water.astype(np.uint8), 10)
    return bench


def pipeline(bench: Workbench, folder: str = "out", **given: Any) -> Path:
    return bench.pipeline(folder, input={"bands": [1, 2, 3], "scale": SCALE, **given}, model={
        "weights": str(bench.weights), "reduction": 1
    })  # fmt: skip


def hdm(bench: Workbench, *words: str) -> tuple[int, str]:
    """Exit code and all that a command prints."""
    ended = command.hdm(*words, folder=bench.root)
    return ended.returncode, ended.stdout + ended.stderr


def mask(bench: Workbench, scene: str, folder: str = "out") -> npt.NDArray[np.uint8]:
    with rasterio.open(bench.root / folder / scene / "mask.tif") as file:
        return np.asarray(file.read(1))


def scenes(bench: Workbench, folder: str = "out") -> dict[str, Any]:
    return dict(json.loads((bench.root / folder / "run.json").read_text())["scenes"])


def found(made: npt.NDArray[np.uint8], water: npt.NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float(((made == 1) & water).sum() / ((made == 1) | water).sum())


def test_bands_in_separate_files_give_the_mask_of_one_file(archive: Workbench) -> None:
    """Files called like Sentinel-2's are one scene without a word; others by patterns, in either place."""
    water, image = lake(0)
    for name, pixels in image.items():
        write_band(archive.scenes / f"T33_20220126_{name}_10m.tif", pixels, 10)
        write_band(archive.root / "other" / f"day1-{name.lower()}.tif", pixels, 10)
    stack(archive.root / "one" / "a.tif", image)
    assert hdm(archive, "run", str(pipeline(archive)))[0] == 0
    assert list(scenes(archive)) == ["T33_20220126"]
    assert found(mask(archive, "T33_20220126"), water) > 0.9
    for folder, given in {
        "whole": {"uri": "one"},
        "mapped": {"uri": "other", "bands": {name: f"*-{name.lower()}.tif" for name in image}},
        "option": {"uri": "other", "options": {"bands": {name: f"*-{name.lower()}.tif" for name in image}}},
    }.items():
        Pipeline.from_yaml(pipeline(archive, folder, **given)).run()
        (scene,) = scenes(archive, folder)
        np.testing.assert_array_equal(mask(archive, scene, folder), mask(archive, "T33_20220126"))


def test_a_scene_that_lacks_a_band_is_quarantined_by_name(archive: Workbench) -> None:
    _, image = lake(0)
    bands = {name: f"*_{name}.tif" for name in image}
    for name, pixels in image.items():
        write_band(archive.scenes / f"whole_{name}.tif", pixels, 10)
        if name != "B03":
            write_band(archive.scenes / f"part_{name}.tif", pixels, 10)
    write_band(archive.scenes / "whole_B99.tif", image["B02"], 10)
    code, text = hdm(archive, "run", str(pipeline(archive, bands=bands)))
    assert code == 3
    assert "quarantined part" in text
    assert "band B03 is missing: no file fits *_B03.tif" in text
    report = json.loads((archive.root / "out" / "run.json").read_text())
    assert {name: scene["status"] for name, scene in report["scenes"].items()} == {
        "whole": "done",
        "part": "quarantined",
    }
    assert any("whole_B99.tif" in one["input"] and "fits no pattern" in one["reason"] for one in report["skipped"])


def test_an_archive_of_which_no_scene_can_be_used_is_not_valid(archive: Workbench) -> None:
    _, image = lake(0)
    for name, pixels in image.items():
        write_band(archive.scenes / f"a_{name}.tif", pixels, 10)
        write_band(archive.scenes / f"b_{name}.tif", pixels, 10)
    bands = {"B02": "*_B02.tif", "B03": "*_B03.tif", "B04": "*_B4.tif"}
    with pytest.raises(PipelineFileError) as caught:
        Pipeline.from_yaml(pipeline(archive, bands=bands)).validate(data=True)
    (problem,) = caught.value.problems
    assert problem.key == "input"
    assert "none of the 2 scenes that were opened can be used" in problem.what
    assert "no file fits *_B4.tif" in problem.what
    write_band(archive.scenes / "b_B4.tif", image["B04"], 10)
    told = Pipeline.from_yaml(pipeline(archive, bands=bands)).validate(data=True)
    assert told[0].startswith("scene a cannot be used: band B04 is missing")


def test_a_band_that_changed_redoes_its_scene_alone(archive: Workbench) -> None:
    for scene in ("a", "b"):
        for name, pixels in lake(3)[1].items():
            write_band(archive.scenes / f"{scene}_{name}.tif", pixels, 10)
    file = pipeline(archive, bands={name: f"*_{name}.tif" for name in ("B02", "B03", "B04")})
    assert set(Pipeline.from_yaml(file).run().done) == {"a", "b"}
    assert not Pipeline.from_yaml(file).run().done
    write_band(archive.scenes / "b_B03.tif", lake(4)[1]["B03"], 10)
    assert set(Pipeline.from_yaml(file).run().done) == {"b"}


@pytest.mark.parametrize("level", ["L2A", "L1C"])
def test_sentinel2_products_of_two_baselines(level: str, archive: Workbench) -> None:
    """1000 more in what is stored, and metadata that say so, change no pixel; an example may be a product too."""
    water, image = lake(0)
    more = {name: pixels + np.uint16(1000) for name, pixels in image.items()}
    old = write_safe(archive.scenes, image, level=level, date="20210126T100321", offset=None)
    new = write_safe(archive.scenes, more, level=level)
    zipped(write_safe(archive.scenes, more, level=level, date="20220210T100321"))
    bare = write_safe(archive.scenes, more, level=level, date="20220305T100321", metadata=False)
    example, pixels = lake(7, 128, 128)
    chip = write_safe(archive.root, pixels, level=level, date="20210801T100321", offset=None)
    file = pipeline(archive, bands=["B02", "B03", "B04"])
    text = file.read_text().replace("support/chip.tif", chip.name)
    file.write_text(text)
    code, text = hdm(archive, "run", str(file))
    assert code == 0, text
    assert "offset_unknown" in text
    ids = sorted(scenes(archive))
    assert len(ids) == 4
    first = mask(archive, old.name.removesuffix(".SAFE"))
    assert found(first, water) > 0.9
    for name in ids[1:3]:
        np.testing.assert_array_equal(mask(archive, name), first)
    unsure = bare.name.removesuffix(".SAFE")
    assert [one["kind"] for one in scenes(archive)[unsure]["warnings"] if one["kind"] == "offset_unknown"]
    assert scenes(archive)[new.name.removesuffix(".SAFE")]["warnings"] == []
    # What the metadata would say, said by hand and for this scene alone.
    file.write_text(file.read_text().replace("scale:", 'offset: {"*_20220305T*": -1000}\n  scale:', 1))
    Pipeline.from_yaml(file).run()
    np.testing.assert_array_equal(mask(archive, unsure), first)
    assert example.any()


def test_polygons_drawn_over_products(archive: Workbench) -> None:
    """Labels in one GeoPackage over Sentinel-2 products, one of them zipped, with a band of 20 m."""
    water, image = lake(7, 128, 128)
    bands = {"B03": image["B03"], "B11": image["B04"]}
    write_safe(archive.root / "chips", bands, offset=None, date="20210801T100321")
    zipped(write_safe(archive.scenes, {name: pixels + np.uint16(1000) for name, pixels in bands.items()}))
    shapes = rasterio.features.shapes(water.astype(np.uint8), transform=Affine(10, 0, 499980, 0, -10, 5200020))
    polygons = [(shape(geometry), "lake") for geometry, value in shapes if value == 1]
    write_vector(archive.root / "labels.gpkg", polygons, layer="labels")
    example = {"image": "chips/*.SAFE", "labels": "labels.gpkg", "complete": True}
    support = {"classes": [{"name": "lake", "examples": [example]}]}
    file = archive.pipeline(
        input={"bands": ["B03", "B11"], "scale": SCALE},
        support=support,
        model={"weights": str(archive.weights), "reduction": 1},
    )
    code, text = hdm(archive, "run", str(file))
    assert code == 0, text
    (scene,) = scenes(archive)
    assert found(mask(archive, scene), water) > 0.9


def test_a_pattern_that_names_every_band_of_an_example_is_refused(archive: Workbench) -> None:
    """It would make three equal examples of one scene."""
    water, image = lake(7, 128, 128)
    for name, pixels in image.items():
        write_band(archive.root / "chips" / f"c_{name}.tif", pixels, 10)
        write_band(archive.scenes / f"a_{name}.tif", pixels, 10)
    place = Affine(10, 0, 499980, 0, -10, 5200020)
    shapes = rasterio.features.shapes(water.astype(np.uint8), transform=place)
    drawn = [(shape(geometry), "lake") for geometry, value in shapes if value == 1]
    write_vector(archive.root / "labels.gpkg", drawn, layer="labels")
    bands = {name: f"*_{name}.tif" for name in image}
    for pattern, refused in (("chips/*.tif", True), ("chips/*_B04.tif", False)):
        example = {"image": pattern, "labels": "labels.gpkg", "complete": True}
        file = archive.pipeline(
            input={"bands": bands, "scale": SCALE}, support={"classes": [{"name": "lake", "examples": [example]}]}
        )
        if refused:
            with pytest.raises(SupportError, match="two examples are one"):
                Pipeline.from_yaml(file).plan()
            with pytest.raises(PipelineFileError, match="two examples are one"):
                Pipeline.from_yaml(file).validate(data=True)
        else:
            assert len(Pipeline.from_yaml(file).run().done) == 1


def test_a_changed_metadata_file_or_example_redoes_the_work(archive: Workbench) -> None:
    _, image = lake(0)
    safe = write_safe(archive.scenes, image, offset=0)
    chip = write_safe(archive.root, lake(7, 128, 128)[1], offset=0)
    file = pipeline(archive, bands=["B02", "B03", "B04"])
    file.write_text(file.read_text().replace("support/chip.tif", chip.name))
    assert len(Pipeline.from_yaml(file).run().done) == 1
    for product in (safe, chip):
        metadata = product / "MTD_MSIL2A.xml"
        metadata.write_text(metadata.read_text().replace(">0<", ">-10<"))
        assert len(Pipeline.from_yaml(file).run().done) == 1
        assert not Pipeline.from_yaml(file).run().done


def test_landsat_products(archive: Workbench) -> None:
    """Reflectance by the MTL file, from a folder and from the tar that the USGS delivers; QA only where it is named."""
    water, image = lake(0)
    reflectance = {"SR_B2": "B02", "SR_B3": "B03", "SR_B4": "B04"}
    stored = {
        name: np.rint((image[band] / 10000 + 0.2) / 2.75e-5).astype(np.uint16) for name, band in reflectance.items()
    }
    write_landsat(archive.scenes, stored)
    tarred(write_landsat(archive.scenes, stored, name="LC09_L2SP_193027_20220203_20220205_02_T1"))
    chip = archive.root / "support" / "chip.tif"
    stack(chip, {name: (pixels / 10000).astype(np.float32) for name, pixels in lake(7, 128, 128)[1].items()})
    code, text = hdm(archive, "run", str(pipeline(archive, scale={"fixed": [0, 0.4]})))
    assert code == 0, text
    one, two = (mask(archive, name) for name in sorted(scenes(archive)))
    assert found(one, water) > 0.9
    np.testing.assert_array_equal(one, two)


def test_a_stated_nodata_value_is_that_of_the_file(archive: Workbench) -> None:
    _, image = lake(0)
    collared = {name: np.where(np.arange(132) < 30, 0, pixels).astype(np.uint16) for name, pixels in image.items()}
    stack(archive.scenes / "a.tif", collared)
    stack(archive.root / "tagged" / "a.tif", collared, nodata=0)
    file = str(pipeline(archive))
    hdm(archive, "run", file)
    assert 255 not in mask(archive, "a")
    for change in ("input.options.nodata=0", "input.nodata=0", "input.nodata={'a*': [0, 0, 0]}"):
        code, text = hdm(archive, "run", file, "--set", change)
        assert code == 0, text
        made = mask(archive, "a")
        assert (made[:, :30] == 255).all()
        assert (made[:, 30:] != 255).all()
    Pipeline.from_yaml(pipeline(archive, "tags", uri="tagged")).run()
    np.testing.assert_array_equal(made, mask(archive, "a", "tags"))
    code, text = hdm(archive, "run", file, "--set", "input.nodata=[0, 0]")
    assert code != 0
    assert "nodata has 2 values, but the scene has 3 bands" in text


def test_an_offset_for_some_scenes_alone(archive: Workbench) -> None:
    water, image = lake(0)
    stack(archive.scenes / "old.tif", image)
    stack(archive.scenes / "new.tif", {name: pixels + np.uint16(1000) for name, pixels in image.items()})
    stack(archive.scenes / "tenth.tif", {name: (pixels * 10).astype(np.uint16) for name, pixels in image.items()})
    options = {"offset": {"new*": -1000}, "scale_factor": {"tenth.tif": 0.1}}
    Pipeline.from_yaml(pipeline(archive, options=options)).run()
    first = mask(archive, "old")
    assert found(first, water) > 0.9
    for name in ("new", "tenth"):
        np.testing.assert_array_equal(mask(archive, name), first)
        assert scenes(archive)[name]["warnings"] == []


def test_blocks_of_unlike_bands_have_no_seams(archive: Workbench) -> None:
    """The same mask however the scene is cut into blocks, with a band that is resampled."""
    _, image = lake(0, 300, 260)
    image["B11"] = coarse(image.pop("B04"), 2)
    for name, pixels in image.items():
        write_band(archive.scenes / f"a_{name}.tif", pixels, 20 if name == "B11" else 10)
    bands = {name: f"*_{name}.tif" for name in image}
    masks = []
    for block in (1, 4):
        file = pipeline(archive, f"out{block}", bands=bands)
        file.write_text(file.read_text().replace("block: 4", f"block: {block}"))
        Pipeline.from_yaml(file).run()
        masks.append(mask(archive, "a", f"out{block}"))
        assert steps_of(archive.root / f"out{block}")["stage"] >= 2
    np.testing.assert_array_equal(*masks)


def test_jpeg2000_and_zip_scenes(archive: Workbench) -> None:
    water, image = lake(0)
    one = write_band(archive.scenes / "many" / "z.jp2", image["B02"], 10)
    one.rename(archive.scenes / "y.jp2")
    stack(archive.scenes / "many" / "z.tif", {"B02": image["B02"]})
    zipped(archive.scenes / "many")
    file = pipeline(archive, bands=[1])
    assert hdm(archive, "run", str(file), "--set", "input.options.recursive=true")[0] == 0
    assert found(mask(archive, "y"), water) > 0.9
    np.testing.assert_array_equal(mask(archive, "y"), mask(archive, "z"))


@pytest.mark.parametrize(
    ("given", "key", "what"),
    [
        ({"bands": {"B04": 3}}, "bands", "is not a pattern that tells the files"),
        ({"bands": {"B04": "*"}}, "bands", "is not a pattern that tells the files"),
        ({"nodata": "zero"}, "nodata", "not a finite number"),
        ({"offset": {"a*": "b"}}, "offset", "not a finite number"),
        ({"scale_factor": 0}, "scale_factor", "makes all values alike"),
        ({"options": {"scene": "("}}, "options.scene", "no regular expression"),
        ({"options": {"resolution": -1}}, "options.resolution", "no resolution"),
        ({"options": {"resampling": "cubic"}}, "options.resampling", "none of the choices"),
        ({"options": {"recursiv": True}}, "options.recursiv", "no such reader option"),
        ({"nodata": 0, "options": {"nodata": 1}}, "", "given twice"),
    ],
)
def test_what_is_wrong_is_told_before_the_run(given: dict[str, Any], key: str, what: str, archive: Workbench) -> None:
    with pytest.raises(PipelineFileError, match=what) as caught:
        Pipeline.from_yaml(pipeline(archive, **given)).validate()
    assert f"input.{key}".rstrip(".") in [problem.key for problem in caught.value.problems]


def test_the_pipeline_file_for_sentinel2_runs(archive: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its header says it: products in a folder, a chip with described bands beside them."""
    water, image = lake(0)
    bands = {"B03": image["B03"], "B08": image["B04"], "B11": image["B04"]}
    data = archive.root / "data"
    safe = write_safe(data, {name: pixels + np.uint16(1000) for name, pixels in bands.items()})
    chip, pixels = lake(7, 128, 128)
    stack(data / "support" / "chip.tif", {"B03": pixels["B03"], "B08": pixels["B04"], "B11": pixels["B04"]})
    with rasterio.open(data / "support" / "chip.tif", "r+") as file:
        file.descriptions = tuple(bands)
    write_band(data / "support" / "chip_mask.tif", chip.astype(np.uint8), 10)
    monkeypatch.setenv("HDM_SENTINEL2_DATA", str(data))
    given = {"execution.executor": "inline", "model.weights": archive.weights, "output.directory": archive.root / "out"}
    words = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    code, text = hdm(archive, "run", str(ROOT / "pipelines" / "sentinel2_bands.yaml"), *words)
    assert code == 0, text
    assert found(mask(archive, safe.name.removesuffix(".SAFE")), water) > 0.8


def test_keys_of_input_are_options_of_the_reader() -> None:
    """They stand among the options, and so in the keys of scenes; what is read again is the same."""
    given = {"uri": "x", "scale": SCALE, "bands": {"a": "*a.tif", "b": "*b.tif"}, "nodata": 0, "offset": {"x*": -1}}
    made = Input.model_validate(given)
    assert made.bands == [1, 2]
    assert made.options == {"bands": given["bands"], "nodata": 0, "offset": {"x*": -1}}
    assert Input.model_validate(made.model_dump()) == made
    assert given["nodata"] == 0


def test_a_lake_across_two_scenes_of_a_day_is_found_whole(archive: Workbench) -> None:
    _, image = lake(0)
    whole = {name: pixels[:, :130] for name, pixels in image.items()}
    place = Affine(10, 0, 499980, 0, -10, 5200020)
    stack(archive.root / "one" / "a.tif", whole)
    stack(archive.scenes / "w_20220126.tif", {name: pixels[:, :70] for name, pixels in whole.items()})
    right = {name: pixels[:, 60:] for name, pixels in whole.items()}
    stack(archive.scenes / "e_20220126.tif", right, transform=place * Affine.translation(60, 0))
    code, text = hdm(archive, "run", str(pipeline(archive, options={"mosaic": "date", "date": "_%Y%m%d"})))
    assert code == 0, text
    Pipeline.from_yaml(pipeline(archive, "single", uri="one")).run()
    (scene,) = scenes(archive)
    assert scene == "2022-01-26_e_20220126"
    np.testing.assert_array_equal(mask(archive, scene), mask(archive, "a", "single"))


def test_segment_opens_only_the_bands_that_are_asked_for(archive: Workbench) -> None:
    """A run segments B11 on its own grid of 20 m; so does `segment`, though the product has bands of 10 m."""
    water, image = lake(7, 128, 128)
    safe = write_safe(archive.root, {**image, "B11": image["B02"]}, offset=None)
    write_band(archive.root / "water.tif", coarse(water.astype(np.uint16), 2).astype(np.uint8), 20)
    made = segment(safe, [(safe, archive.root / "water.tif")], bands=["B11"], scale=(0, 4000), weights=archive.weights)
    assert made.shape == (64, 64)
