"""The frozen feature extractor of the published HDMNet: dilated ResNet or VGG-16, PSPNet neck.

See docs/hdmnet.md, section 2.

The names of the layers are those of the authors' checkpoints, so that their files load strictly. All features leave on
one grid, one eighth of the image for a ResNet and one sixteenth for VGG-16 (sides rounded up).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NECK_CHANNELS = 512
_POOLS = (1, 2, 3, 6)
_EXPANSION = 4


@dataclass(frozen=True)
class BackboneSpec:
    """What the rest of the network must know of a backbone.

    Attributes:
        f2, f3, f4: channels of the outputs of layers 2, 3 and 4.
        stride: image pixels for each grid cell.
        blocks: bottlenecks in layers 1 to 4; empty for VGG.
    """

    f2: int
    f3: int
    f4: int
    stride: int
    blocks: tuple[int, ...] = ()


BACKBONES = {
    "resnet50": BackboneSpec(512, 1024, 2048, 8, (3, 4, 6, 3)),
    "resnet101": BackboneSpec(512, 1024, 2048, 8, (3, 4, 23, 3)),
    "resnet152": BackboneSpec(512, 1024, 2048, 8, (3, 8, 36, 3)),
    "vgg16": BackboneSpec(256, 512, 512, 16),
}


class Features(NamedTuple):
    """Features of a batch of images, all on the grid [h, w] of `f3`.

    Attributes:
        f2: [B, 512, h, w] (VGG 256, resized from twice the grid).
        f3: [B, 1024, h, w] (VGG 512).
        f4: [B, 2048, h, w] (VGG 512).
        f5: [B, 512, h, w], output of the neck, not rectified.
    """

    f2: Tensor
    f3: Tensor
    f4: Tensor
    f5: Tensor

    def item(self, index: int) -> Features:
        """The features of one image, batch dimension kept."""
        return Features(*(level[index : index + 1] for level in self))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut; the stride sits in the 3x3, every 3x3 of a stage is dilated alike."""

    def __init__(self, channels: int, width: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        out = width * _EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, 4 * width, h / stride, w / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu_(self.bn1(self.conv1(x)))
        x = F.relu_(self.bn2(self.conv2(x)))
        return F.relu_(self.bn3(self.conv3(x)).add_(shortcut))


class PyramidPooling(nn.Module):
    """PSPNet's pooling: means over 1, 2, 3 and 6 bins a side, each 1x1-convolved, resized back and concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(bins),
                nn.Conv2d(channels, channels // len(_POOLS), 1, bias=False),
                nn.BatchNorm2d(channels // len(_POOLS)),
                nn.ReLU(),
            )
            for bins in _POOLS
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, 2 C, h, w]."""
        pooled = [
            F.interpolate(branch(x), x.shape[-2:], mode="bilinear", align_corners=True) for branch in self.features
        ]
        return torch.cat([x, *pooled], 1)


class FeatureExtractor(nn.Module):
    """Layers 0 to 4 and the neck as one module; shares the layers it is given."""

    def __init__(self, layers: Sequence[nn.Module], ppm: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.ppm = ppm
        self.neck = neck

    def forward(self, images: Tensor) -> Features:
        """[B, 3, H, W] normalized images to their `Features`."""
        x = self.layers[1](self.layers[0](images))
        f2 = self.layers[2](x)
        f3 = self.layers[3](f2)
        f4 = self.layers[4](f3)
        if f2.shape[-2:] != f3.shape[-2:]:
            f2 = F.interpolate(f2, f3.shape[-2:], mode="bilinear", align_corners=True)
        return Features(f2, f3, f4, self.neck(self.ppm(f4)))


def build_layers(name: str) -> list[nn.Module]:
    """Layers 0 to 4 of a backbone named in `BACKBONES`."""
    spec = BACKBONES[name]
    return _resnet_layers(spec.blocks) if spec.blocks else _vgg_layers()


def build_neck(channels: int) -> nn.Sequential:
    """3x3 convolution and BN that turn the pooled pyramid (2 * `channels`) into f5; no activation."""
    return nn.Sequential(
        nn.Conv2d(2 * channels, NECK_CHANNELS, 3, padding=1, bias=False), nn.BatchNorm2d(NECK_CHANNELS)
    )


def _resnet_layers(blocks: tuple[int, ...]) -> list[nn.Module]:
    def unit(channels: int, out: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]

    stem = [*unit(3, 64, 2), *unit(64, 64, 1), *unit(64, 128, 1), nn.MaxPool2d(3, 2, 1)]
    layers: list[nn.Module] = [nn.Sequential(*stem)]
    channels = 128
    for count, width, stride, dilation in zip(blocks, (64, 128, 256, 512), (1, 2, 1, 1), (1, 1, 2, 4), strict=True):
        stage = []
        for index in range(count):
            stage.append(Bottleneck(channels, width, stride=stride if index == 0 else 1, dilation=dilation))
            channels = width * _EXPANSION
        layers.append(nn.Sequential(*stage))
    return layers


def _vgg_layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for depth, (count, width) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))):
        stage: list[nn.Module] = []
        for _ in range(count):
            stage += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        if depth < 4:
            stage.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        layers.append(nn.Sequential(*stage))
    return layers
