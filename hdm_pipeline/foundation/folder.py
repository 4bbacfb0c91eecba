"""A backbone that Hugging Face `transformers` wrote to a folder: no download, no pickle, no code of others."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hdm_pipeline.errors import WeightsError
from hdm_pipeline.extras import install

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_COARSEST = 32
"""Stride of the coarsest feature maps that are used."""

_PROBE = 160
"""About the side of the image by which a backbone is asked for its strides."""

_PRIVATE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures")
"""What a configuration says of its file, not of its network."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen backbone with what is needed to use it.

    Attributes:
        network: gives `feature_maps`, one a stage.
        config: its configuration, from which the same network can be built.
        mean, std: of the pixels in 0..1 that it was trained on, by channel.
        channels: of the stages that are used, in their order.
        strides: of these stages, in pixels.
    """

    network: nn.Module
    config: dict[str, Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: tuple[int, ...]
    strides: tuple[int, ...]


def read_folder(folder: Path) -> Backbone:
    """The backbone of a folder written by `save_pretrained`.

    Raises:
        WeightsError: the extra is not installed, the configuration or the weights cannot be read, the family has no
            feature maps, or weights are missing from the file.
    """
    transformers = _transformers(folder)
    try:
        stored = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        config = _plain({**stored.to_dict(), "out_indices": _stages(stored), "out_features": None})
        # AutoBackbone.from_pretrained would ask the hub about any name, so it only names the class.
        with torch.device("meta"):
            family = type(transformers.AutoBackbone.from_config(_config(config)))
        network, report = family.from_pretrained(
            os.fspath(folder),
            config=_config(config),
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError, SafetensorError) as error:
        raise _no_backbone(error, folder) from error
    # A norm that the file lacks leaves its input alone. Anything else that is missing would be random numbers.
    missing = sorted(name for name in report["missing_keys"] if "norm" not in name)
    if missing or report["mismatched_keys"]:
        raise WeightsError(
            f"the folder lacks weights of its backbone: {', '.join(missing[:3]) or 'shapes differ'}",
            where=str(folder),
            remedy="save the whole model by save_pretrained",
        )
    mean, std = _normalization(folder)
    channels, strides = _probed(network, config, str(folder))
    return Backbone(network.eval().requires_grad_(False), config, mean, std, channels, strides)


def build(config: Mapping[str, Any], where: str) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """An untrained backbone of a configuration, with the channels and strides of its stages.

    Raises:
        WeightsError: the extra is not installed, or the configuration cannot be used.
    """
    transformers = _transformers(Path(where))
    try:
        network = transformers.AutoBackbone.from_config(_config(config))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise _no_backbone(error, Path(where)) from error
    channels, strides = _probed(network, config, where)
    return network.eval().requires_grad_(False), channels, strides


def _transformers(folder: Path) -> Any:
    """The library, told never to fetch anything."""
    if find_spec("transformers") is None:
        raise WeightsError(
            "a backbone of another family needs the package transformers, which is not installed",
            where=str(folder),
            remedy=install("foundation"),
        )
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    import transformers

    library: Any = transformers  # without types in part
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


def _config(config: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    settings = dict(config)
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as JSON gives it back, without what says only where it came from."""
    kept = {key: value for key, value in config.items() if key not in _PRIVATE}
    # Sorted, as a weights file keeps it: the fingerprint looks at the order too.
    found: dict[str, Any] = json.loads(json.dumps(kept, default=str, sort_keys=True))
    return found


def _stages(config: Any) -> list[int]:
    """Indices of the stages to use: all behind the stem; of a plain transformer, its middle and its last layer."""
    names = list(getattr(config, "stage_names", None) or [])
    if len(names) < 2:
        raise ValueError(f"model type {config.model_type!r} names no stages")
    last = len(names) - 1
    hierarchical = hasattr(config, "depths")
    return list(range(1, last + 1)) if hierarchical else sorted({max(1, last // 2), last})


def _probed(network: nn.Module, config: Mapping[str, Any], where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels of the stages, which the configuration says, and their strides, which an empty image shows."""
    patch = config.get("patch_size") or 1
    unit = int(patch if isinstance(patch, int) else max(patch)) * (1 if "depths" not in config else 8)
    side = unit * max(1, round(_PROBE / unit))
    try:
        with torch.no_grad():
            maps = feature_maps(network, torch.zeros(1, 3, side, side))
    except (ValueError, RuntimeError, IndexError) as error:
        raise WeightsError(
            f"the backbone does not take images of {side} pixels: {error}",
            where=where,
            remedy="use a family that takes images of any size, such as DINOv2, ConvNeXt or Swin",
        ) from error
    return tuple(m.shape[1] for m in maps), tuple(round(side / m.shape[-1]) for m in maps)


def feature_maps(network: nn.Module, images: Tensor) -> Sequence[Tensor]:
    """The maps [B, C, h, w] of the chosen stages for normalized images [B, 3, H, W]."""
    maps: Sequence[Tensor] = network(images).feature_maps
    return maps


def used(strides: Sequence[int]) -> list[int]:
    """Which stages are used: those at strides 8 to 32, or all where none lies there."""
    return [i for i, stride in enumerate(strides) if 8 <= stride <= _COARSEST] or list(range(len(strides)))


def _normalization(folder: Path) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation of the pixels that the backbone was trained on; those of ImageNet where the folder is mute."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return IMAGENET
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (
            tuple(float(value) for value in found.get(name) or default)
            for name, default in zip(("image_mean", "image_std"), IMAGENET, strict=True)
        )
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError("not three means and three positive deviations")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"image_mean and image_std cannot be read: {error}", where=str(path), remedy="give three numbers each"
        ) from error
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _no_backbone(error: Exception, folder: Path) -> WeightsError:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return WeightsError(
        f"no backbone with feature maps can be made of this folder: {line[:200]}",
        where=str(folder),
        remedy="give a folder written by save_pretrained, of a family that AutoBackbone knows (DINOv2, ConvNeXt, Swin)",
    )
