"""What holds the model: in this process for the inline executor, in an actor for Ray."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from hdm_pipeline.errors import BankMismatchError, ExecutionError
from hdm_pipeline.execution import likeness
from hdm_pipeline.execution.malloc import keep_freed
from hdm_pipeline.execution.messages import InferResult, InferTask, RunContext, SceneWork, TileIndex
from hdm_pipeline.execution.steps import open_scores, stage_folder
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.fast.optimize import ANSWERS, Answer
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.pixels.scaling import decode_pixels
from hdm_pipeline.stitch import BlockAccumulator
from hdm_pipeline.store.scene import ImageStore
from hdm_pipeline.support.bundle import ModelBundle, NetworkKey

Batch = tuple[list[TileIndex], npt.NDArray[np.float32], npt.NDArray[np.bool_]]


class ModelWorker:
    """Loads the network once and infers blocks; tiles are read ahead in a thread while the model computes."""

    def __init__(self, context: RunContext, bundle: ModelBundle) -> None:
        if bundle.threads is not None:
            torch.set_num_threads(bundle.threads)
        keep_freed()
        self._context = context
        self._bundle = bundle
        self._groups = [
            (self._load(key, banks[0][1]), [index for index, _ in banks], [bank for _, bank in banks])
            for key, banks in _by_network(bundle).items()
        ]
        self._described = [
            segmenter.network.is_described(bank)
            for index in range(len(bundle.banks))
            for segmenter, indices, banks in self._groups
            for place, bank in zip(indices, banks, strict=True)
            if place == index
        ]
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="hdm-read-ahead")

    def _load(self, key: NetworkKey, bank: SupportBank) -> FewShotSegmenter:
        segmenter = self._bundle.segmenter(key)
        segmenter.gpu_batch = self._bundle.batch_size
        segmenter.filled_to = self._context.config.tiling.size
        if segmenter.weights_hash != bank.weights_hash:
            raise BankMismatchError(
                "the weights file changed since the supports were encoded", where=key[0], remedy="start the run again"
            )
        return segmenter

    def infer(self, task: InferTask) -> InferResult:
        """Score a block's tiles and store what the block knows of its scores.

        Batches are cut inside the block, always alike, so that no tile's floats depend on its company. A tile
        without a valid pixel is not inferred: its scores are zero. A probe infers one tile and stores nothing.
        """
        start = time.perf_counter()
        work = task.work
        block = work.blocks(self._context)[task.block]
        images = ImageStore.open(stage_folder(self._context, work))
        tiles = [task.probe] if task.probe is not None else list(work.grid.tiles(block))
        uncertain = work.keys.uncertain
        accumulator = BlockAccumulator(work.grid, block, len(self._bundle.banks) * (2 if uncertain else 1))
        inferred = 0
        # No tile counts as nothing far, not as unknown.
        unlike = [tuple((0, 0) if known else None for known in self._described)]
        for chosen, pixels, valid in self._read_ahead(work, images, tiles):
            scores, distances, *doubts = self._predict(pixels, valid, "doubt" if uncertain else "distance")
            for n, maps in enumerate(np.concatenate((scores, *doubts), axis=1)):
                rows, columns = work.grid.own(*chosen[n])
                far, known = distances[n : n + 1, :, rows, columns], valid[n : n + 1, rows, columns]
                unlike.append(likeness.tally(far, known, self._described))
                accumulator.add(chosen[n], work.grid.as_tile(chosen[n], maps))
            inferred += len(chosen)
        if task.probe is None:
            store = open_scores(self._context, work)
            store.write_block(accumulator.finish(), images.read_valid(block))
        return InferResult(
            time.perf_counter() - start, inferred, skipped=len(tiles) - inferred, unlike=likeness.summed(unlike)
        )

    def _predict(
        self, pixels: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], kind: Answer = "distance"
    ) -> npt.NDArray[np.uint8]:
        """What `FewShotSegmenter.answer` gives: [n, tiles, classes, y, x], n maps of each tile and class.

        Classes of the same network share the backbone's pass.
        """
        count, _, height, width = pixels.shape
        kinds = ANSWERS[kind]
        answers = np.empty((kinds, count, len(self._bundle.banks), height, width), dtype=np.uint8)
        try:
            for segmenter, indices, banks in self._groups:
                found = segmenter.answer(kind, pixels, banks, valid=valid)
                answers[:, :, indices] = found.reshape(count, kinds, len(banks), height, width).swapaxes(0, 1)
        except torch.OutOfMemoryError as error:  # all tiles of a GPU have one size: the next scene would fail, too
            raise ExecutionError(
                "the GPU ran out of memory",
                where=f"{count} tiles of {height} x {width} pixels at once",
                remedy="lower execution.batch_size or tiling.size, or end other programs on this GPU; then run again",
            ) from error
        return answers

    def _read_ahead(self, work: SceneWork, images: ImageStore, tiles: Sequence[TileIndex]) -> Iterator[Batch]:
        """Batches of tiles that hold valid pixels; the next one is read while the caller computes."""
        batches = self._batches(work, images, tiles)
        pending = self._ahead.submit(next, batches, None)
        while (batch := pending.result()) is not None:
            pending = self._ahead.submit(next, batches, None)
            yield batch

    def _batches(self, work: SceneWork, images: ImageStore, tiles: Sequence[TileIndex]) -> Iterator[Batch]:
        size = self._bundle.batch_size
        chosen: list[TileIndex] = []
        for tile in tiles:
            staged = images.read(work.grid.seen(*tile))
            if not staged[0][work.grid.own(*tile)].any():
                continue
            if not chosen:  # the arrays of the last batch are the caller's
                pixels = np.empty((size, *staged.shape), dtype=np.float32)
                valid = np.empty((size, *staged.shape[1:]), dtype=np.bool_)
            _, valid[len(chosen)] = decode_pixels(staged, pixels[len(chosen)])
            chosen.append(tile)
            if len(chosen) == size:
                yield chosen, pixels, valid
                chosen = []
        if chosen:
            yield chosen, pixels[: len(chosen)], valid[: len(chosen)]


def _by_network(bundle: ModelBundle) -> dict[NetworkKey, list[tuple[int, SupportBank]]]:
    groups: dict[NetworkKey, list[tuple[int, SupportBank]]] = {}
    for index, key in enumerate(zip(bundle.weights, bundle.reductions, strict=True)):
        groups.setdefault(key, []).append((index, bundle.banks[index]))
    return groups
