"""What is computed in one pass is what separate passes compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hdm_pipeline.errors import PixelOverflowError
from hdm_pipeline.model.pyramid import fused
from hdm_pipeline.model.pyramid.efficientnet_lite import InvertedBlock
from hdm_pipeline.model.segmenter import FewShotSegmenter
from tests.small_pyramid import small_pyramid

needs_operators = pytest.mark.skipif(not fused.AVAILABLE, reason="this PyTorch has no oneDNN")


def layer(kernel: int, stride: int, groups: int, *, bias: bool) -> nn.Conv2d:
    torch.manual_seed(5)
    return nn.Conv2d(6, 12, kernel, stride, kernel // 2, groups=groups, bias=bias)


@needs_operators
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (5, 2, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_one_pass_is_several(order: torch.memory_format, kernel: int, stride: int, groups: int, bias: bool) -> None:
    convolution = layer(kernel, stride, groups, bias=bias).to(memory_format=order)
    x = torch.randn(2, 6, 21, 18).contiguous(memory_format=order)
    with torch.no_grad():
        plain = convolution(x)
        total = torch.randn_like(plain)
        assert fused.fuses(x)
        torch.testing.assert_close(fused.rectified(convolution, x), plain.relu())
        torch.testing.assert_close(fused.rectified(convolution, 20 * x, six=True), convolution(20 * x).clamp(0, 6))
        torch.testing.assert_close(fused.added(convolution, x, total.clone()), total + plain)
        torch.testing.assert_close(fused.added(convolution, x, total.clone(), relu=True), (total + plain).relu())


def test_what_is_trained_or_in_half_precision_goes_the_plain_way() -> None:
    convolution, x = layer(3, 1, 1, bias=True), torch.randn(1, 6, 8, 8)
    total = torch.randn(1, 12, 8, 8)
    assert not fused.fuses(x)
    kept = total.clone()
    fused.added(convolution, x, total, relu=True).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(total, kept)
    assert convolution.weight.grad is not None
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert not fused.fuses(x)
        assert fused.rectified(convolution, x).dtype == torch.bfloat16
    with torch.no_grad():
        assert not fused.fuses(x.half())


@needs_operators
@pytest.mark.parametrize("batch", [1, 2])
def test_products(batch: int) -> None:
    x, tokens = torch.randn(batch, 40, 8), torch.randn(batch, 5, 8)
    with torch.no_grad():
        torch.testing.assert_close(fused.products(x, tokens), x @ tokens.transpose(1, 2))


@needs_operators
@pytest.mark.parametrize("size", [(32, 32), (33, 26), (15, 48)])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("stride", "width"), [(1, 8), (2, 8), (2, 16)])
def test_a_block_pads_and_skips_as_before(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], kernel: int, stride: int, width: int
) -> None:
    torch.manual_seed(2)
    block, x = InvertedBlock(8, width, kernel, stride, 6), 20 * torch.randn(1, 8, *size)
    with torch.no_grad():
        found = block(x.clone())
        monkeypatch.setattr(fused, "AVAILABLE", False)
        torch.testing.assert_close(found, block(x), rtol=1e-5, atol=1e-4)


@needs_operators
def test_a_network_gives_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_pyramid(4)
    torch.manual_seed(6)
    image = torch.randn(1, 3, 70, 96)
    label = torch.zeros(70, 96, dtype=torch.uint8)
    label[20:50, 30:60] = 1
    bank = network.encode_support([image[0]], [label])
    found = network.predict(image, [bank])
    monkeypatch.setattr(fused, "AVAILABLE", False)
    torch.testing.assert_close(network.predict(image, [bank]), found, atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [3e38, 1e30, 1e19])
@pytest.mark.parametrize("separately", [False, True])
def test_values_that_overflow_are_refused_however_convolutions_are_computed(
    value: float, separately: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN's rectifiers make 0 of what is not a number: a mask would come back that nobody may trust."""
    if separately:
        monkeypatch.setattr(fused, "AVAILABLE", False)
    segmenter = FewShotSegmenter.from_network(small_pyramid(3), device="cpu")
    image = np.random.default_rng(1).random((3, 64, 64), dtype=np.float32)
    mask = np.zeros((64, 64), np.uint8)
    mask[10:40, 10:40] = 1
    bank = segmenter.encode_support([image], [mask], class_name="water")
    segmenter.predict(image[None], [bank])
    huge = image[None].copy()
    huge[0, 1, 20:40, 20:40] = value
    with pytest.raises(PixelOverflowError):
        segmenter.predict(huge, [bank])


@needs_operators
def test_large_values_are_computed_separately_and_usual_ones_are_not() -> None:
    x = torch.ones(1, 3, 8, 8)
    with torch.no_grad():
        for factor, fuses in ((1.0, True), (1e5, False), (float("nan"), False), (-1e5, False)):
            with fused.careful_with(factor * x):
                assert fused.fuses(x) is fuses
        assert fused.fuses(x)
