"""Fixed episodes by which checkpoints are compared: synthetic ones, or real tasks that training leaves out."""

from __future__ import annotations

import numpy as np
import torch

from hdm_pipeline.iou import count
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.training.batches import make_source
from hdm_pipeline.training.config import ValidationConfig
from hdm_pipeline.training.synthetic.episode import Episode

_SHOTS = (1, 5)


class Validation:
    """Mean IoU over fixed episodes, half of them with one support and half with five.

    Args:
        config: source, number, size and seed of the episodes.

    Attributes:
        episodes: in order.
    """

    def __init__(self, config: ValidationConfig) -> None:
        source = make_source(config.source)
        self.episodes = [
            source.draw(np.random.default_rng([config.seed, number]), _SHOTS[number % len(_SHOTS)], config.size)
            for number in range(config.episodes)
        ]

    @torch.no_grad()
    def mean_iou(self, network: FewShotNetwork) -> float:
        """Mean IoU of the target over the episodes; where there is none, 1 - the share that is called target."""
        network.eval()
        return float(np.mean([episode_iou(network, episode) for episode in self.episodes]))


def episode_iou(network: FewShotNetwork, episode: Episode) -> float:
    """IoU of the target in one episode, or 1 - the share called target where the query shows none."""
    device = next(network.parameters()).device

    def pixels(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> torch.Tensor:
        return network.normalize(torch.from_numpy(image).to(device).movedim(-1, -3).float() / 255)

    masks = torch.from_numpy(episode.support_mask).to(device)
    bank = network.encode_support(list(pixels(episode.support)), list(masks))
    found = (network.predict(pixels(episode.query)[None], [bank])[0, 0] > 0.5).cpu().numpy()
    counts = count(found, episode.query_mask)
    # Without target what is left is background; without that, too, nothing is wrong.
    return counts.iou if counts.hit + counts.missed else 1.0 - float(np.nan_to_num(counts.false_share))
