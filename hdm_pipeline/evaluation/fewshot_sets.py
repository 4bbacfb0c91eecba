"""PASCAL-5i and COCO-20i: folds, lists and training episodes of the few-shot literature (docs/hdmnet.md, section 8).

A data set is a folder with `train.txt` and `val.txt`. Each line names an image and its label map, relative to the
folder and separated by a space: `JPEGImages/2007_000032.jpg SegmentationClassAug/2007_000032.png`. Label maps hold
class numbers, 0 for background and 255 for what is ignored: the form in which both data sets are commonly passed on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from hdm_pipeline.errors import TrainingError, counted
from hdm_pipeline.pictures.color import Picture

Benchmark = Literal["pascal-5i", "coco-20i"]
Split = Literal["train", "val"]

SMALLEST = 2 * 32 * 32
"""Pixels that a class must have in an image to be listed for it."""

FOLDS = 4
_CLASSES = {"pascal-5i": 20, "coco-20i": 80}


def held_out_classes(benchmark: Benchmark, fold: int) -> tuple[int, ...]:
    """Class numbers (from 1) that fold 0..3 keeps for evaluation; the others are its base classes.

    PASCAL-5i holds out five in a row, COCO-20i every fourth.
    """
    if benchmark == "pascal-5i":
        return tuple(range(5 * fold + 1, 5 * fold + 6))
    return tuple(range(fold + 1, _CLASSES[benchmark] + 1, FOLDS))


def base_classes(benchmark: Benchmark, fold: int) -> tuple[int, ...]:
    """Class numbers that may be trained on."""
    held_out = set(held_out_classes(benchmark, fold))
    return tuple(number for number in range(1, _CLASSES[benchmark] + 1) if number not in held_out)


@dataclass(frozen=True)
class FoldItem:
    """One image.

    Attributes:
        image: its file.
        label: its label map.
        classes: classes of this fold and split that it shows at all.
        listed: those that it shows with at least `SMALLEST` pixels.
    """

    image: Path
    label: Path
    classes: tuple[int, ...]
    listed: tuple[int, ...]


@dataclass(frozen=True)
class FoldList:
    """The images of a fold and split.

    Attributes:
        classes: its class numbers.
        items: its images in the order of the list.
    """

    classes: tuple[int, ...]
    items: tuple[FoldItem, ...]

    def of_class(self, number: int) -> list[FoldItem]:
        """Images that show a class with enough pixels."""
        return [item for item in self.items if number in item.listed]


def read_fold(folder: Path, benchmark: Benchmark, fold: int, split: Split) -> FoldList:
    """Read the list of a split and select a fold's images.

    Training keeps images all of whose classes are base classes; evaluation any image with a held-out class of enough
    pixels. Every label map is opened once.

    Raises:
        TrainingError: the list is missing, names unreadable files, or leaves no image.
    """
    training = split == "train"
    wanted = base_classes(benchmark, fold) if training else held_out_classes(benchmark, fold)
    items = []
    for image, label in _pairs(folder, split):
        numbers, counts = np.unique(load_picture(label, "L"), return_counts=True)
        shown = {int(n): int(c) for n, c in zip(numbers, counts, strict=True) if n not in (0, 255)}
        if training and not set(shown) <= set(wanted):
            continue
        classes = tuple(number for number in shown if number in wanted)
        listed = tuple(number for number in classes if shown[number] >= SMALLEST)
        if listed:
            items.append(FoldItem(image, label, classes, listed))
    if not items:
        raise TrainingError(
            f"no image of fold {fold} is left", where=str(folder / f"{split}.txt"), remedy="check the label maps"
        )
    return FoldList(wanted, tuple(items))


def load_picture(path: Path, mode: Literal["RGB", "L"]) -> Picture:
    """[H, W, 3] or [H, W] uint8; palette label maps give their indices.

    Raises:
        TrainingError: the file cannot be read.
    """
    try:
        with Image.open(path) as file:
            indexed = mode == "L" and file.mode == "P"
            return np.asarray(file if indexed else file.convert(mode))
    except (OSError, UnidentifiedImageError) as error:
        raise TrainingError(f"cannot be read: {error}", where=str(path), remedy="remove or repair the file") from error


def _pairs(folder: Path, split: Split) -> Iterable[tuple[Path, Path]]:
    path = folder / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        remedy = "name the folder of the data set as it is unpacked, with its lists"
        raise TrainingError(f"list cannot be read: {error}", where=str(path), remedy=remedy) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        names = line.split()
        if len(names) != 2:
            raise TrainingError(
                f"line {number} names {counted(len(names), 'file')}",
                where=str(path),
                remedy="write an image and its label map",
            )
        yield folder / names[0], folder / names[1]
