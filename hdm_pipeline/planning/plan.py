"""What a run does, scene by scene: the archive held against the ledger.

`make_plan` is called by `Pipeline.plan`, which prints what it gives, and by `run`, which executes it. It reads no
header: an archive may hold 100,000 scenes. What the work costs is estimated by `forecast`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, SceneRef, Skipped
from hdm_pipeline.errors import FetchError, SuspectSceneError
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.model.weights_file import weights_fingerprint
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.planning import uncertainty
from hdm_pipeline.planning.archive import Archive, discover
from hdm_pipeline.planning.keys import Fingerprints, PendingScene, SceneKeyring
from hdm_pipeline.support.examples import SupportFiles, support_fingerprint


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
    fingerprints = _fingerprints(config, supports, reader)
    keyring = SceneKeyring(config, fingerprints, uncertain=uncertainty.asked(config))
    known = {record.id: record for record in ledger.scenes()}
    products = {str(workspace.root / output) for record in known.values() for output in record.outputs}
    archive = discover(config, reader, products)
    scenes: list[PendingScene] = []
    done: dict[str, Mapping[str, Any]] = {}
    quarantined: dict[str, Mapping[str, Any]] = {}
    left_out: list[Skipped] = []
    for ref in archive.scenes:
        pending = False
        for part in _parts(ref, keyring, ledger, left_out):
            record = known.pop(part.id, None)
            keys = keyring.keys(part, "" if record is None or config.output.keep == "nothing" else record.score_key)
            if record is None or record.product_key != keys.product:
                pending = True
            elif record.status == "done" and _outputs_are_there(workspace, record) and not _now_refused(config, record):
                done[part.id] = record.info
            elif record.status == "quarantined" and not retry_quarantined and not _now_taken(config, record):
                quarantined[part.id] = record.error or {}
            else:
                pending = True
            if part is ref and pending:
                scenes.append(PendingScene(ref, keys))
        if pending and (not scenes or scenes[-1].ref is not ref):
            scenes.append(PendingScene(ref, keyring.keys(ref)))
    archive = Archive(archive.scenes, (*archive.skipped, *left_out))
    return Plan(archive, tuple(scenes), done, quarantined, () if delivery else tuple(known), keyring)


def _parts(ref: SceneRef, keyring: SceneKeyring, ledger: Ledger, left_out: list[Skipped]) -> list[SceneRef]:
    """The scenes that a remote one turned out to hold when it was fetched before; else itself."""
    receipt = ledger.receipts(keyring.keys(ref).stage, "fetch").get(0) if ref.remote else None
    if receipt is None:
        return [ref]
    left_out += [Skipped(ref.id, str(reason)) for reason in receipt.detail.get("left_out", ())]
    return [replace(ref, id=str(part)) for part in receipt.detail.get("parts", ())]


def _now_refused(config: PipelineConfig, record: SceneRecord) -> bool:
    """Whether a scene was published with warnings that a strict run does not take."""
    warnings = record.info.get("warnings", ())
    return config.execution.strict and any(isinstance(one, dict) and one.get("suspect") for one in warnings)


def _now_taken(config: PipelineConfig, record: SceneRecord) -> bool:
    """Whether what a scene was quarantined for may be gone.

    It had warnings only, in a strict run, and this one is not; or its files did not come, which is not its fault.
    """
    kind = (record.error or {}).get("type")
    return kind == FetchError.__name__ or (not config.execution.strict and kind == SuspectSceneError.__name__)


def _outputs_are_there(workspace: Workspace, record: SceneRecord) -> bool:
    return all((workspace.root / output).is_file() for output in record.outputs)


def _fingerprints(config: PipelineConfig, supports: SupportFiles, reader: Reader) -> Fingerprints:
    """Hashes of the files that the configuration points at; its examples are `supports`, which `reader` reads.

    Raises:
        WeightsError: the weights are missing, or not the pinned ones.
        SupportError: a support file cannot be read.
    """
    aoi = config.input.aoi
    return Fingerprints(
        weights=weights_fingerprint(config),
        supports=support_fingerprint(supports, reader),
        aoi="" if aoi is None else file_hash(Path(aoi)),
    )
