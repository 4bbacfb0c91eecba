"""Near and far of the supports: what a bank keeps of them, and what is said of tiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hdm_pipeline.model.fast.optimize import ANSWERS, Answer
from hdm_pipeline.model.pyramid import familiarity
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import support_tensors
from tests.small_pyramid import small_pyramid

Image = npt.NDArray[np.float32]


def speckle(seed: int, height: int = 128, width: int = 160) -> tuple[Image, npt.NDArray[np.uint8]]:
    """Dark lakes on bright land, and where they are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    water = np.sin(x / 23.0 + seed) + np.cos(y / 19.0) > 0.6
    pixels = np.where(water, 0.2, 0.7) + rng.normal(0, 0.05, (3, height, width))
    return pixels.clip(0, 1).astype(np.float32), water.astype(np.uint8)


def stripes(height: int = 128, width: int = 160) -> Image:
    """Something else altogether."""
    x = np.arange(width) // 3 % 2
    return np.broadcast_to(x, (3, height, width)).astype(np.float32).copy()


@pytest.fixture(scope="module")
def segmenter() -> FewShotSegmenter:
    return FewShotSegmenter.load("builtin:pyramid-small", device="cpu")


def far_share(segmenter: FewShotSegmenter, supports: int, tile: Image) -> float:
    examples = [speckle(seed) for seed in range(supports)]
    tensors = support_tensors([image for image, _ in examples], [mask for _, mask in examples], "test")
    bank = segmenter.encode(tensors, describe=True)
    scores, distances = segmenter.answer("distance", tile[None], [bank])[0]
    np.testing.assert_array_equal(scores, segmenter.predict(tile[None], [bank])[0, 0])
    return float((distances >= 128).mean())


@pytest.mark.parametrize("supports", [1, 2, 5])
def test_a_tile_of_their_kind_is_near_and_another_is_far(segmenter: FewShotSegmenter, supports: int) -> None:
    assert far_share(segmenter, supports, speckle(9)[0]) < 0.3
    assert far_share(segmenter, supports, stripes()) > 0.9


@pytest.mark.parametrize("weights", ["builtin:pyramid-small", "builtin:pyramid"])
def test_examples_that_are_copies_of_each_other_do_not_make_all_else_far(weights: str) -> None:
    segmenter = FewShotSegmenter.load(weights, device="cpu")
    image, mask = speckle(1)
    tensors = support_tensors([image, image, image], [mask, mask, mask], "test")
    bank = segmenter.encode(tensors, describe=True)
    tiles = np.stack([speckle(9)[0], stripes()])
    near, far = (segmenter.answer("distance", tiles, [bank])[:, 1] >= 128).mean(axis=(1, 2))
    assert near < 0.3
    assert far > 0.9


def test_invalid_pixels_are_neither_near_nor_far(segmenter: FewShotSegmenter) -> None:
    bank = segmenter.encode(support_tensors([speckle(1)[0]], [speckle(1)[1]], "test"), describe=True)
    valid = np.ones((1, 128, 160), bool)
    valid[:, :40] = False
    distances = segmenter.answer("distance", stripes()[None], [bank], valid=valid)[0, 1]
    assert not distances[:40].any()
    assert distances[60:].min() >= 128


@pytest.mark.parametrize("kind", ["scores", "distance", "doubt"])
def test_a_bank_that_was_not_described_knows_no_distance(segmenter: FewShotSegmenter, kind: Answer) -> None:
    image, mask = speckle(1)
    bank = segmenter.encode_support([image], [mask])
    assert not segmenter.network.is_described(bank)
    answer = segmenter.answer(kind, image[None], [bank])[0]
    assert len(answer) == ANSWERS[kind]
    np.testing.assert_array_equal(answer[0], segmenter.predict(image[None], [bank])[0, 0])
    assert not answer[1:2].any()
    if kind == "doubt":  # the margin is known without a description
        assert np.abs(answer[2].astype(int) - (255 - abs(2 * answer[0].astype(int) - 255))).max() <= 2


@torch.no_grad()
def test_the_spread_is_where_single_examples_decide() -> None:
    """Two examples that contradict each other disagree everywhere; two equal ones nowhere."""
    network = small_pyramid(0)
    image, mask = speckle(1)
    pixels, labels = torch.from_numpy(image), torch.from_numpy(mask)
    agreeing, contradicting = (
        network.encode_for_run([pixels, pixels], [labels, other], describe=True) for other in (labels, 1 - labels)
    )
    level = network.features(network.normalize(pixels)[None], finest=1)[-1]
    means = [float(familiarity.variance(level.regress, bank, None).mean()) for bank in (agreeing, contradicting)]
    assert means[0] < 1e-4
    assert means[1] > 0.1


def test_one_example_is_doubted_where_the_two_rules_differ() -> None:
    bank = small_pyramid(0).encode_support(*([torch.from_numpy(part)] for part in speckle(1)))
    rules = torch.tensor([1.0, 4.0]).view(1, 2, 1, 1)
    assert float(familiarity.variance(torch.zeros(1, 9, 2, 2), bank, rules)) == pytest.approx(2.25)
    assert not familiarity.variance(torch.zeros(1, 9, 2, 2), bank, None).any()


def test_too_few_labelled_pixels_say_nothing() -> None:
    network = small_pyramid(0)
    image, mask = speckle(1)
    mask[:, 40:] = 255
    mask[40:] = 255
    bank = network.encode_for_run([torch.from_numpy(image)], [torch.from_numpy(mask)], describe=True)
    assert not network.is_described(bank)


def test_the_uncertainty_is_the_margin_and_more_where_the_tile_is_far(segmenter: FewShotSegmenter) -> None:
    examples = [speckle(seed) for seed in range(3)]
    tensors = support_tensors([image for image, _ in examples], [mask for _, mask in examples], "test")
    bank = segmenter.encode(tensors, describe=True)
    added = []
    for tile in (speckle(9)[0], stripes()):
        scores, distance, doubt = segmenter.answer("doubt", tile[None], [bank])[0].astype(int)
        margin = 255 - abs(2 * scores - 255)
        assert (doubt >= margin - 2).all()  # both are rounded
        assert (doubt > margin)[(distance > 64) & (margin > 20) & (margin < 200)].all()
        sure = (margin > 20) & (margin < 200)
        added.append((doubt - margin)[sure].mean())
    assert added[1] > 2 * added[0]


def test_describing_costs_no_second_pass_of_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_pyramid(0)
    passes = []
    features = network.features
    monkeypatch.setattr(network, "features", lambda *given: passes.append(given) or features(*given))
    image, mask = (torch.from_numpy(part) for part in speckle(1))
    bank = network.encode_for_run([image, image], [mask, mask], describe=True)
    assert network.is_described(bank)
    assert len(passes) == 2
