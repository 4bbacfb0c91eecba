"""Arrays as pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from hdm_studio.images import heat_rgba, labels_rgba, mask_rgba, outline_rgba, outlined, png

COLORS = {1: (10, 20, 30), 2: (200, 100, 50)}
MASK = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 2], [255, 0, 0, 0, 2]], np.uint8)


def test_labels_show_classes_and_drawn_background_and_hide_the_unknown() -> None:
    found = labels_rgba(MASK, COLORS)
    assert found.shape == (5, 5, 4)
    assert found[1, 1].tolist() == [10, 20, 30, 255]
    assert found[4, 4].tolist() == [200, 100, 50, 255]
    assert found[0, 0].tolist() == [128, 128, 128, 255]
    assert found[4, 0].tolist() == [0, 0, 0, 0]


def test_a_mask_shows_classes_only() -> None:
    found = mask_rgba(MASK, COLORS)
    assert (found[..., 3] > 0).tolist() == np.isin(MASK, (1, 2)).tolist()


def test_an_outline_is_the_border_within_a_class() -> None:
    found = outline_rgba(MASK, COLORS)
    assert found[2, 2, 3] == 0  # the middle of class 1
    assert found[1, 1].tolist() == [10, 20, 30, 255]
    assert found[0, 1, 3] == 0  # background beside it
    assert found[4, 4].tolist() == [200, 100, 50, 255]


def test_an_outline_lies_on_a_picture_that_stays_as_it_is() -> None:
    picture = np.full((5, 5, 4), 77, np.uint8)
    found = outlined(picture, MASK, COLORS)
    assert found[2, 2].tolist() == [77] * 4
    assert found[1, 1].tolist() == [10, 20, 30, 255]
    assert (picture == 77).all()


def test_heat_grows_lighter_and_has_holes_where_there_is_no_data() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = heat_rgba(values, values == 7)
    light = found[..., :3].astype(float) @ [0.2126, 0.7152, 0.0722]
    steps = np.diff(light.ravel()[np.arange(256) != 7])
    assert (steps > -1.0).all()
    assert light[15, 15] > 4 * light[0, 0]
    assert found[0, 7].tolist() == [0, 0, 0, 0]
    assert (found[..., 3] == 255).sum() == 255


def test_a_png_is_read_back_as_it_was() -> None:
    picture = labels_rgba(MASK, COLORS)
    assert (np.asarray(Image.open(io.BytesIO(png(picture)))) == picture).all()
