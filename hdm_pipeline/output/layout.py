"""The output directory: where everything lies, and how files get there.

    OUT/<scene>/mask.tif ...     products, published by atomic rename
    OUT/run.json                 what the last run did
    OUT/report.html              the same as a page for people, with pictures; more pages in `report~pages/`
    OUT/mosaic.vrt               all masks as one raster (`mosaic*`: one for each CRS, and rasters of classes)
    OUT/collection.json          the whole directory as others read it, by products that describe it (`stac`)
    OUT/.hdm/                    everything else: ledger, logs, scenes being worked on, adapted weights
    OUT/.hdm/stale/              products whose scene is quarantined now, and such as are no longer asked for

OUT may lie in an object store (docs/decisions/object-stores.md). Then `Workspace.root` is a folder of this node that
stands for it: the same names, and `output.bucket` keeps both alike.

Nothing is ever written outside OUT: scene ids and product names are single, plain path components, and a symbolic
link inside OUT that leads elsewhere is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import OutputError
from hdm_pipeline.objects.address import check_address
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.objects.scratch import VARIABLE, mirror_of
from hdm_pipeline.output.files import output_errors, remove_tree

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@ -]{0,127}")

FETCHED = "fetched"
"""Name of the folder of files that came from another machine, in that of a scene's work."""

UPLOADS = f"{OUTPUT_MARKER}/uploads"
"""Folder of what the driver of a run on other nodes gives to these; there while it runs."""

PAGES = "report~pages"
"""Name of the folder of further pages of the report: one that no scene can have."""

_LOCK_TIMEOUT = 4.0
"""Seconds for a request about the lock of a bucket: several fit into the time after which it is taken over."""

_TAKEN = ("run.json", "collection.json", "mosaic.vrt", "report.html")
"""What no scene may be called: files of the output directory itself."""


