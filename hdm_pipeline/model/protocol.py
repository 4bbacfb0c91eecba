"""How the authors train and score the published network (docs/hdmnet.md, sections 7 and 8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from hdm_pipeline.model.hdmnet.network import HDMNet

_HEAD_GROUPS = ("down_supp", "down_query", "supp_merge", "query_merge", "gram_merge", "cls_merge")
_HEAD_GAIN = 10.0


def optimizer_groups(network: HDMNet, base_lr: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW(betas=(0.9, 0.999), weight_decay=0.01): transformer at base_lr, heads at ten times.

    `kshot_rw` is in no group: the authors never train it.
    """
    heads: list[nn.Module] = [getattr(network, name) for name in _HEAD_GROUPS]
    groups: list[dict[str, Any]] = [{"params": list(network.mix_transformer.parameters()), "lr": base_lr}]
    return groups + [{"params": list(head.parameters()), "lr": base_lr * _HEAD_GAIN} for head in heads]


def poly_lr(base_lr: float, iteration: int, total: int, group: int) -> float:
    """Learning rate of a group at an iteration counted from 1: poly decay of power 0.9, groups after the first x 10."""
    lr: float = base_lr * (1 - iteration / total) ** 0.9
    return lr if group == 0 else lr * _HEAD_GAIN


def intersection_union(
    prediction: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], *, classes: int, ignore: int = 255
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pixels of intersection, union and target for each class 0..classes-1; ignored target pixels count nowhere."""
    counted = target != ignore
    predicted, wanted = prediction[counted], target[counted]
    agreed = np.bincount(predicted[predicted == wanted], minlength=classes)[:classes]
    of_prediction = np.bincount(predicted, minlength=classes)[:classes]
    of_target = np.bincount(wanted, minlength=classes)[:classes]
    return agreed, of_prediction + of_target - agreed, of_target
