"""Sources of training episodes: the synthetic generator, and folders of images and masks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from hdm_pipeline.errors import TrainingError, counted
from hdm_pipeline.evaluation.fewshot_sets import Benchmark, FoldItem, load_picture, read_fold
from hdm_pipeline.training.augment import Appearance, Geometry, Pixels, Published
from hdm_pipeline.training.synthetic.episode import Episode, synthetic_episode

_IMAGES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
_TRIES = 6
_NEIGHBORS = 16


class EpisodeSource(Protocol):
    """Where training episodes come from."""

    def draw(self, rng: np.random.Generator, shots: int, size: int) -> Episode:
        """An episode of square images of side `size`; equal states of `rng` give equal episodes."""


class SyntheticSource:
    """Episodes of the synthetic generator."""

    def draw(self, rng: np.random.Generator, shots: int, size: int) -> Episode:
        """See `EpisodeSource.draw`."""
        return synthetic_episode(rng, shots, (size, size))


class FolderSource:
    """Episodes of one class from a folder with `images/` and `masks/`, matched by file stem.

    Supports and query are drawn among images that look alike (mean and deviation of their colors), because a folder
    may hold several modalities and nobody segments one by an example of another.

    Args:
        path: the folder.
        every: if given, every so-many-th image (in the order of names) is left out, kept for evaluation.

    Raises:
        TrainingError: the folder holds no pair of image and mask.
    """

    def __init__(self, path: Path, every: int | None = None) -> None:
        masks = {file.stem: file for file in sorted((path / "masks").glob("*"))}
        files = [file for file in sorted((path / "images").glob("*")) if file.suffix.lower() in _IMAGES]
        pairs = [(file, masks[file.stem]) for file in files if file.stem in masks]
        if every is not None:
            pairs = [pair for number, pair in enumerate(pairs) if number % every != every - 1]
        if len(pairs) < 2:
            raise TrainingError(
                counted(len(pairs), "image") + " with masks",
                where=str(path),
                remedy="give images/NAME.* and masks/NAME.*",
            )
        self._pairs = pairs
        looks = np.array([_look(image) for image, _ in pairs])
        looks = (looks - looks.mean(0)) / (looks.std(0) + 1e-6)
        distance = ((looks[:, None] - looks[None]) ** 2).sum(-1)
        self._alike = np.argsort(distance, axis=1, kind="stable")[:, :_NEIGHBORS]

    def draw(self, rng: np.random.Generator, shots: int, size: int) -> Episode:
        """See `EpisodeSource.draw`."""
        anchor = int(rng.integers(len(self._pairs)))
        chosen = rng.choice(self._alike[anchor], shots + 1, replace=shots + 1 > self._alike.shape[1])
        geometry = Geometry.sample(rng, size)
        appearance = Appearance.sample(rng, strong=rng.random() < 0.7)
        cuts = [self._cut(rng, int(number), geometry, size) for number in chosen]
        images = np.stack([appearance.apply(rng, image) for image, _ in cuts])
        masks = np.stack([mask for _, mask in cuts])
        return Episode(images[0], masks[0], images[1:], masks[1:])

    def _cut(self, rng: np.random.Generator, number: int, geometry: Geometry, size: int) -> tuple[Pixels, Pixels]:
        image, mask = read_pair(*self._pairs[number])
        cut = geometry.apply(rng, image, mask, size)
        for _ in range(_TRIES):
            if (cut[1] == 1).mean() > 0.002:
                break
            cut = geometry.apply(rng, image, mask, size)
        return cut


@lru_cache(maxsize=1024)
def read_pair(image: Path, mask: Path) -> tuple[Pixels, Pixels]:
    """An image [H, W, 3] and its mask [H, W] of 0, 1 and 255 (in a mask of only 0 and 255, 255 is the target)."""
    pixels = load_picture(image, "RGB")
    labels = load_picture(mask, "L")
    if pixels.shape[:2] != labels.shape:
        raise TrainingError(
            f"image is {pixels.shape[:2]} and its mask {labels.shape}",
            where=str(mask),
            remedy="give masks of equal size",
        )
    if not (labels == 1).any():
        return pixels, (labels >= 128).astype(np.uint8)
    return pixels, np.where(labels == 255, 255, labels == 1).astype(np.uint8)


def _look(path: Path) -> list[float]:
    """Mean and deviation of an image's colors, from a small copy."""
    with Image.open(path) as file:
        small = np.asarray(file.convert("RGB").resize((32, 32))).astype(np.float64)
    return [*small.mean((0, 1)), *small.std((0, 1))]


class FoldSource:
    """Training episodes of a fold: a class, a query and supports that show it, by the published augmentation.

    Args:
        folder: the data set.
        benchmark: which of the two.
        fold: 0 to 3; its classes are never shown.
    """

    def __init__(self, folder: Path, benchmark: Benchmark, fold: int) -> None:
        self._list = read_fold(folder, benchmark, fold, "train")
        self._by_class = {number: self._list.of_class(number) for number in self._list.classes}
        self._augment = Published.of(benchmark)

    def draw(self, rng: np.random.Generator, shots: int, size: int) -> Episode:
        """A query in list order would need a state; it is drawn instead, its class among the listed ones."""
        query = self._list.items[int(rng.integers(len(self._list.items)))]
        number = int(rng.choice(query.listed))
        others: Sequence[FoldItem] = [item for item in self._by_class[number] if item is not query]
        if not others:
            others = [query]
        chosen = rng.choice(len(others), shots, replace=shots > len(others))
        cuts = [self._cut(rng, item, number, size) for item in (query, *(others[int(i)] for i in chosen))]
        images, masks = np.stack([cut[0] for cut in cuts]), np.stack([cut[1] for cut in cuts])
        return Episode(images[0], masks[0], images[1:], masks[1:])

    def _cut(self, rng: np.random.Generator, item: FoldItem, number: int, size: int) -> tuple[Pixels, Pixels]:
        image = load_picture(item.image, "RGB")
        label = load_picture(item.label, "L")
        mask = np.where(label == 255, 255, label == number).astype(np.uint8)
        pixels, classes = self._augment.apply(rng, image, mask, size)
        return Appearance.sample(rng, strong=False).apply(rng, pixels), classes
