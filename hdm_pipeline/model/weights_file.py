"""The weights file that a pipeline names: where it lies, and its hash. Loads no network."""

from __future__ import annotations

from pathlib import Path

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import WeightsError
from hdm_pipeline.hashing import file_hash

_WEIGHTS = Path(__file__).parent.parent / "weights"


def weights_path(name: str) -> Path:
    """The file behind `model.weights`.

    Raises:
        WeightsError: there is none.
    """
    path = _WEIGHTS / f"{name.removeprefix('builtin:')}.safetensors" if name.startswith("builtin:") else Path(name)
    if not path.is_file():
        builtin = ", ".join(f"builtin:{p.stem}" for p in sorted(_WEIGHTS.glob("*.safetensors"))) or "none"
        raise WeightsError("weights not found", where=name, remedy=f"give a file, or one that is shipped: {builtin}")
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
