"""The published network with its support side cached, in every precision, against recomputing the supports each time.

    python -m benchmarks.bench_hdmnet [--side 473] [--repeats 3] [--threads 1] [--json FILE]

Ratios of CPU seconds in one run; ResNet-50 with its base learner. The weights are random (no trained ones may be
shipped), scaled so that signals live: speed does not depend on them, agreement with fp32 does. The recomputing network
runs as PyTorch comes, the cached modes as model workers run them, with freed memory kept (`execution/malloc.py`); what
that alone would do for the recomputing network is a row of its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks._table import Row, alternate, arguments, at_least, at_most, median, show
from hdm_pipeline.execution.malloc import keep_freed
from hdm_pipeline.iou import Counts
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.checkpoints import reconfigure
from hdm_pipeline.model.fast.optimize import GATES, FastNetwork, accelerate, agreement, calibrate_ranges
from hdm_pipeline.model.hdmnet.condense import condense
from hdm_pipeline.model.hdmnet.network import HDMNet
from hdm_pipeline.model.hdmnet.states import SupportState

BOUNDS = {"fp32": (2.2, 8.0), "bf16": (4.0, 14.0), "int8": (7.0, 25.0)}
SHOTS = (1, 5)
MANY = 20
BUDGET = 1024


def network_of(shots: int, side: int, **settings: Any) -> HDMNet:
    """ResNet-50 with random weights whose signals neither vanish nor explode; a quarter of a tile is foreground."""
    torch.manual_seed(shots)
    network = HDMNet("resnet50", shot=shots, **settings).eval()
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1 and "merge.weight" not in name:
            torch.nn.init.kaiming_normal_(parameter)
        elif name.endswith("bn3.weight"):
            parameter.data.fill_(0.25)
    with torch.no_grad():
        network.get_parameter("transformer.mix_transformer.cls.4.weight").mul_(0.1)
        image, mask = picture(0, side)[None, None], blob(side)[None, None]
        logits = network(image[:, 0], image.expand(-1, shots, -1, -1, -1), mask.expand(-1, shots, -1, -1)).meta_lowres
        bias = network.get_parameter("transformer.mix_transformer.cls.4.bias")
        bias[1] -= (logits[:, 1] - logits[:, 0]).quantile(0.75)
    return network


def picture(seed: int, side: int) -> Tensor:
    """[3, H, W] normalized: coarse random fields with noise."""
    rng = np.random.default_rng(seed)
    index = np.arange(side) * 7 // side
    coarse = rng.standard_normal((3, 7, 7))[:, index[:, None], index[None]]
    return torch.from_numpy((coarse + 0.5 * rng.standard_normal((3, side, side))).astype(np.float32))


def blob(side: int) -> Tensor:
    """[H, W] mask: a disk on a quarter of the image."""
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    return torch.from_numpy((y**2 + x**2 < 0.25 / np.pi).astype(np.uint8))


def modes(network: HDMNet, tile: Tensor) -> dict[tuple[str, str], FastNetwork]:
    """Every mode that this machine has."""
    found = {(precision, "torch"): accelerate(network, precision) for precision in ("fp32", "bf16")}
    if find_spec("openvino"):
        found["fp32", "openvino"] = accelerate(network, "fp32", "openvino")
        found["bf16", "openvino"] = accelerate(network, "bf16", "openvino")
        ranges = calibrate_ranges(network, [tile])
        found["int8", "openvino"] = accelerate(network, "int8", "openvino", ranges=ranges)
    return found


def recomputing(shots: int, side: int, repeats: int) -> float:
    """Median seconds of the official forward, which encodes its supports for each query."""
    network = network_of(shots, side)
    supports = torch.stack([picture(100 + k, side) for k in range(shots)])[None]
    labels = torch.stack([blob(side)] * shots)[None]
    tile = picture(0, side)[None]

    def recompute() -> None:
        with torch.no_grad():
            network(tile, supports, labels)

    recompute()
    (seconds,) = alternate(max(2, repeats // shots), recompute)
    return median(seconds)


def compare(shots: int, side: int, repeats: int, official: float) -> list[Row]:
    """One column of the table: every mode against the official forward's seconds, speed and agreement."""
    network = network_of(shots, side)
    supports, masks = [picture(100 + k, side) for k in range(shots)], [blob(side)] * shots
    tiles = [picture(index, side)[None] for index in range(2)]
    bank = network.encode_support(supports, masks)
    fast = modes(network, supports[0][None])
    reference = torch.cat([network.predict(tile, [bank]) for tile in tiles]) > 0.5
    masks_of = {
        mode: torch.cat([runner.predict(tile, [bank]) for tile in tiles]) > 0.5 for mode, runner in fast.items()
    }
    times = alternate(repeats, *(predictor(runner, tiles[0], bank) for runner in fast.values()))
    rows = []
    for (mode, mask), seconds in zip(masks_of.items(), times, strict=True):
        ratio, agreed = official / median(seconds), agreement(reference, mask)
        rows += judge(shots, mode, ratio, median(seconds), agreed, last_of(mode, fast))
    return rows


