"""Episode lists from folders of real tasks that training leaves out: `python benchmarks/folder_tasks.py OUT`.

Writes `one_shot.jsonl` and `five_shot.jsonl` into OUT, with a mask of 0, 1 and 255 for each image and class. Supports
come from the first part of a folder, queries from the last: neighbouring images may show one patient or one place.
Deterministic. Then `python -m hdm_pipeline evaluate OUT/one_shot.jsonl --baseline rf`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LEFT_OUT = ("amazon_forest", "breast_ultrasound", "aluminium", "aorta_ct", "glomeruli", "spine_mr")
"""Six domains: satellite, ultrasound, surface, CT, histology, MR. `pipelines/train_pyramid.yaml` leaves them out."""

SHOTS = {"one_shot": 1, "five_shot": 5}
SUPPORT_SETS = 2
QUERIES = 5  # for each set of supports
LEAST_SHARE = 0.001  # of an image, for it to count as showing a class


def main() -> None:
    data = os.environ.get("HDM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", type=Path, default=Path(data) / "train" / "real", help="folder of folders")
    parser.add_argument("--folders", nargs="+", default=LEFT_OUT)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    lists: dict[str, list[dict[str, Any]]] = {name: [] for name in SHOTS}
    for folder in arguments.folders:
        for task, shown in classes(arguments.tasks / folder, arguments.out):
            for name, shots in SHOTS.items():
                lists[name] += episodes(task, shown, shots)
    for name, found in lists.items():
        (arguments.out / f"{name}.jsonl").write_text("".join(json.dumps(episode) + "\n" for episode in found))
        print(f"{name}.jsonl: {len(found)} episodes, {len({episode['task'] for episode in found})} tasks")


def classes(folder: Path, out: Path) -> list[tuple[str, list[dict[str, str]]]]:
    """Each class of a folder that enough images show, with these images and masks of that class, in their order."""
    labels = {path: np.asarray(Image.open(path)) for path in sorted((folder / "labels").iterdir())}
    known = sorted({int(value) for values in labels.values() for value in np.unique(values)} - {0, 255})
    found = []
    for name, wanted in [*((str(value), [value]) for value in known), ("any", known)]:
        if name == "any" and (found or not known):  # what no class has images enough for, all classes together have
            continue
        shown = []
        for path, values in labels.items():
            target = np.isin(values, wanted)
            if target.mean() < LEAST_SHARE:
                continue
            mask = out / "masks" / f"{folder.name}-{name}-{path.stem}.png"
            mask.parent.mkdir(exist_ok=True)
            Image.fromarray(np.where(values == 255, 255, target).astype(np.uint8)).save(mask)
            (image,) = sorted((folder / "images").glob(f"{path.stem}.*"))
            shown.append({"image": str(image.resolve()), "mask": str(mask.resolve())})
        if len(shown) >= max(SHOTS.values()) + SUPPORT_SETS:
            found.append((f"{folder.name}-{name}", shown))
    return found


def episodes(task: str, shown: Sequence[dict[str, str]], shots: int) -> list[dict[str, Any]]:
    """Sets of supports from the first part of the images, each with queries of its own from the last."""
    queries = min(SUPPORT_SETS * QUERIES, (len(shown) - max(SHOTS.values())))
    first, last = shown[:-queries], shown[-queries:]
    found = []
    for number in range(SUPPORT_SETS):
        starts = np.linspace(0, len(first) - 1, SUPPORT_SETS * shots).round().astype(int)
        support = [first[int(index)] for index in starts[number::SUPPORT_SETS]]
        found += [{"task": task, "support": support, "query": query} for query in last[number::SUPPORT_SETS]]
    return found


if __name__ == "__main__":
    main()
