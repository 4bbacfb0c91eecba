"""`open_output`: what a run left in its output directory, as lazy xarray datasets.

Opening reads the ledger and `run.json`, and no product: a scene's files are opened when the scene is asked for, and
their pixels when they are computed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdm_pipeline.arguments import whole_argument
from hdm_pipeline.errors import NoSuchSceneError, OutputError, ReadError
from hdm_pipeline.extras import require
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.output.lock import holder, run_state
from hdm_pipeline.output.manifest import bring
from hdm_pipeline.output.meant import no_run, output_directory
from hdm_pipeline.output.mirror import for_reading

if TYPE_CHECKING:
    import xarray

CHUNK = 2048
"""Side in pixels of a chunk: four tiles of a product's file, which are read whole."""


class RunOutput(Mapping[str, "xarray.Dataset"]):
    """The finished scenes of an output directory: a mapping from a scene's id to its dataset.

    A dataset holds ``mask`` (y, x; uint8: 0 background, 1, 2, ... the classes, 255 nodata) and, where the run wrote the
    product ``score``, ``probability`` (class, y, x; float32 in 0..1, NaN where nodata), with CRS and coordinates. Its
    attributes say what made it. Other GeoTIFF products become variables of their own names. Each lookup opens the files
    anew, so keep a dataset that is used often.

    Attributes:
        root: the output directory; of one in a bucket, a folder of this node to which scenes are fetched when they are
            asked for.
        state: how the last run ended: ``done``, ``stopped``, ``failed``, ``killed``; or ``running``.
        run: the content of `run.json`; empty where there is none.
    """

    def __init__(
        self,
        workspace: Workspace,
        records: Mapping[str, SceneRecord],
        run: Mapping[str, Any],
        state: str,
        chunks: int | None = CHUNK,
    ) -> None:
        self.root = workspace.root
        self._workspace = workspace
        self.run = run
        self.state = state
        self._records = records
        self._chunks = chunks

    def __getitem__(self, scene: str) -> xarray.Dataset:
        """A finished scene.

        Raises:
            NoSuchSceneError: there is none of that id, or it is not finished; says why.
            UnsupportedSceneError: it has no GeoTIFF product.
            ReadError: a product cannot be opened.
            ObjectStoreError: the output lies in a bucket, which does not answer.
        """
        from hdm_pipeline.xarrays.products import open_products

        record = self._records.get(scene)
        if record is None or not _done(record):
            raise self._not_there(scene, record)
        bring(self._workspace, [name for name in record.outputs if ".tif" in name])
        return open_products(self.root, record, self._attributes(record), self._chunks)

    def __contains__(self, scene: object) -> bool:
        record = self._records.get(scene) if isinstance(scene, str) else None
        return record is not None and _done(record)

    def __iter__(self) -> Iterator[str]:
        return (scene for scene, record in self._records.items() if _done(record))

    def __len__(self) -> int:
        return sum(map(_done, self._records.values()))

    def __repr__(self) -> str:
        return (
            f"<RunOutput {self._workspace.shown!r}: {len(self)} of {len(self._records)} scenes done, run {self.state}>"
        )

    @cached_property
    def table(self) -> xarray.Dataset:
        """Every scene that the ledger knows, finished or not, along the axis ``scene``.

        ``state`` (done, running, quarantined, vanished), ``input``, ``warnings`` (their kinds) and ``error`` are texts;
        ``valid`` is the share of valid pixels, 0..1; ``pixels`` and ``area_m2`` (scene, class) are what was found, NaN
        where it is unknown. Volumes have ``volume_ml``, too.
        """
        from hdm_pipeline.xarrays.products import scene_table

        inputs = {scene: str(facts.get("input", "")) for scene, facts in self.run.get("scenes", {}).items()}
        return scene_table(list(self._records.values()), inputs, {"pipeline": self.run.get("pipeline", "")})

    def _attributes(self, record: SceneRecord) -> dict[str, Any]:
        """What is known of a scene and of the run that made it, as attributes that every format can store."""
        facts = self.run.get("scenes", {}).get(record.id, {})
        told = [f"{one['kind']}: {one['what']}" for one in record.info.get("warnings", ()) if isinstance(one, dict)]
        return {
            "scene": record.id,
            "input": str(facts.get("input", "")),
            "pipeline": str(self.run.get("pipeline", "")),
            "last_run_started": str(self.run.get("started", "")),
            "last_run_versions": json.dumps(self.run.get("versions", {})),
            "valid_share": record.info.get("valid"),
            "warnings": told,
        }

    def _not_there(self, scene: Any, record: SceneRecord | None) -> NoSuchSceneError:
        where = f"scene {scene!r} of {self._workspace.shown}"
        if record is None:
            known = ", ".join(sorted(self._records)[:5]) or "(none)"
            remedy = f"choose one of those that `list(output)` names: {known}, ..."
            return NoSuchSceneError("there is no such scene", where=where, remedy=remedy)
        if record.status == "quarantined":
            error = record.error or {}
            what = f"the scene is quarantined: {error.get('what', 'see run.json')}"
            return NoSuchSceneError(what, where=where, remedy=str(error.get("remedy", "")) or "see run.json")
        if record.status == "vanished":
            remedy = "bring its file back and run again; what was published of it before still lies there"
            return NoSuchSceneError("the scene is no longer in the archive", where=where, remedy=remedy)
        remedy = "wait for the run" if self.state == "running" else "run again: it goes on where it stopped"
        return NoSuchSceneError("the scene is not finished", where=where, remedy=remedy)


