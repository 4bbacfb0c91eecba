"""Preparing the supports: the weights file is parsed once, and what was fitted is what runs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from safetensors import safe_open

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Provenance
from hdm_pipeline.errors import SupportError
from hdm_pipeline.execution.messages import RunContext
from hdm_pipeline.execution.model_worker import ModelWorker
from hdm_pipeline.iou import iou
from hdm_pipeline.model import checkpoints
from hdm_pipeline.model.bands.evidence import BandEvidence
from hdm_pipeline.model.bands.examples import BandExample
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.model.pyramid.network import HDMNetPyramid
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.pictures.examples import ExamplePicture
from hdm_pipeline.planning.validation import class_infos
from hdm_pipeline.plugin.registry import make_reader
from hdm_pipeline.support.examples import load_examples, support_files
from hdm_pipeline.support.preparation import Preparation
from hdm_pipeline.support.prepare import check_examples, prepare
from hdm_pipeline.support.read import read_examples
from hdm_pipeline.support.steps import StepState
from tests.small_pyramid import small_pyramid
from tests.unit.model.conftest import make_network

SIDE = 96
Opened = list[Path]


def write_example(folder: Path, seed: int, side: int = SIDE) -> None:
    """A chip with a bright square, and its mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    top, left = rng.integers(0, side // 2, 2)
    mask[top : top + side // 3, left : left + side // 3] = 1
    pixels = (np.where(mask == 1, 0.7, 0.3) + rng.normal(0, 0.08, mask.shape)).astype(np.float32)
    for name, array in (("chip", pixels), ("mask", mask)):
        profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": array.dtype.name}
        profile["transform"] = Affine.scale(10, -10)
        with rasterio.open(folder / f"{name}_{seed}.tif", "w", **profile) as file:
            file.write(array, 1)


def pipeline(folder: Path, weights: Path, *, shots: int = 2, classes: int = 1, **settings: Any) -> PipelineConfig:
    for seed in range(shots):
        write_example(folder, seed)
    pairs = [{"image": str(folder / f"chip_{i}.tif"), "mask": str(folder / f"mask_{i}.tif")} for i in range(shots)]
    return PipelineConfig.model_validate(
        {
            "name": "test",
            "input": {"uri": str(folder), "bands": [1], "scale": {"fixed": [0, 1]}},
            "support": {
                "adapt": settings.pop("adapt", "off"),
                "classes": [{"name": f"class {number}", "examples": pairs} for number in range(classes)],
            },
            "model": {"weights": str(weights), **settings},
            "tiling": {"size": 512},
            "execution": {"executor": "inline"},
            "output": {"directory": str(folder / "out")},
        }
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """The weights files that were parsed, in order; they are really read."""
    files: Opened = []

    def counted(path: Path, **settings: str) -> Any:
        files.append(path)
        return safe_open(path, **settings)

    monkeypatch.setattr(checkpoints, "safe_open", counted)
    return files


def prepared(config: PipelineConfig) -> Preparation:
    workspace = Workspace(Path(config.output.directory))
    workspace.create()
    return prepare(config, read_examples(config, support_files(config), make_reader("geotiff", {})), workspace)


def worker(config: PipelineConfig, found: Preparation, *, elsewhere: bool) -> ModelWorker:
    """What computes the scores: here, or as in another process, where a bundle arrives as bytes."""
    bundle = pickle.loads(pickle.dumps(found.bundle)) if elsewhere else found.bundle
    workspace = Workspace(Path(config.output.directory))
    made_by = Provenance("0", "pipeline", found.weights_hash, found.support_hash, 0.5, "test")
    return ModelWorker(RunContext(config, workspace, class_infos(config), made_by), bundle)


def tiles() -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(9).random((2, 1, SIDE, SIDE), np.float32)
    return pixels, np.ones((2, SIDE, SIDE), np.bool_)


@pytest.mark.parametrize("classes", [1, 3])
def test_the_weights_file_is_parsed_once(tmp_path: Path, opened: Opened, classes: int) -> None:
    weights = tmp_path / "w.safetensors"
    save_weights(small_pyramid(2), weights)
    config = pipeline(tmp_path, weights, classes=classes)
    found = prepared(config)
    worker(config, found, elsewhere=False)
    assert opened == [weights]
    check_examples(config, make_reader("geotiff", {}))
    assert opened == [weights] * 2


def test_a_second_class_with_the_same_images_computes_no_features_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does encoding them, or judging each by the other, compute once more what choosing the reduction did."""
    weights = tmp_path / "w.safetensors"
    save_weights(small_pyramid(2), weights)
    config, again = pipeline(tmp_path, weights), pipeline(tmp_path, weights, classes=2)
    for seed in range(2):
        write_example(tmp_path, seed, side=320)
    computed: list[tuple[int, ...]] = []
    features = HDMNetPyramid.features

    def counted(network: HDMNetPyramid, images: torch.Tensor, finest: int = 0) -> Any:
        computed.append(tuple(images.shape))
        return features(network, images, finest)

    monkeypatch.setattr(HDMNetPyramid, "features", counted)
    alone = prepared(config)
    first, computed[:] = list(computed), []
    both = prepared(again)
    assert first == [(1, 3, side, side) for side in (320, 224, 160) for _ in range(2)]
    assert computed == first
    assert [bank.hash for bank in both.bundle.banks][:1] == [bank.hash for bank in alone.bundle.banks]


def test_adapting_parses_nothing_more_and_again_only_what_is_kept(tmp_path: Path, opened: Opened) -> None:
    weights = tmp_path / "w.safetensors"
    save_weights(small_pyramid(2), weights)
    config = pipeline(tmp_path, weights, shots=1, adapt={"steps": 2})
    first = prepared(config)
    worker(config, first, elsewhere=False)
    assert opened == [weights]
    again = prepared(config)
    kept = Path(again.bundle.weights[0])
    assert opened == [weights, weights, kept, kept]  # its header, then its tensors
    assert kept != weights
    assert first.weights_hash == again.weights_hash
    assert [first.report["class 0"]["adaptation"]["cached"], again.report["class 0"]["adaptation"]["cached"]] == [
        False,
        True,
    ]


@pytest.mark.parametrize("adapt", ["off", {"steps": 2}])
def test_what_was_fitted_is_what_runs_in_every_process(tmp_path: Path, adapt: object) -> None:
    weights = tmp_path / "w.safetensors"
    save_weights(small_pyramid(2), weights)
    config = pipeline(tmp_path, weights, adapt=adapt)
    found = prepared(config)
    bundle = found.bundle
    fitted = bundle.loaded[bundle.weights[0], bundle.reductions[0]]
    pixels, valid = tiles()
    scores = fitted.predict(pixels, bundle.banks, valid=valid)
    assert scores.std() > 1
    assert worker(config, found, elsewhere=False)._groups[0][0] is fitted
    there = worker(config, found, elsewhere=True)
    assert there._groups[0][0] is not fitted
    np.testing.assert_array_equal(there._predict(pixels, valid)[0], scores)


def test_the_network_that_is_fitted_has_the_settings_of_the_run(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save_weights(make_network(), weights)
    config = pipeline(tmp_path, weights, shots=1, base_learner=False, reduction=1)
    found = prepared(config)
    (fitted,) = found.bundle.loaded.values()
    assert fitted.network.config["base_learner"] is False
    pixels, valid = tiles()
    scores = fitted.predict(pixels[:1], found.bundle.banks, valid=valid[:1])
    np.testing.assert_array_equal(worker(config, found, elsewhere=True)._predict(pixels[:1], valid[:1])[0], scores)


def test_the_report_names_each_example(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save_weights(small_pyramid(2), weights)
    report = prepared(pipeline(tmp_path, weights, shots=1, reduction=1)).report["class 0"]
    assert list(report) == [
        *("shots", "reduction", "mode", "examples", "calibration", "area_interval_scores"),
        *("adaptation", "seconds", "warnings"),
    ]
    assert [example["name"] for example in report["examples"]] == ["chip_0.tif"]
    assert report["adaptation"] == {"steps": 0, "reason": "off"}


def test_what_an_invalid_pixel_of_an_example_holds_does_not_matter(tmp_path: Path) -> None:
    """Neither to what the network sees nor to the rule of all bands, which looks at the surroundings of a pixel."""
    weights = tmp_path / "w.safetensors"
    save_weights(small_pyramid(2), weights)
    config = pipeline(tmp_path, weights, shots=1, reduction=1)
    pixels, mask = (Path(tmp_path, f"{name}_0.tif") for name in ("chip", "mask"))
    with rasterio.open(pixels) as file:
        chip, profile = file.read(1), file.profile
    chip[:, :30] = -999
    with rasterio.open(pixels, "w", **{**profile, "count": 5, "nodata": -999}) as file:
        for band in range(1, 6):
            file.write(np.where(chip == -999, chip, chip * band / 5), band)
    config = config.model_copy(update={"input": config.input.model_copy(update={"bands": [1, 2, 3, 4, 5]})})
    ((example,),) = load_examples(config, support_files(config), make_reader("geotiff", {}))
    assert np.isnan(example.pixels[:, :, :30]).all()
    with rasterio.open(mask) as file:
        known = np.where(chip == -999, 255, file.read(1)).astype(np.uint8)
    (bank,) = prepared(config).bundle.banks
    arrays = np.nan_to_num(example.pixels), chip != -999, known
    plain = BandExample(*(torch.from_numpy(array) for array in arrays))
    np.testing.assert_array_equal(bank.arrays["bands.coefficients"], BandEvidence.solve([plain]).coefficients)


def test_labels_in_part_are_reported_and_a_class_without_background_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save_weights(small_pyramid(2), weights)
    config = pipeline(tmp_path, weights, shots=1, adapt="auto")
    with rasterio.open(tmp_path / "mask_0.tif", "r+") as file:
        mask = file.read(1)
        points = np.full_like(mask, 255)
        for value in (0, 1):
            points[tuple(np.argwhere(mask == value)[::200].T)] = value
        file.write(points, 1)
    report = prepared(config).report["class 0"]
    (example,) = report["examples"]
    assert example["labelled_share"] == np.mean(points != 255)
    assert "too few to judge" in example["note"]
    assert (report["adaptation"]["steps"], report["adaptation"]["held_out_iou"]) == (0, {})
    with rasterio.open(tmp_path / "mask_0.tif", "r+") as file:
        file.write(np.where(points == 0, 255, points).astype(np.uint8), 1)
    with pytest.raises(SupportError, match="no example of the class labels any background"):
        prepared(config)


def test_steps_are_told_to_their_end_and_change_nothing(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save_weights(small_pyramid(2), weights)
    config = pipeline(tmp_path, weights, classes=2, adapt={"steps": 2})
    workspace = Workspace(tmp_path / "watched")
    workspace.create()
    told: list[StepState] = []
    examples = read_examples(config, support_files(config), make_reader("geotiff", {}), told.append)
    watched = prepare(config, examples, workspace, told.append)
    ends = [(state.doing, state.class_name, state.done, state.total) for state in told if state.done == state.total]
    assert ends == [
        *[("reading", "", 4, 4), ("loading", "", 1, 1)],
        *[("reduction", "class 0", 1, 1), ("adaptation", "class 0", 2, 2)],
        *[("reduction", "class 1", 1, 1), ("reduction", "", 1, 1)],  # its examples are those of class 0: adapted before
        *[("encoding", "class 0", 1, 1), ("checking", "class 0", 2, 2)],
        *[("encoding", "class 1", 1, 1), ("checking", "class 1", 2, 2)],
    ]
    assert all((state.seconds_left is None) == (state.done == 0) for state in told)
    assert prepared(config).support_hash == watched.support_hash


def test_what_the_others_find_of_each_example_can_be_drawn(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save_weights(small_pyramid(2), weights)
    for shots in (1, 2):
        config = pipeline(tmp_path, weights, shots=shots)
        drawn: list[ExamplePicture] = []
        quality = check_examples(config, make_reader("geotiff", {}), drawn)
        assert [(one.name, one.iou) for one in drawn] == [
            (one["name"], one["leave_one_out_iou"]) for one in quality["class 0"]
        ]
        assert all(one.scores is not None and one.scores.shape == one.label.shape for one in drawn)
        if shots == 2:  # the very masks that the figures count
            found = [np.asarray(one.scores) >= 128 for one in drawn]
            assert [iou(f, one.label) for f, one in zip(found, drawn, strict=True)] == [one.iou for one in drawn]
