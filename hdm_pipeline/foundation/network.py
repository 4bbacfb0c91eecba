"""`FoundationNetwork`: the frozen backbone of another family, with nothing but a closed-form rule on its features.

The supports' pixels are regressed upon (`model.pyramid.ridge`), and the log odds of each position of a query are
enlarged to full size. Nothing is trained. The log odds of a network of ours may be added: the two are wrong in
different places (docs/decisions/pretrained-backbone.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hdm_pipeline.errors import ModelInputError
from hdm_pipeline.foundation.folder import IMAGENET, Backbone, build, feature_maps, read_folder, used
from hdm_pipeline.model.bank import BankCache, SupportBank
from hdm_pipeline.model.checkpoints import build_network, load_network
from hdm_pipeline.model.checks import require_supports
from hdm_pipeline.model.network import CELL, EpisodeBatch, FewShotNetwork, Losses
from hdm_pipeline.model.pyramid.labels import pad_images, pad_masks
from hdm_pipeline.model.pyramid.ridge import Moments, RidgeRegression, RidgeSolution

_FINE = 8
"""Stride that features should have: where the finest ones are coarser, the backbone sees the image enlarged twice."""

_LIMIT = 1e-6
_PARTNER = "partner."
_PARTNERS: BankCache[SupportBank] = BankCache()


class FoundationNetwork(FewShotNetwork):
    """A few-shot network of a backbone that was trained elsewhere.

    Args:
        backbone: configuration of the backbone, as `transformers` writes it.
        mean, std: of the pixels that it was trained on.
        partner: architecture and configuration of the network whose log odds are added, or None.
    """

    architecture: ClassVar[str] = "foundation"
    adaptable: ClassVar[bool] = False

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any],
        mean: Sequence[float] = IMAGENET[0],
        std: Sequence[float] = IMAGENET[1],
        partner: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        network, channels, strides = build(backbone, "configuration")
        other = None if partner is None else build_network(partner["architecture"], partner["config"], where="partner")
        self._assemble(Backbone(network, dict(backbone), _three(mean), _three(std), channels, strides), other)

    @classmethod
    def load(cls, folder: Path, partner: str | None = None) -> FoundationNetwork:
        """The backbone of a folder, and the weights of the network whose log odds are added, if any.

        Raises:
            WeightsError: either cannot be used.
        """
        network = cls.__new__(cls)
        FewShotNetwork.__init__(network)
        network._assemble(read_folder(folder), None if partner is None else load_network(partner))
        return network

    def _assemble(self, backbone: Backbone, partner: FewShotNetwork | None) -> None:
        self._backbone_config = backbone.config
        self.mean, self.std = backbone.mean, backbone.std
        self.backbone = backbone.network
        self.stages = used(backbone.strides)
        strides = [backbone.strides[i] for i in self.stages]
        self.enlarge = 2 if min(strides) > _FINE else 1
        self.multiple = max(backbone.strides)
        self.width = sum(backbone.channels[i] for i in self.stages) + 1
        self.regression = RidgeRegression(log_penalty=0.0)  # many features of unit size
        self.partner = partner
        self.requires_grad_(False)

    @property
    def config(self) -> dict[str, Any]:
        """The JSON-able constructor arguments."""
        partner = self.partner
        return {
            "backbone": self._backbone_config,
            "mean": list(self.mean),
            "std": list(self.std),
            "partner": None if partner is None else {"architecture": partner.architecture, "config": partner.config},
        }

    def peak_bytes(self, height: int, width: int) -> int:
        """See `FewShotNetwork.peak_bytes`; an estimate for backbones of the size of ViT-L."""
        own = 4_000 * self.enlarge**2 * height * width
        return own + (0 if self.partner is None else self.partner.peak_bytes(height, width))

    def encode_support(
        self, images: Sequence[Tensor], masks: Sequence[Tensor], *, class_name: str = "target"
    ) -> SupportBank:
        """See `FewShotNetwork.encode_support`."""
        return self.encode_for_run(images, masks, class_name=class_name, weigh=False)

    def encode_for_run(
        self,
        images: Sequence[Tensor],
        masks: Sequence[Tensor],
        *,
        class_name: str = "target",
        weigh: bool = True,
        describe: bool = False,
    ) -> SupportBank:
        """Weighed within the network whose log odds are added; never described."""
        require_supports(images, masks, minimum_side=1, where=f"class {class_name!r}")
        moments = [self._moments(image, mask) for image, mask in zip(images, masks, strict=True)]
        foreground, background = moments[0]
        for more_foreground, more_background in moments[1:]:
            foreground, background = foreground + more_foreground, background + more_background
        solution = self.regression(foreground, background)
        found = {"coefficients": solution.coefficients[0], "calibration": solution.calibration[0]}
        arrays = {name: tensor.float().cpu().numpy() for name, tensor in found.items()}
        if self.partner is not None:
            shown = [self._for_partner(image[None], self.partner)[0] for image in images]
            bank = self.partner.encode_for_run(shown, masks, class_name=class_name, weigh=weigh)
            arrays |= {_PARTNER + name: array for name, array in bank.arrays.items()}
        return SupportBank(self.architecture, self.fingerprint(), class_name, len(images), arrays)

    def weighed_like(self, bank: SupportBank, run: SupportBank) -> SupportBank:
        """See `FewShotNetwork.weighed_like`."""
        if self.partner is None:
            return bank
        like = self.partner.weighed_like(self._partner_bank(bank), self._partner_bank(run))
        return replace(bank, arrays={**bank.arrays, **{_PARTNER + name: array for name, array in like.arrays.items()}})

    def score(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """See `FewShotNetwork.score`; the backbone runs once for all classes."""
        height, width = tiles.shape[-2:]
        features = self.features(tiles)
        padded = (height + -height % self.multiple, width + -width % self.multiple)
        odds = torch.cat([self._log_odds(features, bank) for bank in banks], dim=1)
        # Cells are of equal size over the padded tile: first to its size, then the padding off.
        odds = F.interpolate(odds, padded, mode="bilinear", align_corners=False)[..., :height, :width]
        if self.partner is not None:
            others = [_PARTNERS.get(bank, "partner", lambda b=bank: self._partner_bank(b)) for bank in banks]  # type: ignore[misc]
            known = self.partner.score(self._for_partner(tiles, self.partner), others).float()
            odds = 2.0 * odds + torch.logit(known, _LIMIT)
        return odds.sigmoid()

    def losses(self, batch: EpisodeBatch) -> Losses:
        """There is nothing to train.

        Raises:
            ModelInputError: always.
        """
        raise ModelInputError(
            "a frozen backbone under a closed-form rule has nothing to train",
            where=f"architecture {self.architecture!r}",
            remedy="train weights of hdmnet-pyramid, or use this network as it is",
        )

    @torch.no_grad()
    def cells(self, images: Tensor) -> Tensor:
        """The features of the frozen backbone. See `FewShotNetwork.cells`."""
        size = images.shape[-2] // CELL, images.shape[-1] // CELL
        return F.adaptive_avg_pool2d(self.features(images)[:, :-1], size)

    def features(self, tiles: Tensor) -> Tensor:
        """Regression features [B, D, h, w] of normalized tiles [B, 3, H, W], the last one constant 1."""
        images = pad_images(tiles, self.multiple)
        if self.enlarge > 1:
            images = F.interpolate(images, scale_factor=self.enlarge, mode="bilinear", align_corners=False)
        maps = feature_maps(self.backbone, images)
        kept = [_unit_positions(maps[i]) for i in self.stages]
        size = max((x.shape[-2:] for x in kept), key=lambda s: int(s[0]) * int(s[1]))
        kept = [F.interpolate(x, tuple(size), mode="bilinear", align_corners=False) for x in kept]
        return torch.cat([*kept, torch.ones_like(kept[0][:, :1])], dim=1)

    def _moments(self, image: Tensor, mask: Tensor) -> tuple[Moments, Moments]:
        features = self.features(image[None])
        rows, columns = features.shape[-2:]
        labels = pad_masks(mask[None], self.multiple)
        tokens = features.permute(0, 2, 3, 1).flatten(1, 2)
        foreground, background = (
            F.adaptive_avg_pool2d((labels == value).to(features.dtype), (rows, columns)).flatten(1) for value in (1, 0)
        )
        return Moments.of(tokens, foreground), Moments.of(tokens, background)

    def _log_odds(self, features: Tensor, bank: SupportBank) -> Tensor:
        """[B, 1, h, w]: log likelihood ratio of target and background; the prior odds are even."""
        read = {name: bank.tensor(name, features.device)[None] for name in ("coefficients", "calibration")}
        solution = RidgeSolution(*(value.expand(len(features), -1) for value in read.values()))
        return 4.0 * solution.evidence(features)[:, 1:2]

    def _for_partner(self, pixels: Tensor, partner: FewShotNetwork) -> Tensor:
        return partner.normalize(self.denormalize(pixels))

    def _partner_bank(self, bank: SupportBank) -> SupportBank:
        partner = self.partner
        if partner is None:
            remedy = "name the weights of the network that the backbone is added to, as the pipeline file does"
            what = "there is no network whose log odds are added"
            raise ModelInputError(what, where=self.architecture, remedy=remedy)
        arrays = {k.removeprefix(_PARTNER): v for k, v in bank.arrays.items() if k.startswith(_PARTNER)}
        return SupportBank(partner.architecture, partner.fingerprint(), bank.class_name, bank.shots, arrays)


def _unit_positions(x: Tensor) -> Tensor:
    """Normalized over the channels of each position."""
    return F.layer_norm(x.permute(0, 2, 3, 1).float(), (x.shape[1],)).permute(0, 3, 1, 2)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = values
    return float(first), float(second), float(third)
