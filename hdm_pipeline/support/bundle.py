"""What a model actor gets: support banks, the names of the weights that made them, and how to load these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hdm_pipeline.config.schema import ModelConfig
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.support.shipping import fetched_weights

if TYPE_CHECKING:
    from hdm_pipeline.model.segmenter import FewShotSegmenter

NetworkKey = tuple[str, float]
"""Path of the weights, and reduction."""


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """What a model actor gets: broadcast once.

    Attributes:
        weights: path of the weights for each class.
        banks: the support bank of each class, in the order of the mask values.
        reductions: for each class, how much smaller the network sees the pixels.
        model: precision, runtime and the like.
        batch_size: tiles a batch.
        threads: CPU threads of the actor; None leaves torch's default.
        uploaded: SHA-256 of weights by path, of those that lie in the object store of the output: another node has
            no such path.
        loaded: networks that this process holds already; they are not sent to other processes.
    """

    weights: tuple[str, ...]
    banks: tuple[SupportBank, ...]
    reductions: tuple[float, ...]
    model: ModelConfig
    batch_size: int
    threads: int | None = None
    uploaded: Mapping[str, str] = field(default_factory=dict)
    loaded: dict[NetworkKey, FewShotSegmenter] = field(default_factory=dict, repr=False)
    _here: dict[str, str] = field(default_factory=dict, repr=False)

    def segmenter(self, key: NetworkKey) -> FewShotSegmenter:
        """A network of the bundle: the one that was fitted in this process, or loaded from its file the first time."""
        if key not in self.loaded:
            weights, reduction = key
            self.loaded[key] = load_segmenter(self._here.get(weights, weights), self.model, reduction)
        return self.loaded[key]

    @contextmanager
    def brought(self, workspace: Workspace) -> Iterator[None]:
        """Within: the weights that were uploaded are here, checked by their hash, and networks may be loaded.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
            OutputError: this node has no folder for them.
            WeightsError: what lies there is not what was uploaded.
        """
        if workspace.bucket is None:
            yield
            return
        with fetched_weights(workspace.bucket, self.uploaded) as here:
            self._here.update(here)
            yield
            self._here.clear()

    def release(self) -> None:
        """Let go of the networks of this process, and of the GPU memory that fitting took: other processes need it."""
        if not self.loaded:
            return
        import torch

        self.loaded.clear()
        torch.cuda.empty_cache()  # does nothing where no GPU was used

    def __getstate__(self) -> dict[str, Any]:
        """The fields for another process: it loads its own networks."""
        return {**self.__dict__, "loaded": {}, "_here": {}}


def load_segmenter(weights: str, model: ModelConfig, reduction: float = 1.0) -> FewShotSegmenter:
    """Weights made ready as the pipeline file asks, at a reduction.

    Raises:
        WeightsError: the weights cannot be used, or know no base learner where the file asks for one.
    """
    from hdm_pipeline.model.segmenter import FewShotSegmenter

    return FewShotSegmenter.load(
        weights,
        precision=model.precision,
        runtime=model.runtime,
        base_learner=model.base_learner,
        reduction=reduction,
        augment=model.augment,
    )
