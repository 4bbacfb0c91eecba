"""What a network remembers of images changes no number, saves the passes, and does not outlive its use."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hdm_pipeline.model.pyramid.memory import FeatureMemory
from hdm_pipeline.model.pyramid.network import HDMNetPyramid
from hdm_pipeline.model.segmenter import FewShotSegmenter


@pytest.fixture
def network() -> HDMNetPyramid:
    """With pretrained features, so that both kinds of features are remembered."""
    torch.manual_seed(3)
    sizes = {"widths": (8, 8, 8, 8, 8), "depths": (1, 1, 1, 1, 1), "evidence_widths": (8, 8, 8, 8)}
    return HDMNetPyramid(**sizes, heads=2, state_widths=(8, 8, 8, 8), pretrained="lite0").eval()


@pytest.fixture
def examples() -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(3, 48, 40 + 8 * number, generator=generator) for number in range(3)]
    masks = [(image[0] > 0.5).to(torch.uint8) for image in images]
    return images, masks


def count_passes(network: HDMNetPyramid) -> list[int]:
    passes: list[int] = []
    network.backbone.register_forward_hook(lambda *_: passes.append(1))
    return passes


def test_remembered_features_give_equal_banks_and_scores(
    network: HDMNetPyramid, examples: tuple[list[Tensor], list[Tensor]]
) -> None:
    images, masks = examples
    bank = network.encode_for_run(images, masks, describe=True)
    scores = network.predict(images[0][None], [bank])
    passes = count_passes(network)
    with network.remembering():
        for _ in range(2):
            again = network.encode_for_run([image.clone() for image in images], masks, describe=True)
            assert torch.equal(network.predict(images[0][None].clone(), [again]), scores)
            assert again.arrays.keys() == bank.arrays.keys()
            assert all(np.array_equal(again.arrays[name], bank.arrays[name]) for name in bank.arrays)
    assert len(passes) == 3  # 2 encodings of 3 examples and 2 queries


def test_what_decodes_to_a_coarser_level_uses_what_the_finest_one_knows(
    network: HDMNetPyramid, examples: tuple[list[Tensor], list[Tensor]]
) -> None:
    network.detail = "auto"
    images = examples[0]
    masks = [torch.zeros(image.shape[1:], dtype=torch.uint8) for image in images]
    for mask in masks:
        mask[8:32, 8:32] = 1
    bank = network.encode_support(images, masks)
    assert int(bank.array("finest")[0]) == 1
    scores = network.predict(images[0][None], [bank])
    passes = count_passes(network)
    with network.remembering():
        again = network.encode_support(images, masks)
        assert torch.equal(network.predict(images[0][None], [again]), scores)
    assert len(passes) == 3


def test_other_values_are_other_images_and_nothing_outlives_the_block(
    network: HDMNetPyramid, examples: tuple[list[Tensor], list[Tensor]]
) -> None:
    images, masks = examples
    passes = count_passes(network)
    with network.remembering():
        network.encode_support(images, masks)
        changed = images[0].clone()
        changed[0, 0, 0] += 1e-3
        network.encode_support([changed, *images[1:]], masks)
        assert len(passes) == 4
        with network.remembering():  # an inner block uses the outer one's
            network.encode_support(images, masks)
        network.encode_support(images, masks)
        assert len(passes) == 4
        copied = copy.deepcopy(network)  # may be changed, or made faster: it computes for itself
        copies = count_passes(copied)
        for _ in range(2):
            copied.encode_support(images, masks)
        assert len(copies) == 6
    before = len(passes)
    network.encode_support(images, masks)
    assert len(passes) == before + 3


def test_a_segmenter_that_remembers_answers_the_same_without_a_pass(network: HDMNetPyramid) -> None:
    """Its copy for inference would compute the examples anew, and answers afterwards as before."""
    passes = count_passes(network)  # also those of copies, which take the hook along
    segmenter = FewShotSegmenter.from_network(network, device="cpu")
    pixels = np.random.default_rng(5).random((3, 64, 64), dtype=np.float32)
    mask = (pixels[0] > 0.5).astype(np.uint8)
    bank = segmenter.encode_support([pixels], [mask])
    scores = segmenter.predict(pixels[None], [bank])
    assert len(passes) == 2
    with segmenter.remembering():
        again = segmenter.encode_support([pixels], [mask])
        np.testing.assert_array_equal(segmenter.predict(pixels[None], [again]), scores)
    assert len(passes) == 3
    np.testing.assert_array_equal(segmenter.predict(pixels[None], [bank]), scores)
    assert len(passes) == 4


def test_a_full_memory_computes_what_it_does_not_hold() -> None:
    memory = FeatureMemory(most_pixels=100)
    small, large = torch.zeros(1, 3, 9, 9), torch.zeros(1, 3, 9, 10)
    computed: list[str] = []

    def get(name: str, images: Tensor) -> None:
        assert memory.of(images).get((name, 0), lambda: (computed.append(name), name)[1]) == name

    for _ in range(2):
        get("small", small)
        get("other", small)
        get("large", large)
    assert computed == ["small", "other", "large", "large"]
    assert memory.of(small).get(("small", 1), lambda: "other level") == "other level"
    assert ("small", 0) in memory.of(small)


def test_what_lost_makes_room_in_its_order_and_what_is_asked_for_again_stays() -> None:
    memory = FeatureMemory(most_pixels=3 * 64)
    images = [torch.full((1, 3, 8, 8), float(number)) for number in range(6)]

    def kept() -> list[int]:
        return [number for number, image in enumerate(images) if memory.holds(image)]

    memory.of(images[0])
    with memory.watching() as lost:
        memory.of(images[1])
        memory.of(images[2])
    memory.of(images[3])
    assert kept() == [0, 1, 2]  # full, and nothing may leave
    lost.make_room()
    memory.of(images[1])
    memory.of(images[3])
    assert kept() == [0, 1, 3]
    memory.of(images[4])
    assert kept() == [0, 1, 3]
    with memory.watching() as lost:
        memory.of(images[0])
    lost.make_room()
    memory.of(torch.zeros(1, 3, 80, 80))  # nothing leaves for what is too large all the same
    assert kept() == [0, 1, 3]
    memory.of(images[5])
    assert kept() == [1, 3, 5]


def test_the_labels_of_an_image_that_came_last_are_known() -> None:
    known = FeatureMemory().of(torch.zeros(1, 3, 8, 8))
    masks = [torch.full((8, 8), number, dtype=torch.uint8) for number in range(5)]
    computed: list[int] = []

    def ask(number: int) -> None:
        assert known.labelled("what", masks[number].clone(), lambda: (computed.append(number), number)[1]) == number

    for number in (0, 1, 2, 3, 0, 4, 0, 1):
        ask(number)
    assert computed == [0, 1, 2, 3, 4, 1]


def test_labels_of_one_image_share_what_does_not_depend_on_them(
    network: HDMNetPyramid, examples: tuple[list[Tensor], list[Tensor]]
) -> None:
    (image, *_), (mask, *_) = examples
    with network.remembering():
        one, other = (network._encode_image(image, labels, 1).supports for labels in (mask, 1 - mask))
    matches = [(a.match, b.match) for a, b in zip(one, other, strict=True)]
    assert any(mine is not None for mine, _ in matches)
    assert all(mine is theirs for mine, theirs in matches)


def test_a_set_of_labelled_images_is_known_by_images_labels_and_what_was_asked(
    network: HDMNetPyramid, examples: tuple[list[Tensor], list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, masks = examples
    other = [1 - mask for mask in masks]
    plain = network.encode_support(images, other, class_name="land")
    solved: list[int] = []
    encoded = HDMNetPyramid._encoded

    def counted(self: HDMNetPyramid, *arguments: Any) -> Any:
        solved.append(1)
        return encoded(self, *arguments)

    monkeypatch.setattr(HDMNetPyramid, "_encoded", counted)
    with network.remembering():
        for _ in range(2):
            network.encode_support(images, masks)
            again = network.encode_support(images, other, class_name="land")
        assert len(solved) == 2
        network.encode_for_run(images, masks, describe=True)
        network.encode_support(images[:2], masks[:2])
        assert len(solved) == 4
    assert again.hash == plain.hash


def test_precision_is_part_of_what_is_remembered() -> None:
    memory = FeatureMemory()
    images = torch.zeros(1, 3, 8, 8)
    assert memory.of(images).get("levels", lambda: "fp32") == "fp32"
    with torch.autocast("cpu", torch.bfloat16):
        assert memory.of(images).get("levels", lambda: "bf16") == "bf16"
    assert memory.of(images).get("levels", lambda: "other") == "fp32"
