"""What a run does, scene by scene: the archive held against the ledger.

`make_plan` is called by `Pipeline.plan`, which prints what it gives, and by `run`, which executes it. It reads no
header: an archive may hold 100,000 scenes. What the work costs is estimated by `forecast`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from hdm_pipeline.planning.archive import Archive, discover
from hdm_pipeline.planning.keys import Fingerprints, PendingScene, SceneKeyring, SceneKeys
from hdm_pipeline.support.examples import SupportFiles, support_fingerprint

Standing = Literal["pending", "done", "quarantined"]
"""What is to be done with a scene: work, or nothing, as it is done or was quarantined."""


@dataclass(frozen=True)
class Plan:
    """The scenes of an archive by what is to be done with them.

    Attributes:
        archive: what was found.
        scenes: to be worked on, in order.
        done: facts of those whose products are there for the very same key, by scene id.
        quarantined: errors of those that were quarantined under the same key, by scene id.
        vanished: ids that the ledger knows and the archive no longer holds.
        keyring: makes keys of scenes that a fetched one turns out to hold.
    """

    archive: Archive
    scenes: tuple[PendingScene, ...]
    done: Mapping[str, Mapping[str, Any]]
    quarantined: Mapping[str, Mapping[str, Any]]
    vanished: tuple[str, ...]
    keyring: SceneKeyring | None = None


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
    sorting = _Sorting(config, workspace, ledger, keyring, retry_quarantined=retry_quarantined)
    archive = discover(config, reader, sorting.products(), quiet=not delivery)
    scenes = tuple(found for ref in archive.scenes if (found := sorting.take(ref)) is not None)
    archive = replace(archive, skipped=(*archive.skipped, *sorting.left_out))
    return Plan(archive, scenes, sorting.done, sorting.quarantined, () if delivery else sorting.untouched(), keyring)


class _Sorting:
    """Scenes held against the ledger, one after the other.

    Attributes:
        done: as `Plan.done`, of the scenes taken so far.
        quarantined: as `Plan.quarantined`.
        left_out: what the entries are known to hold beside scenes.
    """

    def __init__(
        self,
        config: PipelineConfig,
        workspace: Workspace,
        ledger: Ledger,
        keyring: SceneKeyring,
        *,
        retry_quarantined: bool,
    ) -> None:
        self._config, self._workspace, self._ledger, self._keyring = config, workspace, ledger, keyring
        self._retry = retry_quarantined
        self._there = presence(workspace)
        self._records = {record.id: record for record in ledger.scenes()}
        self._untouched = dict.fromkeys(self._records)
        self.done: dict[str, Mapping[str, Any]] = {}
        self.quarantined: dict[str, Mapping[str, Any]] = {}
        self.left_out: list[Skipped] = []

    def products(self) -> set[str]:
        """Absolute paths of all that was published."""
        root = self._workspace.shown
        return {f"{root}/{output}" for record in self._records.values() for output in record.outputs}

    def untouched(self) -> tuple[str, ...]:
        """Ids that the ledger knows, and nothing that was taken is or holds."""
        return tuple(self._untouched)

    def take(self, ref: SceneRef) -> PendingScene | None:
        """What is to be done with a scene of the archive; None if nothing is.

        A remote one that turned out to hold others when it was fetched is fetched again if one of those is to be done.
        """
        keys = self._keys(ref)
        held = contents.known(self._ledger, self._config, ref.id, keys) if ref.remote else None
        if held is None:
            return PendingScene(ref, keys) if self._is_pending(ref, keys) else None
        parts = [replace(ref, id=part) for part in held.parts]
        pending = [part for part in parts if self._is_pending(part, self._keys(part))]
        if held.current:
            self.left_out += [Skipped(ref.id, reason) for reason in held.left_out]
            return PendingScene(ref, keys) if pending else None
        self._untouched.pop(ref.id, None)
        return PendingScene(ref, keys)

    def _keys(self, ref: SceneRef) -> SceneKeys:
        record = self._records.get(ref.id)
        kept = "" if record is None or self._config.output.keep == "nothing" else record.score_key
        return self._keyring.keys(ref, kept)

    def _is_pending(self, ref: SceneRef, keys: SceneKeys) -> bool:
        """Whether a scene is to be worked on; else it is noted as done or quarantined."""
        record = self._records.get(ref.id)
        self._untouched.pop(ref.id, None)
        found = standing(self._config, self._there, record, keys)
        if record is None or found == "pending" or (found == "quarantined" and self._retry):
            return True
        if found == "done":
            self.done[ref.id] = record.info
        else:
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
    warnings = record.info.get("warnings", ())
    return config.execution.strict and any(isinstance(one, dict) and one.get("suspect") for one in warnings)


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
