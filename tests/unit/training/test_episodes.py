"""Episodes from a folder of images and masks, and their augmentation."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdm_pipeline.errors import TrainingError
from hdm_pipeline.training.augment import Appearance, Geometry
from hdm_pipeline.training.episodes import FolderSource, read_pair


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(10):
        mask = np.zeros((80, 90), np.uint8)
        mask[20:60, 10 + 3 * number : 40 + 3 * number] = 1
        picture = np.full((80, 90, 3), 40 if number < 5 else 200, np.uint8)
        picture[mask == 1] = 120
        Image.fromarray(picture).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(mask * 255).save(tmp_path / "masks" / f"{number}.png")
    return tmp_path


def test_image_and_mask_move_alike(folder: Path) -> None:
    source = FolderSource(folder)
    for seed in range(8):
        episode = source.draw(np.random.default_rng(seed), 2, 64)
        assert episode.support.shape == (2, 64, 64, 3)
        inside = episode.query[episode.query_mask == 1].astype(int)
        assert len(inside) > 20
        assert np.median(np.abs(inside - np.median(inside, axis=0))) < 10


@pytest.mark.parametrize("number", range(10))
def test_held_out_images_are_never_drawn(folder: Path, number: int) -> None:
    """Every fifth is held out: a mask that does not fit its image is met by whoever draws the image."""
    Image.fromarray(np.ones((3, 3), np.uint8)).save(folder / "masks" / f"{number}.png")
    source = FolderSource(folder, every=5)
    with nullcontext() if number in (4, 9) else pytest.raises(TrainingError, match="its mask"):
        for seed in range(40):
            source.draw(np.random.default_rng(seed), 3, 32)


def test_masks_of_0_and_255_and_of_1_and_255(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "image.png")
    mask = np.array([[0, 1, 255, 0]] * 4, np.uint8)
    Image.fromarray(mask).save(tmp_path / "ignored.png")
    Image.fromarray(np.where(mask == 1, 255, 0).astype(np.uint8)).save(tmp_path / "plain.png")
    assert np.array_equal(read_pair(tmp_path / "image.png", tmp_path / "ignored.png")[1], mask)
    assert np.array_equal(read_pair(tmp_path / "image.png", tmp_path / "plain.png")[1], (mask == 1))


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="0 images with masks"):
        FolderSource(tmp_path)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(TrainingError, match="its mask"):
        read_pair(tmp_path / "image.png", tmp_path / "mask.png")


def test_cuts_outside_the_image_are_ignored() -> None:
    image, mask = np.full((40, 40, 3), 9, np.uint8), np.zeros((40, 40), np.uint8)
    turned = Geometry(side=40.0, turn=45.0, quarters=False)
    seen = {
        int(v) for seed in range(5) for v in np.unique(turned.apply(np.random.default_rng(seed), image, mask, 40)[1])
    }
    assert seen == {0, 255}


def test_appearance_is_shared_up_to_its_jitter() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    still = Appearance((2, 1, 0), grey=False, invert=False, gamma=1.0, jitter=0.0)
    assert np.array_equal(still.apply(np.random.default_rng(0), image), image[:, :, ::-1])
    inverted = Appearance((0, 1, 2), grey=False, invert=True, gamma=1.0, jitter=0.0)
    assert np.array_equal(inverted.apply(np.random.default_rng(0), image), 255 - image)
