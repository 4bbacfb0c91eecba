"""Fast inference, held against float32: speed and agreement are measured on calibration tiles before a mode is used.

| mode | backbone | matching |
|---|---|---|
| fp32 | batch norms folded, on the CPU Winograd; exact within 1e-5 | linear layers collapsed, likewise exact |
| bf16 | bfloat16, PyTorch or OpenVINO | as for fp32, but products of the prior in bfloat16 |
| int8 | static int8 in OpenVINO, ranges of the calibration tiles | as for bf16 |

The matching stays in float32: in bfloat16 it is hardly faster and costs ten times as many pixels as the backbone does
(docs/decisions/fast-inference.md). A network without a separable backbone (`hdmnet-pyramid`) runs bf16 under autocast
and has no int8.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hdm_pipeline.errors import OptimizationError
from hdm_pipeline.iou import Counts, count
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.fast.collapse import collapse_linear
from hdm_pipeline.model.fast.extractors import (
    OpenVinoExtractor,
    TorchExtractor,
    calibrated_ranges,
    fold_batch_norms,
    require_openvino,
)
from hdm_pipeline.model.fast.graphs import GraphedScore
from hdm_pipeline.model.hdmnet.decoder import MixTransformer
from hdm_pipeline.model.hdmnet.network import HDMNet
from hdm_pipeline.model.network import FewShotNetwork

MODES = ("fp32", "bf16", "int8")


@dataclass(frozen=True)
class Gate:
    """What a mode must reach on the calibration tiles.

    Attributes:
        agreement: share of pixels whose mask is that of float32.
        iou: intersection over union with the float32 mask.
    """

    agreement: float
    iou: float


GATES = {"fp32": Gate(0.9999, 0.999), "bf16": Gate(0.995, 0.95), "int8": Gate(0.99, 0.95)}


@dataclass(frozen=True)
class OptimizationReport:
    """What a mode was measured to do on the calibration tiles.

    Attributes:
        precision, runtime: the mode.
        agreement: share of pixels whose mask is that of float32.
        iou: of the mask with the float32 mask; 1 where both are empty.
        seconds, reference_seconds: best time of one tile, of the mode and of float32 as loaded.
        tiles: calibration tiles.
    """

    precision: str
    runtime: str
    agreement: float
    iou: float
    seconds: float
    reference_seconds: float
    tiles: int

    @property
    def speedup(self) -> float:
        """Times faster than float32."""
        return self.reference_seconds / self.seconds

    def passes(self, gate: Gate) -> bool:
        """Whether the mode may be used."""
        return self.agreement >= gate.agreement and self.iou >= gate.iou

    def as_dict(self) -> dict[str, Any]:
        """For reports and logs."""
        return {**asdict(self), "speedup": self.speedup}


class FastNetwork:
    """A network in a faster mode: `predict` alone. Banks of the source network are taken.

    Build it with `accelerate`. On a GPU batches of one shape are replayed as a CUDA graph.
    """

    def __init__(self, network: FewShotNetwork, *, autocast: bool) -> None:
        self.network = network
        self.autocast = autocast
        self._score = partial(_score, network, autocast)
        self._graphed = GraphedScore(self._score)

    def predict(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """As `FewShotNetwork.predict`, in float32, but whether the tiles are finite is not asked."""
        self.network.check(tiles, banks)
        return self._graphed(tiles, banks) if tiles.device.type == "cuda" else self._score(tiles, banks)


def accelerate(
    network: FewShotNetwork, precision: str, runtime: str = "torch", *, ranges: npt.NDArray[np.float32] | None = None
) -> FastNetwork:
    """A faster copy of a network; the network itself is left alone. Nothing is checked: see `optimize`.

    Args:
        network: in eval mode, on the device that it shall run on.
        precision: ``fp32``, ``bf16`` or ``int8``.
        runtime: ``torch`` or ``openvino`` (CPU only).
        ranges: of `calibrate_ranges`, for int8.

    Raises:
        OptimizationError: the combination does not exist for this network, or OpenVINO is not installed.
    """
    _check_mode(network, precision, runtime)
    source = network.fingerprint()
    # A copy even where nothing is folded: its weights stay, so that asking for their fingerprint costs nothing.
    fast = copy.deepcopy(network).eval().requires_grad_(False)
    fast.adopt_fingerprint(source)
    if isinstance(network, HDMNet) and isinstance(fast, HDMNet):
        own = network.feature_extractor()
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        if runtime == "openvino":
            fast.use_extractor(OpenVinoExtractor(own, precision, ranges))
        else:
            fast.use_extractor(TorchExtractor(own, dtype))
        fast.drop_layers()
        _simplify(fast.mix_transformer)
        fast.prior_dtype = dtype
        return FastNetwork(fast, autocast=False)
    return FastNetwork(fast, autocast=precision != "fp32")


def calibrate_ranges(network: FewShotNetwork, tiles: Sequence[Tensor]) -> npt.NDArray[np.float32]:
    """[n, 2] activation ranges for int8 over normalized tiles [1, 3, H, W].

    Raises:
        OptimizationError: the network has no int8 mode.
    """
    _check_mode(network, "int8", "openvino")
    if not isinstance(network, HDMNet):
        raise OptimizationError("no int8 mode", where=network.architecture, remedy="use bf16")
    return calibrated_ranges(network.feature_extractor(), tiles)


def optimize(
    network: FewShotNetwork,
    tiles: Sequence[Tensor],
    banks: Sequence[SupportBank],
    *,
    precision: str,
    runtime: str = "torch",
    ranges: npt.NDArray[np.float32] | None = None,
    gate: Gate | None = None,
) -> tuple[FastNetwork, OptimizationReport]:
    """A faster copy of a network, measured against the network on calibration tiles, refused if they disagree.

    Args:
        network: the float32 reference.
        tiles: normalized tiles [1, 3, H, W], at least one.
        banks: classes to compare on.
        precision, runtime, ranges: see `accelerate`; int8 without ranges is calibrated on the tiles.
        gate: agreement to demand; by default `GATES` of the precision.

    Raises:
        OptimizationError: the mode disagrees by more than the gate allows, or does not exist.
    """
    if precision == "int8" and ranges is None:
        ranges = calibrate_ranges(network, tiles)
    fast = accelerate(network, precision, runtime, ranges=ranges)
    report = measure(network, fast, tiles, banks, precision=precision, runtime=runtime)
    gate = gate or GATES[precision]
    if not report.passes(gate):
        raise OptimizationError(
            f"{precision} ({runtime}) agrees with fp32 on {report.agreement:.2%} of pixels with IoU {report.iou:.3f}; "
            f"{gate.agreement:.2%} and {gate.iou:.3f} are demanded",
            where=f"{report.tiles} calibration tiles",
            remedy="use precision auto, bf16 or fp32",
        )
    return fast, report


def measure(
    network: FewShotNetwork,
    fast: FastNetwork,
    tiles: Sequence[Tensor],
    banks: Sequence[SupportBank],
    *,
    precision: str,
    runtime: str,
) -> OptimizationReport:
    """Agreement and speed of a mode; each is warmed up by one tile of its shape before it is timed."""
    counts = Counts()
    best = [float("inf"), float("inf")]
    for tile in tiles:
        masks = []
        for index, run in enumerate((network.predict, fast.predict)):
            run(tile, banks)
            if tile.device.type == "cuda":
                run(tile, banks)  # a CUDA graph is recorded at the second sight
                torch.cuda.synchronize(tile.device)
            start = time.perf_counter()
            answer = run(tile, banks)
            if tile.device.type == "cuda":
                torch.cuda.synchronize(tile.device)
            best[index] = min(best[index], time.perf_counter() - start)
            masks.append(answer > 0.5)
        counts += agreement(*masks)
    if counts == Counts():
        raise OptimizationError("no calibration tile", where="optimize", remedy="give at least one tile")
    iou = 1.0 if math.isnan(counts.iou) else counts.iou
    return OptimizationReport(precision, runtime, counts.agreement, iou, best[1], best[0], len(tiles))


def agreement(reference: Tensor, mask: Tensor) -> Counts:
    """Pixels of a mode's mask compared with float32's, both bool of one shape."""
    return count(mask.cpu().numpy(), reference.cpu().numpy().astype(np.uint8))


def _score(network: FewShotNetwork, autocast: bool, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
    # Without autocast's cache: what it holds would belong to the recording of one graph.
    half = torch.autocast(tiles.device.type, torch.bfloat16, enabled=autocast, cache_enabled=False)
    with torch.no_grad(), half:
        return network.score(tiles, banks).float()


def _simplify(transformer: MixTransformer) -> None:
    """Fold batch norms and collapse what is linear, in place; exact up to rounding."""
    fold_batch_norms(transformer)
    transformer.parse_layers = nn.ModuleList(collapse_linear(layer) for layer in transformer.parse_sequences())
    transformer.cls = collapse_linear(transformer.cls)


def _check_mode(network: FewShotNetwork, precision: str, runtime: str) -> None:
    problem = remedy = ""
    on_cpu = next(network.parameters()).device.type == "cpu"
    if precision not in MODES or runtime not in ("torch", "openvino"):
        problem, remedy = "is unknown", f"use one of {', '.join(MODES)} with torch or openvino"
    elif not isinstance(network, HDMNet) and (precision == "int8" or runtime == "openvino"):
        problem, remedy = f"does not exist for {network.architecture!r}", "use fp32 or bf16 with runtime torch"
    elif precision == "int8" and runtime == "torch":
        problem, remedy = "would not be faster", "use runtime openvino for int8, or bf16"
    elif runtime == "openvino" and not on_cpu:
        problem, remedy = "runs on the CPU alone", "use device cpu, or runtime torch"
    if problem:
        raise OptimizationError(f"{precision} with runtime {runtime} {problem}", where="model", remedy=remedy)
    if runtime == "openvino":
        require_openvino()
