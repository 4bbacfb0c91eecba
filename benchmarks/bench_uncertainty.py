"""Whether the uncertainty finds errors that the margin of a score does not, and what it costs.

    python -m benchmarks.bench_uncertainty [--shots 5] [--queries 2] [--weights NAME] [--threads 2] [--json FILE]

On folders of real tasks that training leaves out (`folder_tasks`). AUROC: how often a wrong pixel is more uncertain
than a right one, 0.5 being chance. Risk: area under the curve of the share of wrong pixels over the share of the surest
pixels that are kept, in percent; less is better. Means over tasks. *Own* queries are of the task's folder. *Mixed* are
these and as many of other folders: the class is not there, so that all that is found is wrong. The margin is 1 - |2 p -
1| of the score. CPU seconds are those of a tile of 512 x 512 pixels with the examples of the last task.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score

from benchmarks._table import Row, alternate, arguments, median, show
from benchmarks.folder_tasks import LEFT_OUT, SHOTS, classes, episodes
from hdm_pipeline.evaluation.episode_list import (
    ListedEpisode,
    Query,
    SupportSet,
    load_query,
    load_support,
    read_episodes,
)
from hdm_pipeline.execution.malloc import keep_freed
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import bounded, support_tensors
from hdm_pipeline.model.weights_file import weights_path
from hdm_pipeline.support.fit import fit_to_examples

_PIXELS = 6000  # of each query
_REPEATS = 5
MEASURES = ("margin", "uncertainty")

Values = npt.NDArray[np.float64]
Wrong = npt.NDArray[np.bool_]


@dataclass
class Found:
    """Pixels of a task's queries: by measure how doubtful, and whether the mask is wrong there."""

    doubt: dict[str, list[Values]] = field(default_factory=lambda: {measure: [] for measure in MEASURES})
    wrong: list[Wrong] = field(default_factory=list)

    def add(self, segmenter: FewShotSegmenter, bank: SupportBank, query: Query, truth: npt.NDArray[np.uint8]) -> None:
        """Segment a query and keep some of its pixels."""
        answer = segmenter.answer("doubt", query.image[None], [bank], valid=query.valid[None])[0]
        known = np.flatnonzero((truth != 255) & query.valid)
        chosen = np.random.default_rng(0).permutation(known)[:_PIXELS]
        score, _, uncertainty = answer.reshape(3, -1)[:, chosen].astype(np.float64)
        self.doubt["margin"].append(255 - abs(2 * score - 255))
        self.doubt["uncertainty"].append(uncertainty)
        self.wrong.append((score >= 128) != (truth.ravel()[chosen] == 1))

    def figures(self, measure: str) -> tuple[float, float]:
        """AUROC and risk."""
        doubt, wrong = np.concatenate(self.doubt[measure]), np.concatenate(self.wrong)
        # Equal values come in a random, but always the same order.
        order = np.lexsort((np.random.default_rng(0).random(len(doubt)), doubt))
        risk = np.cumsum(wrong[order]) / np.arange(1, len(wrong) + 1)
        return float(roc_auc_score(wrong, doubt)), 100 * float(risk.mean())


def main() -> int:
    """Measure and print."""
    options, segmenter = _options()
    keep_freed()
    with tempfile.TemporaryDirectory() as folder:
        return _measure(options, segmenter, _tasks(options.shots, Path(folder)))


def _measure(options: argparse.Namespace, segmenter: FewShotSegmenter, tasks: list[list[ListedEpisode]]) -> int:
    own, mixed = [], []
    for number, listed in enumerate(tasks):
        support = load_support(listed[0])
        fitted, bank = _fitted(segmenter, support, listed[0].task)
        found = Found()
        for episode in listed[: options.queries]:
            query = load_query(episode.query, support)
            found.add(fitted, bank, query, query.truth)
        both = Found({measure: list(values) for measure, values in found.doubt.items()}, list(found.wrong))
        others = [task for task in tasks if _folder(task) != _folder(listed)]
        for index in range(options.queries):
            query = _stranger(others[(number + index) % len(others)][index], len(support.images[0]))
            both.add(fitted, bank, query, query.truth)
        own.append(found)
        mixed.append(both)
    rows = [*_rows("own", own), *_rows("mixed", mixed), *_seconds(fitted, bank)]
    return show(f"{options.weights}, {options.shots} examples, {len(tasks)} tasks", rows, options.json)


def _fitted(segmenter: FewShotSegmenter, support: SupportSet, task: str) -> tuple[FewShotSegmenter, SupportBank]:
    """A segmenter at the reduction that the examples choose, and their bank."""
    examples = support_tensors(support.images, support.masks, task)
    fit = fit_to_examples(segmenter.network, examples, adapt="off")
    fitted = segmenter.refitted(segmenter.network, fit.reduction)
    return fitted, fitted.encode(bounded(examples), describe=True)


def _stranger(episode: ListedEpisode, channels: int) -> Query:
    """The query of another task as one in which there is nothing to find, in gray where it has other channels."""
    query = load_query(episode.query, load_support(episode))
    image = query.image if len(query.image) == channels else query.image.mean(0, keepdims=True).repeat(channels, 0)
    return Query(image, query.valid, np.where(query.valid, 0, 255).astype(np.uint8))


def _seconds(segmenter: FewShotSegmenter, bank: SupportBank) -> list[Row]:
    tile = np.random.default_rng(0).random((1, 3, 512, 512), dtype=np.float32)
    calls = [lambda k=kind: segmenter.answer(k, tile, [bank]) for kind in ("distance", "doubt")]  # type: ignore[misc]
    names = ("tile, without uncertainty", "tile, with uncertainty")
    return [Row(name, median(s), "s") for name, s in zip(names, alternate(_REPEATS, *calls), strict=True)]


def _options() -> tuple[argparse.Namespace, FewShotSegmenter]:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", default="builtin:pyramid")
    parser.add_argument("--shots", type=int, default=2, choices=range(1, max(SHOTS.values()) + 1))
    parser.add_argument("--queries", type=int, default=2, help="of each task, and as many of other folders")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options, FewShotSegmenter.load(weights_path(options.weights))


def _tasks(shots: int, folder: Path) -> list[list[ListedEpisode]]:
    """The episodes of each task that share one set of examples."""
    data = os.environ.get("HDM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    found = []
    for name in LEFT_OUT:
        for task, shown in classes(Path(data) / "train" / "real" / name, folder):
            path = folder / f"{task}.jsonl"
            path.write_text("".join(json.dumps(record) + "\n" for record in episodes(task, shown, shots)))
            listed = read_episodes(path)
            found.append([episode for episode in listed if episode.support_key == listed[0].support_key])
    return found


def _folder(listed: Sequence[ListedEpisode]) -> str:
    return listed[0].task.rpartition("-")[0]


def _rows(name: str, found: Sequence[Found]) -> list[Row]:
    rows = []
    for measure in MEASURES:
        auroc, risk = np.mean([task.figures(measure) for task in found], axis=0)
        rows += [Row(f"{name}: AUROC of the {measure}", auroc, ""), Row(f"{name}: risk by the {measure}", risk, "%")]
    return rows


if __name__ == "__main__":
    sys.exit(main())
