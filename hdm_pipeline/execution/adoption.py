"""Before a run over an object store plans: what earlier drivers published is taken, what cannot be done is refused."""

from __future__ import annotations

from typing import Any

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output import published
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.reporting.events import SceneDone


def require_disk(config: PipelineConfig, workspace: Workspace) -> None:
    """Refuse what works on files of the output directory, where that lies in an object store.

    Raises:
        ConfigError: products are to be sent to a peer.
    """
    if workspace.bucket is not None and config.output.send:
        raise ConfigError(
            "products in an object store cannot be sent to a peer",
            where="output.send",
            remedy="write to a disk (output.directory), or leave output.send out and send them from the bucket",
        )


def take_published(bucket: ObjectFolder, ledger: Ledger) -> None:
    """Enter scenes whose manifest is newer than the copy of the ledger: their driver died before it copied it again.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    for scene, tag in published.tags(bucket).items():
        before = ledger.scene(scene)
        if before is not None and before.info.get("manifest") == tag:
            continue
        told = published.told(bucket, scene)
        if told is not None:
            ledger.upsert_scene(_record(scene, told, tag))


def _record(scene: str, told: dict[str, Any], tag: str) -> SceneRecord:
    products = {name: tuple(paths) for name, paths in told["products"].items()}
    outputs = tuple(path for paths in products.values() for path in paths)
    warnings = tuple(SceneWarning(**one) for one in told["warnings"])
    done = SceneDone(
        scene=scene,
        outputs=outputs,
        tiles=int(told["tiles"]),
        blocks=0,
        seconds={},
        warnings=warnings,
        measures={**told["measures"], "manifest": tag},
        products=products,
    )
    keys = told["keys"]
    return SceneRecord(scene, keys["product"], keys["score"], keys["stage"], "done", outputs, info=done.facts())
