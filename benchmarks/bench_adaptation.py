"""CPU seconds of preparing the supports: as the weights are, and adapted to the examples.

    python -m benchmarks.bench_adaptation [--threads 2] [--weights NAME] [--json FILE]

1, 5 and 10 examples of 512 x 512 pixels. Adaptation is timed at its longest: every candidate that its limit of work
allows is measured, and the most steps are then taken on all examples. The bounds are for two cores, whose wall time is
about 0.6 of the CPU time: 45 s for adaptation, 10 s for all the rest, 2 s for what is solved in closed form
once the features of the examples are known.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks._segmenter import from_command_line
from benchmarks._table import Row, at_most, show
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import SupportTensors, support_tensors
from hdm_pipeline.support.adaptation import AdaptationSettings, adapt_network, affordable, held_out_ious
from hdm_pipeline.support.fit import fit_to_examples
from hdm_pipeline.support.folds import folds
from hdm_pipeline.support.quality import leave_one_out
from hdm_pipeline.support.reduction import adaptation_reduction, reduce_example

_SIDE = 512
_SHOTS = (1, 5, 10)
_TWO_CORES = 0.6


def examples(count: int) -> list[SupportTensors]:
    """Coarse blobs, brighter and rougher than their ground, in noise: neither trivial nor hopeless."""
    random = np.random.default_rng(count)
    images, masks = [], []
    for _ in range(count):
        coarse = np.kron(random.random((8, 8)), np.ones((_SIDE // 8, _SIDE // 8)))
        mask = (coarse > 0.7).astype(np.uint8)
        noise = random.random((3, _SIDE, _SIDE), dtype=np.float32)
        images.append((0.4 + 0.1 * mask + (noise - 0.5) * (0.3 + 0.2 * mask)).astype(np.float32))
        masks.append(mask)
    return support_tensors(images, masks, "benchmark")


def cpu_seconds(call: Callable[[], object]) -> float:
    """Of all threads of this process, once: long enough to need no median."""
    start = time.process_time()
    call()
    return time.process_time() - start


def adaptation(segmenter: FewShotSegmenter, found: list[SupportTensors]) -> float:
    """CPU seconds of an adaptation that every candidate gains by."""
    network = segmenter.network
    reduction = adaptation_reduction(_SIDE)
    small = [reduce_example(example.pixels, example.labels, reduction) for example in found]
    images, masks = [image for image, _ in small], [mask for _, mask in small]
    settings = AdaptationSettings()
    candidates = affordable(settings, masks)
    only_measured = replace(settings, candidates=())
    measuring = cpu_seconds(lambda: held_out_ious(network, images, masks, only_measured))
    steps = len(folds(masks, settings.folds)) * candidates[-1] + round(settings.stretch * candidates[-1])
    taken = replace(settings, steps=steps)
    return measuring * (1 + len(candidates)) + cpu_seconds(
        lambda: adapt_network(network, images, masks, settings=taken)
    )


def preparation(segmenter: FewShotSegmenter, found: list[SupportTensors]) -> dict[str, float]:
    """CPU seconds of each part of a preparation that does not adapt."""
    parts: dict[str, float] = {}
    fitted = segmenter
    fit = fit_to_examples(segmenter.network, found[:1], adapt="off")  # to warm up

    def choose() -> None:
        nonlocal fit
        fit = fit_to_examples(segmenter.network, found, adapt="off")

    parts["choosing the reduction"] = cpu_seconds(choose)
    fitted = segmenter.refitted(segmenter.network, fit.reduction)
    parts["encoding"] = cpu_seconds(lambda: fitted.encode(found, weigh=True, describe=True))
    bank = fitted.encode(found, weigh=True, describe=True)
    names = [str(number) for number in range(len(found))]
    parts["judging each by the others"] = cpu_seconds(lambda: leave_one_out(fitted, found, names, [], bank))
    small = [reduce_example(example.pixels, example.labels, fit.reduction)[0] for example in found]
    features = cpu_seconds(
        lambda: [fitted.network.predict(fitted.network.normalize(image)[None], []) for image in small]
    )
    parts["closed form"] = max(0.0, parts["encoding"] - features)
    return parts


def main() -> int:
    """Measure and print."""
    options, segmenter = from_command_line(__doc__)
    rows: list[Row] = []
    for shots in _SHOTS:
        found = examples(shots)
        parts = preparation(segmenter, found)
        closed = parts.pop("closed form")
        rows += [Row(f"K={shots}, {name}", value, "CPU s") for name, value in parts.items()]
        whole = f"K={shots}, prepared without adaptation"
        if shots <= 5:
            rows.append(at_most(whole, sum(parts.values()), "CPU s", round(10 / _TWO_CORES, 1)))
        else:
            rows.append(Row(whole, sum(parts.values()), "CPU s"))
        rows.append(at_most(f"K={shots}, closed form", closed, "CPU s", round(2 / _TWO_CORES, 1)))
        rows.append(at_most(f"K={shots}, adaptation", adaptation(segmenter, found), "CPU s", 45 / _TWO_CORES))
    return show(f"{options.weights}, {options.threads} threads, {_SIDE}x{_SIDE}", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
