"""One image with its labels as the levels see it: as a query, and as a support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from hdm_pipeline.model.partial_labels import partly_labelled
from hdm_pipeline.model.pyramid.encoding import LevelAccumulator, SupportFeatures, unit
from hdm_pipeline.model.pyramid.labels import cell_shares
from hdm_pipeline.model.pyramid.rules import RuleTokens


@dataclass(frozen=True)
class LevelFeatures:
    """Features of a batch of images at one level.

    Attributes:
        context: [B, C, H, W] of the backbone, what the decoder is guided by.
        regress: [B, D + 1, H, W] regression features, the last one constant 1.
        match: [B, D, H, W] matching features, or None where the level does not match.
    """

    context: Tensor
    regress: Tensor
    match: Tensor | None

    def first(self, count: int) -> LevelFeatures:
        """The first `count` images."""
        match = None if self.match is None else self.match[:count]
        return LevelFeatures(self.context[:count], self.regress[:count], match)


@dataclass(frozen=True)
class EncodedImage:
    """A labelled image, encoded once for both its roles.

    Attributes:
        mask: [H, W] uint8 of 1, 0 and 255, as it came.
        padded: [1, H', W'] the mask in whole cells of the coarsest level.
        features: of the levels, finest first: a batch of one.
        matches: [H * W, D] matching features of the levels, of length 1 each, or None where the level does not match.
            Given, as other labels of the image share them.
        strides: of the levels.
        rules: [1, D + 1, h, w] frozen features for the rules, or None without a pretrained backbone.
    """

    mask: Tensor
    padded: Tensor
    features: Sequence[LevelFeatures]
    matches: Sequence[Tensor | None]
    strides: Sequence[int]
    rules: Tensor | None

    @cached_property
    def supports(self) -> list[SupportFeatures]:
        """The image as a support, level by level."""
        found = []
        for stride, level, match in zip(self.strides, self.features, self.matches, strict=True):
            foreground, background = cell_shares(self.padded, stride)
            parts = (tokens(level.regress)[0], match, foreground.flatten(), background.flatten())
            found.append(SupportFeatures(*parts, fair=not partly_labelled(self.mask)))
        return found

    @cached_property
    def rule_tokens(self) -> RuleTokens | None:
        """The image as a support of the rules."""
        if self.rules is None:
            return None
        foreground, background = cell_shares(self.padded, self.padded.shape[-1] // self.rules.shape[-1])
        return RuleTokens(tokens(self.rules)[0], foreground.flatten(), background.flatten())


def match_tokens(features: Sequence[LevelFeatures]) -> list[Tensor | None]:
    """`EncodedImage.matches` of a batch of one."""
    return [None if level.match is None else unit(tokens(level.match))[0] for level in features]


def add_image(levels: list[LevelAccumulator], image: EncodedImage, *, background: bool) -> None:
    """Add an image to the accumulators of all levels; an empty list is filled with new ones."""
    if not levels:
        levels += [LevelAccumulator(support, background=background) for support in image.supports]
        return
    for level, support in zip(levels, image.supports, strict=True):
        level.add(support)


def tokens(x: Tensor) -> Tensor:
    """[B, C, H, W] to [B, H * W, C]."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
