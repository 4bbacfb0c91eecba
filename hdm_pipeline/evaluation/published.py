"""The published test of PASCAL-5i and COCO-20i: ten draws of episodes, scored at original size.

See docs/hdmnet.md, section 8.

What cannot be the same is the draw itself: the authors' random numbers run in eight loader processes, so their exact
episodes depend on that number and on torch's seeding of workers. Here each of the ten seeds drives one generator.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.errors import TrainingError, counted
from hdm_pipeline.evaluation.fewshot_sets import Benchmark, FoldItem, FoldList, load_picture
from hdm_pipeline.iou import Counts, count
from hdm_pipeline.model.network import FewShotNetwork

SEEDS = (510, 365, 382, 322, 988, 98, 742, 17, 595, 106)
EPISODES: dict[Benchmark, int] = {"pascal-5i": 1000, "coco-20i": 10_000}
SIDES: dict[Benchmark, int] = {"pascal-5i": 473, "coco-20i": 633}


@dataclass(frozen=True)
class FoldEpisode:
    """One episode: segment the class `number` in `query` by `supports`."""

    number: int
    query: FoldItem
    supports: tuple[FoldItem, ...]


@dataclass(frozen=True)
class RunFigures:
    """Figures of one draw.

    Attributes:
        seed: of the draw.
        class_iou: IoU of each held-out class, by its number; classes that no episode asked for are missing.
        mean_iou: their mean (mIoU).
        fb_iou: mean of the pooled foreground IoU and the pooled background IoU.
    """

    seed: int
    class_iou: dict[int, float]
    mean_iou: float
    fb_iou: float


@dataclass(frozen=True)
class ProtocolReport:
    """All draws; papers print the best or the mean of the ten, and do not always say which."""

    runs: tuple[RunFigures, ...]

    @property
    def mean_iou(self) -> float:
        """Mean over draws."""
        return float(np.mean([run.mean_iou for run in self.runs]))

    @property
    def best_iou(self) -> float:
        """Best of the draws."""
        return max(run.mean_iou for run in self.runs)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "mean_iou": self.mean_iou,
            "best_iou": self.best_iou,
            "mean_fb_iou": float(np.mean([run.fb_iou for run in self.runs])),
            "runs": [
                {
                    "seed": run.seed,
                    "mean_iou": run.mean_iou,
                    "fb_iou": run.fb_iou,
                    "class_iou": {str(number): iou for number, iou in run.class_iou.items()},
                }
                for run in self.runs
            ],
        }


def draw_episodes(fold: FoldList, shots: int, episodes: int, seed: int) -> Iterator[FoldEpisode]:
    """Draw as the published test does.

    Queries come in list order, the list repeated as often as needed. The class is uniform among the held-out classes
    that the query shows at all, however small; supports are distinct images with enough pixels of it, never the query,
    and stand in reverse order of their draw.

    Raises:
        TrainingError: a class has too few images for that many shots.
    """
    generator = random.Random(seed)
    listed = {number: fold.of_class(number) for number in fold.classes}
    for position in range(episodes):
        query = fold.items[position % len(fold.items)]
        number = generator.choice(query.classes)
        others = [item for item in listed[number] if item is not query]
        if len(others) < shots:
            raise TrainingError(
                f"class {number} has {counted(len(others), 'image')} other than the query, {shots} are asked for",
                where=str(query.label),
                remedy="use fewer shots, or the whole data set",
            )
        supports = generator.sample(others, shots)
        yield FoldEpisode(number, query, tuple(reversed(supports)))


def run_protocol(
    network: FewShotNetwork,
    fold: FoldList,
    *,
    shots: int,
    episodes: int,
    side: int,
    seeds: Sequence[int] = SEEDS,
    on_episode: Callable[[int], None] | None = None,
) -> ProtocolReport:
    """Run the published test.

    Args:
        network: in eval mode.
        fold: the evaluation split of a fold (`fewshot_sets.read_fold`).
        shots: supports an episode.
        episodes: episodes a draw: 1,000 for PASCAL, 10,000 for COCO.
        side: images are resized to `side` x `side`, whatever their aspect ratio: 473 for PASCAL, 633 for COCO.
        seeds: one draw each.
        on_episode: called with the number of episodes done.

    Raises:
        TrainingError: a class has too few images, or a file cannot be read.
    """
    runs, done = [], 0
    for seed in seeds:
        by_class: dict[int, Counts] = {}
        for episode in draw_episodes(fold, shots, episodes, seed):
            counts = _score(network, episode, side)
            by_class[episode.number] = by_class.get(episode.number, Counts()) + counts
            done += 1
            if on_episode is not None:
                on_episode(done)
        runs.append(_figures(seed, by_class))
    return ProtocolReport(tuple(runs))


def _score(network: FewShotNetwork, episode: FoldEpisode, side: int) -> Counts:
    truth = _label(episode.query, episode.number)
    images = [_image(network, item, side) for item in (episode.query, *episode.supports)]
    masks = [_resized_label(_label(item, episode.number), side) for item in episode.supports]
    found = _foreground(network, images[0], images[1:], masks, (truth.shape[0], truth.shape[1]))
    return count(found, truth)


@torch.no_grad()
def _foreground(
    network: FewShotNetwork, query: Tensor, supports: Sequence[Tensor], masks: Sequence[Tensor], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Foreground at original size: the outputs are enlarged, then compared."""
    outputs = network.published_answer(query, supports, masks)
    enlarged = F.interpolate(outputs.float(), size, mode="bilinear", align_corners=True)
    return np.asarray((enlarged[0, 1] > enlarged[0, 0]).cpu().numpy())


def _image(network: FewShotNetwork, item: FoldItem, side: int) -> Tensor:
    pixels = torch.from_numpy(load_picture(item.image, "RGB").copy()).permute(2, 0, 1).float() / 255
    resized = F.interpolate(pixels[None], (side, side), mode="bilinear", align_corners=False)[0]
    return network.normalize(resized.to(next(network.parameters()).device))


def _label(item: FoldItem, number: int) -> npt.NDArray[np.uint8]:
    label = load_picture(item.label, "L")
    return np.where(label == 255, 255, label == number).astype(np.uint8)


def _resized_label(label: npt.NDArray[np.uint8], side: int) -> Tensor:
    resized = F.interpolate(torch.from_numpy(label)[None, None].float(), (side, side), mode="nearest")
    return resized[0, 0].to(torch.uint8)


def _figures(seed: int, by_class: dict[int, Counts]) -> RunFigures:
    class_iou = {number: counts.iou for number, counts in sorted(by_class.items())}
    pooled = sum(by_class.values(), Counts())
    return RunFigures(
        seed, class_iou, float(np.mean(list(class_iou.values()))), (pooled.iou + pooled.background_iou) / 2
    )
