"""The public API: a pipeline that can be checked, planned and run.

from hdm_pipeline.pipeline import Pipeline

pipeline = Pipeline.from_yaml("pipelines/flood_extent.yaml")
print(pipeline.plan().tiles)
summary = pipeline.run()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdm_pipeline import __version__
from hdm_pipeline.archive import Archive, discover
from hdm_pipeline.config import PipelineConfig
from hdm_pipeline.config_file import PipelineFile, read_pipeline_file
from hdm_pipeline.contracts import Provenance, Reader
from hdm_pipeline.errors import SceneError
from hdm_pipeline.execution.driver import Driver, PendingScene
from hdm_pipeline.execution.events import Event, Listener
from hdm_pipeline.execution.executor import Executor
from hdm_pipeline.execution.work import ModelBundle, RunContext
from hdm_pipeline.hashing import file_hash, stable_hash
from hdm_pipeline.ledger import Ledger, RunLock, SceneRecord
from hdm_pipeline.logs import JsonLines
from hdm_pipeline.plan import Fingerprints, Plan, ScenePlan, peak_memory, plan_scene, scene_keys
from hdm_pipeline.preparation import prepare, weights_fingerprint
from hdm_pipeline.registry import make_reader
from hdm_pipeline.report import RunReport
from hdm_pipeline.run_control import RunOptions, fan_out, interrupts, lock_owner, stopper
from hdm_pipeline.supports import support_fingerprint
from hdm_pipeline.validation import class_infos, validate
from hdm_pipeline.workspace import Workspace

HEADER_LIMIT = 1000
"""Headers that `plan` reads; of a larger archive it reads an even sample and estimates the rest."""


@dataclass(frozen=True)
class RunSummary:
    """How a run ended.

    Attributes:
        done: scenes published by this run.
        done_before: scenes that were there already.
        quarantined: error of each scene that was put aside, by scene id.
        left: scenes not reached (interrupted, out of time, or over the limit).
        report: path of `run.json`.
    """

    done: tuple[str, ...]
    done_before: int
    quarantined: Mapping[str, Mapping[str, Any]]
    left: int
    report: Path

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some scenes were quarantined."""
        return 3 if self.quarantined else 0


@dataclass
class _Outcomes:
    done: list[str] = field(default_factory=list)
    quarantined: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def event(self, event: Event) -> None:
        if event.kind == "scene_done":
            self.done.append(event.scene)
        elif event.kind == "scene_quarantined":
            self.quarantined[event.scene] = event.data["error"]


