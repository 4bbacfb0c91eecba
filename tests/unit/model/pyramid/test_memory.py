"""What a network remembers of images changes no number, saves the passes, and does not outlive its use."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from hdm_pipeline.model.pyramid.memory import FeatureMemory
from hdm_pipeline.model.pyramid.network import HDMNetPyramid


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


def test_a_full_memory_computes_what_it_does_not_hold() -> None:
    memory = FeatureMemory(most_pixels=100)
    small, large = torch.zeros(1, 3, 9, 9), torch.zeros(1, 3, 9, 10)
    computed: list[str] = []

    def get(name: str, images: Tensor) -> None:
        assert memory.get((name, 0), images, lambda: (computed.append(name), name)[1]) == name

    for _ in range(2):
        get("small", small)
        get("other", small)
        get("large", large)
    assert computed == ["small", "other", "large", "large"]
    assert memory.get(("small", 1), small, lambda: "other level") == "other level"


def test_precision_is_part_of_what_is_remembered() -> None:
    memory = FeatureMemory()
    images = torch.zeros(1, 3, 8, 8)
    assert memory.get(("levels", 0), images, lambda: "fp32") == "fp32"
    with torch.autocast("cpu", torch.bfloat16):
        assert memory.get(("levels", 0), images, lambda: "bf16") == "bf16"
    assert memory.get(("levels", 0), images, lambda: "other") == "fp32"
