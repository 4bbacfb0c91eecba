"""Fast inference, held against float32: speed and agreement are measured on calibration tiles before a mode is used.

| mode | backbone | matching |
|---|---|---|
| fp32 | batch norms folded, on the CPU Winograd; exact within 1e-5 | linear layers collapsed, likewise exact |
| bf16 | bfloat16, PyTorch or OpenVINO | as for fp32, but products of the prior in bfloat16 |
| int8 | static int8 in OpenVINO, ranges of the calibration tiles | as for bf16 |

The matching stays in float32: in bfloat16 it is hardly faster and costs ten times as many pixels as the backbone does
(docs/decisions/fast-inference.md). `hdmnet-pyramid` has no int8. In PyTorch it runs bf16 under autocast; OpenVINO
computes all of it, the banks within, in fp32 or bf16.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdm_pipeline.errors import OptimizationError
from hdm_pipeline.iou import Counts, count
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.fast.compiled import CompiledScore, require_openvino
from hdm_pipeline.model.fast.graphs import GraphedScore, Score
from hdm_pipeline.model.network import FewShotNetwork

MODES = ("fp32", "bf16", "int8")

Answer = Literal["scores", "distance", "doubt"]
ANSWERS: dict[Answer, int] = {"scores": 1, "distance": 2, "doubt": 3}
"""What can be asked of a network, and the number of maps a class that it answers with (`FewShotNetwork.examine`)."""


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
    """A network in a faster mode: it can `predict`, and takes the banks of its source network.

    Build it with `accelerate`. On a GPU batches of one shape are replayed as a CUDA graph.

    Args:
        network: a copy for inference.
        autocast: compute in bfloat16 under PyTorch's autocast.
        compiled: compute all of it in OpenVINO, in this precision.
    """

    def __init__(self, network: FewShotNetwork, *, autocast: bool = False, compiled: str | None = None) -> None:
        self.network = network
        self.autocast = autocast
        self._asked: dict[Answer, Score] = {kind: partial(_score, network, autocast, kind) for kind in ANSWERS}
        self._graphed = {kind: GraphedScore(asked) for kind, asked in self._asked.items()}
        if compiled is not None:
            self._asked = {kind: CompiledScore(asked, compiled) for kind, asked in self._asked.items()}

    def predict(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """As `FewShotNetwork.predict`, in float32, but whether the tiles are finite is not asked."""
        return self.answer("scores", tiles, banks)

    def answer(self, kind: Answer, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """As `predict`, and where more is asked for, what `FewShotNetwork.examine` adds to it."""
        self.network.check(tiles, banks)
        return (self._graphed if tiles.device.type == "cuda" else self._asked)[kind](tiles, banks)


def accelerate(
    network: FewShotNetwork, precision: str, runtime: str = "torch", *, ranges: npt.NDArray[np.float32] | None = None
) -> FastNetwork:
    """A faster copy of a network; the network itself stays as it is. Nothing is checked: see `optimize`.

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
    fast = network.fast_copy(precision, runtime, ranges)
    fast.adopt_fingerprint(source)
    if network.compiles and runtime == "openvino":
        return FastNetwork(fast, compiled=precision)
    return FastNetwork(fast, autocast=network.autocasts and precision != "fp32")


def calibrate_ranges(network: FewShotNetwork, tiles: Sequence[Tensor]) -> npt.NDArray[np.float32]:
    """[n, 2] activation ranges for int8 over normalized tiles [1, 3, H, W].

    Raises:
        OptimizationError: the network has no int8 mode.
    """
    _check_mode(network, "int8", "openvino")
    return network.int8_ranges(tiles)


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
            f"{gate.agreement:.2%} and {gate.iou:.3f} are required",
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


def _score(
    network: FewShotNetwork, autocast: bool, kind: Answer, tiles: Tensor, banks: Sequence[SupportBank]
) -> Tensor:
    # Without autocast's cache: what it holds would belong to the recording of one graph.
    half = torch.autocast(tiles.device.type, torch.bfloat16, enabled=autocast, cache_enabled=False)
    with torch.no_grad(), half:
        if kind == "scores":
            return network.score(tiles, banks).float()
        return network.examine(tiles, banks, doubt=kind == "doubt").float()


def _check_mode(network: FewShotNetwork, precision: str, runtime: str) -> None:
    problem = remedy = ""
    on_cpu = next(network.parameters()).device.type == "cpu"
    if precision not in MODES or runtime not in ("torch", "openvino"):
        problem, remedy = "is unknown", f"use one of {', '.join(MODES)} with torch or openvino"
    elif not network.has_mode(precision, "openvino" if precision == "int8" else runtime):
        problem, remedy = f"does not exist for {network.architecture!r}", "use fp32 or bf16 with runtime torch"
    elif precision == "int8" and runtime == "torch":
        problem, remedy = "would not be faster", "use runtime openvino for int8, or bf16"
    elif runtime == "openvino" and not on_cpu:
        problem, remedy = "runs on the CPU only", "use device cpu, or runtime torch"
    if problem:
        raise OptimizationError(f"{precision} with runtime {runtime} {problem}", where="model", remedy=remedy)
    if runtime == "openvino":
        require_openvino()
