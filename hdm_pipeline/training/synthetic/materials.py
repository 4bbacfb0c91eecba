"""Random materials and sensors: how a region map becomes an image.

A `Palette` belongs to an episode: support and query show the same materials. Each image has its own light, texture
realization and noise.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from hdm_pipeline.training.synthetic.fields import Array, Size, band, fractal, stripes, white
from hdm_pipeline.training.synthetic.outlines import Regions, log_uniform

_CHANNELS = 3
_TRIES = 6


@dataclass(frozen=True)
class Material:
    """One material.

    Attributes:
        color: [3] mean in [0, 1].
        kind: texture: none, fractal, band, stripes, spots or mottle.
        amplitude: deviation of the texture.
        tint: [3] weight of the texture in each channel.
        scale: period or grain of the texture in pixels.
        angle: direction in radians.
        elongation: how much longer than wide its grains are.
        share: share of the surface that spots cover.
    """

    color: Array
    kind: str
    amplitude: float
    tint: Array
    scale: float
    angle: float
    elongation: float
    share: float

    @classmethod
    def sample(cls, rng: np.random.Generator, color: Array, strength: float, tint: Array) -> Material:
        """A material of a color; `strength` is the typical amplitude of its texture."""
        kinds = ("none", "fractal", "band", "stripes", "spots", "mottle")
        kind = str(rng.choice(kinds, p=(0.25, 0.2, 0.25, 0.08, 0.14, 0.08)))
        return cls(
            color,
            kind,
            strength * float(np.exp(rng.normal(0, 0.6))),
            tint,
            log_uniform(rng, 2.0, 24.0),
            rng.uniform(0, np.pi),
            1.0 if rng.random() < 0.5 else log_uniform(rng, 1.0, 6.0),
            rng.uniform(0.05, 0.5),
        )

    def differs(self, other: Material, noise: float) -> bool:
        """Whether the two can be told apart under additive noise of this deviation."""
        contrast = float(np.abs(self.color - other.color).max())
        textures = [m.amplitude if m.kind != "none" else 0.0 for m in (self, other)]
        if contrast > max(0.04, 0.8 * noise, 0.6 * max(textures)):
            return True
        distinct = self.kind != other.kind or max(self.scale, other.scale) > 2 * min(self.scale, other.scale)
        return distinct and max(textures) > max(0.03, 1.2 * noise)

    def render(self, rng: np.random.Generator, size: Size) -> Array:
        """An image [H, W, 3] of nothing but this material."""
        flat = np.broadcast_to(self.color, (*size, _CHANNELS))
        if self.kind == "none":
            return flat
        texture: Array = np.float32(self.amplitude) * self._texture(rng, size)
        surface: Array = flat + texture[:, :, None] * self.tint
        return surface

    def _texture(self, rng: np.random.Generator, size: Size) -> Array:
        angle = self.angle + float(rng.normal(0, 0.1))
        if self.kind == "fractal":
            return fractal(rng, size, 3 * self.scale, 1.5)
        if self.kind == "stripes":
            return stripes(rng, size, self.scale, angle, 0.6)
        grains = band(rng, size, self.scale, 0.35, angle, self.elongation)
        if self.kind == "spots":
            return 2.0 * (grains > np.quantile(grains[::2, ::2], 1 - self.share)).astype(np.float32) - 2.0 * self.share
        if self.kind == "mottle":
            return np.abs(grains) * np.float32(1.6) - np.float32(1.28)
        return grains


def _colors(rng: np.random.Generator, count: int, mode: str, contrast: float) -> Array:
    """Mean colors [count, 3] of an episode's materials."""
    center = rng.uniform(0.2, 0.8) if rng.random() < 0.8 else rng.uniform(0.03, 0.2)
    if mode == "grey":
        levels = center + contrast * rng.normal(0, 1, (count, 1)) * np.ones(_CHANNELS)
    elif mode == "bands":
        # Two bands of a sensor, the third a copy: what two polarizations look like in three channels.
        levels = center + contrast * rng.normal(0, 1, (count, 2))
        levels = 0.5 * levels + 0.5 * levels.mean(1, keepdims=True)
        levels = np.concatenate((levels, levels[:, :1]), 1)
    else:
        cast = center + rng.normal(0, 0.12, _CHANNELS)
        shared, own = rng.normal(0, 1, (count, 1)), rng.normal(0, 1, (count, _CHANNELS))
        mix = rng.uniform(0.2, 0.9)
        levels = cast + contrast * (mix * shared + (1 - mix) * own)
    return np.clip(levels, 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Palette:
    """The materials of an episode and its sensor.

    Attributes:
        materials: one for each region.
        sensor: what happens to every image of the episode.
        rim: width in pixels and strength of the darker or lighter seam between regions.
    """

    materials: Sequence[Material]
    sensor: Sensor
    rim: tuple[float, float]

    @classmethod
    def sample(
        cls,
        rng: np.random.Generator,
        regions: int,
        twins: Sequence[tuple[int, int]],
        target: Collection[int],
    ) -> Palette:
        """Materials for so many regions; twins share theirs, the target can be told from most others."""
        palette = cls._draw(rng, regions, twins)
        for _ in range(_TRIES):
            if palette.separable(target, twins):
                break
            palette = cls._draw(rng, regions, twins)
        return palette

    def separable(self, target: Collection[int], twins: Sequence[tuple[int, int]]) -> bool:
        """Whether each target region differs from each other one (but its twins) by color or by texture."""
        for wanted in target:
            for other in set(range(len(self.materials))) - set(target):
                if (wanted, other) in twins or (other, wanted) in twins:
                    continue
                if not self.materials[wanted].differs(self.materials[other], self.sensor.noise):
                    return False
        return True

    @classmethod
    def _draw(cls, rng: np.random.Generator, regions: int, twins: Sequence[tuple[int, int]]) -> Palette:
        mode = str(rng.choice(("grey", "color", "bands"), p=(0.5, 0.35, 0.15)))
        contrast = log_uniform(rng, 0.07, 0.4)
        colors = _colors(rng, regions, mode, contrast)
        strength = log_uniform(rng, 0.01, 0.12)
        texture_only = rng.random() < 0.12
        materials: list[Material] = []
        for region in range(regions):
            tint = np.ones(_CHANNELS, np.float32)
            if mode == "color":
                tint = rng.normal(0.8, 0.4, _CHANNELS).astype(np.float32)
            color = colors[region]
            if texture_only and region and rng.random() < 0.6:
                color = colors[0] + np.float32(0.01 * rng.normal())
            elif region and rng.random() < 0.25:
                # A look-alike of another region.
                color = colors[int(rng.integers(region))] + (0.35 * contrast * rng.normal(0, 1, 1)).astype(np.float32)
            own = max(strength, 0.06) if texture_only else strength
            limited: Array = np.clip(color, 0, 1).astype(np.float32)
            materials.append(Material.sample(rng, limited, own, tint))
        for first, second in twins:
            materials[second] = materials[first]
        rim = (0.0, 0.0) if rng.random() < 0.75 else (rng.uniform(0.6, 1.5), rng.normal(0, 0.25))
        return cls(materials, Sensor.sample(rng, mode, contrast), rim)

    def render(self, rng: np.random.Generator, regions: Regions) -> Array:
        """An image [H, W, 3] in [0, 1] of a region map."""
        size = (regions.shape[0], regions.shape[1])
        image = np.zeros((*size, _CHANNELS), np.float32)
        for region in np.unique(regions):
            inside = regions == region
            image[inside] = self.materials[region].render(rng, size)[inside]
        if self.rim[1]:
            soft = gaussian_filter(regions.astype(np.float32), self.rim[0])
            seam = np.minimum(np.abs(soft - regions), 1.0)
            image += (self.rim[1] * seam)[:, :, None]
        return self.sensor.expose(rng, image)


@dataclass(frozen=True)
class Sensor:
    """Light, optics, noise and tone of an episode's images.

    Attributes:
        looks: multiplicative speckle of so many looks; 0 for none.
        logarithmic: speckle is shown on a logarithmic (dB) scale.
        noise: deviation of additive noise.
        grain: blur of that noise in pixels.
        blur: deviation of the optical blur in pixels.
        shading: strength of uneven light.
        banding: deviation of row offsets.
        change: how much light changes from image to image.
        gamma: tone curve.
        grey: all channels are one.
        bands: the third channel repeats the first.
    """

    looks: float
    logarithmic: bool
    noise: float
    grain: float
    blur: float
    shading: float
    banding: float
    change: float
    gamma: float
    grey: bool
    bands: bool

    @classmethod
    def sample(cls, rng: np.random.Generator, mode: str, contrast: float) -> Sensor:
        """A sensor for images of a color mode; noise is bounded by the contrast so that episodes can be solved."""
        speckled = rng.random() < (0.5 if mode == "bands" else 0.15)
        return cls(
            looks=log_uniform(rng, 1.5, 20.0) if speckled else 0.0,
            logarithmic=rng.random() < 0.6,
            noise=contrast * log_uniform(rng, 0.02, 0.6),
            grain=0.0 if rng.random() < 0.6 else rng.uniform(0.4, 1.2),
            blur=0.3 if rng.random() < 0.5 else log_uniform(rng, 0.4, 2.0),
            shading=0.0 if rng.random() < 0.4 else contrast * rng.uniform(0.1, 1.0),
            banding=0.0 if rng.random() < 0.92 else contrast * rng.uniform(0.05, 0.3),
            change=contrast * (rng.uniform(0.0, 0.3) if rng.random() < 0.7 else rng.uniform(0.3, 0.9)),
            gamma=1.0 if rng.random() < 0.6 else log_uniform(rng, 0.5, 2.0),
            grey=mode == "grey",
            bands=mode == "bands",
        )

    def expose(self, rng: np.random.Generator, image: Array) -> Array:
        """[H, W, 3] float32 of about [0, 1] to the picture that is taken of it."""
        planes = 1 if self.grey else (2 if self.bands else _CHANNELS)
        picture = np.ascontiguousarray(image[:, :, :planes].transpose(2, 0, 1))
        size = (picture.shape[1], picture.shape[2])
        if self.shading:
            scale = max(size) * float(rng.uniform(0.5, 2.0))
            picture *= 1 + self.shading * np.clip(fractal(rng, size, scale, 3.0), -2, 2)
        if self.looks:
            picture = self._speckle(rng, picture)
        if self.blur:
            picture = gaussian_filter(picture, (0, self.blur, self.blur), truncate=2.5)
        noise = np.stack([white(rng, size) for _ in range(planes)])
        if self.grain:
            noise = gaussian_filter(noise, (0, self.grain, self.grain), truncate=2.5)
            noise /= max(float(noise.std()), 1e-6)
        picture = picture + self.noise * noise
        if self.banding:
            picture += self.banding * rng.standard_normal((1, size[0], 1), dtype=np.float32)
        gain = float(np.exp(rng.normal(0, self.change)))
        offset = rng.normal(0, 0.3 * self.change, (planes, 1, 1)) + rng.normal(0, 0.3 * self.change)
        gamma = self.gamma * float(np.exp(rng.normal(0, self.change)))
        exposed = np.clip(gain * picture + offset, 0, 1).astype(np.float32) ** np.float32(gamma)
        order = {1: (0, 0, 0), 2: (0, 1, 0), 3: (0, 1, 2)}[planes]
        out: Array = exposed[list(order)].transpose(1, 2, 0)
        return out

    def _speckle(self, rng: np.random.Generator, picture: Array) -> Array:
        grains = rng.standard_gamma(self.looks, picture.shape, dtype=np.float32) / self.looks
        speckled: Array = picture * grains
        if self.logarithmic:
            speckled = picture + np.float32(0.12) * np.log(np.maximum(grains, np.float32(1e-3)))
        return speckled
