"""What each part of the shipped network is worth on real tasks that training left out: it is switched off, and only it.

    python -m benchmarks.bench_ablation [--tasks DIR] [--episodes 56] [--weights NAME] [--whole] [--json FILE]

The list of episodes by which checkpoints were compared (squares of 224 pixels, half with one example, half with five);
mean IoU. The closed-form parts are solved anew without what is switched off; nothing is trained anew, so that a part
which others could have replaced in training looks worth more than it is. `--whole` measures the weights as they are and
nothing else: for trainings that are to be compared. Slow: about a minute for each row.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks._segmenter import segmenter_arguments, segmenter_of
from benchmarks._table import Row, show
from benchmarks.folder_tasks import LEFT_OUT
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.pyramid.network import HDMNetPyramid
from hdm_pipeline.training.config import TasksConfig, ValidationConfig
from hdm_pipeline.training.validation import Validation, episode_iou

_SIDE = 224
_MIX = "rules.mix"

Change = Callable[[HDMNetPyramid, ExitStack], None]


def silenced(*modules: nn.Module) -> Change:
    """The parts answer zero."""

    def change(_network: HDMNetPyramid, stack: ExitStack) -> None:
        for module in modules:
            stack.callback(module.register_forward_hook(_zeros).remove)

    return change


def without_raw_pixels(network: HDMNetPyramid, stack: ExitStack) -> None:
    """The finest regression sees no pixels. Weights become zero, for these layers are not called (`fused`)."""
    for layer in (network.finest.pixels, *network.finest.cells):
        weight = layer.get_parameter("weight")
        stack.callback(weight.data.copy_, weight.detach().clone())
        weight.data.zero_()


def _zeros(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    return torch.zeros_like(output)


def without_adapters(network: HDMNetPyramid, stack: ExitStack) -> None:
    """The levels see nothing of the pretrained features; their own evidence and the rules stay."""

    def hook(_module: nn.Module, _inputs: Any, output: tuple[Sequence[Tensor], Tensor]) -> Any:
        return [torch.zeros_like(one) for one in output[0]], output[1]

    stack.callback(_context(network).register_forward_hook(hook).remove)


def mixed_by(network: float, ridge: float, logistic: float) -> Change:
    """The factors of the decoder and of the two rules become these times what they are."""

    def change(whole: HDMNetPyramid, stack: ExitStack) -> None:
        encode = whole.encode_support

        def changed(*arguments: Any, **named: Any) -> SupportBank:
            bank = encode(*arguments, **named)
            mix = bank.arrays[_MIX] * np.array([network, ridge, logistic, 1.0], dtype=np.float32)
            return replace(bank, arrays={**bank.arrays, _MIX: mix})

        whole.encode_support = changed  # type: ignore[method-assign]
        stack.callback(delattr, whole, "encode_support")

    return change


def variants(network: HDMNetPyramid) -> Iterator[tuple[str, Change | None]]:
    """(name, what is switched off); first the network as it is."""
    yield "as it is", None
    for level, stride in enumerate(network.strides[: network.levels]):
        yield f"without the evidence at stride {stride}", silenced(network.evidence[level])
    matching = [one.matching for one in network.evidence if isinstance(one.matching, nn.Module)]
    yield "without matching (regression alone at all levels)", silenced(*matching)
    yield "without raw pixels and their statistics", without_raw_pixels
    if network.context is not None:
        yield "without adapters from the pretrained features", without_adapters
        yield "without the evidence of the pretrained features", silenced(network.evidence[network.levels])
        yield "without the ridge rule", mixed_by(1, 0, 1)
        yield "without the logistic rule", mixed_by(1, 1, 0)
        yield "without both rules", mixed_by(1, 0, 0)
        yield "the rules alone", mixed_by(0, 1, 1)


@contextmanager
def changed(network: HDMNetPyramid, change: Change | None) -> Iterator[None]:
    """Within: a part is switched off."""
    with ExitStack() as stack:
        if change is not None:
            change(network, stack)
        yield


def main() -> int:
    """Measure and print."""
    data = os.environ.get("HDM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = segmenter_arguments(__doc__)
    parser.add_argument("--tasks", type=Path, default=Path(data) / "train" / "real", help="folder of folders")
    parser.add_argument("--episodes", type=int, default=56)
    parser.add_argument("--whole", action="store_true", help="nothing is switched off")
    options = parser.parse_args()
    network = segmenter_of(options).network
    if not isinstance(network, HDMNetPyramid):
        raise SystemExit("an ablation is for hdmnet-pyramid")
    source = TasksConfig(path=options.tasks, only=list(LEFT_OUT), augment=False)
    config = ValidationConfig(every=1, episodes=options.episodes, size=_SIDE, source=source)
    episodes = Validation(config).episodes
    rows = []
    for name, change in islice(variants(network), 1 if options.whole else None):
        with changed(network, change):
            found = [(len(one.support), episode_iou(network, one)) for one in episodes]
        for shots in sorted({count for count, _ in found}):
            mean = float(np.mean([iou for count, iou in found if count == shots]))
            rows.append(Row(f"{name}, K={shots}", mean, "IoU"))
            print(f"{rows[-1].name}: {mean:.3f}", file=sys.stderr, flush=True)
    return show("parts of the network, left-out folders", rows, options.json)


def _context(network: HDMNetPyramid) -> nn.Module:
    if network.context is None:  # `variants` asks only where there is one
        raise TypeError("no pretrained features")
    return network.context


if __name__ == "__main__":
    sys.exit(main())
