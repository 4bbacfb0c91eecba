"""Reading lists: liberal in what is meant, exact in what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hdm_pipeline.errors import ConfigError, TrainingError
from hdm_pipeline.evaluation.episode_list import automatic_ranges, load_query, load_support, read_episodes
from hdm_pipeline.evaluation.images import EpisodeImage


def write_pair(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> dict[str, str]:
    np.save(folder / f"{name}.npy", image)
    Image.fromarray(mask.astype(np.uint8)).save(folder / f"{name}.png")
    return {"image": f"{name}.npy", "mask": f"{name}.png"}


def write_list(folder: Path, *records: Any) -> Path:
    path = folder / "list.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records), encoding="utf-8")
    return path


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    mask = np.zeros((8, 9))
    mask[2:4] = 1
    return write_pair(tmp_path, "a", np.random.default_rng(0).normal(100, 30, (1, 8, 9)), mask)


def test_paths_are_relative_to_the_list_and_blank_lines_do_not_count(tmp_path: Path, pair: dict[str, str]) -> None:
    record = {"task": "t", "support": [pair], "query": pair, "unknown": 1}
    episodes = read_episodes(write_list(tmp_path, "", record, "", record))
    assert [episode.line for episode in episodes] == [2, 4]
    assert episodes[0].query.image == tmp_path / "a.npy"
    assert episodes[0].support_key == episodes[1].support_key


def test_every_bad_line_is_named(tmp_path: Path, pair: dict[str, str]) -> None:
    good = {"task": "t", "support": [pair], "query": pair}
    path = write_list(
        tmp_path,
        good,
        "{not json",
        {**good, "support": []},
        {**good, "query": {"image": "a.npy"}},
        {**good, "scale": [3, 3]},
        {**good, "bands": [0]},
        [1],
    )
    with pytest.raises(ConfigError) as caught:
        read_episodes(path)
    for line in range(2, 8):
        assert f"line {line}:" in caught.value.what
    assert "line 1:" not in caught.value.what


def test_a_missing_or_empty_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_episodes(tmp_path / "none.jsonl")
    (tmp_path / "e.jsonl").write_text("\n")
    with pytest.raises(ConfigError, match="no episode"):
        read_episodes(tmp_path / "e.jsonl")


def test_a_scale_given_once_holds_for_the_task(tmp_path: Path, pair: dict[str, str]) -> None:
    record = {"task": "t", "support": [pair], "query": pair}
    path = write_list(tmp_path, record, {**record, "scale": [0, 200]}, {**record, "task": "other"})
    scales = [episode.scale for episode in read_episodes(path)]
    assert scales == [((0.0, 200.0),), ((0.0, 200.0),), None]


def test_examples_and_query_share_one_range(tmp_path: Path, pair: dict[str, str]) -> None:
    support_pixels = np.load(tmp_path / "a.npy")
    brighter = write_pair(tmp_path, "b", support_pixels + 20, np.zeros((8, 9)))
    episode = read_episodes(write_list(tmp_path, {"task": "t", "support": [pair], "query": brighter}))[0]
    support = load_support(episode)
    query = load_query(episode.query, support)
    inside = (query.image > 0) & (query.image < 1) & (support.images[0] > 0) & (support.images[0] < 1)
    shift = (query.image - support.images[0])[inside]
    assert inside.sum() > 20
    assert shift.std() < 1e-5
    assert shift.mean() > 0.05


def test_pixels_without_data_count_in_no_example_and_no_query(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(0, 1, (6, 6))
    image[0] = np.nan
    record = {"task": "t", "support": write_pair(tmp_path, "n", image, np.ones((6, 6)))}
    record["query"] = record["support"]
    episode = read_episodes(write_list(tmp_path, record))[0]
    support = load_support(episode)
    assert (support.masks[0][0] == 255).all()
    query = load_query(episode.query, support)
    assert not query.valid[0].any()
    assert (query.truth[0] == 255).all()  # a run gives nodata there
    assert (query.truth[1:] == 1).all()


def test_what_cannot_be_used_is_explained(tmp_path: Path, pair: dict[str, str]) -> None:
    small = write_pair(tmp_path, "s", np.ones((1, 8, 9)), np.ones((4, 4)))
    empty = write_pair(tmp_path, "e", np.ones((1, 8, 9)), np.zeros((8, 9)))
    unknown = write_pair(tmp_path, "u", np.ones((1, 8, 9)), np.full((8, 9), 255))
    blank = write_pair(tmp_path, "n", np.full((1, 8, 9), np.nan), np.ones((8, 9)))
    three = write_pair(tmp_path, "c", np.ones((3, 8, 9)), np.ones((8, 9)))

    def episode(support: list[dict[str, str]]) -> Any:
        return read_episodes(write_list(tmp_path, {"task": "t", "support": support, "query": three}))[0]

    with pytest.raises(TrainingError, match="9 x 8 pixels, its mask 4 x 4"):
        load_support(episode([small]))
    with pytest.raises(TrainingError, match=r"no example of task 't' holds foreground.*\[0\]"):
        load_support(episode([empty]))
    for pairs, message in (
        (unknown, "every pixel of the mask is unknown"),
        (blank, "only where the image holds no data"),
    ):
        with pytest.raises(TrainingError, match=message):
            load_support(episode([pair, pairs]))
        query = read_episodes(write_list(tmp_path, {"task": "t", "support": [pair], "query": pairs}))[0].query
        with pytest.raises(TrainingError, match=message):
            load_query(query, load_support(episode([pair])))
    with pytest.raises(TrainingError, match="number of channels"):
        load_support(episode([pair, three]))
    with pytest.raises(TrainingError, match="query has 3 channels, its examples have 1"):
        load_query(episode([pair]).query, load_support(episode([pair])))
    assert len(load_support(episode([pair, empty])).images) == 2  # one example without the target is a negative one


def with_minus_one(folder: Path) -> dict[str, str]:
    image, mask = np.random.default_rng(1).normal(100, 30, (1, 8, 9)), np.zeros((8, 9), np.int16)
    mask[2:4], mask[6] = 1, -1
    np.save(folder / "m.npy", image)
    np.save(folder / "m_mask.npy", mask)
    return {"image": "m.npy", "mask": "m_mask.npy"}


def test_values_that_count_nowhere_hold_for_the_examples_and_queries_of_a_task(tmp_path: Path) -> None:
    odd = with_minus_one(tmp_path)
    record = {"task": "t", "support": [odd], "query": odd}
    for one in read_episodes(write_list(tmp_path, record, {**record, "ignore": -1})):
        support = load_support(one)
        for labels in (support.masks[0], load_query(one.query, support).truth):
            assert np.unique(labels[6]).tolist() == [255]
            assert (labels[2:4] == 1).all()
            assert np.count_nonzero(labels == 0) == 5 * 9
    (other,) = read_episodes(write_list(tmp_path, {**record, "task": "other"}))
    with pytest.raises(TrainingError, match=r"holds values other than .*: -1") as caught:
        load_support(other)
    assert '"ignore": [-1]' in caught.value.remedy


def test_a_mask_names_its_own_values_that_count_nowhere(tmp_path: Path, pair: dict[str, str]) -> None:
    odd = with_minus_one(tmp_path)
    record = {"task": "t", "support": [{**odd, "ignore": [-1, 7]}, pair], "query": odd, "ignore": [0]}
    (episode,) = read_episodes(write_list(tmp_path, record))
    assert [one.ignore for one in (*episode.support, episode.query)] == [(-1, 7), (0,), (0,)]
    own, shared = load_support(episode).masks
    assert np.unique(own).tolist() == [0, 1, 255]
    assert np.unique(shared).tolist() == [1, 255]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("class = 'unsure'", "`ignore` is for drawn labels"),
        (1.5, "should be a list"),
        ([0.5], "should be a whole number"),
        ({"a": 1}, '"ignore'),
    ],
)
def test_ignore_is_refused_as_in_a_pipeline_file(
    tmp_path: Path, pair: dict[str, str], value: object, message: str
) -> None:
    for wrong in ({"support": [pair], "ignore": value}, {"support": [{**pair, "ignore": value}]}):
        with pytest.raises(ConfigError, match="line 1: ") as caught:
            read_episodes(write_list(tmp_path, {"task": "t", "query": pair, **wrong}))
        assert message in caught.value.what


def image_of(values: np.ndarray, *, eight_bit: bool = False) -> EpisodeImage:
    return EpisodeImage(values.astype(np.float32), np.ones(values.shape[1:], bool), eight_bit)


def test_eight_bit_examples_keep_their_natural_range() -> None:
    assert automatic_ranges([image_of(np.full((3, 4, 4), 9), eight_bit=True)]) == ((0.0, 255.0),)


def test_one_example_of_more_bits_asks_for_percentiles() -> None:
    images = [image_of(np.full((1, 40, 40), 9), eight_bit=True), image_of(np.full((1, 40, 40), 1009))]
    assert automatic_ranges(images) == ((9.0, 1009.0),)


def test_examples_without_a_valid_pixel_or_of_different_channels_have_no_range() -> None:
    blank = EpisodeImage(np.zeros((1, 4, 4), np.float32), np.zeros((4, 4), bool), False)
    with pytest.raises(TrainingError, match="no example of the task has a valid pixel"):
        automatic_ranges([blank])
    with pytest.raises(TrainingError, match="number of channels"):
        automatic_ranges([image_of(np.zeros((1, 4, 4))), image_of(np.zeros((2, 4, 4)))])
