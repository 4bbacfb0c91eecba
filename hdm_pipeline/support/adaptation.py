"""Adapts a network to a user's domain: a few gradient steps on the labelled examples, kept only where they help.

Training draws pairs of crops from the examples (`crops`): one example is the query, another the support. Batch
normalization keeps its statistics. How many steps are kept is decided by held-out examples (`guard`): the network is
adapted on some of the examples and measured on the others, after 0, 20, 40 and 80 steps; zero steps is always a
candidate, so that a task that adaptation would harm comes out unharmed. What was tried stands in
docs/decisions/adaptation.md.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hdm_pipeline.errors import SupportError, TrainingError
from hdm_pipeline.iou import iou
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.partial_labels import TOO_UNSURE, sampling_error
from hdm_pipeline.support.crops import CropSampler, CropSettings
from hdm_pipeline.support.folds import folds, target_first

StepCallback = Callable[[int, int, float], None]
"""Called after each step with the number of steps done, the most there can be, and the loss."""

_WARM_UP = 10
_SMALLEST_CROP = 64
_MOST_JUDGED = 12


@dataclass(frozen=True)
class AdaptationSettings:
    """How a network is adapted.

    Attributes:
        steps: gradient steps, or None to let the guard choose.
        candidates: numbers of steps that the guard compares with none, ascending.
        most_pixels: that may pass the network in all, to learn from and to measure on, unless `steps` are given: fewer
            candidates are tried where more would not fit (`affordable`). A limit in seconds would let a busy machine
            choose other weights than an idle one. A pixel takes 6 us of one core to learn from, no more to measure on:
            the default is 75 s of one core, 45 s on two.
        stretch: what the guard's choice is multiplied by: all examples carry more steps than the guard's parts of them.
        learning_rate: of AdamW, after a warm-up of ten steps.
        averaging: decay of the moving average of the weights, which is what is kept.
        batch: pairs a step.
        weight_decay: of AdamW.
        folds: in how many parts the guard divides the examples.
        margin: least gain in held-out IoU for which adapted weights are kept.
        margin_alone: the same for one example: its halves are more alike than two images, and flatter the weights.
        floor: held-out IoU that they must also beat: what is reached without them in another way.
        frozen: prefixes of parameters that stay as they are, as do those that the network itself freezes.
        crops: how pairs are drawn; their size is the upper bound, small examples are cut smaller.
    """

    steps: int | None = None
    candidates: tuple[int, ...] = (20, 40, 80)
    most_pixels: int = 12_500_000
    stretch: float = 1.5
    learning_rate: float = 1e-3
    averaging: float = 0.9
    batch: int = 4
    weight_decay: float = 0.01
    folds: int = 2
    margin: float = 0.01
    margin_alone: float = 0.05
    floor: float = -1.0
    frozen: tuple[str, ...] = ()
    crops: CropSettings = field(default_factory=CropSettings)


@dataclass(frozen=True)
class AdaptationReport:
    """What adaptation did.

    Attributes:
        steps: gradient steps that were kept; 0 if the network is the one that came in.
        held_out_iou: mean IoU over held-out examples by number of steps; empty where the guard was not asked, because
            steps were given or too few labelled pixels could tell (`partial_labels.TOO_UNSURE`).
        seconds: wall time.
    """

    steps: int
    held_out_iou: Mapping[int, float]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        held_out = {str(s): None if math.isnan(iou) else iou for s, iou in self.held_out_iou.items()}
        return {"steps": self.steps, "held_out_iou": held_out, "seconds": self.seconds}

    @classmethod
    def from_json(cls, text: str) -> AdaptationReport:
        """Read what `as_dict` gave, as JSON."""
        found = json.loads(text)
        held_out = {int(s): math.nan if iou is None else float(iou) for s, iou in found["held_out_iou"].items()}
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
        on_step: as `StepCallback` says; the guard's steps count, too.

    Raises:
        SupportError: no example shows the class.
        TrainingError: the loss is not finite.
    """
    chosen = settings or AdaptationSettings()
    _require_target(images, masks)
    start = time.perf_counter()
    device = next(network.parameters()).device
    images, masks = [image.to(device) for image in images], [mask.to(device) for mask in masks]
    progress = _Progress(on_step, _most_steps(chosen, masks))
    held_out: dict[int, float] = {}
    steps = chosen.steps
    unsure = sampling_error(masks)
    if steps is None and unsure > TOO_UNSURE:  # minutes for a result that nothing could judge
        steps = 0
    elif steps is None:
        held_out = held_out_ious(network, images, masks, chosen, seed=seed, progress=progress)
        margin = max(unsure, chosen.margin_alone if len(masks) == 1 else chosen.margin)
        steps = round(chosen.stretch * best_steps(held_out, margin, chosen.floor))
    learner = _Learner(network, images, masks, chosen, seed)
    _advance(learner, steps, progress)
    return AdaptationResult(learner.average, AdaptationReport(steps, held_out, time.perf_counter() - start))


def held_out_ious(
    network: FewShotNetwork,
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    settings: AdaptationSettings,
    *,
    seed: int = 0,
    progress: _Progress | None = None,
) -> dict[int, float]:
    """Mean IoU over held-out examples (one example: held-out parts) after 0 and after each candidate's steps.

    No further candidate is tried once one is worse than no step at all, or two in a row brought no new best, or where
    it would be more work than the settings allow. Of more than twelve examples, twelve are asked.
    """
    chosen = target_first(masks, _MOST_JUDGED)
    images, masks = [images[i] for i in chosen], [masks[i] for i in chosen]
    parts = [
        (fold, _Learner(network, [images[i] for i in fold.kept], fold.kept_masks, settings, seed))
        for fold in folds(masks, settings.folds)
    ]
    found: dict[int, float] = {}
    best, fruitless = -1.0, 0
    for steps in (0, *affordable(settings, masks)):
        ious: list[float] = []
        for fold, learner in parts:
            _advance(learner, steps, progress)
            kept, tested = [images[i] for i in fold.kept], [images[i] for i in fold.tested]
            ious += _ious(learner.average, kept, fold.kept_masks, tested, fold.truths)
        found[steps] = float(np.nanmean(ious)) if ious else float("nan")
        fruitless = 0 if found[steps] > best else fruitless + 1
        best = max(best, np.nan_to_num(found[steps], nan=-1.0))
        if fruitless == 2 or found[steps] < found[0]:
            break
    return found


