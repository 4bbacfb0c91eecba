"""The output directory: where everything lies, and how files get there.

    OUT/<scene>/mask.tif ...     products, published by atomic rename
    OUT/run.json                 what the last run did
    OUT/report.html              the same as a page for people, with pictures; more pages in `report~pages/`
    OUT/mosaic.vrt               all masks as one raster (`mosaic*`: one for each CRS, and rasters of classes)
    OUT/collection.json          the whole directory as others read it, by products that describe it (`stac`)
    OUT/.hdm/                    everything else: ledger, logs, scenes being worked on, adapted weights
    OUT/.hdm/stale/              products whose scene is quarantined now, and such as are no longer asked for

Nothing is ever written outside OUT: scene ids and product names are single, plain path components, and a symbolic
link inside OUT that leads elsewhere is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import OutputError
from hdm_pipeline.output.files import output_errors, remove_tree

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@ -]{0,127}")

FETCHED = "fetched"
"""Name of the folder of files that came from another machine, in that of a scene's work."""

PAGES = "report~pages"
"""Name of the folder of further pages of the report: one that no scene can have."""

_TAKEN = ("run.json", "collection.json", "mosaic.vrt", "report.html")
"""What no scene may be called: files of the output directory itself."""


@dataclass(frozen=True)
class Workspace:
    """The layout of one output directory; picklable, so that workers find their way."""

    root: Path

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
    def shown(self) -> Path:
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

    def stage_folder(self, scene_id: str, stage_key: str) -> Path:
        """Staged pixels of a scene."""
        return self._work_folder(scene_id) / f"stage-{stage_key[:16]}"

    def score_folder(self, scene_id: str, score_key: str) -> Path:
        """Scores of a scene."""
        return self._work_folder(scene_id) / f"score-{score_key[:16]}"

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

    def stale_folder(self, scene_id: str) -> Path:
        """Where products are kept that no longer belong to the scene's present file."""
        return self._inside(self.private / "stale" / checked_component(scene_id))

    def stale(self) -> list[str]:
        """What `.hdm/stale` holds: scenes, and files of the whole directory; sorted."""
        folder = self.private / "stale"
        with output_errors(folder):
            return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []

    def set_aside(self, scene_id: str) -> Path | None:
        """Move all products of a scene to `stale_folder`: they were made of a file that is not there any more.

        Returns:
            Where they are now; None if there was none.

        Raises:
            OutputError: they cannot be moved.
        """
        source, target = self.product_folder(scene_id), self.stale_folder(scene_id)
        if not source.is_dir() or not any(source.iterdir()):
            return None
        with output_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_tree(target)
            os.rename(source, target)
            source.mkdir()  # whoever lists it sees at once that there is nothing
        return target

    def set_aside_files(self, files: Iterable[str]) -> None:
        """Move products that are no longer asked for below `private`/stale: nobody keeps them true any more.

        Args:
            files: relative to `root`; what is not there is passed over.

        Raises:
            OutputError: they cannot be moved.
        """
        for name in files:
            source, target = self.root / name, self.private / "stale" / name
            self._inside(source.parent)
            self._inside(target.parent)
            with output_errors(target):
                if source.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(source, target)

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
        if folder.resolve() != folder and not folder.resolve().is_relative_to(self.root.resolve()):
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


def checked_component(name: str) -> str:
    """`name`, if it is a single plain path component.

    Raises:
        OutputError: it holds a separator, `..` or characters that file systems disagree about.
    """
    if not _COMPONENT.fullmatch(name) or name.endswith((" ", ".")) or name in _TAKEN:
        raise OutputError(
            "name cannot be used as a folder or file name in the output",
            where=repr(name),
            remedy="use letters, digits, '.', '_' and '-'",
        )
    return name
