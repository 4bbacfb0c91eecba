"""Which mode of inference a run uses: chosen on the supports, carried by the bank.

A run has many processes and one answer: the choice is made once, where supports are encoded, and travels with the
bank. It rests on agreement and on what the hardware can do, never on a stop-watch, so that a rerun makes the same one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdm_pipeline.errors import OptimizationError
from hdm_pipeline.model.bank import BankCache, SupportBank
from hdm_pipeline.model.fast.optimize import (
    MODES,
    FastNetwork,
    OptimizationReport,
    accelerate,
    calibrate_ranges,
    optimize,
)
from hdm_pipeline.model.network import FewShotNetwork

_PREFIX = "calibration."
_CALIBRATION_TILES = 4
_AMPERE = (8, 0)
_CPUINFO = Path("/proc/cpuinfo")
_PLAIN: BankCache[SupportBank] = BankCache()


@dataclass(frozen=True, eq=False)
class Mode:
    """A precision, and the activation ranges [n, 2] that int8 needs."""

    precision: str
    ranges: npt.NDArray[np.float32] | None = None

    @property
    def key(self) -> tuple[str, bytes]:
        """Equal for equal modes."""
        return self.precision, b"" if self.ranges is None else self.ranges.tobytes()

    def attach(self, bank: SupportBank) -> SupportBank:
        """The bank with this mode inside."""
        arrays: dict[str, npt.NDArray[Any]] = dict(bank.arrays)
        arrays[_PREFIX + "mode"] = np.array(MODES.index(self.precision), np.uint8)
        if self.ranges is not None:
            arrays[_PREFIX + "ranges"] = self.ranges
        return dataclasses.replace(bank, arrays=arrays)

    @staticmethod
    def detach(bank: SupportBank) -> SupportBank:
        """The bank as the network made it."""
        own = {name: array for name, array in bank.arrays.items() if not name.startswith(_PREFIX)}
        if len(own) == len(bank.arrays):
            return bank
        # One object for one bank, so that what is kept of it is found again.
        return _PLAIN.get(bank, None, lambda: dataclasses.replace(bank, arrays=own))

    @classmethod
    def common(cls, precision: str, banks: Sequence[SupportBank]) -> Mode:
        """The mode for several classes: the most careful of theirs, with ranges that cover all of theirs.

        Raises:
            OptimizationError: the precision needs a calibration that a bank lacks.
        """
        if precision in ("fp32", "bf16"):
            return cls(precision)
        for bank in banks:
            if _PREFIX + "mode" not in bank.arrays:
                raise OptimizationError(
                    f"support bank was encoded without calibration for precision {precision}",
                    where=f"class {bank.class_name!r}",
                    remedy="encode the supports with the precision that you want to use",
                )
        chosen = MODES[min(int(bank.arrays[_PREFIX + "mode"]) for bank in banks)]
        if chosen != "int8":
            return cls(chosen)
        ranges = np.stack([bank.arrays[_PREFIX + "ranges"] for bank in banks])
        return cls(chosen, np.stack([ranges[:, :, 0].min(0), ranges[:, :, 1].max(0)], 1))


def choose_mode(
    network: FewShotNetwork, supports: Sequence[Tensor], bank: SupportBank, *, precision: str, runtime: str
) -> tuple[Mode, FastNetwork, OptimizationReport | None]:
    """Hold the asked precision against fp32 on the supports; for ``auto`` the fastest that agrees.

    Args:
        network: the float32 network.
        supports: normalized images [3, H, W]; the first four, cut to one size, calibrate.
        bank: encoded from them.
        precision: ``bf16``, ``int8`` or ``auto``.
        runtime: ``torch`` or ``openvino``.

    Returns:
        The mode, the network in it, and what it was measured to do (None: fp32, because nothing faster agreed).

    Raises:
        OptimizationError: the precision was asked for by name and disagrees or does not exist.
    """
    tiles = _calibration_tiles(supports)
    for candidate in _candidates(network, precision, runtime):
        ranges = calibrate_ranges(network, tiles) if candidate == "int8" else None
        try:
            fast, report = optimize(network, tiles, [bank], precision=candidate, runtime=runtime, ranges=ranges)
        except OptimizationError:
            if precision != "auto":
                raise
            continue
        return Mode(candidate, ranges), fast, report
    return Mode("fp32"), accelerate(network, "fp32", runtime), None


def _candidates(network: FewShotNetwork, precision: str, runtime: str) -> list[str]:
    if precision != "auto":
        return [precision]
    found = ["int8"] if network.has_mode("int8", runtime) else []
    return [*found, "bf16"] if _computes_bf16(next(network.parameters()).device) else found


def _calibration_tiles(supports: Sequence[Tensor]) -> list[Tensor]:
    chosen = supports[:_CALIBRATION_TILES]
    height, width = (min(int(image.shape[axis]) for image in chosen) for axis in (1, 2))
    return [image[None, :, :height, :width].contiguous() for image in chosen]


def _computes_bf16(device: torch.device) -> bool:
    """Whether a device has bfloat16 arithmetic; without it bf16 is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _AMPERE
    return _CPUINFO.is_file() and any(name in _CPUINFO.read_text() for name in ("avx512_bf16", "amx_bf16"))
