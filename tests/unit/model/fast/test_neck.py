"""The neck computed on bins equals the neck computed on resized maps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hdm_pipeline.model.fast.extractors import fold_batch_norms
from hdm_pipeline.model.fast.neck import SplitNeck, split_neck
from hdm_pipeline.model.hdmnet.backbone import FeatureExtractor, PyramidPooling, build_neck


@pytest.fixture(scope="module")
def whole() -> FeatureExtractor:
    """Pooling and neck of 16 channels with batch norms that do something, folded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        extractor = FeatureExtractor([nn.Identity()] * 5, PyramidPooling(16), build_neck(16)).double()
        for module in extractor.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                nn.init.normal_(module.bias)
    return fold_batch_norms(extractor.eval()).requires_grad_(False)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(6, 23), st.integers(6, 23))
def test_split_equals_whole(whole: FeatureExtractor, batch: int, height: int, width: int) -> None:
    x = torch.randn(batch, 16, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(height))
    split = SplitNeck(whole.ppm, whole.neck[0]).double()
    torch.testing.assert_close(split(x), whole.neck(whole.ppm(x)), rtol=1e-9, atol=1e-9)


def test_an_extractor_is_split_in_place(whole: FeatureExtractor) -> None:
    extractor = FeatureExtractor([nn.Identity()] * 5, whole.ppm, whole.neck)
    assert split_neck(extractor) is extractor
    assert isinstance(extractor.ppm, SplitNeck)
    assert isinstance(extractor.neck, nn.Identity)
