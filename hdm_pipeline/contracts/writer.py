"""What a writer plug-in implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, get_args, runtime_checkable

from hdm_pipeline.contracts.product import ClassInfo, Product, RunCatalog
from hdm_pipeline.contracts.scene import SceneHeader

SceneKind: TypeAlias = Literal["rasters", "volumes", "any"]
"""Scenes that a product can be made of: images of one slice with a `RasterGeometry`, those with a `VolumeGeometry`, or
both."""

SCENE_KINDS: tuple[SceneKind, ...] = get_args(SceneKind)


@runtime_checkable
class Writer(Protocol):
    """Writes one kind of product. Constructed with the YAML's options for it (ConfigError if unknown).

    A class, or an instance, may also say `needs_uncertainty = True`: a run then computes `Product.uncertainty`, which
    costs time. One that says `needs_picture = True` gets `Product.picture`. A class whose product refers to other
    products of the scene names them in `after`, a tuple of product names: they are written first and are then to be
    found in `Product.published`; a pipeline without one of them is refused.
    A class may say `scenes`, a `SceneKind` (`any` where it says nothing): a pipeline whose reader gives other scenes is
    refused by `validate`, `plan` and `run`, and the writer never gets such a scene. And `media_type = "image/tiff"`, or
    whatever its files are: products that no `Sender` takes are then told before a run. And `libraries`, as readers do.
    """

    name: ClassVar[str]

    def __init__(self, options: Mapping[str, Any] | None = None) -> None: ...

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check before the run whether these classes can be written; returns warnings.

        Raises:
            ConfigError: they cannot.
        """
        ...

    def filename(self, scene: SceneHeader) -> str:
        """Name of the file that `write` makes for a scene, e.g. ``mask.tif``; no directories."""
        ...

    def write(self, product: Product, path: Path) -> None:
        """Write the product to `path` (in an existing folder), byte for byte the same for the same input.

        Raises:
            WriteError: it cannot be written.
        """
        ...


@runtime_checkable
class SidecarWriter(Writer, Protocol):
    """A writer whose product has small files beside it, where other programs look for them: class names, a style.

    They are published and set aside with the product; those of an earlier product are removed before it is replaced.
    """

    def sidecars(self, filename: str) -> tuple[str, ...]:
        """Names of the files that may stand beside a product called `filename`; no directories.

        `write` may make any of them, next to its `path`. Those that it does not make are removed all the same: another
        program may have left statistics of the earlier pixels there.
        """
        ...


@runtime_checkable
class SceneCheckingWriter(Writer, Protocol):
    """A writer that can tell by a scene's header that its product cannot be made, before hours of work on the scene."""

    def check_scene(self, scene: SceneHeader) -> None:
        """Check a scene before any pixel of it is worked on.

        Raises:
            WriteError: `write` would raise it, whatever the mask is.
        """
        ...


@runtime_checkable
class NeighborCheckingWriter(Writer, Protocol):
    """A writer whose product must fit the other products of a pipeline: refer to them, say, or keep what they keep."""

    def check_beside(self, products: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Check before a run, and without the network, how the product fits the others; returns warnings.

        Args:
            products: the options of all products by name, its own among them, in the order of the pipeline file. Those
                of other plug-ins may be wrong: whoever owns them says so.

        Raises:
            ConfigError: they do not fit.
        """
        ...


@runtime_checkable
class CatalogWriter(Writer, Protocol):
    """A writer that describes the other products of a scene, and at the end the whole run.

    `write` is called after all other writers, with `Product.published`.
    """

    def finish(self, run: RunCatalog) -> Sequence[str]:
        """Write what describes the whole output directory; called at the end of each run, also of one without work.

        Most scenes are as they were: what is known of them should be remembered, not read again.

        Returns:
            Names of the files made in `run.root`, each put in place by renaming.

        Raises:
            OutputError: they cannot be written.
        """
        ...


@runtime_checkable
class ArchiveWriter(Writer, Protocol):
    """A writer whose products of all scenes can be put together, and compared with those of another run."""

    def mosaic(self, run: RunCatalog, *, whole: bool) -> Mapping[str, Any]:
        """Put the products of all scenes together; called at the end of each run, also of one without work.

        Args:
            run: the output directory.
            whole: make copies of all pixels too (`run --mosaic`), not only files that refer to the products.

        Returns:
            What `run.json` says of it: ``files``, the names of those made in `run.root`, each put in place by renaming,
            and ``left_out``, why scenes are in none of them, by scene; and, where a file does not show all scenes,
            ``about``, what it shows, by file.

        Raises:
            OutputError: they cannot be written.
        """
        ...

    def compare(self, before: RunCatalog, after: RunCatalog, folder: Path | None) -> Mapping[str, Any]:
        """Compare the products of two runs where their scenes lie on each other.

        Args:
            before: the earlier run.
            after: the later run; `memory` of neither is used.
            folder: an existing folder for rasters of what changed; None to write nothing.

        Returns:
            JSON-able: ``classes``: by class and kind (``stable``, ``gained``, ``lost``) ``pixels`` and ``area_m2``
            (None where unknown); ``scenes``: the same for each scene of `before`; ``unmatched``: scenes without a
            counterpart, by run; ``notices``: what a person should know.

        Raises:
            ConfigError: nothing lies on each other.
            ReadError: a product cannot be read.
        """
        ...
