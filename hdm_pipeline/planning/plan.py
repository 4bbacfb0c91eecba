"""What a run does, scene by scene: the archive held against the ledger.

`make_plan` is called by `Pipeline.plan`, which prints what it gives, and by `run`, which executes it. It reads no
header: an archive may hold a million scenes. What the work costs is estimated by `forecast`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, SceneRef, Skipped
from hdm_pipeline.errors import FetchError, NoAnswerError, SuspectSceneError
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.model.weights_file import weights_fingerprint
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.output.manifest import presence
from hdm_pipeline.planning import contents, uncertainty
from hdm_pipeline.planning.archive import Archive, Products, discover
from hdm_pipeline.planning.keys import Fingerprints, PendingScene, SceneKeyring, SceneKeys
from hdm_pipeline.support.examples import SupportFiles, support_fingerprint

Standing = Literal["pending", "done", "quarantined"]
"""What is to be done with a scene: work, or nothing, as it is done or was quarantined."""


@dataclass(frozen=True)
class Plan:
    """The scenes of an archive by what is to be done with them.

    Attributes:
        archive: what was found.
        scenes: to be worked on, in order. Their keys are made when they are taken (`pending`): those of a million take
            half a gigabyte.
        done: ids of those whose products are there for the very same key.
        quarantined: errors of those that were quarantined under the same key, by scene id.
        vanished: ids that the ledger knows and the archive no longer holds.
        keyring: makes keys, also of scenes that a fetched one turns out to hold.
        kept: score keys of work on scenes that is kept and goes on to serve, though the keyring alone makes others.
    """

    archive: Archive
    scenes: tuple[SceneRef, ...]
    done: Collection[str]
    quarantined: Mapping[str, Mapping[str, Any]]
    vanished: tuple[str, ...]
    keyring: SceneKeyring
    kept: Mapping[str, str] = field(default_factory=dict)

    def pending(self, limit: int | None = None) -> Iterator[PendingScene]:
        """The scenes to be worked on with their keys, one after another; the first `limit` of them."""
        return (PendingScene(ref, self.keyring.keys(ref, self.kept.get(ref.id, ""))) for ref in self.scenes[:limit])


def make_plan(
    config: PipelineConfig,
    supports: SupportFiles,
    workspace: Workspace,
    reader: Reader,
    ledger: Ledger,
    *,
    retry_quarantined: bool = False,
    delivery: bool = False,
) -> Plan:
    """Find the scenes and decide what is to be done with each. Writes nothing.

    Args:
        config: the pipeline.
        supports: the files of its examples (`support_files`).
        workspace: where products lie.
        reader: of the archive.
        ledger: what is known of its scenes.
        retry_quarantined: work again on scenes that were quarantined under the same key.
        delivery: the archive is one delivery of many: nothing vanishes because it is not among it.

    Raises:
        ArchiveError: there is no scene, or there are two of one name.
        WeightsError: the weights are missing, or not the pinned ones.
        SupportError: a support file is missing.
    """
    keyring = SceneKeyring(config, fingerprints(config, supports, reader), uncertain=uncertainty.asked(config))
    # What else is known of a scene is most of a record, and decides nothing unless a run is strict.
    with _uncollected(), closing(ledger.walk(info=config.execution.strict)) as walk:
        archive = discover(config, reader, Products(workspace, ledger), quiet=not delivery)
        records = _Records(ledger, None if delivery else walk)
        sorting = _Sorting(config, workspace, ledger, keyring, records, retry_quarantined=retry_quarantined)
        scenes = tuple(ref for ref in archive.scenes if sorting.take(ref))
        vanished = () if delivery else sorting.untouched()
    archive = replace(archive, skipped=(*archive.skipped, *sorting.left_out))
    return Plan(archive, scenes, sorting.done, sorting.quarantined, vanished, keyring, sorting.kept)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Within: Python looks for no cycles. A plan makes millions of objects, keeps them, and none leads to itself."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Records:
    """What the ledger knows of scenes that are asked for in the order of their ids: both are walked once, side by side.

    Args:
        ledger: asked.
        walk: of all its scenes by id; None where few are asked for: they are looked up, and others not known of.

    Attributes:
        passed: ids that the ledger knows and nobody asked for, so far.
    """

    def __init__(self, ledger: Ledger, walk: Iterator[SceneRecord] | None) -> None:
        self._look_up = ledger.scene if walk is None else None
        self._walk = iter(()) if walk is None else walk
        self._next: SceneRecord | None = next(self._walk, None)
        self.passed: list[str] = []

    def find(self, scene: str) -> SceneRecord | None:
        """The record of a scene whose id comes after all that were asked for before."""
        if self._look_up is not None:
            return self._look_up(scene)
        while self._next is not None and self._next.id < scene:
            self.passed.append(self._next.id)
            self._next = next(self._walk, None)
        if self._next is None or self._next.id != scene:
            return None
        found, self._next = self._next, next(self._walk, None)
        return found

    def rest(self) -> None:
        """Nobody asks for another one."""
        while self._next is not None:
            self.passed.append(self._next.id)
            self._next = next(self._walk, None)


class _Sorting:
    """Scenes held against the ledger, one after the other in the order of their ids.

    Attributes:
        done: as `Plan.done`, of the scenes taken so far.
        quarantined: as `Plan.quarantined`.
        left_out: what the entries are known to hold beside scenes.
        kept: as `Plan.kept`.
    """

    def __init__(
        self,
        config: PipelineConfig,
        workspace: Workspace,
        ledger: Ledger,
        keyring: SceneKeyring,
        records: _Records,
        *,
        retry_quarantined: bool,
    ) -> None:
        self._config, self._ledger, self._keyring, self._records = config, ledger, keyring, records
        self._retry, self._keeps = retry_quarantined, config.output.keep != "nothing"
        self._there = presence(workspace)
        self._parts: set[str] = set()
        self._entries: list[str] = []
        self.done: set[str] = set()
        self.quarantined: dict[str, Mapping[str, Any]] = {}
        self.left_out: list[Skipped] = []
        self.kept: dict[str, str] = {}

    def untouched(self) -> tuple[str, ...]:
        """Ids that the ledger knows, and nothing that was taken is or holds."""
        self._records.rest()
        return tuple(sorted({*self._records.passed, *self._entries} - self._parts))

    def take(self, ref: SceneRef) -> bool:
        """Whether a scene of the archive is to be worked on.

        A remote one that turned out to hold others when it was fetched is fetched again if one of those is to be done.
        """
        record = self._records.find(ref.id)
        if not ref.remote:
            return self._is_pending(ref, record)
        held = contents.known(self._ledger, self._config, ref.id, self._keys(ref, record))
        if held is None:
            return self._is_pending(ref, record)
        if held.current and record is not None and ref.id not in held.parts:
            self._entries.append(ref.id)  # what it holds is known; itself is none of that
        self._parts.update(held.parts)
        pending = [part for part in held.parts if self._is_pending(replace(ref, id=part), self._ledger.scene(part))]
        if held.current:
            self.left_out += [Skipped(ref.id, reason) for reason in held.left_out]
            return bool(pending)
        return True

    def _keys(self, ref: SceneRef, record: SceneRecord | None) -> SceneKeys:
        kept = record.score_key if record is not None and self._keeps else ""
        keys = self._keyring.keys(ref, kept)
        if keys.uncertain and not self._keyring.uncertain:
            self.kept[ref.id] = kept
        return keys

    def _is_pending(self, ref: SceneRef, record: SceneRecord | None) -> bool:
        """Whether a scene is to be worked on; else it is noted as done or quarantined."""
        if record is None:
            return True  # whatever its keys are
        found = standing(self._config, self._there, record, self._keys(ref, record))
        if found == "done":
            self.done.add(ref.id)
            return False
        if found == "pending" or self._retry:
            return True
        self.quarantined[ref.id] = record.error or {}
        return False


def standing(
    config: PipelineConfig, there: Callable[[SceneRecord], bool], record: SceneRecord | None, keys: SceneKeys
) -> Standing:
    """What is to be done with a scene.

    Args:
        config: the pipeline.
        there: whether the products of a scene that is done are there (`output.manifest.presence`).
        record: what the ledger knows of the scene, if anything.
        keys: what its work is filed under now.
    """
    if record is None or record.product_key != keys.product:
        return "pending"
    if record.status == "done" and there(record) and not _now_refused(config, record):
        return "done"
    return "quarantined" if record.status == "quarantined" and not _now_taken(config, record) else "pending"


def _now_refused(config: PipelineConfig, record: SceneRecord) -> bool:
    """Whether a scene was published with warnings that a strict run does not take."""
    if not config.execution.strict:
        return False
    return any(isinstance(one, dict) and one.get("suspect") for one in record.info.get("warnings", ()))


def _now_taken(config: PipelineConfig, record: SceneRecord) -> bool:
    """Whether what a scene was quarantined for may be gone.

    It had warnings only, in a strict run, and this one is not; or its files did not come, which is not its fault.
    """
    kind = (record.error or {}).get("type")
    return kind in (FetchError.__name__, NoAnswerError.__name__) or (
        not config.execution.strict and kind == SuspectSceneError.__name__
    )


def fingerprints(config: PipelineConfig, supports: SupportFiles, reader: Reader, weights: str = "") -> Fingerprints:
    """Hashes of the files that the configuration points at; its examples are `supports`, which `reader` reads.

    Args:
        weights: the hash of the weights, where it is known already: they are large.

    Raises:
        WeightsError: the weights are missing, or not the pinned ones.
        SupportError: a support file cannot be read.
    """
    aoi = config.input.aoi
    return Fingerprints(
        weights=weights or weights_fingerprint(config),
        supports=support_fingerprint(supports, reader),
        aoi="" if aoi is None else file_hash(Path(aoi)),
    )
