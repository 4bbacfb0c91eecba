"""Small backbones of other families with random weights, saved as `transformers` saves them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

FAMILIES = ("dinov2", "convnext", "swin")


def save_backbone(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a model of a few ten thousand weights, with normalization constants of its own; returns the folder."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if family == "dinov2":
            config = transformers.Dinov2Config(
                hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=224, patch_size=14
            )
            model = transformers.Dinov2Model(config)
        elif family == "convnext":
            model = transformers.ConvNextModel(
                transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
            )
        else:
            config = transformers.SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=7)
            model = transformers.SwinModel(config)
    model.save_pretrained(folder)
    constants = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3]}
    (folder / "preprocessor_config.json").write_text(json.dumps(constants))
    return folder
