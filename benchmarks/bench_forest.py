"""What a user would take instead: a random forest on pixel features, beside our network, on real floods.

    python -m benchmarks.bench_forest [--data ../shared/data] [--adapt auto] [--json FILE]

The usual interactive recipe (ilastik, Trainable Weka Segmentation): Gaussian, gradient magnitude and variance at four
scales of every band, 60 trees of scikit-learn (`hdm_pipeline/evaluation/baselines.py`). Each of three Sentinel-1 chips
with hand labels is the one example for the other two. IoU is that of all pixels of all queries together, and that of
the query where each does worst. Speed is in megapixels a CPU second, from pixels in memory to a mask; what an example
costs once (training the forest; encoding, and with `--adapt auto` adapting) is told beside it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks._segmenter import segmenter_arguments, segmenter_of
from benchmarks._table import Row, at_least, median, show
from benchmarks.real_tasks import Lists, add_flood
from hdm_pipeline.evaluation.baselines import RandomForest
from hdm_pipeline.evaluation.episode_list import ListedEpisode, load_query, load_support, read_episodes
from hdm_pipeline.evaluation.evaluate import SCORE_THRESHOLD, EvaluationSettings, prepare_task
from hdm_pipeline.iou import Counts, count

T = TypeVar("T")


@dataclass
class Told:
    """What one way of segmenting was seen to do.

    Attributes:
        speeds: megapixels a CPU second, a query each.
        preparing: CPU seconds, an example each.
        counts: pixels, a query each.
    """

    speeds: list[float] = field(default_factory=list)
    preparing: list[float] = field(default_factory=list)
    counts: list[Counts] = field(default_factory=list)

    def rows(self, name: str) -> list[Row]:
        """Its figures."""
        whole = sum(self.counts[1:], self.counts[0])
        return [
            Row(f"{name}: IoU", whole.iou, ""),
            Row(f"{name}: IoU of the worst query", min(each.iou for each in self.counts), ""),
            Row(f"{name}: speed", median(self.speeds), "Mpx/s"),
            Row(f"{name}: an example, once", median(self.preparing), "CPU s"),
        ]


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of a call, and what it gave."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def main() -> int:
    """Measure and print."""
    parser = segmenter_arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.set_defaults(weights="builtin:pyramid-small")  # the better one of water, says the model card
    parser.add_argument("--adapt", choices=["off", "auto"], default="off")
    options = parser.parse_args()
    if not (options.data / "flood").is_dir():
        raise SystemExit(f"there are no flood chips in {options.data}: give --data")
    segmenter = segmenter_of(options)
    ours, forest = Told(), Told()
    with tempfile.TemporaryDirectory() as name:
        lists = Lists(Path(name))
        add_flood(lists, options.data.resolve() / "flood")
        lists.write()
        by_example: dict[object, list[ListedEpisode]] = {}
        for episode in read_episodes(Path(name, "one_shot.jsonl")):
            by_example.setdefault(episode.support_key, []).append(episode)
        for episodes in by_example.values():
            support = load_support(episodes[0])
            settings = EvaluationSettings(adapt=options.adapt)
            seconds, task = timed(lambda: prepare_task(segmenter, support, settings))  # noqa: B023 (called at once)
            ours.preparing.append(seconds)
            trees = RandomForest()
            seconds, _ = timed(lambda: trees.fit([np.nan_to_num(i) for i in support.images], support.masks))  # noqa: B023
            forest.preparing.append(seconds)
            for episode in episodes:
                query = load_query(episode.query, support)
                megapixels = query.truth.size / 1e6
                seconds, scores = timed(lambda: task.segment(query))  # noqa: B023
                ours.speeds.append(megapixels / seconds)
                ours.counts.append(count((scores >= SCORE_THRESHOLD) & query.valid, query.truth))
                seconds, found = timed(lambda: trees.predict(query.image))  # noqa: B023
                forest.speeds.append(megapixels / seconds)
                forest.counts.append(count(found & query.valid, query.truth))
    rows = [*ours.rows("hdm"), *forest.rows("random forest")]
    rows.append(at_least("speed of hdm over the forest's", median(ours.speeds) / median(forest.speeds), "x", 1.0))
    better = sum(ours.counts[1:], ours.counts[0]).iou - sum(forest.counts[1:], forest.counts[0]).iou
    rows.append(at_least("IoU of hdm less the forest's", better, "", 0.0))
    return show(f"floods by one chip, adapt {options.adapt}", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
