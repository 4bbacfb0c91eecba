"""Augmentation of real episodes: one family of transforms for supports and query, a mild jitter for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.uint8]

_IGNORED = 255


@dataclass(frozen=True)
class Geometry:
    """The geometric family of an episode; each image draws its own member.

    Attributes:
        side: typical side in pixels of what is cut out of an image.
        turn: largest rotation in degrees, in addition to quarter turns.
        quarters: quarter turns and flips are allowed.
    """

    side: float
    turn: float
    quarters: bool

    @classmethod
    def sample(cls, rng: np.random.Generator, size: int, smallest: float = 0.6, largest: float = 2.5) -> Geometry:
        """Cuts of `smallest` to `largest` times the output size."""
        side = size * float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
        return cls(side, 0.0 if rng.random() < 0.5 else 10.0, rng.random() < 0.8)

    def apply(self, rng: np.random.Generator, image: Pixels, mask: Pixels, size: int) -> tuple[Pixels, Pixels]:
        """Cut a square out of image [H, W, 3] and mask [H, W]; returns [size, size, 3] and [size, size].

        What lies outside the image is mirrored and its mask is ignored (255).
        """
        height, width = mask.shape
        side = min(self.side * float(np.exp(rng.normal(0, 0.1))), float(min(height, width)))
        center_y = rng.uniform(side / 2, height - side / 2)
        center_x = rng.uniform(side / 2, width - side / 2)
        angle = np.deg2rad(rng.uniform(-self.turn, self.turn))
        step = side / size
        cosine, sine = step * np.cos(angle), step * np.sin(angle)
        half = size / 2
        # PIL wants the map from output to input pixels.
        affine = (
            cosine, -sine, center_x - cosine * half + sine * half,
            sine, cosine, center_y - sine * half - cosine * half,
        )  # fmt: skip
        # Shrinking without averaging first would alias.
        shrink = max(1, int(step))
        picture = Image.fromarray(image)
        cut = _warp(picture, affine, size, shrink)
        labels = Image.fromarray(mask).transform(
            (size, size), Image.Transform.AFFINE, affine, Image.Resampling.NEAREST, fillcolor=_IGNORED
        )
        pixels, classes = np.asarray(cut), np.asarray(labels)
        if self.quarters:
            quarter = int(rng.integers(4))
            pixels, classes = np.rot90(pixels, quarter), np.rot90(classes, quarter)
            if rng.random() < 0.5:
                pixels, classes = pixels[:, ::-1], classes[:, ::-1]
        return np.ascontiguousarray(pixels), np.ascontiguousarray(classes)


def _warp(picture: Image.Image, affine: tuple[float, ...], size: int, shrink: int) -> Image.Image:
    if shrink > 1:
        picture = picture.reduce(shrink)
        affine = tuple(value / shrink for value in affine)
    return picture.transform((size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class Appearance:
    """A change of appearance that an episode's images share, with a little of their own.

    Attributes:
        order: [3] permutation of the channels.
        grey: all channels become their mean.
        invert: dark becomes bright.
        gamma: tone curve.
        jitter: deviation of each image's own gain and offset.
    """

    order: tuple[int, ...]
    grey: bool
    invert: bool
    gamma: float
    jitter: float

    @classmethod
    def sample(cls, rng: np.random.Generator, *, strong: bool) -> Appearance:
        """A mild change, or a `strong` one that makes another domain of the images."""
        if not strong:
            return cls((0, 1, 2), False, False, 1.0, 0.05)
        order = tuple(int(i) for i in rng.permutation(3))
        gamma = float(np.exp(rng.normal(0, 0.35)))
        return cls(order, rng.random() < 0.4, rng.random() < 0.3, gamma, rng.uniform(0.0, 0.12))

    def apply(self, rng: np.random.Generator, image: Pixels) -> Pixels:
        """[H, W, 3] uint8 to the same."""
        pixels = image[:, :, list(self.order)].astype(np.float32) / 255
        if self.grey:
            pixels = np.repeat(pixels.mean(2, keepdims=True), 3, axis=2)
        if self.invert:
            pixels = 1 - pixels
        gain = float(np.exp(rng.normal(0, self.jitter)))
        offset = rng.normal(0, 0.5 * self.jitter)
        pixels = np.clip(gain * pixels**self.gamma + offset, 0, 1)
        return (pixels * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class Published:
    """The published recipe's augmentation (docs/hdmnet.md, section 7): scale, rotate, blur, flip, resize to a square.

    Attributes:
        scale: smallest and largest factor on the image's size.
    """

    scale: tuple[float, float]

    @classmethod
    def of(cls, benchmark: Literal["pascal-5i", "coco-20i"]) -> Published:
        """The factors of PASCAL (0.9 to 1.1) or COCO (0.8 to 1.25)."""
        return cls((0.9, 1.1) if benchmark == "pascal-5i" else (0.8, 1.25))

    def apply(self, rng: np.random.Generator, image: Pixels, mask: Pixels, size: int) -> tuple[Pixels, Pixels]:
        """Image [H, W, 3] and mask [H, W] of any size to [size, size, 3] and [size, size]."""
        picture, labels = Image.fromarray(image), Image.fromarray(mask)
        factor = rng.uniform(*self.scale)
        scaled = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(scaled, Image.Resampling.BILINEAR)
        labels = labels.resize(scaled, Image.Resampling.NEAREST)
        if rng.random() < 0.5:
            angle = rng.uniform(-10, 10)
            picture = picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(124, 116, 104))
            labels = labels.rotate(angle, Image.Resampling.NEAREST, fillcolor=_IGNORED)
        if rng.random() < 0.5:
            picture = picture.filter(ImageFilter.GaussianBlur(1.1))
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            labels = labels.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        square = (size, size)
        return (
            np.asarray(picture.resize(square, Image.Resampling.BILINEAR)),
            np.asarray(labels.resize(square, Image.Resampling.NEAREST)),
        )