def open_output(folder: str | os.PathLike[str], *, partial: bool = False, chunks: int | None = CHUNK) -> RunOutput:
    """Open the output directory of a run: its masks and scores, lazily, for thousands of scenes.

    Args:
        folder: `output.directory` of the pipeline, also in a bucket, or its pipeline file.
        partial: take a directory whose run is not complete, too: it goes on still, or it failed, was stopped or killed.
            What is finished is there; a product that a run replaces meanwhile is read as it then is.
        chunks: side in pixels of dask's chunks; None for arrays that are read when they are used, without dask.

    Returns:
        A mapping from a scene's id to its `xarray.Dataset`, with a table of all scenes.

    Raises:
        ConfigError: no run has written there; or the extra `xarray` is not installed.
        OutputError: the run is not complete, and `partial` is False.
        LedgerError: the ledger is damaged, or of a newer version.
        ReadError: `run.json` cannot be read.
    """
    require("xarray", "open_output")
    if chunks is not None:
        whole_argument(chunks, 1, "the side of chunks", "open_output")
    workspace = for_reading(Workspace.of(output_directory(folder)))
    ledger = Ledger.open_readonly(workspace.ledger)
    if ledger is None:
        raise no_run(workspace.shown)
    with ledger:
        records = {record.id: record for record in ledger.scenes()}
    run = _report(workspace.report)
    state = run_state(str(run.get("status", "running")), holder(workspace.lock_place))
    if state != "done" and not partial:
        raise _incomplete(workspace, run, state)
    return RunOutput(workspace, records, run, state, chunks)


def _done(record: SceneRecord) -> bool:
    return record.status == "done"


def _report(path: Path) -> dict[str, Any]:
    """The content of `run.json`.

    Raises:
        ReadError: it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        remedy = "run the pipeline again: it writes the file anew, and finished scenes stay"
        raise ReadError(f"the report of the run cannot be read: {error}", where=str(path), remedy=remedy) from error
    return found if isinstance(found, dict) else {}


def _incomplete(workspace: Workspace, run: Mapping[str, Any], state: str) -> OutputError:
    what = {
        "running": "a run is still writing here",
        "stopped": "the last run was stopped before all scenes were done",
        "killed": "the last run was killed before all scenes were done",
    }.get(state, "the last run failed")
    if error := run.get("error"):
        what += f": {error['type']}: {error.get('what', 'see what the run printed')}"
    remedy = "wait for its end" if state == "running" else "run the pipeline again: it goes on where it stopped"
    remedy += "; or take what is finished: open_output(folder, partial=True)"
    return OutputError(what, where=workspace.shown, remedy=remedy)
