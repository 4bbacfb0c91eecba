"""What more than three bands are worth: `python -m benchmarks.band_tasks [--data DIR] [--shots 1 5] [--json FILE]`.

IoU of `builtin:pyramid-small` unadapted, for the first three bands (what a colour picture would show), for the best
three (Fisher's ratio on the examples, chosen greedily), and for all. Three kinds of tasks:

* **made spectra**: images and labels of the folders that training leaves out (`benchmarks/folder_tasks.py`). Four of
  twelve bands are mixtures of the colours. The others have structure of their own, and three of them show the target
  faintly, as they show, otherwise combined, things that are not the target. Gain, offset and noise change from picture
  to picture. The target is in the bands by construction: this says whether it is found, not how often it is there.
* **CT**: a slice and its neighbours, two on either side, as five bands; liver, spleen, aorta.
* **flood**: VV and VH of Sentinel-1 with their difference, sum and larger one, as five bands.

Nothing was tuned on any of them; weights and scales were chosen on made spectra of other folders and other seeds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks._table import Row, arguments, show
from benchmarks.folder_tasks import LEAST_SHARE, LEFT_OUT
from benchmarks.real_tasks import CT_CLASSES, CT_LEAST_PIXELS, FLOOD_CHIPS
from hdm_pipeline.evaluation.episode_list import Query, SupportSet
from hdm_pipeline.evaluation.evaluate import EvaluationSettings, prepare_task
from hdm_pipeline.iou import Counts, count
from hdm_pipeline.model.segmenter import FewShotSegmenter

Pixels = npt.NDArray[np.float32]
Shown = tuple[Pixels, npt.NDArray[np.uint8]]
"""An image [bands, y, x] in 0..1 and its mask of 1, 0 and 255."""

BANDS = 12
COLORS = 4  # of the bands: mixtures of red, green and blue
QUERIES = 3


@dataclass(frozen=True)
class Task:
    """A name, K examples, queries."""

    name: str
    examples: tuple[Shown, ...]
    queries: tuple[Shown, ...]


def made_spectra(folder: Path, shots: int, seed: int) -> Iterator[Task]:
    """The first class of a folder under a made sensor of twelve bands."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    mixtures = rng.dirichlet((1, 1, 1), BANDS)
    coupling = np.where(np.arange(BANDS) < COLORS, 0.0, 1.0)[:, None] * rng.standard_normal((BANDS, 3)) * 0.5
    gains = np.where(np.arange(BANDS) < COLORS, 1.0, rng.choice([-1.0, 1.0], BANDS) * rng.uniform(0.6, 1.3, BANDS))
    telling = rng.choice(np.arange(COLORS, BANDS), 3, replace=False)
    target, other = np.zeros(BANDS), np.zeros(BANDS)
    target[telling] = rng.uniform(0.5, 1.2) * rng.choice([-1, 1], 3)
    other[telling] = target[telling] * (-1, 0, 1)
    found: list[Shown] = []
    for path in sorted((folder / "labels").iterdir()):
        labels = np.asarray(Image.open(path))
        mask = np.where(labels == 255, 255, labels == 1).astype(np.uint8)
        if (mask == 1).mean() < LEAST_SHARE:
            continue
        (picture,) = (folder / "images").glob(f"{path.stem}.*")
        colors = np.asarray(Image.open(picture).convert("RGB")).astype(np.float64) / 255
        size = mask.shape
        fields = [ndimage.gaussian_filter(rng.standard_normal(size), sigma) for sigma in (1, 3, 8, 12)]
        *structure, place = (field / field.std() for field in fields)
        mixed = np.tensordot(mixtures, colors, axes=([1], [2]))
        spread = mixed.std((1, 2), keepdims=True) + 0.02
        soft = ndimage.gaussian_filter((mask == 1).astype(float), 0.7)
        confuser = ndimage.gaussian_filter(((place > 0.9) & (mask == 0)).astype(float), 1)
        shown = 0.5 + (mixed - 0.5) * gains[:, None, None] + spread * np.tensordot(coupling, structure, axes=1)
        shown += spread * (target[:, None, None] * soft + other[:, None, None] * confuser)
        shown = shown * rng.normal(1, 0.04, (BANDS, 1, 1)) + rng.normal(0, 0.02, (BANDS, 1, 1))
        found.append(((shown + 0.35 * spread * rng.standard_normal(shown.shape)).astype(np.float32), mask))
        if len(found) == shots + QUERIES:
            yield Task(f"made spectra, {folder.name}", *_scaled(found, shots))
            return


