"""OpenVINO on the CPU: modules compiled for one shape, and a network's whole score with its banks inside.

A compiled score holds for one shape of tile and one set of banks, whose numbers become constants of the graph. A run
has one of each, so a worker compiles once. Batches are taken tile by tile: on a CPU a larger batch gains nothing, and
the last one of a block would need a graph of its own.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from hdm_pipeline.errors import OptimizationError
from hdm_pipeline.extras import install
from hdm_pipeline.model.bank import SupportBank

_KEPT = 4


class CompiledScore:
    """A function of tiles and banks, compiled for each shape and set of banks when they are first seen.

    Args:
        score: as `FewShotNetwork.score`, free of choices that depend on the pixels.
        precision: ``fp32`` or ``bf16``.
    """

    def __init__(self, score: Callable[[Tensor, Sequence[SupportBank]], Tensor], precision: str) -> None:
        self._score = score
        self._precision = precision
        # With their banks: their identity is the key, which must not be given to others.
        self._compiled: OrderedDict[tuple[object, ...], tuple[Any, tuple[SupportBank, ...]]] = OrderedDict()

    def __call__(self, tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        """What the function answers, in float32."""
        if not len(tiles) or not banks:
            return self._score(tiles, banks)
        key = (tuple(tiles.shape[1:]), *map(id, banks))
        if key not in self._compiled:
            compiled = compile_module(_Scoring(self._score, banks), tiles[:1], self._precision)
            self._compiled[key] = (compiled, tuple(banks))
        self._compiled.move_to_end(key)
        while len(self._compiled) > _KEPT:
            self._compiled.popitem(last=False)
        return torch.cat([run_compiled(self._compiled[key][0], tile)[0] for tile in torch.split(tiles, 1)])


class _Scoring(nn.Module):
    def __init__(self, score: Callable[[Tensor, Sequence[SupportBank]], Tensor], banks: Sequence[SupportBank]) -> None:
        super().__init__()
        self._of = score
        self._banks = banks

    def forward(self, tiles: Tensor) -> Tensor:
        return self._of(tiles, self._banks)


def compile_module(module: nn.Module, example: Tensor, precision: str) -> Any:
    """A module of one input compiled for the shape of an example, for as many threads as PyTorch has.

    Args:
        module: without choices that depend on values.
        example: of the input.
        precision: what products are computed in; ``int8`` layers bring their own rounding, the rest is as for ``bf16``.
    """
    import openvino

    with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False):
        warnings.simplefilter("ignore")  # the tracer warns of shapes held constant: they are, for each shape
        # Traced here, for OpenVINO's own tracing runs the layers three times to compare: 15 s instead of 4.
        traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        graph = openvino.convert_model(traced, input=list(example.shape))
    core = openvino.Core()
    half = precision != "fp32" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
    }
    return core.compile_model(graph, "CPU", options)


def run_compiled(compiled: Any, x: Tensor) -> list[Tensor]:
    """The outputs of what `compile_module` made, in float32."""
    answer = compiled(x.contiguous().numpy(), share_inputs=True)
    return [torch.from_numpy(answer[index]).float() for index in range(len(compiled.outputs))]


def require_openvino() -> None:
    """Raise `OptimizationError` unless OpenVINO is installed."""
    if find_spec("openvino") is None:
        raise OptimizationError("OpenVINO is not installed", where="model.runtime", remedy=install("openvino"))
