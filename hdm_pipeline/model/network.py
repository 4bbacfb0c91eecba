"""The one interface of the family: what every few-shot network here can do."""

from __future__ import annotations

import copy
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdm_pipeline.errors import ModelInputError, OptimizationError
from hdm_pipeline.model.bank import SupportBank

CELL = 32
"""Side in pixels of the cells of `FewShotNetwork.cells`."""


@dataclass(frozen=True)
class EpisodeBatch:
    """A batch of training episodes; all supports and queries of one size.

    Attributes:
        query: [B, 3, H, W] float32, normalised as `FewShotNetwork.normalize` does.
        query_mask: [B, H, W] uint8, 1 target, 0 background, 255 ignored.
        support: [B, K, 3, H, W] float32, normalised likewise.
        support_mask: [B, K, H, W] uint8, 1 target, 0 background, 255 ignored.
    """

    query: Tensor
    query_mask: Tensor
    support: Tensor
    support_mask: Tensor


@dataclass(frozen=True)
class Losses:
    """`total` (scalar, with gradient) and its parts, each already weighted, for logging."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Remembered(Protocol):
    """What a network keeps of the images that it saw within a `FewShotNetwork.remembering`."""

    def make_room(self) -> None:
        """Keep it only until something else needs the room."""
        ...


class _Nothing:
    """Of a network that keeps nothing."""

    def make_room(self) -> None:
        pass


class FewShotNetwork(nn.Module, ABC):
    """A network that segments query tiles by K labelled examples.

    Pixels arrive in [0, 1] and three channels; `normalize` brings them to what the weights were trained on.
    `encode_support` runs once for each class; `predict` then costs only the query.
    """

    architecture: ClassVar[str]
    autocasts: ClassVar[bool] = True
    """Whether bf16 runs all of `score` under autocast; False where `fast_copy` itself lowers what bears it."""
    compiles: ClassVar[bool] = False
    """Whether OpenVINO computes all of `score` and `examine`; False where `fast_copy` itself takes it for a part."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    knows_unknown: ClassVar[bool] = True
    """Whether a support pixel labelled 255 stays out of it; False where it is taken for background."""
    adaptable: ClassVar[bool] = True
    """Whether there are weights that adaptation may change."""
    copies_exactly: ClassVar[bool] = False
    """Whether `fast_copy` computes the very same floats in fp32 and PyTorch, so that the network can stand for it."""
    knows_uncertainty: ClassVar[bool] = False
    """Whether `examine` knows `doubt`."""
    frozen: tuple[str, ...] = ()
    """Prefixes of parameters that neither training nor adaptation changes."""

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The JSON-able constructor arguments: `type(self)(**config)` rebuilds the same architecture."""

    @abstractmethod
    def encode_support(
        self, images: Sequence[Tensor], masks: Sequence[Tensor], *, class_name: str = "target"
    ) -> SupportBank:
        """Encode K labelled examples of one class.

        Args:
            images: K tensors [3, H, W] float32, normalised; sizes may differ where the architecture allows it.
            masks: K tensors [H, W] uint8: 1 target, 0 background, 255 ignored.
            class_name: kept in the bank for messages and outputs.

        Raises:
            SupportError: no example, no foreground at all, or an image and its mask differ in size.
        """

    def encode_for_run(
        self,
        images: Sequence[Tensor],
        masks: Sequence[Tensor],
        *,
        class_name: str = "target",
        weigh: bool = True,
        describe: bool = False,
    ) -> SupportBank:
        """`encode_support` with what only a run needs, in the same pass. What only judges examples saves the time.

        Args:
            images, masks, class_name: as in `encode_support`.
            weigh: held-out examples choose how much each source of evidence counts, where there are several sources.
            describe: the bank also holds how the labelled examples differ among themselves (`is_described`), unless
                the network cannot tell, or the examples show too little.
        """
        return self.encode_support(images, masks, class_name=class_name)

    @torch.no_grad()
    def cells(self, images: Tensor) -> Tensor:
        """What images look like, whatever is searched in them: as much of the backbone as is cheap.

        Here mean and contrast of the pixels, at two sizes of detail; networks with a light backbone know more.

        Args:
            images: [B, 3, H, W] normalised, H and W multiples of `CELL`.

        Returns:
            [B, D, H / CELL, W / CELL]; comparable by their cosine.
        """
        mean = F.avg_pool2d(images, 4)
        fine = (F.avg_pool2d(images * images, 4) - mean * mean).clamp_min(0.0).sqrt()
        step = CELL // 4
        level = F.avg_pool2d(mean, step)
        coarse = (F.avg_pool2d(mean * mean, step) - level * level).clamp_min(0.0).sqrt()
        return torch.cat((level, coarse, F.avg_pool2d(fine, step), torch.ones_like(level[:, :1])), dim=1)

    def remembering(self) -> AbstractContextManager[Remembered]:
        """Within it, an image that comes again need not be computed again; the weights must stay as they are.

        What it gives knows the images that were seen within it, and can let them go before others.
        """
        return nullcontext(_Nothing())

    def remember(self, most_pixels: int) -> None:
        """From now on keep what was computed of the images that came last, as `remembering` does; where it can.

        Args:
            most_pixels: of all images that are kept together; 0 keeps nothing.
        """

    def weighed_like(self, bank: SupportBank, run: SupportBank) -> SupportBank:
        """A bank whose sources of evidence count as much as those of another bank of these weights.

        So examples that are held out are segmented with the weights that the run uses.
        """
        return bank

    @property
    def minimum_side(self) -> int:
        """Smallest side of a tile, in pixels."""
        return 1

    @torch.no_grad()
    def predict(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """Probability of each class: [B, len(banks), H, W] float32 in [0, 1]; classes are scored independently.

        The query backbone runs once for all classes.

        Args:
            tiles: [B, 3, H, W] float32, normalised, finite.
            banks: one bank per class, made by these very weights.

        Raises:
            BankMismatchError: a bank was made by other weights or another architecture.
            ModelInputError: the tiles' shape is not acceptable, or they hold NaN or infinity.
        """
        self.check(tiles, banks)
        if not math.isfinite(float(tiles.sum())):  # a third of the time of asking each pixel
            raise ModelInputError("tiles hold NaN or infinity", remedy="fill invalid pixels and mask their scores")
        return self.score(tiles, banks)

    def check(self, tiles: Tensor, banks: Sequence[SupportBank]) -> None:
        """Refuse what `predict` cannot use, as far as can be told without looking at a pixel; raises as it does."""
        if tiles.ndim != 4 or tiles.shape[1] != 3 or 0 in tiles.shape or min(tiles.shape[-2:]) < self.minimum_side:
            raise ModelInputError(
                f"tiles of shape {tuple(tiles.shape)} cannot be segmented",
                where=f"architecture {self.architecture!r}",
                remedy=f"give [B, 3, H, W] with B > 0, normalized, and sides of at least {self.minimum_side} pixels",
            )
        fingerprint = self.fingerprint() if banks else ""
        for bank in banks:
            bank.require(self.architecture, fingerprint)

    @abstractmethod
    def score(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """`predict` without its checks, for tiles that passed them.

        Once it has run for the same banks on the same device, it neither brings a tensor from the host nor asks the
        device for a value, so that a CUDA graph can record it (`graphs.py`).
        """

    def is_described(self, bank: SupportBank) -> bool:
        """Whether a bank can tell near from far (`encode_for_run`)."""
        return False

    def examine(self, tiles: Tensor, banks: Sequence[SupportBank], *, doubt: bool = False) -> Tensor:
        """`score`, and how far the tiles lie from the examples, in one pass.

        Returns:
            [B, n * len(banks), H, W] in [0, 1]: all probabilities; then all distances (0 as near as half of the
            examples' own pixels, above 0.5 farther than 95 % of them; 0 for a bank that was not described); with
            `doubt` then for all classes what log odds are to be multiplied by, so that they are no surer than distance
            and disagreement allow.
        """
        raise NotImplementedError(f"{self.architecture} describes no supports")

    @abstractmethod
    def losses(self, batch: EpisodeBatch) -> Losses:
        """Training losses of a batch of episodes."""

    @torch.no_grad()
    def published_answer(self, query: Tensor, supports: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """[1, 2, H, W]: background and foreground of a query, as the published test enlarges and compares them.

        Args:
            query: [3, H, W], normalised.
            supports: K tensors [3, H, W], normalised.
            masks: K tensors [H, W] uint8 of 1, 0 and 255.

        Raises:
            SupportError: as `encode_support`.
            ModelInputError: as `predict`.
        """
        score = self.predict(query[None], [self.encode_support(supports, masks)])
        return torch.cat((1 - score, score), dim=1)

    def has_mode(self, precision: str, runtime: str) -> bool:
        """Whether `fast_copy` knows a mode of inference (docs/decisions/fast-inference.md).

        Every network has fp32 and bf16 in PyTorch; there is more where a network has a backbone to replace.
        """
        return precision in ("fp32", "bf16") and (runtime == "torch" or self.compiles)

    def fast_copy(self, precision: str, runtime: str, ranges: npt.NDArray[np.float32] | None = None) -> FewShotNetwork:
        """A copy for inference only, as fast as a mode allows; this network is left as it is.

        Args:
            precision, runtime: a mode that `has_mode` knows.
            ranges: of `int8_ranges`, for int8.

        Raises:
            OptimizationError: int8 lacks its ranges.
        """
        return copy.deepcopy(self).eval().requires_grad_(False)

    def int8_ranges(self, tiles: Sequence[Tensor]) -> npt.NDArray[np.float32]:
        """[n, 2] activation ranges that int8 needs, over normalised tiles [1, 3, H, W].

        Raises:
            OptimizationError: the network has no int8 mode.
        """
        raise OptimizationError("no int8 mode", where=self.architecture, remedy="use bf16")

    def peak_bytes(self, height: int, width: int) -> int:
        """Upper estimate of the memory that `predict` takes for one tile, weights not counted."""
        return 8_000 * height * width

    def normalize(self, pixels: Tensor) -> Tensor:
        """[..., 3, H, W] in [0, 1] to the distribution the weights were trained on."""
        mean = pixels.new_tensor(self.mean).view(3, 1, 1)
        std = pixels.new_tensor(self.std).view(3, 1, 1)
        return (pixels - mean) / std

    def denormalize(self, pixels: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        mean = pixels.new_tensor(self.mean).view(3, 1, 1)
        std = pixels.new_tensor(self.std).view(3, 1, 1)
        return pixels * std + mean

    def fingerprint(self) -> str:
        """SHA-256 (hex) of architecture, configuration and every weight; what a bank is checked against.

        Cheap to ask again: it is computed anew only after a weight was changed, moved or replaced. A faster copy of a
        network answers with the fingerprint of its source (`adopt_fingerprint`).

        One change is not seen: that of a frozen weight (without gradient) through its `.data`, for which PyTorch keeps
        no count. Only reading all weights again would tell, at every tile. Change weights under `torch.no_grad()`.
        """
        adopted: str | None = self.__dict__.get("_adopted_fingerprint")
        if adopted is not None:
            return adopted
        state = self.state_dict(keep_vars=True)
        if any(tensor.is_inference() for tensor in state.values()):  # these do not count their changes
            return self._digest(state)
        # Norms too: fused optimizers change weights without counting it. They leave alone what has no gradient.
        told = [t for t in state.values() if t.requires_grad or not isinstance(t, nn.Parameter)]
        norms = torch._foreach_norm([t.detach().float() for t in told]) if told else []
        version = (
            tuple((t.data_ptr(), t._version, t.dtype, t.device) for t in state.values()),
            tuple(torch.stack(list(norms)).tolist()) if told else (),
        )
        known: tuple[Any, str] | None = self.__dict__.get("_known_fingerprint")
        if known is None or known[0] != (version, repr(self.config)):
            known = (version, repr(self.config)), self._digest(state)
            self.__dict__["_known_fingerprint"] = known
        return known[1]

    def adopt_fingerprint(self, fingerprint: str) -> None:
        """Stand for other weights: for copies that compute the same function faster and are checked against it."""
        self.__dict__["_adopted_fingerprint"] = fingerprint

    def _digest(self, state: Mapping[str, Tensor]) -> str:
        digest = hashlib.sha256(f"{self.architecture}:{sorted(self.config.items())}".encode())
        with torch.no_grad():
            for name, tensor in sorted(state.items()):
                flat = tensor.detach().to("cpu", copy=False).contiguous().reshape(-1)
                digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
                digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
