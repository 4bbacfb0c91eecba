"""Whether what the studio suggests to label next is worth it: `python -m benchmarks.bench_suggest`.

Folders of real images are archives of a few dozen scenes. One example is given; one or two more are added, as `suggest`
names them or by chance, and the class is searched in images that are in neither. Printed: the mean IoU over folders,
starts and images. Folders are those that training leaves out, and real flood scenes, of which windows are labelled.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from PIL import Image

from benchmarks._segmenter import segmenter_arguments, segmenter_of
from benchmarks._table import Row, show
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import SupportError
from hdm_pipeline.grid import Window
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.pixels.sanity import Look
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.session import looks
from hdm_pipeline.session.opened import OpenScenes
from hdm_pipeline.session.scenes import Scenes
from hdm_pipeline.session.suggest import suggest
from hdm_pipeline.support.examples import SupportExample

FOLDERS = ("amazon_forest", "breast_ultrasound", "aluminium", "glomeruli", "spine_mr")
POOL, TESTS, MORE = 24, 8, 2
DRAWS = 4
FLOOD_RANGES = ((-25.0, 0.0), (-32.0, -5.0))
FLOOD_TILE = 256

Picture = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Task:
    """An archive with its truth.

    Attributes:
        name: for the table.
        tile: side of the windows.
        images: [bands, y, x] as the files hold them.
        ranges: of their bands that become 0 and 1.
        truth: of each image: 1 the class, 0 background, 255 unknown.
        starts: numbers of images of which each is once the first example.
        pool, tests: numbers of images of the archive, and of those that are searched.
    """

    name: str
    tile: int
    images: Sequence[npt.NDArray[np.generic]]
    ranges: Sequence[tuple[float, float]]
    truth: Sequence[Labels]
    starts: Sequence[int]
    pool: Sequence[int]
    tests: Sequence[int]

    def scaled(self, number: int) -> Picture:
        """An image in 0..1."""
        low, high = (np.array(ends, np.float32)[:, None, None] for ends in zip(*self.ranges, strict=True))
        found: Picture = np.clip((self.images[number].astype(np.float32) - low) / (high - low), 0, 1)
        return found

    def example(self, number: int, window: Window | None = None) -> SupportExample:
        """An image, or a window of it, with its truth."""
        whole = Window.whole(0, self.images[number].shape[1:])
        part = (window or whole).rows_columns(whole)
        pixels = np.ascontiguousarray(self.scaled(number)[:, part[0], part[1]])
        label = np.where(np.isfinite(pixels).all(axis=0), self.truth[number][part], np.uint8(255)).astype(np.uint8)
        return SupportExample(str(number), pixels, label, Look(str(number), {}, (), (), None))


def main() -> int:
    parser = segmenter_arguments(__doc__)
    data = os.environ.get("HDM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(data))
    parser.add_argument("--folders", nargs="*", default=FOLDERS)
    parser.add_argument("--starts", type=int, default=1, help="first examples of each folder")
    parser.add_argument("--coarser", type=float, default=looks.COARSER)
    options = parser.parse_args()
    looks.COARSER = options.coarser
    segmenter = segmenter_of(options)
    found: dict[str, list[float]] = {}
    seconds: list[float] = []
    for task in tasks(options.data, options.folders, options.starts):
        for start in task.starts:
            with segmenter.remembering():
                of_start = compared(task, start, segmenter, seconds)
            print(
                f"{task.name:<20} " + "  ".join(f"{name} {value:.3f}" for name, value in of_start.items()), flush=True
            )
            for name, value in of_start.items():
                found.setdefault(name, []).append(value)
    rows = [Row(f"mean IoU, {name}", float(np.mean(values)), "") for name, values in found.items()]
    for more in range(1, MORE + 1):
        gains = np.subtract(found[f"{more} suggested"], found[f"{more} by chance"])
        rows.append(Row(f"{more} suggested: gain over chance", float(gains.mean()), ""))
        rows.append(Row(f"{more} suggested: starts where it is better", float((gains > 0).mean()), ""))
    rows.append(Row("looking at a window", 1000 * float(np.median(seconds)), "ms CPU"))
    return show("what to label next", rows, options.json)


def compared(task: Task, start: int, segmenter: FewShotSegmenter, seconds: list[float]) -> dict[str, float]:
    """Mean IoU by how examples were added."""
    first = task.example(start)
    pool = [number for number in task.pool if number != start]
    with tempfile.TemporaryDirectory() as folder:
        config = write_archive(Path(folder), task, pool)
        scenes = Scenes(config, Workspace(Path(folder) / "out"), archive_reader(config))
        opened = OpenScenes(scenes)
        before = time.process_time()
        named = suggest(scenes, looks.Looks(opened), segmenter, [[first]], count=MORE)
        seconds.append((time.process_time() - before) / named[0].measures["windows_seen"])
        windows = [
            (number, window)
            for number in pool
            for window in looks.spread_windows(config, scenes.header(f"scene_{number:03}"), 256)
        ]
        opened.close()
        scenes.close()
    told = [task.example(int(one.scene.removeprefix("scene_")), one.window) for one in named]
    result = {"1 example": mean_iou(task, segmenter, [first], start)}
    for more in range(1, MORE + 1):
        result[f"{more} suggested"] = mean_iou(task, segmenter, [first, *told[:more]], start)
        drawn = []
        for seed in range(DRAWS):
            chosen = np.random.default_rng((start, seed)).choice(len(windows), more, replace=False)
            drawn.append(mean_iou(task, segmenter, [first, *(task.example(*windows[i]) for i in chosen)], start))
        result[f"{more} by chance"] = float(np.mean(drawn))
    return result


def mean_iou(task: Task, segmenter: FewShotSegmenter, examples: Sequence[SupportExample], start: int) -> float:
    """Over the images that are searched, at the threshold 0.5; of a folder where examples are unusable 0."""
    try:
        bank = segmenter.encode_support([one.pixels for one in examples], [one.label for one in examples])
    except SupportError:
        return 0.0
    ious = []
    for number in task.tests:
        if number == start:
            continue
        scores = segmenter.predict(task.scaled(number)[None], [bank])[0, 0]
        known, truth = task.truth[number] != 255, task.truth[number] == 1
        mask = (scores >= 128) & known
        union = np.count_nonzero(mask | (truth & known))
        ious.append(np.count_nonzero(mask & truth) / union if union else 1.0)
    return float(np.mean(ious))


def write_archive(folder: Path, task: Task, pool: Sequence[int]) -> PipelineConfig:
    """The images of the pool as GeoTIFF, and a pipeline over them."""
    (folder / "scenes").mkdir()
    for number in pool:
        image = task.images[number]
        size = {"count": len(image), "height": image.shape[1], "width": image.shape[2], "dtype": image.dtype.name}
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 0, 0, -1, 0)}
        with rasterio.open(folder / "scenes" / f"scene_{number:03}.tif", "w", driver="GTiff", **size, **place) as file:
            file.write(image)
    bands = list(range(1, len(task.images[0]) + 1))
    return PipelineConfig.model_validate(
        {
            "name": "suggest",
            "input": {
                "uri": str(folder / "scenes"),
                "bands": bands,
                "scale": {"fixed": [list(r) for r in task.ranges]},
            },
            "support": {"classes": [{"name": "target", "examples": [{"image": "no.tif", "mask": "no.tif"}]}]},
            "tiling": {"size": task.tile, "overlap": 0},
            "output": {"directory": str(folder / "out")},
        }
    )


def tasks(data: Path, folders: Sequence[str], starts: int) -> Iterator[Task]:
    """Every task; deterministic."""
    for name in folders:
        yield folder_task(data / "train" / "real" / name, starts)
    yield flood_task(data / "flood")


def folder_task(folder: Path, starts: int) -> Task:
    """Images of a folder, all classes together."""
    paths = sorted((folder / "labels").iterdir())
    rng = np.random.default_rng(5)
    paths = [paths[i] for i in sorted(rng.permutation(len(paths))[: POOL + TESTS])]
    images, truth = [], []
    for path in paths:
        values = np.asarray(Image.open(path))
        image = np.asarray(Image.open(next((folder / "images").glob(f"{path.stem}.*"))).convert("RGB"))
        images.append(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
        truth.append(np.where(values == 255, 255, values > 0).astype(np.uint8))
    tests = list(range(len(paths) - TESTS, len(paths)))
    pool = list(range(len(paths) - TESTS))
    showing = [number for number in pool if 0.005 < (truth[number] == 1).mean() < 0.9]
    chosen = showing[:: max(1, len(showing) // starts)][:starts]
    return Task(folder.name, 320, images, [(0.0, 255.0)] * 3, truth, chosen, pool, tests)


def flood_task(folder: Path) -> Task:
    """Real flood scenes: one is the first example, windows of the two others are labelled, and both are searched."""
    images, truth = [], []
    for name in ("USA_905409", "Nigeria_812045", "India_900498"):
        with rasterio.open(folder / "images" / f"{name}_S1Hand.tif") as file:
            images.append(file.read())
        with rasterio.open(folder / "labels" / f"{name}_LabelHand.tif") as file:
            values = file.read(1)
        truth.append(np.where(values < 0, 255, values).astype(np.uint8))
    return Task("flood", FLOOD_TILE, images, FLOOD_RANGES, truth, [0], [1, 2], [1, 2])


if __name__ == "__main__":
    torch.manual_seed(0)
    raise SystemExit(main())