def ct(folder: Path, shots: int) -> Iterator[Task]:
    """Five neighbouring slices as bands."""
    import nibabel
    import pydicom

    files = [pydicom.dcmread(path) for path in (folder / "example_ct_dicom").iterdir()]
    files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    volume = np.stack([f.pixel_array * float(f.RescaleSlope) + float(f.RescaleIntercept) for f in files])
    volume = np.clip((volume + 160) / 400, 0, 1).astype(np.float32)
    labels = np.asarray(nibabel.load(folder / "example_seg_dicom.nii.gz").dataobj)  # type: ignore[attr-defined]
    labels = np.flip(labels.transpose(2, 1, 0), axis=1)
    last = len(volume) - 1
    # The slice itself first, then those next to it: the first three bands are what `neighbors: 1` gives.
    stacks = [np.stack([volume[min(max(z + d, 0), last)] for d in (0, -1, 1, -2, 2)]) for z in range(len(volume))]
    for name in ("ct-liver", "ct-spleen", "ct-aorta"):
        masks = [np.isin(slice_, CT_CLASSES[name]).astype(np.uint8) for slice_ in labels]
        seen = [z for z, mask in enumerate(masks) if mask.sum() >= CT_LEAST_PIXELS]
        chosen = [seen[len(seen) // 4]] if shots == 1 else [seen[int(i)] for i in np.linspace(0, len(seen) - 1, shots)]
        queries = [z for z in seen if z not in chosen and min(abs(z - c) for c in chosen) > (shots == 1)][::3]
        pairs = [tuple((stacks[z], masks[z]) for z in part) for part in (chosen, queries[:QUERIES])]
        yield Task(f"CT, {name.removeprefix('ct-')}", *pairs)


def flood(folder: Path) -> Iterator[Task]:
    """One chip shows the water of the two others."""
    import rasterio

    chips = []
    for name in FLOOD_CHIPS:
        with rasterio.open(folder / "images" / f"{name}_S1Hand.tif") as image:
            vv, vh = image.read()
        with rasterio.open(folder / "labels" / f"{name}_LabelHand.tif") as label:
            values = label.read(1)
        valid = np.isfinite(vv) & np.isfinite(vh)
        pixels = np.where(valid, np.stack([vv, vh, vv - vh, vv + vh, np.maximum(vv, vh)]), 0).astype(np.float32)
        chips.append((pixels, np.where((values < 0) | ~valid, 255, values).astype(np.uint8)))
    for index, name in enumerate(FLOOD_CHIPS):
        ordered = [chips[index], *(chip for other, chip in enumerate(chips) if other != index)]
        yield Task(f"flood, {name[:3]}", *_scaled(ordered, 1))


def _scaled(shown: Sequence[Shown], shots: int) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """Examples and queries in 0..1, by percentiles of the examples."""
    pooled = np.concatenate([image[:, mask != 255] for image, mask in shown[:shots]], axis=1)
    low, high = (value[:, None, None] for value in np.percentile(pooled, (0.5, 99.5), axis=1))
    scaled = [(np.clip((image - low) / (high - low), 0, 1).astype(np.float32), mask) for image, mask in shown]
    return tuple(scaled[:shots]), tuple(scaled[shots:])


def best_three(examples: Sequence[Shown]) -> list[int]:
    """Greedily the bands whose Fisher ratio is largest together."""
    low, high = (np.concatenate([image[:, mask == side] for image, mask in examples], axis=1) for side in (0, 1))
    apart = high.mean(1) - low.mean(1)
    within = 0.5 * (np.cov(low) + np.cov(high)) + 1e-4 * np.eye(len(apart))
    chosen: list[int] = []
    for _ in range(3):
        ratios = {}
        for band in set(range(len(apart))) - set(chosen):
            bands = [*chosen, band]
            ratios[band] = apart[bands] @ np.linalg.solve(within[np.ix_(bands, bands)], apart[bands])
        chosen.append(max(ratios, key=lambda band: ratios[band]))
    return sorted(chosen)


def measured(segmenter: FewShotSegmenter, task: Task, bands: Sequence[int]) -> float:
    """IoU of a task with these bands, pixels summed over its queries."""
    images, masks = (tuple(part) for part in zip(*task.examples, strict=True))
    names = tuple(str(number) for number in range(len(images)))
    support = SupportSet(tuple(image[list(bands)] for image in images), masks, names, ((0.0, 1.0),), None)
    prepared = prepare_task(segmenter, support, EvaluationSettings())
    total = Counts()
    for image, truth in task.queries:
        scores = prepared.segment(Query(image[list(bands)], np.ones(truth.shape, np.bool_), truth))
        total += count(scores >= 128, truth)
    return total.iou


def main() -> int:
    """Measure and print."""
    data = os.environ.get("HDM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path(data))
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--weights", default="builtin:pyramid")
    options = parser.parse_args()
    segmenter = FewShotSegmenter.load(options.weights)
    rows = []
    for shots in options.shots:
        tasks = [
            task
            for seed, name in enumerate(LEFT_OUT)
            for task in made_spectra(options.data / "train" / "real" / name, shots, 1000 + seed)
        ]
        tasks += ct(options.data / "dicom" / "ct-abdomen", shots)
        tasks += flood(options.data / "flood") if shots == 1 else ()
        for task in tasks:
            all_bands = range(len(task.examples[0][0]))
            for name, bands in (("first 3", range(3)), ("best 3", best_three(task.examples)), ("all", all_bands)):
                value = measured(segmenter, task, bands)
                rows.append(Row(f"{task.name}, K={shots}, {name} of {len(all_bands)}", value, "IoU"))
                print(rows[-1].name, f"{value:.3f}", file=sys.stderr, flush=True)
    return show(f"{options.weights}, unadapted", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
