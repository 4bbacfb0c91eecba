"""The network of a session, and what the examples as they are now make of it.

All of it runs in one thread: PyTorch keeps a pool of threads for each thread that calls it. A stroke takes the quick
path: the reduction stays, only classes of which an example has changed are encoded, and of their images only those
that are new pass the network. What is slow (which reduction suits the examples, how well each is found by the others,
how sure scores may be) is done by `settle`, which gives way to whoever tries.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import HdmError, SupportError
from hdm_pipeline.session.giving_way import giving_way
from hdm_pipeline.session.values import TryEndedError
from hdm_pipeline.support.bundle import load_segmenter
from hdm_pipeline.support.examples import SupportExample

if TYPE_CHECKING:
    from hdm_pipeline.model.bands.projection import BandProjection
    from hdm_pipeline.model.bank import SupportBank
    from hdm_pipeline.model.segmenter import FewShotSegmenter
    from hdm_pipeline.model.support_tensors import SupportTensors

EXAMPLE_PIXELS = 2 << 20
"""Pixels of examples, as the network sees them, of which is kept what was computed: 340 to 420 bytes each."""

TILE_PIXELS = 4 << 20
"""The same of tiles."""

T = TypeVar("T")
Stopped = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class ClassFit:
    """What the examples of a class make of the network.

    Attributes:
        name: the class.
        examples: they.
        segmenter: the network at the reduction of the class.
        bank: its bank.
        band_weight: how much all bands count beside the network; None for up to three.
        temperature: that scores are calibrated with.
        ious: by name of an example how well the others find it; empty until `settle`.
    """

    name: str
    examples: tuple[SupportExample, ...]
    segmenter: FewShotSegmenter
    bank: SupportBank
    band_weight: float | None = None
    temperature: float = 1.0
    ious: Mapping[str, float | None] = field(default_factory=dict)


class SessionNetwork:
    """May be used by several threads; they wait for each other.

    Args:
        config: the pipeline.
    """

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hdm-network")
        self._lock = threading.Lock()
        self._urgent = 0
        self._closed = False
        self._base: FewShotSegmenter | None = None
        self._segmenters: dict[float, FewShotSegmenter] = {}
        self._fits: dict[str, ClassFit] = {}
        self._settled: dict[str, float] = {}  # reductions by class
        self._tensors: WeakKeyDictionary[SupportExample, SupportTensors] = WeakKeyDictionary()
        self._projection: BandProjection | None = None

    @property
    def fits(self) -> Mapping[str, ClassFit]:
        """What was made last, by class."""
        return self._fits

    def use(self, config: PipelineConfig) -> None:
        """Go on with a pipeline file that has changed, once what is being tried has ended; does not wait for that."""

        def change() -> None:
            if _fitted_by(config) != _fitted_by(self._config):
                self._base, self._fits, self._settled, self._segmenters = None, {}, {}, {}
                self._tensors.clear()
            self._config = config

        with self._lock:
            if not self._closed:
                self._thread.submit(change)  # before whatever is asked for from now on

    def close(self) -> None:
        """Wait for what runs, which is not long: settling gives way. Whoever asks afterwards gets `TryEndedError`."""
        with self._lock:
            self._closed = True
            self._urgent += 1
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _submit(self, job: Callable[..., T], *arguments: object) -> T:
        """Do something in the network's thread, and wait for it.

        Raises:
            TryEndedError: the session is closed, or was closed before it began.
        """
        with self._lock:
            if self._closed:
                raise TryEndedError("the session is closed", where="try", remedy="open it again")
            future = self._thread.submit(job, *arguments)
        try:
            return future.result()
        except CancelledError as error:
            raise TryEndedError("the session was closed", where="try", remedy="open it again") from error

    def run(self, job: Callable[[], T]) -> T:
        """Do something with the network, before anything that can wait."""
        with self._lock:
            self._urgent += 1
        try:
            return self._submit(job)
        finally:
            with self._lock:
                self._urgent -= 1

    def warm_up(self) -> None:
        """Load the network; whoever tries meanwhile waits for it, as otherwise the first try would."""
        self.run(self._loaded)

    def separate(self) -> FewShotSegmenter:
        """A segmenter of its own for another thread, at the reduction of the first class, or none."""
        import copy

        def make() -> FewShotSegmenter:
            base = self._loaded()
            first = next(iter(self._fits.values()), None)
            return base.refitted(copy.deepcopy(base.network), 1.0 if first is None else first.segmenter.reduction)

        return self.run(make)

    # ------------------------------------------------------------------ in the network's thread

    def fit(self, classes: Mapping[str, Sequence[SupportExample]], stopped: Stopped) -> list[ClassFit]:
        """What examples make of the network, by the quick path; called within `run`.

        Args:
            classes: examples by class, each with target and background.
            stopped: asked between classes.

        Raises:
            SupportError: an example cannot be used.
            TryEndedError: `stopped` said so.
        """
        self._loaded()
        _use_free_cores()
        tensors = self._as_tensors(classes)
        usual = self._usual_reduction(tensors)
        return self._encode_all(classes, tensors, {name: self._settled.get(name, usual) for name in classes}, stopped)

    def _usual_reduction(self, tensors: Mapping[str, Sequence[SupportTensors]]) -> float:
        """One for all classes: what `choose_reduction` takes unless another one is clearly better."""
        from hdm_pipeline.model.support_tensors import bounded
        from hdm_pipeline.support.fit import SMALLEST_TILE
        from hdm_pipeline.support.reduction import reductions, visible_reduction

        if self._config.model.reduction != "auto":
            return self._config.model.reduction
        masks = [one.labels for of_class in tensors.values() for one in bounded(of_class)]
        first = reductions(max(max(mask.shape) for mask in masks))[0]
        first = min(first, max(1.0, self._config.tiling.size / SMALLEST_TILE))
        return min(visible_reduction([one.labels for one in bounded(of_class)], first) for of_class in tensors.values())

    def _encode_all(
        self,
        classes: Mapping[str, Sequence[SupportExample]],
        tensors: Mapping[str, Sequence[SupportTensors]],
        reductions: Mapping[str, float],
        stopped: Stopped,
    ) -> list[ClassFit]:
        """The banks of all classes; those of which nothing has changed stay."""
        found: dict[str, ClassFit] = {}
        for name, examples in classes.items():
            require_wanted(stopped)
            last = self._fits.get(name)
            segmenter = self._at(reductions[name])
            if last is not None and last.examples == tuple(examples) and last.segmenter is segmenter:
                found[name] = last
            else:
                found[name] = self._encode(segmenter, name, tuple(examples), tensors[name], last)
        self._fits = found
        self._forget_segmenters()
        return list(found.values())

    def _encode(
        self,
        segmenter: FewShotSegmenter,
        name: str,
        examples: tuple[SupportExample, ...],
        tensors: Sequence[SupportTensors],
        last: ClassFit | None,
    ) -> ClassFit:
        """The bank of a class; its sources of evidence count as they did last, while there are as many examples."""
        from hdm_pipeline.model.support_tensors import require_known
        from hdm_pipeline.support.bands import choose_band_weight

        if not segmenter.network.knows_unknown:
            require_known(tensors, segmenter.network.architecture)
        again = last is not None and len(last.examples) == len(examples) and last.segmenter is segmenter
        if again and last is not None:
            weight = last.band_weight
        else:
            chosen = choose_band_weight(segmenter, tensors)
            weight = None if chosen is None else chosen.weight
        bank = segmenter.encode(tensors, class_name=name, weigh=not again, describe=True, band_weight=weight)
        if again and last is not None:
            bank = segmenter.network.weighed_like(bank, last.bank)
        if last is None:
            return ClassFit(name, examples, segmenter, bank, weight)
        return ClassFit(name, examples, segmenter, bank, weight, last.temperature, last.ious)

    def _loaded(self) -> FewShotSegmenter:
        if self._base is None:
            plain = self._config.model.model_copy(update={"precision": "fp32", "runtime": "torch"})
            self._base = load_segmenter(plain.source, plain)
            self._base.network.remember(EXAMPLE_PIXELS if self._base.device.type == "cpu" else 0)
            self._base.gpu_batch = self._config.execution.batch_size
            self._base.filled_to = self._config.tiling.size
        return self._base

    def _at(self, reduction: float) -> FewShotSegmenter:
        base = self._loaded()
        if reduction not in self._segmenters:
            made = base.refitted(base.network, reduction)
            made.gpu_batch, made.filled_to = base.gpu_batch, base.filled_to
            self._segmenters[reduction] = made
        return self._segmenters[reduction]

    def _forget_segmenters(self) -> None:
        """Let go of reductions that no class uses any more; the others share the memory of tiles."""
        used = {fit.segmenter.reduction for fit in self._fits.values()}
        if used != set(self._segmenters) or not all(one.remembers for one in self._segmenters.values()):
            self._segmenters = {key: one for key, one in self._segmenters.items() if key in used}
            for one in self._segmenters.values():
                one.remember(TILE_PIXELS // len(self._segmenters))

    def _as_tensors(self, classes: Mapping[str, Sequence[SupportExample]]) -> dict[str, list[SupportTensors]]:
        """The examples as tensors, made once each; of more than three bands the projection stays what it was first."""
        from hdm_pipeline.model.support_tensors import SupportTensors, fit_projection

        if not self._fits:
            self._projection = fit_projection(
                [[(e.pixels, e.label) for e in of_class] for of_class in classes.values()]
            )
            self._tensors.clear()
        found = {}
        for name, examples in classes.items():
            for one in examples:
                if one not in self._tensors:
                    where = f"class {name!r}, support {one.name}"
                    self._tensors[one] = SupportTensors.of(one.pixels, one.label, where, self._projection)
            found[name] = [self._tensors[one] for one in examples]
        return found

    # ------------------------------------------------------------------ at leisure

    def settle(self, classes: Mapping[str, Sequence[SupportExample]]) -> bool:
        """Choose everything by these examples anew, as a run without adaptation does.

        Returns:
            Whether it came to its end: whoever calls `run` meanwhile ends it, and it is to be asked for again.

        Raises:
            SupportError: an example cannot be used.
        """
        return self._submit(self._settle, classes)

    def _settle(self, classes: Mapping[str, Sequence[SupportExample]]) -> bool:
        before = self._fits, self._settled, self._projection, self._tensors, dict(self._segmenters)
        try:
            with giving_way(self._is_urgent):
                _use_free_cores()
                self._fits, self._tensors = {}, WeakKeyDictionary()  # the projection may become another one
                tensors = self._as_tensors(classes)
                self._settled = self._reductions(tensors)
                fits = self._encode_all(classes, tensors, self._settled, self._is_urgent)
                self._fits = {one.name: self._judged(one) for one in fits}
        except BaseException as error:
            self._fits, self._settled, self._projection, self._tensors, self._segmenters = before
            if isinstance(error, TryEndedError):
                return False
            raise
        return True

    def _reductions(self, tensors: Mapping[str, Sequence[SupportTensors]]) -> dict[str, float]:
        """Of each class that which suits its examples best, and of all classes one if they bear it."""
        from hdm_pipeline.support.fit import fit_to_examples
        from hdm_pipeline.support.one_pass import share_reduction

        network, config = self._loaded().network, self._config
        given = None if config.model.reduction == "auto" else config.model.reduction
        alone = [
            fit_to_examples(network, of_class, adapt="off", reduction=given, tile=config.tiling.size)
            for of_class in tensors.values()
        ]
        shared = share_reduction(network, list(tensors.values()), alone)
        return {name: fit.reduction for name, fit in zip(tensors, shared, strict=True)}

    def _judged(self, one: ClassFit) -> ClassFit:
        """How well each example is found by the others, and how sure scores may be."""
        from hdm_pipeline.support.quality import leave_one_out
        from hdm_pipeline.support.temperature import choose_temperature

        held_out: list[Any] = []
        tensors = [self._tensors[example] for example in one.examples]
        names = [example.name for example in one.examples]
        judge = one.segmenter
        before, judge.band_weight = judge.band_weight, judge.band_weight if one.band_weight is None else one.band_weight
        try:
            found = leave_one_out(judge, tensors, names, held_out, one.bank)
        finally:
            judge.band_weight = before
        off = self._config.support.calibrate == "off"
        temperature = 1.0 if off else choose_temperature(held_out).temperature
        return replace(one, temperature=temperature, ious={each.name: each.iou for each in found})

    def _is_urgent(self) -> bool:
        return self._urgent > 0


def _fitted_by(config: PipelineConfig) -> tuple[object, ...]:
    """What else than examples decides what is made of the network."""
    return config.model, config.input, config.tiling, config.execution, config.support.calibrate


def free_cores() -> int:
    """Cores that no other program uses at this moment, at least 1; all where the system does not tell."""
    cores = len(os.sched_getaffinity(0))
    running = []
    try:
        for _ in range(3):  # the number changes from one millisecond to the next
            told = Path("/proc/loadavg").read_text(encoding="ascii").split()[3]
            running.append(int(told.split("/")[0]) - 1)  # this thread is one of them
            time.sleep(0.001)
    except (OSError, ValueError, IndexError):
        return cores
    return max(1, min(cores, cores - statistics.median_low(running)))


def _use_free_cores() -> None:
    """Let PyTorch compute with these in this thread: beside a run, threads that wait for each other take ten times as
    long as one alone."""
    import torch

    if (free := free_cores()) != torch.get_num_threads():
        torch.set_num_threads(free)


def require_wanted(stopped: Stopped) -> None:
    """End what nobody waits for any more.

    Raises:
        TryEndedError: `stopped` says so.
    """
    if stopped():
        raise TryEndedError("a newer one was asked for", where="try", remedy="wait for the newer one")


def usable(
    examples: Mapping[str, Sequence[SupportExample]],
) -> tuple[dict[str, Sequence[SupportExample]], dict[str, HdmError]]:
    """Classes whose examples show the class and something else; and what the others lack."""
    found: dict[str, Sequence[SupportExample]] = {}
    lacking: dict[str, HdmError] = {}
    for name, of_class in examples.items():
        shown = {label for label in (0, 1) if any(bool((one.label == label).any()) for one in of_class)}
        if shown == {0, 1}:
            found[name] = of_class
            continue
        what = "has no example yet" if 1 not in shown else "has no background yet: nothing says what is not the class"
        draw = "some of it" if 1 not in shown else "some background (or another class) near it"
        lacking[name] = SupportError(f"the class {what}", where=f"class {name!r}", remedy=f"draw {draw}")
    return found, lacking
