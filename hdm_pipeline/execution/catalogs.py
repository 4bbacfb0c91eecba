"""At the end of a run: products that describe the whole output directory are brought up to date."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import CatalogEntry, RunCatalog
from hdm_pipeline.output.files import output_errors, write_json
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.output.manifest import bring
from hdm_pipeline.plugin.registry import make_writer


def write_catalogs(
    config: PipelineConfig, workspace: Workspace, ledger: Ledger, files: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Let every product that is a catalog (`contracts.CatalogWriter`) describe what lies in the output directory.

    The ledger decides what lies there, not the events of this run: what a killed run left out is caught up.

    Args:
        config: the pipeline.
        workspace: the output directory.
        ledger: what is done.
        files: names of mosaics in the output directory.

    Returns:
        Files in the output directory, by product.

    Raises:
        OutputError: they cannot be written.
        PluginError: a plug-in fails.
    """
    found: dict[str, list[str]] = {}
    for name, options in config.output.product_options().items():
        writer = make_writer(name, options)
        if writer.describes:
            bring(workspace, files_of(ledger, name))
            run = replace(run_catalog(config.name, workspace, ledger, name), files=tuple(files))
            found[name] = list(writer.finish(_with_memory(run)))
    _drop_unasked(workspace, "described", found)
    return found


def write_mosaics(config: PipelineConfig, workspace: Workspace, ledger: Ledger, *, whole: bool) -> dict[str, Any]:
    """Let every product that can (`contracts.ArchiveWriter`) put its scenes together; see `write_catalogs`.

    Returns:
        What each product says of it.

    Raises:
        OutputError: they cannot be written.
        WriteError: a product cannot be put together. It ends the run, whose scenes are done: the next one tries again.
        PluginError: a plug-in fails.
    """
    found: dict[str, Any] = {}
    for name, options in config.output.product_options().items():
        writer = make_writer(name, options)
        if writer.gathers:
            bring(workspace, files_of(ledger, name))
            found[name] = writer.mosaic(_with_memory(run_catalog(config.name, workspace, ledger, name)), whole=whole)
    _drop_unasked(
        workspace, "gathered", {name: list(of_product.get("files", ())) for name, of_product in found.items()}
    )
    return found


def files_of(ledger: Ledger, product: str) -> list[str]:
    """Published files of a product, of all scenes that are done."""
    return [name for record in ledger.walk("done") for name in record.info.get("products", {}).get(product, ())]


def _drop_unasked(workspace: Workspace, kind: str, found: dict[str, list[str]]) -> None:
    """Set aside what products made for the whole directory that are no longer asked for; remember what is made now."""
    memory = workspace.catalog_folder(f"{kind}.json")
    before: dict[str, list[str]] = {}
    with output_errors(memory):
        if memory.is_file():
            before = json.loads(memory.read_text(encoding="utf-8"))
        kept = {file for files in found.values() for file in files}
        unasked = {file for name, files in before.items() if name not in found for file in files}
        workspace.set_aside_files(sorted(unasked - kept))
        if found != before:
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_json(memory, found)


def run_catalog(pipeline: str, workspace: Workspace, ledger: Ledger, product: str) -> RunCatalog:
    """What lies in an output directory, for a product's writer. Makes no folder."""
    entries = tuple(_entry(workspace, record) for record in ledger.walk("done"))
    return RunCatalog(pipeline, workspace.root, workspace.catalog_folder(product), entries)


def _with_memory(run: RunCatalog) -> RunCatalog:
    with output_errors(run.memory):
        run.memory.mkdir(parents=True, exist_ok=True)
    return run


def _entry(workspace: Workspace, record: SceneRecord) -> CatalogEntry:
    files = tuple(workspace.root / output for output in record.outputs)
    return CatalogEntry(record.id, files, f"{record.updated}-{record.product_key[:16]}")
