"""Winograd's convolutions are the convolutions that they stand for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hdm_pipeline.model.fast import winograd
from hdm_pipeline.model.fast.winograd import WinogradConv, takes_winograd, use_winograd

WIDE = 256


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2), st.integers(1, 14), st.integers(1, 14), st.sampled_from([1, 2, 4]), st.booleans())
def test_it_is_the_convolution(batch: int, height: int, width: int, dilation: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(height * width)
    convolution = nn.Conv2d(5, 7, 3, padding=dilation, dilation=dilation, bias=bias).double()
    x = torch.randn(batch, 5, height, width, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(WinogradConv(convolution)(x), convolution(x), rtol=1e-10, atol=1e-10)


def test_channels_are_summed_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_TOGETHER", 2)
    convolution, x = nn.Conv2d(5, 7, 3, padding=1).double(), torch.randn(2, 5, 8, 9, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(WinogradConv(convolution)(x), convolution(x), rtol=1e-10, atol=1e-10)


def test_float32_keeps_its_digits() -> None:
    torch.manual_seed(0)
    convolution, x = nn.Conv2d(512, 64, 3, padding=1), torch.randn(1, 512, 20, 20).relu()
    with torch.no_grad():
        exact = convolution.double()(x.double())
        found = WinogradConv(convolution.float())(x)
    assert float((found - exact).abs().max() / exact.std()) < 5e-5


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({"padding": 1}, True),
        ({"padding": 4, "dilation": 4}, True),
        ({"padding": 1, "stride": 2}, False),
        ({"padding": 2}, False),
        ({"padding": 1, "groups": 2}, False),
        ({"padding": 1, "padding_mode": "reflect"}, False),
    ],
)
def test_only_what_it_computes_is_taken(settings: dict[str, Any], taken: bool) -> None:
    assert takes_winograd(nn.Conv2d(WIDE, WIDE, 3, **settings)) is taken


def test_wide_convolutions_alone_are_replaced() -> None:
    wide, narrow, small = nn.Conv2d(WIDE, WIDE, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(WIDE, WIDE, 1)
    module = nn.Sequential(nn.Sequential(wide, nn.ReLU()), narrow, small)
    use_winograd(module)
    first, *others = module
    assert isinstance(first[0], WinogradConv)
    assert others == [narrow, small]