class Pipeline:
    """A pipeline file, ready to be planned and run. Nothing heavy is loaded before there is work to do."""

    def __init__(self, file: PipelineFile) -> None:
        self.file = file
        self.config: PipelineConfig = file.absolute()
        self.workspace = Workspace(Path(self.config.output.directory))

    @classmethod
    def from_yaml(
        cls, path: str | Path, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> Pipeline:
        """Read a pipeline file.

        Args:
            path: the file.
            overrides: ``key.path=value`` items.
            environment: variables for ``${VAR}``; the process's own by default.

        Raises:
            PipelineFileError: with every problem in the file.
        """
        return cls(read_pipeline_file(Path(path), overrides, environment))

    def validate(self) -> list[str]:
        """Check files, plug-ins, bands and supports without reading pixels; returns warnings.

        Raises:
            PipelineFileError: with every problem found.
        """
        return validate(self.file)

    def plan(self, header_limit: int = HEADER_LIMIT) -> Plan:
        """What a run would do. Writes nothing.

        Raises:
            ConfigError: archive, supports or weights are not usable.
        """
        fingerprints = self._fingerprints()
        reader = self._reader()
        archive = discover(self.config, reader)
        known: dict[str, SceneRecord] = {}
        rate = None
        if (ledger := Ledger.open_readonly(self.workspace.ledger)) is not None:
            with ledger:
                known = {record.id: record for record in ledger.scenes()}
                rate = ledger.seconds_per_tile()
        keys = {ref.id: scene_keys(self.config, ref, fingerprints) for ref in archive.scenes}
        done = {ref.id for ref in archive.scenes if self._is_done(known.get(ref.id), keys[ref.id].product)}
        pending = [ref for ref in archive.scenes if ref.id not in done]
        step = max(1, -(-len(pending) // header_limit))
        plans: list[ScenePlan] = []
        refused = []
        for ref in pending[::step]:
            try:
                plans.append(plan_scene(self.config, reader.header(ref)))
            except SceneError as error:
                refused.append((ref.id, error.what))
        return Plan(
            scenes=tuple(plans),
            scenes_total=len(archive.scenes),
            scenes_done=len(done),
            refused=tuple(refused),
            skipped=tuple((s.uri, s.reason) for s in archive.skipped),
            peak_memory=peak_memory(self.config),
            seconds_per_tile=rate,
        )

    def run(self, on_event: Listener | None = None, options: RunOptions | None = None) -> RunSummary:
        """Do everything that is not done yet.

        Args:
            on_event: called with every event, in this thread.
            options: limits of this run.

        Raises:
            HdmError: the run as a whole cannot go on; finished work is kept and the next run goes on from it.
        """
        options = options or RunOptions()
        deadline = None if options.time_budget is None else time.monotonic() + options.time_budget
        fingerprints = self._fingerprints()
        reader = self._reader()
        archive = discover(self.config, reader)
        self.workspace.create()
        with ExitStack() as stack:
            stack.enter_context(RunLock(self.workspace.lock, lock_owner(), wait=options.wait))
            ledger = stack.enter_context(Ledger.open(self.workspace.ledger, rebuild=options.rebuild_ledger))
            pending, before, quarantined_before = self._pending(archive, fingerprints, ledger, options)
            report = RunReport(
                self.workspace.report, self.config.name, {ref.id: ref.shown for ref in archive.scenes}, before
            )
            outcomes = _Outcomes(quarantined=dict(quarantined_before))
            log = stack.enter_context(JsonLines(self.workspace.logs / f"{time.strftime('%Y%m%dT%H%M%S')}.jsonl"))
            tell = fan_out([outcomes.event, log.event, report.event, *([on_event] if on_event else [])])
            todo = pending if options.limit is None else pending[: options.limit]
            report.note(skipped=[{"input": s.uri, "reason": s.reason} for s in archive.skipped])
            tell(Event("run_started", data={"scenes": len(todo), "done_before": len(before)}))
            try:
                if todo:
                    interrupted = stack.enter_context(interrupts(tell))
                    self._work(todo, reader, fingerprints, ledger, report, tell, stopper(deadline, interrupted))
                report.status = "done" if len(outcomes.done) + len(outcomes.quarantined) >= len(pending) else "stopped"
            except BaseException:
                report.status = "failed"
                raise
            finally:
                report.write()
                tell(Event("run_ended", data={"status": report.status}))
        return RunSummary(
            done=tuple(outcomes.done),
            done_before=len(before),
            quarantined=outcomes.quarantined,
            left=len(archive.scenes) - len(before) - len(outcomes.done) - len(outcomes.quarantined),
            report=self.workspace.report,
        )

    def _work(
        self,
        todo: Sequence[PendingScene],
        reader: Reader,
        fingerprints: Fingerprints,
        ledger: Ledger,
        report: RunReport,
        tell: Listener,
        should_stop: Callable[[], bool],
    ) -> None:
        prepared = prepare(self.config, reader, self.workspace)
        report.note(support=prepared.report, weights_hash=prepared.weights_hash, support_hash=prepared.support_hash)
        tell(Event("support_checked", data={"support": prepared.report}))
        provenance = Provenance(
            version=__version__,
            pipeline_hash=stable_hash(
                self.config.model_dump(
                    mode="json",
                    include={"input": {"bands", "scale"}, "tiling": True, "model": {"precision", "runtime"}},
                )
            ),
            weights_hash=prepared.weights_hash,
            support_hash=prepared.support_hash,
            threshold=self.config.output.threshold,
            model=self.config.model.weights if self.config.model.weights.startswith("builtin:") else "custom",
        )
        context = RunContext(self.config, self.workspace, class_infos(self.config), provenance)
        executor = _executor(context, prepared.bundle)
        try:
            report.note(executor={"name": executor.name, "model_slots": executor.model_slots})
            Driver(context, executor, ledger, tell, should_stop).run(iter(todo))
        finally:
            executor.close()

    def _pending(
        self, archive: Archive, fingerprints: Fingerprints, ledger: Ledger, options: RunOptions
    ) -> tuple[list[PendingScene], dict[str, Mapping[str, Any]], dict[str, Mapping[str, Any]]]:
        """(scenes to work on, entries of those done before, errors of those put aside before)."""
        known = {record.id: record for record in ledger.scenes()}
        pending, before, quarantined = [], {}, {}
        for ref in archive.scenes:
            keys = scene_keys(self.config, ref, fingerprints)
            record = known.get(ref.id)
            if self._is_done(record, keys.product) and record is not None:
                before[ref.id] = record.info
            elif _is_aside(record, keys.product) and record is not None and not options.retry_quarantined:
                quarantined[ref.id] = record.error or {}
            else:
                pending.append(PendingScene(ref, keys))
        present = {ref.id for ref in archive.scenes}
        ledger.mark_vanished([scene for scene in known if scene not in present])
        return pending, before, quarantined

    def _is_done(self, record: SceneRecord | None, product_key: str) -> bool:
        return (
            record is not None
            and record.status == "done"
            and record.product_key == product_key
            and all((self.workspace.root / output).is_file() for output in record.outputs)
        )

    def _fingerprints(self) -> Fingerprints:
        aoi = self.config.input.aoi
        return Fingerprints(
            weights=weights_fingerprint(self.config),
            supports=support_fingerprint(self.config),
            aoi="" if aoi is None else file_hash(Path(aoi)),
        )

    def _reader(self) -> Reader:
        return make_reader(self.config.input.reader, self.config.input.reader_options())


def _is_aside(record: SceneRecord | None, product_key: str) -> bool:
    return record is not None and record.status == "quarantined" and record.product_key == product_key


def _executor(context: RunContext, bundle: ModelBundle) -> Executor:
    if context.config.execution.executor == "inline":
        from hdm_pipeline.execution.inline import InlineExecutor

        return InlineExecutor(context, bundle)
    from hdm_pipeline.execution.ray import RayExecutor

    return RayExecutor(context, bundle)
