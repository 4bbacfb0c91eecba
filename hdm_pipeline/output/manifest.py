"""What is published of a scene in a bucket: its products, made visible by a manifest that is written last.

The manifest is ``.hdm/published/<scene>/<first letters of the product key>.json``: one listing says what is there and
of what it was made. It holds what the ledger knows of a finished scene, so that one that was published after the last
copy of the ledger is not done again.

A run that lost the output while it published may have written products over its successor's. It says so beside the
manifests, by ``<first letters of its own product key>.lost``. What two keys claim counts as not published.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import LostLockError, ObjectStoreError, OutputError
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.fence import FRESH, Fence
from hdm_pipeline.output.files import ABSENT, output_errors, remove_tree, write_bytes
from hdm_pipeline.output.layout import Workspace, is_component
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.output.work import arrays_not_kept

_PUBLISHED = f"{OUTPUT_MARKER}/published/"
_KEY = 16
"""Letters of a product key in the name of a manifest."""

_WHOLE, _LOST = ".json", ".lost"
"""How the names end of a manifest, and of the note of a run that lost the output while it published."""

_SIZES = ("large", "small")
"""Pictures of a scene for the report, as `execution.quicklook` makes them."""

_SCHEMA = 1
_AT_ONCE = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Manifest:
    """A manifest as it is read: of what others wrote there nothing is believed that is not of this form."""

    record: SceneRecord
    pictures: Mapping[str, bytes]

    @classmethod
    def of(cls, content: bytes, name: str) -> _Manifest:
        """What a manifest of this name says.

        Raises:
            ValueError, TypeError, LookupError: it is none that this release wrote.
        """
        facts = json.loads(content)
        texts = [facts[key] for key in ("scene", "product_key", "score_key", "stage_key")]
        files, info, pictures = (dict(facts[key]) for key in ("files", "info", "pictures"))
        if facts["schema"] != _SCHEMA or not all(isinstance(text, str) for text in (*texts, *files)):
            raise ValueError("another form")
        scene, product_key, score_key, stage_key = texts
        if name != _name(scene, product_key) or not all(map(is_plain, files)):
            raise ValueError("it leads elsewhere")
        drawn = {size: base64.b64decode(pictures[size], validate=True) for size in _SIZES if size in pictures}
        record = SceneRecord(scene, product_key, score_key, stage_key, "done", outputs=tuple(files), info=info)
        return cls(record, drawn)


def put_products(workspace: Workspace, record: SceneRecord, pictures: Mapping[str, bytes], fence: Fence) -> None:
    """Upload a scene's products from this node's folder, and its manifest last; then the folder is empty again.

    Args:
        workspace: with a bucket.
        record: what the ledger is to know of the scene; its outputs are uploaded.
        pictures: for the report, by size; the manifest holds them.
        fence: asked before anything is written, before the manifest, and between where uploads take long.

    Raises:
        LostLockError: the output is another run's by now.
        ObjectStoreError: the store does not answer, or refuses. No manifest is there then.
        OutputError: a product cannot be read.
    """
    bucket = _bucket(workspace)
    asked = fence.require()
    files = {}
    try:
        drop_manifest(bucket, record.id)
        for name in record.outputs:
            path = workspace.root / name
            with output_errors(path):
                files[name] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
                if time.monotonic() - asked >= FRESH:
                    asked = fence.require()
                bucket.put(name, path)
        fence.require()
    except LostLockError:
        _note_loss(bucket, record)
        raise
    facts = {
        "schema": _SCHEMA,
        "scene": record.id,
        "product_key": record.product_key,
        "score_key": record.score_key,
        "stage_key": record.stage_key,
        "files": files,
        "info": dict(record.info),
        "pictures": {size: base64.b64encode(content).decode() for size, content in pictures.items()},
    }
    bucket.put(_name(record.id, record.product_key), (json.dumps(facts, allow_nan=False) + "\n").encode())
    remove_tree(workspace.product_folder(record.id))


def _note_loss(bucket: ObjectFolder, record: SceneRecord) -> None:
    """Say that what was written since the last answer may have come after the other run's."""
    try:
        bucket.put(_name(record.id, record.product_key, _LOST), b"")
    except ObjectStoreError as error:
        log.warning("a product may be of this run, beside others of the run that took over: %s", error)


def drop_manifest(bucket: ObjectFolder, scene: str) -> None:
    """From now on nothing of a scene counts as published.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    bucket.delete_all(f"{_PUBLISHED}{scene}/")


def presence(workspace: Workspace) -> Callable[[SceneRecord], bool]:
    """Says of a record whether its products are there; a bucket is listed once, of a disk each file is looked for.

    What is returned raises an `OutputError` where the disk does not say whether a file is there: that it is not would
    have the work of months done again.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    if workspace.bucket is not None:
        there = _listed(workspace.bucket)
        return lambda record: there.get(record.id) == record.product_key[:_KEY]
    above, look, is_regular = f"{workspace.root}/", os.stat, stat.S_ISREG  # looked up once, not a million times

    def on_disk(record: SceneRecord) -> bool:
        try:
            for name in record.outputs:
                if not is_regular(look(above + name).st_mode):
                    return False
        except OSError as error:
            if error.errno in ABSENT:
                return False
            what = f"it cannot be told whether a product is there: {error.strerror}"
            remedy = "check the disk and the permissions; then run again"
            raise OutputError(what, where=str(error.filename), remedy=remedy) from error
        return True

    return on_disk


