"""Builds episode lists of real few-shot tasks from the test data: `python benchmarks/real_tasks.py OUT [--data DIR]`.

Writes `one_shot.jsonl`, `five_shot.jsonl` and `empty.jsonl` (queries without the target) into OUT, with the masks they
need as PNG; images are named where they lie. Deterministic. Then `python -m hdm_pipeline evaluate OUT/one_shot.jsonl`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

CT_CLASSES = {
    "ct-liver": (5,),
    "ct-spleen": (1,),
    "ct-stomach": (6,),
    "ct-aorta": (52,),
    "ct-back-muscle": (86, 87),
}
CT_LEAST_PIXELS = 150
NUCLEI_QUERIES = 6
NUCLEI_HELD_OUT = 5  # training leaves out every fifth image: only those are used here
FLOOD_CHIPS = ("USA_905409", "Nigeria_812045", "India_900498")


@dataclass
class Lists:
    """Episodes collected so far, by the name of their list."""

    folder: Path
    episodes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, name: str, task: str, support: Sequence[Pair], query: Pair, scale: Sequence[float] | None) -> None:
        """Add an episode to the list `name`."""
        record: dict[str, Any] = {
            "task": task,
            "support": [pair.as_dict() for pair in support],
            "query": query.as_dict(),
        }
        self.episodes.setdefault(name, []).append(record | ({"scale": list(scale)} if scale else {}))

    def write(self) -> None:
        """Write every list and print its size."""
        for name, episodes in self.episodes.items():
            lines = "".join(json.dumps(episode) + "\n" for episode in episodes)
            (self.folder / f"{name}.jsonl").write_text(lines)
            print(f"{name}.jsonl: {len(episodes)} episodes, {len({e['task'] for e in episodes})} tasks")


@dataclass(frozen=True)
class Pair:
    """An image and the mask made for it."""

    image: Path
    mask: Path

    def as_dict(self) -> dict[str, str]:
        """As the list names it."""
        return {"image": str(self.image), "mask": str(self.mask)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    lists = Lists(arguments.out)
    add_flood(lists, arguments.data.resolve() / "flood")
    add_ct(lists, arguments.data.resolve() / "dicom" / "ct-abdomen")
    add_nuclei(lists, arguments.data.resolve() / "train" / "nuclei")
    lists.write()


def save_mask(folder: Path, name: str, mask: npt.NDArray[np.uint8]) -> Path:
    path = folder / "masks" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def add_flood(lists: Lists, folder: Path) -> None:
    """Each chip as the one support of the others; for five shots the quarters of one chip and one of another."""
    import rasterio

    chips, quarters, dry = {}, {}, {}
    for name in FLOOD_CHIPS:
        image_path = folder / "images" / f"{name}_S1Hand.tif"
        with rasterio.open(image_path) as image, rasterio.open(folder / "labels" / f"{name}_LabelHand.tif") as label:
            pixels, values = image.read(), label.read(1)
        mask = np.where(values < 0, 255, values).astype(np.uint8)
        mask[~np.isfinite(pixels).all(axis=0)] = 255
        chips[name] = Pair(image_path, save_mask(lists.folder, f"flood-{name}", mask))
        quarters[name] = [
            cut(lists.folder, f"flood-{name}", pixels, mask, y, x, 256) for y in (0, 256) for x in (0, 256)
        ]
        places = [(y, x) for y in range(0, 512, 128) for x in range(0, 512, 128)]
        dry[name] = [
            cut(lists.folder, f"flood-{name}", pixels, mask, y, x, 128)
            for y, x in places
            if (mask[y : y + 128, x : x + 128] == 0).mean() > 0.9 and not (mask[y : y + 128, x : x + 128] == 1).any()
        ]
    for support in FLOOD_CHIPS:
        for query in FLOOD_CHIPS:
            if support == query:
                continue
            lists.add("one_shot", "flood", [chips[support]], chips[query], None)
            lists.add(
                "flood_usa" if support.startswith("USA") else "flood_other",
                f"{support[:3]}>{query[:3]}",
                [chips[support]],
                chips[query],
                None,
            )
            third = next(name for name in FLOOD_CHIPS if name not in (support, query))
            lists.add("five_shot", "flood", [*quarters[support], quarters[third][0]], chips[query], None)
            for tile in dry[query][:4]:
                lists.add("empty", "flood", [chips[support]], tile, None)


def cut(
    folder: Path, name: str, pixels: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8], y: int, x: int, size: int
) -> Pair:
    stem = f"{name}-{size}-{y}-{x}"
    path = folder / "images" / f"{stem}.npy"
    path.parent.mkdir(exist_ok=True)
    np.save(path, pixels[:, y : y + size, x : x + size])
    return Pair(path, save_mask(folder, stem, np.ascontiguousarray(mask[y : y + size, x : x + size])))


def add_ct(lists: Lists, folder: Path) -> None:
    """Slices of one volume: one or five evenly spread slices show the organ, slices between them are segmented."""
    import nibabel
    import pydicom

    paths = sorted(
        (folder / "example_ct_dicom").iterdir(),
        key=lambda path: float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]),
    )
    labels = np.asarray(nibabel.load(folder / "example_seg_dicom.nii.gz").dataobj)  # type: ignore[attr-defined]
    # NIfTI axes are (left, anterior, superior), DICOM rows run to posterior.
    labels = np.flip(labels.transpose(2, 1, 0), axis=1)
    for task, values in CT_CLASSES.items():
        masks = [np.isin(slice_, values).astype(np.uint8) for slice_ in labels]
        pairs = [
            Pair(path, save_mask(lists.folder, f"{task}-{index:02d}", mask))
            for index, (path, mask) in enumerate(zip(paths, masks, strict=True))
        ]
        shown = [index for index, mask in enumerate(masks) if mask.sum() >= CT_LEAST_PIXELS]
        without = [index for index, mask in enumerate(masks) if mask.sum() == 0]
        for support, queries in spread(shown):
            for query in queries:
                name = "one_shot" if len(support) == 1 else "five_shot"
                lists.add(name, task, [pairs[index] for index in support], pairs[query], (-160, 240))
        for query in without[::3]:
            lists.add("empty", task, [pairs[shown[len(shown) // 2]]], pairs[query], (-160, 240))


def spread(shown: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """(supports, queries): one support at a quarter of the range, and five supports, each with queries apart."""
    one = [shown[len(shown) // 4]]
    yield one, [index for index in shown if abs(index - one[0]) > 1][::3]
    five = [shown[round(position)] for position in np.linspace(0, len(shown) - 1, 5)]
    yield five, [index for index in shown if index not in five][::3]


def add_nuclei(lists: Lists, folder: Path) -> None:
    """Nuclei in fluorescence and in stained tissue, as two tasks, of the images that training leaves out."""
    kinds: dict[str, list[Pair]] = {"nuclei-dark": [], "nuclei-stained": []}
    for path in sorted((folder / "images").iterdir())[NUCLEI_HELD_OUT - 1 :: NUCLEI_HELD_OUT]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        kind = "nuclei-dark" if pixels.mean() < 100 else "nuclei-stained"
        if len(kinds[kind]) < 5 + 2 * NUCLEI_QUERIES:
            instances = np.asarray(Image.open(folder / "masks" / f"{path.stem}.png"))
            mask = (instances > 0).astype(np.uint8)
            kinds[kind].append(Pair(path, save_mask(lists.folder, f"nuclei-{path.stem}", mask)))
    for task, pairs in kinds.items():
        for number, query in enumerate(pairs[5 : 5 + NUCLEI_QUERIES]):
            lists.add("one_shot", task, [pairs[number % 2]], query, None)
            lists.add("five_shot", task, pairs[:5], query, None)


if __name__ == "__main__":
    main()
