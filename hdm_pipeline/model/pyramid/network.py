"""`HDMNetPyramid`: hierarchical matching at several levels, over a small backbone, with supports encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.checks import require_supports
from hdm_pipeline.model.network import CELL, EpisodeBatch, FewShotNetwork, Losses, Remembered
from hdm_pipeline.model.partial_labels import has_both, partly_labelled
from hdm_pipeline.model.pyramid import familiarity
from hdm_pipeline.model.pyramid.backbone import STRIDES, Block, PyramidBackbone, cell_statistics
from hdm_pipeline.model.pyramid.context import STRIDE as CONTEXT_STRIDE
from hdm_pipeline.model.pyramid.context import PretrainedContext
from hdm_pipeline.model.pyramid.decoder import Decoder
from hdm_pipeline.model.pyramid.efficientnet_lite import Variant
from hdm_pipeline.model.pyramid.encoded_image import EncodedImage, LevelFeatures, add_image, match_tokens
from hdm_pipeline.model.pyramid.encoding import Arrays, LevelAccumulator, name_arrays, read_level
from hdm_pipeline.model.pyramid.episodes import Episodes
from hdm_pipeline.model.pyramid.evidence import EvidenceHead, LevelEvidence, LevelSupport, PixelEvidenceHead
from hdm_pipeline.model.pyramid.labels import cell_shares, finest_level, pad_images, pad_masks
from hdm_pipeline.model.pyramid.layers import resize
from hdm_pipeline.model.pyramid.memory import FeatureMemory, Known
from hdm_pipeline.model.pyramid.objective import pyramid_losses
from hdm_pipeline.model.pyramid.rules import SCALE, Mix, Rules, RuleTokens, mixed, read_rules, rule_scale, with_mix
from hdm_pipeline.model.pyramid.weighing import MOST_FOLDS, HeldOut, choose_mix
from hdm_pipeline.model.uncertainty import trust

_MULTIPLE = STRIDES[-1]
_LARGEST_JUDGED = 1 << 20  # pixels of an example that is held out: features of up to six are kept at once
_FINEST = "finest"  # the array of a bank that names the level to decode to

Detail = Literal["full", "auto"]


class HDMNetPyramid(FewShotNetwork):
    """Backbone, per-level evidence (closed-form regression and cosine matching) and a coarse-to-fine decoder.

    Any tile size: tiles are padded by reflection to a multiple of 32 and the scores cropped.

    Args:
        widths: backbone channels at strides 2, 4, 8, 16, 32.
        depths: residual blocks at these strides.
        heads: self-attention heads.
        block: residual blocks, "basic" or "bottleneck"; `widths` of (64, 256, 512, 1024, 2048), `depths` of
            (1, 3, 4, 6, 3) and "bottleneck" have the shape of a ResNet-50.
        levels: number of evidence levels, 2 to 4, from stride 2 upwards (4: strides 2, 4, 8, 16).
        detail: "full" decodes to the finest level always; "auto" stops one level before it where the supports' masks
            have no finer detail (`finest_level`), which saves two fifths of a query's time.
        evidence_widths: width of the regression and matching spaces at each level.
        state_widths: decoder channels at each evidence level, finest first.
        guides: query feature channels that the decoder sees at each level.
        background: match background tokens of the supports as well.
        training_tokens: support tokens of each class and level in training.
        training_queries: queries that a training batch shall have at least; supports fill in for missing ones.
        prototypes: support tokens of each class and level kept in a bank.
        loss_weights: of segmentation, distillation and auxiliary levels.
        pretrained: an EfficientNet-Lite that gives context and evidence of its own (`PretrainedContext`), or None.
    """

    architecture: ClassVar[str] = "hdmnet-pyramid"
    knows_uncertainty: ClassVar[bool] = True
    compiles: ClassVar[bool] = True
    copies_exactly: ClassVar[bool] = True

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 96, 128, 160),
        depths: Sequence[int] = (1, 2, 2, 2, 1),
        heads: int = 4,
        block: Block = "basic",
        levels: int = 4,
        detail: Detail = "full",
        evidence_widths: Sequence[int] = (64, 64, 64, 64),
        state_widths: Sequence[int] = (32, 64, 64, 64),
        guides: Sequence[int] = (13, 25, 25, 25),
        background: bool = True,
        training_tokens: int = 128,
        training_queries: int = 16,
        prototypes: int = 192,
        loss_weights: Sequence[float] = (1.0, 0.5, 0.2),
        pretrained: Variant | None = None,
    ) -> None:
        super().__init__()
        self._config: dict[str, Any] = {
            "widths": list(widths),
            "depths": list(depths),
            "heads": heads,
            "block": block,
            "levels": levels,
            "detail": detail,
            "evidence_widths": list(evidence_widths),
            "state_widths": list(state_widths),
            "guides": list(guides),
            "background": background,
            "training_tokens": training_tokens,
            "training_queries": training_queries,
            "prototypes": prototypes,
            "loss_weights": list(loss_weights),
            # Not named where it is not used, so that weights from before it existed keep their fingerprint.
            **({} if pretrained is None else {"pretrained": pretrained}),
        }
        self.levels = levels
        self.detail = detail
        self.background = background
        self.training_tokens = training_tokens
        self.training_queries = training_queries
        self.loss_weights = tuple(loss_weights)
        self.backbone = PyramidBackbone(widths, depths, heads, block)
        self.prototypes = prototypes
        self.finest = PixelEvidenceHead(widths[0], evidence_widths[0], len(widths) - 1)
        self.heads = nn.ModuleList(EvidenceHead(widths[i], evidence_widths[i], matches=True) for i in range(1, levels))
        evidence = [LevelEvidence(matches=i > 0) for i in range(levels)]
        self.decoder = Decoder(
            widths[:levels],
            [level.channels for level in evidence],
            state_widths[:levels],
            guides[:levels],
            contextual=pretrained is not None,
        )
        self.strides = STRIDES[:levels]
        self.context: PretrainedContext | None = None
        if pretrained is not None:
            # The evidence of the pretrained features is one more level; the decoder reads it at all others.
            self.context = PretrainedContext(pretrained, widths[1:levels])
            self.strides = (*self.strides, CONTEXT_STRIDE)
            self.frozen = ("context.backbone.",)
            evidence.append(LevelEvidence(matches=False, log_penalty=0.0))  # many features of unit size
        self.evidence = nn.ModuleList(evidence)
        self._memory = FeatureMemory(0)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def config(self) -> dict[str, Any]:
        """The JSON-able constructor arguments."""
        return dict(self._config)

    def peak_bytes(self, height: int, width: int) -> int:
        """See `FewShotNetwork.peak_bytes`; measured 687 to 824 bytes a pixel at the default widths, 512x512, one
        class; 765 over a pretrained backbone, 1,560 where it sees the tile twice enlarged."""
        enlarged = 0 if self.context is None else 800
        a_pixel = 1_000 * max(1.0, self.backbone.widths[1] / 64) + enlarged
        return int(a_pixel * (height + _MULTIPLE) * (width + _MULTIPLE))

    def features(self, images: Tensor, finest: int = 0) -> list[LevelFeatures]:
        """Everything that does not depend on which image is support and which is query, of the levels from `finest` on.

        Args:
            images: [B, 3, H, W] normalised, H and W multiples of 32.
            finest: 0, or 1 to leave out the finest level.

        Returns:
            The levels, finest first, and then the pretrained features where there are any.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        cells = cell_statistics(images, len(STRIDES))
        added, deep = (None, None) if self.context is None else self.context(self.denormalize(images))
        maps = self.backbone(images, cells)[: self.levels]
        if added is not None:
            maps = [maps[0], *(x + more for x, more in zip(maps[1:], added, strict=True))]
        coarser = [LevelFeatures(x, *head(x)) for x, head in zip(maps[1:], self.heads, strict=True)]
        if deep is not None:
            coarser.append(LevelFeatures(deep, deep, None))
        if finest:
            return coarser
        return [LevelFeatures(maps[0], *self.finest.forward_with_pixels(maps[0], images, cells)), *coarser]

    @torch.no_grad()
    def encode_support(
        self, images: Sequence[Tensor], masks: Sequence[Tensor], *, class_name: str = "target"
    ) -> SupportBank:
        """Encode K labelled examples of one class; sizes may differ. See `FewShotNetwork.encode_support`."""
        return self.encode_for_run(images, masks, class_name=class_name, weigh=False)

    @torch.no_grad()
    def encode_for_run(
        self,
        images: Sequence[Tensor],
        masks: Sequence[Tensor],
        *,
        class_name: str = "target",
        weigh: bool = True,
        describe: bool = False,
    ) -> SupportBank:
        """Weighed by held-out examples (`weighing`), described by the coarsest level (`familiarity`)."""
        require_supports(images, masks, minimum_side=self.minimum_side, where=f"class {class_name!r}")
        asked = ("bank", weigh, describe)
        arrays = self._memory.of_set(asked, images, masks, lambda: self._encoded(images, masks, weigh, describe))
        return SupportBank(self.architecture, self.fingerprint(), class_name, len(images), arrays)

    def _encoded(self, images: Sequence[Tensor], masks: Sequence[Tensor], weigh: bool, describe: bool) -> Arrays:
        """The arrays of a bank, as `encode_for_run` is asked for them."""
        judged = MOST_FOLDS if weigh else 0
        scale = rule_scale(masks)
        kept: list[EncodedImage] = []
        levels: list[LevelAccumulator] = []
        frozen: list[RuleTokens] = []
        pretrained = self.context is not None
        compared = familiarity.SupportsCompared(
            familiarity.LEAST_FAR_PRETRAINED if pretrained else familiarity.LEAST_FAR
        )
        for image, mask in zip(images, masks, strict=True):
            encoded = self._encode_image(image, mask, scale)
            add_image(levels, encoded, background=self.background)
            if encoded.rule_tokens is not None:
                frozen.append(encoded.rule_tokens)
            if describe:
                last, stride = encoded.features[-1], self.strides[-1]
                compared.add(last.context, last.regress, cell_shares(encoded.padded, stride), stride)
            judges = encoded.rules is not None and not partly_labelled(mask) and mask.numel() <= _LARGEST_JUDGED
            if judges and len(kept) < judged:
                kept.append(encoded)
        arrays = name_arrays({i: level.arrays(self._evidence(i), self.prototypes) for i, level in enumerate(levels)})
        if frozen:
            rules = Rules.of(frozen, self._evidence(self.levels).regression)
            usual = Mix.of_shots(len(images))
            mix = choose_mix(self._held_out(kept, rules.logistic), usual) if kept else usual
            arrays |= rules.arrays(mix, scale)
        if describe:
            arrays |= compared.arrays(self._evidence(len(self.strides) - 1).regression)
        finest = finest_level(masks) if self.detail == "auto" else 0
        arrays[_FINEST] = np.array([finest], dtype=np.float32)
        return arrays

    @torch.no_grad()
    def cells(self, images: Tensor) -> Tensor:
        """The pretrained features, where there are any. See `FewShotNetwork.cells`."""
        if self.context is None:
            return super().cells(images)
        return F.avg_pool2d(self.context.enlarged(self.denormalize(images), 1)[:, :-1], CELL // CONTEXT_STRIDE)

    @contextmanager
    def remembering(self) -> Iterator[Remembered]:
        """See `FewShotNetwork.remembering`."""
        before, self._memory = self._memory, self._memory if self._memory.most_pixels else FeatureMemory()
        try:
            with self._memory.watching() as touched:
                yield touched
        finally:
            self._memory = before

    def remember(self, most_pixels: int) -> None:
        """See `FewShotNetwork.remember`."""
        self._memory = FeatureMemory(most_pixels, latest=True)

    def _encode_image(self, image: Tensor, mask: Tensor, scale: int) -> EncodedImage:
        """One support [3, H, W] with its mask [H, W] at all levels, and what the rules take of it."""
        pixels = pad_images(image.unsqueeze(0), _MULTIPLE)
        known = self._memory.of(pixels)

        def encoded() -> EncodedImage:
            features = self._known_features(pixels, 0, known)
            matches = known.get("matches", lambda: match_tokens(features))
            rules = None if self.context is None else self._rule_features(pixels, features, scale, known)
            return EncodedImage(mask, pad_masks(mask.unsqueeze(0), _MULTIPLE), features, matches, self.strides, rules)

        return known.labelled(("support", scale), mask, encoded)

    def _rule_features(self, images: Tensor, features: Sequence[LevelFeatures], scale: int, known: Known) -> Tensor:
        """Frozen features [B, D + 1, h, w] of normalised images, at a scale; those of scale 1 are there already."""
        context = self.context
        if context is None or scale == 1:
            return features[-1].regress
        return known.get(("rules", scale), lambda: context.enlarged(self.denormalize(images), scale))

    def _known_features(self, images: Tensor, finest: int, known: Known) -> list[LevelFeatures]:
        """`features`, from memory where these images are in it."""
        if finest and ("levels", 0) in known:  # a support of one fold that is the query of another
            return self._known_features(images, 0, known)[finest:]
        return known.get(("levels", finest), lambda: self.features(images, finest))

    def _held_out(self, encoded: Sequence[EncodedImage], start: Tensor) -> list[HeldOut]:
        """Each example as the others segment it."""
        found = []
        for number, query in enumerate(encoded):
            others = [other for i, other in enumerate(encoded) if i != number]
            if query.rules is None or not has_both([other.mask for other in others]):
                continue
            levels: list[LevelAccumulator] = []
            for other in others:
                add_image(levels, other, background=self.background)
            supports = [level.solved(self._evidence(i), self.prototypes) for i, level in enumerate(levels)]
            rules = Rules.of(
                [o.rule_tokens for o in others if o.rule_tokens], self._evidence(self.levels).regression, start
            )
            logits = self._decode(query.features, supports)[0][0].float()
            height, width = query.mask.shape
            odds = resize(rules.odds(query.rules), (logits.shape[-2], logits.shape[-1]))
            found.append(HeldOut.of(logits[0, 0, :height, :width], odds[0, :, :height, :width], query.mask))
        return found

    def score(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """Probability of each class [B, len(banks), H, W]. See `FewShotNetwork.score`."""
        padded = pad_images(tiles, _MULTIPLE)
        known = self._memory.of(padded)
        features = self._known_features(padded, min(_finest(banks), default=0), known)
        answers = [logits.sigmoid() for logits, _ in self._class_answers(features, padded, banks, known)]
        scores = torch.cat(answers, dim=1) if answers else padded.new_zeros(len(padded), 0, *padded.shape[-2:])
        return scores[:, :, : tiles.shape[-2], : tiles.shape[-1]]

    def weighed_like(self, bank: SupportBank, run: SupportBank) -> SupportBank:
        """See `FewShotNetwork.weighed_like`."""
        return with_mix(bank, run)

    def is_described(self, bank: SupportBank) -> bool:
        """See `FewShotNetwork.is_described`."""
        return familiarity.known(bank)

    def examine(self, tiles: Tensor, banks: Sequence[SupportBank], *, doubt: bool = False) -> Tensor:
        """Scores, distances and, with `doubt`, how far log odds may be trusted. See `FewShotNetwork.examine`."""
        padded = pad_images(tiles, _MULTIPLE)
        size = padded.shape[-2], padded.shape[-1]
        known = self._memory.of(padded)
        features = self._known_features(padded, min(_finest(banks), default=0), known)
        answers = self._class_answers(features, padded, banks, known)
        last = features[-1]
        with torch.autocast(tiles.device.type, enabled=False):
            far = resize(familiarity.distance(last.context.float(), self.strides[-1], banks), size)
            found = [*(logits.sigmoid() for logits, _ in answers), far]
            if doubt:
                regress = last.regress.float()
                apart = [
                    resize(familiarity.variance(regress, bank, rules), size)
                    for bank, (_, rules) in zip(banks, answers, strict=True)
                ]
                found.append(trust(torch.cat(apart, dim=1), far))
        return torch.cat(found, dim=1)[:, :, : tiles.shape[-2], : tiles.shape[-1]]

    def _class_answers(
        self, features: Sequence[LevelFeatures], padded: Tensor, banks: Sequence[SupportBank], known: Known
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Of padded tiles, whose features are known from the finest level on that a bank asks for, each class's logits
        [B, 1, H, W] and the log odds [B, 2, h, w] of its two rules, where there are any."""
        levels = _finest(banks)
        first = min(levels, default=0)
        scales = [] if self.context is None else [int(bank.array(SCALE)[0]) for bank in banks]
        frozen = {scale: self._rule_features(padded, features, scale, known) for scale in dict.fromkeys(scales)}
        answers: list[tuple[Tensor, Tensor | None]] = []
        for number, (bank, finest) in enumerate(zip(banks, levels, strict=True)):
            logits, odds = self._class_logits(features[finest - first :], bank, finest), None
            if scales:
                rules, mix = read_rules(bank, logits.device)
                odds = rules.odds(frozen[scales[number]])
                logits = mixed(logits, odds, mix)
            answers.append((logits, odds))
        return answers

    def _class_logits(self, features: Sequence[LevelFeatures], bank: SupportBank, finest: int) -> Tensor:
        supports = [
            read_level(bank, level, len(found.context), found.regress.device)
            for level, found in enumerate(features, start=finest)
        ]
        return self._decode(features, supports, finest)[0][0].float()

    def losses(self, batch: EpisodeBatch) -> Losses:
        """Segmentation, distillation and auxiliary losses of a batch; sizes must be multiples of 32.

        All images pass the backbone anyway, so where a batch has fewer queries than `training_queries`, supports take
        their turn as query of the other images, the true query among them.
        """
        episodes = Episodes.of(batch, queries=self.training_queries)
        features = self.features(episodes.images)
        supports = [self._solve_level(episodes, i, level) for i, level in enumerate(features)]
        logits, evidence = self._decode([level.first(episodes.queries) for level in features], supports)
        return pyramid_losses(self.loss_weights, episodes.targets, logits, evidence[: self.levels])

    def _solve_level(self, episodes: Episodes, level: int, features: LevelFeatures) -> LevelSupport:
        """The supports of each episode of each turn at one level, with gradient."""
        regression, drawn = self._evidence(level).regression, self.training_tokens
        return episodes.solve(features, self.strides[level], regression, drawn=drawn, matched=self.background)

    def _decode(
        self, features: Sequence[LevelFeatures], supports: Sequence[LevelSupport], finest: int = 0
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Logits at full resolution and each level from `finest` on, and the evidence maps of these levels."""
        evidence = [
            self._evidence(i)(level.regress, level.match, support)
            for i, (level, support) in enumerate(zip(features, supports, strict=True), start=finest)
        ]
        count = self.levels - finest
        logits = self.decoder(
            [level.context for level in features[:count]], evidence[:count], finest, *evidence[count:]
        )
        return logits, evidence

    def _evidence(self, level: int) -> LevelEvidence:
        module = self.evidence[level]
        if not isinstance(module, LevelEvidence):  # narrows nn.ModuleList's element type
            raise TypeError(type(module).__name__)
        return module


def _finest(banks: Sequence[SupportBank]) -> list[int]:
    """The level that each bank asks to decode to."""
    return [int(bank.array(_FINEST)[0]) for bank in banks]
