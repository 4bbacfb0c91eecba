"""Batches of episodes: batch i is a pure function of (configuration, seed, i), so a resumed run sees the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from hdm_pipeline.model.network import EpisodeBatch
from hdm_pipeline.training.config import AnySource, DataConfig, FolderConfig, SyntheticConfig, TasksConfig
from hdm_pipeline.training.episodes import EpisodeSource, FolderSource, FoldSource, SyntheticSource
from hdm_pipeline.training.synthetic.episode import Episode
from hdm_pipeline.training.tasks import TaskSource

RawBatch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def make_source(config: AnySource) -> EpisodeSource:
    """The source that a part of the training file describes."""
    if isinstance(config, SyntheticConfig):
        return SyntheticSource()
    if isinstance(config, FolderConfig):
        return FolderSource(config.path, config.hold_out_every)
    if isinstance(config, TasksConfig):
        return TaskSource(config.path, config.leave_out, config.only, augment=config.augment)
    return FoldSource(config.path, config.kind, config.fold)


class BatchSequence(Dataset[RawBatch]):
    """Batches by number: uint8 query [B, H, W, 3], query mask [B, H, W], support [B, K, H, W, 3], its mask.

    Args:
        config: sources, kinds of batches and shots.
        seed: of the run.
        length: number of batches.
    """

    def __init__(self, config: DataConfig, seed: int, length: int) -> None:
        self._config = config
        self._seed = seed
        self._length = length
        self._sources = [make_source(source) for source in config.sources]
        self._source_shares = _shares([source.share for source in config.sources])
        self._batch_shares = _shares([batch.share for batch in config.batches])
        self._shots = list(config.shots)
        self._shot_shares = _shares(list(config.shots.values()))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> RawBatch:
        rng = np.random.default_rng([self._seed, index])
        kind = self._config.batches[int(rng.choice(len(self._batch_shares), p=self._batch_shares))]
        shots = self._shots[int(rng.choice(len(self._shots), p=self._shot_shares))]
        shots = min(shots, kind.images - 1)
        episodes = [self._episode(rng, shots, kind.size) for _ in range(kind.images // (shots + 1))]
        return collate(episodes)

    def _episode(self, rng: np.random.Generator, shots: int, size: int) -> Episode:
        source = self._sources[int(rng.choice(len(self._sources), p=self._source_shares))]
        return source.draw(rng, shots, size)


def collate(episodes: Sequence[Episode]) -> RawBatch:
    """Episodes of one size and number of shots as one batch of uint8 tensors."""
    parts = ("query", "query_mask", "support", "support_mask")
    query, query_mask, support, support_mask = (
        torch.from_numpy(np.stack([getattr(episode, part) for episode in episodes])) for part in parts
    )
    return query, query_mask, support, support_mask


def to_episode_batch(
    raw: RawBatch, normalize: Callable[[torch.Tensor], torch.Tensor], device: torch.device
) -> EpisodeBatch:
    """A raw batch as the network takes it: channels first, [0, 1] and then normalized."""
    query, query_mask, support, support_mask = (part.to(device, non_blocking=True) for part in raw)
    return EpisodeBatch(
        query=normalize(query.movedim(-1, -3).float() / 255),
        query_mask=query_mask,
        support=normalize(support.movedim(-1, -3).float() / 255),
        support_mask=support_mask,
    )


def batch_loader(sequence: BatchSequence, start: int, stride: int, config: DataConfig) -> Iterator[RawBatch]:
    """Batches `start`, `start + stride`, ... in order, made ahead by worker processes."""
    order = range(start, len(sequence), stride)
    workers = config.workers
    loader = DataLoader(
        sequence,
        batch_size=None,
        sampler=list(order),
        num_workers=workers,
        prefetch_factor=6 if workers else None,
        worker_init_fn=_WorkerSetup(config.worker_cpus) if workers else None,
    )
    return iter(loader)


class _WorkerSetup:
    """One thread for each worker process, on the given cores."""

    def __init__(self, cpus: Sequence[int] | None) -> None:
        self._cpus = cpus

    def __call__(self, worker: int) -> None:
        torch.set_num_threads(1)
        if self._cpus is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, set(self._cpus))


def _shares(values: Sequence[float]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    shares /= shares.sum()
    return shares