@dataclass(frozen=True)
class Workspace:
    """The layout of one output directory; picklable, so that workers find their way.

    Attributes:
        root: the directory, or the folder of this node that stands for it: another node, to which the workspace is
            sent, has its own.
        bucket: where it really lies, if in an object store.
        work: where staged pixels and scores lie; None for below `root`.
    """

    root: Path
    bucket: ObjectFolder | None = None
    work: Path | ObjectFolder | None = None

    @classmethod
    def of(cls, directory: str, work: str | None = None, *, shared: bool = False) -> Workspace:
        """The layout of `output.directory`.

        Args:
            directory: a path, or the address of an object store.
            work: `execution.work`; None for with the output. Each output has a folder of its own there: two over one
                archive call their arrays the same, and would remove each other's.
            shared: workers on other nodes read and write what is worked on.

        Raises:
            ObjectStoreError: an address that may not be used.
            OutputError: this node has no folder to stand for an object store.
        """
        place = place_of(directory)
        own = place_of(work) / _work_name(str(place)) if work is not None else None
        beside = place / OUTPUT_MARKER / "scenes"
        if work is not None and place_of(work) == beside:
            own = beside
        if isinstance(place, Path):
            return cls(place, work=own)
        return cls(_mirror(place), place, beside if own is None and shared else own)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.bucket is None:
            return Workspace, (self.root, None, self.work)
        return _elsewhere, (self.bucket, self.work)

    @property
    def shown(self) -> str:
        """The directory as people know it."""
        return str(self.bucket or self.root)

    @property
    def private(self) -> Path:
        """Folder for everything that is not a product."""
        return self.root / OUTPUT_MARKER

    @property
    def ledger(self) -> Path:
        """The SQLite file that remembers scenes and receipts."""
        return self.private / "ledger.sqlite"

    @property
    def lock(self) -> Path:
        """File that the one active run holds."""
        return self.private / "run.lock"

    @property
    def lock_place(self) -> Path | ObjectFolder:
        """The same, or the folder of a bucket that holds it: for requests that take less time than a lock lives."""
        return self.lock if self.bucket is None else (self.bucket / OUTPUT_MARKER).hurried(_LOCK_TIMEOUT)

    @property
    def logs(self) -> Path:
        """Folder of JSON-lines logs."""
        return self.private / "logs"

    @property
    def models(self) -> Path:
        """Folder of adapted weights and support banks, by key."""
        return self.private / "models"

    @property
    def report(self) -> Path:
        """The run's report."""
        return self.root / "run.json"

    @property
    def page(self) -> Path:
        """The run's report as a page for people."""
        return self.root / "report.html"

    @property
    def pages(self) -> Path:
        """Folder of further pages, where there are many scenes."""
        return self._inside(self.root / PAGES)

    @property
    def page_parts(self) -> Path:
        """Folder of what the page is made of and no ledger remembers: settings and examples of the last run."""
        return self.private / "report"

    @property
    def quicklooks(self) -> Path:
        """Folder of small pictures of scenes with their masks."""
        return self._inside(self.private / "quicklooks")

    def quicklook(self, scene_id: str, size: str) -> Path:
        """A small picture of a scene with its mask, of a named size."""
        return self.quicklooks / checked_component(size) / f"{checked_component(scene_id)}.webp"

    @property
    def metrics(self) -> Path:
        """Counters of the last run in Prometheus' text format."""
        return self.private / "metrics.prom"

    def catalog_folder(self, product: str) -> Path:
        """What a writer remembers that describes the whole output directory."""
        return self._inside(self.private / "catalogs" / checked_component(product))

    def stage_folder(self, scene_id: str, stage_key: str) -> Path | ObjectFolder:
        """Staged pixels of a scene."""
        return self._arrays(scene_id) / f"stage-{stage_key[:16]}"

    def score_folder(self, scene_id: str, score_key: str) -> Path | ObjectFolder:
        """Scores of a scene."""
        return self._arrays(scene_id) / f"score-{score_key[:16]}"

    def is_own_work(self, folder: Path | ObjectFolder) -> bool:
        """Whether a folder is one that `of` makes for this output below an `execution.work`: nobody else's is there."""
        return str(folder).rpartition("/")[2] == _work_name(self.shown)

    def _arrays(self, scene_id: str) -> Path | ObjectFolder:
        """Where a scene's arrays lie."""
        return self._work_folder(scene_id) if self.work is None else self.work / checked_component(scene_id)

    def fetched_folder(self, scene_id: str) -> Path:
        """Files of a scene that were fetched from another machine; there while it is worked on."""
        return self._work_folder(scene_id) / FETCHED

    @property
    def examples(self) -> Path:
        """Labelled examples that were fetched from another machine."""
        return self.private / "examples"

    def product_folder(self, scene_id: str) -> Path:
        """Folder of a scene's published products.

        Raises:
            OutputError: it is a link that leads out of the output directory.
        """
        return self._inside(self.root / checked_component(scene_id))

    def stale_folder(self, scene_id: str) -> Path | ObjectFolder:
        """Where products are kept that no longer belong to the scene's present file."""
        if self.bucket is not None:
            return self.bucket / OUTPUT_MARKER / "stale" / checked_component(scene_id)
        return self._inside(self.private / "stale" / checked_component(scene_id))

    def stale(self) -> list[str]:
        """What `.hdm/stale` holds: scenes, and files of the whole directory; sorted.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        if self.bucket is not None:
            stale = f"{OUTPUT_MARKER}/stale/"
            return sorted({key.removeprefix(stale).partition("/")[0] for key, _ in self.bucket.keys(stale)})
        folder = self.private / "stale"
        with output_errors(folder):
            return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []

    def set_aside(self, scene_id: str) -> str | None:
        """Move all products of a scene to `stale_folder`: they were made of a file that is not there any more.

        Returns:
            Where they are now, relative to the output directory; None if there was none.

        Raises:
            OutputError: they cannot be moved.
        """
        source, target = self.product_folder(scene_id), self.private / "stale" / checked_component(scene_id)
        if self.bucket is not None:
            remove_tree(source)
            keys = [key for key, _ in self.bucket.keys(f"{scene_id}/")]
            manifest = f"{OUTPUT_MARKER}/published/{scene_id}/"
            # What lies there is of an earlier file, and would be mixed with this. Without a manifest it may be a part
            # of this very scene: whoever moved it was killed.
            if keys and next(self.bucket.keys(manifest), None) is not None:
                self.bucket.delete_all(f"{OUTPUT_MARKER}/stale/{scene_id}/")
            self.bucket.delete_all(manifest)  # before anything moves: what is half there is not published
            if not keys:
                return None
            self._move_in_bucket(self.bucket, keys)
            return f"{OUTPUT_MARKER}/stale/{scene_id}"
        self._inside(target)
        if not source.is_dir() or not any(source.iterdir()):
            return None
        with output_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_tree(target)
            os.rename(source, target)
            source.mkdir()  # whoever lists it sees at once that there is nothing
        return target.relative_to(self.root).as_posix()

    def set_aside_files(self, files: Iterable[str]) -> None:
        """Move products that are no longer asked for below `private`/stale: nobody keeps them true any more.

        Args:
            files: relative to `root`; what is not there is passed over.

        Raises:
            OutputError: they cannot be moved.
        """
        names = list(files)
        for name in names:
            source, target = self.root / name, self.private / "stale" / name
            self._inside(source.parent)
            self._inside(target.parent)
            with output_errors(target):
                if source.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(source, target)
        if self.bucket is not None:
            self._move_in_bucket(self.bucket, names)

    @staticmethod
    def _move_in_bucket(bucket: ObjectFolder, keys: Iterable[str]) -> None:
        """Move objects below `private`/stale."""
        for key in keys:
            bucket.move(key, f"{OUTPUT_MARKER}/stale/{key}")

    def _work_folder(self, scene_id: str) -> Path:
        """Everything of a scene that is no product."""
        return self._inside(self.private / "scenes" / checked_component(scene_id))

    def work_folders(self) -> list[Path]:
        """Folders of all scenes that hold what is no product, those of scenes that are gone, too.

        Raises:
            OutputError: they lie behind a symbolic link that leaves the output directory.
        """
        return [folder for folder in self._inside(self.private / "scenes").glob("*") if not folder.is_symlink()]

    def _inside(self, folder: Path) -> Path:
        """`folder`, if no symbolic link takes it out of the output directory."""
        real = os.path.realpath(folder)
        if real != str(folder) and not Path(real).is_relative_to(self.root.resolve()):
            raise OutputError(
                "a folder of the output is a symbolic link that leaves the output directory",
                where=str(folder),
                remedy="remove the link; if the disk is too small, link the output directory as a whole",
            )
        return folder

    @contextmanager
    def scratch_folder(self, scene_id: str) -> Iterator[Path]:
        """An empty folder on the products' file system; gone afterwards, and so is what a killed worker left there."""
        parent = self._work_folder(scene_id)
        folder = parent / f"publish-{os.getpid()}"
        with output_errors(folder):
            for old in parent.glob("publish-*"):
                remove_tree(old)
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            remove_tree(folder)

    def create(self) -> None:
        """Make the directory and prove that it can be written.

        Raises:
            OutputError: it cannot.
        """
        with output_errors(self.root):
            for folder in (self.root, self.private, self.logs, self.models):
                self._inside(folder).mkdir(parents=True, exist_ok=True)
            probe = self.private / f".probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()


