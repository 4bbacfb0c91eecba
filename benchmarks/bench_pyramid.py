"""Seconds that the shipped network takes for a tile of 512 x 512 pixels, and what faster modes gain and change.

    python -m benchmarks.bench_pyramid [--threads 2] [--weights NAME] [--tasks DIR] [--json FILE]

First wall time, median of twelve, float32: as PyTorch comes, and as a run has it, with freed memory kept
(`hdm_pipeline/execution/malloc.py`), which the bound is of. Then ratios of CPU seconds, with freed memory kept, and the
share of mask pixels that stay as in float32 on real queries: one of each task of the folders that training leaves out,
five supports each, cut to 512 x 512. Without openvino or the tasks those rows are left out, which the title says.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks._segmenter import segmenter_arguments, segmenter_of
from benchmarks._table import Row, alternate, at_least, at_most, median, show
from benchmarks.folder_tasks import LEFT_OUT, classes, episodes
from hdm_pipeline.execution.malloc import keep_freed
from hdm_pipeline.iou import Counts, count
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.segmenter import FewShotSegmenter, Precision, Runtime

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


MODES: tuple[tuple[Precision, Runtime], ...] = (
    ("bf16", "torch"),
    ("fp32", "openvino"),
    ("bf16", "openvino"),
    ("auto", "openvino"),
)
_GAIN = 2.5  # of `precision: auto`, over fp32 in PyTorch
_AGREEMENT = 0.995
_SHOTS = 5


def tasks(folder: Path) -> Iterator[list[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]]:
    """Of each class of the left-out folders five supports and a query, as images [3, H, W] in [0, 1] and labels."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in LEFT_OUT:
            for task, shown in classes(folder / name, Path(scratch)):
                episode = episodes(task, shown, _SHOTS)[0]
                yield [_pair(pair) for pair in [*episode["support"], episode["query"]]]


def _pair(names: dict[str, str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    image = Image.open(names["image"]).convert("RGB").resize((_SIDE, _SIDE))
    mask = Image.open(names["mask"]).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
    return np.moveaxis(np.asarray(image, np.float32) / 255, 2, 0), np.asarray(mask, np.uint8)


def modes(plain: FewShotSegmenter, folder: Path) -> list[Row]:
    """CPU seconds and agreement of the faster modes."""
    found = {mode: Counts() for mode in MODES}
    seconds: dict[tuple[str, str], list[float]] = {mode: [] for mode in MODES}
    exact: list[float] = []
    for pairs in tasks(folder):
        supports = [image for image, _ in pairs[:-1]], [label for _, label in pairs[:-1]]
        bank = plain.encode_support(*supports)
        query = pairs[-1][0][None]
        reference = plain.predict(query, [bank]) > 127
        for precision, runtime in MODES:
            fast = FewShotSegmenter.from_network(plain.network, device="cpu", precision=precision, runtime=runtime)
            own = fast.encode_support(*supports) if precision == "auto" else bank  # it has the mode that it chose
            found[precision, runtime] += count(fast.predict(query, [own]) > 127, reference.astype(np.uint8))
            ours, theirs = alternate(3, partial(fast.predict, query, [own]), partial(plain.predict, query, [bank]))
            seconds[precision, runtime].append(median(ours))
            exact.append(median(theirs))
    rows = [Row("fp32 torch, CPU", median(exact), "s")]
    for mode in MODES:
        gain, kept, name = sum(exact) / len(MODES) / sum(seconds[mode]), found[mode].agreement, " ".join(mode)
        same = f"{name}, pixels as in fp32"
        asked = mode[0] == "auto"  # the others are refused where the examples disagree
        rows.append(at_least(f"{name}, CPU", gain, "x", _GAIN) if asked else Row(f"{name}, CPU", gain, "x"))
        rows.append(at_least(same, kept, "", _AGREEMENT) if asked else Row(same, kept, ""))
    return rows


def main() -> int:
    """Measure and print."""
    parser = segmenter_arguments(__doc__)
    data = os.environ.get("HDM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--tasks", type=Path, default=Path(data) / "train" / "real", help="folder of folders")
    options = parser.parse_args()
    segmenter = segmenter_of(options)
    image = np.random.default_rng(0).random((3, _SIDE, _SIDE), dtype=np.float32)
    label = np.zeros((_SIDE, _SIDE), np.uint8)
    label[100:300, 150:400] = 1
    bank = segmenter.encode_support([image], [label])
    plain = seconds_a_tile(segmenter, image, bank)
    keep_freed()  # it cannot be undone
    kept = seconds_a_tile(segmenter, image, bank)
    rows = [Row(f"predict, {_SIDE}x{_SIDE}, fp32", plain, "s")]
    rows.append(at_most(f"predict, {_SIDE}x{_SIDE}, fp32, freed memory kept", kept, "s", 0.25))
    title = f"{options.weights}, {options.threads} threads"
    if find_spec("openvino") is None or not options.tasks.is_dir():
        return show(f"{title}; without modes, which need openvino and the tasks", rows, options.json)
    return show(title, [*rows, *modes(segmenter, options.tasks)], options.json)


if __name__ == "__main__":
    sys.exit(main())
