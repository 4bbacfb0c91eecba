"""Faster modes: what they compute, and that they are refused where they disagree."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from hdm_pipeline.errors import OptimizationError
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.fast.collapse import collapse_linear
from hdm_pipeline.model.fast.extractors import TorchExtractor, fold_batch_norms
from hdm_pipeline.model.fast.modes import Mode
from hdm_pipeline.model.fast.optimize import Gate, OptimizationReport, accelerate, calibrate_ranges, optimize
from hdm_pipeline.model.fast.quantization import calibrate, quantize_convolutions
from hdm_pipeline.model.hdmnet.network import HDMNet
from hdm_pipeline.model.segmenter import FewShotSegmenter
from tests.unit.model.conftest import blob, picture

SIDE = 65


@pytest.fixture(scope="module")
def tile(vgg: HDMNet) -> torch.Tensor:
    return vgg.normalize(torch.from_numpy(picture(3, SIDE, SIDE)))[None]


@pytest.fixture(scope="module")
def bank(vgg: HDMNet) -> SupportBank:
    image = vgg.normalize(torch.from_numpy(picture(1, SIDE, SIDE)))
    return vgg.encode_support([image], [torch.from_numpy(blob(SIDE, SIDE))])


def test_folding_is_exact(vgg: HDMNet, tile: torch.Tensor) -> None:
    folded = fold_batch_norms(copy.deepcopy(vgg.feature_extractor()).eval())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        for ours, plain in zip(folded(tile), vgg.extract(tile), strict=True):
            assert float((ours - plain).abs().max() / plain.abs().max()) < 1e-5


def test_collapsing_is_exact_to_the_border(vgg: HDMNet) -> None:
    transformer = copy.deepcopy(vgg.mix_transformer)
    x = torch.randn(1, 64, 5, 7, generator=torch.Generator().manual_seed(1))
    for layers in (*transformer.parse_sequences(), transformer.cls):
        for module in layers.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.running_mean)
        with torch.no_grad():
            expected = layers(x)
            collapsed = collapse_linear(fold_batch_norms(layers))
            assert float((collapsed(x) - expected).abs().max() / expected.abs().max()) < 1e-5
        assert sum(isinstance(module, torch.nn.Conv2d) for module in collapsed.modules()) == 1


def test_fp32_is_exact_and_takes_the_banks_of_its_source(vgg: HDMNet, tile: torch.Tensor, bank: SupportBank) -> None:
    fast = accelerate(vgg, "fp32")
    torch.testing.assert_close(fast.predict(tile, [bank]), vgg.predict(tile, [bank]), atol=1e-5, rtol=0)
    assert fast.network.fingerprint() == vgg.fingerprint()
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in vgg.modules())  # the source does not change


def test_bf16_is_measured(vgg: HDMNet, tile: torch.Tensor, bank: SupportBank) -> None:
    fast, report = optimize(vgg, [tile], [bank], precision="bf16", gate=Gate(0.9, 0.8))
    answer, reference = fast.predict(tile, [bank]) > 0.5, vgg.predict(tile, [bank]) > 0.5
    assert report.agreement == pytest.approx(float((answer == reference).float().mean()), abs=1e-6)
    assert report.as_dict()["speedup"] == report.reference_seconds / report.seconds
    assert fast.network.extract(tile).f4.dtype == torch.float32
    assert isinstance(fast.network.__dict__["_extractor"], TorchExtractor)


def test_a_mode_that_disagrees_is_refused(vgg: HDMNet, tile: torch.Tensor, bank: SupportBank) -> None:
    with pytest.raises(OptimizationError, match=r"agrees with fp32 on .* are required"):
        optimize(vgg, [tile], [bank], precision="bf16", gate=Gate(1.01, 0.0))
    with pytest.raises(OptimizationError, match="no calibration tile"):
        optimize(vgg, [], [bank], precision="bf16")
    report = OptimizationReport("int8", "openvino", agreement=0.995, iou=0.94, seconds=1, reference_seconds=2, tiles=1)
    assert not report.passes(Gate(0.99, 0.95))
    assert report.passes(Gate(0.99, 0.94))


def test_modes_that_do_not_exist(vgg: HDMNet) -> None:
    with pytest.raises(OptimizationError, match="would not be faster"):
        accelerate(vgg, "int8", "torch")
    with pytest.raises(OptimizationError, match="is unknown"):
        accelerate(vgg, "fp8")


def test_quantization_rounds_what_it_was_calibrated_for(vgg: HDMNet, tile: torch.Tensor) -> None:
    module = fold_batch_norms(copy.deepcopy(vgg.feature_extractor()).eval())
    convolutions = quantize_convolutions(module)
    count = sum(isinstance(m, torch.nn.Conv2d) for m in vgg.feature_extractor().modules())
    assert len(convolutions) == count - 1  # the first sees the image itself
    calibrate(module, convolutions, [tile])
    assert all(conv.high > 0 for conv in convolutions)
    with torch.no_grad():
        for ours, plain in zip(module(tile), vgg.extract(tile), strict=True):
            error = float((ours - plain).abs().mean() / plain.abs().mean())
            assert 1e-4 < error < 0.1


def test_the_bank_carries_the_mode(bank: SupportBank) -> None:
    low, high = np.array([[0, 1], [-1, 2]], np.float32), np.array([[-3, 0.5], [0, 4]], np.float32)
    banks = [Mode("int8", low).attach(bank), Mode("int8", high).attach(bank)]
    common = Mode.common("int8", banks)
    assert common.ranges is not None
    assert np.array_equal(common.ranges, np.array([[-3, 1], [-1, 4]], np.float32))
    assert Mode.common("auto", [*banks, Mode("bf16").attach(bank)]).precision == "bf16"
    assert banks[0].hash != bank.hash
    assert Mode.detach(banks[0]).hash == bank.hash
    with pytest.raises(OptimizationError, match="without calibration"):
        Mode.common("int8", [bank])


def test_auto_gives_every_process_the_same_scores(vgg: HDMNet) -> None:
    first = FewShotSegmenter.from_network(vgg, device="cpu", precision="auto")
    bank = first.encode_support([picture(1, SIDE, SIDE)], [blob(SIDE, SIDE)])
    second = FewShotSegmenter.from_network(copy.deepcopy(vgg), device="cpu", precision="auto")
    tiles = picture(3, SIDE, SIDE)[None]
    assert np.array_equal(first.predict(tiles, [bank]), second.predict(tiles, [bank]))
    with pytest.raises(OptimizationError, match="without calibration"):
        first.predict(tiles, [Mode.detach(bank)])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_openvino_computes_the_same(vgg: HDMNet, tile: torch.Tensor, bank: SupportBank, precision: str) -> None:
    pytest.importorskip("openvino")
    ranges = calibrate_ranges(vgg, [tile]) if precision == "int8" else None
    fast = accelerate(vgg, precision, "openvino", ranges=ranges)
    score = fast.predict(tile, [bank])
    tolerance = {"fp32": 2e-5, "bf16": 0.05, "int8": 0.1}[precision]
    assert float((score - vgg.predict(tile, [bank])).abs().max()) < tolerance
    if precision == "bf16":
        other = torch.nn.functional.pad(tile, (0, 8))  # another shape is compiled when it comes
        assert fast.predict(other, [bank]).shape[-1] == SIDE + 8
