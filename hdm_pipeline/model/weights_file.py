"""The weights file that a name stands for: where it lies, and its hash. Loads no network."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from hdm_pipeline.arguments import path_argument
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import WeightsError, broken_link
from hdm_pipeline.hashing import file_hash, stable_hash

BUILTIN = "builtin:"
TRANSFORMERS = "transformers:"
SEPARATOR = "::"
SHIPPED = Path(__file__).parent.parent / "weights"
"""Folder of the weights that come with the package: each node has its own."""

_MOST_HEADER = 8 << 20  # bytes of a safetensors header that are read
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def weights_path(source: str | Path) -> Path:
    """The file behind ``builtin:NAME`` (weights shipped with the package) or a path.

    Raises:
        WeightsError: there is no such file; for ``builtin:`` the remedy lists the names that exist.
    """
    text = str(source)
    if not text.startswith(BUILTIN):
        path = path_argument(source, "the weights", "weights")
        if not path.is_file():
            what = f"weights file is {link}" if (link := broken_link(path)) else "weights file does not exist"
            raise WeightsError(what, where=text, remedy=f"check the path, or use one of: {_shipped()}")
        return path
    name = text.removeprefix(BUILTIN)
    path = SHIPPED / f"{name}.safetensors"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise WeightsError(f"no built-in weights {name!r}", where=text, remedy=f"use one of: {_shipped()}")
    return path


@dataclass(frozen=True)
class FolderSource:
    """``transformers:FOLDER``, or ``transformers:FOLDER::WEIGHTS``: the backbone of a folder, and weights to add."""

    folder: Path
    weights: str | None

    @classmethod
    def parse(cls, source: str | Path) -> FolderSource | None:
        """None where a source names a weights file."""
        text = str(source)
        if not text.startswith(TRANSFORMERS):
            return None
        folder, plus, weights = text.removeprefix(TRANSFORMERS).partition(SEPARATOR)
        return cls(Path(folder), weights if plus else None)

    def files(self) -> list[Path]:
        """The files that the network depends on, the first of which is its configuration.

        Raises:
            WeightsError: there is no such folder, it lacks a configuration, or its weights are not safetensors.
        """
        where = str(self.folder)
        if not self.folder.is_dir():
            raise WeightsError(
                "folder of the backbone does not exist", where=where, remedy="give a folder written by save_pretrained"
            )
        if not (self.folder / "config.json").is_file():
            raise WeightsError(
                "folder of the backbone holds no config.json", where=where, remedy="write it by save_pretrained"
            )
        tensors = sorted(self.folder.glob("*.safetensors"))
        if not tensors:
            pickled = sorted(f.name for f in self.folder.iterdir() if f.suffix in (".bin", ".pt", ".pth", ".ckpt"))
            what = f"only pickled weights ({pickled[0]}), which may run code" if pickled else "no weights"
            raise WeightsError(
                f"folder of the backbone holds {what}",
                where=where,
                remedy="save it as safetensors: model.save_pretrained(folder)",
            )
        beside = [self.folder / name for name in ("preprocessor_config.json", "model.safetensors.index.json")]
        others = [] if self.weights is None else [weights_path(self.weights)]
        return [self.folder / "config.json", *(path for path in beside if path.is_file()), *tensors, *others]


def checked_source(source: str) -> str:
    """A source whose files are there; ``builtin:`` names become paths.

    Raises:
        WeightsError: a file or the folder is missing.
    """
    folder = FolderSource.parse(source)
    if folder is None:
        return str(weights_path(source))
    folder.files()
    return source


def architecture(source: str) -> str | None:
    """The architecture that a source names, as far as its files tell without loading a network; else None.

    Raises:
        WeightsError: the weights file is missing.
    """
    if FolderSource.parse(source) is not None:
        return "foundation"
    path = weights_path(source)
    if path.suffix == ".pth":  # what the authors of HDMNet released
        return "hdmnet"
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, _MOST_HEADER)))
        name = header["__metadata__"]["architecture"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # whoever loads it says what is wrong
    return name if isinstance(name, str) else None


def weights_fingerprint(config: PipelineConfig) -> str:
    """SHA-256 of the weights file, checked against `model.sha256` where that is given.

    Raises:
        WeightsError: the file is missing or has another hash.
    """
    folder = FolderSource.parse(config.model.source)
    if folder is None:
        digest = file_hash(weights_path(config.model.weights))
    else:
        digest = stable_hash([file_hash(path) for path in folder.files()])
    if config.model.sha256 is not None and digest != config.model.sha256.lower():
        raise WeightsError(
            f"weights have SHA-256 {digest}, model.sha256 asks for {config.model.sha256}",
            where=config.model.source,
            remedy="use the pinned file, or pin the new hash after checking where the file comes from",
        )
    return digest


def builtin_names() -> list[str]:
    """``builtin:NAME`` of all weights that ship with the package."""
    return [f"{BUILTIN}{name}" for name in sorted(file.stem for file in SHIPPED.glob("*.safetensors"))]


def _shipped() -> str:
    return ", ".join(builtin_names()) or "none are shipped"
