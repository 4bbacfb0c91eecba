"""Random fields: the raw stuff that synthetic shapes and textures are made of. NumPy only, float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

Array = npt.NDArray[np.float32]
Size = tuple[int, int]


def white(rng: np.random.Generator, size: Size) -> Array:
    """Standard normal noise."""
    return rng.standard_normal(size, dtype=np.float32)


def frequencies(size: Size) -> tuple[Array, Array]:
    """Vertical and horizontal frequency of each coefficient of a real FFT, in cycles a pixel."""
    fy = np.fft.fftfreq(size[0]).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(size[1]).astype(np.float32)[None, :]
    return fy, fx


def filtered(rng: np.random.Generator, size: Size, response: Array) -> Array:
    """Noise of zero mean and unit deviation whose amplitude spectrum is `response` (as `frequencies` lays it out)."""
    shape = response.shape
    spectrum = (white(rng, shape) + 1j * white(rng, shape)) * response
    spectrum[0, 0] = 0.0
    field: Array = fft.irfft2(spectrum, s=size)
    deviation = float(field.std())
    return field / max(deviation, 1e-8)


def fractal(rng: np.random.Generator, size: Size, scale: float, roughness: float) -> Array:
    """Noise that is smooth below `scale` pixels and falls off with the power `roughness` above that frequency.

    Args:
        rng: where the randomness comes from.
        size: height and width.
        scale: size in pixels of the largest features.
        roughness: 1 (rough coast) to 4 (smooth blobs).
    """
    fy, fx = frequencies(size)
    radius = np.sqrt(fy * fy + fx * fx)
    response: Array = (1.0 + (radius * np.float32(scale)) ** 2) ** np.float32(-0.5 * roughness - 0.5)
    return filtered(rng, size, response)


def band(rng: np.random.Generator, size: Size, period: float, spread: float, angle: float, elongation: float) -> Array:
    """Noise of one dominant period in pixels; `elongation` > 1 stretches its grains along `angle` (radians)."""
    fy, fx = frequencies(size)
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = -fx * np.sin(angle) + fy * np.cos(angle)
    radius = np.sqrt((along * elongation) ** 2 + across**2) * period
    return filtered(rng, size, np.exp(-0.5 * (np.log(radius + 1e-4) / spread) ** 2).astype(np.float32))


def stripes(rng: np.random.Generator, size: Size, period: float, angle: float, warp: float) -> Array:
    """A sine grating of a period in pixels and an angle, its phase warped by smooth noise of `warp` radians."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    phase = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    if warp > 0:
        phase = phase + warp * fractal(rng, size, 4 * period, 3.0)
    wave: Array = np.sin(phase + rng.uniform(0, 2 * np.pi)).astype(np.float32) * np.float32(1.414)
    return wave


def grid(size: Size) -> tuple[Array, Array]:
    """Coordinates y, x of pixel centers."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    return y, x
