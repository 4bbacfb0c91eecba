"""The baselines learn what can be learned from pixels, and nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hdm_pipeline.evaluation.baselines import BASELINES, NearestPrototype, RandomForest, pixel_features
from hdm_pipeline.iou import iou


def smooth_or_rough(seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Two halves of the same mean; the target is rough."""
    generator = np.random.default_rng(seed)
    mask = np.zeros((48, 48), np.uint8)
    mask[:, 24:] = 1
    noise = generator.normal(0, 1, mask.shape) * np.where(mask == 1, 0.2, 0.02)
    return (0.5 + noise).astype(np.float32)[None], mask


def bright(seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    generator = np.random.default_rng(seed)
    mask = np.zeros((40, 40), np.uint8)
    mask[8:30, 5:25] = 1
    image = np.stack([np.where(mask == 1, 0.8, 0.3)] * 3) + generator.normal(0, 0.05, (3, 40, 40))
    return image.astype(np.float32), mask


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_finds_what_is_brighter(name: str) -> None:
    image, mask = bright(0)
    query, truth = bright(1)
    baseline = BASELINES[name]()
    baseline.fit([image], [mask])
    assert iou(baseline.predict(query), truth) > 0.9


def test_only_the_forest_sees_texture() -> None:
    image, mask = smooth_or_rough(0)
    query, truth = smooth_or_rough(1)
    found = {}
    for name, kind in BASELINES.items():
        baseline = kind()
        baseline.fit([image], [mask])
        found[name] = iou(baseline.predict(query), truth)
    assert found["rf"] > 0.85
    assert found["nearest-prototype"] < 0.7


def test_ignored_pixels_are_not_learned_from() -> None:
    image, mask = bright(0)
    wrong = mask.copy()
    wrong[:, 20:] = 1 - wrong[:, 20:]
    ignoring = wrong.copy()
    ignoring[:, 20:] = 255
    query, truth = bright(1)
    forest, prototype = RandomForest(), NearestPrototype()
    for baseline in (forest, prototype):
        baseline.fit([image], [ignoring])
        assert iou(baseline.predict(query), truth) > 0.9


def test_the_forest_is_deterministic() -> None:
    image, mask = smooth_or_rough(0)
    predictions = []
    for _ in range(2):
        forest = RandomForest(trees=8)
        forest.fit([image], [mask])
        predictions.append(forest.predict(image))
    np.testing.assert_array_equal(*predictions)


def test_one_label_alone_is_predicted_everywhere() -> None:
    image, _ = bright(0)
    forest = RandomForest()
    forest.fit([image], [np.ones((40, 40), np.uint8)])
    assert forest.predict(image).all()


def test_features_are_thirteen_a_channel_and_follow_the_pixel() -> None:
    image, _ = bright(0)
    features = pixel_features(image)
    assert features.shape == (39, 40, 40)
    np.testing.assert_array_equal(features[[0, 13, 26]], image)
