"""Episodes from folders of label maps with several classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdm_pipeline.errors import TrainingError
from hdm_pipeline.training.batches import make_source
from hdm_pipeline.training.config import TasksConfig
from hdm_pipeline.training.tasks import TaskSource

COLORS = {0: 20, 1: 120, 2: 220, 255: 70}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two folders; the first has classes 1 and 2 and unknown pixels, and a speck of class 3 in one image."""
    for name, values in (("first", (1, 2)), ("second", (2,))):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "labels").mkdir()
        for number in range(6):
            labels = np.zeros((80, 100), np.uint8)
            labels[10:40, 5 + 4 * number : 45 + 4 * number] = values[0]
            if len(values) > 1 and number < 4:
                labels[45:75, 10:50] = values[1]
            if name == "first":
                labels[45:75, 60:95] = 255
                labels[0, number] = 3 if number == 0 else 0
            pixels = np.vectorize(lambda value: COLORS.get(int(value), 0))(labels).astype(np.uint8)
            Image.fromarray(np.repeat(pixels[:, :, None], 3, 2)).save(tmp_path / name / "images" / f"{number}.png")
            Image.fromarray(labels).save(tmp_path / name / "labels" / f"{number}.png")
    return tmp_path


def test_masks_are_those_of_one_class_and_unknown_stays_unknown(root: Path) -> None:
    source = TaskSource(root, only=["first"], augment=False)
    targets = set()
    for seed in range(30):
        episode = source.draw(np.random.default_rng(seed), 2, 64)
        assert episode.support.shape == (2, 64, 64, 3)
        for image, mask in zip(
            (episode.query, *episode.support), (episode.query_mask, *episode.support_mask), strict=True
        ):
            assert set(np.unique(mask)) <= {0, 1, 255}
            assert np.median(image[mask == 255]) == COLORS[255]
            assert (mask == 1).any()
        targets.add(int(np.median(episode.query[episode.query_mask == 1])))
    assert {COLORS[1], COLORS[2]} <= targets
    assert len(targets) <= 3  # the third is all classes together


def test_augmented_images_and_masks_move_alike(root: Path) -> None:
    source = TaskSource(root, only=["second"])
    for seed in range(12):
        episode = source.draw(np.random.default_rng(seed), 2, 64)
        inside = episode.support[0][episode.support_mask[0] == 1].astype(int)
        assert len(inside) > 5
        assert np.median(np.abs(inside - np.median(inside, axis=0))) < 10


def test_folders_are_left_out(root: Path) -> None:
    source = make_source(TasksConfig(path=root, leave_out=["first"], augment=False))
    for seed in range(8):
        episode = source.draw(np.random.default_rng(seed), 1, 32)
        assert 255 not in np.unique(episode.query_mask)


def test_specks_are_no_class(root: Path) -> None:
    (folder,) = TaskSource(root, only=["first"])._folders
    assert [each.values for each in folder.classes] == [(1,), (2,), (1, 2, 3)]
    assert folder.merged


def test_equal_states_give_equal_episodes(root: Path) -> None:
    source = TaskSource(root)
    one, two = (source.draw(np.random.default_rng(5), 3, 64) for _ in range(2))
    assert np.array_equal(one.support, two.support)
    assert np.array_equal(one.query_mask, two.query_mask)


def test_mistakes_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="secnd"):
        TaskSource(root, leave_out=["secnd"])
    with pytest.raises(TrainingError, match="no folder holds a class"):
        TaskSource(tmp_path / "nothing")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(root / "second" / "images" / "0.png")
    source = TaskSource(root, only=["second"], augment=False)
    with pytest.raises(TrainingError, match="label map"):
        source.draw(np.random.default_rng(0), 5, 32)  # six of six images: the bad one is among them
