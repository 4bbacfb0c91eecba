"""Labelled examples as a person judges them: the image, its label, and what is found by the other examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from hdm_pipeline.pictures.color import TARGET, Picture, as_colors, tinted

TITLES = ("image", "label", "found by the others")
"""Of the three panels of `example_panels`."""

TITLE_ALONE = "each half found by the other"
"""Of the third panel, where there is one example only."""

_CELL = 192
_GAP = 6
_LINE = 16
_BACKGROUND = (24, 24, 28)
_TEXT = (225, 225, 225)
_FOUND_AT = 128


@dataclass(frozen=True, eq=False)
class ExamplePicture:
    """What is drawn of one example.

    Attributes:
        name: of the example; carries no patient data.
        class_name: its class.
        image: [C, y, x] float32 in 0..1, NaN where invalid.
        label: [y, x] uint8: 1 the class, 0 background, 255 unknown.
        scores: [y, x] uint8 by the other examples (by the other half, of one alone); None where they cannot tell.
        iou: of these scores against the label; None where it cannot be told.
        color: of the class.
    """

    name: str
    class_name: str
    image: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.uint8] | None
    iou: float | None
    color: tuple[int, int, int] = TARGET


def example_panels(example: ExamplePicture, side: int = _CELL) -> tuple[Picture, Picture, Picture]:
    """The panels of an example as `TITLES` says, each at most `side` pixels a side; the last is dark without scores."""
    step = max(1, -(-max(example.label.shape) // side))  # thinned out: no label changes its meaning by averaging
    image = as_colors(example.image[:, ::step, ::step])
    label = example.label[::step, ::step]
    found = np.zeros_like(image)
    if example.scores is not None:
        found = tinted(image, example.scores[::step, ::step] >= _FOUND_AT, None, example.color)
    return image, tinted(image, label == 1, label == 255, example.color), found


def draw_examples(examples: Sequence[ExamplePicture], side: int = _CELL) -> Picture:
    """All examples in one picture [y, x, 3]: a row for each, with its name and IoU."""
    width = 3 * (side + _GAP) + _GAP
    sheet = Image.new("RGB", (width, len(examples) * (side + 2 * _LINE + _GAP) + _GAP), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    alone = {name for name in (e.class_name for e in examples) if sum(e.class_name == name for e in examples) == 1}
    top = _GAP
    for example in examples:
        told = "IoU -" if example.iou is None else f"IoU {example.iou:.2f}"
        pen.text((_GAP, top), f"{example.class_name}: {example.name}  {told}", fill=_TEXT)
        titles = (*TITLES[:2], TITLE_ALONE if example.class_name in alone else TITLES[2])
        for column, (title, panel) in enumerate(zip(titles, example_panels(example, side), strict=True)):
            left = _GAP + column * (side + _GAP)
            pen.text((left, top + _LINE), title, fill=_TEXT)
            sheet.paste(Image.fromarray(panel), (left, top + 2 * _LINE))
        top += side + 2 * _LINE + _GAP
    return np.asarray(sheet)
