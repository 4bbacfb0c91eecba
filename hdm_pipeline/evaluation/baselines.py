"""What a user would otherwise reach for: pixel classifiers trained on the same labelled examples.

`RandomForest` is the usual interactive recipe (ilastik, Trainable Weka Segmentation): Gaussian, gradient magnitude and
variance at several scales for every channel, 60 trees. `NearestPrototype` compares the raw pixel with the mean
foreground and the mean background pixel. Both are deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hdm_pipeline.contracts import Labels, Pixels

SIGMAS = (1.0, 2.0, 4.0, 8.0)
TREES = 60
TRAINING_PIXELS = 40_000
_PREDICTED_AT_ONCE = 262_144


class Baseline(Protocol):
    """Learns from examples, then segments queries."""

    def fit(self, images: Sequence[Pixels], masks: Sequence[Labels]) -> None:
        """Learn from K images [C, y, x] in 0..1 and masks [y, x] of 1, 0 and 255."""
        ...

    def predict(self, image: Pixels) -> npt.NDArray[np.bool_]:
        """Foreground [y, x] of an image [C, y, x]."""
        ...


class RandomForest:
    """A random forest on multi-scale pixel features.

    Args:
        trees: number of trees.
        seed: of the pixel sample and the forest.
    """

    def __init__(self, trees: int = TREES, seed: int = 0) -> None:
        from sklearn.ensemble import RandomForestClassifier

        self._seed = seed
        self._constant: bool | None = None
        self._forest = RandomForestClassifier(n_estimators=trees, min_samples_leaf=2, random_state=seed, n_jobs=1)

    def fit(self, images: Sequence[Pixels], masks: Sequence[Labels]) -> None:
        """Train on a random sample of the labelled pixels, the same number from every image."""
        generator = np.random.default_rng(self._seed)
        share = TRAINING_PIXELS // len(images)
        rows, labels = [], []
        for image, mask in zip(images, masks, strict=True):
            labeled = np.flatnonzero(mask.ravel() != 255)
            chosen = generator.permutation(labeled)[:share]
            rows.append(pixel_features(image).reshape(-1, mask.size)[:, chosen].T)
            labels.append(mask.ravel()[chosen])
        target = np.concatenate(labels)
        self._constant = bool(target[0]) if (target == target[0]).all() else None
        if self._constant is None:
            self._forest.fit(np.concatenate(rows), target)

    def predict(self, image: Pixels) -> npt.NDArray[np.bool_]:
        """Foreground [y, x]: where more than half of the trees' votes say so."""
        shape = image.shape[1:]
        if self._constant is not None:
            return np.full(shape, self._constant)
        features = pixel_features(image).reshape(-1, shape[0] * shape[1]).T
        starts = range(0, len(features), _PREDICTED_AT_ONCE)
        scores = [self._forest.predict_proba(features[s : s + _PREDICTED_AT_ONCE])[:, 1] for s in starts]
        return np.asarray(np.concatenate(scores).reshape(shape) > 0.5)


class NearestPrototype:
    """The mean foreground and the mean background pixel; a pixel belongs to the nearer of the two."""

    def __init__(self) -> None:
        self._foreground: npt.NDArray[np.float64] = np.zeros(0)
        self._background: npt.NDArray[np.float64] = np.zeros(0)

    def fit(self, images: Sequence[Pixels], masks: Sequence[Labels]) -> None:
        """Average the pixels of each side; a side without pixels is infinitely far."""
        pixels = np.concatenate([image.reshape(image.shape[0], -1) for image in images], axis=1).astype(np.float64)
        labels = np.concatenate([mask.ravel() for mask in masks])
        self._foreground, self._background = (
            pixels[:, labels == value].mean(axis=1) if (labels == value).any() else np.full(len(pixels), np.inf)
            for value in (1, 0)
        )

    def predict(self, image: Pixels) -> npt.NDArray[np.bool_]:
        """Foreground [y, x]."""
        to_foreground, to_background = (
            ((image - prototype.reshape(-1, 1, 1)) ** 2).sum(axis=0)
            for prototype in (self._foreground, self._background)
        )
        return np.asarray(to_foreground < to_background)


BASELINES: dict[str, type[RandomForest] | type[NearestPrototype]] = {
    "rf": RandomForest,
    "nearest-prototype": NearestPrototype,
}


def pixel_features(image: Pixels) -> npt.NDArray[np.float32]:
    """[C * 13, y, x]: each channel itself, then Gaussian, gradient magnitude and local variance at `SIGMAS`."""
    planes = []
    for channel in image.astype(np.float32):
        planes.append(channel)
        for sigma in SIGMAS:
            smooth = ndimage.gaussian_filter(channel, sigma)
            power = ndimage.gaussian_filter(channel * channel, sigma)
            planes += [
                smooth,
                ndimage.gaussian_gradient_magnitude(channel, sigma),
                np.maximum(power - smooth * smooth, 0.0),
            ]
    return np.stack(planes).astype(np.float32)
