"""How checkpoints are compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.training.synthetic.episode import Episode, synthetic_episode
from hdm_pipeline.training.validation import episode_iou
from tests.small_pyramid import small_pyramid


@pytest.fixture(scope="module")
def network() -> FewShotNetwork:
    return small_pyramid(1).eval()


@pytest.fixture(scope="module")
def episode() -> Episode:
    return synthetic_episode(np.random.default_rng(3), 1, (64, 64))


@torch.no_grad()
def found_by(network: FewShotNetwork, episode: Episode) -> np.ndarray:
    def pixels(image: np.ndarray) -> torch.Tensor:
        return network.normalize(torch.from_numpy(image).movedim(-1, -3).float() / 255)

    bank = network.encode_support(list(pixels(episode.support)), list(torch.from_numpy(episode.support_mask)))
    return (network.predict(pixels(episode.query)[None], [bank])[0, 0] > 0.5).numpy()


def test_an_episode_is_worth_its_iou_where_the_mask_is_known(network: FewShotNetwork, episode: Episode) -> None:
    found = found_by(network, episode)
    assert 0 < found.mean() < 1
    assert episode_iou(network, replace(episode, query_mask=found.astype(np.uint8))) == 1.0
    truth = np.where(found, 1, 255).astype(np.uint8)
    truth[0, 0], truth[found.nonzero()[0][0], found.nonzero()[1][0]] = (0 if not found[0, 0] else 1), 0
    wrong = np.count_nonzero(found & (truth == 0))
    assert episode_iou(network, replace(episode, query_mask=truth)) == pytest.approx(1 - wrong / found.sum())


def test_an_episode_without_target_is_worth_what_stays_background(network: FewShotNetwork, episode: Episode) -> None:
    found = found_by(network, episode)
    dry = replace(episode, query_mask=np.zeros_like(episode.query_mask))
    assert episode_iou(network, dry) == pytest.approx(1 - found.mean())
    assert episode_iou(network, replace(episode, query_mask=np.full_like(episode.query_mask, 255))) == 1.0
