"""PASCAL-5i and COCO-20i on a tiny data set of their layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdm_pipeline.errors import TrainingError
from hdm_pipeline.evaluation.fewshot_sets import base_classes, held_out_classes, read_fold
from hdm_pipeline.training.episodes import FoldSource

LARGE, TINY = 60, 20  # sides of squares: 3600 and 400 pixels, above and below 2048


def write(folder: Path, name: str, squares: dict[int, int], split: str = "train") -> None:
    rng = np.random.default_rng(len(name))
    label = np.zeros((100, 140), np.uint8)
    for place, (number, side) in enumerate(squares.items()):
        label[:side, place * 70 : place * 70 + side] = number
    label[-1] = 255
    picture = rng.integers(0, 255, (100, 140, 3)).astype(np.uint8)
    picture[label == 6] = (250, 10, 10)
    Image.fromarray(picture).save(folder / f"{name}.jpg")
    Image.fromarray(label).save(folder / f"{name}.png")
    with (folder / f"{split}.txt").open("a") as file:
        file.write(f"{name}.jpg {name}.png\n")


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    write(tmp_path, "base", {6: LARGE})
    write(tmp_path, "base_too", {6: LARGE, 7: TINY})
    write(tmp_path, "novel_inside", {6: LARGE, 2: TINY})
    write(tmp_path, "only_tiny", {7: TINY})
    write(tmp_path, "novel", {2: LARGE, 6: LARGE}, "val")
    write(tmp_path, "novel_tiny", {2: TINY}, "val")
    return tmp_path


def test_folds_divide_the_classes() -> None:
    for benchmark, count in (("pascal-5i", 20), ("coco-20i", 80)):
        held_out = [held_out_classes(benchmark, fold) for fold in range(4)]
        assert sorted(sum(held_out, ())) == list(range(1, count + 1))
        assert set(base_classes(benchmark, 2)).isdisjoint(held_out[2])
    assert held_out_classes("pascal-5i", 1) == (6, 7, 8, 9, 10)
    assert held_out_classes("coco-20i", 1)[:3] == (2, 6, 10)


def test_training_drops_images_with_held_out_classes(data_set: Path) -> None:
    listed = read_fold(data_set, "pascal-5i", 0, "train")
    assert [item.image.stem for item in listed.items] == ["base", "base_too"]
    assert listed.items[1].classes == (6, 7)
    assert listed.items[1].listed == (6,)


def test_evaluation_keeps_images_with_enough_of_a_held_out_class(data_set: Path) -> None:
    listed = read_fold(data_set, "pascal-5i", 0, "val")
    assert [(item.image.stem, item.classes) for item in listed.items] == [("novel", (2,))]


def test_episodes_show_the_class_and_keep_what_is_ignored(data_set: Path) -> None:
    source = FoldSource(data_set, "pascal-5i", 0)
    first, again = (source.draw(np.random.default_rng(4), 1, 65) for _ in range(2))
    assert np.array_equal(first.query, again.query)
    assert first.support.shape == (1, 65, 65, 3)
    assert set(np.unique(first.query_mask)) == {0, 1, 255}
    inside = first.query[first.query_mask == 1].mean(0)
    assert inside[0] > 180 > 90 > inside[1]  # the red of class 6: image and mask were moved alike


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="list cannot be read"):
        read_fold(tmp_path, "pascal-5i", 0, "train")
    (tmp_path / "train.txt").write_text("a.jpg\n")
    with pytest.raises(TrainingError, match=r"line 1 names 1 file\n"):
        read_fold(tmp_path, "pascal-5i", 0, "train")
    (tmp_path / "train.txt").write_text("a.jpg a.png\n")
    with pytest.raises(TrainingError, match="cannot be read"):
        read_fold(tmp_path, "pascal-5i", 0, "train")
