"""Adapts a network to a user's domain: a few gradient steps on the labelled examples, kept only where they help.

Training draws pairs of crops from the examples (`crops`): one example is the query, another the support. Batch
normalization keeps its statistics. How many steps are kept is decided by held-out examples (`guard`): the network is
adapted on some of the examples and measured on the others, after 0, 20, 40, ... steps; zero steps is always a
candidate, so that a task that adaptation would harm comes out unharmed. What was tried stands in
docs/decisions/0006-adaptation.md.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hdm_pipeline.errors import SupportError, TrainingError
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.training.crops import CropSampler, CropSettings
from hdm_pipeline.training.metrics import iou

StepCallback = Callable[[int, float], None]


@dataclass(frozen=True)
class AdaptationSettings:
    """How a network is adapted.

    Attributes:
        steps: gradient steps, or None to let the guard choose among `candidates`.
        candidates: numbers of steps that the guard compares with none, ascending.
        learning_rate: of AdamW, after a warm-up of five steps, falling to a tenth along a cosine.
        batch: pairs a step.
        weight_decay: of AdamW.
        folds: in how many parts the guard divides the examples.
        margin: least gain in held-out IoU for which adapted weights are kept.
        frozen: prefixes of parameters that stay as they are.
        crops: how pairs are drawn.
    """

    steps: int | None = None
    candidates: tuple[int, ...] = (20, 40, 60)
    learning_rate: float = 1e-3
    batch: int = 4
    weight_decay: float = 0.01
    folds: int = 2
    margin: float = 0.01
    frozen: tuple[str, ...] = ()
    crops: CropSettings = field(default_factory=CropSettings)


@dataclass(frozen=True)
class AdaptationReport:
    """What adaptation did.

    Attributes:
        steps: gradient steps that were kept; 0 if the network is the one that came in.
        held_out_iou: mean IoU over held-out examples by number of steps; empty where the guard was not asked.
        seconds: wall time.
    """

    steps: int
    held_out_iou: Mapping[int, float]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        held_out = {str(steps): value for steps, value in self.held_out_iou.items()}
        return {"steps": self.steps, "held_out_iou": held_out, "seconds": self.seconds}

    @classmethod
    def from_json(cls, text: str) -> AdaptationReport:
        """Read what `as_dict` gave, as JSON."""
        found = json.loads(text)
        held_out = {int(steps): float(value) for steps, value in found["held_out_iou"].items()}
        return cls(int(found["steps"]), held_out, float(found["seconds"]))


@dataclass(frozen=True)
class AdaptationResult:
    """The adapted network (a new one; the given one is untouched) and what was done."""

    network: FewShotNetwork
    report: AdaptationReport


def adapt_network(
    network: FewShotNetwork,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    *,
    settings: AdaptationSettings | None = None,
    seed: int = 0,
    on_step: StepCallback | None = None,
) -> AdaptationResult:
    """Adapt a network to the labelled examples of one class.

    Deterministic: the same network, examples, settings, seed and number of torch threads give the same weights.

    Args:
        network: the network to start from; not changed.
        images: K tensors [3, H, W] float32 in 0..1; sizes may differ.
        masks: K tensors [H, W] uint8: 1 target, 0 background, 255 ignored.
        settings: how; the defaults are those of the ablation.
        seed: of the crops.
        on_step: called with the number of steps done so far (the guard's too) and the loss.

    Raises:
        SupportError: no example shows the class.
        TrainingError: the loss is not finite.
    """
    chosen = settings or AdaptationSettings()
    _require_target(images, masks)
    start = time.perf_counter()
    progress = _Progress(on_step)
    held_out: dict[int, float] = {}
    steps = chosen.steps
    if steps is None:
        held_out = held_out_ious(network, images, masks, chosen, seed=seed, on_step=progress)
        steps = best_steps(held_out, chosen.margin)
    adapted = _eval_copy(network)
    for _ in _train(adapted, images, masks, steps, chosen, seed, progress):
        pass
    return AdaptationResult(adapted, AdaptationReport(steps, held_out, time.perf_counter() - start))


def held_out_ious(
    network: FewShotNetwork,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    settings: AdaptationSettings,
    *,
    seed: int = 0,
    on_step: StepCallback | None = None,
) -> dict[int, float]:
    """Mean IoU over held-out examples (one example: held-out parts) after 0 and after each candidate's steps."""
    wanted = (0, *settings.candidates)
    found: dict[int, list[float]] = {steps: [] for steps in wanted}
    for fold in folds(masks, settings.folds):
        learner = _eval_copy(network)
        kept = [images[i] for i in fold.kept]
        training = _train(learner, kept, fold.kept_masks, wanted[-1], settings, seed, on_step)
        for steps in training:
            if steps in found:
                found[steps] += _ious(learner, kept, fold.kept_masks, [images[i] for i in fold.tested], fold.truths)
    return {steps: float(np.nanmean(ious)) if ious else float("nan") for steps, ious in found.items()}


def best_steps(held_out: Mapping[int, float], margin: float) -> int:
    """The number of steps with the highest held-out IoU, 0 unless the gain over 0 steps exceeds `margin`."""
    best = max(held_out, key=lambda steps: (np.nan_to_num(held_out[steps], nan=-1.0), -steps))
    return best if held_out[best] > held_out[0] + margin else 0


@dataclass(frozen=True)
class Fold:
    """A division of the examples: adapt on some, measure on others.

    Attributes:
        kept: indices of the examples to adapt on.
        kept_masks: their masks.
        tested: indices of the examples to measure on.
        truths: their masks; 255 outside what is measured.
    """

    kept: tuple[int, ...]
    kept_masks: tuple[Tensor, ...]
    tested: tuple[int, ...]
    truths: tuple[Tensor, ...]


def folds(masks: Sequence[Tensor], count: int) -> list[Fold]:
    """Divide the examples; one example is cut through its target, and the labels of one side are kept each time."""
    if len(masks) == 1:
        return _halves(masks[0])
    count = min(count, len(masks))
    divided = []
    for part in range(count):
        tested = tuple(range(part, len(masks), count))
        kept = tuple(i for i in range(len(masks)) if i not in tested)
        if any(bool((masks[i] == 1).any()) for i in kept):
            divided.append(Fold(kept, tuple(masks[i] for i in kept), tested, tuple(masks[i] for i in tested)))
    return divided


def _halves(mask: Tensor) -> list[Fold]:
    """Two folds: the target is cut in two equal parts across its longer extent."""
    target = mask == 1
    places = target.nonzero()
    axis = int((places.amax(0) - places.amin(0)).argmax())
    middle = int(places[:, axis].median())
    position = torch.arange(mask.shape[axis]).view((-1, 1) if axis == 0 else (1, -1))
    first = (position <= middle).expand_as(mask)
    ignored = torch.full_like(mask, 255)
    sides = [torch.where(first, mask, ignored), torch.where(first, ignored, mask)]
    if not all(bool((side == 1).any()) for side in sides):
        return []
    return [Fold((0,), (kept,), (0,), (tested,)) for kept, tested in (sides, sides[::-1])]


@torch.no_grad()
def _ious(
    network: FewShotNetwork,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    queries: Sequence[Tensor],
    truths: Sequence[Tensor],
) -> list[float]:
    bank = network.encode_support([network.normalize(image) for image in images], list(masks))
    scores = [network.predict(network.normalize(query)[None], [bank])[0, 0] for query in queries]
    return [iou((score >= 0.5).numpy(), truth.numpy()) for score, truth in zip(scores, truths, strict=True)]


def _train(
    network: FewShotNetwork,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    steps: int,
    settings: AdaptationSettings,
    seed: int,
    on_step: StepCallback | None,
) -> Iterator[int]:
    """Train in place; yields the number of steps done, 0 first."""
    sampler = CropSampler(images, masks, settings.crops, seed=seed)
    trained = [p for name, p in network.named_parameters() if not name.startswith(settings.frozen or ("\0",))]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    yield 0
    for step in range(1, steps + 1):
        batch = sampler.batch(settings.batch)
        normal = replace(batch, query=network.normalize(batch.query), support=network.normalize(batch.support))
        with torch.enable_grad():
            loss = network.losses(normal).total
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        if not bool(torch.isfinite(loss)):
            raise TrainingError("adaptation diverged: the loss is not finite", remedy="lower the learning rate")
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if on_step is not None:
            on_step(step, float(loss.detach()))
        yield step


def _eval_copy(network: FewShotNetwork) -> FewShotNetwork:
    twin = copy.deepcopy(network).float().eval()  # eval: batch normalization keeps its statistics
    return twin.requires_grad_(True)


class _Progress:
    def __init__(self, callback: StepCallback | None) -> None:
        self._callback = callback
        self._done = 0

    def __call__(self, step: int, loss: float) -> None:
        self._done += 1
        if self._callback is not None:
            self._callback(self._done, loss)


def _require_target(images: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    if len(images) != len(masks) or not any(bool((mask == 1).any()) for mask in masks):
        raise SupportError(
            "no example shows the class", where="adaptation", remedy="label at least one pixel of one example as 1"
        )
