"""Ways to segment a scene with one network, each in a process of its own; `bench_peers` starts them.

    python -m benchmarks._contenders NAME --job JOB.json

All read the same file, call the same function on tiles of one size and overlap (`FewShotSegmenter.predict`, in batches
of four), and write a mask: a tiled GeoTIFF with deflate, or a NIfTI. What differs is what lies around the network.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._process_tree import own_cpu

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

CHUNK = 2048
"""Side of the windows of `monai-windows` and `patchly-chunks`, in pixels."""

LEAST = 128
"""Least score of 0..255 that is the class."""


@dataclass(frozen=True)
class Job:
    """What is to be done; the same for all.

    Attributes:
        source: a GeoTIFF, or a folder of DICOM slices.
        out: folder for the product.
        pipeline: the pipeline file by which hdm does it.
        weights: name or path of the network's weights.
        chip, mask: the example: pixels [bands, y, x] and labels [y, x], as .npy files.
        low, high: pixel values that become 0 and 1.
        tile, overlap, batch, threads: as the pipeline file has them.
        scores: also keep the scores [y, x] as ``scores.npy``.
    """

    source: str
    out: str
    pipeline: str
    weights: str
    chip: str
    mask: str
    low: float
    high: float
    tile: int
    overlap: int
    batch: int
    threads: int
    scores: bool = False


class Predictor:
    """The network, ready: tiles [n, bands, y, x] of 0..1 to scores [n, y, x] uint8."""

    def __init__(self, job: Job) -> None:
        import torch

        from hdm_pipeline.model.segmenter import FewShotSegmenter
        from hdm_pipeline.model.weights_file import weights_path

        torch.set_num_threads(job.threads)
        self._segmenter = FewShotSegmenter.load(weights_path(job.weights))
        self._bank = self._segmenter.encode_support([scaled(np.load(job.chip), job)], [np.load(job.mask)])

    def scores(self, tiles: Floats) -> npt.NDArray[np.uint8]:
        return self._segmenter.predict(tiles, [self._bank])[:, 0]

    def torch(self, tiles: Any) -> Any:
        """The same of tensors, as probabilities [n, 1, y, x] float32."""
        import torch

        found = torch.from_numpy(self.scores(tiles.numpy())[:, None])
        return found.to(torch.float32) / 255


def scaled(pixels: Array, job: Job) -> Floats:
    """To 0..1."""
    return np.clip((pixels.astype(np.float32) - np.float32(job.low)) / np.float32(job.high - job.low), 0, 1)


class Target:
    """The mask that a contender writes, and its scores where they are asked for."""

    def __init__(self, job: Job, profile: dict[str, Any]) -> None:
        import rasterio

        layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 6}
        place = {name: profile[name] for name in ("height", "width", "crs", "transform")}
        self._file = rasterio.open(
            Path(job.out, "mask.tif"), "w", driver="GTiff", dtype="uint8", count=1, **place, **layout
        )
        self._scores = np.zeros((profile["height"], profile["width"]), np.uint8) if job.scores else None
        self._job = job

    def write(self, y: int, x: int, scores: npt.NDArray[np.uint8]) -> None:
        from rasterio.windows import Window

        height, width = scores.shape
        self._file.write((scores >= LEAST).astype(np.uint8)[None], window=Window(x, y, width, height))
        if self._scores is not None:
            self._scores[y : y + height, x : x + width] = scores

    def close(self) -> None:
        self._file.close()
        if self._scores is not None:
            np.save(Path(self._job.out, "scores.npy"), self._scores)


def as_bytes(probabilities: Array) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(probabilities * 255), dtype=np.uint8)


def whole_scene(job: Job) -> tuple[Floats, dict[str, Any]]:
    import rasterio

    with rasterio.open(job.source) as file:
        return scaled(file.read(), job), dict(file.profile)


def monai(job: Job, mode: str) -> None:
    """MONAI's `sliding_window_inference` over the whole array."""
    import torch
    from monai.inferers import sliding_window_inference

    predictor = Predictor(job)
    pixels, profile = whole_scene(job)
    with torch.no_grad():
        found = sliding_window_inference(
            torch.from_numpy(pixels)[None], (job.tile, job.tile), job.batch, predictor.torch,
            overlap=job.overlap / job.tile, mode=mode,
        )  # fmt: skip
    target = Target(job, profile)
    target.write(0, 0, as_bytes(found[0, 0].numpy()))
    target.close()


