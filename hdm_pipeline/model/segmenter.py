"""`FewShotSegmenter`: numpy in, scores out. What the pipeline, notebooks and evaluation use of a network.

Here end the questions that every network of the family shares: how many channels an image has, what an invalid pixel
becomes, how a probability becomes a byte, how many tiles go through at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from hdm_pipeline.arguments import choice_argument, is_number
from hdm_pipeline.errors import BankMismatchError, ModelInputError, SupportError
from hdm_pipeline.model.bands.banks import DEFAULT_WEIGHT, ClassBands, ManyBands
from hdm_pipeline.model.bands.evidence import BandEvidence
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.checkpoints import load_network, reconfigure
from hdm_pipeline.model.checks import require_tiles
from hdm_pipeline.model.fast.modes import Mode, choose_mode
from hdm_pipeline.model.fast.optimize import ANSWERS, Answer, FastNetwork, OptimizationReport, accelerate
from hdm_pipeline.model.free_memory import require_memory
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.partial_labels import has_both
from hdm_pipeline.model.reduction import reduced_size
from hdm_pipeline.model.shown import Shown
from hdm_pipeline.model.support_tensors import SupportTensors, require_known, support_tensors
from hdm_pipeline.model.views import Augment

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "int8", "auto"]
Runtime = Literal["torch", "openvino"]

_GPU_BATCH = 8


class FewShotSegmenter:
    """A network with its device and precision, behind numpy arrays.

    Use `load` or `from_network`. The same weights, banks and tiles give the same scores, whatever tiles go along: on
    the CPU tiles are computed one by one, on a GPU in batches of one fixed size.

    Attributes:
        network: the network in float32, as loaded; banks belong to its weights.
        weights_hash: its fingerprint.
        reduction: how much smaller than they are the network sees examples and tiles.
        augment: flipped and turned views of a tile whose answers are averaged (`views`).
        gpu_batch: tiles that a GPU computes together; smaller batches are filled up to it.
        filled_to: side up to which smaller tiles are filled by reflection where each shape costs: a GPU records it,
            OpenVINO compiles it. Elsewhere tiles are seen as they are.
        reports: what the mode of each encoded class was measured to do; empty for fp32.
        band_weight: how much the evidence of all bands counts beside the network's in banks that are encoded from now
            on; only for images of more than three bands.
    """

    def __init__(
        self,
        network: FewShotNetwork,
        *,
        device: torch.device,
        precision: Precision,
        runtime: Runtime,
        reduction: float = 1.0,
        augment: Augment = "none",
    ) -> None:
        for value, choices in ((precision, Precision), (runtime, Runtime), (augment, Augment)):
            choice_argument(value, get_args(choices), "a choice of the segmenter", "FewShotSegmenter")
        if not (is_number(reduction) and 1 <= reduction < math.inf):
            raise ModelInputError(f"a reduction of {reduction!r}", where="reduction", remedy="give 1 or more")
        self.network = network.eval().to(device)
        self.device = device
        self.precision = precision
        self.runtime = runtime
        self.reduction = reduction
        self.augment = augment
        self.gpu_batch = _GPU_BATCH
        self.filled_to = 0
        self.reports: list[OptimizationReport] = []
        self.band_weight = DEFAULT_WEIGHT
        self._fast: tuple[tuple[str, str, bytes], FastNetwork] | None = None
        self._remembered = 0
        self._itself = False

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        device: Device = "auto",
        precision: Precision = "fp32",
        runtime: Runtime = "torch",
        base_learner: bool | None = None,
        reduction: float = 1.0,
        augment: Augment = "none",
        pin: str | None = None,
    ) -> FewShotSegmenter:
        """Load weights and make them ready to segment.

        Args:
            weights: see `checkpoints.load_network`.
            device: ``auto`` takes a GPU where there is one.
            precision: ``fp32`` is exact within 1e-5 (batch norms are folded into convolutions); ``bf16`` and ``int8``
                are faster and are held against fp32 when supports are encoded; ``auto`` takes the fastest that passes.
            runtime: who computes the backbone, or the whole network where it `compiles`: PyTorch, or OpenVINO where
                its package is installed.
            base_learner: override what the weights say (`HDMNet` only); None keeps it.
            reduction: the network sees examples and tiles this many times smaller, at least 1; scores come back at
                full size. Banks are to be used at the reduction that they were made at.
            augment: ``flips`` averages the answers to four views of each tile, ``rotations`` to eight, at four and
                eight times the cost; banks are the same.
            pin: see `checkpoints.load_network`.

        Raises:
            WeightsError: the weights cannot be used, or know no base learner.
            ModelInputError: the device is not available, or the reduction is less than 1.
        """
        network = load_network(weights, pin=pin)
        if base_learner is not None:
            network = reconfigure(network, base_learner=base_learner)
        return cls.from_network(
            network, device=device, precision=precision, runtime=runtime, reduction=reduction, augment=augment
        )

    @classmethod
    def from_network(
        cls,
        network: FewShotNetwork,
        *,
        device: Device = "auto",
        precision: Precision = "fp32",
        runtime: Runtime = "torch",
        reduction: float = 1.0,
        augment: Augment = "none",
    ) -> FewShotSegmenter:
        """Make a network in memory ready to segment; it is moved to the device and set to eval mode."""
        return cls(
            network,
            device=_device(device),
            precision=precision,
            runtime=runtime,
            reduction=reduction,
            augment=augment,
        )

    def refitted(self, network: FewShotNetwork, reduction: float) -> FewShotSegmenter:
        """What `fit_to_examples` chose, on the same device, in the same precision and runtime, with the same views."""
        return FewShotSegmenter(
            network,
            device=self.device,
            precision=self.precision,
            runtime=self.runtime,
            reduction=reduction,
            augment=self.augment,
        )

    def in_float32(self) -> FewShotSegmenter:
        """The same network at the same reduction in plain float32: for banks that are used once.

        A faster mode is chosen for each bank, and OpenVINO may even compile it: that would take longer than it saves.
        """
        return FewShotSegmenter(
            self.network, device=self.device, precision="fp32", runtime="torch", reduction=self.reduction
        )

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """`FewShotNetwork.remembering`, in fp32 only: other precisions are timed against it.

        Within it a network that its fast copy computes no otherwise than answers itself: it knows the examples. On a
        GPU the copy does, for what is remembered cannot be recorded.
        """
        if self.precision != "fp32":
            yield
            return
        before = self._itself
        self._itself = self.network.copies_exactly and self.runtime == "torch" and not self._gpu
        try:
            with self.network.remembering():
                yield
        finally:
            self._itself = before

    def remember(self, most_pixels: int) -> None:
        """`FewShotNetwork.remember` of tiles, for who segments the same ones again and again with other banks.

        Only on the CPU and in PyTorch: elsewhere the network is recorded, or compiled.
        """
        self._remembered = most_pixels if self.device.type == "cpu" and self.runtime == "torch" else 0
        if self._fast is not None:
            self._fast[1].network.remember(self._remembered)

    @property
    def remembers(self) -> bool:
        """Whether `remember` was called."""
        return self._remembered > 0

    @property
    def shown(self) -> Shown:
        """How the network is shown examples and tiles."""
        return Shown(self.network.normalize, self.device, self.reduction, self.augment)

    @property
    def _gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def weights_hash(self) -> str:
        """Fingerprint of the weights; banks made by others are refused."""
        return self.network.fingerprint()

    def encode_support(
        self,
        images: Sequence[npt.NDArray[np.float32]],
        masks: Sequence[npt.NDArray[np.uint8]],
        *,
        class_name: str = "target",
    ) -> SupportBank:
        """Encode the labelled examples of one class, once a run.

        Args:
            images: K arrays [C, H, W] float32 in [0, 1], channels as in `predict`; NaN pixels count as unlabelled. More
                than three bands are brought to three by these examples; for several classes see `fit_projection`.
            masks: K arrays [H, W] uint8: 1 target, 0 background, 255 ignored.
            class_name: kept in the bank.

        Raises:
            SupportError: an example cannot be used; says which and why.
            OptimizationError: the precision disagrees with fp32 on the supports, or does not exist for this network.
        """
        examples = support_tensors(images, masks, f"class {class_name!r}")
        if not self.network.knows_unknown:
            require_known(examples, self.network.architecture)
        return self.encode(examples, class_name=class_name)

    @torch.no_grad()
    def encode(
        self,
        examples: Sequence[SupportTensors],
        *,
        class_name: str = "target",
        weigh: bool = True,
        describe: bool = False,
        band_weight: float | None = None,
    ) -> SupportBank:
        """`encode_support` of examples that are tensors already.

        With a precision other than fp32 the supports also calibrate: the mode is measured on them against fp32, and
        the bank carries what `predict` needs to run in the same mode in every process.

        Args:
            examples: K examples of one class.
            class_name: kept in the bank.
            weigh: by `FewShotNetwork.encode_for_run`; what only judges examples saves the time.
            describe: the bank can also tell how far a tile lies from the examples (`answer`), where the network can.
            band_weight: instead of the segmenter's own.

        Raises:
            SupportError: an example shows no target at this reduction, or the network refuses it.
            OptimizationError: as `encode_support`.
        """
        shown = self.shown
        prepared = [
            shown.example(example, f"class {class_name!r}, support {number}")
            for number, example in enumerate(examples, 1)
        ]
        tensors, labels = [pixels for pixels, _ in prepared], [mask for _, mask in prepared]
        if has_both([example.labels for example in examples]) and not has_both(labels):
            raise SupportError(
                f"no background of the examples is left at a reduction of {self.reduction:g}",
                where=f"class {class_name!r}",
                remedy="reduce less, or label more of the background",
            )
        bank = self.network.encode_for_run(tensors, labels, class_name=class_name, weigh=weigh, describe=describe)
        if self.precision == "fp32":
            return self._with_bands(bank, examples, band_weight)
        mode, fast, report = choose_mode(self.network, tensors, bank, precision=self.precision, runtime=self.runtime)
        self._fast = ((bank.weights_hash, *mode.key), fast)
        if report is not None:
            self.reports.append(report)
        return self._with_bands(mode.attach(bank), examples, band_weight)

    def _with_bands(
        self, bank: SupportBank, examples: Sequence[SupportTensors], band_weight: float | None
    ) -> SupportBank:
        """The bank, with what all bands say of its class where there are more than three."""
        projection = examples[0].projection
        if projection is None:
            return bank
        evidence = BandEvidence.solve([example.band_example for example in examples])
        weight = self.band_weight if band_weight is None else band_weight
        return ClassBands(projection, evidence, weight).attach(bank)

    @torch.no_grad()
    def predict(
        self,
        tiles: npt.NDArray[np.float32],
        banks: Sequence[SupportBank],
        *,
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Scores of tiles for each class.

        An invalid pixel (NaN, infinite, or not `valid`) enters the network as the mean color of the training images,
        whatever its tile holds, and scores 0.

        Args:
            tiles: [B, C, H, W] float32 in [0, 1]; C = 1 is repeated, C = 2 becomes (a, b, mean of both), C = 3 as is;
                more are projected as the banks say, and all of them weighed beside the network.
            banks: one bank for each class, made by these weights.
            valid: [B, H, W], False where there is no data.

        Returns:
            [B, len(banks), H, W] uint8: 255 * probability, rounded, a half downwards, so that a score of 128 or more
            means a probability above 0.5.

        Raises:
            ModelInputError: shape or type is wrong, or a tile would not fit into memory.
            PixelOverflowError: values are so large that float32 overflows.
            BankMismatchError: a bank belongs to other weights.
        """
        return self.answer("scores", tiles, banks, valid=valid)

    @torch.no_grad()
    def answer(
        self,
        kind: Answer,
        tiles: npt.NDArray[np.float32],
        banks: Sequence[SupportBank],
        *,
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """`predict`, and where asked for how far each pixel lies from the examples, in the same pass.

        Args:
            kind: ``scores``; ``distance``; or ``doubt``, distance and uncertainty.
            tiles: as in `predict`.
            banks: as in `predict`. Of those that were not described (`encode`) all distances are 0, and
                so are the uncertainties of a network that tells none.
            valid: as in `predict`.

        Returns:
            [B, n * len(banks), H, W] uint8, n = 1, 2 or 3: scores; 255 * distance, 128 and more being farther than
            95 % of the examples' own pixels; 255 * uncertainty (`uncertainty`). All are 0 where invalid.

        Raises:
            HdmError: as `predict`.
        """
        many = self._check(tiles, banks, valid)
        batch, _, height, width = tiles.shape
        missing = [(0, whole - side) for whole, side in zip(self._filled(tiles), (height, width), strict=True)]
        if any(more for _, more in missing):
            tiles = np.pad(tiles, ((0, 0), (0, 0), *missing), mode="reflect")
            valid = None if valid is None else np.pad(valid, ((0, 0), *missing), mode="reflect")
        shown = self.shown
        scores = np.zeros((batch, ANSWERS[kind] * len(banks), *tiles.shape[2:]), np.uint8)
        network, banks = self._prepare(banks)
        knows = any(map(self.network.is_described, banks)) or (kind == "doubt" and self.network.knows_uncertainty)
        asked: Answer = kind if knows else "scores"
        step = self.gpu_batch if self._gpu else 1
        for start in range(0, batch, step):
            part = slice(start, min(start + step, batch))
            kept = np.asarray(np.isfinite(tiles[part]).all(1))
            if valid is not None:
                kept &= valid[part]
            if kept.any():
                found = shown.answer(network, asked, tiles[part], kept, banks, many, at_least=step)
                scores[part, : found.shape[1]] = found
        return scores[..., :height, :width]

    def _prepare(self, banks: Sequence[SupportBank]) -> tuple[FastNetwork, list[SupportBank]]:
        """The network in the mode that the banks were calibrated for, kept until the mode changes; plain banks."""
        mode = Mode.common(self.precision, banks)
        if self._itself:
            return FastNetwork(self.network), list(banks)
        key = (banks[0].weights_hash, *mode.key)  # the network's own, as was checked
        if self._fast is None or self._fast[0] != key:
            self._fast = (key, accelerate(self.network, mode.precision, self.runtime, ranges=mode.ranges))
            self._fast[1].network.remember(self._remembered)
        return self._fast[1], [Mode.detach(bank) for bank in banks]

    def _filled(self, tiles: npt.NDArray[Any]) -> tuple[int, int]:
        """Rows and columns at which tiles [B, C, H, W] go through the network."""
        least = self.filled_to if self._gpu or self.runtime == "openvino" else 0
        return max(tiles.shape[2], least), max(tiles.shape[3], least)

    def _check(
        self, tiles: npt.NDArray[Any], banks: Sequence[SupportBank], valid: npt.NDArray[np.bool_] | None
    ) -> ManyBands | None:
        """Refuse what cannot be segmented; returns the bands' part where there are more than three."""
        require_tiles(tiles, valid)
        if not banks:
            raise BankMismatchError("no support bank", where="predict", remedy="encode the supports of a class first")
        fingerprint = self.weights_hash
        for bank in banks:
            bank.require(self.network.architecture, fingerprint)
        many = ManyBands.of(banks, tiles.shape[1])
        full = self._filled(tiles)
        height, width = reduced_size(*full, self.reduction)
        together = self.gpu_batch if self._gpu else 1
        needed = self.network.peak_bytes(height, width) * together
        if many:
            needed += many.bytes_per_pixel * math.prod(full) * together
        what = "a tile" if together == 1 else f"a batch of {together} tiles"
        require_memory(needed, self.device, what=f"{what} of {height}x{width} pixels")
        return many


def _device(name: Device) -> torch.device:
    choice_argument(name, get_args(Device), "the device", "FewShotSegmenter")
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelInputError(
            "no GPU that PyTorch can use", where="device cuda", remedy="use device auto or cpu, or install CUDA PyTorch"
        )
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
