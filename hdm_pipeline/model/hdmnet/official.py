"""The checkpoint file that the authors of HDMNet release (docs/hdmnet.md, section 6).

A dict with `epoch`, `state_dict` and `optimizer`; files from several GPUs carry ``module.`` before every key. Backbone,
number of shots and data set are not stored: they follow from the keys and shapes.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hdm_pipeline.errors import WeightsError

_FILE_KEYS = frozenset({"epoch", "state_dict", "optimizer"})
_PREFIX = "module."
_BASE_HEAD = "base_learnear.2.weight"
_RESNET_BY_LAYER3 = {6: "resnet50", 23: "resnet101", 36: "resnet152"}
_REMEDY = "give a checkpoint saved by the authors' train.py (train_epoch_*.pth, train5_epoch_*.pth, epoch_*.pth)"


def read_official(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a released checkpoint without running code from it.

    Args:
        path: the ``*.pth`` file.

    Returns:
        The constructor arguments of `HDMNet`, and the state dict with the official keys (prefix removed).

    Raises:
        WeightsError: the file is missing, damaged, holds pickled code, or is not a checkpoint of HDMNet; missing and
            unexpected keys of the file are named. The keys inside `state_dict` are checked when they are loaded.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"checkpoint cannot be read as plain tensors ({type(error).__name__}): it is damaged or holds pickled code",
            where=str(path),
            remedy="fetch the file again; code in a checkpoint is never run",
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"checkpoint is a {type(content).__name__}, not a dict", where=str(path), remedy=_REMEDY)
    missing, unexpected = sorted(_FILE_KEYS - content.keys()), sorted(map(str, content.keys() - _FILE_KEYS))
    if missing or unexpected:
        raise WeightsError(
            f"not an HDMNet checkpoint: missing {', '.join(missing) or 'nothing'}; "
            f"unexpected {_some(unexpected) or 'nothing'}",
            where=str(path),
            remedy=_REMEDY,
        )
    state = _plain_state(content["state_dict"], path)
    return infer_config(state, where=str(path)), state


def infer_config(state: Mapping[str, Tensor], *, where: str) -> dict[str, Any]:
    """The constructor arguments of `HDMNet` that an official state dict was made with.

    Args:
        state: official keys without prefix.
        where: named in errors.

    Raises:
        WeightsError: a key that the decision needs is missing, or the depth is unknown.
    """
    if _BASE_HEAD not in state or "layer0.0.weight" not in state:
        absent = [key for key in ("layer0.0.weight", _BASE_HEAD) if key not in state]
        raise WeightsError(
            f"not an HDMNet checkpoint: missing {', '.join(absent)}; has {_some(sorted(state)) or 'no key'}",
            where=where,
            remedy=_REMEDY,
        )
    config: dict[str, Any] = {"backbone": _backbone(state, where), "base_classes": state[_BASE_HEAD].shape[0] - 1}
    if "kshot_rw.0.weight" in state:
        config |= {"shot": state["kshot_rw.0.weight"].shape[1], "kshot_dim": state["kshot_rw.0.weight"].shape[0]}
    elif "kshot_rw.weight" in state:
        config |= {"shot": state["kshot_rw.weight"].shape[1], "kshot_dim": 0}
    else:
        config |= {"shot": 1}
    return config


def _backbone(state: Mapping[str, Tensor], where: str) -> str:
    if "layer0.0.bias" in state:
        return "vgg16"
    blocks = len({key.split(".")[1] for key in state if key.startswith("layer3.")})
    if blocks not in _RESNET_BY_LAYER3:
        raise WeightsError(
            f"no known ResNet has {blocks} blocks in layer3 (known: {sorted(_RESNET_BY_LAYER3)})",
            where=where,
            remedy=_REMEDY,
        )
    return _RESNET_BY_LAYER3[blocks]


def _plain_state(state: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise WeightsError("`state_dict` is not a dict of tensors", where=str(path), remedy=_REMEDY)
    if state and all(key.startswith(_PREFIX) for key in state):
        return {key.removeprefix(_PREFIX): value for key, value in state.items()}
    return dict(state)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
