"""What preparing the examples gave, kept on disk: another archive with the same examples needs no preparation.

One file for each preparation, named by a hash of all that decides it: the values and labels of the examples, not their
paths; the weights; the settings; the releases of this program and of PyTorch. It appears whole or not at all, so that
processes may share a folder. A file that cannot be read counts as none. The number of threads, which moves last bits,
is not in the hash: who prepares first decides.

Kept is what rests on the weights as they come, in float32, in the user's own folder (`HDM_CACHE`, else
``~/.cache/hdm_pipeline``; ``HDM_CACHE=off`` keeps nothing). Nothing is kept of examples that may show a patient.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline import __version__
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.weights_file import BUILTIN, weights_path
from hdm_pipeline.support.examples import SupportExample

VERSION = 2
"""Part of every key: raised whenever the same examples would be prepared otherwise."""

CACHE_VARIABLE = "HDM_CACHE"

_MOST_FILES = 200
_LEFT_AFTER = 3600.0
"""Seconds after which nobody is still writing a file: it takes less than one."""

_META = "hdm_preparation"
_FOLDER = "prepared"

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class KeptPreparation:
    """What is kept of a preparation, by class in the order of the pipeline file.

    Attributes:
        banks: the support banks.
        reductions: how much smaller the network sees the pixels.
        temperatures: that scores are calibrated with.
        area_scores: between which probabilities the area lies.
        reports: for `run.json`, less the warnings of the examples.
        scores: of each example, what the others find of it: [y, x] uint8, or None.
        ious: of these scores against the labels.
    """

    banks: tuple[SupportBank, ...]
    reductions: tuple[float, ...]
    temperatures: tuple[float, ...]
    area_scores: tuple[tuple[float, float], ...]
    reports: tuple[dict[str, Any], ...]
    scores: tuple[tuple[npt.NDArray[np.uint8] | None, ...], ...]
    ious: tuple[tuple[float | None, ...], ...]


class Shelf:
    """The kept preparation of one pipeline, which may be there or not.

    Args:
        path: of its file; None where it may not be kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @classmethod
    def of(cls, config: PipelineConfig, classes: Sequence[Sequence[SupportExample]], *, private: bool) -> Shelf:
        """Where the preparation of these examples is, or would be kept.

        Args:
            config: the pipeline.
            classes: the examples of each class.
            private: they may show a patient.
        """
        folder = cache_folder()
        plain = config.model.backbone is None and (config.model.precision, config.model.runtime) == ("fp32", "torch")
        # A network that tells none is refused each time, which it takes the network to know.
        plain = plain and "uncertainty" not in config.output.product_options()
        if folder is None or private or not plain:
            return cls(None)
        return cls(folder / f"{_key(config, classes)[:40]}.safetensors")

    def get(self) -> KeptPreparation | None:
        """What is kept; None where nothing is, or nothing that can be read."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            found = _read(self._path)
            os.utime(self._path)  # what is used stays longest
        except Exception as error:  # noqa: BLE001 (whatever is wrong with it, it is prepared anew)
            log.warning("a kept preparation cannot be read and is made anew: %s", error)
            return None
        return found

    def put(self, kept: KeptPreparation) -> None:
        """Keep a preparation, and drop those that were not used for longest; where that fails it is not kept."""
        if self._path is None:
            return
        from safetensors import SafetensorError

        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(aside, kept)
            now = aside.stat().st_mtime  # by the clock of the disk, which machines may share
            os.replace(aside, self._path)
            for left in self._path.parent.glob(".*.tmp"):  # of processes that were killed
                with suppress(OSError):  # gone, or another user's
                    if now - left.stat().st_mtime > _LEFT_AFTER:
                        left.unlink()
            files = sorted(self._path.parent.glob("*.safetensors"), key=lambda one: one.stat().st_mtime_ns)
            for old in files[:-_MOST_FILES]:
                old.unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:  # a full or read-only home is no reason to fail
            log.info("the preparation of the examples is not kept: %s", error)
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def cache_folder() -> Path | None:
    """The folder of kept preparations; None where the user wants none."""
    given = os.environ.get(CACHE_VARIABLE)
    if given is not None and given in ("", "off"):
        return None
    if given:
        return Path(given) / _FOLDER
    try:
        own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a container's user has no home
        return None
    return own / "hdm_pipeline" / _FOLDER


def _key(config: PipelineConfig, classes: Sequence[Sequence[SupportExample]]) -> str:
    """SHA-256 (hex) of all that decides a preparation."""
    source = config.model.source
    settings = {
        "versions": [VERSION, __version__, version("torch")],
        "weights": source if source.startswith(BUILTIN) else "",
        "sha256": file_hash(weights_path(source)),
        "model": config.model.model_dump(mode="json", exclude={"weights", "sha256"}),
        "support": config.support.model_dump(mode="json", exclude={"classes"}),
        "classes": [c.name for c in config.support.classes],
        "tile": config.tiling.size,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for of_class in classes:
        for one in of_class:
            for array in (one.pixels, one.label):
                digest.update(f"{one.name}:{array.dtype.str}:{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(b"|")
    return digest.hexdigest()


def _write(path: Path, kept: KeptPreparation) -> None:
    from safetensors.numpy import save_file

    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, (bank, scores) in enumerate(zip(kept.banks, kept.scores, strict=True)):
        arrays |= {f"bank {number} {name}": np.ascontiguousarray(array) for name, array in bank.arrays.items()}
        arrays |= {
            f"score {number} {place}": np.ascontiguousarray(one) for place, one in enumerate(scores) if one is not None
        }
    told = {
        "banks": [[b.architecture, b.weights_hash, b.class_name, b.shots] for b in kept.banks],
        "reductions": kept.reductions,
        "temperatures": kept.temperatures,
        "area_scores": kept.area_scores,
        "reports": kept.reports,
        "ious": kept.ious,
    }
    save_file(arrays, path, metadata={_META: json.dumps(told)})


def _read(path: Path) -> KeptPreparation:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        told = json.loads(file.metadata()[_META])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    banks = []
    for number, (architecture, weights_hash, name, shots) in enumerate(told["banks"]):
        prefix = f"bank {number} "
        of_bank = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        banks.append(SupportBank(architecture, weights_hash, name, shots, of_bank))
    return KeptPreparation(
        banks=tuple(banks),
        reductions=tuple(told["reductions"]),
        temperatures=tuple(told["temperatures"]),
        area_scores=tuple((low, high) for low, high in told["area_scores"]),
        reports=tuple(told["reports"]),
        scores=tuple(
            tuple(arrays.get(f"score {number} {i}") for i in range(len(ious)))
            for number, ious in enumerate(told["ious"])
        ),
        ious=tuple(tuple(ious) for ious in told["ious"]),
    )
