"""The base learner (BAM) of the published HDMNet, and how its answer is blended with the matching.

See docs/hdmnet.md, section 5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GRAM_EPS = 1e-7


class BaseLearner(nn.Sequential):
    """Classifies every position into the background and the base classes of training; frozen."""

    def __init__(self, channels: int, classes: int) -> None:
        # Not in place: f5 is still needed by the prior. The indices are those of the checkpoints.
        super().__init__(nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(channels, 1 + classes, 1))


def shot_weights(shots: int, hidden: int) -> nn.Module:
    """`kshot_rw`: sorted distances [1, n, 1, 1] to the logits of the shots' shares.

    With `hidden` 0 it is one linear map that starts as a mean. The authors never train it (it is in no optimizer
    group), so a checkpoint holds its initial value.
    """
    if hidden == 0:
        layer = nn.Conv2d(shots, shots, 1, bias=False)
        nn.init.constant_(layer.weight, 1.0 / shots)
        return layer
    return nn.Sequential(nn.Conv2d(shots, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, shots, 1))


def gram_matrix(features: Tensor) -> Tensor:
    """Cosine similarity of channels: [B, C, h, w] to [B, C, C]."""
    flat = features.flatten(2)
    norm = flat.norm(dim=2)
    gram: Tensor = flat @ flat.transpose(1, 2) / (norm[:, :, None] * norm[:, None, :] + _GRAM_EPS)
    return gram


def scene_distance(query: Tensor, supports: Tensor) -> Tensor:
    """How differently a query and each support look in low-level texture.

    Args:
        query: [B, C, C] Gram matrices.
        supports: [K, C, C] Gram matrices of the masked supports.

    Returns:
        [B, K], Frobenius norm of the difference divided by C.
    """
    distances = [torch.linalg.matrix_norm(query - support) for support in supports]
    return torch.stack(distances, 1) / query.shape[-1]


def estimate(distances: Tensor, reweight: nn.Module | None) -> Tensor:
    """One distance for all shots: [B, K] to [B].

    The authors sort the distances before `kshot_rw` and mean to sort its answer back, but the index they use for that
    is always 0..n-1: the shares stay in sorted order while they multiply the unsorted distances. The order of the
    supports therefore matters. Without `reweight` (one shot) it is the plain mean.
    """
    if reweight is None:
        return distances.mean(1)
    ordered = distances.sort(1).values[:, :, None, None]
    shares = reweight(ordered)[:, :, 0, 0].softmax(1)
    total: Tensor = (shares * distances).sum(1)
    return total


def blend(meta: Tensor, base_map: Tensor, est: Tensor, gram_merge: nn.Module, cls_merge: nn.Module) -> Tensor:
    """Blend the matching's answer with the base learner's.

    Args:
        meta: [B, 2, h, w] meta logits.
        base_map: [B, 1, h, w] probability that a position shows a base class.
        est: [B] distance of query and supports.
        gram_merge: 1x1 convolution from (probability, est), applied to both meta maps.
        cls_merge: 1x1 convolution from (background, base_map).

    Returns:
        [B, 2, h, w]: background and foreground, blended probabilities that do not sum to 1.
    """
    probability = meta.softmax(1)
    distance = est.view(-1, 1, 1, 1).expand_as(base_map)
    background = gram_merge(torch.cat([probability[:, :1], distance], 1))
    foreground = gram_merge(torch.cat([probability[:, 1:], distance], 1))
    return torch.cat([cls_merge(torch.cat([background, base_map], 1)), foreground], 1)


def to_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, h, w] resized to the image, bilinear with aligned corners, as every output of the network."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)
