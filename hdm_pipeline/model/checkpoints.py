"""Weights on disk: written as safetensors, read back into the network that they belong to.

A weights file of ours is one safetensors file whose metadata name the architecture and its configuration, so that a
path is enough to load it. The authors' `*.pth` checkpoints are read too (see `official`). Nothing here unpickles
code: safetensors holds plain tensors, and `.pth` is read with ``weights_only=True``.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hdm_pipeline.errors import PluginLoadError, WeightsError
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.weights_file import FolderSource, weights_path
from hdm_pipeline.plugin.registry import MODELS, available, load

FORMAT = "hdm-network/1"
_RESERVED = ("hdm_format", "architecture", "config", "fingerprint")
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class WeightsHeader:
    """What the metadata of a weights file say.

    Attributes:
        architecture: name under the entry points `hdm_pipeline.models`.
        config: constructor arguments of the network.
        fingerprint: `FewShotNetwork.fingerprint` at the time of saving.
        info: free notes given to `save_weights`: licence, training recipe, source.
    """

    architecture: str
    config: dict[str, Any]
    fingerprint: str
    info: dict[str, str]


def save_weights(
    network: FewShotNetwork, path: Path, *, info: Mapping[str, str] | None = None, half: bool = False
) -> str:
    """Write architecture, configuration and every weight to one safetensors file; returns the fingerprint.

    The file appears under its name complete or not at all.

    Args:
        network: any network of the family, on any device.
        path: the file to write, by custom ``*.safetensors``; replaced if it exists.
        info: notes kept in the metadata (``licence``, ``recipe``, ``source``).
        half: store float16, half the size. The network's own weights are rounded to it first, so that the fingerprint
            is that of the network which comes back (in float32).

    Raises:
        WeightsError: the configuration does not survive JSON, a note uses a reserved name, or the file cannot be
            written.
    """
    config = json.dumps(network.config, sort_keys=True)
    if json.loads(config) != network.config:
        raise WeightsError(
            "the network's configuration changes when it is written as JSON",
            where=network.architecture,
            remedy="use only numbers, strings, booleans, lists and None in `config`",
        )
    notes = dict(info or {})
    if taken := sorted(set(notes) & set(_RESERVED)):
        raise WeightsError(f"notes use reserved names: {', '.join(taken)}", where=str(path), remedy="rename them")
    if half:
        with torch.no_grad():
            for tensor in network.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(tensor.half().float())
    fingerprint = network.fingerprint()
    metadata = {
        "hdm_format": FORMAT,
        "architecture": network.architecture,
        "config": config,
        "fingerprint": fingerprint,
        **notes,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    write_tensors(path, tensors, metadata)
    return fingerprint


def load_network(source: str | Path, *, pin: str | None = None) -> FewShotNetwork:
    """Rebuild a network from its weights: in eval mode, on the CPU, in float32.

    Args:
        source: ``builtin:NAME`` (weights shipped with the package), a ``*.safetensors`` file written by
            `save_weights`, a ``*.pth`` checkpoint as the authors of HDMNet release them (docs/hdmnet.md, section 6), or
            ``transformers:FOLDER`` (`weights_file.FolderSource`).
        pin: refuse anything but this: 64 hex digits, either the SHA-256 of the file (what ``sha256sum`` prints,
            checked before the file is parsed) or the fingerprint of the loaded network (`save_weights` returns it).

    Raises:
        WeightsError: the file is missing, damaged, of unknown architecture, does not fit its architecture (the
            message names missing and unexpected keys), is not the pinned one, or holds weights that are not finite.
    """
    folder = FolderSource.parse(source)
    if folder is not None:
        return _load_folder(folder, pin)
    path = weights_path(source)
    pin = None if pin is None else _checked_pin(pin, str(source))
    digest = "" if pin is None else file_hash(path)
    network = _load_official(path) if path.suffix in (".pth", ".pt") else _load_safetensors(path)
    if pin is not None and digest != pin and network.fingerprint() != pin:
        raise WeightsError(
            f"weights are not the pinned ones: neither the file's SHA-256 ({digest}) nor the "
            f"fingerprint ({network.fingerprint()}) is {pin}",
            where=str(source),
            remedy="fetch the pinned file again, or change the pin if the new weights are meant",
        )
    _require_finite(network, str(source))
    return network.eval()


def read_header(path: Path) -> WeightsHeader:
    """The metadata of a file written by `save_weights`, without its tensors.

    Raises:
        WeightsError: the file is missing, damaged or holds no network.
    """
    with _opened(path) as file:
        metadata: dict[str, str] = dict(file.metadata() or {})
    return _header(metadata, path)


def network_class(architecture: str) -> type[FewShotNetwork]:
    """The class that the entry points `hdm_pipeline.models` name for an architecture, imported now.

    Raises:
        WeightsError: no installed package provides that architecture.
        PluginLoadError: the entry point cannot be imported, or names something else than a `FewShotNetwork`.
    """
    known = available(MODELS)
    if architecture not in known:
        raise WeightsError(
            f"unknown architecture {architecture!r}",
            where=f"entry points {MODELS}",
            remedy=f"install the package that provides it; known: {', '.join(known) or 'none'}",
        )
    cls = load(MODELS, architecture)
    if not (isinstance(cls, type) and issubclass(cls, FewShotNetwork)):
        raise PluginLoadError(
            f"model {architecture!r} is not a FewShotNetwork",
            where=f"entry point {known[architecture].value}",
            remedy="derive the class from hdm_pipeline.model.network.FewShotNetwork",
        )
    return cls


def build_network(architecture: str, config: Mapping[str, Any], *, where: str) -> FewShotNetwork:
    """Construct a network without disturbing the caller's random numbers; `where` is named in errors.

    Raises:
        WeightsError: the architecture is unknown or refuses the configuration.
    """
    cls = network_class(architecture)
    try:
        with torch.random.fork_rng(devices=[]):
            return cls(**config)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"architecture {architecture!r} refuses the configuration of the file: {error}",
            where=where,
            remedy="use weights written for this version of the architecture",
        ) from error


def reconfigure(network: FewShotNetwork, **changes: Any) -> FewShotNetwork:
    """The same weights under a changed configuration, such as ``base_learner=False``; the network does not change.

    Raises:
        WeightsError: the architecture does not know the setting, or the weights do not fit the change.
    """
    if unknown := sorted(changes.keys() - network.config.keys()):
        raise WeightsError(
            f"architecture {network.architecture!r} has no setting {', '.join(unknown)}",
            where="model",
            remedy=f"its settings are: {', '.join(network.config)}",
        )
    if all(network.config[name] == value for name, value in changes.items()):
        return network
    changed = build_network(network.architecture, {**network.config, **changes}, where="model")
    load_strictly(changed, network.state_dict(), where="model")
    return changed.train(network.training)


def load_strictly(network: FewShotNetwork, state: Mapping[str, Tensor], *, where: str) -> None:
    """Copy `state` into the network; every key must be used, every parameter filled, every shape equal.

    Raises:
        WeightsError: names what is missing, what is unexpected and which shapes differ.
    """
    own = network.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in sorted(own.keys() & state.keys())
        if state[name].shape != own[name].shape
    ]
    complaints = [
        f"{len(names)} {kind}: {_some(names)}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if complaints:
        raise WeightsError(
            f"weights do not fit {network.architecture!r} {network.config}; keys " + "; ".join(complaints),
            where=where,
            remedy="use weights of this architecture and configuration; `hdm-pipeline weights inspect` shows a file's",
        )
    network.load_state_dict(state, strict=True)


def _load_safetensors(path: Path) -> FewShotNetwork:
    with _opened(path) as file:
        header = _header(dict(file.metadata() or {}), path)
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    network = build_network(header.architecture, header.config, where=str(path))
    load_strictly(network, state, where=str(path))
    return network


def _require_finite(network: FewShotNetwork, where: str) -> None:
    """Refuse weights of which any is NaN or infinite: every score would be, or worse, only some.

    Raises:
        WeightsError: names the tensors.
    """
    broken = [
        name
        for name, tensor in network.state_dict().items()
        # No sum of finite float32 overflows in float64, and what is not finite stays so: one pass, without a mask.
        if tensor.is_floating_point() and not math.isfinite(float(tensor.sum(dtype=torch.float64)))
    ]
    if broken:
        raise WeightsError(
            f"weights hold NaN or infinity; {len(broken)} tensors: {_some(broken)}",
            where=where,
            remedy="fetch the file again; if you trained these weights, training diverged: use an earlier checkpoint",
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file; every weights file is opened and parsed here."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"weights cannot be read: {error}", where=str(path), remedy="check the path, or fetch the file again"
        ) from error


def _header(metadata: dict[str, str], path: Path) -> WeightsHeader:
    if metadata.get("hdm_format") != FORMAT:
        raise WeightsError(
            f"file holds no network of the format {FORMAT!r}",
            where=str(path),
            remedy="use a file written by `hdm-pipeline weights convert` or by training",
        )
    try:
        return WeightsHeader(
            architecture=metadata["architecture"],
            config=json.loads(metadata["config"]),
            fingerprint=metadata["fingerprint"],
            info={key: value for key, value in metadata.items() if key not in _RESERVED},
        )
    except (KeyError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"metadata of the weights are damaged: {error!r}", where=str(path), remedy="fetch the file again"
        ) from error


def _load_folder(source: FolderSource, pin: str | None) -> FewShotNetwork:
    source.files()  # says what is missing before a library is loaded
    network: FewShotNetwork = cast(Any, network_class("foundation")).load(source.folder, source.weights)
    if pin is not None and network.fingerprint() != _checked_pin(pin, str(source.folder)):
        raise WeightsError(
            f"the backbone has the fingerprint {network.fingerprint()}, not the pinned one",
            where=str(source.folder),
            remedy="fetch the pinned folder again, or change the pin if the new one is meant",
        )
    _require_finite(network, str(source.folder))
    return network.eval()


def _load_official(path: Path) -> FewShotNetwork:
    from hdm_pipeline.model.hdmnet.official import read_official

    config, state = read_official(path)
    network = build_network("hdmnet", config, where=str(path))
    load_strictly(network, state, where=str(path))
    return network


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file that appears under its name complete or not at all.

    Raises:
        WeightsError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        try:
            save_file(tensors, temporary, metadata=metadata)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"weights cannot be written: {error}", where=str(path), remedy="check the directory and free space"
        ) from error


def _checked_pin(pin: str, where: str) -> str:
    text = pin.strip().lower().removeprefix("sha256:") if isinstance(pin, str) else ""
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise WeightsError(
            f"the pin {pin!r} is not a SHA-256", where=where, remedy="give 64 hex digits (file SHA-256 or fingerprint)"
        )
    return text


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - _NAMES_SHOWN
    return ", ".join(listed[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
