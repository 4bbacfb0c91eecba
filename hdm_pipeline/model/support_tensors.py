"""Labelled examples as tensors: made of arrays once, here, and taken by fitting, encoding and checking alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdm_pipeline.config.schema import MAX_BANDS
from hdm_pipeline.errors import ModelInputError, SupportError, counted
from hdm_pipeline.model.background import require_background
from hdm_pipeline.model.bands.examples import BandExample
from hdm_pipeline.model.bands.projection import CHANNELS, BandProjection
from hdm_pipeline.model.checks import require_pairs
from hdm_pipeline.model.partial_labels import IGNORE, partly_labelled

_LABELS = (0, 1, IGNORE)
_SIDE = 1024
_MOST_CUTS = 4


Pair = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""An image [C, H, W] and its mask [H, W]."""


@dataclass(frozen=True, eq=False)
class SupportTensors:
    """One labelled example as every network of the family takes it; on the CPU.

    Attributes:
        pixels: [3, H, W] float32 in 0..1; 0 where not valid.
        valid: [H, W] bool.
        labels: [H, W] uint8: 1 target, 0 background, 255 ignored or not valid.
        bands: [N, H, W] float32 in 0..1 of an image of more than three bands, of which `pixels` are a projection; else
            None.
        projection: how the bands became `pixels`, or None.
    """

    pixels: Tensor
    valid: Tensor
    labels: Tensor
    bands: Tensor | None = None
    projection: BandProjection | None = None

    @property
    def image(self) -> Tensor:
        """[C, H, W]: what a segmenter takes to segment the example: all its bands, or the three channels."""
        return self.pixels if self.bands is None else self.bands

    @classmethod
    def of(
        cls, image: npt.NDArray[Any], mask: npt.NDArray[Any], where: str, projection: BandProjection | None = None
    ) -> SupportTensors:
        """The tensors of an image and its mask; the arrays are copied.

        Args:
            image: [C, H, W] in 0..1, C of 1 to 3 as `three_channels` takes it, or as many as the projection takes; a
                pixel that is NaN or infinite in any channel is not valid.
            mask: [H, W] of 1, 0 and 255.
            where: names the example in errors.
            projection: brings more than three bands to three; of `fit_projection`.

        Raises:
            SupportError: shapes do not fit, labels are unknown, or every target pixel is not valid.
        """
        if image.ndim != 3 or image.shape[1:] != mask.shape:
            raise SupportError(
                f"image {image.shape} and mask {mask.shape} do not fit",
                where=where,
                remedy="give an image [C, H, W] and a mask [H, W] of the same size",
            )
        strange = sorted(set(np.unique(mask).tolist()) - set(_LABELS))
        if strange:
            raise SupportError(
                f"mask holds labels {strange[:5]}", where=where, remedy="use 1 target, 0 background, 255 ignored"
            )
        valid = np.isfinite(image).all(axis=0)
        filled = np.where(valid, image, 0.0)
        if projection is not None and len(image) != projection.bands:
            raise SupportError(
                f"example has {counted(len(image), 'band')}, the others {projection.bands}",
                where=where,
                remedy="give all examples the same bands in the same order",
            )
        try:
            pixels = three_channels(filled[None])[0] if projection is None else filled.astype(np.float32)
        except ModelInputError as error:
            raise SupportError(error.what, where=where, remedy=error.remedy) from error
        labels = np.where(valid, mask, IGNORE).astype(np.uint8)
        if not (labels == 1).any() and (mask == 1).any():
            raise SupportError(
                "every pixel labelled 1 is invalid", where=where, remedy="label valid pixels of the example"
            )
        example = cls(torch.tensor(pixels), torch.tensor(valid), torch.tensor(labels))
        if projection is None:
            return example
        projected = projection.apply(example.pixels[None])[0].masked_fill_(~example.valid, 0.0)
        return replace(example, pixels=projected, bands=example.pixels, projection=projection)

    def cut(self, rows: slice, columns: slice) -> SupportTensors:
        """A part of the example, without copying."""
        return replace(
            self,
            pixels=self.pixels[:, rows, columns],
            valid=self.valid[rows, columns],
            labels=self.labels[rows, columns],
            bands=None if self.bands is None else self.bands[:, rows, columns],
        )

    @property
    def band_example(self) -> BandExample:
        """The example with all its bands."""
        return BandExample(self.image, self.valid, self.labels)


