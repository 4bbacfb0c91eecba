"""The weights file that a name stands for: where it lies, and its hash. Loads no network."""

from __future__ import annotations

import re
from pathlib import Path

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import WeightsError
from hdm_pipeline.hashing import file_hash

BUILTIN = "builtin:"
_SHIPPED = Path(__file__).parent.parent / "weights"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def weights_path(source: str | Path) -> Path:
    """The file behind ``builtin:NAME`` (weights shipped with the package) or a path.

    Raises:
        WeightsError: there is no such file; for ``builtin:`` the remedy lists the names that exist.
    """
    text = str(source)
    if not text.startswith(BUILTIN):
        path = Path(source)
        if not path.is_file():
            raise WeightsError(
                "weights file does not exist", where=text, remedy=f"check the path, or use one of: {_shipped()}"
            )
        return path
    name = text.removeprefix(BUILTIN)
    path = _SHIPPED / f"{name}.safetensors"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise WeightsError(f"no built-in weights {name!r}", where=text, remedy=f"use one of: {_shipped()}")
    return path


def weights_fingerprint(config: PipelineConfig) -> str:
    """SHA-256 of the weights file, checked against `model.sha256` where that is given.

    Raises:
        WeightsError: the file is missing or has another hash.
    """
    digest = file_hash(weights_path(config.model.weights))
    if config.model.sha256 is not None and digest != config.model.sha256.lower():
        raise WeightsError(
            f"weights have SHA-256 {digest}, model.sha256 asks for {config.model.sha256}",
            where=config.model.weights,
            remedy="use the pinned file, or pin the new hash after checking where the file comes from",
        )
    return digest


def _shipped() -> str:
    names = sorted(file.stem for file in _SHIPPED.glob("*.safetensors"))
    return ", ".join(f"{BUILTIN}{name}" for name in names) or "none are shipped"
