"""Seconds that the shipped network takes for a tile of 512 x 512 pixels.

    python -m benchmarks.bench_pyramid [--threads 2] [--weights NAME] [--json FILE]

Wall time, median of twelve, float32: as PyTorch comes, and as a run has it, with freed memory kept
(`hdm_pipeline/execution/malloc.py`), which the bound is of.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import numpy.typing as npt

from benchmarks._segmenter import from_command_line
from benchmarks._table import Row, at_most, show
from hdm_pipeline.execution.malloc import keep_freed
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.segmenter import FewShotSegmenter

_SIDE = 512
_REPEATS = 12


def seconds_a_tile(segmenter: FewShotSegmenter, image: npt.NDArray[np.float32], bank: SupportBank) -> float:
    """Median seconds, after one tile to warm up."""
    seconds = []
    for _ in range(1 + _REPEATS):
        start = time.perf_counter()
        segmenter.predict(image[None], [bank])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def main() -> int:
    """Measure and print."""
    options, segmenter = from_command_line(__doc__)
    image = np.random.default_rng(0).random((3, _SIDE, _SIDE), dtype=np.float32)
    label = np.zeros((_SIDE, _SIDE), np.uint8)
    label[100:300, 150:400] = 1
    bank = segmenter.encode_support([image], [label])
    plain = seconds_a_tile(segmenter, image, bank)
    keep_freed()  # it cannot be undone
    kept = seconds_a_tile(segmenter, image, bank)
    rows = [Row(f"predict, {_SIDE}x{_SIDE}, fp32", plain, "s")]
    rows.append(at_most(f"predict, {_SIDE}x{_SIDE}, fp32, freed memory kept", kept, "s", 0.25))
    return show(f"{options.weights}, {options.threads} threads", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