def support_tensors(
    images: Sequence[npt.NDArray[Any]], masks: Sequence[npt.NDArray[Any]], where: str
) -> list[SupportTensors]:
    """K examples of one class, see `SupportTensors.of`; more than three bands are projected by these examples.

    Raises:
        SupportError: there is none, the numbers differ, an example cannot be used, or none labels any background; says
            which and why.
    """
    require_pairs(len(images), len(masks), where)
    pairs = list(zip(images, masks, strict=True))
    projection = fit_projection([pairs], where)
    examples = [
        SupportTensors.of(image, mask, f"{where}, support {number}", projection)
        for number, (image, mask) in enumerate(pairs, 1)
    ]
    require_background([example.labels for example in examples], where)
    return examples


def require_known(examples: Sequence[SupportTensors], architecture: str) -> None:
    """Refuse partly labelled examples, for a network that takes unknown pixels for background.

    Examples that show background only are none of its business: it learns from the target alone, and leaves them out.

    Raises:
        SupportError: fewer than a quarter of an example's valid pixels have a label.
    """
    for number, example in enumerate(examples, 1):
        if bool((example.labels == 1).any()) and partly_labelled(example.labels[example.valid]):
            raise SupportError(
                "this network takes unknown pixels for background, and most of this example is unknown",
                where=f"architecture {architecture!r}, support {number}",
                remedy="label the whole example, or use weights of another architecture, such as builtin:pyramid",
            )


def fit_projection(classes: Sequence[Sequence[Pair]], where: str = "supports") -> BandProjection | None:
    """The projection to three channels for the examples of all classes; None where they have up to three bands.

    Args:
        classes: images and masks of each class; images as `SupportTensors.of` takes them.
        where: names the examples in errors.

    Raises:
        SupportError: there are too many bands, the examples differ in their number, or none has a labelled pixel.
    """
    counts = sorted({len(image) for pairs in classes for image, _ in pairs if image.ndim == CHANNELS})
    if not counts or counts[-1] <= CHANNELS:
        return None  # `SupportTensors.of` looks at each
    if counts[-1] > MAX_BANDS or len(counts) > 1:
        what = f"examples have {counted(counts[-1], 'band')}" if len(counts) == 1 else f"examples have {counts} bands"
        raise SupportError(what, where=where, remedy=f"give all examples the same bands, 1 to {MAX_BANDS} of them")
    examples = [[_band_example(*pair) for pair in pairs if pair[0].shape[1:] == pair[1].shape] for pairs in classes]
    if not any(len(example.places(label)) for each in examples for example in each for label in (0, 1)):
        raise SupportError("no example has a labelled pixel", where=where, remedy="label valid pixels as 1 and as 0")
    return BandProjection.fit([each for each in examples if each])


def _band_example(image: npt.NDArray[Any], mask: npt.NDArray[Any]) -> BandExample:
    valid = np.isfinite(image).all(axis=0)
    bands = np.where(valid, image, 0.0).astype(np.float32)
    return BandExample(torch.from_numpy(bands), torch.from_numpy(valid), torch.tensor(mask))


def bounded(examples: Sequence[SupportTensors], *, side: int = _SIDE, most: int = _MOST_CUTS) -> list[SupportTensors]:
    """Examples no larger than `side` pixels: a larger one becomes up to `most` cuts (`windows`)."""
    return [example.cut(*window) for example in examples for window in windows(example.labels, side, most)]


def windows(labels: Tensor, side: int, most: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the parts that an example is cut into.

    Args:
        labels: [H, W] of 1, 0 and 255.
        side: the largest side of a part; an example up to this size stays whole.
        most: so many parts are kept, those with the most target; parts without a label are not.
    """
    height, width = labels.shape
    if max(height, width) <= side:
        return [(slice(0, height), slice(0, width))]
    parts = [
        (slice(y, min(y + side, height)), slice(x, min(x + side, width)))
        for y in _starts(height, side)
        for x in _starts(width, side)
    ]
    parts.sort(key=lambda part: -int((labels[part] == 1).sum()))
    return [part for part in parts[:most] if bool((labels[part] != IGNORE).any())]


def _starts(length: int, side: int) -> list[int]:
    """Where parts of `side` begin so that they cover `length`, spread evenly."""
    count = -(-length // side)
    return [round(start) for start in np.linspace(0, max(0, length - side), count)]


def three_channels(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """[B, C, H, W] to three channels: 1 is repeated, 2 becomes (a, b, mean of both), 3 stays.

    Raises:
        ModelInputError: any other number of channels.
    """
    channels = images.shape[1]
    if channels == 1:
        images = np.repeat(images, 3, 1)
    elif channels == 2:
        images = np.concatenate([images, images.mean(1, keepdims=True)], 1)
    elif channels != 3:
        raise ModelInputError(
            f"images have {channels} channels",
            where=f"shape {images.shape}",
            remedy="choose 1, 2 or 3 bands, or as many as the examples have",
        )
    return images.astype(np.float32, copy=False)
