"""One run: lock, ledger, plan, supports, executor, driver, report."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from hdm_pipeline import __version__
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Provenance, Reader, SceneWarning
from hdm_pipeline.delivery.courier import Courier
from hdm_pipeline.errors import ArchiveError, HdmError, PeerError
from hdm_pipeline.execution.arrivals import Arrivals, Fetching, drop_leftovers
from hdm_pipeline.execution.catalogs import write_catalogs, write_mosaics
from hdm_pipeline.execution.driver import Driver
from hdm_pipeline.execution.executor import Executor
from hdm_pipeline.execution.messages import RunContext
from hdm_pipeline.model.weights_file import checked_source
from hdm_pipeline.options import RunOptions, RunSummary
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.output.lock import RunLock
from hdm_pipeline.planning import products, uncertainty
from hdm_pipeline.planning.keys import PendingScene, pixel_hash
from hdm_pipeline.planning.plan import Plan, make_plan
from hdm_pipeline.planning.routes import routes
from hdm_pipeline.planning.validation import class_infos
from hdm_pipeline.plugin.product_order import product_writers
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.reporting.events import (
    Event,
    Listener,
    Preparing,
    RunEnded,
    RunStarted,
    SceneDone,
    SceneQuarantined,
    SceneSplit,
    Stopping,
    SupportChecked,
)
from hdm_pipeline.reporting.log import JsonLines
from hdm_pipeline.reporting.prometheus import MetricsFile
from hdm_pipeline.reporting.run_json import RunReport
from hdm_pipeline.support.bundle import ModelBundle
from hdm_pipeline.support.examples import SupportFiles, support_files
from hdm_pipeline.support.prepare import Preparation, prepare
from hdm_pipeline.support.remote import any_remote, local_examples


def run(config: PipelineConfig, workspace: Workspace, on_event: Listener | None, options: RunOptions) -> RunSummary:
    """Do everything that is not done yet; see `Pipeline.run`."""
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
        lock = stack.enter_context(RunLock(workspace.lock, lock_owner(), wait=options.wait))
        ledger = stack.enter_context(Ledger.open(workspace.ledger, rebuild=options.rebuild_ledger))
        # Made when it is our turn: a run that was waited for may have done it all, and scenes may have come.
        retry, delivery = options.retry_quarantined, options.delivery
        try:
            # Not before: two runs that fetch the same at once would take it from each other.
            config = local_examples(config, reader, workspace.examples)
            supports = support_files(config)
            plan = make_plan(config, supports, workspace, reader, ledger, retry_quarantined=retry, delivery=delivery)
        except (ArchiveError, PeerError):
            # A PACS that lists nothing tonight, say: what it did not get last night waits no longer for that.
            _send_owed(Courier(peers, workspace, ledger), ledger, on_event, stopper(deadline, lambda: lock.lost))
            raise
        drop_leftovers(workspace, {scene.ref.id for scene in plan.scenes if scene.ref.remote})
        ledger.mark_vanished(plan.vanished)
        report = _report(config, workspace, plan)
        outcomes = _Outcomes(quarantined=dict(plan.quarantined), before=frozenset((*plan.done, *plan.quarantined)))
        log = stack.enter_context(JsonLines(workspace.logs / f"{time.strftime('%Y%m%dT%H%M%S')}.jsonl"))
        metrics = MetricsFile(workspace.metrics, config.name)
        courier = stack.enter_context(Courier(peers, workspace, ledger))
        listeners = [outcomes.event, log.event, report.event, metrics.event, *([on_event] if on_event else [])]
        tell = fan_out([*listeners, courier.event])
        scenes = plan.scenes[: options.limit]
        tell(RunStarted(scenes=len(scenes), done_before=len(plan.done)))
        try:
            owed = courier.catch_up(plan.done, plan.vanished)
            should_stop = stopper(deadline, lambda: lock.lost)
            if scenes or owed:
                asked = stack.enter_context(interrupts(tell))
                should_stop = stopper(deadline, lambda: asked() or lock.lost)
            if scenes:
                news = fan_out([tell, lambda _: courier.tell_news(tell)])
                arrivals = stack.enter_context(closing(_arrivals(config, workspace, reader, plan, scenes)))
                _work(config, workspace, reader, ledger, supports, arrivals, report, news, should_stop)
            if not lock.lost:
                _describe(config, workspace, ledger, report, whole=options.mosaic)
            sends = courier.finish(should_stop, tell)
            report.note(send=[peer.as_dict() for peer in sends])
            left = sum(not outcomes.settled(scene.ref.id) for scene in plan.scenes)
            report.status = "stopped" if left or lock.lost else "done"
        except BaseException as error:
            report.status = "failed"
            report.note(error=_shown(error, private=any(ref.private for ref in plan.archive.scenes)))
            raise
        finally:
            report.write()
            tell(RunEnded(status=report.status))
    done, before, warnings = tuple(outcomes.done), len(plan.done), outcomes.warnings
    return RunSummary(done, before, outcomes.quarantined, left, workspace.report, warnings, tuple(sends))


def _send_owed(courier: Courier, ledger: Ledger, on_event: Listener | None, should_stop: Callable[[], bool]) -> None:
    """Send what earlier runs owe, where it is not known which scenes there are."""
    with courier:
        courier.catch_up((), [record.id for record in ledger.scenes() if record.status in ("done", "vanished")])
        courier.finish(should_stop, on_event or fan_out([]))


def _describe(config: PipelineConfig, workspace: Workspace, ledger: Ledger, report: RunReport, *, whole: bool) -> None:
    """Bring up to date what is made of the whole output directory; only who holds its lock may."""
    mosaics = write_mosaics(config, workspace, ledger, whole=whole)
    report.note(mosaics=mosaics)
    files = [name for of_product in mosaics.values() for name in of_product.get("files", ())]
    report.note(catalogs=write_catalogs(config, workspace, ledger, files))


def _arrivals(
    config: PipelineConfig, workspace: Workspace, reader: Reader, plan: Plan, scenes: Sequence[PendingScene]
) -> Arrivals:
    """The scenes of a run; those of another machine are fetched from now on, while the examples are read."""
    keyring = plan.keyring
    if not any(scene.ref.remote for scene in scenes) or keyring is None:
        return Arrivals(iter(scenes))
    finished = {*plan.done, *plan.quarantined}
    ahead = config.execution.fetch_ahead
    found = Arrivals(iter(scenes), Fetching(reader, workspace, keyring.keys, finished, ahead))
    found.start()
    return found


def _work(
    config: PipelineConfig,
    workspace: Workspace,
    reader: Reader,
    ledger: Ledger,
    supports: SupportFiles,
    scenes: Arrivals,
    report: RunReport,
    tell: Listener,
    should_stop: Callable[[], bool],
) -> None:
    """Prepare the supports and drive the scenes."""
    tell(Preparing(adapt=config.support.adapt != "off"))
    prepared = prepare(config, supports, reader, workspace)
    uncertainty.require_known(config, [each.network for each in prepared.bundle.loaded.values()])
    report.note(support=prepared.report, weights_hash=prepared.weights_hash, support_hash=prepared.support_hash)
    tell(SupportChecked(support=prepared.report))
    context = RunContext(
        config,
        workspace,
        class_infos(config),
        _provenance(config, prepared),
        prepared.examples,
        prepared.temperatures,
        prepared.area_scores,
    )
    executor = _executor(context, prepared.bundle)
    try:
        report.note(executor={"name": executor.name, "model_slots": executor.model_slots})
        Driver(context, executor, ledger, fan_out([tell, executor.observe]), should_stop).run(scenes)
    finally:
        executor.close()


def _shown(error: BaseException, *, private: bool) -> dict[str, str]:
    """What is kept of an error that ended a run; of a private archive neither paths nor texts of plug-ins."""
    if not isinstance(error, HdmError):
        return {"type": type(error).__name__}
    found = error.as_dict()
    return {name: found[name] for name in ("type", "remedy")} if private else found


@dataclass
class _Outcomes:
    """What became of the scenes, as events tell it."""

    done: list[str] = field(default_factory=list)
    quarantined: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: dict[str, tuple[SceneWarning, ...]] = field(default_factory=dict)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    before: frozenset[str] = frozenset()
    finished: set[str] = field(default_factory=set)

    def settled(self, scene: str) -> bool:
        """Whether a planned scene, or all that it turned out to hold, is done or quarantined."""
        if scene in self.parts:
            return self.before.union(self.finished).issuperset(self.parts[scene])
        return scene in self.finished

    def event(self, event: Event) -> None:
        match event:
            case SceneSplit():
                self.parts[event.scene] = event.parts
            case SceneDone():
                self.finished.add(event.scene)
                self.done.append(event.scene)
                if event.warnings:
                    self.warnings[event.scene] = event.warnings
            case SceneQuarantined():
                self.finished.add(event.scene)
                self.quarantined[event.scene] = event.error.as_dict()


def _report(config: PipelineConfig, workspace: Workspace, plan: Plan) -> RunReport:
    # What was fetched before may be known to hold several scenes, or none.
    there = {*plan.done, *plan.quarantined, *(scene.ref.id for scene in plan.scenes)}
    inputs = {ref.id: ref.shown for ref in plan.archive.scenes if ref.id in there}
    inputs = {**dict.fromkeys(sorted(there - set(inputs)), ""), **inputs}
    report = RunReport(workspace.report, config.name, inputs, plan.done, plan.quarantined)
    report.note(
        skipped=[{"input": s.uri, "reason": s.reason} for s in plan.archive.skipped], vanished=list(plan.vanished)
    )
    return report


def _provenance(config: PipelineConfig, prepared: Preparation) -> Provenance:
    name = config.model.source
    return Provenance(
        version=__version__,
        pipeline_hash=pixel_hash(config),
        weights_hash=prepared.weights_hash,
        support_hash=prepared.support_hash,
        threshold=config.output.threshold,
        model=f"{prepared.bundle.banks[0].architecture}, {name if name.startswith('builtin:') else 'own weights'}",
    )


def _executor(context: RunContext, bundle: ModelBundle) -> Executor:
    if context.config.execution.executor == "inline":
        from hdm_pipeline.execution.inline import InlineExecutor

        return InlineExecutor(context, bundle)
    from hdm_pipeline.execution.ray import RayExecutor

    return RayExecutor(context, bundle)


def lock_owner() -> str:
    """How this process signs the run lock."""
    return f"{socket.gethostname()}:{os.getpid()}"


def fan_out(listeners: Sequence[Listener]) -> Listener:
    """One listener that tells several, in order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


def stopper(deadline: float | None, interrupted: Callable[[], bool]) -> Callable[[], bool]:
    """True once interrupted, or past `deadline` on the monotonic clock."""
    return lambda: interrupted() or (deadline is not None and time.monotonic() >= deadline)


@contextmanager
def interrupts(tell: Listener) -> Iterator[Callable[[], bool]]:
    """Within: the first SIGINT or SIGTERM asks to stop between blocks, the second raises KeyboardInterrupt.

    Yields whether it was asked. Signals can only be caught in the main thread; in another one this does nothing.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        tell(Stopping())

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
