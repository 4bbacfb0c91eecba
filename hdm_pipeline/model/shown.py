"""How a network is shown examples and tiles, and its answer in bytes: validity, bands, reduction, views, rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdm_pipeline.errors import PixelOverflowError, SupportError
from hdm_pipeline.model.bands.banks import ManyBands
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.fast.optimize import Answer, FastNetwork
from hdm_pipeline.model.partial_labels import IGNORE, partly_labelled
from hdm_pipeline.model.pyramid.fused import careful_with
from hdm_pipeline.model.reduction import enlarge, reduced_size, shrink_labels, shrink_valid
from hdm_pipeline.model.support_tensors import SupportTensors, three_channels
from hdm_pipeline.model.uncertainty import uncertainty
from hdm_pipeline.model.views import Augment, averaged, views


@dataclass(frozen=True)
class Shown:
    """How examples and tiles are shown to a network.

    Attributes:
        normalize: `FewShotNetwork.normalize`.
        device: where the network is.
        reduction: how many times smaller it sees them.
        augment: the views of a tile whose answers are averaged.
    """

    normalize: Callable[[Tensor], Tensor]
    device: torch.device
    reduction: float
    augment: Augment

    def answer(
        self,
        network: FastNetwork,
        kind: Answer,
        tiles: npt.NDArray[np.float32],
        kept: npt.NDArray[np.bool_],
        banks: Sequence[SupportBank],
        many: ManyBands | None,
        *,
        at_least: int,
    ) -> npt.NDArray[np.uint8]:
        """What `FewShotSegmenter.answer` gives for tiles that go through the network together.

        Args:
            network: computes it.
            kind, tiles, banks: as there.
            kept: [B, H, W] pixels that are valid.
            many: the bands' part, where there are more than three.
            at_least: tiles that the batch is filled up to.

        Raises:
            PixelOverflowError: values are so large that float32 overflows.
        """
        count = len(tiles)
        if count < at_least:  # kernels are chosen by batch size: keep it, so that a tile's floats do not depend on it
            tiles = np.concatenate([tiles, np.repeat(tiles[-1:], at_least - count, 0)])
            kept = np.concatenate([kept, np.repeat(kept[-1:], at_least - count, 0)])
        given = tiles.astype(np.float32, copy=False) if many else three_channels(tiles)
        bands = self._there(torch.from_numpy(np.ascontiguousarray(given)))
        mask = self._there(torch.from_numpy(np.ascontiguousarray(kept)))
        if many:
            bands = torch.where(mask[:, None], bands, 0.0)
        pixels = many.projection.apply(bands) if many else bands
        size = tiles.shape[2], tiles.shape[3]
        small, seen = shrink_valid(pixels, mask, reduced_size(*size, self.reduction))
        normalized = self.normalize(small).masked_fill_(~seen[:, None], 0.0)
        seen_as = views(normalized, self.augment)
        with careful_with(normalized):
            answer = averaged([network.answer(kind, view, banks) for view in seen_as], self.augment)[:count]
        # Values near the end of float32 overflow in `normalize` or in the network. Sums tell, and are asked for after
        # the network's work, so that a GPU does not wait for the answer.
        full = enlarge(answer, size).float()
        if many:
            classes = len(banks)  # what else was asked for comes after their scores
            weighed = many.combine(full[:, :classes], bands[:count], mask[:count])
            full = answer = torch.cat((weighed, full[:, classes:]), dim=1)
        if kind == "doubt":
            told, trust = full[:, : -len(banks)], full[:, -len(banks) :]
            full = torch.cat((told, uncertainty(told[:, : len(banks)], trust)), dim=1)
        sums = torch.stack([normalized.sum(dtype=torch.float64), answer.sum(dtype=torch.float64)])
        score = (full * 255 - 0.5).ceil_().clamp_(0, 255)
        array: npt.NDArray[np.uint8] = score.masked_fill_(~mask[:count, None], 0.0).to(torch.uint8).cpu().numpy()
        if not bool(sums.isfinite().all()):
            raise PixelOverflowError(
                "pixel values are too large: the network computes with float32 and overflows",
                where=f"tiles of {size[0]}x{size[1]} pixels",
                remedy="scale pixels to 0..1; mark pixels without a measurement as invalid",
            )
        return array

    def example(self, example: SupportTensors, where: str) -> tuple[Tensor, Tensor]:
        """Normalized pixels [3, h, w] and labels [h, w] of an example, reduced and on the device.

        Raises:
            SupportError: no target is left at this reduction; `where` names the example.
        """
        height, width = example.labels.shape
        size = reduced_size(height, width, self.reduction)
        small, seen = shrink_valid(self._there(example.pixels[None]), self._there(example.valid[None]), size)
        labels = shrink_labels(self._there(example.labels), size)
        if partly_labelled(example.labels):
            labels = labels.masked_fill(~seen[0], IGNORE)  # a point that lies among invalid pixels shows none
        if bool((example.labels == 1).any()) and not bool((labels == 1).any()):
            raise SupportError(
                f"no target of this example is left at a reduction of {self.reduction:g}",
                where=where,
                remedy="reduce less, or give examples with larger targets",
            )
        return self.normalize(small[0]).masked_fill_(~seen[0], 0.0), labels

    def _there(self, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor
