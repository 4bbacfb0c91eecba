"""CUDA graphs: a batch's hundreds of kernels launched as one.

A graph holds for one shape of tiles and one set of banks, so a run needs one (batches have one fixed size). Recording
costs as much as three batches: the first batch of a kind runs as it is, the second is recorded, the others replay it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hdm_pipeline.model.support import SupportBank

Score = Callable[[Tensor, Sequence[SupportBank]], Tensor]

_KEPT = 4  # each keeps the memory of a batch
_WARM_UP = 2  # so that libraries choose their kernels and take their workspaces before the recording

_LOG = logging.getLogger(__name__)


@dataclass
class _Recording:
    """A graph with the memory it reads and writes; it holds the banks, for their tensors are inside it."""

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

    Args:
        score: as `FewShotNetwork.score`: free of host transfers once it has run.
    """

    def __init__(self, score: Score) -> None:
        self._score = score
        self._seen: OrderedDict[tuple[object, ...], _Recording | None] = OrderedDict()
        self._refused = False

    def __call__(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """What the function answers."""
        key = (tuple(tiles.shape), tiles.device, *map(id, banks))
        if self._refused or key not in self._seen:
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
    """Record one batch, after PyTorch's recipe: warmed up on a stream of its own."""
    kept = tiles.clone()
    side = torch.cuda.Stream(tiles.device)  # type: ignore[no-untyped-call]
    with torch.cuda.device(tiles.device):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                score(kept, banks)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            scores = score(kept, banks)
    return _Recording(graph, kept, scores, banks)
