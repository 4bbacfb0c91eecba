"""Evaluation: banks are shared, failures are left out, the sheet shows what happened, contradictions are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hdm_pipeline.errors import SupportError, TrainingError
from hdm_pipeline.evaluation.episode_list import read_episodes
from hdm_pipeline.evaluation.evaluate import EvaluationSettings, evaluate
from hdm_pipeline.evaluation.fewshot_sets import FoldItem, FoldList
from hdm_pipeline.evaluation.published import draw_episodes, run_protocol
from hdm_pipeline.evaluation.sheet import CELL, draw_sheet
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import support_tensors
from hdm_pipeline.support.quality import leave_one_out
from hdm_pipeline.support.reduction import adaptation_reduction, choose_reduction, reductions, visible_reduction
from tests.small_pyramid import small_pyramid


@pytest.fixture(scope="module")
def network() -> FewShotNetwork:
    return small_pyramid(1)


@pytest.fixture(scope="module")
def segmenter(network: FewShotNetwork) -> FewShotSegmenter:
    return FewShotSegmenter.from_network(network, device="cpu")


def scene(seed: int, size: int = 48) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A bright square on a dark ground: the untrained network's closed-form evidence can already tell them."""
    generator = np.random.default_rng(seed)
    top, left = generator.integers(0, size // 2, 2)
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + size // 3, left : left + size // 3] = 1
    image = np.where(mask == 1, 200, 60) + generator.normal(0, 8, (size, size))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_scenes(folder: Path, count: int) -> list[dict[str, str]]:
    pairs = []
    for seed in range(count):
        image, mask = scene(seed)
        Image.fromarray(image).save(folder / f"{seed}.png")
        Image.fromarray(mask).save(folder / f"{seed}_mask.png")
        pairs.append({"image": f"{seed}.png", "mask": f"{seed}_mask.png"})
    return pairs


def write_list(folder: Path, records: list[dict[str, object]]) -> Path:
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_figures_of_network_and_baseline_stand_side_by_side(tmp_path: Path, segmenter: FewShotSegmenter) -> None:
    pairs = write_scenes(tmp_path, 4)
    records: list[dict[str, object]] = [{"task": "sq", "support": [pairs[0]], "query": pair} for pair in pairs[1:]]
    episodes = read_episodes(write_list(tmp_path, records))
    found = evaluate(episodes, segmenter, EvaluationSettings(baseline="nearest-prototype"), keep_shown=2)
    facts = found.as_dict()
    assert facts["tasks"]["sq"]["episodes"] == 3
    assert facts["baseline"]["name"] == "nearest-prototype"
    assert facts["baseline"]["tasks"]["sq"]["iou"] > 0.95
    assert 0 <= facts["mean_iou"] <= 1
    assert facts["seconds_per_query"] > 0
    assert facts["adaptations"] == []
    assert 0 <= facts["boundary_f1"]["sq"] <= 1
    assert 0 <= facts["calibration_error"] <= 1
    assert sum(entry["pixels"] for entry in facts["reliability"]) == 3 * 48 * 48
    assert len(found.reductions) == 1  # one set of examples: prepared once
    assert sum(result.shown is not None for result in found.results) == 2
    json.dumps(facts, allow_nan=False)


def test_what_cannot_be_read_is_left_out_and_the_rest_goes_on(tmp_path: Path, segmenter: FewShotSegmenter) -> None:
    pairs = write_scenes(tmp_path, 3)
    broken = {"image": "none.png", "mask": "0_mask.png"}
    records: list[dict[str, object]] = [
        {"task": "a", "support": [pairs[0]], "query": broken},
        {"task": "a", "support": [pairs[0]], "query": pairs[1]},
        {"task": "b", "support": [broken], "query": pairs[1]},
    ]
    found = evaluate(read_episodes(write_list(tmp_path, records)), segmenter, EvaluationSettings())
    assert [result.error is None for result in found.results] == [False, True, False]
    assert [entry["line"] for entry in found.as_dict()["failed"]] == [1, 3]
    assert list(found.summary.tasks) == ["a"]
    with pytest.raises(TrainingError, match="the episode could not be run"):
        evaluate(read_episodes(write_list(tmp_path, records[:1])), segmenter, EvaluationSettings())


def test_odd_masks_are_told_once_beside_the_figures(tmp_path: Path, segmenter: FewShotSegmenter) -> None:
    pairs = write_scenes(tmp_path, 2)
    mask = np.zeros((48, 48), np.uint8)
    mask[10:20] = 255
    Image.fromarray(mask).save(tmp_path / "bytes.png")
    query = {**pairs[1], "mask": "bytes.png"}
    records: list[dict[str, object]] = [{"task": "a", "support": [pairs[0]], "query": query}] * 2
    found = evaluate(read_episodes(write_list(tmp_path, records)), segmenter, EvaluationSettings())
    (line,) = found.as_dict()["warnings"]
    assert "bytes.png" in line
    assert "it holds 0, 255" in line


def test_the_sheet_has_a_row_for_each_kept_episode_and_colors_errors(
    tmp_path: Path, segmenter: FewShotSegmenter
) -> None:
    pairs = write_scenes(tmp_path, 3)
    records: list[dict[str, object]] = [{"task": "sq", "support": [pairs[0]], "query": pair} for pair in pairs[1:]]
    found = evaluate(read_episodes(write_list(tmp_path, records)), segmenter, EvaluationSettings(), keep_shown=9)
    sheet = draw_sheet(found.results)
    assert sheet.width > 5 * CELL
    assert 2 * CELL < sheet.height < 3 * CELL
    shown = found.results[0].shown
    assert shown is not None
    truth = shown.query.truth
    colors = {tuple(color) for color in np.asarray(sheet).reshape(-1, 3)}
    assert ((60, 190, 90) in colors) == any(
        bool((r.shown.prediction & (r.shown.query.truth == 1)).any()) for r in found.results if r.shown
    )
    assert truth.any()


def test_an_example_with_swapped_labels_is_named(segmenter: FewShotSegmenter) -> None:
    scenes = [scene(seed) for seed in range(5)]
    images = [image[None].astype(np.float32) / 255 for image, _ in scenes]
    masks = [mask for _, mask in scenes]
    good = leave_one_out(segmenter, support_tensors(images, masks, "test"), list("abcde"))
    assert [quality.name for quality in good] == list("abcde")
    masks[2] = 1 - masks[2]
    quality = leave_one_out(segmenter, support_tensors(images, masks, "test"), list("abcde"))
    ious = [q.iou or 0.0 for q in quality]
    assert ious[2] < min(ious[:2] + ious[3:])
    assert json.dumps([q.as_dict() for q in quality])


def test_one_example_is_checked_by_its_halves_and_none_is_an_error(segmenter: FewShotSegmenter) -> None:
    image, mask = scene(0)
    images = [image[None].astype(np.float32) / 255]
    (quality,) = leave_one_out(segmenter, support_tensors(images, [mask], "test"), ["only"])
    assert quality.iou is not None
    assert not quality.contradicts
    with pytest.raises(SupportError, match="no example shows the target"):
        leave_one_out(segmenter, support_tensors(images, [mask * 0], "test"), ["only"])


def test_points_are_not_judged_but_named(segmenter: FewShotSegmenter) -> None:
    scenes = [scene(seed) for seed in range(3)]
    images = [image[None].astype(np.float32) / 255 for image, _ in scenes]
    masks = [np.full_like(mask, 255) for _, mask in scenes]
    for (_, mask), points in zip(scenes, masks, strict=True):
        for value in (0, 1):
            points[tuple(np.argwhere(mask == value)[::150].T)] = value
    masks[1] = np.where(masks[1] == 255, 255, 1 - masks[1]).astype(np.uint8)  # swapped, but who can say
    quality = leave_one_out(segmenter, support_tensors(images, masks, "test"), list("abc"))
    assert all(q.note.startswith("has ") and "too few to judge it by" in q.note for q in quality)
    assert not any(q.contradicts for q in quality)
    assert all(0 < q.labelled_share < 0.02 for q in quality)


def test_reductions_are_those_of_the_largest_example_never_below_one() -> None:
    assert reductions(100) == [1.0]
    assert reductions(512) == [512 / 320, 1.0, 512 / 224, 512 / 160]
    assert min(reductions(1024)) == 2.0
    assert reductions(300) == [1.0, 300 / 224, 300 / 160]


def test_a_reduction_is_chosen_within_its_bound(network: FewShotNetwork) -> None:
    image, mask = scene(0, size=240)
    tensor = torch.from_numpy(image.astype(np.float32) / 255).expand(3, -1, -1)
    reduction, held_out = choose_reduction(network, [tensor], [torch.from_numpy(mask)])
    assert reduction in reductions(240)
    assert 0 <= held_out <= 1
    bounded, _ = choose_reduction(network, [tensor], [torch.from_numpy(mask)], most=1.2)
    assert bounded in (1.0, 240 / 224, 1.2)
    assert adaptation_reduction(320) == 2.0


def test_a_small_target_is_not_reduced_away() -> None:
    small, large = torch.zeros(2, 100, 100, dtype=torch.uint8)
    small[50, 50] = 1
    large[40:60, 40:60] = 1
    assert visible_reduction([large], 10.0) == 10.0
    assert 1.0 <= visible_reduction([large, small], 10.0) < 10.0
    assert visible_reduction([large, torch.zeros_like(large)], 10.0) == 10.0  # an example without target is no obstacle


def fold(folder: Path, images: int) -> FoldList:
    """Two classes (3 and 7) in label maps of odd sizes."""
    items = []
    for seed in range(images):
        image, mask = scene(seed, size=72 + seed)
        number = 3 if seed % 2 else 7
        Image.fromarray(np.stack([image] * 3, axis=-1)).save(folder / f"{seed}.png")
        Image.fromarray(mask * np.uint8(number)).save(folder / f"{seed}_label.png")
        items.append(FoldItem(folder / f"{seed}.png", folder / f"{seed}_label.png", (number,), (number,)))
    return FoldList((3, 7), tuple(items))


def test_the_published_draw(tmp_path: Path) -> None:
    listed = fold(tmp_path, 8)
    episodes = list(draw_episodes(listed, 3, 20, 510))
    assert [episode.query for episode in episodes[:8]] == list(listed.items)
    assert episodes[8].query == listed.items[0]
    for episode in episodes:
        assert episode.query not in episode.supports
        assert len(set(episode.supports)) == 3
        assert all(episode.number in item.listed for item in episode.supports)
    assert episodes == list(draw_episodes(listed, 3, 20, 510))
    assert episodes != list(draw_episodes(listed, 3, 20, 365))
    with pytest.raises(TrainingError, match="4 are asked for"):
        list(draw_episodes(listed, 4, 1, 510))


def test_the_published_protocol_scores_at_original_size(tmp_path: Path, network: FewShotNetwork) -> None:
    report = run_protocol(network, fold(tmp_path, 6), shots=1, episodes=6, side=64, seeds=(510, 365))
    facts = report.as_dict()
    assert [run["seed"] for run in facts["runs"]] == [510, 365]
    for run in facts["runs"]:
        assert set(run["class_iou"]) == {"3", "7"}
        assert run["mean_iou"] == pytest.approx(np.mean(list(run["class_iou"].values())))
    assert facts["mean_iou"] <= facts["best_iou"]