def recover(workspace: Workspace, ledger: Ledger, keep: str, remove: Callable[[Path | ObjectFolder], None]) -> int:
    """Tell the ledger of scenes that were published after it was last copied to the bucket.

    Args:
        workspace: of the run.
        ledger: that of the output.
        keep: `output.keep`: what else there is of these scenes is removed.
        remove: removes a folder of pixels or scores.

    Returns:
        How many those are.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    if workspace.bucket is None:
        return 0
    unknown = []
    for scene, key in _listed(workspace.bucket).items():
        record = ledger.scene(scene)
        known = record is not None and record.product_key[:_KEY] == key
        if not known or (record is not None and record.status in ("running", "quarantined")):
            unknown.append(_name(scene, key))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = pool.map(lambda name: _read(workspace, name), unknown)
        found = [manifest.record for manifest in read if manifest is not None]
    for record in found:
        remove_tree(workspace.product_folder(record.id))  # what this node still has is of an earlier time
        for place in arrays_not_kept(workspace, record, keep):
            remove(place)
    ledger.upsert_scenes(found)
    return len(found)


def bring(workspace: Workspace, names: Iterable[str]) -> None:
    """Fetch products that this node does not have; one that is gone stays missing, as on a disk.

    Args:
        workspace: on a disk there is nothing to do.
        names: relative to the output directory.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
        OutputError: they cannot be written.
    """
    bucket = workspace.bucket
    if bucket is None:
        return

    missing = [name for name in names if is_plain(name) and not (workspace.root / name).is_file()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: fetch(workspace, bucket, name), missing))


def fetch(workspace: Workspace, bucket: ObjectFolder, name: str) -> None:
    """Bring one object to where it lies in this node's folder; one that is gone stays missing.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
        OutputError: it cannot be written.
    """
    content, path = bucket.get(name), workspace.root / name
    if content is not None:
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)


def bring_pictures(workspace: Workspace, records: Sequence[SceneRecord]) -> None:
    """Fetch pictures for the report that this node does not have.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
        OutputError: they cannot be written.
    """
    if workspace.bucket is None:
        return

    def fetch(record: SceneRecord) -> None:
        found = _read(workspace, _name(record.id, record.product_key))
        keep_pictures(workspace, record.id, {} if found is None else found.pictures)

    def lacks(record: SceneRecord) -> bool:
        return not all(workspace.quicklook(record.id, size).is_file() for size in _SIZES)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(fetch, [one for one in records if one.status == "done" and lacks(one)]))


def keep_pictures(workspace: Workspace, scene: str, pictures: Mapping[str, bytes]) -> None:
    """Keep a scene's pictures for the report, each put in place by renaming.

    Raises:
        OutputError: they cannot be written.
    """
    for size, content in pictures.items():
        target = workspace.quicklook(scene, size)
        with output_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, content)


def is_plain(name: str) -> bool:
    """Whether a name from a bucket stays below the folder it is joined to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _read(workspace: Workspace, name: str) -> _Manifest | None:
    """A manifest; None where there is none, or one that this release did not write: the scene is done again."""
    content = _bucket(workspace).get(name)
    if content is None:
        return None
    try:
        return _Manifest.of(content, name)
    except (ValueError, TypeError, LookupError):
        log.warning("a manifest that this release did not write is passed over: %s", _bucket(workspace).at(name))
        return None


def _listed(bucket: ObjectFolder) -> dict[str, str]:
    """First letters of product keys by scene, where one key alone claims it; what else lies there is passed over."""
    found: dict[str, str] = {}
    more = []
    for key, _ in bucket.keys(_PUBLISHED):
        path = PurePosixPath(key)
        scene, claim, kind = path.parent.name, path.stem, path.suffix
        if kind not in (_WHOLE, _LOST) or key != _name(scene, claim, kind) or not is_component(scene):
            continue
        if kind == _LOST or scene in found:
            more.append((scene, claim))
        else:
            found[scene] = claim
    for scene, claim in more:
        if found.get(scene) not in (None, claim):
            del found[scene]
    return found


def _name(scene: str, product_key: str, kind: str = _WHOLE) -> str:
    return f"{_PUBLISHED}{scene}/{product_key[:_KEY]}{kind}"


def _bucket(workspace: Workspace) -> ObjectFolder:
    if workspace.bucket is None:
        raise OutputError("the output lies in no bucket", where=str(workspace.root), remedy="report this as a bug")
    return workspace.bucket
