"""Numpy in, scores out: channels, invalid pixels, refusals, bytes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from hdm_pipeline.errors import BankMismatchError, ModelInputError, PixelOverflowError, SupportError, WeightsError
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.model.hdmnet.network import HDMNet
from hdm_pipeline.model.segmenter import FewShotSegmenter
from tests.unit.model.conftest import blob, picture

SIDE = 65


@pytest.fixture(scope="module")
def segmenter(vgg: HDMNet) -> FewShotSegmenter:
    return FewShotSegmenter.from_network(vgg, device="cpu")


@pytest.fixture(scope="module")
def bank(segmenter: FewShotSegmenter) -> SupportBank:
    return segmenter.encode_support([picture(1, SIDE, SIDE)], [blob(SIDE, SIDE)], class_name="water")


def tiles(*seeds: int, channels: int = 3) -> np.ndarray:
    return np.stack([picture(seed, SIDE, SIDE, channels) for seed in seeds])


def test_scores_are_bytes_of_the_probability(segmenter: FewShotSegmenter, bank: SupportBank) -> None:
    scores = segmenter.predict(tiles(2, 3), [bank, bank])
    assert scores.dtype == np.uint8
    assert scores.shape == (2, 2, SIDE, SIDE)
    network = segmenter.network
    probability = network.predict(network.normalize(torch.from_numpy(tiles(2))), [bank])[0, 0].numpy()
    expected = np.ceil(255 * probability - 0.5)
    clear = np.abs(255 * probability - expected) < 0.45  # folding moves a probability by less than 1e-5
    assert np.array_equal(scores[0, 0][clear], expected[clear])
    assert np.array_equal(scores[0, 0][clear] >= 128, probability[clear] > 0.5)


def test_a_tile_does_not_depend_on_its_company(segmenter: FewShotSegmenter, bank: SupportBank) -> None:
    together = segmenter.predict(tiles(2, 3, 4), [bank])
    assert np.array_equal(together[1:2], segmenter.predict(tiles(3), [bank]))


def test_invalid_pixels_score_zero_and_spread_nothing(segmenter: FewShotSegmenter, bank: SupportBank) -> None:
    broken = tiles(2)
    broken[0, 1, 10:20, 5:30] = np.nan
    broken[0, 0, 40, 40] = np.inf
    scores = segmenter.predict(broken, [bank])[0, 0]
    hole = ~np.isfinite(broken[0]).all(0)
    assert (scores[hole] == 0).all()
    assert (scores[~hole] > 0).any()
    other = broken.copy()
    other[0, :, hole] = 123.0  # whatever an invalid pixel holds, the rest is the same
    assert np.array_equal(segmenter.predict(other, [bank], valid=~hole[None])[0, 0], scores)
    assert not segmenter.predict(np.full_like(broken, np.nan), [bank]).any()


def test_bad_tiles_are_refused(segmenter: FewShotSegmenter, bank: SupportBank) -> None:
    with pytest.raises(ModelInputError, match="uint8"):
        segmenter.predict(np.zeros((1, 3, SIDE, SIDE), np.uint8), [bank])
    with pytest.raises(ModelInputError, match="3 dimensions"):
        segmenter.predict(np.zeros((3, SIDE, SIDE), np.float32), [bank])
    with pytest.raises(ModelInputError, match="valid mask"):
        segmenter.predict(tiles(1), [bank], valid=np.ones((1, 3, 3), bool))
    with pytest.raises(BankMismatchError, match="no support bank"):
        segmenter.predict(tiles(1), [])
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (1, 3, 100_000, 100_000), (0, 0, 0, 0))
    with pytest.raises(ModelInputError, match="would take about"):
        segmenter.predict(huge, [bank])


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30])
def test_values_that_overflow_float32_are_refused(segmenter: FewShotSegmenter, bank: SupportBank, value: float) -> None:
    huge = tiles(2)
    huge[0, 1, 20:40, 20:40] = value
    with pytest.raises(PixelOverflowError, match="too large"):
        segmenter.predict(huge, [bank])
    marked = np.abs(huge[:, 1]) < 1e20
    assert segmenter.predict(huge, [bank], valid=marked).any()  # where they are marked as invalid, they do no harm


def test_bad_supports_are_refused(segmenter: FewShotSegmenter) -> None:
    good, mask = picture(1, SIDE, SIDE), blob(SIDE, SIDE)
    with pytest.raises(SupportError, match="0 support images"):
        segmenter.encode_support([], [])
    with pytest.raises(SupportError, match="do not fit"):
        segmenter.encode_support([good], [mask[:-1]])
    with pytest.raises(SupportError, match=r"labels \[7\]"):
        segmenter.encode_support([good], [np.where(mask == 1, 7, 0).astype(np.uint8)])
    with pytest.raises(SupportError, match="33 bands"):
        segmenter.encode_support([picture(1, SIDE, SIDE, 33)], [mask])
    with pytest.raises(SupportError, match="every pixel labelled 1 is invalid"):
        segmenter.encode_support([np.where(mask == 1, np.nan, good)], [mask])


def test_load_pins_and_switches_the_base_learner(vgg: HDMNet, tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    fingerprint = save_weights(vgg, path)
    assert FewShotSegmenter.load(path, device="cpu", pin=fingerprint).weights_hash == fingerprint
    off = FewShotSegmenter.load(path, device="cpu", base_learner=False)
    assert off.network.config["base_learner"] is False
    assert off.weights_hash != fingerprint  # its banks and scores are others
    with pytest.raises(WeightsError, match="not the pinned"):
        FewShotSegmenter.load(path, pin="0" * 64)


def test_the_network_may_be_trained_on(vgg: HDMNet) -> None:
    import copy

    network = copy.deepcopy(vgg)
    segmenter = FewShotSegmenter.from_network(network, device="cpu")
    images, masks = [picture(1, SIDE, SIDE)], [blob(SIDE, SIDE)]
    first = segmenter.predict(tiles(2), [segmenter.encode_support(images, masks)])
    assert network.down_query[0].weight.requires_grad
    with torch.no_grad():
        network.mix_transformer.cls[4].bias.add_(torch.tensor([3.0, -3.0]))
    second = segmenter.predict(tiles(2), [segmenter.encode_support(images, masks)])
    assert int(second.max()) < int(first.max())


@pytest.mark.parametrize("lost", ["rules.", "finest"])
def test_a_bank_that_lacks_a_part_is_told(lost: str) -> None:
    segmenter = FewShotSegmenter.load("builtin:pyramid", device="cpu")
    image = np.random.default_rng(0).uniform(0, 1, (3, 64, 64)).astype(np.float32)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 1
    bank = segmenter.encode_support([image], [mask], class_name="water")
    kept = {name: array for name, array in bank.arrays.items() if not name.startswith(lost)}
    assert len(kept) < len(bank.arrays)
    with pytest.raises(BankMismatchError, match=f"lacks the array '{lost}") as caught:
        segmenter.predict(image[None], [dataclasses.replace(bank, arrays=kept)])
    assert "water" in caught.value.where
