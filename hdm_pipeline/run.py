"""One run: lock, ledger, plan, supports, executor, driver, report."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from hdm_pipeline import __version__
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Provenance, Reader, SceneWarning
from hdm_pipeline.delivery.courier import Courier
from hdm_pipeline.errors import ArchiveError, HdmError, PeerError
from hdm_pipeline.execution.arrivals import Arrivals, Fetching, drop_leftovers
from hdm_pipeline.execution.background_cluster import BackgroundCluster
from hdm_pipeline.execution.catalogs import write_catalogs, write_mosaics
from hdm_pipeline.execution.driver import Driver
from hdm_pipeline.execution.executor import Executor
from hdm_pipeline.execution.interrupts import interrupts
from hdm_pipeline.execution.messages import RunContext
from hdm_pipeline.execution.preparing import Equipment, StoppedError
from hdm_pipeline.execution.preparing import Preparing as PreparingThread
from hdm_pipeline.model.weights_file import checked_source
from hdm_pipeline.options import RunOptions, RunSummary
from hdm_pipeline.output.bucket_lock import run_lock
from hdm_pipeline.output.fence import Fence
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.output.lock import Lock
from hdm_pipeline.output.manifest import recover
from hdm_pipeline.output.mirror import Mirror
from hdm_pipeline.planning import products, uncertainty
from hdm_pipeline.planning.keys import pixel_hash
from hdm_pipeline.planning.plan import Plan, make_plan
from hdm_pipeline.planning.routes import routes
from hdm_pipeline.planning.validation import class_infos
from hdm_pipeline.plugin.product_order import product_writers
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.reporting.events import (
    Event,
    Listener,
    Preparing,
    PreparingStep,
    RunEnded,
    RunStarted,
    SceneDone,
    SceneQuarantined,
    SceneSplit,
    SupportChecked,
)
from hdm_pipeline.reporting.failures import shown_error
from hdm_pipeline.reporting.html.kept import keep_examples, keep_settings
from hdm_pipeline.reporting.html.page import bring_up_to_date
from hdm_pipeline.reporting.log import JsonLines
from hdm_pipeline.reporting.prometheus import MetricsFile
from hdm_pipeline.reporting.remarks import remarks
from hdm_pipeline.reporting.run_json import RunReport
from hdm_pipeline.store.zarr_array import remove
from hdm_pipeline.support.examples import SupportFiles, support_files
from hdm_pipeline.support.preparation import Preparation
from hdm_pipeline.support.prepare import prepare
from hdm_pipeline.support.read import read_examples
from hdm_pipeline.support.remote import any_remote, local_examples
from hdm_pipeline.support.steps import StepState
from hdm_pipeline.waiting import wait_asleep

log = logging.getLogger(__name__)


def run(config: PipelineConfig, workspace: Workspace, on_event: Listener | None, options: RunOptions) -> RunSummary:
    """Do everything that is not done yet; see `Pipeline.run`."""
    wait_asleep()
    deadline = None if options.time_budget is None else time.monotonic() + options.time_budget
    reader = archive_reader(config)
    # What is missing is told before a folder is made or another run is waited for.
    checked_source(config.model.source)
    uncertainty.asked(config)
    products.check(config)
    product_writers(config)
    peers = routes(config)
    if not any_remote(config, reader):
        support_files(config)
    workspace.create()
    with ExitStack() as stack:
        lock = stack.enter_context(run_lock(workspace, lock_owner(), wait=options.wait))
        mirror = stack.enter_context(Mirror(workspace, lock))
        ledger = stack.enter_context(Ledger.open(workspace.ledger, rebuild=options.rebuild_ledger))
        workspace = mirror.settle()
        recover(workspace, ledger, config.output.keep, remove)
        courier = Courier(peers, workspace, ledger)
        turn = _Turn(config.name, workspace, options, reader, ledger, lock, courier, on_event, deadline)
        # Made when it is our turn: a run that was waited for may have done it all, and scenes may have come.
        retry, delivery = options.retry_quarantined, options.delivery
        try:
            # Not before: two runs that fetch the same at once would take it from each other.
            config = local_examples(config, reader, workspace.examples)
            supports = support_files(config)
            plan = make_plan(config, supports, workspace, reader, ledger, retry_quarantined=retry, delivery=delivery)
        except (ArchiveError, PeerError) as error:
            # A PACS that lists nothing tonight, say: what it did not get last night waits no longer for that. Of
            # deliveries many come, and each is sent by a run of its own.
            if not delivery:
                turn.send_owed(error)
            raise
        drop_leftovers(workspace, {ref.id for ref in plan.scenes if ref.remote})
        ledger.mark_vanished(plan.vanished)
        return turn.work_off(config, plan, supports)


@dataclass(frozen=True)
class _Turn:
    """What a run has once it holds the lock; `run` says what it is."""

    name: str
    workspace: Workspace
    options: RunOptions
    reader: Reader
    ledger: Ledger
    lock: Lock
    courier: Courier
    on_event: Listener | None
    deadline: float | None

    def work_off(self, config: PipelineConfig, plan: Plan, supports: SupportFiles) -> RunSummary:
        """Work on the scenes of a plan, and send what is published and owed."""
        workspace, courier = self.workspace, self.courier
        outcomes = _Outcomes(plan, quarantined=dict(plan.quarantined))
        report = _report(config, workspace, plan, self.ledger)
        scenes = len(plan.scenes[: self.options.limit])
        private = any(ref.private for ref in plan.archive.scenes)
        some = bool(plan.archive.scenes) and not self.options.delivery
        with self._told(report, [outcomes.event], private=private) as tell, ExitStack() as stack:
            keep_settings(workspace, config, private=private, whole_archive=some)
            tell(RunStarted(scenes=scenes, done_before=len(plan.done)))
            owed = courier.catch_up(plan.done, plan.vanished)
            should_stop = stack.enter_context(self._stopper(tell)) if scenes or owed else self._out_of_time
            if scenes:
                news = fan_out([tell, lambda _: courier.tell_news(tell)])
                arrivals = stack.enter_context(closing(_arrivals(config, workspace, self.reader, plan, scenes)))
                self._drive(config, supports, arrivals, report, news, should_stop, private=private)
            self.lock.check()
            _describe(config, workspace, self.ledger, report, whole=self.options.mosaic)
            sends = courier.finish(should_stop, tell)
            left = sum(not outcomes.settled(ref.id) for ref in plan.scenes)
            report.status = "stopped" if left else "done"
        self.lock.check()
        done, before, warnings = tuple(outcomes.done), len(plan.done), outcomes.warnings
        told = remarks(plan.archive, outcomes.left_out)
        return RunSummary(done, before, outcomes.quarantined, left, workspace.report, warnings, tuple(sends), told)

    def _drive(
        self,
        config: PipelineConfig,
        supports: SupportFiles,
        scenes: Arrivals,
        report: RunReport,
        tell: Listener,
        should_stop: Callable[[], bool],
        *,
        private: bool,
    ) -> None:
        """Read the examples, then drive the scenes and prepare the examples beside it, till it is to stop."""
        tell(Preparing(adapt=config.support.adapt != "off"))

        def on_step(state: StepState) -> None:
            tell(PreparingStep(**asdict(state)))

        def on_example(state: StepState) -> None:
            if should_stop():
                raise StoppedError
            on_step(state)

        def equip(prepared: Preparation) -> Equipment:
            executor.start()
            report.note(executor={"name": executor.name, "model_slots": executor.model_slots})
            _tell_prepared(config, self.workspace, prepared, report, tell)
            made_by, calibrated = _provenance(config, prepared), prepared.temperatures
            found = replace(context, provenance=made_by, temperatures=calibrated, area_scores=prepared.area_scores)
            return Equipment(found, prepared.bundle)

        with ExitStack() as stack:
            workers = _workers(config, stack)
            try:
                examples = read_examples(config, supports, self.reader, on_example, private=private)
            except StoppedError:
                return
            fence = Fence.of(self.workspace, self.lock)
            about = class_infos(config), _provenance(config), examples.looks
            context = RunContext(config, self.workspace, *about, fence=fence)
            preparing = PreparingThread(partial(prepare, config, examples, self.workspace), equip, on_step)
            del examples  # whole images, which the scenes need no more
            stack.callback(preparing.close)
            executor = workers(context)
            stack.callback(executor.close)
            report.note(executor={"name": executor.name, "model_slots": executor.model_slots})
            listener = fan_out([tell, executor.observe])
            Driver(context, executor, self.ledger, listener, should_stop, preparing.poll).run(scenes)

    def send_owed(self, error: HdmError) -> None:
        """Send what earlier runs owe, where it is not known which scenes there are; then raise what told so."""
        if not self.courier.catch_up_asked():
            return
        done, quarantined = self.ledger.ids("done"), self.ledger.ids("quarantined")
        inputs = dict.fromkeys([*done, *quarantined], "")
        report = RunReport(self.workspace.report, self.name, inputs, self.ledger, set(done), set(quarantined))
        with self._told(report, [], private=True) as tell:
            tell(RunStarted(scenes=0, done_before=len(done)))
            try:
                with self._stopper(tell) as should_stop:
                    self.courier.finish(should_stop, tell)
            except HdmError as trouble:
                log.warning("what earlier runs owe could not be sent: %s", trouble.what)
            self.lock.check()  # that another run has taken over is more than that there is nothing to do
            raise error

    @contextmanager
    def _told(self, report: RunReport, listeners: Sequence[Listener], *, private: bool) -> Iterator[Listener]:
        """Within: what happens is told to everybody, and peers are sent to. However it ends, the report says so."""
        file = self.workspace.logs / f"{time.strftime('%Y%m%dT%H%M%S')}.jsonl"
        metrics = MetricsFile(self.workspace.metrics, self.name)
        own = [self.on_event] if self.on_event else []
        report.note(send=[peer.as_dict() for peer in self.courier.summaries()])  # `status` asks who is to get something
        with JsonLines(file) as lines, self.courier as courier:
            files = self._while_ours([report.event, metrics.event])
            tell = fan_out([*listeners, lines.event, files, *own, courier.event])
            try:
                yield tell
            except BaseException as error:
                courier.abandon()
                with suppress(Exception):  # what failed first counts
                    courier.tell_news(tell)
                report.status = "failed"
                report.note(error=shown_error(error, private=private))
                raise
            finally:
                report.note(send=[peer.as_dict() for peer in courier.summaries()])
                if self._still_ours():
                    report.write()
                    bring_up_to_date(self.workspace, report.status)
                else:
                    report.status = "failed"
                tell(RunEnded(status=report.status))

    @contextmanager
    def _stopper(self, tell: Listener) -> Iterator[Callable[[], bool]]:
        """Whether the run is to stop, also by a signal."""
        with interrupts(tell) as asked:
            yield lambda: asked() or self._out_of_time()

    def _out_of_time(self) -> bool:
        self.lock.check()
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _while_ours(self, listeners: Sequence[Listener]) -> Listener:
        """One listener for some that write into the output directory, till another run takes that over."""
        tell = fan_out(listeners)
        return lambda event: None if self.lock.lost else tell(event)

    def _still_ours(self) -> bool:
        """Whether no other run has taken the output over, asked now: what is written next would be written over its."""
        with suppress(HdmError, OSError):  # a store that is away; `Mirror` asks before it copies anything
            self.lock.confirm()
        return not self.lock.lost


def _describe(config: PipelineConfig, workspace: Workspace, ledger: Ledger, report: RunReport, *, whole: bool) -> None:
    """Bring up to date what is made of the whole output directory; only who holds its lock may."""
    mosaics = write_mosaics(config, workspace, ledger, whole=whole)
    report.note(mosaics=mosaics)
    files = [name for of_product in mosaics.values() for name in of_product.get("files", ())]
    report.note(catalogs=write_catalogs(config, workspace, ledger, files))


def _arrivals(config: PipelineConfig, workspace: Workspace, reader: Reader, plan: Plan, limit: int) -> Arrivals:
    """The scenes of a run; those of another machine are fetched from now on, while the examples are read."""
    if not any(ref.remote for ref in plan.scenes[:limit]):
        return Arrivals(plan.pending(limit))
    finished = {*plan.done, *plan.quarantined}
    ahead = config.execution.fetch_ahead
    found = Arrivals(plan.pending(limit), Fetching(reader, workspace, plan.keyring.keys, finished, ahead))
    found.start()
    return found


def _tell_prepared(
    config: PipelineConfig, workspace: Workspace, prepared: Preparation, report: RunReport, tell: Listener
) -> None:
    """What the examples turned out to be, into the report and to who listens.

    Raises:
        ConfigError: a product asks for what the network does not know.
    """
    uncertainty.require_known(config, [each.network for each in prepared.bundle.loaded.values()])
    report.note(support=prepared.report, weights_hash=prepared.weights_hash, support_hash=prepared.support_hash)
    tell(SupportChecked(support=prepared.report))
    hashes = {"weights": prepared.weights_hash, "examples": prepared.support_hash, "settings": pixel_hash(config)}
    keep_examples(workspace, prepared.pictures, prepared.report, hashes)


@dataclass
class _Outcomes:
    """What became of the scenes of a plan, as events tell it."""

    plan: Plan
    done: list[str] = field(default_factory=list)
    quarantined: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: dict[str, tuple[SceneWarning, ...]] = field(default_factory=dict)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def settled(self, scene: str) -> bool:
        """Whether a planned scene, or all that it turned out to hold, is done or quarantined."""
        if scene in self.parts:
            known = self.finished, self.plan.done, self.plan.quarantined
            return all(any(part in ids for ids in known) for part in self.parts[scene])
        return scene in self.finished

    def event(self, event: Event) -> None:
        match event:
            case SceneSplit():
                self.parts[event.scene] = event.parts
                self.left_out += event.left_out
            case SceneDone():
                self.finished.add(event.scene)
                self.done.append(event.scene)
                if event.warnings:
                    self.warnings[event.scene] = event.warnings
            case SceneQuarantined():
                self.finished.add(event.scene)
                self.quarantined[event.scene] = event.error.as_dict()


def _report(config: PipelineConfig, workspace: Workspace, plan: Plan, ledger: Ledger) -> RunReport:
    # What was fetched before may be known to hold several scenes, or none.
    there = {*plan.done, *plan.quarantined, *(ref.id for ref in plan.scenes)}
    inputs = {ref.id: ref.shown for ref in plan.archive.scenes if ref.id in there}
    inputs = {**dict.fromkeys(sorted(there - set(inputs)), ""), **inputs}
    report = RunReport(workspace.report, config.name, inputs, ledger, plan.done, plan.quarantined)
    report.note(
        skipped=[{"input": s.uri, "reason": s.reason} for s in plan.archive.skipped], vanished=list(plan.vanished)
    )
    report.note(**({"warnings": list(plan.archive.quiet)} if plan.archive.quiet else {}))
    return report


def _provenance(config: PipelineConfig, prepared: Preparation | None = None) -> Provenance:
    """What is stamped into products; before the examples are prepared, without what they decide."""
    name = config.model.source
    weights = name if name.startswith("builtin:") else "own weights"
    return Provenance(
        version=__version__,
        pipeline_hash=pixel_hash(config),
        weights_hash="" if prepared is None else prepared.weights_hash,
        support_hash="" if prepared is None else prepared.support_hash,
        threshold=config.output.threshold,
        model="" if prepared is None else f"{prepared.bundle.banks[0].architecture}, {weights}",
    )


def _workers(config: PipelineConfig, stack: ExitStack) -> Callable[[RunContext], Executor]:
    """Makes the executor; what takes long about it begins now, and `stack` ends it."""
    if config.execution.executor == "inline":
        from hdm_pipeline.execution.inline import InlineExecutor

        return InlineExecutor
    cluster = BackgroundCluster(config.execution)
    stack.callback(cluster.close)

    def on_ray(context: RunContext) -> Executor:
        from hdm_pipeline.execution.ray import RayExecutor

        return RayExecutor(context, cluster)

    return on_ray


def lock_owner() -> str:
    """How this process signs the run lock."""
    return f"{socket.gethostname()}:{os.getpid()}"


def fan_out(listeners: Sequence[Listener]) -> Listener:
    """One listener that tells several, in order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
