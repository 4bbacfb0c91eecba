"""What the network makes of small images and of strips at an edge, seen as they are and filled up by reflection.

    python -m benchmarks.bench_edges [--weights NAME] [--episodes 32] [--tasks FOLDER] [--json FILE]

Queries of the folders that training leaves out (`benchmarks/folder_tasks.py`), all images at 224 pixels a side; IoU as
`evaluate` counts it, a mean over the tasks. A strip is the first 96 columns of a query, a square is cut out of its
middle. It repeats the comparisons of docs/decisions/edges-of-scenes.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks._table import Row, arguments, show
from benchmarks.folder_tasks import LEFT_OUT, SHOTS, classes, episodes
from hdm_pipeline.iou import Counts, count
from hdm_pipeline.model.segmenter import FewShotSegmenter

_SIDE = 224
_STRIP = 96
_SQUARES = {64: (128, 384), 96: (128, 384)}
_LEAST = 128
"""Half of the scores' range: from here on a pixel is the class."""

Picture = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
Ask = Callable[[Picture], npt.NDArray[np.bool_]]


def read(example: dict[str, str]) -> tuple[Picture, Mask]:
    """An image [3, side, side] in 0..1 and its mask [side, side]."""
    size = (_SIDE, _SIDE)
    image = Image.open(example["image"]).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    mask = Image.open(example["mask"]).resize(size, Image.Resampling.NEAREST)
    return np.moveaxis(np.asarray(image, np.float32) / 255, -1, 0), np.asarray(mask, np.uint8)


def filled(image: Picture, height: int, width: int) -> Picture:
    """An image with more rows below it and columns beside it, by reflection."""
    more = [(0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])]
    return np.pad(image, more, mode="symmetric")


def answers(image: Picture, truth: Mask, ask: Ask) -> dict[str, Counts]:
    """How well each way of looking at a query finds the class."""
    whole, strip = ask(image), image[:, :, :_STRIP]
    found = {
        "the whole": count(whole, truth),
        "the whole, filled up to 512": count(ask(filled(image, 512, 512))[:_SIDE, :_SIDE], truth),
        "a strip, seen with the rest": count(whole[:, :_STRIP], truth[:, :_STRIP]),
        "a strip, filled up": count(ask(filled(strip, _SIDE, _SIDE))[:, :_STRIP], truth[:, :_STRIP]),
        "a strip alone": count(ask(strip), truth[:, :_STRIP]),
    }
    for side, fills in _SQUARES.items():
        first = (_SIDE - side) // 2
        middle = (slice(first, first + side),) * 2
        square, label = image[:, middle[0], middle[1]], truth[middle]
        found[f"a square of {side}"] = count(ask(square), label)
        for to in fills:
            answer = ask(filled(square, to, to))[:side, :side]
            found[f"a square of {side}, filled up to {to}"] = count(answer, label)
    return found


def figures(network: FewShotSegmenter, listed: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean IoU over the tasks, by way of looking."""
    sums: dict[str, dict[str, Counts]] = {}
    for episode in listed:
        images, masks = zip(*map(read, episode["support"]), strict=True)
        bank = network.encode_support(images, masks)
        ask: Ask = lambda tile, bank=bank: network.predict(tile[None], [bank])[0, 0] >= _LEAST  # noqa: E731
        for way, counted in answers(*read(episode["query"]), ask).items():
            of_way = sums.setdefault(way, {})
            of_way[episode["task"]] = of_way.get(episode["task"], Counts()) + counted
    return {way: float(np.nanmean([one.iou for one in tasks.values()])) for way, tasks in sums.items()}


def spread(listed: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many episodes, evenly of all."""
    return [listed[int(index)] for index in np.linspace(0, len(listed) - 1, min(most, len(listed))).round()]


def main() -> int:
    """Measure and print."""
    data = os.environ.get("HDM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = arguments(__doc__)
    parser.add_argument("--weights", default="builtin:pyramid")
    parser.add_argument("--episodes", type=int, default=32, help="of each number of examples")
    parser.add_argument("--tasks", type=Path, default=Path(data) / "train" / "real", help="folder of folders")
    parser.add_argument("--folders", nargs="+", default=LEFT_OUT)
    options = parser.parse_args()
    if not options.tasks.is_dir():
        print(f"no real tasks in {options.tasks}: name their folder by --tasks, or set HDM_TEST_DATA")
        return 0
    torch.set_num_threads(1)
    network = FewShotSegmenter.load(options.weights)
    rows = []
    with tempfile.TemporaryDirectory() as out:
        tasks = [task for folder in options.folders for task in classes(options.tasks / folder, Path(out))]
        for shots in SHOTS.values():
            listed = [episode for task, shown in tasks for episode in episodes(task, shown, shots)]
            found = figures(network, spread(listed, options.episodes))
            rows += [Row(f"K={shots}: {way}", iou, "IoU") for way, iou in found.items()]
    return show("small images and edges", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