def last_of(mode: tuple[str, str], fast: dict[tuple[str, str], FastNetwork]) -> bool:
    """Whether the bound is asked of this mode: of the fastest runtime that its precision has here."""
    return [each for each in fast if each[0] == mode[0]][-1] == mode


def judge(shots: int, mode: tuple[str, str], ratio: float, seconds: float, agreed: Counts, bound: bool) -> list[Row]:
    """The rows of one mode."""
    precision, runtime = mode
    name, gate = f"{shots}-shot, cached, {precision} {runtime}", GATES[precision]
    least = BOUNDS[precision][0 if shots == 1 else 1]
    return [
        Row(name, seconds, "s"),
        at_least(f"{name}: faster", ratio, "times", least) if bound else Row(f"{name}: faster", ratio, "times"),
        at_least(f"{name}: pixels that agree", 100 * agreed.agreement, "%", 100 * gate.agreement),
        at_least(f"{name}: IoU", agreed.iou, "", gate.iou),
    ]


def predictor(runner: FastNetwork, tile: Tensor, bank: SupportBank) -> Callable[[], object]:
    """A call without arguments."""
    return lambda: runner.predict(tile, [bank])


def many_shots(side: int, repeats: int) -> list[Row]:
    """A query's cost with 20 supports against 1, for 1-shot weights."""
    network = network_of(1, side)
    states = [
        network.encode(network.extract((picture(k, side) * blob(side))[None]), blob(side).float()) for k in range(4)
    ]
    tile, one, twenty = picture(99, side)[None], states[0], SupportState.join(states * (MANY // len(states)))
    rows = []
    settings: Sequence[tuple[str, dict[str, Any]]] = (
        ("scores averaged over shots, all tokens", {"ensemble": "scores"}),
        ("tokens pooled, all of them", {"ensemble": "pooled"}),
        (f"tokens pooled, {BUDGET} a class", {"ensemble": "pooled", "support_tokens": BUDGET}),
    )
    for name, changes in settings:
        fast = accelerate(reconfigure(network, **changes), "fp32")
        condensed = "support_tokens" in changes
        banks = [bank_of(fast, condense(each, BUDGET) if condensed else each) for each in (one, twenty)]
        few, many = alternate(repeats, *(predictor(fast, tile, bank) for bank in banks))
        ratio = median(many) / median(few)
        title = f"{MANY} supports against 1, {name}"
        rows.append(at_most(title, ratio, "times", 1.3) if condensed else Row(title, ratio, "times"))
    return rows


def bank_of(fast: FastNetwork, state: SupportState) -> SupportBank:
    """A bank of encoded supports."""
    network = fast.network
    return SupportBank(network.architecture, network.fingerprint(), "target", state.shots, state.to_arrays())


def peak_memory(precision: str, runtime: str) -> float:
    """Peak resident GB of a fresh process that predicts one 512x512 tile."""
    command = [sys.executable, "-m", "benchmarks.bench_hdmnet", "--peak", precision, "--runtime", runtime]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def pixels(seed: int) -> npt.NDArray[np.float32]:
    """[3, 512, 512] in [0, 1], about."""
    return (picture(seed, 512).numpy() * 0.2 + 0.5).astype(np.float32)


def predict_once(precision: str, runtime: str) -> None:
    """The body of `peak_memory`'s process; it encodes its support, too."""
    from hdm_pipeline.model.segmenter import FewShotSegmenter

    network = network_of(1, 65)
    segmenter = FewShotSegmenter.from_network(network, device="cpu", precision="fp32")
    bank = segmenter.encode_support([pixels(1)], [blob(512).numpy()])
    if precision != "fp32":
        fast = accelerate(network, precision, runtime)
        with torch.no_grad():
            fast.predict(picture(2, 512)[None], [bank])
    else:
        segmenter.predict(pixels(2)[None], [bank])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=473, help="pixels a side of tiles and supports")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", help="internal: predict once in this precision and print the peak memory")
    parser.add_argument("--runtime", default="torch", help="internal: of --peak")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        keep_freed()
        predict_once(options.peak, options.runtime)
        return 0
    rows = [at_most("peak memory of predict, 512x512, fp32", peak_memory("fp32", "torch"), "GB", 1.5)]
    rows.append(Row("peak memory of predict, 512x512, bf16", peak_memory("bf16", "torch"), "GB"))
    plain = {shots: recomputing(shots, options.side, options.repeats) for shots in SHOTS}
    keep_freed()  # as model workers do; it cannot be undone
    kept = {shots: recomputing(shots, options.side, options.repeats) for shots in SHOTS}
    for shots in SHOTS:
        rows.append(Row(f"{shots}-shot, supports recomputed, fp32", plain[shots], "s"))
        rows.append(Row(f"{shots}-shot, supports recomputed, fp32, freed memory kept", kept[shots], "s"))
        rows += compare(shots, options.side, options.repeats, plain[shots])
    rows += many_shots(options.side, options.repeats)
    return show(f"hdmnet, {options.side}x{options.side}, {options.threads} thread(s)", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
