"""Examples side by side: the image, its label, and what the others find."""

from __future__ import annotations

import numpy as np

from hdm_pipeline.pictures.color import IGNORED
from hdm_pipeline.pictures.examples import ExamplePicture, draw_examples, example_panels

RED = (255, 0, 0)


def example(scores: bool = True, side: int = 8, class_name: str = "flood") -> ExamplePicture:
    image = np.full((1, side, side), 0.5, np.float32)
    label = np.zeros((side, side), np.uint8)
    label[: side // 2] = 1
    label[:, side // 2 :] = 255
    found = np.where(np.arange(side) < side // 4, 200, 20).astype(np.uint8)[:, None].repeat(side, 1)
    return ExamplePicture("a.tif", class_name, image, label, found if scores else None, 0.5, RED)


def test_panels_show_the_label_and_what_is_found() -> None:
    image, label, found = example_panels(example())
    gray, tint = image[0, 0], (image[0, 0].astype(int) + RED) // 2
    assert (image == gray).all()
    assert (label[0, 0] == tint).all()
    assert (label[7, 0] == gray).all()
    assert (label[0, 7] == IGNORED).all()
    assert (found[:2] == tint).all()
    assert (found[2:] == gray).all()
    assert not example_panels(example(scores=False))[2].any()


def test_large_examples_are_thinned_out() -> None:
    assert [panel.shape for panel in example_panels(example(side=1000), side=192)] == [(167, 167, 3)] * 3


def test_a_sheet_has_a_row_for_each_example_and_takes_any_name() -> None:
    one, two = draw_examples([example()], side=64), draw_examples([example(), example(class_name="流域")], side=64)
    assert two.shape[0] > one.shape[0]
    assert two.shape[1:] == one.shape[1:]
