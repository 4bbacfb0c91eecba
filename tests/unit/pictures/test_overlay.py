"""Masks drawn over pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from hdm_pipeline.pictures.color import size_of
from hdm_pipeline.pictures.overlay import outlined, shrunk, webp


def test_the_area_lets_the_picture_through_and_the_outline_does_not() -> None:
    picture = np.full((9, 9, 3), 80, np.uint8)
    mask = np.zeros((9, 9), np.uint8)
    mask[2:7, 2:7], mask[0, 0] = 1, 255
    drawn = outlined(picture, mask, {1: (240, 0, 0)})
    assert (picture == 80).all()
    assert drawn[4, 4].tolist() == [120, 60, 60]
    assert drawn[2, 2].tolist() == drawn[6, 4].tolist() == [245, 85, 85]
    assert drawn[0, 0].tolist() == drawn[1, 4].tolist() == [80, 80, 80]


def test_a_picture_is_never_enlarged_and_keeps_its_shape() -> None:
    assert shrunk(np.zeros((40, 90, 3), np.uint8), 100).shape == (40, 90, 3)
    assert shrunk(np.zeros((40, 400, 3), np.uint8), 100).shape == (10, 100, 3)
    assert shrunk(np.zeros((1, 400, 3), np.uint8), 100).shape == (1, 100, 3)


def test_webp_keeps_to_its_bytes_where_it_can() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    large, small = webp(noise, 10**6), webp(noise, 8000)
    assert len(small) <= 8000 < len(large)
    assert size_of(small) == (128, 128)
    assert Image.open(io.BytesIO(small)).format == "WEBP"