def monai_windows(job: Job) -> None:
    """The same over windows that share two overlaps with the next; of each its middle is kept."""
    import rasterio
    import torch
    from monai.inferers import sliding_window_inference
    from rasterio.windows import Window

    predictor = Predictor(job)
    with rasterio.open(job.source) as file:
        target = Target(job, dict(file.profile))
        height, width = file.shape
        for y, x in corners(height, width, CHUNK):
            top, left = max(0, y - job.overlap), max(0, x - job.overlap)
            bottom, right = min(height, y + CHUNK + job.overlap), min(width, x + CHUNK + job.overlap)
            pixels = scaled(file.read(window=Window(left, top, right - left, bottom - top)), job)
            with torch.no_grad():
                found = sliding_window_inference(
                    torch.from_numpy(pixels)[None], (job.tile, job.tile), job.batch, predictor.torch,
                    overlap=job.overlap / job.tile, mode="constant",
                )  # fmt: skip
            kept = found[0, 0, y - top : y - top + CHUNK, x - left : x - left + CHUNK]
            target.write(y, x, as_bytes(kept.numpy()))
        target.close()


def corners(height: int, width: int, step: int) -> Iterator[tuple[int, int]]:
    return ((y, x) for y in range(0, height, step) for x in range(0, width, step))


def patchly(job: Job) -> None:
    """patchly's sampler and aggregator over the whole array, Gaussian weights."""
    from patchly import Aggregator, GridSampler, SamplingMode

    predictor = Predictor(job)
    pixels, profile = whole_scene(job)
    size, step = pixels.shape[1:], (job.tile - job.overlap,) * 2
    sampler = GridSampler(
        pixels, size, (job.tile, job.tile), step, spatial_first=False, mode=SamplingMode.SAMPLE_SQUEEZE
    )
    gathered = Aggregator(sampler, output=np.zeros((1, *size), np.float32), spatial_first=False, weights="gaussian")
    batch: list[tuple[Any, Any]] = []

    def flush() -> None:
        scores = predictor.scores(np.stack([patch for patch, _ in batch]))
        for (_, box), one in zip(batch, scores, strict=True):
            gathered.append(one[None].astype(np.float32) / 255, box)
        batch.clear()

    for patch in sampler:
        batch.append(patch)
        if len(batch) == job.batch:
            flush()
    if batch:
        flush()
    target = Target(job, profile)
    target.write(0, 0, as_bytes(gathered.get_output(inplace=True)[0]))
    target.close()


def bare(job: Job) -> None:
    """A loop over rasterio windows that blends nothing: of each tile its middle is kept, half an overlap cut off."""
    import rasterio
    from rasterio.windows import Window

    predictor = Predictor(job)
    half, stride = job.overlap // 2, job.tile - job.overlap
    with rasterio.open(job.source) as file:
        target = Target(job, dict(file.profile))
        height, width = file.shape
        places = list(corners(max(1, height - job.overlap), max(1, width - job.overlap), stride))
        for start in range(0, len(places), job.batch):
            chosen = places[start : start + job.batch]
            tiles = []
            for y, x in chosen:
                rows, columns = min(job.tile, height - y), min(job.tile, width - x)
                pixels = scaled(file.read(window=Window(x, y, columns, rows)), job)
                if (rows, columns) != (job.tile, job.tile):
                    pixels = np.pad(pixels, ((0, 0), (0, job.tile - rows), (0, job.tile - columns)), mode="reflect")
                tiles.append(pixels)
            for (y, x), scores in zip(chosen, predictor.scores(np.stack(tiles)), strict=True):
                top, left = half * (y > 0), half * (x > 0)
                bottom = height - y if y + job.tile >= height else job.tile - half
                right = width - x if x + job.tile >= width else job.tile - half
                target.write(y + top, x + left, scores[top:bottom, left:right])
        target.close()


