"""Random pairs of crops from a handful of labelled examples: what adaptation trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.model.network import EpisodeBatch
from hdm_pipeline.model.reduction import shrink, shrink_labels

_TRIES = 8
_LEAST_TARGET = 16


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn.

    Attributes:
        size: side of a crop in pixels, a multiple of 32.
        zoom: crops are drawn at scales from 1 / zoom to zoom.
        gain: deviation of the factor on all values.
        offset: deviation of the shift of all values.
        shots: examples that each query is segmented by.
        turn: quarter turns and flips, alike for a query and its examples.
    """

    size: int = 128
    zoom: float = 1.4
    gain: float = 0.1
    offset: float = 0.05
    shots: int = 1
    turn: bool = True


class CropSampler:
    """Draws batches of episodes from K examples: one is the query, others (or itself, if K is 1) the support.

    Args:
        images: K tensors [3, H, W] in 0..1; sizes may differ.
        masks: K tensors [H, W] uint8 of 1, 0 and 255.
        settings: how crops are drawn.
        seed: equal seeds give equal batches.
    """

    def __init__(
        self, images: Sequence[Tensor], masks: Sequence[Tensor], settings: CropSettings, *, seed: int = 0
    ) -> None:
        self._images = list(images)
        self._masks = list(masks)
        self._settings = settings
        self._random = torch.Generator().manual_seed(seed)
        self._with_target = [i for i, mask in enumerate(masks) if bool((mask == 1).any())]

    def batch(self, count: int) -> EpisodeBatch:
        """`count` episodes; pixels in 0..1, not yet normalized."""
        episodes = [self._episode() for _ in range(count)]
        query, query_mask, support, support_mask = (torch.stack(parts) for parts in zip(*episodes, strict=True))
        return EpisodeBatch(query, query_mask, support, support_mask)

    def _episode(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        query = self._integer(len(self._images))
        others = [i for i in self._with_target if i != query] or self._with_target
        turns, flip = (self._integer(4), self._integer(2)) if self._settings.turn else (0, 0)
        drawn = [self._crop(query, wanted=self._uniform(0, 1) < 0.8)]
        order = torch.randperm(len(others), generator=self._random).tolist()
        chosen = [others[order[i % len(order)]] for i in range(self._settings.shots)]
        drawn += [self._crop(index, wanted=True) for index in chosen]
        turned = [tuple(_turn(part, turns, bool(flip)) for part in pair) for pair in drawn]
        pixels = [self._brighten(image) for image, _ in turned]
        return pixels[0], turned[0][1], torch.stack(pixels[1:]), torch.stack([mask for _, mask in turned[1:]])

    def _crop(self, index: int, *, wanted: bool) -> tuple[Tensor, Tensor]:
        """A crop [3, size, size] with its mask; with target in it where `wanted` and possible."""
        image, mask = self._images[index], self._masks[index]
        size, zoom = self._settings.size, self._settings.zoom
        side = max(8, round(size * zoom ** self._uniform(-1, 1)))
        height, width = min(side, mask.shape[0]), min(side, mask.shape[1])
        for _ in range(_TRIES if wanted else 1):
            top = self._integer(mask.shape[0] - height + 1)
            left = self._integer(mask.shape[1] - width + 1)
            labels = mask[top : top + height, left : left + width]
            if not wanted or int((labels == 1).sum()) >= _LEAST_TARGET:
                break
        else:
            top, left = self._around_target(mask, height, width)
            labels = mask[top : top + height, left : left + width]
        pixels = image[:, top : top + height, left : left + width]
        factor = size / side
        target = (max(1, round(height * factor)), max(1, round(width * factor)))
        return _fit(pixels, labels, target, size)

    def _around_target(self, mask: Tensor, height: int, width: int) -> tuple[int, int]:
        found = (mask == 1).nonzero()
        y, x = found[self._integer(len(found))].tolist() if len(found) else (0, 0)
        top = min(max(0, y - self._integer(height)), mask.shape[0] - height)
        left = min(max(0, x - self._integer(width)), mask.shape[1] - width)
        return top, left

    def _brighten(self, image: Tensor) -> Tensor:
        gain = 1 + self._settings.gain * self._uniform(-1, 1)
        return (image * gain + self._settings.offset * self._uniform(-1, 1)).clamp(0, 1)

    def _integer(self, high: int) -> int:
        return int(torch.randint(high, (), generator=self._random))

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self._random))


def resize(image: Tensor, mask: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """An image [3, H, W] and its mask [H, W] in another size (`model.reduction`)."""
    return shrink(image[None], size)[0], shrink_labels(mask, size)


def _fit(pixels: Tensor, labels: Tensor, target: tuple[int, int], size: int) -> tuple[Tensor, Tensor]:
    """Resize, then cut or pad (by reflection, ignored) to `size` x `size`."""
    pixels, labels = resize(pixels, labels, target)
    pixels, labels = pixels[:, :size, :size], labels[:size, :size]
    below, right = size - labels.shape[0], size - labels.shape[1]
    if below or right:
        mode = "reflect" if below < labels.shape[0] and right < labels.shape[1] else "replicate"
        pixels = F.pad(pixels[None], (0, right, 0, below), mode=mode)[0]
        labels = F.pad(labels, (0, right, 0, below), value=255)
    return pixels, labels


def _turn(x: Tensor, quarters: int, flip: bool) -> Tensor:
    turned = torch.rot90(x, quarters, (-2, -1))
    return turned.flip(-1) if flip else turned
