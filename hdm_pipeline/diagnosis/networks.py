"""PyTorch, the GPU, and the weights that ship with the package. Loads torch: looked at in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hdm_pipeline.diagnosis.finding import Finding, ok, problem, reason, warning
from hdm_pipeline.errors import HdmError
from hdm_pipeline.extras import install


def network_findings() -> Iterator[Finding]:
    """PyTorch, GPUs and weights, in this order."""
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a half-installed library may raise anything
        yield problem("torch", f"cannot be loaded: {reason(error)}", "pip install torch (the CPU build is enough)")
        return
    yield ok("torch", f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    yield from _gpus()
    yield from _weights()


def _gpus() -> Iterator[Finding]:
    from torch import cuda, version

    if version.cuda is None:
        yield ok("gpu", "none used: this build of torch has no CUDA")
        return
    if not cuda.is_available():
        yield warning(
            "gpu",
            f"torch is built for CUDA {version.cuda}, but no GPU can be used",
            "check nvidia-smi and the driver; in a container start it with --gpus all; or be content with the CPU",
        )
        return
    for index in range(cuda.device_count()):
        try:
            name, (free, total) = cuda.get_device_name(index), cuda.mem_get_info(index)
        except RuntimeError as error:
            yield problem("gpu", f"GPU {index} does not answer: {reason(error)}", "check nvidia-smi and the driver")
            continue
        yield ok("gpu", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, CUDA {version.cuda}")


def _weights() -> Iterator[Finding]:
    from hdm_pipeline.hashing import file_hash
    from hdm_pipeline.model.checkpoints import load_network, read_header
    from hdm_pipeline.model.weights_file import builtin_names, weights_path

    for name in builtin_names():
        try:
            path = weights_path(name)
            fingerprint = load_network(name).fingerprint()
            if fingerprint != read_header(path).fingerprint:
                raise ValueError("the weights are not those that were saved")
            yield ok("weights", f"{name} loads, SHA-256 {file_hash(path)[:16]}...")
        except (HdmError, OSError, ValueError, RuntimeError) as error:
            yield problem("weights", f"{name} cannot be used: {reason(error)}", "reinstall hdm_pipeline")
    if not builtin_names():
        yield problem("weights", "none ship with this installation", "reinstall hdm_pipeline")


def openvino_findings() -> Iterator[Finding]:
    """OpenVINO, which `model.runtime: openvino` uses."""
    try:
        import openvino

        devices = openvino.Core().available_devices
    except ModuleNotFoundError:
        yield ok("openvino", "not installed; only model.runtime: openvino needs it")
    except Exception as error:  # noqa: BLE001 - a half-installed library may raise anything
        yield problem("openvino", f"cannot be loaded: {reason(error)}", install("openvino"))
    else:
        number = re.match(r"[\d.]*\d", openvino.__version__)
        told = f"openvino {number[0] if number else ''} on {', '.join(devices) or 'no device'}"
        yield ok("openvino", told) if devices else problem("openvino", told, "reinstall openvino")