def untiled(job: Job) -> None:
    """The network on the whole scene at once: what the others are compared with."""
    predictor = Predictor(job)
    pixels, profile = whole_scene(job)
    target = Target(job, profile)
    target.write(0, 0, predictor.scores(pixels[None])[0])
    target.close()


def hdm(job: Job) -> None:
    """A run of this pipeline; whether inline or on Ray is said by the pipeline file."""
    from hdm_pipeline.pipeline import Pipeline

    Pipeline.from_yaml(Path(job.pipeline)).run()


def slices_of(job: Job) -> tuple[npt.NDArray[np.int16], Array]:
    """A CT [z, y, x] in HU, sorted along its normal, and its affine."""
    import pydicom

    found = sorted(
        (pydicom.dcmread(path) for path in Path(job.source).iterdir()),
        key=lambda one: float(one.ImagePositionPatient[2]),
    )
    volume = np.empty((len(found), found[0].Rows, found[0].Columns), np.int16)
    for target, one in zip(volume, found, strict=True):
        target[...] = one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)
    across, down = (float(value) for value in found[0].PixelSpacing)
    return volume, np.diag([-across, -down, 2.0, 1.0])


def save_volume(job: Job, mask: npt.NDArray[np.uint8], affine: Array) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(mask.transpose(2, 1, 0), affine), Path(job.out, "mask.nii.gz"))  # type: ignore[attr-defined]


def monai_volume(job: Job, mode: str) -> None:
    """MONAI over all slices as one batch."""
    import torch
    from monai.inferers import sliding_window_inference

    predictor = Predictor(job)
    volume, affine = slices_of(job)
    pixels = torch.from_numpy(scaled(volume, job))[:, None]
    with torch.no_grad():
        found = sliding_window_inference(
            pixels, (job.tile, job.tile), job.batch, predictor.torch, overlap=job.overlap / job.tile, mode=mode
        )
    save_volume(job, (found[:, 0].numpy() * 255 >= LEAST).astype(np.uint8), affine)


def bare_volume(job: Job) -> None:
    """Slices of a volume in memory, batch after batch; one tile is one slice."""
    predictor = Predictor(job)
    volume, affine = slices_of(job)
    mask = np.empty(volume.shape, np.uint8)
    for start in range(0, len(volume), job.batch):
        part = slice(start, start + job.batch)
        mask[part] = predictor.scores(scaled(volume[part], job)[:, None]) >= LEAST
    save_volume(job, mask, affine)


SCENES: dict[str, Callable[[Job], None]] = {
    "bare": bare,
    "monai-constant": lambda job: monai(job, "constant"),
    "monai-gaussian": lambda job: monai(job, "gaussian"),
    "monai-windows": monai_windows,
    "patchly": patchly,
    "hdm-inline": hdm,
    "hdm-ray": hdm,
    "untiled": untiled,
}
VOLUMES: dict[str, Callable[[Job], None]] = {
    "bare": bare_volume,
    "monai-constant": lambda job: monai_volume(job, "constant"),
    "monai-gaussian": lambda job: monai_volume(job, "gaussian"),
    "hdm-inline": hdm,
    "hdm-ray": hdm,
}
NEEDS = {"monai-constant": "monai", "monai-gaussian": "monai", "monai-windows": "monai", "patchly": "patchly"}
"""Modules that a contender cannot do without."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*SCENES])
    parser.add_argument("--job", type=Path, required=True)
    options = parser.parse_args()
    job = Job(**json.loads(options.job.read_text()))
    (VOLUMES if Path(job.source).is_dir() else SCENES)[options.name](job)
    print(own_cpu())


if __name__ == "__main__":
    main()