def affordable(settings: AdaptationSettings, masks: Sequence[Tensor]) -> tuple[int, ...]:
    """The candidates that can be tried, and the best of them taken on all examples, within `most_pixels`; at least one.

    Args:
        settings: what is tried.
        masks: K masks [H, W] of the examples.
    """
    chosen = target_first(masks, _MOST_JUDGED)
    parts = folds([masks[i] for i in chosen], settings.folds)
    measured = sum(masks[chosen[i]].numel() for part in parts for i in (*part.kept, *part.tested))
    step = settings.batch * (1 + settings.crops.shots) * _crop_size(masks, settings) ** 2
    fitting = [
        count
        for count, most in enumerate(settings.candidates, 1)
        if (1 + count) * measured + (len(parts) * most + round(settings.stretch * most)) * step <= settings.most_pixels
    ]
    return settings.candidates[: max(fitting, default=1)]


def _most_steps(settings: AdaptationSettings, masks: Sequence[Tensor]) -> int:
    """Steps that there are if the guard tries every candidate that can be tried, and takes the last."""
    if settings.steps is not None:
        return settings.steps
    chosen = target_first(masks, _MOST_JUDGED)
    most = affordable(settings, masks)[-1]
    return len(folds([masks[i] for i in chosen], settings.folds)) * most + round(settings.stretch * most)


def best_steps(held_out: Mapping[int, float], margin: float, floor: float = -1.0) -> int:
    """The number of steps with the highest held-out IoU; 0 unless it beats 0 steps by `margin`, and `floor`."""
    best = max(held_out, key=lambda steps: (np.nan_to_num(held_out[steps], nan=-1.0), -steps))
    return best if held_out[best] > max(held_out[0] + margin, floor) else 0


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
    return [iou((score >= 0.5).cpu().numpy(), truth.cpu().numpy()) for score, truth in zip(scores, truths, strict=True)]


def _advance(learner: _Learner, steps: int, progress: _Progress | None) -> None:
    while learner.done < steps:
        loss = learner.step()
        if progress is not None:
            progress.step(loss)


class _Learner:
    """A network in training and the moving average of its weights, which is what counts.

    Args:
        network: where to start; not changed.
        images: the examples.
        masks: their masks.
        settings: how to train.
        seed: of the crops.
    """

    def __init__(
        self,
        network: FewShotNetwork,
        images: Sequence[Tensor],
        masks: Sequence[Tensor],
        settings: AdaptationSettings,
        seed: int,
    ) -> None:
        self.average = _eval_copy(network).requires_grad_(False)
        self._network = _eval_copy(network)
        self._settings = settings
        self._sampler = CropSampler(images, masks, replace(settings.crops, size=_crop_size(masks, settings)), seed=seed)
        for name, parameter in self._network.named_parameters():
            parameter.requires_grad_(not name.startswith((*settings.frozen, *network.frozen)))
        pairs = zip(self._network.parameters(), self.average.parameters(), strict=True)
        self._trained, self._means = zip(*((p, mean) for p, mean in pairs if p.requires_grad), strict=True)
        self._optimizer = torch.optim.AdamW(
            self._trained, settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self._fast = _has_bfloat16(next(network.parameters()).device)
        self.done = 0

    def step(self) -> float:
        """One step; returns the loss."""
        batch = self._sampler.batch(self._settings.batch)
        normalize = self._network.normalize
        batch = replace(batch, query=normalize(batch.query), support=normalize(batch.support))
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * min(1.0, (self.done + 1) / _WARM_UP)
        with torch.enable_grad():
            with torch.autocast(batch.query.device.type, torch.bfloat16, enabled=self._fast):
                loss = self._network.losses(batch).total
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError("adaptation diverged: the loss is not finite", remedy="lower the learning rate")
        nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self.done += 1
        self._update_average()
        return value

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self._settings.averaging, self.done / (self.done + 1))
        torch._foreach_lerp_(self._means, self._trained, 1 - decay)


def _crop_size(masks: Sequence[Tensor], settings: AdaptationSettings) -> int:
    """About two thirds of the smallest example, in whole cells of 32 pixels, within the settings' bounds."""
    shortest = min(min(mask.shape) for mask in masks)
    return int(min(settings.crops.size, max(_SMALLEST_CROP, 32 * round(shortest * 0.6 / 32))))


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16: on a CPU a step takes two thirds of the time then."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _eval_copy(network: FewShotNetwork) -> FewShotNetwork:
    return copy.deepcopy(network).float().eval()  # eval: batch normalization keeps its statistics


class _Progress:
    """Counts the steps of all learners."""

    def __init__(self, callback: StepCallback | None, most: int) -> None:
        self._callback = callback
        self._most = most
        self._done = 0

    def step(self, loss: float) -> None:
        self._done += 1
        if self._callback is not None:
            self._callback(self._done, self._most, loss)


def _require_target(images: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    if len(images) != len(masks) or not any(bool((mask == 1).any()) for mask in masks):
        raise SupportError(
            "no example shows the class", where="adaptation", remedy="label at least one pixel of one example as 1"
        )
