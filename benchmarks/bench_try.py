"""How long a person waits from a stroke to the mask: `python -m benchmarks.bench_try`.

A window of 1024 x 640 pixels of the largest sample scene is tried, and a whole slice of the real CT series
(`HDM_CT_DATA`, else ../shared/data/dicom/ct-abdomen) where it is there. One, three and five scenes (slices) are
labelled by brush, with two classes. Then a stroke is drawn on one of them, saved and tried, 20 times. Told are the time
from the start of the stroke to the mask and, apart from it, the first try, which also loads the network.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import yaml

from benchmarks._table import Row, at_most, show
from hdm_pipeline import Session
from hdm_pipeline.grid import Window
from hdm_pipeline.samples.archive import make_samples
from hdm_pipeline.session.strokes import Stroke

STROKES = 20
EXAMPLES = (1, 3, 5)
NETWORKS = ("builtin:pyramid", "builtin:pyramid-small")
MOST_SECONDS = 2.0
CT = Path(os.environ.get("HDM_CT_DATA", "../shared/data/dicom/ct-abdomen"))


@dataclass(frozen=True)
class Task:
    """An archive, what is drawn on it, and the window that is tried.

    Attributes:
        name: for the table.
        folder: for pipeline files and labels.
        content: of the pipeline file.
        places: scene and slice of each example.
        window: that is tried, of the first of these.
    """

    name: str
    folder: Path
    content: Mapping[str, object]
    places: list[tuple[str, int]]
    window: Window


def main() -> int:
    """Time every task with every network and number of examples."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-try-") as folder:
        for task in _tasks(Path(folder)):
            for network in NETWORKS:
                for examples in EXAMPLES:
                    rows += _measure(task, network, examples)
                    print(*(f"{row.name} {row.value:.2f} {row.unit}" for row in rows[-4:]), sep="; ", flush=True)
    return show("from a stroke to the mask", rows)


def _tasks(folder: Path) -> Iterator[Task]:
    make_samples(folder / "samples")
    files = sorted((folder / "samples" / "scenes").glob("*.tif"), key=lambda file: -file.stat().st_size)
    scale: dict[str, object] = {"fixed": [[-25, 0], [-32, -5], [-2, 16]]}
    content: dict[str, object] = {"uri": str(folder / "samples" / "scenes"), "bands": [1, 2, "b1 - b2"], "scale": scale}
    with rasterio.open(files[0]) as file:
        y, x = (file.height - 640) // 2, (file.width - 1024) // 2
    window = Window(z=0, y=y, x=x, height=640, width=1024)
    yield Task("raster", folder / "raster", content, [(file.stem, 0) for file in files], window)
    if CT.is_dir():
        series = {"uri": str((CT / "example_ct_dicom").absolute()), "reader": "dicom", "bands": [1]}
        content = {**series, "scale": {"fixed": "abdomen"}}
        slices = [("", z) for z in (5, 12, 2, 9, 15)]
        yield Task("CT slice", folder / "ct", content, slices, Window.whole(5, (512, 512)))


def _measure(task: Task, network: str, examples: int) -> list[Row]:
    folder = task.folder / f"{network.replace(':', '-')}-{examples}"
    folder.mkdir(parents=True)
    file = folder / "try.yaml"
    support = {"adapt": "off", "classes": [{"name": "target", "examples": []}, {"name": "other", "examples": []}]}
    content = {"name": "try", "input": task.content, "support": support, "model": {"weights": network}}
    file.write_text(yaml.safe_dump({**content, "output": {"directory": "out", "products": ["score"]}}))
    random = np.random.default_rng(0)
    with Session(file) as session:
        only = session.scenes()[0].id
        places = [(scene or only, z) for scene, z in task.places]
        tried = places[0][0]
        for scene, z in places[:examples]:
            for value in (0, 1, 2, 0, 1, 2):
                session.draw(scene, _stroke(random, session, scene, z, value, task.window))
        first = _seconds(session, None, tried, task.window)
        later = []
        spent = time.process_time()
        for number in range(STROKES):
            scene, z = places[number % examples]
            stroke = _stroke(random, session, scene, z, number % 3, task.window)
            later.append(_seconds(session, (scene, stroke), tried, task.window))
        spent = (time.process_time() - spent) / STROKES
    name = f"{task.name}, {network.removeprefix('builtin:')}, {examples} example{'s' * (examples > 1)}"
    return [
        Row(f"{name}: first try", first, "s"),
        at_most(f"{name}: median of {STROKES} strokes", statistics.median(later), "s", MOST_SECONDS),
        Row(f"{name}: slowest", max(later), "s"),
        Row(f"{name}: time of all cores, a stroke", spent, "s"),  # tells more where other programs run, too
    ]


def _seconds(session: Session, drawn: tuple[str, Stroke] | None, scene: str, window: Window) -> float:
    """From a stroke to the mask."""
    start = time.perf_counter()
    if drawn is not None:
        session.draw(*drawn)
    session.try_window(scene, window)
    return time.perf_counter() - start


def _stroke(random: np.random.Generator, session: Session, scene: str, z: int, value: int, window: Window) -> Stroke:
    """Thirty pixels of a brush, within the window where the scene is large enough."""
    _, _, height, width = session.header(scene).shape
    y0, x0 = (window.y, window.x) if height > window.bottom and width > window.right else (0, 0)
    y, x = y0 + random.uniform(20, min(height, 640) - 20), x0 + random.uniform(20, min(width, 1024) - 20)
    path: npt.NDArray[np.float64] = np.cumsum(random.normal(0, 4, (30, 2)), axis=0) + np.array([x, y])
    return Stroke(z, "brush", value, tuple(map(tuple, path.tolist())), 8.0)


if __name__ == "__main__":
    raise SystemExit(main())
