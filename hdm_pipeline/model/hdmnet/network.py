"""`HDMNet`: the published network, exactly, split into its support side and its query side (docs/hdmnet.md).

Hierarchical Dense Correlation Distillation for Few-Shot Segmentation (CVPR 2023), with the base learner of BAM. The
official forward is `HDMNet.forward`; it is composed of the same `encode` and `respond` that serve a support bank, so
there is one code path.

Ours, not the paper's: any tile side, square or not; supports of other sizes than the query; `base_learner=False`;
`ensemble`; `support_tokens`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.errors import SupportError
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.checks import require_supports
from hdm_pipeline.model.fast.collapse import collapse_decoder
from hdm_pipeline.model.fast.extractors import OpenVinoExtractor, TorchExtractor, calibrated_ranges
from hdm_pipeline.model.hdmnet.attention import token_mask
from hdm_pipeline.model.hdmnet.backbone import (
    BACKBONES,
    NECK_CHANNELS,
    FeatureExtractor,
    Features,
    PyramidPooling,
    build_layers,
    build_neck,
)
from hdm_pipeline.model.hdmnet.base_learner import (
    BaseLearner,
    blend,
    estimate,
    gram_matrix,
    scene_distance,
    shot_weights,
    to_size,
)
from hdm_pipeline.model.hdmnet.condense import condense
from hdm_pipeline.model.hdmnet.decoder import MixTransformer
from hdm_pipeline.model.hdmnet.distillation import distillation_terms
from hdm_pipeline.model.hdmnet.matching import masked_average, prior_tokens, similarity_prior
from hdm_pipeline.model.hdmnet.states import QueryState, RawOutputs, Response, SupportState
from hdm_pipeline.model.network import EpisodeBatch, FewShotNetwork, Losses

_REDUCED = 256
_MERGED = 64
_PRIOR_GAIN = 10.0
_FROZEN = ("layer0", "layer1", "layer2", "layer3", "layer4", "ppm", "cls", "base_learnear")
_MIN_GRID = 4


class HDMNet(FewShotNetwork):
    """The published HDMNet.

    Args:
        backbone: ``resnet50``, ``resnet101``, ``resnet152`` or ``vgg16``.
        shot: supports the weights were trained with; more than one adds `kshot_rw`.
        base_classes: classes of the base learner: 60 (COCO), 15 (PASCAL).
        kshot_dim: hidden width of `kshot_rw`, 0 for a single linear map. docs/hdmnet.md, section 5.
        base_learner: add the base learner's class prior to the background, as published. It knows everyday objects:
            switch it off for satellites and patients: the matching then decides by itself (softmax of its logits).
        ensemble: what 1-shot weights do with K > 1 supports. ``scores``: each support answers by itself and the scores
            are averaged, cost grows with K. ``pooled``: the published n-shot forward (tokens of all shots together)
            with the mean distance, cost grows little. ``off``: refuse.
        support_tokens: keep at most so many support tokens a class and level, by k-means (deterministic), so that the
            cost of a query is bounded whatever K is; None keeps all, which is exact.

    Weights of n > 1 shots take exactly n supports, as published; without the base learner they take any number.
    """

    architecture: ClassVar[str] = "hdmnet"
    knows_unknown: ClassVar[bool] = False
    autocasts: ClassVar[bool] = False  # the matching stays in float32

    def __init__(
        self,
        backbone: str = "resnet50",
        shot: int = 1,
        base_classes: int = 60,
        kshot_dim: int = 2,
        base_learner: bool = True,
        ensemble: Literal["scores", "pooled", "off"] = "scores",
        support_tokens: int | None = None,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"unknown backbone {backbone!r}; known: {', '.join(BACKBONES)}")
        if shot < 1 or base_classes < 1 or ensemble not in ("scores", "pooled", "off"):
            raise ValueError(f"shot {shot}, base_classes {base_classes} or ensemble {ensemble!r} is not acceptable")
        self.backbone, self.shot, self.base_classes = backbone, shot, base_classes
        self.kshot_dim, self.base_learner = kshot_dim, base_learner
        self.ensemble, self.support_tokens = ensemble, support_tokens
        spec = BACKBONES[backbone]
        self.layer0, self.layer1, self.layer2, self.layer3, self.layer4 = build_layers(backbone)
        self.ppm = PyramidPooling(spec.f4)
        self.cls = build_neck(spec.f4)
        self.base_learnear = BaseLearner(NECK_CHANNELS, base_classes)
        self.down_supp = _reduce(spec.f3 + spec.f2)
        self.down_query = _reduce(spec.f3 + spec.f2)
        self.query_merge = nn.Sequential(nn.Conv2d(2 * _REDUCED + 2, _MERGED, 1, bias=False), nn.ReLU())
        self.supp_merge = nn.Sequential(nn.Conv2d(2 * _REDUCED, _MERGED, 1, bias=False), nn.ReLU())
        self.transformer = nn.ModuleDict({"mix_transformer": MixTransformer()})
        self.gram_merge, self.cls_merge = _first_of_two(), _first_of_two()
        self.kshot_rw = shot_weights(shot, kshot_dim) if shot > 1 else None
        self.prior_dtype = torch.float32
        self._extractor: nn.Module | None = None
        for name in _FROZEN:
            getattr(self, name).requires_grad_(False)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("backbone", "shot", "base_classes", "kshot_dim", "base_learner", "ensemble", "support_tokens")
        return {name: getattr(self, name) for name in names}

    @property
    def mix_transformer(self) -> MixTransformer:
        """The matching transformer."""
        module: MixTransformer = self.transformer["mix_transformer"]  # type: ignore[assignment]
        return module

    @property
    def minimum_side(self) -> int:
        """Smallest tile or support side, in pixels: the transformer needs a feature grid of four cells."""
        return BACKBONES[self.backbone].stride * (_MIN_GRID - 1) + 1

    def peak_bytes(self, height: int, width: int) -> int:
        """See `FewShotNetwork.peak_bytes`; measured on 256 to 1024 pixels a side."""
        return 300_000_000 + 4_000 * height * width

    def train(self, mode: bool = True) -> HDMNet:
        """As `nn.Module.train`, but every BatchNorm stays in eval mode, as in the authors' training."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    # ------------------------------------------------------------------ backbone
    def feature_extractor(self) -> FeatureExtractor:
        """The frozen part as one module that shares this network's layers."""
        layers = [self.layer0, self.layer1, self.layer2, self.layer3, self.layer4]
        return FeatureExtractor(layers, self.ppm, self.cls)

    def use_extractor(self, extractor: nn.Module | None) -> None:
        """Compute the features elsewhere (compiled, quantized, another runtime); None returns to the own layers."""
        self.__dict__["_extractor"] = extractor

    def drop_layers(self) -> None:
        """Free the backbone's layers, once `use_extractor` replaced them; the base learner's head stays."""
        for name in ("layer0", "layer1", "layer2", "layer3", "layer4", "ppm", "cls"):
            setattr(self, name, nn.Identity())

    def extract(self, images: Tensor) -> Features:
        """[B, 3, H, W] normalized images to features, without gradient."""
        extractor = self.__dict__.get("_extractor") or self.feature_extractor()
        with torch.no_grad():
            return Features(*extractor(images))

    # ------------------------------------------------------------------ faster modes
    def has_mode(self, precision: str, runtime: str) -> bool:
        """See `FewShotNetwork.has_mode`; OpenVINO computes the backbone in fp32, bf16 and int8."""
        return runtime == "openvino" or super().has_mode(precision, runtime)

    def fast_copy(self, precision: str, runtime: str, ranges: npt.NDArray[np.float32] | None = None) -> HDMNet:
        """See `FewShotNetwork.fast_copy`: another backbone, batch norms folded, linear layers collapsed."""
        fast = copy.deepcopy(self).eval().requires_grad_(False)
        own = self.feature_extractor()
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        if runtime == "openvino":
            fast.use_extractor(OpenVinoExtractor(own, precision, ranges))
        else:
            fast.use_extractor(TorchExtractor(own, dtype))
        fast.drop_layers()
        collapse_decoder(fast.mix_transformer)
        fast.prior_dtype = dtype
        return fast

    def int8_ranges(self, tiles: Sequence[Tensor]) -> npt.NDArray[np.float32]:
        """See `FewShotNetwork.int8_ranges`; of the backbone's convolutions."""
        return calibrated_ranges(self.feature_extractor(), tiles)

    # ------------------------------------------------------------------ support side
    @torch.no_grad()
    def encode_support(
        self, images: Sequence[Tensor], masks: Sequence[Tensor], *, class_name: str = "target"
    ) -> SupportBank:
        """Encode K labelled examples of one class; see `FewShotNetwork.encode_support`.

        Examples without a pixel labelled 1 are left out: of an example the network sees the target only, and the
        features of none would count as those of a target.
        Sizes may differ from example to example and from the tiles. Bank arrays: prototypes, prior tokens, keys and
        values of the foreground at three levels, Gram matrices (docs/hdmnet.md, section 9).

        Raises:
            SupportError: no example, unequal numbers or sizes, a side below `minimum_side`, no pixel labelled 1, or a
                number of shots that the weights do not take.
        """
        require_supports(images, masks, minimum_side=self.minimum_side, where=f"class {class_name!r}")
        shown = [(image, mask) for image, mask in zip(images, masks, strict=True) if bool((mask == 1).any())]
        self._check_shots(len(shown), class_name)
        states = []
        for image, mask in shown:
            foreground = (mask == 1).to(image.dtype)
            states.append(self.encode(self.extract((image * foreground)[None]), foreground))
        state = SupportState.join(states)
        if self.support_tokens is not None:  # on the CPU: sums on a GPU come in any order
            state = condense(state.to(torch.device("cpu")), self.support_tokens)
        return SupportBank(self.architecture, self.fingerprint(), class_name, len(shown), state.to_arrays())

    def encode(self, features: Features, foreground: Tensor) -> SupportState:
        """The support side of one shot.

        Args:
            features: of the image multiplied by its mask, [1, C, h, w].
            foreground: [H, W] float, 1 where the label is 1, else 0.
        """
        grid = (features.f3.shape[-2], features.f3.shape[-1])
        soft = F.interpolate(foreground[None, None], grid, mode="bilinear", align_corners=True)
        reduced = self.down_supp(torch.cat([features.f3, features.f2], 1))
        prototype = masked_average(reduced, soft)
        merged = self.supp_merge(torch.cat([reduced, prototype.expand_as(reduced)], 1))
        kept = token_mask(foreground, grid)
        return SupportState(
            prototype[:, :, 0, 0],
            (prior_tokens(features.f5[0], kept), prior_tokens(features.f4[0], kept)),
            tuple(self.mix_transformer.encode_support(merged, foreground)),
            gram_matrix(features.f2),
            (merged,),
        )

    # ------------------------------------------------------------------ query side
    def query(self, images: Tensor) -> QueryState:
        """What all classes share of a batch of tiles [B, 3, H, W]."""
        features = self.extract(images)
        return self.query_state(features, (images.shape[-2], images.shape[-1]))

    def query_state(self, features: Features, size: tuple[int, int]) -> QueryState:
        """The query side of features already extracted from tiles of that size."""
        return QueryState(
            size,
            features,
            self.down_query(torch.cat([features.f3, features.f2], 1)),
            (_lengths(features.f5), _lengths(features.f4)),
            gram_matrix(features.f2) if self.base_learner else None,
            self.base_learnear(features.f5) if self.base_learner else None,
        )

    def respond(self, query: QueryState, support: SupportState, *, own_class: int | None = None) -> Response:
        """Answer a batch of queries for one class.

        Args:
            query: the tiles.
            support: the class's supports; all shots together, as the n-shot forward has it.
            own_class: rank (from 0) among the base classes of this very class, left out of the prior (training).
        """
        grid = (query.reduced.shape[-2], query.reduced.shape[-1])
        maps = [
            similarity_prior(features.flatten(2), lengths, prior, dtype=self.prior_dtype).view(-1, *grid)
            for features, lengths, prior in zip(
                (query.features.f5, query.features.f4), query.lengths, support.priors, strict=True
            )
        ]
        similarity = torch.stack(maps, 1)
        prototype = support.prototypes.mean(0).view(1, -1, 1, 1).expand_as(query.reduced)
        merged = self.query_merge(torch.cat([query.reduced, prototype, _PRIOR_GAIN * similarity], 1))
        meta, weights = self.mix_transformer(merged, support.levels, similarity)
        final = est = None
        if query.base is not None and query.gram is not None:
            est = estimate(scene_distance(query.gram, support.grams), self.kshot_rw)
            base = query.base.softmax(1)
            base_map = base[:, 1:].sum(1, keepdim=True)
            if own_class is not None:
                base_map = base_map - base[:, own_class + 1 : own_class + 2]
            final = blend(meta, base_map, est, self.gram_merge, self.cls_merge)
        return Response(meta, final, weights, similarity, est, merged)

    def score(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """Probability of each class, [B, len(banks), H, W]; see `FewShotNetwork.predict`.

        With the base learner the published output is a pair (background, foreground) that does not sum to 1; the
        probability is 0.5 + 0.5 (f - b) / (|f| + |b|), that is f / (f + b) where neither is negative: above 0.5 exactly
        where the official argmax is foreground. Without it: softmax of the meta logits.
        """
        query = self.query(tiles)
        scores = [self._probability(query, bank) for bank in banks]
        return torch.stack(scores, 1) if scores else tiles.new_zeros(len(tiles), 0, *tiles.shape[-2:])

    def _probability(self, query: QueryState, bank: SupportBank) -> Tensor:
        state = SupportState.from_bank(bank, query.reduced.device)
        states = state.split() if self.shot == 1 and self.ensemble == "scores" else [state]
        responses = [self.respond(query, each) for each in states]
        if self.base_learner:
            pairs = torch.stack([each.final for each in responses if each.final is not None]).mean(0)
            background, foreground = to_size(pairs, query.size).unbind(1)
            scale = background.abs() + foreground.abs() + torch.finfo(background.dtype).tiny
            return 0.5 + 0.5 * (foreground - background) / scale
        scores = [to_size(each.meta, query.size).softmax(1)[:, 1] for each in responses]
        return torch.stack(scores).mean(0)

    # ------------------------------------------------------------------ the official forward, and training
    def forward(
        self,
        query: Tensor,
        supports: Tensor,
        labels: Tensor,
        *,
        own_class: Sequence[int] | None = None,
    ) -> RawOutputs:
        """The official forward on a batch of episodes, each with its own supports.

        Args:
            query: [B, 3, H, W] normalized.
            supports: [B, n, 3, H, W] normalized.
            labels: [B, n, H, W] in {0, 1, 255}; only 1 is foreground.
            own_class: for each episode, the rank (from 0) of its class among the base classes (training only).
        """
        foreground = (labels == 1).to(query.dtype)
        masked = (supports * foreground[:, :, None]).flatten(0, 1)
        found = self.query(query)
        known = self.extract(masked)
        shots = supports.shape[1]
        responses: list[Response] = []
        merged: list[Tensor] = []
        for episode in range(len(query)):
            numbers = range(episode * shots, (episode + 1) * shots)
            each = [self.encode(known.item(n), foreground[episode, n - episode * shots]) for n in numbers]
            state = SupportState.join(each)
            merged += state.merged
            own = None if own_class is None else own_class[episode]
            responses.append(self.respond(found.item(episode), state, own_class=own))
        return RawOutputs.gather(responses, found, merged)

    @torch.no_grad()
    def published_answer(self, query: Tensor, supports: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """See `FewShotNetwork.published_answer`: the official forward; supports and query are of one size."""
        raw = self(query[None], torch.stack(list(supports))[None], torch.stack(list(masks))[None])
        outputs: Tensor = raw.meta_out if raw.final_out is None else raw.final_out
        return outputs

    def losses(self, batch: EpisodeBatch) -> Losses:
        """Training losses without labels of base classes: main + meta + distillation / 3; see `official_losses`."""
        return self.official_losses(batch)

    def official_losses(
        self, batch: EpisodeBatch, *, base_mask: Tensor | None = None, own_class: Sequence[int] | None = None
    ) -> Losses:
        """Cross-entropies at full resolution and correlation distillation (docs/hdmnet.md, section 7).

        Args:
            batch: episodes.
            base_mask: [B, H, W] rank of the base class + 1, 0 for others, 255 ignored. Adds the base learner's
                cross-entropy, which carries no gradient: its layers are frozen.
            own_class: rank (from 0) of each episode's class among the base classes.
        """
        out = self(batch.query, batch.support, batch.support_mask, own_class=own_class)
        target = batch.query_mask.long()
        parts = {"meta": F.cross_entropy(out.meta_out, target, ignore_index=255)}
        if out.final_out is not None:
            parts["main"] = F.cross_entropy(out.final_out, target, ignore_index=255)
        parts["distillation"] = torch.stack(distillation_terms(out.weights, batch.query_mask)).sum() / 3
        if base_mask is not None and out.base_out is not None:
            parts["base"] = F.cross_entropy(out.base_out, base_mask.long(), ignore_index=255)
        return Losses(torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()})

    # ------------------------------------------------------------------ checks
    def _check_shots(self, shots: int, class_name: str) -> None:
        if (
            shots == self.shot
            or (self.shot == 1 and self.ensemble != "off")
            or (self.shot > 1 and not self.base_learner)
        ):
            return
        raise SupportError(
            f"the weights take {self.shot} supports, {shots} were given",
            where=f"class {class_name!r}",
            remedy=f"give {self.shot}; or use 1-shot weights with an ensemble, or switch the base learner off",
        )


def _reduce(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, _REDUCED, 1, bias=False), nn.ReLU(), nn.Dropout2d(0.5))


def _first_of_two() -> nn.Conv2d:
    layer = nn.Conv2d(2, 1, 1, bias=False)
    layer.weight.data.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
    return layer


def _lengths(features: Tensor) -> Tensor:
    return features.flatten(2).square().sum(1).sqrt()  # a quarter of the time that a norm takes on the CPU
