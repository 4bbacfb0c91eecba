"""A whole score in OpenVINO: the same numbers, for each shape and set of banks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from hdm_pipeline.errors import OptimizationError
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.fast import compiled
from hdm_pipeline.model.fast.optimize import ANSWERS, accelerate
from hdm_pipeline.model.pyramid import HDMNetPyramid
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.weights_file import weights_path
from tests.small_pyramid import small_pyramid
from tests.unit.model.conftest import blob, picture

pytest.importorskip("openvino")  # compiling takes a minute: the gate does without, as for `hdmnet`

pytestmark = pytest.mark.slow

SIDE = 64


@pytest.fixture(scope="module")
def network() -> HDMNetPyramid:
    return small_pyramid(0)


@pytest.fixture(scope="module")
def banks(network: HDMNetPyramid) -> list[SupportBank]:
    image = network.normalize(torch.from_numpy(picture(1, SIDE, SIDE)))
    mask = torch.from_numpy(blob(SIDE, SIDE))
    other = torch.where(mask == 255, mask, 1 - mask)
    return [network.encode_for_run([image], [labels], describe=True) for labels in (mask, other)]


@pytest.fixture(scope="module")
def tiles(network: HDMNetPyramid) -> torch.Tensor:
    return network.normalize(torch.from_numpy(np.stack([picture(seed, SIDE, SIDE) for seed in (3, 4)])))


def test_every_answer_is_that_of_pytorch(network: HDMNetPyramid, banks: list[SupportBank], tiles: torch.Tensor) -> None:
    fast, plain = accelerate(network, "fp32", "openvino"), accelerate(network, "fp32")
    for kind in ("scores", "doubt"):
        answer = fast.answer(kind, tiles, banks)
        assert answer.shape == (2, ANSWERS[kind] * len(banks), SIDE, SIDE)
        torch.testing.assert_close(answer, plain.answer(kind, tiles, banks), atol=2e-5, rtol=0)


def test_each_shape_and_set_of_banks_is_compiled_once_and_few_are_kept(banks: list[SupportBank]) -> None:
    traced: list[tuple[int, ...]] = []

    def score(tiles: torch.Tensor, banks: Sequence[SupportBank]) -> torch.Tensor:
        traced.append(tuple(tiles.shape))
        level = float(banks[0].array("level0.coefficients").sum())
        return tiles[:, :1] * 0.5 + level

    scored = compiled.CompiledScore(score, "fp32")
    batch = torch.rand(3, 3, 8, 9)
    for one in (banks[:1], banks[1:], banks[:1]):
        expected = score(batch, one)
        torch.testing.assert_close(scored(batch, one), expected)
    assert traced.count((1, 3, 8, 9)) == 2
    for width in range(10, 20):
        scored(torch.rand(1, 3, 8, width), banks)
    assert len(scored._compiled) == compiled._KEPT


def test_the_shipped_network_in_bf16_passes_its_gate_and_every_process_agrees() -> None:
    first, second = (
        FewShotSegmenter.load(weights_path("builtin:pyramid"), device="cpu", precision="bf16", runtime="openvino")
        for _ in range(2)
    )
    bank = first.encode_support([picture(1, 64, 64)], [blob(64, 64)])
    assert first.reports[-1].agreement >= 0.995
    query = picture(3, 64, 64)[None]
    scores = first.predict(query, [bank])
    assert np.array_equal(scores, second.predict(query, [bank]))
    plain = first.in_float32()
    exact = plain.predict(query, [plain.encode_support([picture(1, 64, 64)], [blob(64, 64)])])
    assert ((scores > 127) == (exact > 127)).mean() > 0.98
    assert scores.max() > 200


def test_int8_does_not_exist(network: HDMNetPyramid) -> None:
    with pytest.raises(OptimizationError, match="does not exist for 'hdmnet-pyramid'"):
        accelerate(network, "int8", "openvino")


def test_tiles_are_filled_up_to_one_shape(network: HDMNetPyramid, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shape would be compiled; what fills them up is their mirror image, and is cut off again."""
    segmenter = FewShotSegmenter.from_network(network, device="cpu", runtime="openvino")
    plain = FewShotSegmenter.from_network(network, device="cpu")
    bank = plain.encode_support([picture(1, SIDE, SIDE)], [blob(SIDE, SIDE)])
    shapes = []
    predict = compiled.CompiledScore.__call__

    def asked(self: compiled.CompiledScore, tiles: torch.Tensor, banks: Sequence[SupportBank]) -> torch.Tensor:
        shapes.append(tuple(tiles.shape[2:]))
        return predict(self, tiles, banks)

    monkeypatch.setattr(compiled.CompiledScore, "__call__", asked)
    segmenter.filled_to = SIDE
    small = picture(3, SIDE, SIDE)[None, :, :40, :50]
    scores = segmenter.predict(small, [bank])
    assert shapes == [(SIDE, SIDE)]
    filled = np.pad(small, ((0, 0), (0, 0), (0, SIDE - 40), (0, SIDE - 50)), mode="reflect")
    expected = plain.predict(filled, [bank])[..., :40, :50]
    assert np.abs(scores.astype(int) - expected).max() <= 1
