"""A folder of golden vectors: its recipe, its keys, its cases."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from hdm_pipeline.model.hdmnet.network import HDMNet

BASE_CLASSES = {"coco": 60, "pascal": 15}


@dataclass(frozen=True)
class Check:
    """One compared quantity: the largest error found and the error allowed."""

    case: str
    quantity: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """NaN fails."""
        return self.error <= self.tolerance


class GoldenFolder:
    """`recipe.py`, `keys.json` and `*.npz` of one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = _import(path / "recipe.py")
        self.keys: dict[str, Any] = json.loads((path / "keys.json").read_text())

    @cached_property
    def cases(self) -> list[str]:
        """Cases of the recipe that have a file here."""
        return sorted(file.stem for file in self.path.glob("*.npz") if file.stem in self.recipe.CASES)

    @cached_property
    def training(self) -> dict[str, Any]:
        """`train.json`, empty if there is none."""
        path = self.path / "train.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def configuration(self, case: str) -> str:
        """The entry of keys.json that a case was made with."""
        kwargs = self.recipe.CASES[case][0]
        for name, entry in self.keys.items():
            if entry["kwargs"] == kwargs:
                return str(name)
        named = [name for name in self.keys if case.startswith(name)]
        if not named:
            raise KeyError(f"keys.json has no configuration {kwargs} for case {case}")
        return str(max(named, key=len))

    def network(self, configuration: str) -> HDMNet:
        """The network of a configuration with the recipe's weights, in eval mode."""
        network = build(self.keys[configuration]["kwargs"])
        state = self.recipe.state_dict(configuration, str(self.path))
        network.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in state.items()})
        return network.eval()

    def load(self, case: str) -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray]]:
        """Inputs of a case as tensors, checked against their checksums, and its golden arrays."""
        inputs, golden = self.recipe.load_case(case, str(self.path))
        return {key: torch.from_numpy(value) for key, value in inputs.items()}, golden


def build(kwargs: Mapping[str, Any]) -> HDMNet:
    """The network that the recipe's arguments name, with random weights."""
    backbone = "vgg16" if kwargs["vgg"] else f"resnet{kwargs['layers']}"
    classes = BASE_CLASSES[kwargs["data_set"]]
    return HDMNet(backbone, shot=kwargs["shot"], base_classes=classes, kshot_dim=kwargs.get("kshot_trans_dim", 2))


def largest_error(ours: Any, golden: Any) -> float:
    """Largest absolute difference; infinite if the shapes differ."""
    ours, golden = np.asarray(ours, dtype=np.float64), np.asarray(golden, dtype=np.float64)
    return float(np.abs(ours - golden).max()) if ours.shape == golden.shape else float("inf")


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"golden_recipe_{abs(hash(path))}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
