"""CUDA graphs: a batch's hundreds of kernels launched as one.

A graph holds for one shape of tiles and one set of banks, so a run needs one for each group of classes that share
weights: its batches have one size. The first batch of a kind runs as it is, the second is recorded, which costs as much
as three, the others are replayed.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hdm_pipeline.model.bank import SupportBank

Score = Callable[[Tensor, Sequence[SupportBank]], Tensor]

_KEPT = 4
_WARM_UP = 2  # so that libraries choose their kernels and take their workspaces on that stream

_LOG = logging.getLogger(__name__)


@dataclass
class _Recording:
    """A graph with the memory it reads and writes; it holds the banks, so that what is kept of them lives as long.

    The weights are held by the scoring function: they must not be moved or replaced.
    """

    graph: torch.cuda.CUDAGraph
    tiles: Tensor
    scores: Tensor
    banks: tuple[SupportBank, ...]

    def replay(self, tiles: Tensor) -> Tensor:
        """The scores of a batch; the next replay does not overwrite them."""
        self.tiles.copy_(tiles)
        self.graph.replay()
        return self.scores.clone()


class GraphedScore:
    """A function of CUDA tiles and banks, recorded when it is asked the second time for a shape and banks.

    For one thread at a time: a recording has one place for its tiles and one for its scores.

    Args:
        score: as `FewShotNetwork.score`: free of host transfers once it has run.
    """

    def __init__(self, score: Score) -> None:
        self._score = score
        self._seen: OrderedDict[tuple[object, ...], _Recording | None] = OrderedDict()
        self._refused = False

    def __call__(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """What the function answers."""
        if self._refused:
            return self._score(tiles, banks)
        key = (tuple(tiles.shape), tiles.device, *map(id, banks))
        if key not in self._seen:
            self._remember(key, None)
            return self._score(tiles, banks)
        recording = self._seen[key] or self._record(tiles, tuple(banks))
        if recording is None:
            return self._score(tiles, banks)
        self._remember(key, recording)
        return recording.replay(tiles)

    def _remember(self, key: tuple[object, ...], recording: _Recording | None) -> None:
        self._seen[key] = recording
        self._seen.move_to_end(key)
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)

    def _record(self, tiles: Tensor, banks: tuple[SupportBank, ...]) -> _Recording | None:
        """The recording, or None where this GPU cannot make one: then nothing is ever recorded again."""
        try:
            return _record(self._score, tiles, banks)
        except RuntimeError as error:  # also too little memory for a batch of its own
            self._refused = True
            self._seen.clear()
            _LOG.warning("no CUDA graph, batches are launched kernel by kernel: %s", error)
            return None


def _record(score: Score, tiles: Tensor, banks: tuple[SupportBank, ...]) -> _Recording:
    """Record one batch, after PyTorch's recipe: warmed up and captured on a stream of its own."""
    stream, pool = _recorder(tiles.device)
    kept = tiles.clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(tiles.device):
        current = torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):  # also brings the current stream back where a capture fails
            for _ in range(_WARM_UP):
                score(kept, banks)
            with torch.cuda.graph(graph, pool=pool, stream=stream):
                scores = score(kept, banks)
        current.wait_stream(stream)
    return _Recording(graph, kept, scores, banks)


@cache
def _recorder(device: torch.device) -> tuple[torch.cuda.Stream, Any]:
    """Where a device records: all graphs share one pool of memory, for they run one after the other.

    A replay may overwrite what another graph left; each one's scores are copied before the next replay.
    """
    return torch.cuda.Stream(device), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]
