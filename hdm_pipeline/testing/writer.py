"""The conformance suite for writers."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import PixelSource, Product, Writer
from hdm_pipeline.errors import ConfigError, OutputError, WriteError
from hdm_pipeline.grid import Window
from hdm_pipeline.plugin.guarded_writer import GuardedWriter, guard_writer
from hdm_pipeline.testing.findings import Findings

_MOST_BLOCKS = 4
"""Blocks of `Product.block` that a writer may pull at once."""


class _Counted:
    """A `PixelSource` that notes the largest window read."""

    def __init__(self, source: PixelSource) -> None:
        self.shape = source.shape
        self.largest = 0
        self._source = source

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        self.largest = max(self.largest, window.pixels)
        return self._source.read(window)


def check_writer(
    kind: type[Writer],
    product: Product,
    folder: Path,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    read_mask: Callable[[Path], npt.NDArray[np.uint8]] | None = None,
    empty: Product | None = None,
) -> None:
    """Run every check of the contract of writers.

    Args:
        kind: the writer's class.
        product: what to write, such as `example_product()`, or one whose header comes from a reader of the same kind.
        folder: an empty folder to write into.
        name: its entry point name; the class's `name` by default.
        options: what to construct it with.
        read_mask: reads a written file back as mask values [z, y, x], by a library that is not the writer's own;
            None for writers of other things than masks.
        empty: a product of the same kind without a valid pixel, such as `example_product(empty=True)`.

    Raises:
        ConformanceError: with everything found.
    """
    findings = Findings(kind.__qualname__)
    plugin = name or kind.name

    def make() -> GuardedWriter:
        return guard_writer(kind(dict(options or {})), plugin)

    with findings.check("construction"):
        findings.require(isinstance(kind.name, str) and bool(kind.name), "the class has no name")
        make()
        unknown = {**(options or {}), "no such option": 1}
        findings.raises((ConfigError,), lambda: kind(unknown), "an unknown option")
    with findings.check("classes"):
        warnings = make().check(product.classes)
        findings.require(all(isinstance(line, str) for line in warnings), "warnings are not texts")
    with findings.check("file name"):
        findings.require(make().filename(product.scene) == make().filename(product.scene), "the file name changes")
    with findings.check("writing"):
        _check_writing(findings, make, product, folder, read_mask)
    if empty is not None:
        with findings.check("no valid pixel"):
            path = _fresh(folder, "empty") / make().filename(empty.scene)
            make().write(empty, path)
            if read_mask is not None:
                findings.require(bool((read_mask(path) == 255).all()), "a scene without data does not read as nodata")
    with findings.check("a folder that is not there"):
        path = folder / "no such folder" / "product"
        findings.raises((WriteError, OutputError), lambda: make().write(product, path), "writing")
        findings.require(not path.parent.exists(), "a folder is made")
    findings.close()


def _fresh(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir(parents=True)
    return made


def _check_writing(
    findings: Findings,
    make: Callable[[], GuardedWriter],
    product: Product,
    folder: Path,
    read_mask: Callable[[Path], npt.NDArray[np.uint8]] | None,
) -> None:
    mask, score = _Counted(product.mask), _Counted(product.score)
    doubt = None if product.uncertainty is None else _Counted(product.uncertainty)
    counted = replace(product, mask=mask, score=score, uncertainty=doubt)
    scene = pickle.dumps(product.scene)
    contents: list[dict[str, bytes]] = []
    for number in (1, 2):
        place = _fresh(folder, f"run-{number}")
        path = place / make().filename(product.scene)
        make().write(counted, path)
        beside = make().sidecars(path.name)
        contents.append({file.name: file.read_bytes() for file in place.iterdir() if file.name in (path.name, *beside)})
        left = sorted(file.name for file in place.rglob("*") if file != path and file.name not in beside)
        findings.require(not left, f"other files are left next to the product: {', '.join(left)}")
    findings.require(contents[0] == contents[1], "the same product written twice differs")
    findings.require(pickle.dumps(product.scene) == scene, "the scene's header is changed")
    most = _MOST_BLOCKS * product.block[0] * product.block[1]
    largest = max(mask.largest, score.largest, 0 if doubt is None else doubt.largest)
    findings.require(largest <= most, f"{largest} pixels are pulled at once, more than {_MOST_BLOCKS} blocks ({most})")
    if read_mask is not None:
        found = read_mask(folder / "run-1" / make().filename(product.scene))
        _, depth, height, width = product.mask.shape
        expected = np.stack(
            [product.mask.read(Window(z=z, y=0, x=0, height=height, width=width))[0] for z in range(depth)]
        )
        findings.require(found.shape == expected.shape, f"the mask reads back as {found.shape}, not {expected.shape}")
        findings.require(np.array_equal(found, expected), "the mask does not read back as it was")
