"""Where the pixels and scores of an output in a bucket lie, from one run to the next.

A run on Ray works in the bucket, an inline run on the scratch of its machine, and `execution.work` may say otherwise.
The receipts of what is done go on from run to run, so work that lies where others see it goes on there, and what the
present run does not use is removed: nobody else would.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import ObjectStoreError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.files import remove_if_empty, remove_tree
from hdm_pipeline.output.layout import Workspace, place_of
from hdm_pipeline.output.ledger import SceneRecord

log = logging.getLogger(__name__)


def settled(workspace: Workspace, before: str, records: Iterable[SceneRecord]) -> Workspace:
    """The workspace of a run, with the place where it works.

    Args:
        workspace: as the pipeline asks for it.
        before: where the last run worked, as `place_told` says it; empty where that is not known.
        records: of the ledger.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    if workspace.bucket is None:
        return workspace
    beside = workspace.bucket / OUTPUT_MARKER / "scenes"
    if workspace.work is None and next(beside.keys(), None) is not None:
        workspace = replace(workspace, work=beside)  # it goes on where the last run worked, or kept its scores
    if workspace.work is not None:
        _drop_here(workspace)
        if workspace.work != beside:
            beside.delete_all()
    if before not in ("", str(beside), place_told(workspace)):
        _drop_known(before, workspace.work, records)
    return workspace


def place_told(workspace: Workspace) -> str:
    """Where a run works, for the next one; empty for the scratch of a machine, which no other one reads."""
    return "" if workspace.work is None else str(workspace.work)


def drop_arrays(workspace: Workspace, records: Iterable[SceneRecord], keep: str) -> None:
    """Remove what is not kept of finished scenes, from wherever a run works.

    Args:
        workspace: of the run.
        records: of the scenes.
        keep: `output.keep`.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    for record in () if keep == "all" else records:
        _remove(workspace.stage_folder(record.id, record.stage_key))
        if keep == "nothing":
            _remove(workspace.score_folder(record.id, record.score_key))


def _drop_here(workspace: Workspace) -> None:
    """Remove what an inline run left on this machine."""
    for folder in workspace.work_folders():
        for arrays in (*folder.glob("stage-*"), *folder.glob("score-*")):
            remove_tree(arrays)
        remove_if_empty(folder)


def _drop_known(before: str, now: Path | ObjectFolder | None, records: Iterable[SceneRecord]) -> None:
    """Remove what these scenes left where an earlier run worked; of other outputs that work there only the same scenes.

    Another output over the same archive, with the same settings, has arrays of the same names: it makes them again.
    """
    ours = {
        (record.id, f"{kind}-{key[:16]}")
        for record in records
        for kind, key in (("stage", record.stage_key), ("score", record.score_key))
        if key
    }
    try:
        place = place_of(before)
        if isinstance(place, Path) and isinstance(now, Path) and place.resolve() == now.resolve():
            return  # another name of the same folder
        if isinstance(place, Path):
            there = [one for one in ours if place.joinpath(*one).is_dir()]
        else:
            listed = place.keys("")
            parts = {PurePosixPath(key).parts[:2] for key, _ in listed}
            there = [one for one in ours if one in parts]
        for scene, name in there:
            _remove(place / scene / name)
    except (ObjectStoreError, OSError) as error:
        log.warning("what an earlier run worked on in %s cannot be removed: %s", before, error)


def _remove(place: Path | ObjectFolder) -> None:
    if isinstance(place, ObjectFolder):
        place.delete_all()
    else:
        remove_tree(place)
        remove_if_empty(place.parent)