def place_of(text: str) -> Path | ObjectFolder:
    """A path, also of `file:///`, or a folder of an object store.

    Raises:
        ObjectStoreError: an address that may not be used.
    """
    if text.startswith("file:///"):
        return Path(unquote(text.removeprefix("file://")))
    return ObjectFolder(check_address(text)) if "://" in text else Path(text)


def _work_name(output: str) -> str:
    """What the folder of an output is called where several outputs work."""
    return hashlib.sha256(output.encode()).hexdigest()[:16]


def _mirror(bucket: ObjectFolder) -> Path:
    try:
        return mirror_of(bucket.address)
    except OSError as error:
        raise OutputError(
            f"this node has no folder that can stand for an object store: {error.strerror or error}",
            where=VARIABLE,
            remedy=f"set {VARIABLE} to a folder of this node that you may write to",
        ) from error


def _elsewhere(bucket: ObjectFolder, work: Path | ObjectFolder | None) -> Workspace:
    """The layout as another process finds it: on another node it has another folder."""
    return Workspace(_mirror(bucket), bucket, work)


def checked_component(name: str) -> str:
    """`name`, if it is a single plain path component.

    Raises:
        OutputError: it holds a separator, `..` or characters that file systems disagree about.
    """
    if not is_component(name):
        raise OutputError(
            "name cannot be used as a folder or file name in the output",
            where=repr(name),
            remedy="use letters, digits, '.', '_' and '-'",
        )
    return name


def is_component(name: str) -> bool:
    """Whether a scene may be called so."""
    return bool(_COMPONENT.fullmatch(name)) and not name.endswith((" ", ".")) and name not in _TAKEN
