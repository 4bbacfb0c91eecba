"""The sample archive: what it holds, that it is deterministic, bounded, and looks like radar."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import Selection, SupportRequest, VectorLabels
from hdm_pipeline.errors import OutputError
from hdm_pipeline.iou import iou
from hdm_pipeline.samples import archive as samples
from hdm_pipeline.samples.archive import RECIPES, SampleArchive, make_samples
from hdm_pipeline.samples.landscape import CELL, LOOKS, NOISE_FLOOR_DB, Landscape


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> SampleArchive:
    """The archive without its large scene, which takes most of the time."""
    patch = pytest.MonkeyPatch()
    patch.setattr(samples, "RECIPES", RECIPES[:3])
    made = make_samples(tmp_path_factory.mktemp("samples"))
    patch.undo()
    return made


def digests(archive: SampleArchive) -> dict[str, str]:
    """A hash of the pixels of each file, by its place in the archive."""
    files = archive.folder.rglob("*.tif")
    return {
        str(path.relative_to(archive.folder)): hashlib.sha256(rasterio.open(path).read().tobytes()).hexdigest()
        for path in files
    }


def test_the_archive_is_what_it_should_be() -> None:
    assert max(recipe.height * recipe.width for recipe in RECIPES) >= 4000 * 3000
    assert len({(recipe.height, recipe.width) for recipe in RECIPES}) == len(RECIPES) >= 4
    assert any(recipe.collar for recipe in RECIPES)


def test_scenes_are_two_band_radar_scenes(archive: SampleArchive) -> None:
    assert sorted(path.name for path in archive.folder.iterdir()) == ["scenes", "support", "truth"]
    for path, recipe in zip(archive.scenes, RECIPES, strict=False):
        with rasterio.open(path) as scene:
            assert scene.shape == (recipe.height, recipe.width)
            assert scene.descriptions == ("VV", "VH")
            assert scene.units == ("dB", "dB")
            assert scene.dtypes == ("float32", "float32")
            assert scene.crs.to_epsg() == recipe.epsg
            assert scene.res == (10.0, 10.0)
            assert scene.profile["tiled"]
            assert scene.compression is not None
            valid = scene.read_masks(1) != 0
            assert np.array_equal(valid, scene.read_masks(2) != 0)
            pixels = scene.read()[:, valid]
        assert (1 - valid.mean()) == pytest.approx(recipe.collar, abs=0.01)
        assert np.isfinite(pixels).all()
        assert -30 < pixels[1].mean() < pixels[0].mean() < -3


def test_the_truth_covers_the_scene(archive: SampleArchive) -> None:
    assert len(archive.truth) == len(archive.scenes)
    for image, truth in zip(archive.scenes, archive.truth, strict=True):
        with rasterio.open(image) as scene, rasterio.open(truth) as labels:
            assert (labels.shape, labels.crs, labels.transform) == (scene.shape, scene.crs, scene.transform)
            label, valid = labels.read(1), scene.read_masks(1) != 0
        assert np.array_equal(label == 255, ~valid)
        assert 0.05 < (label[valid] == 1).mean() < 0.7
        assert set(np.unique(label)) <= {0, 1, 255}


def test_five_chips_show_water_and_land(archive: SampleArchive) -> None:
    assert [(image.name, mask.name) for image, mask in archive.support] == [
        (f"chip_{n}.tif", f"chip_{n}_mask.tif") for n in range(1, 6)
    ]
    for image, mask in archive.support:
        with rasterio.open(image) as chip, rasterio.open(mask) as labels:
            assert (labels.shape, labels.transform) == (chip.shape, chip.transform)
            assert 0.2 <= (labels.read(1) == 1).mean() <= 0.55


def test_polygons_of_the_chips(archive: SampleArchive) -> None:
    """One layer gives back the masks; in the other a few polygons say nothing that is wrong."""
    traced = VectorLabels(Selection("water"), complete=True)
    drawn = VectorLabels(Selection("drawn", "class = 'water'"), Selection("drawn", "class = 'land'"))
    for image, mask in archive.support:
        truth = rasterio.open(mask).read(1)
        (whole,), (few,) = (
            GeoTiffReader().read_support(SupportRequest(str(image), str(archive.labels), vector=vector))
            for vector in (traced, drawn)
        )
        assert np.array_equal(whole.label, truth)
        known = few.label != 255
        assert 0.05 < known.mean() < 0.25
        assert (few.label[known] == truth[known]).all()
        assert set(few.label[known].tolist()) == {0, 1}


def test_water_is_dark_but_no_threshold_finds_it(archive: SampleArchive) -> None:
    scores = []
    for image, truth in zip(archive.scenes, archive.truth, strict=True):
        vv, water = rasterio.open(image).read(1), rasterio.open(truth).read(1)
        assert vv[water == 1].mean() < vv[water == 0].mean() - 5
        scores.append(max(iou(vv < level, water) for level in np.arange(-24, -8, 0.5)))
    assert 0.4 < np.mean(scores) < 0.9


def test_the_same_seed_gives_the_same_pixels(
    archive: SampleArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "RECIPES", RECIPES[:1])
    again, other = digests(make_samples(tmp_path / "a")), digests(make_samples(tmp_path / "b", seed=8))
    first = digests(archive)
    assert len(again) == 12
    assert again.items() <= first.items()
    assert not set(other.values()) & set(first.values())


def test_windows_of_the_landscape_fit_together() -> None:
    landscape = Landscape((1, 2), 3 * CELL, 2 * CELL + 100)
    whole = landscape.view(0, 0, 3 * CELL, 2 * CELL + 100)
    for y, x, height, width in ((CELL, 0, CELL, CELL), (0, CELL, 2 * CELL, CELL + 100), (2 * CELL, 2 * CELL, 40, 100)):
        part = landscape.view(y, x, height, width)
        assert np.array_equal(part.water, whole.water[y : y + height, x : x + width])
        cut = whole.backscatter[:, y : y + height, x : x + width]
        assert np.allclose(part.backscatter, cut, atol=2e-3)


def test_speckle_follows_the_gamma_law() -> None:
    """Intensity over its mean has variance 1 / looks and the skewness 2 / sqrt(looks) of a gamma law."""
    view = Landscape((5,), 4 * CELL, 4 * CELL).view(0, 0, 4 * CELL, 4 * CELL)
    floor = 10 ** (NOISE_FLOOR_DB / 10)
    speckle = []
    for band in range(2):
        ratio = 10 ** (view.backscatter[band].astype(np.float64) / 10) / (10 ** (view.clean[band] / 10.0) + floor)
        assert ratio.mean() == pytest.approx(1, abs=0.005)
        assert 1 / ratio.var() == pytest.approx(LOOKS, rel=0.02)
        assert ((ratio - 1) ** 3).mean() / ratio.std() ** 3 == pytest.approx(2 / np.sqrt(LOOKS), rel=0.05)
        speckle.append(ratio.ravel())
    assert abs(np.corrcoef(speckle)[0, 1]) < 0.005


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        make_samples(tmp_path / "file")
    assert caught.value.remedy
