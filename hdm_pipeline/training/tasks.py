"""Training episodes from real tasks: a folder of folders, each with images and label maps of several classes.

A draw takes a folder, then a class of it, so that a folder of many images or classes counts no more than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from hdm_pipeline.errors import TrainingError
from hdm_pipeline.training.augment import Appearance, Geometry, Pixels
from hdm_pipeline.training.synthetic.episode import Episode

_UNKNOWN = 255
_LEAST_SHARE = 0.001  # of an image, for it to count as showing a class: label maps have specks of wrong classes
_LEAST_CUT = 0.0005
_TRIES = 6
_EMPTY_SHARE = 0.06
_UNION_SHARE = 0.08
_STRONG_SHARE = 0.4


@dataclass(frozen=True)
class _Class:
    """A class of a folder: its values in the label maps, and the images that show it and do not."""

    values: tuple[int, ...]
    shown: tuple[int, ...]
    absent: tuple[int, ...]


@dataclass(frozen=True)
class _Folder:
    """The files of a folder and its classes; the last class is all of them together where there are several."""

    pairs: tuple[tuple[Path, Path], ...]
    classes: tuple[_Class, ...]
    merged: bool


class TaskSource:
    """Episodes from `PATH/NAME/images/*` and `PATH/NAME/labels/*`, matched by file stem.

    Label maps hold 0 for background, 1 and more for classes, 255 for unknown.

    Args:
        path: the folder of folders.
        leave_out: names of folders that are not used.
        only: names of the folders that are used; all if empty.
        augment: change geometry and appearance; otherwise images are resized as they are.

    Raises:
        TrainingError: there is no such folder, or none of them holds a class that two images show.
    """

    def __init__(
        self, path: Path, leave_out: Sequence[str] = (), only: Sequence[str] = (), *, augment: bool = True
    ) -> None:
        names = sorted(folder.name for folder in path.glob("*") if (folder / "labels").is_dir())
        if unknown := sorted({*leave_out, *only} - set(names)):
            raise TrainingError(
                f"no folder of tasks is called {', '.join(unknown)}",
                where=str(path),
                remedy=f"there are: {', '.join(names) or 'none'}",
            )
        used = [name for name in (only or names) if name not in leave_out]
        self._folders = [folder for folder in (_scan(path / name) for name in used) if folder.classes]
        self._augment = augment
        if not self._folders:
            raise TrainingError(
                "no folder holds a class that two images show",
                where=str(path),
                remedy="give NAME/images/* and NAME/labels/* with values 1 and more",
            )

    def draw(self, rng: np.random.Generator, shots: int, size: int) -> Episode:
        """An episode of square images of side `size`; equal states of `rng` give equal episodes."""
        folder = self._folders[int(rng.integers(len(self._folders)))]
        single = len(folder.classes) - folder.merged
        union = folder.merged and rng.random() < _UNION_SHARE
        target = folder.classes[-1] if union else folder.classes[int(rng.integers(single))]
        shown = rng.choice(target.shown, shots + 1, replace=shots + 1 > len(target.shown))
        numbers = [int(number) for number in shown]
        if self._augment and target.absent and rng.random() < _EMPTY_SHARE:
            numbers[0] = int(rng.choice(target.absent))
        pairs = [_read(*folder.pairs[number], target.values) for number in numbers]
        cuts = self._augmented(rng, pairs, size) if self._augment else [_resized(*pair, size) for pair in pairs]
        images, masks = np.stack([image for image, _ in cuts]), np.stack([mask for _, mask in cuts])
        return Episode(images[0], masks[0], images[1:], masks[1:])

    def _augmented(
        self, rng: np.random.Generator, pairs: Sequence[tuple[Pixels, Pixels]], size: int
    ) -> list[tuple[Pixels, Pixels]]:
        # One turn for the whole episode: where a thing lies is a part of what tells an organ from another.
        geometry = Geometry.sample(rng, size, 0.9, 2.5)
        geometry = Geometry(geometry.side, geometry.turn, quarters=False)
        quarter, flipped = (int(rng.integers(4)), rng.random() < 0.5) if rng.random() < 0.6 else (0, False)
        appearance = Appearance.sample(rng, strong=rng.random() < _STRONG_SHARE)
        found = []
        for image, mask in pairs:
            shows = bool((mask == 1).any())
            for _ in range(_TRIES):
                cut, labels = geometry.apply(rng, image, mask, size)
                if not shows or (labels == 1).mean() > _LEAST_CUT:
                    break
            cut, labels = np.rot90(cut, quarter), np.rot90(labels, quarter)
            if flipped:
                cut, labels = cut[:, ::-1], labels[:, ::-1]
            found.append((appearance.apply(rng, cut), np.ascontiguousarray(labels)))
        return found


def _scan(folder: Path) -> _Folder:
    """The pairs of a folder and which classes two images at least show."""
    images = {file.stem: file for file in sorted((folder / "images").glob("*"))}
    pairs = [(images[file.stem], file) for file in sorted((folder / "labels").glob("*")) if file.stem in images]
    shares: list[dict[int, float]] = []
    for _, file in pairs:
        values, counts = np.unique(np.asarray(Image.open(file)), return_counts=True)
        shares.append({int(v): float(c) / float(counts.sum()) for v, c in zip(values, counts, strict=True)})
    known = sorted({value for share in shares for value in share} - {0, _UNKNOWN})
    classes = [_class((value,), shares) for value in known]
    classes = [each for each in classes if len(each.shown) >= 2]
    merged = len(known) > 1
    union = _class(tuple(known), shares)
    if merged and len(union.shown) >= 2:
        return _Folder(tuple(pairs), (*classes, union), merged=bool(classes))
    return _Folder(tuple(pairs), tuple(classes), merged=False)


def _class(values: tuple[int, ...], shares: Sequence[dict[int, float]]) -> _Class:
    totals = [sum(share.get(value, 0.0) for value in values) for share in shares]
    shown = tuple(number for number, total in enumerate(totals) if total >= _LEAST_SHARE)
    return _Class(values, shown, tuple(number for number, total in enumerate(totals) if total == 0.0))


def _read(image: Path, labels: Path, values: tuple[int, ...]) -> tuple[Pixels, Pixels]:
    """An image [H, W, 3] and its mask [H, W] of 1, 0 and 255 for a class."""
    pixels, classes = _files(image, labels)
    mask = np.where(classes == _UNKNOWN, _UNKNOWN, np.isin(classes, values)).astype(np.uint8)
    return pixels, mask


@lru_cache(maxsize=1024)
def _files(image: Path, labels: Path) -> tuple[Pixels, Pixels]:
    try:
        with Image.open(image) as file:
            pixels = np.asarray(file.convert("RGB"))
        with Image.open(labels) as file:
            classes = np.asarray(file.convert("L"))
    except OSError as error:
        remedy = "write image and labels again, as PNG or JPEG, or remove both from the folder"
        raise TrainingError(f"a training image cannot be read: {error}", where=str(image), remedy=remedy) from error
    if pixels.shape[:2] != classes.shape:
        raise TrainingError(
            f"image is {pixels.shape[:2]} and its label map {classes.shape}",
            where=str(labels),
            remedy="give label maps of equal size",
        )
    return pixels, classes


def _resized(image: Pixels, mask: Pixels, size: int) -> tuple[Pixels, Pixels]:
    square = (size, size)
    labels = Image.fromarray(mask).resize(square, Image.Resampling.NEAREST)
    return np.asarray(Image.fromarray(image).resize(square, Image.Resampling.BILINEAR)), np.asarray(labels)
