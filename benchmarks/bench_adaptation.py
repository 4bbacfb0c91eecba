"""Seconds of preparing the supports: as the weights are, and adapted to the examples.

    python -m benchmarks.bench_adaptation [--threads 2] [--weights NAME] [--json FILE]

1, 5 and 10 examples of 512 x 512 pixels. Adaptation is timed at its longest: every candidate that its limit of work
allows is measured, and the most steps are then taken on all examples. The bounds are wall time of two cores that
nothing else uses (the load stands beside the table): 45 s for adaptation, 10 s for all the rest, 2 s for what is solved
in closed form once the features of the examples are known. CPU seconds stand beside them, for busy machines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Seconds:
    """Time that something took.

    Attributes:
        wall: of the clock.
        cpu: of all threads of this process.
    """

    wall: float
    cpu: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(max(0.0, self.wall - other.wall), max(0.0, self.cpu - other.cpu))

    def times(self, count: int) -> Seconds:
        """As long, so many times over."""
        return Seconds(self.wall * count, self.cpu * count)

    def rows(self, name: str, most: float | None = None) -> list[Row]:
        """For the table; `most` bounds the wall time."""
        wall = Row(name, self.wall, "s") if most is None else at_most(name, self.wall, "s", most)
        return [wall, Row(f"{name}, CPU", self.cpu, "s")]


def timed(call: Callable[[], object]) -> Seconds:
    """Once: long enough to need no median."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def adaptation(segmenter: FewShotSegmenter, found: list[SupportTensors]) -> Seconds:
    """An adaptation that every candidate gains by."""
    network = segmenter.network
    reduction = adaptation_reduction(_SIDE)
    small = [reduce_example(example.pixels, example.labels, reduction) for example in found]
    images, masks = [image for image, _ in small], [mask for _, mask in small]
    settings = AdaptationSettings()
    candidates = affordable(settings, masks)
    only_measured = replace(settings, candidates=())
    measuring = timed(lambda: held_out_ious(network, images, masks, only_measured))
    steps = len(folds(masks, settings.folds)) * candidates[-1] + round(settings.stretch * candidates[-1])
    taken = replace(settings, steps=steps)
    return measuring.times(1 + len(candidates)) + timed(lambda: adapt_network(network, images, masks, settings=taken))


def preparation(segmenter: FewShotSegmenter, found: list[SupportTensors]) -> dict[str, Seconds]:
    """Each part of a preparation that does not adapt."""
    parts: dict[str, Seconds] = {}
    fitted = segmenter
    fit = fit_to_examples(segmenter.network, found[:1], adapt="off")  # to warm up

    def choose() -> None:
        nonlocal fit
        fit = fit_to_examples(segmenter.network, found, adapt="off")

    parts["choosing the reduction"] = timed(choose)
    fitted = segmenter.refitted(segmenter.network, fit.reduction)
    parts["encoding"] = timed(lambda: fitted.encode(found, weigh=True, describe=True))
    bank = fitted.encode(found, weigh=True, describe=True)
    names = [str(number) for number in range(len(found))]
    parts["judging each by the others"] = timed(lambda: leave_one_out(fitted, found, names, [], bank))
    small = [reduce_example(example.pixels, example.labels, fit.reduction)[0] for example in found]
    features = timed(lambda: [fitted.network.predict(fitted.network.normalize(image)[None], []) for image in small])
    parts["closed form"] = parts["encoding"] - features
    return parts


def main() -> int:
    """Measure and print."""
    options, segmenter = from_command_line(__doc__)
    rows: list[Row] = []
    for shots in _SHOTS:
        found = examples(shots)
        parts = preparation(segmenter, found)
        closed = parts.pop("closed form")
        for name, spent in parts.items():
            rows += spent.rows(f"K={shots}, {name}")
        whole = sum(parts.values(), start=Seconds(0.0, 0.0))
        rows += whole.rows(f"K={shots}, prepared without adaptation", 10 if shots <= 5 else None)
        rows += closed.rows(f"K={shots}, closed form", 2)
        rows += adaptation(segmenter, found).rows(f"K={shots}, adaptation", 45)
    return show(f"{options.weights}, {options.threads} threads, {_SIDE}x{_SIDE}", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
